"""Deadlines of every kind of probe hold whatever a peer does, in whichever phase it begins to, and the loop has its turns.

Each kind is put before a real server, or one that speaks the real protocol, over a relay that hands the server's words on up
to some byte, and from then on stops, drips or floods. The bytes are those at which the server's turns end, so that no phase
is left out, and some in the middle of one.
"""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from exporter.clients.kubernetes import cluster as clusters
from exporter.demo.servers.postgres import PostgresServer
from exporter.demo.servers.valkey import ValkeyServer
from exporter.probes import probe_types
from exporter.probing.probe import Probe, SharedClients
from exporter.probing.runner import Outcome, run_probe
from exporter.verdict import Reason, Verdict
from tests.clients.kubernetes.fake import Fixed
from tests.net.servers import Certificates, handshake_only
from tests.net.test_http_bounds import STALL, Stalls
from tests.pace import piece_of_work
from tests.probes.doing import make, on_uvloop
from tests.probes.traitor import WAYS, Traitor, serving_traitor

TIMEOUT = 0.4
"""Seconds of an attempt against a traitor."""

PRECISION = 0.05
"""Seconds by which an attempt may end after a timer that was set for its deadline when it began."""

MOST_BYTES = 24_000_000
"""What a traitor may get rid of over one connection: what a probe reads, 16 MB at most, and what lies in the sockets."""

MOST_CUTS = 8

Build = Callable[[SharedClients, int], Probe[Any]]

_OVER_HTTP: dict[str, dict[str, Any]] = {
    "actuator": {},
    "oidc": {"scheme": "http", "issuer_path": "/realms/a"},
    "kubernetes": {"namespace": "hafnium"},
}
"""Settings of the kinds that one honest server over HTTP does for."""


class _Honest(BaseHTTPRequestHandler):
    """Answers as an application, an identity provider and an API server do, as far as probes go on with it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        root = "http://identity.example"
        key = {"kty": "RSA", "kid": "1", "use": "sig", "n": "x" * 340, "e": "AQAB"}
        answers: dict[str, Any] = {
            "/actuator/health": {"status": "UP", "components": {"db": {"status": "UP"}, "redis": {"status": "UP"}}},
            "/actuator/flyway": {"contexts": {}},
            "/realms/a/.well-known/openid-configuration": {
                "issuer": f"{root}/realms/a",
                "jwks_uri": f"{root}/realms/a/certs",
                "token_endpoint": f"{root}/realms/a/token",
            },
            "/realms/a/certs": {"keys": [key]},
        }
        nothing = {"kind": "List", "metadata": {"resourceVersion": "1"}, "items": []}
        body = json.dumps(answers.get(path, nothing)).encode()
        if path == "/actuator/prometheus":
            body = b"process_uptime_seconds 12.5\n" * 50
        self.send_response(200)
        self.send_header("Content-Type", "text/plain" if path == "/actuator/prometheus" else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that leave."""


@contextmanager
def honest() -> Iterator[int]:
    """Serve HTTP from threads; yields the port."""
    with _Server(("127.0.0.1", 0), _Honest) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(5)


@pytest.fixture
def build(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[int, Build]]:
    """The port of a server of this kind, and what makes a probe that goes to a port."""
    if kind == "postgres":
        database: PostgresServer = request.getfixturevalue("postgres_server")
        login = {"user": database.user, "password_file": database.password_file, "database": database.database}
        yield database.port, lambda shared, port: make("postgres", shared, "127.0.0.1", port, **login)
    elif kind == "redis":
        cache: ValkeyServer = request.getfixturevalue("valkey_server")
        yield cache.port, lambda shared, port: make("redis", shared, "127.0.0.1", port, canary={}, slow_commands=True)
    elif kind == "kafka":
        yield (
            request.getfixturevalue("kafka_broker").port,
            lambda shared, port: make("kafka", shared, "127.0.0.1", port),
        )
    elif kind == "tls":
        certificates = Certificates(tmp_path)
        with handshake_only(certificates.server()) as port:
            settings = {"ca_file": certificates.ca_file}
            yield port, lambda shared, port: make("tls", shared, "127.0.0.1", port, **settings)
    elif kind in _OVER_HTTP:
        with honest() as port:
            yield port, lambda shared, port: make(kind, shared, "127.0.0.1", port, **_OVER_HTTP[kind])
    else:  # its own test has one
        with import_module(f"tests.probes.test_{kind}").honest() as (port, settings):
            yield port, lambda shared, port: make(kind, shared, "127.0.0.1", port, **settings)


@pytest.fixture(autouse=True)
def frozen() -> Iterator[None]:
    """Keep what other tests have left out of collections of garbage, as the exporter does with what lasts."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def cuts(turns: list[int]) -> list[int]:
    """Return the bytes after which to betray: none, the ends of turns, and their middles, spread over all of them."""
    ends = [0, *sorted(set(turns[:-1]))]
    middles = [(before + after) // 2 for before, after in zip([0, *sorted(set(turns))], sorted(set(turns)), strict=False)]
    found = sorted({*ends, *middles})
    return found if len(found) <= MOST_CUTS else [found[at * (len(found) - 1) // (MOST_CUTS - 1)] for at in range(MOST_CUTS)]


async def timed(probe: Probe[Any]) -> tuple[Outcome, float]:
    """Make an attempt; return how long after a timer that was set for its deadline it ended, in seconds."""
    loop = asyncio.get_running_loop()
    rang: list[float] = []
    timer = loop.call_later(TIMEOUT, lambda: rang.append(loop.time()))
    outcome = await run_probe(probe, TIMEOUT)
    ended = loop.time()
    timer.cancel()
    return outcome, ended - rang[0] if rang else 0.0


def reasons(outcome: Outcome) -> set[Reason]:
    failures = [outcome.failure, *outcome.parts.values()]
    return {failure.reason for failure in failures if failure is not None}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", sorted(probe_types()))
def test_a_deadline_holds_whatever_a_peer_does_and_whenever(
    kind: str, way: str, build: tuple[int, Build], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, probe_at = build

    async def betrayed(traitor: Traitor, limit: int) -> tuple[Outcome, float, float]:
        shared = SharedClients.open()  # what was learnt of a cluster before is not known
        probe = probe_at(shared, traitor.port)
        traitor.betray_after(limit)
        try:
            async with Stalls() as stalls:
                outcome, late = await timed(probe)
            return outcome, late, stalls.longest
        finally:
            await probe.close()
            traitor.cut()
            await shared.close()

    def steps(traitor: Traitor) -> Callable[[SharedClients], Awaitable[None]]:
        async def run(shared: SharedClients) -> None:
            probe = probe_at(shared, traitor.port)
            before = await run_probe(probe, 10.0)
            await probe.close()
            assert before.verdict is Verdict.UP or kind == "kubernetes", before.failure
            assert traitor.turns
            found: list[tuple[int, str]] = []
            limits, verdicts, betrayals = cuts(list(traitor.turns)), [], 0
            for limit in limits:
                outcome, late, stall = await betrayed(traitor, limit)
                verdicts.append(outcome.verdict)
                betrayals += traitor.betrayals > 0
                found += [(limit, f"{late * 1000:.0f} ms late")] if late > PRECISION else []
                found += [(limit, f"{stall * 1000:.0f} ms of the loop")] if stall > most else []
                found += [(limit, f"{traitor.sent} bytes")] if traitor.sent > MOST_BYTES * max(1, traitor.betrayals) else []
                found += [(limit, str(outcome.failure))] if Reason.INTERNAL in reasons(outcome) else []
            assert found == []
            assert betrayals >= len(limits) / 2, "it has handed everything on"
            assert Verdict.UP not in verdicts[:1] or kind == "kubernetes", "without a byte of its server, nobody is up"

        return run

    most = max(0.020, STALL * piece_of_work())
    with serving_traitor(port, way) as traitor:
        monkeypatch.setattr(clusters, "_connection", lambda _: Fixed(f"http://127.0.0.1:{traitor.port}"))
        on_uvloop(steps(traitor))

"""What one application can take of the exporter: memory, the event loop, connections; and TLS files that are rotated."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from exporter.probes import actuator
from exporter.probing.probe import SharedClients
from exporter.probing.runner import Outcome, run_probe
from exporter.verdict import Reason, Verdict
from tests.net.servers import Certificates, answer, serve, serve_raw
from tests.probes.doing import make, on_uvloop
from tests.probes.test_actuator_cost import apart, http, untraced

HEALTH = "/actuator/health"
UP = answer('{"status":"UP"}', Content_Type="application/json")
LIMIT = 0.020

POOLS = b"".join(b'hikaricp_connections_max{pool="%d",x="%b"} 10\n' % (at, b"y" * 60) for at in range(60_000))
BUCKETS = b"".join(
    b'http_server_requests_seconds_bucket{application="a",uri="/%d",le="%d.5"} 10\n' % (at // 70, at % 70)
    for at in range(60_000)
) + b"process_uptime_seconds 12.5\n" * 10  # fmt: skip
OTHERS = b"".join(b'other{application="a",pool="%d",x="%b"} 10\n' % (at, b"y" * 80) for at in range(60_000))


@pytest.mark.parametrize("body", [POOLS, BUCKETS, OTHERS], ids=["pools", "buckets", "others"])
def test_sixty_thousand_series_leave_the_loop_its_turns_and_give_back_what_they_took(body: bytes) -> None:
    answers = {
        b"/actuator/health": http(b'{"status":"UP"}', "application/json"),
        b"/actuator/prometheus": http(body, "text/plain;version=0.0.4"),
    }
    stalls: list[float] = []

    async def watch() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            stalls.append(time.thread_time() - before)

    async def steps(shared: SharedClients) -> tuple[list[Outcome], int, int]:
        probe = make("actuator", shared, "127.0.0.1", port, interval=60, timeout=30, flyway=False)
        await run_probe(probe, 30)
        watching = asyncio.create_task(watch())
        await asyncio.sleep(0)
        outcome = await run_probe(probe, 30)
        watching.cancel()
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        kept = [outcome, *[await run_probe(probe, 30) for _ in range(3)]]
        gc.collect()
        left, peak = tracemalloc.get_traced_memory()
        return kept, left - before, peak - before

    try:
        with apart(answers) as port, untraced():
            outcomes, left, peak = on_uvloop(steps)
    finally:
        tracemalloc.stop()
    assert {outcome.verdict for outcome in outcomes} == {Verdict.UP}
    assert max(stalls) < LIMIT
    assert left < 1_000_000, "outcomes that are kept hold no more than what they say"
    assert peak < 5 * len(body)


class Application:
    """Answers over kept connections, but for one path, where it hangs; counts the connections that are open at once."""

    def __init__(self, hangs: str) -> None:
        self._hangs = hangs
        self._open = 0
        self.most_open = 0
        self.asked: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        self.most_open = max(self.most_open, self._open)
        try:
            while True:
                path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode().partition("?")[0]
                self.asked.append(path)
                if path == self._hangs:
                    await reader.read(1)
                if path.endswith("prometheus"):
                    writer.write(http(b"process_uptime_seconds 1\n", "text/plain"))
                else:
                    writer.write(http(b'{"status":"UP"}', "application/json"))
        finally:
            self._open -= 1


@pytest.mark.parametrize("hangs", ["", HEALTH, f"{HEALTH}/liveness", "/actuator/prometheus"])
async def test_an_attempt_has_one_connection_and_one_more_while_an_answer_hangs(shared: SharedClients, hangs: str) -> None:
    application = Application(hangs)
    async with serve_raw(application) as served:
        probe = make("actuator", shared, "127.0.0.1", served.port, groups=["liveness", "readiness"], flyway=False)
        outcomes = [await run_probe(probe, 1.0) for _ in range(2)]
    assert application.most_open == (2 if hangs.startswith(HEALTH) else 1), "after the meters nothing is asked"
    assert {HEALTH, f"{HEALTH}/liveness", f"{HEALTH}/readiness", "/actuator/prometheus"} == set(application.asked)
    for outcome in outcomes:
        failed = {name for name, failure in outcome.parts.items() if failure is not None}
        spoilt: set[str] = {f"{HEALTH}/liveness": {"groups"}, "/actuator/prometheus": {"metrics"}}.get(hangs, set())
        assert failed == spoilt, "what hangs spares the others"
    if not hangs:
        assert served.connections == 1
        assert application.asked[:4] == [HEALTH, f"{HEALTH}/liveness", f"{HEALTH}/readiness", "/actuator/prometheus"]


async def test_a_rotated_authority_is_in_use_at_the_next_attempt(shared: SharedClients, tmp_path: Path) -> None:
    """A connection that was kept by the old one is not used, nor left open."""
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old, new = Certificates(tmp_path / "old"), Certificates(tmp_path / "new")
    trusted = tmp_path / "ca.pem"
    trusted.write_bytes(old.ca_file.read_bytes())
    settings: dict[str, Any] = {"scheme": "https", "tls": {"ca_file": str(trusted)}, "metrics": False}
    async with serve({HEALTH: UP}, old.server()) as served:
        probe = make("actuator", shared, "127.0.0.1", served.port, **settings)
        reused = [(await run_probe(probe, 5)).samples[actuator.REUSED][()] for _ in range(2)]
        assert reused == [0, 1]
        trusted.write_bytes(new.ca_file.read_bytes())
        await asyncio.sleep(1.0)  # files are looked at anew after half a second at most
        outcome = await run_probe(probe, 5)
        assert outcome.failure is not None
        assert outcome.failure.reason is Reason.TLS_UNTRUSTED
        assert shared.http.descriptors.kept == 0

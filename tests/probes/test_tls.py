"""The tls probe against servers with certificates of every kind."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509

from exporter.demo.processes import free_port
from exporter.probes import tls as t
from exporter.probing.attempt import Attempt
from exporter.probing.probe import SharedClients
from exporter.verdict import Failure, Reason, Stage, Verdict
from tests.probes.doing import attempt, hang_up, make, on_uvloop, reason, saying, serving, silence, value

Serve = Callable[[trustme.LeafCert], AbstractAsyncContextManager[int]]
NOW = datetime.now(UTC).replace(microsecond=0)


@asynccontextmanager
async def presenting(leaf: trustme.LeafCert, **options: Any) -> AsyncIterator[int]:
    """Serve TLS with a certificate; return the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    if "client_ca" in options:
        options["client_ca"].configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read()
        writer.transport.abort()

    server = await asyncio.start_server(handle, options.get("host", "127.0.0.1"), 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.sleep(0.02)  # the server's side of the last connection ends


def dates(leaf: trustme.LeafCert) -> tuple[float, float]:
    certificate = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
    return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return authority


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    assert authority
    return {"ca_file": str(tmp_path / "ca.pem"), "server_name": "api.internal"}


async def test_a_chain_that_verifies_is_up_with_its_dates(
    authority: trustme.CA, trusted: dict[str, str], shared: SharedClients
) -> None:
    leaf = authority.issue_cert("api.internal", not_after=NOW + timedelta(days=30))
    async with presenting(leaf) as port:
        outcome = await attempt(make("tls", shared, "127.0.0.1", port, **trusted))
    begin, end = dates(leaf)
    assert (outcome.verdict, outcome.failure) == (Verdict.UP, None)
    assert value(outcome, t.VERIFIED) == 1
    assert value(outcome, t.EXPIRY) == end == (NOW + timedelta(days=30)).timestamp()
    assert value(outcome, t.NOT_BEFORE) == begin
    assert set(outcome.phases) == {Stage.CONNECT, Stage.TLS}
    assert all(seconds > 0 for seconds in outcome.phases.values())


async def test_the_first_certificate_of_the_chain_to_expire_counts(
    tmp_path: Path, shared: SharedClients, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = trustme.CA()
    root.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setattr(trustme, "DEFAULT_EXPIRY", NOW + timedelta(days=30))
    between = root.create_child_ca()
    leaf = between.issue_cert("api.internal", not_after=NOW + timedelta(days=60))
    async with presenting(leaf) as port:
        probe = make("tls", shared, "127.0.0.1", port, ca_file=tmp_path / "ca.pem", server_name="api.internal")
        outcome = await attempt(probe)
    chain = [x509.load_pem_x509_certificate(blob.bytes()) for blob in leaf.cert_chain_pems]
    assert len(chain) == 2
    assert outcome.verdict is Verdict.UP
    assert value(outcome, t.EXPIRY) == min(c.not_valid_after_utc for c in chain).timestamp() < dates(leaf)[1]


async def test_a_name_that_ends_in_a_dot_is_the_same_name(
    authority: trustme.CA, trusted: dict[str, str], shared: SharedClients
) -> None:
    async with presenting(authority.issue_cert("api.internal")) as port:
        outcome = await attempt(make("tls", shared, "127.0.0.1", port, **{**trusted, "server_name": "api.internal."}))
    assert (outcome.verdict, outcome.failure) == (Verdict.UP, None)


@pytest.mark.parametrize(("host", "name"), [("::1", "::1"), ("localhost", "localhost")])
async def test_hosts_are_verified_as_addresses_or_names(
    host: str, name: str, authority: trustme.CA, tmp_path: Path, shared: SharedClients
) -> None:
    ca_file = tmp_path / "ca.pem"
    async with presenting(authority.issue_cert(name), host="localhost" if host == "localhost" else "::1") as port:
        outcome = await attempt(make("tls", shared, host, port, ca_file=ca_file))
    assert (outcome.verdict, outcome.failure) == (Verdict.UP, None)
    assert (Stage.RESOLVE in outcome.phases) is (host == "localhost")


def test_it_does_the_same_on_the_loop_that_the_exporter_runs_on(authority: trustme.CA, trusted: dict[str, str]) -> None:
    leaf = authority.issue_cert("api.internal")

    async def steps(shared: SharedClients) -> None:
        async with presenting(leaf) as port:
            outcome = await attempt(make("tls", shared, "127.0.0.1", port, **trusted))
            assert (outcome.failure, value(outcome, t.EXPIRY)) == (None, dates(leaf)[1])
            outcome = await attempt(make("tls", shared, "127.0.0.1", port))
            assert reason(outcome) == ("tls", "tls_untrusted")
            assert value(outcome, t.EXPIRY) == dates(leaf)[1]

    on_uvloop(steps)


async def test_a_second_handshake_that_fails_is_named_and_the_first_still_decides(
    authority: trustme.CA, shared: SharedClients
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("api.internal").configure_cert(context)
    times = iter([True, False])

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if next(times):
            await writer.start_tls(context)
        await silence(reader, writer)

    async with serving(once) as port:
        outcome = await attempt(make("tls", shared, "127.0.0.1", port), timeout=0.5)
    assert reason(outcome) == ("tls", "tls_untrusted")
    assert outcome.parts["unverified"] is not None
    assert (outcome.parts["unverified"].stage, outcome.parts["unverified"].reason.value) == (Stage.TLS, "timeout")
    assert value(outcome, t.VERIFIED) == 0
    assert t.EXPIRY not in outcome.samples


@pytest.mark.parametrize(
    ("names", "after", "settings", "expected"),
    [
        (["api.internal"], NOW - timedelta(days=1), {}, "tls_expired"),
        (["other.internal"], NOW + timedelta(days=9), {}, "tls_name_mismatch"),
        (["api.internal"], NOW + timedelta(days=90), {}, "tls_not_yet_valid"),
        (["api.internal"], NOW + timedelta(days=9), {"ca_file": None}, "tls_untrusted"),
    ],
)
async def test_what_does_not_verify_is_down_and_its_dates_are_known(
    names: list[str],
    after: datetime,
    settings: dict[str, Any],
    expected: str,
    authority: trustme.CA,
    trusted: dict[str, str],
    shared: SharedClients,
) -> None:
    before = NOW + timedelta(days=1) if expected == "tls_not_yet_valid" else NOW - timedelta(days=2)
    leaf = authority.issue_cert(*names, not_before=before, not_after=after)
    async with presenting(leaf) as port:
        outcome = await attempt(make("tls", shared, "127.0.0.1", port, **{**trusted, **settings}))
    assert (outcome.verdict, reason(outcome)) == (Verdict.DOWN, ("tls", expected))
    assert value(outcome, t.VERIFIED) == 0
    assert (value(outcome, t.NOT_BEFORE), value(outcome, t.EXPIRY)) == dates(leaf)
    assert outcome.parts == {"unverified": None}
    assert outcome.phases[Stage.TLS] > 0


async def test_a_server_that_wants_a_client_certificate_gets_the_configured_one(
    authority: trustme.CA, trusted: dict[str, str], shared: SharedClients, tmp_path: Path
) -> None:
    mine = authority.issue_cert("prober.internal")
    mine.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    async with presenting(authority.issue_cert("api.internal"), client_ca=authority) as port:
        outcome = await attempt(make("tls", shared, "127.0.0.1", port, **trusted, cert_file=tmp_path / "client.pem"))
    assert (outcome.verdict, outcome.failure) == (Verdict.UP, None)


async def test_another_port_than_the_instances_may_be_asked(
    authority: trustme.CA, trusted: dict[str, str], shared: SharedClients
) -> None:
    async with presenting(authority.issue_cert("api.internal")) as port:
        outcome = await attempt(make("tls", shared, "127.0.0.1", free_port(), **trusted, port=port))
    assert outcome.verdict is Verdict.UP


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (silence, ("tls", "timeout")),
        (hang_up, ("tls", "connection_closed")),
        (saying(b"220 mail.internal ESMTP\r\n", once_asked=False), ("tls", "tls_failed")),
        (saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"), ("tls", "tls_failed")),
    ],
    ids=["silent", "hangs-up", "smtp", "http"],
)
async def test_peers_that_speak_no_tls_are_named_in_time(
    handler: Any, expected: tuple[str, str], shared: SharedClients
) -> None:
    async with serving(handler) as port:
        outcome = await attempt(make("tls", shared, "127.0.0.1", port), timeout=0.5)
    assert (outcome.verdict, reason(outcome)) == (Verdict.DOWN, expected)
    assert t.VERIFIED not in outcome.samples
    assert outcome.duration < 1


async def test_nobody_listening_is_refused(shared: SharedClients) -> None:
    outcome = await attempt(make("tls", shared, "127.0.0.1", free_port()))
    assert reason(outcome) == ("connect", "connect_refused")


async def test_it_does_not_decide_over_its_service() -> None:
    assert t.TlsProbe.vital is False


async def test_a_certificate_of_a_version_that_there_is_not_cannot_be_read() -> None:
    der = ssl.PEM_cert_to_DER_cert(trustme.CA().issue_cert("x").cert_chain_pems[0].bytes().decode())
    attempt = Attempt(1.0, lambda error, stage: Failure(stage, Reason.INTERNAL, str(error)))
    with pytest.raises(Failure) as caught:
        t._record(attempt, [der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x06", 1)])
    assert caught.value.reason is Reason.MALFORMED

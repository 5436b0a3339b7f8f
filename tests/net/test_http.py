"""The HTTP client: phases, bounds, and a name for every failure."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path

import pytest
import uvloop
from yarl import URL

from exporter.net.http import Answer, HttpClient, Request
from exporter.net.resolver import Resolver
from exporter.net.tls import ClientTls, TlsSettings
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage
from tests.net.servers import Certificates, answer, handshake_only, says, serve, serve_raw

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Recorder:
    """Phases that a test can look at."""

    def __init__(self) -> None:
        self.stage = Stage.INTERNAL
        self.phases: dict[Stage, float] = {}

    def add_phase(self, stage: Stage, seconds: float) -> None:
        assert seconds >= 0
        self.phases[stage] = self.phases.get(stage, 0.0) + seconds


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    resolver = Resolver()
    opened = HttpClient(resolver)
    yield opened
    await opened.close()
    await resolver.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@cache
def client_tls(settings: TlsSettings) -> ClientTls:
    """Keep it, as a probe does: a context of its own is a connection of its own."""
    return ClientTls(settings)


async def get(
    client: HttpClient, port: int, phases: Recorder | None = None, *, scheme: str = "http", tls: TlsSettings | None = None
) -> Answer:
    context = await client_tls(tls).context() if tls is not None else None
    async with asyncio.timeout(10):
        return await client.get(
            URL(f"{scheme}://127.0.0.1:{port}/x"),
            phases or Recorder(),
            max_bytes=1000,
            headers={"Accept": "application/json"},
            tls=context,
            server_name=tls.server_name if tls is not None else None,
        )


async def failing(client: HttpClient, port: int, phases: Recorder | None = None, tls: TlsSettings | None = None) -> Failure:
    with pytest.raises(Failure) as caught:
        await get(client, port, phases, scheme="https" if tls is not None else "http", tls=tls)
    return caught.value


def test_an_interface_is_not_told_to_the_server() -> None:
    """RFC 9844: it means nothing there, and servers refuse it."""
    for url in ("http://[fe80::1%eth0]:8081/a%20b", "http://[fe80::1%25eth0]:8081/a%20b"):
        assert Request.get(URL(url)).data.startswith(b"GET /a%20b HTTP/1.1\r\nHost: [fe80::1]:8081\r\n")
    assert Request.get(URL.build(scheme="http", host="fe80::1%eth0", port=1)).address == Address("fe80::1%eth0", 1)


async def test_a_first_request_connects_and_the_next_ones_reuse_the_connection(client: HttpClient) -> None:
    """The phases of connecting are there only where a connection was made."""
    async with serve({"/x": answer("ok", 503)}) as served:
        first, second = Recorder(), Recorder()
        one = await get(client, served.port, first)
        two = await get(client, served.port, second)
    assert (one.status, one.body, one.reused) == (503, b"ok", False)
    assert two.reused
    assert set(first.phases) == {Stage.CONNECT, Stage.SEND, Stage.WAIT, Stage.RECEIVE}
    assert set(second.phases) == {Stage.SEND, Stage.WAIT, Stage.RECEIVE}
    assert first.stage is Stage.CHECK
    assert first.phases[Stage.WAIT] > 0


async def test_it_asks_for_an_answer_that_is_not_compressed(client: HttpClient) -> None:
    """aiohttp alone would offer gzip, and then leave the body as it is."""
    async with serve({"/x": answer("ok")}) as served:
        await get(client, served.port)
    headers = served.requests[0].headers
    assert headers["Accept-Encoding"] == "identity"
    assert headers["Accept"] == "application/json"
    assert headers["User-Agent"].startswith("hafnium-exporter/")


async def test_a_kept_connection_that_the_server_closed_is_replaced_and_not_called_reused(client: HttpClient) -> None:
    """A server that restarts between two attempts is up."""
    async with serve_raw(says(OK)) as served:  # closes after each answer without announcing it
        first, second = await get(client, served.port), await get(client, served.port)
    assert (first.reused, second.reused) == (False, False)
    assert served.connections == 2


async def test_phases_of_a_slow_server_say_where_the_time_went(client: HttpClient) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.1)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        await asyncio.sleep(0.15)
        writer.write(b"ok")

    phases = Recorder()
    async with serve_raw(slow) as served:
        await get(client, served.port, phases)
    assert phases.phases[Stage.WAIT] == pytest.approx(0.1, abs=0.045)
    assert phases.phases[Stage.RECEIVE] == pytest.approx(0.15, abs=0.045)


@pytest.mark.parametrize(
    ("said", "stage", "reason"),
    [
        (b"", Stage.WAIT, Reason.CONNECTION_CLOSED),
        (b"HTTP/1.1 200 OK\r\nContent-Le", Stage.WAIT, Reason.CONNECTION_CLOSED),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", Stage.RECEIVE, Reason.CONNECTION_CLOSED),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", Stage.RECEIVE, Reason.CONNECTION_CLOSED),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Stage.WAIT, Reason.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", Stage.WAIT, Reason.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", Stage.WAIT, Reason.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 5_000 + b"\r\n", Stage.WAIT, Reason.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok", Stage.RECEIVE, Reason.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + b"a" * 1001, Stage.RECEIVE, Reason.TOO_LARGE),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 1001, Stage.RECEIVE, Reason.TOO_LARGE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", Stage.RECEIVE, Reason.TOO_LARGE),
    ],
)
async def test_an_answer_that_is_broken_is_named(client: HttpClient, said: bytes, stage: Stage, reason: Reason) -> None:
    phases = Recorder()
    async with serve_raw(says(said)) as served:
        failure = await failing(client, served.port, phases)
    assert (failure.stage, failure.reason) == (stage, reason)
    assert phases.stage is stage
    assert stage in phases.phases, "the phase that failed still counts"


@pytest.mark.parametrize("chunk", [b"zz\r\nab\r\n", b"5\r\nabcde\r\nzz\r\n"])
async def test_malformed_chunks_are_a_protocol_error(client: HttpClient, chunk: bytes) -> None:
    """The status line may have been read by then or not: both are the server's fault."""
    async with serve_raw(says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)) as served:
        failure = await failing(client, served.port)
    assert failure.reason is Reason.PROTOCOL


async def test_a_body_in_pieces_is_put_together(client: HttpClient) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for part in (b"a" * 400, b"b" * 400, b"c" * 200):
            writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            await asyncio.sleep(0.01)
        writer.write(b"0\r\n\r\n")
        await asyncio.Event().wait()

    async with serve_raw(talk) as served:
        got = await get(client, served.port)
    assert got.body == b"a" * 400 + b"b" * 400 + b"c" * 200


async def test_a_redirect_is_an_answer_and_is_not_followed(client: HttpClient) -> None:
    async with serve({"/x": answer("", 302, Location="/y"), "/y": answer("ok")}) as served:
        got = await get(client, served.port)
        assert (got.status, got.headers["location"]) == (302, "/y")
    assert served.paths() == ["/x"]


async def test_a_refused_connection_is_named_and_timed(client: HttpClient) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # held, so that nobody else listens there
        phases = Recorder()
        failure = await failing(client, bound.getsockname()[1], phases)
    assert (failure.stage, failure.reason) == (Stage.CONNECT, Reason.CONNECT_REFUSED)
    assert set(phases.phases) == {Stage.CONNECT}


@pytest.mark.parametrize(
    ("said", "stage"), [(b"", Stage.WAIT), (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", Stage.RECEIVE)]
)
async def test_a_deadline_leaves_the_stage_and_the_phases_behind(client: HttpClient, said: bytes, stage: Stage) -> None:
    phases = Recorder()
    async with serve_raw(says(said, then_hang=True)) as served:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.get(URL(f"http://127.0.0.1:{served.port}/"), phases, max_bytes=1000), 0.2)
    assert phases.stage is stage
    assert {Stage.CONNECT, Stage.SEND, stage} <= set(phases.phases)
    assert phases.phases[stage] == pytest.approx(0.2, abs=0.1)


async def test_https_has_a_tls_phase_of_its_own(client: HttpClient, certificates: Certificates) -> None:
    phases = Recorder()
    async with serve({"/x": answer("ok")}, certificates.server()) as served:
        got = await get(client, served.port, phases, scheme="https", tls=TlsSettings(ca_file=certificates.ca_file))
    assert got.body == b"ok"
    assert set(phases.phases) == {Stage.CONNECT, Stage.TLS, Stage.SEND, Stage.WAIT, Stage.RECEIVE}
    assert phases.phases[Stage.TLS] > 0


async def test_a_configured_server_name_is_what_is_verified(client: HttpClient, certificates: Certificates) -> None:
    tls = TlsSettings(ca_file=certificates.ca_file, server_name="identity.example.test")
    async with serve({"/x": answer("ok")}, certificates.server("identity.example.test")) as served:
        assert (await get(client, served.port, scheme="https", tls=tls)).status == 200


async def test_verification_can_be_turned_off(client: HttpClient, certificates: Certificates) -> None:
    async with serve({"/x": answer("ok")}, certificates.server("other.example.test", expired=True)) as served:
        assert (await get(client, served.port, scheme="https", tls=TlsSettings(verify=False))).status == 200


@pytest.mark.parametrize(
    ("name", "expired", "trusted", "reason"),
    [
        ("127.0.0.1", False, False, Reason.TLS_UNTRUSTED),
        ("127.0.0.1", True, True, Reason.TLS_EXPIRED),
        ("other.example.test", False, True, Reason.TLS_NAME_MISMATCH),
    ],
)
async def test_a_certificate_that_does_not_hold_is_named(
    client: HttpClient, certificates: Certificates, tmp_path: Path, name: str, expired: bool, trusted: bool, reason: Reason
) -> None:
    """The connect phase is kept and the handshake is timed, though neither was completed."""
    roots = certificates.ca_file if trusted else Certificates(tmp_path).ca_file
    phases = Recorder()
    async with serve({"/x": answer("ok")}, certificates.server(name, expired=expired)) as served:
        failure = await failing(client, served.port, phases, TlsSettings(ca_file=roots))
    assert (failure.stage, failure.reason) == (Stage.TLS, reason)
    assert set(phases.phases) == {Stage.CONNECT, Stage.TLS}


async def test_plain_http_behind_https_is_a_tls_failure(client: HttpClient) -> None:
    async with serve({"/x": answer("ok")}) as served:
        failure = await failing(client, served.port, tls=TlsSettings(verify=False))
    assert (failure.stage, failure.reason) == (Stage.TLS, Reason.TLS_FAILED)


async def test_a_connection_closed_in_the_handshake_is_the_targets(client: HttpClient) -> None:
    async def slam(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    phases = Recorder()
    async with serve_raw(slam) as served:
        failure = await failing(client, served.port, phases, TlsSettings(verify=False))
    assert failure.stage is Stage.TLS
    assert failure.reason in {Reason.CONNECTION_CLOSED, Reason.TLS_FAILED}
    assert set(phases.phases) == {Stage.CONNECT, Stage.TLS}


async def test_a_handshake_that_hangs_is_a_timeout_in_tls(client: HttpClient) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    phases = Recorder()
    async with serve_raw(hang) as served:
        url, context = URL(f"https://127.0.0.1:{served.port}/"), await ClientTls(TlsSettings(verify=False)).context()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.get(url, phases, max_bytes=9, tls=context), 0.2)
    assert phases.stage is Stage.TLS
    assert set(phases.phases) == {Stage.CONNECT, Stage.TLS}


async def test_a_client_certificate_is_shown(client: HttpClient, certificates: Certificates) -> None:
    tls = TlsSettings(ca_file=certificates.ca_file, cert_file=certificates.client_pem())
    async with serve({"/x": answer("ok")}, certificates.server(ask_client=True)) as served:
        assert (await get(client, served.port, scheme="https", tls=tls)).status == 200


async def test_a_missing_client_certificate_is_the_probers_not_the_targets(
    client: HttpClient, certificates: Certificates
) -> None:
    """TLS 1.3 tells it only after the handshake; the error then comes as an OSError whose errno is of OpenSSL."""
    with handshake_only(certificates.server(ask_client=True)) as port:
        failure = await failing(client, port, tls=TlsSettings(ca_file=certificates.ca_file))
    assert (failure.stage, failure.reason) == (Stage.TLS, Reason.AUTH)


def test_under_uvloop_phases_are_finer_than_its_clock(certificates: Certificates) -> None:
    """uvloop's loop time ticks in milliseconds, in which a loopback exchange has no phases at all."""

    async def main() -> tuple[Recorder, Recorder, Failure]:
        resolver = Resolver()
        client = HttpClient(resolver)
        first, second = Recorder(), Recorder()
        tls = TlsSettings(ca_file=certificates.ca_file)
        try:
            async with serve({"/x": answer("ok")}, certificates.server()) as served:
                await get(client, served.port, first, scheme="https", tls=tls)
                assert (await get(client, served.port, second, scheme="https", tls=tls)).reused
            async with serve({"/x": answer("ok")}, certificates.server("other.example.test")) as served:
                failure = await failing(client, served.port, tls=tls)
        finally:
            await client.close()
            await resolver.close()
        return first, second, failure

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        first, second, failure = runner.run(main())
    assert set(first.phases) == {Stage.CONNECT, Stage.TLS, Stage.SEND, Stage.WAIT, Stage.RECEIVE}
    assert 0 < second.phases[Stage.WAIT] < 0.5
    assert not (second.phases[Stage.WAIT] * 1000).is_integer()
    assert (failure.stage, failure.reason) == (Stage.TLS, Reason.TLS_NAME_MISMATCH)


async def test_a_url_that_is_none_is_internal(client: HttpClient) -> None:
    with pytest.raises(Failure) as caught:
        await client.get(URL("ftp://127.0.0.1/"), Recorder(), max_bytes=9)
    assert caught.value.reason is Reason.INTERNAL

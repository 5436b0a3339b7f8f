"""What a server that wants a client certificate is found to have wanted, and connections that end in the handshake."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import random
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from exporter.net.dial import dial, start_tls
from exporter.net.errors import failure_of
from exporter.net.handshake import _Flight
from exporter.net.phases import NoPhases
from exporter.net.resolver import Resolver
from exporter.net.tls import ClientTls, TlsSettings
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage
from tests.net.servers import Certificates, handshake_only

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def of(port: int, tls: ClientTls, loop: str, *, read: bool = False) -> Failure | None:
    """Shake hands, and read on if wanted; say what went wrong."""

    async def steps() -> None:
        resolver = Resolver()
        reader = asyncio.StreamReader()
        transport, protocol = await dial(
            lambda: asyncio.StreamReaderProtocol(reader), Address("127.0.0.1", port), resolver, NoPhases()
        )
        try:
            async with asyncio.timeout(5):
                secured = await start_tls(transport, protocol, await tls.context(), "127.0.0.1", NoPhases())
                if read:
                    await reader.read(1)
                secured.abort()
        finally:
            transport.abort()
            await resolver.close()
            await asyncio.sleep(0.02)  # the transport closes

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        try:
            runner.run(steps())
        except (OSError, TimeoutError) as error:
            return failure_of(error, Stage.TLS)
    return None


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


def until_1_2(context: ssl.SSLContext) -> ssl.SSLContext:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


@pytest.mark.parametrize("loop", LOOPS)
def test_under_tls_1_2_a_certificate_that_is_missing_is_the_probers_own(certificates: Certificates, loop: str) -> None:
    tls = ClientTls(TlsSettings(ca_file=certificates.ca_file))
    with handshake_only(until_1_2(certificates.server(ask_client=True))) as port:
        found = of(port, tls, loop)
    assert found is not None
    assert (found.stage, found.reason) == (Stage.TLS, Reason.AUTH)
    assert "asked for a client certificate" in found.detail


@pytest.mark.parametrize("loop", LOOPS)
def test_under_tls_1_2_a_certificate_of_another_authority_is_the_probers_own(
    certificates: Certificates, loop: str, tmp_path: Path
) -> None:
    trustme.CA().issue_cert("prober").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "other.pem"))
    tls = ClientTls(TlsSettings(ca_file=certificates.ca_file, cert_file=tmp_path / "other.pem"))
    with handshake_only(until_1_2(certificates.server(ask_client=True))) as port:
        found = of(port, tls, loop)
    assert found is not None
    assert (found.stage, found.reason) == (Stage.TLS, Reason.AUTH)


@pytest.mark.parametrize("loop", LOOPS)
def test_under_tls_1_3_it_is_told_once_something_is_read(certificates: Certificates, loop: str) -> None:
    tls = ClientTls(TlsSettings(ca_file=certificates.ca_file))
    with handshake_only(certificates.server(ask_client=True)) as port:
        found = of(port, tls, loop, read=True)
    assert found is not None
    assert (found.stage, found.reason) == (Stage.TLS, Reason.AUTH)


@pytest.mark.parametrize("loop", LOOPS)
def test_the_right_certificate_is_taken_under_either(certificates: Certificates, loop: str) -> None:
    tls = ClientTls(TlsSettings(ca_file=certificates.ca_file, cert_file=certificates.client_pem()))
    for context in (certificates.server(ask_client=True), until_1_2(certificates.server(ask_client=True))):
        with handshake_only(context) as port:
            assert of(port, tls, loop) is None


@contextmanager
def hanging_up_after_asking(context: ssl.SSLContext) -> Iterator[int]:
    """Serve handshakes up to where the server has asked, and hang up, as one whose alert is lost."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                    incoming.write(connection.recv(65536))
                    with contextlib.suppress(ssl.SSLWantReadError):
                        context.wrap_bio(incoming, outgoing, server_side=True).do_handshake()
                    connection.sendall(outgoing.read())
                    connection.recv(65536)
                    connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(5)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_server_that_asked_and_hangs_up_is_told_from_one_that_did_not_ask(certificates: Certificates, loop: str) -> None:
    tls = ClientTls(TlsSettings(ca_file=certificates.ca_file))
    for ask, reason in ((True, Reason.AUTH), (False, Reason.CONNECTION_CLOSED)):
        with hanging_up_after_asking(until_1_2(certificates.server(ask_client=ask))) as port:
            found = of(port, tls, loop)
        assert found is not None
        assert (found.stage, found.reason) == (Stage.TLS, reason)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_handshake_that_fails_before_the_server_asked_is_the_servers(certificates: Certificates, loop: str) -> None:
    """No cipher in common is the same alert, `handshake_failure`."""
    context = until_1_2(certificates.server(ask_client=True))
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA")
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    tls = ClientTls(TlsSettings(ca_file=certificates.ca_file))

    async def without_it() -> None:
        (await tls.context()).set_ciphers("ECDHE-RSA-AES256-GCM-SHA384")

    asyncio.run(without_it())
    with handshake_only(context) as port:
        found = of(port, tls, loop)
    assert found is not None
    assert (found.stage, found.reason) == (Stage.TLS, Reason.TLS_FAILED)


@pytest.mark.parametrize("loop", LOOPS)
def test_no_server_picks_a_modulus_that_stops_the_loop(certificates: Certificates, loop: str, tmp_path: Path) -> None:
    """Of 10,000 bits, a handshake would take more than a second of CPU."""
    context = until_1_2(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    certificates.ca.issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA).configure_cert(context)
    (tmp_path / "dh.pem").write_text(dh_parameters(10_000))
    context.load_dh_params(str(tmp_path / "dh.pem"))
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    tls = ClientTls(TlsSettings(ca_file=certificates.ca_file))
    dhe, ecdhe = "DHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"
    for offered, reason in ((f"{dhe}:{ecdhe}", None), (dhe, Reason.TLS_FAILED)):
        context.set_ciphers(f"{offered}:@SECLEVEL=0")
        with handshake_only(context) as port:
            before = time.thread_time()
            found = of(port, tls, loop)
            took = time.thread_time() - before
        assert (found and found.reason) == reason
        assert took < 0.3, offered


def dh_parameters(bits: int) -> str:
    """Parameters that nobody has checked, as of a server that means ill: no prime is looked for."""
    modulus = (1 << bits) - 1
    body = b"".join(b"\x02" + der_length(len(number)) + number for number in (b"\0" + modulus.to_bytes(bits // 8), b"\2"))
    pem = base64.encodebytes(b"\x30" + der_length(len(body)) + body).decode()
    return f"-----BEGIN DH PARAMETERS-----\n{pem}-----END DH PARAMETERS-----\n"


def der_length(length: int) -> bytes:
    return bytes([length]) if length < 128 else b"\x82" + length.to_bytes(2)


def test_no_server_shakes_hands_again_and_again(certificates: Certificates) -> None:
    settings = TlsSettings(ca_file=certificates.ca_file)
    assert asyncio.run(ClientTls(settings).context()).options & ssl.OP_NO_RENEGOTIATION


def flight(*messages: tuple[int, bytes]) -> bytes:
    return b"".join(bytes([kind]) + len(body).to_bytes(3) + body for kind, body in messages)


def records(data: bytes, size: int) -> bytes:
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(b"\x16\x03\x03" + len(part).to_bytes(2) + part for part in parts)


@given(st.booleans(), st.integers(1, 200), st.integers(1, 100), st.binary(max_size=300))
def test_a_request_is_seen_however_records_and_pieces_are_cut(asked: bool, record: int, piece: int, body: bytes) -> None:
    messages = [(2, body), (11, body), *([(13, body)] if asked else []), (14, b"")]
    data = records(flight(*messages), record)
    seen = _Flight()
    for start in range(0, len(data), piece):
        seen.feed(data[start : start + piece])
    assert seen.over
    assert seen.certificate_asked is asked


@given(st.binary(max_size=500))
def test_any_bytes_can_be_looked_at(data: bytes) -> None:
    seen = _Flight()
    seen.feed(data)
    seen.feed(data)


def test_no_more_is_looked_at_than_a_handshake_has() -> None:
    seen = _Flight()
    for _ in range(2**12):
        seen.feed(records(b"\x0b\xff\xff\xff" + b"x" * 16_000, 16_384))
    assert seen.over
    assert len(seen._records) + len(seen._messages) < 2**20


def flap(context: ssl.SSLContext, connection: socket.socket, way: int, *, reset: bool) -> None:
    """End a connection in one of the ways there are: before, in or right after the handshake."""
    with contextlib.suppress(OSError), connection:
        connection.settimeout(2)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if 0 < way < 5:
            connection.recv(10 if way == 1 else 10_000)
        if way == 2:
            connection.sendall(os.urandom(100))
        elif way == 3:
            connection.shutdown(socket.SHUT_WR)
        elif way == 4:
            connection.sendall(b"\x15\x03\x03\x00\x02\x01\x00")  # close_notify
        elif way > 4:
            context.wrap_socket(connection, server_side=True).close()


@contextmanager
def flapping(context: ssl.SSLContext) -> Iterator[int]:
    """Serve TLS that ends in every way there is."""
    chance = random.Random(1)
    threads: list[threading.Thread] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                how = {"reset": chance.random() < 0.5}
                threads.append(threading.Thread(target=flap, args=(context, connection, chance.randrange(7)), kwargs=how))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        accepting = threading.Thread(target=serve)
        accepting.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            for thread in (accepting, *threads):
                thread.join(5)


@pytest.mark.parametrize("loop", LOOPS)
def test_what_is_called_tls_is_tls_whenever_the_connection_ends(certificates: Certificates, loop: str) -> None:
    """uvloop returned a transport whose handshake had never been: plain text would have gone over it."""
    tls = ClientTls(TlsSettings(ca_file=certificates.ca_file))
    ways: Counter[str] = Counter()

    async def shake(resolver: Resolver) -> None:
        try:
            transport, protocol = await dial(asyncio.Protocol, Address("127.0.0.1", port), resolver, NoPhases())
        except ConnectionError:
            return
        try:
            async with asyncio.timeout(1):
                secured = await start_tls(transport, protocol, await tls.context(), "127.0.0.1", NoPhases())
            assert secured.get_extra_info("ssl_object") is not None
            secured.abort()
            ways["tls"] += 1
        except OSError as error:
            found = failure_of(error, Stage.TLS)
            assert found is not None
            ways[found.reason.value] += 1
        finally:
            transport.abort()

    async def steps() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # uvloop's own words about closed transports
        resolver = Resolver()
        for _ in range(60):
            await asyncio.gather(*(shake(resolver) for _ in range(8)))
        await resolver.close()
        await asyncio.sleep(0.05)  # the transports of the last ones close

    with flapping(certificates.server()) as port, asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(steps())
    assert set(ways) <= {"tls", "connection_closed", "tls_failed"}
    assert len(ways) == 3

"""The HTTP client against peers that send on and on: each ends soon, in little memory, and the loop has its turns."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import itertools
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import uvloop
from yarl import URL

from exporter.net.http import Answer, HttpClient, Request
from exporter.net.phases import NoPhases
from exporter.net.resolver import Resolver
from exporter.net.tls import ClientTls, TlsSettings
from exporter.verdict import Failure, Reason, Stage
from tests.net.servers import Certificates, answer, says, serve, serve_raw
from tests.pace import piece_of_work

MAX_BYTES = 8_388_608
STALL = 4.0
"""Times what a fixed piece of work takes, that the loop's thread may spend between two turns: 12 ms and more."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    resolver = Resolver()
    opened = HttpClient(resolver)
    yield opened
    await opened.close()
    await resolver.close()


def url(port: int, scheme: str = "http") -> URL:
    return URL(f"{scheme}://127.0.0.1:{port}/")


@contextmanager
def flooding(head: bytes, pieces: Iterable[bytes]) -> Iterator[int]:
    """Answer every connection from a thread of its own with these bytes, until it is closed; yields the port."""
    threads: list[threading.Thread] = []

    def talk(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65_536)
            connection.sendall(head)
            for piece in pieces:
                connection.sendall(piece)

    def accept(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                threads.append(threading.Thread(target=talk, args=(connection,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threads.append(threading.Thread(target=accept, args=(listening,)))
        threads[0].start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)  # wakes accept
            for thread in threads:
                thread.join(5)
                assert not thread.is_alive()


class Stalls:
    """Notes the longest that the loop's thread worked between two turns."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def __aenter__(self) -> Stalls:
        self._task = asyncio.create_task(self._watch())
        await asyncio.sleep(0.01)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _watch(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            self.longest = max(self.longest, time.thread_time() - before)
            await asyncio.sleep(0.0005)


EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
FLOODS = {
    "informational answers": (b"", EARLY * 2000),
    "short informational answers": (b"", b"HTTP/1.1 100 \r\n\r\n" * 5000),
    "chunks of a byte": (CHUNKED, b"1\r\na\r\n" * 20_000),
    "an extension of a chunk": (CHUNKED + b"5;x=", b"a" * 65_536),
    "trailers": (CHUNKED + b"2\r\nok\r\n0\r\n", b"X: y\r\n" * 10_000),
    "one trailer": (CHUNKED + b"2\r\nok\r\n0\r\nX: ", b"a" * 65_536),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_a_flood_ends_soon_in_little_memory_and_leaves_the_loop_its_turns(flood: tuple[bytes, bytes]) -> None:
    """On the exporter's own loop, which reads a quarter of a megabyte at once."""

    async def steps(port: int) -> tuple[Failure, float, int]:
        resolver = Resolver()
        client = HttpClient(resolver)
        try:
            async with Stalls() as stalls, asyncio.timeout(5):
                with pytest.raises(Failure) as caught:
                    await client.get(url(port), NoPhases(), max_bytes=MAX_BYTES)
            tracemalloc.start()
            with pytest.raises(Failure):
                await client.get(url(port), NoPhases(), max_bytes=MAX_BYTES)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            await client.close()
            await resolver.close()
        return caught.value, stalls.longest, peak

    with (
        flooding(flood[0], itertools.repeat(flood[1])) as port,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        failure, stall, peak = runner.run(steps(port))
    assert failure.reason is Reason.PROTOCOL
    assert stall < max(0.020, STALL * piece_of_work())
    assert peak < 8_000_000


async def test_informational_answers_are_not_the_answer(client: HttpClient) -> None:
    async with serve_raw(says(EARLY * 3 + b"HTTP/1.1 100 Continue\r\n\r\n" + OK)) as served:
        got = await client.get(url(served.port), NoPhases(), max_bytes=9)
    assert (got.status, got.body, dict(got.headers)) == (200, b"ok", {"content-length": "2"})


async def test_a_switch_to_another_protocol_is_refused(client: HttpClient) -> None:
    said = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"
    async with serve_raw(says(said, then_hang=True)) as served:
        with pytest.raises(Failure) as caught:
            await client.get(url(served.port), NoPhases(), max_bytes=9)
    assert (caught.value.stage, caught.value.reason) == (Stage.WAIT, Reason.PROTOCOL)


async def test_a_body_without_a_length_lasts_until_the_connection_is_closed(client: HttpClient) -> None:
    async with serve_raw(says(b"HTTP/1.0 200 OK\r\n\r\nas long as it lasts")) as served:
        got = await client.get(url(served.port), NoPhases(), max_bytes=99)
    assert got.body == b"as long as it lasts"


async def test_headers_are_found_in_any_case_and_joined_where_they_come_twice(client: HttpClient) -> None:
    said = b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nLocation: /\xe4\r\nContent-Length: 0\r\n\r\n"
    async with serve_raw(says(said)) as served:
        got = await client.get(url(served.port), NoPhases(), max_bytes=9)
    assert (got.headers["X-a"], got.headers.get("LOCATION"), got.headers.get("none")) == ("1, 2", "/ä", None)


# --- kept connections ---------------------------------------------------------------------------------------------------


class Keeping:
    """Answers each request of a connection with the next of these; the last one again and again."""

    def __init__(self, *answers: bytes, pause: float = 0.0) -> None:
        self._answers = answers
        self._pause = pause
        self.closed = 0
        self.requests = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for said in itertools.chain(self._answers, itertools.repeat(self._answers[-1])):
                await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                if not said:
                    return
                writer.write(said)
                if self._pause:
                    await asyncio.sleep(self._pause)
                    writer.write(b"more")
        finally:
            self.closed += 1


async def asked(client: HttpClient, port: int, **options: object) -> Answer:
    async with asyncio.timeout(5):
        return await client.get(url(port), NoPhases(), max_bytes=9, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("server", [Keeping(OK * 2), Keeping(OK + b"x"), Keeping(OK, pause=0.01)])
async def test_what_nobody_asked_for_is_never_the_next_answer(client: HttpClient, server: Keeping) -> None:
    async with serve_raw(server) as served:
        first = await asked(client, served.port)
        await asyncio.sleep(0.05)
        second = await asked(client, served.port)
        assert served.connections == 2
    assert [first.body, second.body] == [b"ok", b"ok"]
    assert not second.reused


async def test_a_request_over_a_kept_connection_that_was_closed_just_then_is_sent_again_once(client: HttpClient) -> None:
    """But not one that got half an answer: that is an answer."""
    async with serve_raw(Keeping(OK, b"")) as served:
        found = [await asked(client, served.port) for _ in range(2)]
        assert (served.connections, [got.reused for got in found]) == (2, [False, False])
    async with serve_raw(Keeping(OK, OK[:20])) as served:
        await asked(client, served.port)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.get(url(served.port), NoPhases(), max_bytes=9), 0.2)
        assert served.connections == 1


async def test_a_form_is_never_sent_twice(client: HttpClient) -> None:
    """It goes over a connection of its own, so that it cannot meet one that is being closed."""
    server = Keeping(OK, b"")
    async with serve_raw(server) as served:
        await asked(client, served.port)
        for _ in range(2):
            await client.post_form(url(served.port), NoPhases(), form={}, max_bytes=9)
    assert (served.connections, server.requests) == (3, 3)


async def test_a_connection_made_for_a_spare_request_is_not_kept(client: HttpClient) -> None:
    server = Keeping(OK)
    async with serve_raw(server) as served:
        request = Request.get(url(served.port))
        await client.ask(request, NoPhases(), max_bytes=9, spare=True)
        await asyncio.sleep(0.05)
        assert server.closed == 1
        await client.ask(request, NoPhases(), max_bytes=9)
        assert (await client.ask(request, NoPhases(), max_bytes=9, spare=True)).reused
        assert (await client.ask(request, NoPhases(), max_bytes=9)).reused, "one that was kept before stays"


async def test_an_idle_connection_holds_on_to_nothing_of_the_attempt_before(client: HttpClient) -> None:
    class Big(NoPhases):
        pass

    async with serve({"/": answer("ok")}) as served:
        phases = Big()
        await client.get(url(served.port), phases, max_bytes=9)
        del phases
        gc.collect()
        assert not [thing for thing in gc.get_objects() if isinstance(thing, Big)]


async def test_a_connection_is_not_kept_beyond_what_the_peer_showed(client: HttpClient, tmp_path: Path) -> None:
    """A certificate that expires while its connection is kept is found at the next request, not at the next connection."""
    certificates = Certificates(tmp_path)
    tls = await ClientTls(TlsSettings(ca_file=certificates.ca_file)).context()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    expires = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(seconds=2)
    certificates.ca.issue_cert("127.0.0.1", not_after=expires).configure_cert(server)
    async with serve({"/": answer("ok")}, server) as served:
        for reused in (False, True):
            got = await client.get(url(served.port, "https"), NoPhases(), max_bytes=9, tls=tls)
            assert got.reused is reused
        await asyncio.sleep((expires - dt.datetime.now(dt.UTC)).total_seconds() + 1.1)
        with pytest.raises(Failure) as caught:
            await client.get(url(served.port, "https"), NoPhases(), max_bytes=9, tls=tls)
    assert (caught.value.stage, caught.value.reason) == (Stage.TLS, Reason.TLS_EXPIRED)


async def test_what_was_kept_over_a_retired_context_is_closed(client: HttpClient, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    old = await ClientTls(TlsSettings(ca_file=certificates.ca_file)).context()
    new = await ClientTls(TlsSettings(ca_file=certificates.ca_file, verify=False)).context()
    server = Keeping(OK)
    async with serve_raw(server, certificates.server()) as served:
        for context in (old, new):
            await client.get(url(served.port, "https"), NoPhases(), max_bytes=9, tls=context)
        assert server.closed == 0
        client.retire(old)
        await asyncio.sleep(0.1)
        assert server.closed == 1
        assert (await client.get(url(served.port, "https"), NoPhases(), max_bytes=9, tls=new)).reused


@pytest.mark.parametrize("header", [{"X": "a\r\nb: c"}, {"X": "a\nb"}, {"X\r\n": "a"}])
async def test_a_header_that_would_be_another_is_not_sent(client: HttpClient, header: dict[str, str]) -> None:
    async with serve({"/": answer("ok")}) as served:
        with pytest.raises(Failure) as caught:
            await client.get(url(served.port), NoPhases(), max_bytes=9, headers=header)
    assert caught.value.reason is Reason.INTERNAL
    assert served.requests == []

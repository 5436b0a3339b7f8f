"""Answers that are made once for all who ask at the moment."""

from __future__ import annotations

import asyncio
import gc
import gzip
import threading
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress

import pytest
from aiohttp import ClientSession
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.engine.views import TargetView
from exporter.values import Address
from exporter.verdict import Verdict
from exporter.web import compression
from exporter.web.server import serve
from tests.web.conftest import ANYWHERE
from tests.web.samples import FakeBackend, large_fleet, service

OPENMETRICS = {"Accept": "application/openmetrics-text"}


class Pack:
    """Compression that is counted and can be held up."""

    def __init__(self) -> None:
        self.bodies: Counter[bytes] = Counter()
        self.may = threading.Event()
        self.may.set()
        self._real = compression.pack

    def __call__(self, pieces: Iterable[bytes]) -> bytes:
        body = b"".join(pieces)
        self.bodies[body] += 1
        assert self.may.wait(20)
        return self._real([body])


@pytest.fixture
def pack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pack]:
    """Compression, watched."""
    watched = Pack()
    monkeypatch.setattr(compression, "pack", watched)
    yield watched
    watched.may.set()


async def scrape(client: ClientSession, *, packed: bool, openmetrics: bool) -> str:
    headers = (OPENMETRICS if openmetrics else {}) | ({"Accept-Encoding": "gzip"} if packed else {})
    async with client.get("/metrics", headers=headers) as answer:
        assert answer.status == 200
        body = await answer.read()
        assert ("Content-Encoding" in answer.headers) is packed
        return (gzip.decompress(body) if packed else body).decode()


async def in_step(address: Address, *requests: str) -> list[bytes]:
    """Send requests so that the server finds all of them at one look, over connections that are open already."""
    streams = [await asyncio.open_connection(*address) for _ in requests]
    await asyncio.sleep(0.05)
    for (_, writer), request in zip(streams, requests, strict=True):
        writer.write(request.encode())
    answers = await asyncio.gather(*(reader.read() for reader, _ in streams))
    for _, writer in streams:
        writer.close()
    return answers


async def test_twenty_scrapers_at_once_are_one_join_and_one_compression_for_each_format(
    address: Address, backend: FakeBackend, pack: Pack
) -> None:
    """Each scraper had a join and a compression of its own."""
    backend.exposition *= 100
    text = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    kinds = [text + accept + encoding + "\r\n" for accept in ("", "Accept: application/openmetrics-text\r\n")
             for encoding in ("", "Accept-Encoding: gzip\r\n")]  # fmt: skip
    answers = await in_step(address, *kinds * 5)
    assert len(answers) == 20
    for number, answer in enumerate(answers):
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert (b"Content-Encoding: gzip" in head) is (number % 2 == 1)
        plain = gzip.decompress(body) if number % 2 else body
        assert plain == backend.exposition + (b"# EOF\n" if number % 4 >= 2 else b"")
    assert sorted(backend.joins) == [False, True]
    assert sorted(pack.bodies.values()) == [1, 1]


async def test_what_is_shared_parses_in_both_formats(client: ClientSession) -> None:
    texts = await asyncio.gather(*(scrape(client, packed=False, openmetrics=n % 2 == 1) for n in range(8)))
    assert [family.name for family in parse_text(texts[0])] == ["probe_success"]
    assert [family.name for family in parse_openmetrics(texts[1])] == ["probe_success"]  # type: ignore[no-untyped-call]


async def test_who_asks_while_one_is_made_gets_the_next_which_is_of_after_they_asked(
    client: ClientSession, backend: FakeBackend, pack: Pack
) -> None:
    backend.exposition = b"# first\n" * 1000
    pack.may.clear()
    first = asyncio.create_task(scrape(client, packed=True, openmetrics=False))
    while not pack.bodies:
        await asyncio.sleep(0.01)
    backend.exposition = b"# second\n" * 1000
    later = [asyncio.create_task(scrape(client, packed=n % 2 == 0, openmetrics=False)) for n in range(6)]
    await asyncio.sleep(0.1)
    assert backend.joins == [False]
    pack.may.set()
    assert (await first).startswith("# first")
    assert {text[:8] for text in await asyncio.gather(*later)} == {"# second"}
    assert backend.joins == [False, False]
    assert sorted(pack.bodies.values()) == [1, 1]


async def test_one_who_goes_away_takes_nothing_from_the_others(
    client: ClientSession, backend: FakeBackend, pack: Pack
) -> None:
    backend.exposition *= 100
    pack.may.clear()
    scrapers = [asyncio.create_task(scrape(client, packed=True, openmetrics=False)) for _ in range(3)]
    while not pack.bodies:
        await asyncio.sleep(0.01)
    scrapers[0].cancel()
    await asyncio.sleep(0.05)
    pack.may.set()
    assert [len(text) for text in await asyncio.gather(*scrapers[1:])] == [len(backend.exposition)] * 2


async def test_a_failure_is_everybodys_and_the_next_is_made_anew(
    client: ClientSession, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*, openmetrics: bool) -> bytes:
        raise RuntimeError("a defect")

    async def status(packed: str) -> int:
        async with client.get("/metrics", headers={"Accept-Encoding": packed}) as answer:
            return answer.status

    with monkeypatch.context() as patch:
        patch.setattr(backend, "parts", broken)
        assert await asyncio.gather(*(status(packed) for packed in ("gzip", "identity") * 3)) == [500] * 6
    assert await status("gzip") == 200


async def test_nothing_is_held_on_to_after_a_scrape(client: ClientSession, backend: FakeBackend) -> None:
    """Bodies are ten megabytes and more: the server must not keep the last one until the next scrape."""
    backend.exposition = b"# x\n" * 500_000
    await asyncio.gather(*(scrape(client, packed=n % 2 == 1, openmetrics=True) for n in range(8)))
    await client.close()

    def kept() -> list[bytes]:
        gc.collect()
        large = [item for item in _bytes_reached() if len(item) > 1_000 and item is not backend.exposition]
        return [item for item in large if b"# x\n# x\n" in (item[:8], _unpacked(item))]

    async with asyncio.timeout(10):
        while kept():  # connections take a moment to end
            await asyncio.sleep(0.05)


def _unpacked(item: bytes) -> bytes:
    """Return the first bytes of what is packed; other tests of this process may hold on to packed bytes of their own."""
    if not item.startswith(b"\x1f\x8b"):
        return b""
    with suppress(zlib.error):
        return zlib.decompressobj(wbits=31).decompress(item, 8)
    return b""


def _bytes_reached() -> Iterator[bytes]:
    """Yield the byte strings that any object known to the garbage collector refers to."""
    for holder in gc.get_objects():
        for item in gc.get_referents(holder):
            if isinstance(item, bytes):
                yield item


async def test_the_end_of_the_server_ends_what_is_being_made(backend: FakeBackend, pack: Pack) -> None:
    backend.exposition *= 100
    pack.may.clear()
    async with serve(backend, ANYWHERE) as address, ClientSession(f"http://{address}") as client:
        waiting = asyncio.create_task(scrape(client, packed=True, openmetrics=False))
        while not pack.bodies:
            await asyncio.sleep(0.01)
        waiting.cancel()
    pack.may.set()
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("web:")] == []


async def test_readers_of_a_second_share_one_status_page_until_something_changes(
    client: ClientSession, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(path: str = "/") -> str:
        async with client.get(path) as answer:
            return await answer.text()

    assert len(set(await asyncio.gather(*(read() for _ in range(10))))) == 1
    await read()
    assert backend.lists == 1
    assert "Paused" in await read("/?refresh=off")  # another page of the same fleet
    assert backend.lists == 1
    backend.view = backend.view.model_copy(update={"services": [service("case", [], Verdict.DOWN)]})
    assert "case is down" in await read()
    assert backend.lists == 2
    loop = asyncio.get_running_loop()
    real = loop.time
    monkeypatch.setattr(loop, "time", lambda: real() + 1.0)
    await read()
    assert backend.lists == 3


class Watched(FakeBackend):
    """A daemon of many targets that notes how far its readers have come, and how many are served at a time."""

    made = 0
    fails_at = 0

    def targets(self, service: str | None, probe: str | None, verdict: Verdict | None) -> Iterator[TargetView]:
        for item in super().targets(service, probe, verdict):
            self.made += 1
            if self.made == self.fails_at:
                raise RuntimeError("in the middle")
            yield item


@pytest.fixture
async def watched() -> AsyncIterator[tuple[Watched, ClientSession]]:
    """A server over it, and a client with a small buffer of its own."""
    backend = Watched(view=large_fleet(4000))
    async with serve(backend, ANYWHERE) as address, ClientSession(f"http://{address}", read_bufsize=1024) as client:
        yield backend, client


async def test_a_list_of_targets_is_made_as_it_is_read(watched: tuple[Watched, ClientSession]) -> None:
    """All of it was whole in memory, twice, before the first byte left."""
    backend, client = watched
    async with client.get("/api/v1/targets", headers={"Accept-Encoding": "identity"}) as answer:
        await answer.content.readexactly(1000)
        await asyncio.sleep(0.5)
        assert 0 < backend.made < 4000
        await answer.read()
    assert backend.made == 4000
    async with client.get("/api/v1/targets", headers={"Accept-Encoding": "gzip"}) as answer:
        assert len((await answer.json())["targets"]) == 4000
    async with client.head("/api/v1/targets") as answer:
        assert (answer.status, await answer.read()) == (200, b"")
    assert backend.made == 8000


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_a_defect_in_the_middle_does_not_look_like_an_end(
    watched: tuple[Watched, ClientSession], encoding: str, caplog: pytest.LogCaptureFixture
) -> None:
    backend, client = watched
    backend.fails_at = 3000
    with pytest.raises(Exception, match=r"(?i)payload|disconnected|reset|closed"):
        async with client.get("/api/v1/targets", headers={"Accept-Encoding": encoding}) as answer:
            await answer.read()
    assert "in the middle" in caplog.text


async def test_only_those_targets_are_made_that_are_asked_for(watched: tuple[Watched, ClientSession]) -> None:
    """F12: for one service all of the fleet's were made."""
    backend, client = watched
    async with client.get("/api/v1/services/service-7") as answer:
        assert len((await answer.json())["targets"]) == 8
    assert backend.made == 8
    async with client.get("/services/service-7") as answer:
        assert answer.status == 200
    async with client.get("/api/v1/services") as answer:
        assert len((await answer.json())["services"]) == 500
    assert backend.made == 8

"""Pages that are open are told of changes: by whom they may be many, slow, gone without a word, or a stranger's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from aiohttp import ClientSession

from exporter.config.server import Roles, Server
from exporter.values import Address
from exporter.web import events
from exporter.web.access import Access
from exporter.web.limits import ServerLimits
from exporter.web.server import serve
from tests.waiting import SLACK
from tests.web.conftest import ANYWHERE
from tests.web.raw import Raw
from tests.web.samples import FakeBackend, database_down, healthy_fleet

ASK = "GET /events HTTP/1.1\r\nHost: {}\r\n\r\n"
CHANGE = b"event: change\ndata: 1\n\n"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look and beat often."""
    monkeypatch.setattr(events, "LOOK", 0.02)
    monkeypatch.setattr(events, "BEAT", 0.05)


@pytest.fixture
async def few(backend: FakeBackend) -> AsyncIterator[Address]:
    """A server that tells three pages of changes, and has 12 connections."""
    limits = ServerLimits(events=3, connections=12, send=0.5)
    async with serve(backend, ANYWHERE, limits) as address:
        yield address


async def subscribe(stack: AsyncExitStack, address: Address) -> Raw:
    """Ask for events, and read nothing."""
    raw = await stack.enter_async_context(Raw(address))
    await raw.send(ASK.format(address))
    return raw


async def until_status(address: Address, wanted: int) -> None:
    """Ask for events, each time anew, until the answer is that."""
    async with asyncio.timeout(10 * SLACK), ClientSession() as client:
        while True:
            async with client.get(f"http://{address}/events") as answer:
                if answer.status == wanted:
                    return
            await asyncio.sleep(0.02)


async def test_of_two_thousand_subscribers_so_many_are_told_and_the_others_refused(
    backend: FakeBackend,
) -> None:
    """And everybody else is answered all the while."""
    limits = ServerLimits()
    async with serve(backend, ANYWHERE, limits) as address, AsyncExitStack() as stack:
        for _ in range(20):
            await asyncio.gather(*(subscribe(stack, address) for _ in range(100)))
        await until_status(address, 503)
        async with ClientSession(f"http://{address}") as client:
            for path in ("/", "/metrics", "/-/healthy"):
                async with client.get(path) as answer:
                    assert answer.status == 200, path
            async with client.get("/events") as answer:
                assert answer.headers["Retry-After"] == "60"


@pytest.mark.usefixtures("quick")
async def test_a_place_is_free_again_once_its_page_is_closed(few: Address) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await subscribe(stack, few)
        await until_status(few, 503)
    await until_status(few, 200)


async def test_one_that_is_gone_without_a_word_holds_its_place_for_a_while_only(
    few: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half-open: nothing tells the exporter, until it has the page ask again."""
    monkeypatch.setattr(events, "LOOK", 0.02)
    monkeypatch.setattr(events, "LIFE", 0.5)
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await subscribe(stack, few)
        await until_status(few, 200)


@pytest.mark.usefixtures("quick")
async def test_a_storm_of_changes_is_one_event_a_look(
    client: ClientSession, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LOOK", 0.3)
    async with client.get("/events") as answer:
        await answer.content.readuntil(b"\n\n")
        for _ in range(50):
            backend.view = healthy_fleet()
        assert await answer.content.readuntil(b"\n\n") == CHANGE
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.45):
                while await answer.content.readuntil(b"\n\n") != CHANGE:
                    pass


@pytest.mark.usefixtures("quick")
async def test_silence_is_broken_so_that_both_sides_know_of_each_other(client: ClientSession) -> None:
    """A page open for hours, of a fleet in which nothing changes."""
    async with client.get("/events") as answer:
        await answer.content.readuntil(b"\n\n")
        for _ in range(3):
            assert await answer.content.readuntil(b"\n\n") == b": still there\n\n"


async def test_the_end_of_the_exporter_ends_them_at_once_and_whole(backend: FakeBackend) -> None:
    """Not by a reset: the browser is to try again, and says so."""
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        async with serve(backend, ANYWHERE) as address:
            raws = [await subscribe(stack, address) for _ in range(10)]
            await until_changed(address, backend)
            began = loop.time()
        assert loop.time() - began < 2 * SLACK
        for raw in raws:
            assert (await raw.read()).endswith(b"0\r\n\r\n")


async def until_changed(address: Address, backend: FakeBackend) -> None:
    """Wait until a subscriber that came later is told of a change: those before it are."""
    async with ClientSession() as client, client.get(f"http://{address}/events") as answer:
        await answer.content.readuntil(b"\n\n")
        backend.view = database_down()
        assert await answer.content.readuntil(b"\n\n") == CHANGE


@pytest.mark.parametrize("link", ["evil.example.com", "example.org:80"])
async def test_a_stranger_by_another_name_is_told_nothing(address: Address, link: str) -> None:
    """DNS rebinding: nor when something changes."""
    async with ClientSession() as client:
        headers = {"Host": link, "User-Agent": "Mozilla/5.0"}
        async with client.get(f"http://{address}/events", headers=headers) as answer:
            assert answer.status == 421


async def test_a_page_of_another_site_cannot_read_them(client: ClientSession) -> None:
    async with client.get("/events", headers={"Origin": "https://evil.example.com"}) as answer:
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.usefixtures("quick")
async def test_whoever_loses_the_role_is_told_for_a_while_only(
    backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload takes the role away: the stream ends by itself, and asking again is refused."""
    monkeypatch.setattr(events, "LIFE", 0.5)
    server = [Server()]
    async with (
        serve(backend, ANYWHERE, access=Access(server=lambda: server[0])) as address,
        ClientSession(f"http://{address}") as client,
    ):
        async with client.get("/events") as answer:
            server[0] = Server(roles=Roles(pages=("oncall",)))
            async with asyncio.timeout(10 * SLACK):
                await answer.content.read()
        async with client.get("/events") as answer:
            assert answer.status == 403


async def test_they_are_for_reading_alone(client: ClientSession) -> None:
    for method in ("POST", "HEAD"):
        async with client.request(method, "/events") as answer:
            assert answer.status == 405


async def test_one_that_says_that_no_more_comes_gives_up_its_place(few: Address) -> None:
    """Half-closed, as by a proxy that has lost its client."""
    async with AsyncExitStack() as stack:
        for _ in range(3):
            (await subscribe(stack, few)).finish()
        await until_status(few, 200)

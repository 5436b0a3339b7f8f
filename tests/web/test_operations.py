"""`/-/healthy`, `/-/ready`, `/-/reload`."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import ClientSession

from exporter.engine.views import SharingView
from exporter.values import Address
from tests.web.raw import Raw
from tests.web.samples import FakeBackend


async def test_alive_and_ready_are_said_in_a_word(client: ClientSession) -> None:
    for name in ("healthy", "ready"):
        async with client.get(f"/-/{name}") as answer:
            assert (answer.status, await answer.text()) == (200, f"{name}\n")


async def test_one_of_several_says_what_it_is_to_the_others(client: ClientSession, backend: FakeBackend) -> None:
    async with client.get("/-/lease") as answer:
        assert answer.status == 404
    text = "following hafnium-0_1"
    sharing = SharingView(kind="lease", role="following", leader="hafnium-0_1", shard=None, shards=None, text=text)
    backend.view = backend.view.model_copy(update={"sharing": sharing})
    backend.lease = {"identity": "hafnium-1_2", "role": "following", "waits": False}
    async with client.get("/-/ready") as answer:
        assert (answer.status, await answer.text()) == (200, "ready\nfollowing hafnium-0_1\n")
    async with client.get("/-/lease") as answer:
        assert await answer.json() == backend.lease


async def test_what_is_not_so_says_why(client: ClientSession, backend: FakeBackend) -> None:
    backend.unready, backend.unhealthy = "3 targets have not been probed yet", "it is stopping"
    async with client.get("/-/ready") as answer:
        assert (answer.status, await answer.text()) == (503, "not ready: 3 targets have not been probed yet\n")
    async with client.get("/-/healthy") as answer:
        assert (answer.status, await answer.text()) == (503, "not healthy: it is stopping\n")


async def test_a_reload_that_works_says_so(client: ClientSession, backend: FakeBackend) -> None:
    async with client.post("/-/reload") as answer:
        assert (answer.status, await answer.text()) == (200, "the configuration was reloaded\n")
    assert backend.reloads == 1


async def test_a_reload_that_fails_lists_every_problem(client: ClientSession, backend: FakeBackend) -> None:
    backend.problems = ["exporter.yml:3:1: servces: unknown key", "exporter.yml:9:5: interval: expected a duration"]
    async with client.post("/-/reload") as answer:
        text = await answer.text()
        assert answer.status == 400
        assert "the old one is kept" in text
        assert all(problem in text for problem in backend.problems)


async def test_reading_does_not_reload(client: ClientSession, backend: FakeBackend) -> None:
    async with client.get("/-/reload") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert backend.reloads == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://]:9818"},
        {"Origin": "http://℀.com"},
        {"Origin": "http://[::1"},
        {"Origin": "http://[v1.x]/"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_page_of_another_site_cannot_reload(
    client: ClientSession, backend: FakeBackend, headers: dict[str, str]
) -> None:
    async with client.post("/-/reload", headers=headers) as answer:
        assert answer.status == 403
    assert backend.reloads == 0


async def test_a_page_of_this_site_can_reload(client: ClientSession, address: Address) -> None:
    headers = {"Origin": f"http://{address}", "Sec-Fetch-Site": "same-origin"}
    async with client.post("/-/reload", headers=headers) as answer:
        assert answer.status == 200


async def test_a_reload_is_carried_through_when_the_client_is_gone(address: Address, backend: FakeBackend) -> None:
    backend.hold = asyncio.Event()
    async with Raw(address) as raw:
        await raw.send("POST /-/reload HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.05)
    backend.hold.set()
    async with asyncio.timeout(5):
        while not backend.reloads:
            await asyncio.sleep(0.01)

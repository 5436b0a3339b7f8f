"""The other exporters of a lease, which may be anything that answers under their name."""

from __future__ import annotations

import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from exporter.ownership.peers import PATH, OtherExporters
from exporter.ownership.settings import Peers
from exporter.probing.probe import SharedClients
from exporter.verdict import Failure


async def wait(shared: SharedClients, body: bytes) -> bool:
    """Ask one that says something."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    application = web.Application()
    application.router.add_get(PATH, answer)
    async with TestServer(application, host="127.0.0.1") as server:
        settings = Peers.model_construct(
            dns="127.0.0.1", port=server.port or 0
        )  # a name may have an address of another family
        return await OtherExporters(settings, "a", shared.http, shared.resolver).wait()


@pytest.mark.parametrize(
    ("said", "waits"),
    [
        ({"identity": "b", "waits": True}, True),
        ({"identity": "b", "waits": 1}, False),
        ({"identity": "a", "waits": True}, False),
    ],
)
async def test_the_others_wait_if_each_of_them_says_so(said: dict[str, object], waits: bool, shared: SharedClients) -> None:
    assert await wait(shared, json.dumps(said).encode()) is waits


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"identity": 1}', b"[" * 4_000, b"1" * 4_096, b"\xff"])
async def test_what_is_no_answer_is_a_failure_whatever_it_is(body: bytes, shared: SharedClients) -> None:
    with pytest.raises(Failure, match="does not say what it is"):
        await wait(shared, body)

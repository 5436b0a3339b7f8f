"""What strangers send to the one endpoint that reads something."""

from __future__ import annotations

import asyncio
import zlib
from contextlib import AsyncExitStack

import pytest
from aiohttp import ClientSession

from exporter.web.access import Access
from exporter.web.limits import ServerLimits
from exporter.web.server import serve
from tests.web.conftest import ANYWHERE
from tests.web.raw import Raw
from tests.web.samples import FakeBackend

FORM = "application/x-www-form-urlencoded"
HEAD = "POST /probe/now HTTP/1.1\r\nHost: {}\r\nContent-Type: " + FORM + "\r\n"


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        (f"{FORM}; charset=nonsense", b"service=nobody", 404),
        (FORM, b"service=\xff\xfe", 400),
        (FORM, b"service=%ff%fe", 400),
        (FORM, b"&".join(b"a=1" for _ in range(5000)), 400),
        (FORM, b"service=" + "a\u202e<script>".encode() + b"%00", 404),
        (FORM, b"service=" + b"a" * 70_000, 413),
        ("multipart/form-data", b"x", 415),
        ("multipart/form-data; boundary=x", b"garbage", 415),
        ("application/json", b"{}", 415),
    ],
)
async def test_what_is_no_form_is_refused_and_no_defect(
    backend: FakeBackend, content_type: str, body: bytes, status: int
) -> None:
    """A defect would alert: strangers are not to do that."""
    defects: list[str] = []
    access = Access(defect=lambda what, _error: defects.append(what))
    async with (
        serve(backend, ANYWHERE, access=access) as address,
        ClientSession(f"http://{address}") as client,
        client.post("/probe/now", data=body, headers={"Content-Type": content_type}) as answer,
    ):
        assert answer.status == status
        assert "<script>" not in await answer.text()
    assert defects == []


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "nonsense"])
@pytest.mark.parametrize("body", [b"service=nobody", zlib.compress(b"a" * 10_000_000)])
@pytest.mark.parametrize("path", ["/probe/now", "/-/reload", "/metrics"])
async def test_what_claims_to_be_compressed_is_not_unpacked_and_no_defect(
    backend: FakeBackend, path: str, coding: str, body: bytes
) -> None:
    defects: list[str] = []
    access = Access(defect=lambda what, _error: defects.append(what))
    async with (
        serve(backend, ANYWHERE, access=access) as address,
        ClientSession(f"http://{address}") as client,
        client.post(path, data=body, headers={"Content-Type": FORM, "Content-Encoding": coding}) as answer,
    ):
        assert 400 <= answer.status < 500
    assert defects == []


@pytest.mark.parametrize("rest", ["Transfer-Encoding: chunked\r\n\r\nzz\r\n", "Content-Length: 100\r\n\r\nservice=a"])
async def test_one_that_is_cut_off_is_no_defect(backend: FakeBackend, rest: str) -> None:
    defects: list[str] = []
    access = Access(defect=lambda what, _error: defects.append(what))
    async with serve(backend, ANYWHERE, access=access) as address:
        async with Raw(address) as raw:
            await raw.send(HEAD.format(address) + rest)
            raw.finish()
            await raw.read()
        async with ClientSession() as client, client.get(f"http://{address}/-/healthy") as answer:
            assert answer.status == 200
    assert defects == []


async def test_one_whose_sender_is_gone_is_no_defect(backend: FakeBackend) -> None:
    defects: list[str] = []
    access = Access(defect=lambda what, error: defects.append(f"{what}: {error!r}"))
    async with serve(backend, ANYWHERE, access=access) as address:
        async with Raw(address) as raw:
            await raw.send(HEAD.format("localhost") + "Content-Length: 50\r\n\r\nservice=")
            await asyncio.sleep(0.1)
            raw.reset()
        await asyncio.sleep(0.2)
    assert defects == []


async def test_whoever_sends_no_form_holds_up_nobody(backend: FakeBackend) -> None:
    """Fifty that promise one, and send nothing: others are answered, and each of the fifty within seconds."""
    limits = ServerLimits(forms=4, form=0.3, requests=8)
    async with serve(backend, ANYWHERE, limits) as address, AsyncExitStack() as stack:
        raws = [await stack.enter_async_context(Raw(address)) for _ in range(50)]
        for raw in raws:
            await raw.send(HEAD.format(address) + "Content-Length: 100\r\n\r\n")
        async with ClientSession(f"http://{address}") as client:
            for path in ("/", "/metrics", "/services/identity", "/api/v1/services"):
                async with client.get(path) as answer:
                    assert answer.status == 200, path
        said = await asyncio.gather(*(raw.read() for raw in raws))
    assert {each.split(b" ", 2)[1] for each in said} == {b"408", b"503"}

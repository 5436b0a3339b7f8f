"""A server over a fake daemon, and a client for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop
from aiohttp import ClientSession

from exporter.values import Address
from exporter.web.access import Access
from exporter.web.server import serve
from tests.web.samples import FakeBackend

ANYWHERE = Address("127.0.0.1", 0)
OPEN = Access(lifecycle=True)


@pytest.fixture
def backend() -> FakeBackend:
    """A daemon whose fleet is well."""
    return FakeBackend()


@pytest.fixture
async def address(backend: FakeBackend) -> AsyncIterator[Address]:
    """Where the server over it listens."""
    async with serve(backend, ANYWHERE, access=OPEN) as bound:
        yield bound


@pytest.fixture
async def client(address: Address) -> AsyncIterator[ClientSession]:
    """A client of that server, which leaves compression to the test."""
    async with ClientSession(f"http://{address}", auto_decompress=False, skip_auto_headers=["Accept-Encoding"]) as session:
        yield session


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the tests of connections on uvloop too, which the daemon runs on: its transports are none of asyncio's classes."""
    uv = item.path.name in ("test_server.py", "test_door.py", "test_guard.py", "test_access.py")
    return {"asyncio": asyncio.new_event_loop} | ({"uvloop": uvloop.new_event_loop} if uv else {})

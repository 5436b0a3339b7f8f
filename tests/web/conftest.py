"""A server over a fake daemon, and a client for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession

from exporter.values import Address
from exporter.web.server import serve
from tests.web.samples import FakeBackend

ANYWHERE = Address("127.0.0.1", 0)


@pytest.fixture
def backend() -> FakeBackend:
    """A daemon whose fleet is well."""
    return FakeBackend()


@pytest.fixture
async def address(backend: FakeBackend) -> AsyncIterator[Address]:
    """Where the server over it listens."""
    async with serve(backend, ANYWHERE) as bound:
        yield bound


@pytest.fixture
async def client(address: Address) -> AsyncIterator[ClientSession]:
    """A client of that server, which leaves compression to the test."""
    async with ClientSession(f"http://{address}", auto_decompress=False, skip_auto_headers=["Accept-Encoding"]) as session:
        yield session

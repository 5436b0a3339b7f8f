"""Writing to a connection that ended a moment ago: uvloop raises RuntimeError, and what peers do is no defect of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from exporter.net.phases import NoPhases
from exporter.net.stream import Stream
from exporter.probing.probe import SharedClients
from exporter.values import Address


async def _write_late() -> Exception | None:
    async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    shared = SharedClients.open()
    server = await asyncio.start_server(reset, "127.0.0.1", 0)
    try:
        address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
        stream = await Stream.open(address, shared.resolver, NoPhases(), 1000)
        stream.abort()
        for _ in range(5):  # in one of these rounds the handle is closed
            stream.write(b"late")
            await asyncio.sleep(0)
        try:
            await stream.exactly(1)
        except Exception as error:
            return error
        return None
    finally:
        server.close()
        await server.wait_closed()
        await shared.close()


@pytest.mark.parametrize("factory", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def test_a_late_write_is_an_end_of_the_connection(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:
        assert isinstance(runner.run(_write_late()), OSError)

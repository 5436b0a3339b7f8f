"""A relay before a server on loopback: it counts what is asked, refuses connections, or hangs."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from types import TracebackType
from typing import Self

from exporter.demo.processes import free_port

__all__ = ["Relay"]

_REQUEST = re.compile(rb"(?:^|\n)([A-Z]{3,7}) (/[^ \r\n]*) HTTP/1\.1\r\n")


class Relay:
    """Hands bytes to a server and back.

    Args:
        to: Port of the server.

    Attributes:
        port: Where it listens, also after it has refused for a while.
        requests: Method and path of each HTTP request that passed, where it is not encrypted.
    """

    def __init__(self, to: int) -> None:
        self.port = free_port()
        self.requests: list[tuple[str, str]] = []
        self._to = to
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._passing = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._passing.set()
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.refuse()

    def count(self, method: str) -> int:
        """Count the requests with this method."""
        return sum(asked == method for asked, _ in self.requests)

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def refuse(self) -> None:
        """Cut what is open, and listen no more."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def hang(self) -> None:
        """Take connections and requests, and hand nothing on."""
        self._passing.clear()

    def resume(self) -> None:
        """Hand on again, also what has come meanwhile."""
        self._passing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        far: asyncio.StreamWriter | None = None
        try:
            back, far = await asyncio.open_connection("127.0.0.1", self._to)
            await asyncio.gather(self._pass(reader, far, count=True), self._pass(back, writer, count=False))
        except (OSError, asyncio.CancelledError):
            pass  # an end left, or the test is over
        finally:
            self._tasks.discard(task)
            for end in filter(None, (writer, far)):
                end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, count: bool) -> None:
        while data := await reader.read(65536):
            await self._passing.wait()
            if count:
                self.requests += [(method.decode(), path.decode()) for method, path in _REQUEST.findall(data)]
            writer.write(data)
            await writer.drain()
        with suppress(OSError):
            writer.write_eof()

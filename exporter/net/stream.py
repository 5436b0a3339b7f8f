"""A connection as bytes to be asked for, never more of them than the caller believes in."""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

from exporter.net.dial import dial, start_tls
from exporter.net.phases import Phases
from exporter.net.resolver import Resolver
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage

__all__ = ["Stream"]


class Stream(asyncio.Protocol):
    """One connection, for protocols of one question and one answer at a time. The caller sets deadlines.

    asyncio's own streams stop reading at a limit and wait for the reader; this one gives the connection up, since a server
    that sends more than its protocol can be asked for is not to be waited for.

    Args:
        limit: Bytes that the server may send in all.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._received = 0
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._ended: Exception | None = None

    @classmethod
    async def open(cls, address: Address, resolver: Resolver, phases: Phases, limit: int) -> Stream:
        """Resolve and connect.

        Raises:
            Failure: The name could not be resolved.
            OSError: No address could be connected to.
        """
        return (await dial(lambda: cls(limit), address, resolver, phases))[1]

    async def secure(self, context: ssl.SSLContext, name: str, phases: Phases) -> None:
        """Go on in TLS, as a client that asks for `name`.

        Raises:
            Failure: The server has said something already, which nobody vouches for.
            OSError: The handshake failed; `ssl.SSLError` is one.
        """
        if self._buffer:
            raise Failure(Stage.TLS, Reason.PROTOCOL, "the server sent more than its consent to TLS")
        if self._transport is None or self._ended is not None:
            raise self._ended or ConnectionResetError("the connection is closed")
        self._transport = await start_tls(self._transport, self, context, name, phases)

    @property
    def peer(self) -> str:
        """The IP address at the other end; empty where nobody is."""
        name = self._transport.get_extra_info("peername") if self._transport is not None else None
        return str(name[0]) if name else ""

    @property
    def certificate(self) -> bytes | None:
        """The server's certificate, in DER; None where nothing is said in TLS."""
        secured = self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        return secured.getpeercert(binary_form=True) if secured is not None else None

    def write(self, data: bytes) -> None:
        """Send bytes; that they did not arrive is told when an answer is read."""
        # uvloop raises where the connection was closed a moment ago, before it has told so.
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    async def exactly(self, size: int) -> bytes:
        """Return the next bytes.

        Raises:
            Failure: The server has sent more than it may.
            OSError: The connection ended before.
        """
        while len(self._buffer) < size:
            await self._more()
        return self._take(size)

    async def line(self, longest: int) -> bytes | None:
        """Return the next line without its CRLF, or None where that is not within the next `longest` bytes.

        Raises:
            Failure, OSError: As for `exactly`.
        """
        while (end := self._buffer.find(b"\r\n", 0, longest + 2)) < 0:
            if len(self._buffer) >= longest + 2:
                return None
            await self._more()
        line = self._take(end)
        del self._buffer[:2]
        return line

    def abort(self) -> None:
        """Close the socket at once."""
        if self._transport is not None:
            self._transport.abort()

    async def closed(self) -> None:
        """Wait until the server has closed the connection, whatever it still sends until then."""
        while self._ended is None:
            self._buffer.clear()
            await self._wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._ended is not None:
            return
        self._received += len(data)
        if self._received > self._limit:
            self._end(Failure(Stage.RECEIVE, Reason.TOO_LARGE, f"more than {self._limit} bytes from the server"))
            self._buffer.clear()
            self.abort()
        else:
            self._buffer += data
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or ConnectionResetError("the server closed the connection"))

    def _end(self, why: Exception) -> None:
        if self._ended is None:
            self._ended = why
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _more(self) -> None:
        if self._ended is not None:
            raise self._ended
        await self._wait()

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

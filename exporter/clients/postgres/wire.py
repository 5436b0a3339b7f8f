"""What arrives from a server, checked before asyncpg sees it.

asyncpg believes the length that a message announces: a negative one sends its buffer backwards and the event loop round for
ever, a huge one is collected. It also hashes a password as often as the server asks, on the event loop. So messages pass
this guard, whole, and only if they can be PostgreSQL's.
"""

from __future__ import annotations

import asyncio
import re
from struct import Struct
from typing import cast

from exporter.verdict import Failure, Reason, Stage

__all__ = ["MAX_ANSWER_BYTES", "Guard", "GuardedTransport"]

MAX_ANSWER_BYTES = 8 * 1024 * 1024
"""What a server may send in one session."""

MAX_FIRST_BYTES = 64 * 1024
"""Length of a server's first message, past which it is no PostgreSQL: the letters of another protocol read as gigabytes."""

MAX_ITERATIONS = 1_000_000
"""Rounds of hashing that a login may ask for; a million hold the event loop for 0.25 s. A server's default is 4,096."""

_HEAD = Struct("!ci")
_ITERATIONS = re.compile(rb",i=(\d+)")


class Guard(asyncio.Protocol):
    """Hands on whole messages to asyncpg's protocol; aborts the connection at the first that is not to be believed.

    Args:
        inner: asyncpg's protocol.
        framed: Whether messages arrive. The answer to a request for TLS is a single letter.

    Attributes:
        failure: Why the connection was aborted. asyncpg's error has it as its `__cause__`.
    """

    def __init__(self, inner: asyncio.Protocol, *, framed: bool = True) -> None:
        self.inner = inner
        self.failure: Failure | None = None
        self._framed = framed
        self._received = 0
        self._messages = 0
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def attach(self, transport: asyncio.BaseTransport) -> None:
        """Name what to abort, where the inner protocol has been told already."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.attach(transport)
        self.inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self.failure is not None:
            return
        self._received += len(data)
        self._buffer += data
        try:
            end = self._whole()
        except Failure as failure:
            self._refuse(failure)
            return
        if end:
            whole = bytes(self._buffer[:end])
            del self._buffer[:end]
            self.inner.data_received(whole)

    def connection_lost(self, exc: Exception | None) -> None:
        self.inner.connection_lost(self.failure or exc)

    def eof_received(self) -> bool | None:
        return self.inner.eof_received()

    def pause_writing(self) -> None:
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        self.inner.resume_writing()

    def _whole(self) -> int:
        """Return where the last whole message ends.

        Raises:
            Failure: What arrived is not to be believed.
        """
        buffer, end = self._buffer, 0
        if self._received > MAX_ANSWER_BYTES:
            raise Failure(Stage.RECEIVE, Reason.TOO_LARGE, f"more than {MAX_ANSWER_BYTES} bytes from the server")
        if not self._framed:
            return len(buffer)
        while len(buffer) - end >= _HEAD.size:
            kind, length = _HEAD.unpack_from(buffer, end)
            self._check_length(length)
            if len(buffer) - end - 1 < length:
                break
            if kind == b"R":
                _check_iterations(bytes(buffer[end + _HEAD.size : end + 1 + length]))
            self._messages += 1
            end += 1 + length
        return end

    def _check_length(self, length: int) -> None:
        if length < 4:  # it counts itself
            raise Failure(Stage.RECEIVE, Reason.PROTOCOL, f"the server announces a message of {length} bytes")
        if not self._messages and length > MAX_FIRST_BYTES:
            raise Failure(Stage.AUTH, Reason.PROTOCOL, "the server does not answer as PostgreSQL does")
        if length > MAX_ANSWER_BYTES:
            raise Failure(Stage.RECEIVE, Reason.TOO_LARGE, f"the server announces a message of {length} bytes")

    def _refuse(self, failure: Failure) -> None:
        self.failure = failure
        self._buffer.clear()
        if self._transport is not None:
            self._transport.abort()


def _check_iterations(body: bytes) -> None:
    found = _ITERATIONS.search(body)
    if found is not None and (len(found[1]) > 9 or not 0 < int(found[1]) <= MAX_ITERATIONS):
        raise Failure(Stage.AUTH, Reason.PROTOCOL, f"the server asks for {found[1][:20].decode()} rounds of hashing")


class GuardedTransport:
    """A transport that puts a guard before the protocol it is given, as asyncpg gives it one after the TLS handshake."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.guard: Guard | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Set the protocol, behind a guard."""
        self.guard = Guard(cast("asyncio.Protocol", protocol))
        self.guard.attach(self._transport)
        self._transport.set_protocol(self.guard)

"""A connection from its first byte to its last: a seat, TLS where it is spoken, and then the HTTP server's."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Hashable
from typing import Any, Protocol

from aiohttp import web

from exporter.web.begun import Begun, head_size
from exporter.web.defects import Defect, unforeseen
from exporter.web.guard import Guard
from exporter.web.handshakes import Handshakes
from exporter.web.limits import ServerLimits

__all__ = ["HANDSHAKE", "LITTLE", "Door", "Doors", "Entrance"]

log = logging.getLogger(__name__)

HANDSHAKE = 5.0
"""Seconds that a client may take for its TLS handshake."""

_LAST_WORDS = 1.0
"""Seconds for the end of TLS."""

LITTLE = 4096
"""Bytes of a request that a connection may send whatever others do: a scraper's or a browser's takes some hundreds."""

_ENDING = 0.25
"""Seconds without a request under way after which a connection is closed whose client has said that no more comes: what came
last is with the HTTP server's task by then."""


class Handler(Protocol):
    """The HTTP server's side of a connection: asyncio's Protocol, as aiohttp implements it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> Any: ...
    def connection_lost(self, exc: BaseException | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class Entrance(Protocol):
    """How clients are let in at the moment."""

    @property
    def tls(self) -> ssl.SSLContext | None:
        """What to speak TLS with; None for plain text."""
        ...

    @property
    def terms(self) -> Hashable:
        """Equal where the same clients may connect."""
        ...

    def lets_in(self, certificate: dict[str, Any] | None) -> bool:
        """Tell whether a client may come in that has shown this certificate, or none."""
        ...


class Doors:
    """All connections of a listener.

    Args:
        guard: Who may hold one.
        handlers: Makes the HTTP server's side of a connection.
        entrance: How clients are let in; asked at each connection, so that what was rotated is in use at the next.
        defect: Is told of each unexpected exception.
        heads: Bytes of requests that are not answered yet, beyond which whoever sends more than `LITTLE` has the greediest
            connection closed.
    """

    def __init__(
        self,
        guard: Guard,
        handlers: Callable[[], Handler],
        entrance: Callable[[], Entrance | None],
        defect: Defect = unforeseen,
        heads: int | None = None,
    ) -> None:
        self.guard = guard
        self.begun = Begun(ServerLimits().heads if heads is None else heads)
        self.defect = defect
        self.handlers = handlers
        self.entrance = entrance
        self.handshakes = Handshakes()
        self._open: set[Door] = set()
        self._by_handler: dict[object, Door] = {}

    def __len__(self) -> int:
        return len(self._open)

    def accept(self, raw: socket.socket, host: str) -> None:
        """Take a connection in."""
        Door(self, raw, host).open()

    def of(self, handler: object) -> Door | None:
        """Return the connection of an HTTP server's side; None where it is closed."""
        return self._by_handler.get(handler)

    def came(self, door: Door, size: int) -> bool:
        """Take in what a connection has sent; False where it had to be closed for it, as the greediest."""
        if self.begun.add(door, size) > LITTLE:
            while (greedy := self.begun.greediest(door)) is not None:
                self.begun.take(greedy)
                self.guard.turn_away(greedy)
                if greedy is door:
                    return False
        return True

    def opened(self, door: Door) -> None:
        """Remember a connection."""
        self._open.add(door)

    def closed(self, door: Door) -> None:
        """Forget one."""
        self._open.discard(door)

    def entered(self, handler: object, door: Door) -> None:
        """Remember which connection the HTTP server has."""
        self._by_handler[handler] = door

    def left(self, handler: object) -> None:
        """Forget it."""
        self._by_handler.pop(handler, None)

    async def close(self) -> None:
        """Close all, whatever their clients do."""
        opening = [door.opening for door in self._open if door.opening is not None]
        for door in list(self._open):
            door.abort()
        await asyncio.gather(*opening, return_exceptions=True)
        self.handshakes.close()


class Door(asyncio.Protocol):
    """One connection.

    Args:
        doors: All of them.
        raw: The socket that was accepted. Until the event loop has it, nothing is read from it.
        host: The client's address.
    """

    def __init__(self, doors: Doors, raw: socket.socket, host: str) -> None:
        self._doors = doors
        self._raw: socket.socket | None = raw
        self._entrance: Entrance | None = None
        self._transport: asyncio.Transport | None = None
        self._handler: Handler | None = None
        self._opening: asyncio.Task[None] | None = None
        self._busy = 0
        self._heard_all = False
        self._aborted = False
        self.host = host
        self.stalled_since: float | None = None

    @property
    def descriptor(self) -> int:
        """Its file descriptor; -1 once it is closed, or the event loop has it."""
        return self._raw.fileno() if self._raw is not None else -1

    @property
    def opening(self) -> asyncio.Task[None] | None:
        """What is under way until the HTTP server has it."""
        return self._opening

    def open(self) -> None:
        """Take a seat; then speak TLS, where it is spoken, and hand the connection over."""
        if not self._doors.guard.admit(self):
            self._close()
            return
        self._doors.opened(self)
        self._opening = asyncio.create_task(self._open(), name="web: connection")
        # Not at the end of the task's own work: one that is cancelled before its first step does none of it.
        self._opening.add_done_callback(self._opened)

    @property
    def is_outdated(self) -> bool:
        """Whether it was opened on other terms than those of now: who is let in no more must not stay in by staying."""
        now = self._doors.entrance()
        if now is self._entrance:
            return False
        if now is None or self._entrance is None or now.terms != self._entrance.terms:
            return True
        self._entrance = now
        return False

    def busy(self, request: web.BaseRequest) -> None:
        """A request of it is being answered."""
        self._busy += 1
        self._doors.begun.take(self, head_size(request))
        self._doors.guard.busy(self)

    def idle(self, request: web.BaseRequest) -> None:
        """It was answered; a body that it has is read by now, or not read any more."""
        self._busy -= 1
        if request.content_length:
            self._doors.begun.take(self, request.content_length)
        if not self._busy:
            self._doors.guard.idle(self)
            self._end_soon()

    def abort(self) -> None:
        """Close it at once, with whatever was not sent."""
        self._aborted = True
        if self._transport is not None:
            self._transport.abort()
        elif self._opening is not None:
            self._opening.cancel()
        else:
            self._close()

    async def _open(self) -> None:
        entrance = self._entrance = self._doors.entrance()
        try:
            if entrance is None or entrance.tls is None:
                await self._give_to_loop()
            else:
                async with asyncio.timeout(HANDSHAKE):
                    await self._doors.handshakes.take(self)
                await self._give_to_loop(ssl=entrance.tls, ssl_handshake_timeout=HANDSHAKE, ssl_shutdown_timeout=_LAST_WORDS)
        except (OSError, EOFError) as error:  # TimeoutError is an OSError
            log.debug("%s: no connection: %s", self.host, error)
        except Exception as error:
            self._doors.defect("a connection could not be opened", error)

    def _opened(self, _opening: asyncio.Task[None]) -> None:
        self._opening = None
        self._doors.handshakes.give_back(self)
        if self._handler is None:
            self._close()
            self._forget()

    def _forget(self) -> None:
        """Give the seat back. Said twice, it is heard once."""
        self._doors.guard.leave(self)
        self._doors.closed(self)

    async def _give_to_loop(self, **tls: Any) -> None:
        assert self._raw is not None  # noqa: S101 - it is given away here
        raw, self._raw = self._raw, None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: self, raw, **tls)
        except BaseException:
            if self._transport is None:
                raw.close()
            raise

    def _close(self) -> None:
        if self._raw is not None:
            self._raw.close()
            self._raw = None

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand the connection over, if its client may come in."""
        self._transport = made = _transport(transport)
        if self._aborted:  # while the event loop was at it, which tells of its end only sometimes
            made.abort()
            self._forget()
            return
        if self._entrance is not None and not self._entrance.lets_in(made.get_extra_info("peercert")):
            log.debug("%s: its certificate has none of the names that are let in", self.host)
            made.abort()
            return
        self._handler = self._doors.handlers()
        self._doors.entered(self._handler, self)
        self._handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass on what came."""
        if self._handler is not None and not self._aborted and self._doors.came(self, len(data)):
            self._handler.data_received(data)

    def eof_received(self) -> Any:
        """Pass on that no more comes; what was asked is still answered, but in TLS, which has no half-closed connections."""
        if self._handler is None:
            return None
        self._handler.eof_received()
        if self._entrance is not None and self._entrance.tls is not None:
            return None
        self._heard_all = True
        self._end_soon()
        return True

    def _end_soon(self) -> None:
        if self._heard_all:
            asyncio.get_running_loop().call_later(_ENDING, self._end)

    def _end(self) -> None:
        if not self._busy and self._transport is not None:
            self._transport.close()

    def pause_writing(self) -> None:
        """The client does not read as fast as it is sent to."""
        if self.stalled_since is None:
            self.stalled_since = asyncio.get_running_loop().time()
        if self._handler is not None:
            self._handler.pause_writing()

    def resume_writing(self) -> None:
        """It has read all."""
        self.stalled_since = None
        if self._handler is not None:
            self._handler.resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give the seat back."""
        self.stalled_since = None
        self._doors.begun.take(self)
        self._forget()
        if self._handler is not None:
            self._doors.left(self._handler)
            self._handler.connection_lost(exc)
            self._handler = None


def _transport(transport: asyncio.BaseTransport) -> asyncio.Transport:
    """Say what it is: uvloop's transports are asyncio's in all but their class."""
    return transport  # type: ignore[return-value]  # see above

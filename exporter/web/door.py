"""A connection from its first byte to its last: a seat, TLS where it is spoken, and then the HTTP server's."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Any, Protocol

from exporter.web.guard import Guard
from exporter.web.handshakes import Handshakes

__all__ = ["HANDSHAKE", "Door", "Doors", "Entrance"]

log = logging.getLogger(__name__)

HANDSHAKE = 5.0
"""Seconds that a client may take for its TLS handshake."""

_EARLY = 131_072
"""Bytes that a client may send before the handshake's end is noticed here: what a loop reads at once."""


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

    def lets_in(self, certificate: dict[str, Any] | None) -> bool:
        """Tell whether a client may come in that has shown this certificate, or none."""
        ...


class Doors:
    """All connections of a listener.

    Args:
        guard: Who may hold one.
        handlers: Makes the HTTP server's side of a connection.
        entrance: How clients are let in; asked at each connection, so that what was rotated is in use at the next.
    """

    def __init__(self, guard: Guard, handlers: Callable[[], Handler], entrance: Callable[[], Entrance | None]) -> None:
        self.guard = guard
        self.handlers = handlers
        self.entrance = entrance
        self.handshakes = Handshakes()
        self._shaking: set[Door] = set()
        self._by_handler: dict[object, Door] = {}

    def open(self) -> Door:
        """Make the protocol of a new connection."""
        return Door(self)

    def of(self, handler: object) -> Door | None:
        """Return the connection of an HTTP server's side; None where it is closed."""
        return self._by_handler.get(handler)

    def entered(self, handler: object, door: Door) -> None:
        """Remember a connection that the HTTP server has."""
        self._by_handler[handler] = door

    def left(self, handler: object) -> None:
        """Forget one."""
        self._by_handler.pop(handler, None)

    def abort(self) -> None:
        """Close all that are open, whatever their clients do."""
        for door in (*self._by_handler.values(), *self._shaking):
            door.abort()

    async def close(self) -> None:
        """Close all that are open, and wait for the end of handshakes under way."""
        tasks = [door.handshake for door in self._shaking if door.handshake is not None]
        self.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.handshakes.close()

    def shaking(self, door: Door) -> None:
        """Remember a connection whose handshake is under way."""
        self._shaking.add(door)

    def shaken(self, door: Door) -> None:
        """Its handshake has ended."""
        self._shaking.discard(door)
        self.handshakes.give_back(door)


class Door(asyncio.Protocol):
    """One connection."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._raw: asyncio.Transport | None = None
        self._handler: Handler | None = None
        self.handshake: asyncio.Task[None] | None = None
        self._early = bytearray()
        self._early_end = False
        self._busy = 0
        self._host = ""
        self.stalled_since: float | None = None

    @property
    def host(self) -> str:
        """The client's address."""
        return self._host

    @property
    def descriptor(self) -> int:
        """Its file descriptor; -1 once it is closed."""
        socket = self._raw.get_extra_info("socket") if self._raw is not None else None
        return socket.fileno() if socket is not None else -1

    def busy(self) -> None:
        """A request of it is being answered."""
        self._busy += 1
        self._doors.guard.busy(self)

    def idle(self) -> None:
        """It was answered."""
        self._busy -= 1
        if not self._busy:
            self._doors.guard.idle(self)

    def abort(self) -> None:
        """Close it at once, with whatever was not sent."""
        if self.handshake is not None:
            self.handshake.cancel()
        if self._raw is not None:
            self._raw.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a seat; then speak TLS, or hand the connection over at once."""
        self._raw = raw = _transport(transport)
        peer = raw.get_extra_info("peername")
        self._host = str(peer[0]) if isinstance(peer, tuple) else ""
        if not self._doors.guard.admit(self):
            raw.abort()
            return
        entrance = self._doors.entrance()
        if entrance is None or entrance.tls is None:
            self._hand_over(raw)
            return
        self._doors.shaking(self)
        self.handshake = asyncio.create_task(self._shake_hands(raw, entrance), name="web: handshake")

    async def _shake_hands(self, raw: asyncio.Transport, entrance: Entrance) -> None:
        # What comes is for TLS to read. Said only now: uvloop begins to read after connection_made, whatever was said there.
        raw.pause_reading()
        try:
            transport = await self._speak_tls(raw, entrance)
        except (OSError, EOFError) as error:  # TimeoutError is an OSError
            log.debug("%s: no TLS: %s", self._host, error)
            self._close()
            return
        except asyncio.CancelledError:
            self._close()
            raise
        except Exception:
            log.exception("a TLS handshake failed in a way that is not foreseen")
            self._close()
            return
        finally:
            self.handshake = None
            self._doors.shaken(self)
        if transport is None or transport.is_closing():
            self._close()
        elif not entrance.lets_in(transport.get_extra_info("peercert")):
            log.debug("%s: its certificate has none of the names that are let in", self._host)
            transport.abort()
        else:
            self._hand_over(transport)

    async def _speak_tls(self, raw: asyncio.Transport, entrance: Entrance) -> asyncio.Transport | None:
        async with asyncio.timeout(HANDSHAKE):
            await self._doors.handshakes.take(self)
        assert entrance.tls is not None  # noqa: S101 - that is why it is asked
        return await asyncio.get_running_loop().start_tls(
            raw, self, entrance.tls, server_side=True, ssl_handshake_timeout=HANDSHAKE, ssl_shutdown_timeout=1.0
        )

    def _hand_over(self, transport: asyncio.Transport) -> None:
        handler = self._handler = self._doors.handlers()
        self._doors.entered(handler, self)
        handler.connection_made(transport)
        if self._early:
            early, self._early = bytes(self._early), bytearray()
            handler.data_received(early)
        if self._early_end:
            handler.eof_received()

    def _close(self) -> None:
        if self._raw is not None:
            self._raw.abort()
        self._doors.guard.leave(self)

    def data_received(self, data: bytes) -> None:
        """Pass on what came; what comes with the end of the handshake waits for the HTTP server."""
        if self._handler is not None:
            self._handler.data_received(data)
        elif len(self._early) + len(data) <= _EARLY:
            self._early += data
        else:
            self.abort()

    def eof_received(self) -> Any:
        """Pass on that no more comes."""
        if self._handler is not None:
            return self._handler.eof_received()
        self._early_end = True
        return None

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
        self._doors.guard.leave(self)
        if self._handler is not None:
            self._doors.left(self._handler)
            self._handler.connection_lost(exc)
            self._handler = None
        elif self.handshake is not None:
            self.handshake.cancel()


def _transport(transport: asyncio.BaseTransport) -> asyncio.Transport:
    """Say what it is: uvloop's transports are asyncio's in all but their class."""
    return transport  # type: ignore[return-value]  # see above

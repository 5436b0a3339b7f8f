"""Listening: sockets of the exporter's own, so that a connection is known from the moment it is accepted."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable

from exporter.values import Address

__all__ = ["Listener"]

log = logging.getLogger(__name__)

_BACKLOG = 1024
_AT_ONCE = 64
"""Connections that are accepted before the event loop goes on with the rest, when those that gave way are closed."""

_PAUSE = 0.1
"""Seconds without accepting, where there are no descriptors left."""

_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Accepted = Callable[[socket.socket, str], None]


def _nothing() -> None:
    """Do nothing."""


class Listener:
    """Listens on all addresses of a host.

    Args:
        sockets: What is listened on.
        accepted: Is given each connection and the address of its client.
        short: Is called where no descriptor is left for one more, and may have some closed.
        at_once: Connections that are accepted in one go.
    """

    def __init__(
        self,
        sockets: list[socket.socket],
        accepted: Accepted,
        short: Callable[[], object] = _nothing,
        at_once: int = _AT_ONCE,
    ) -> None:
        self._sockets = sockets
        self._accepted = accepted
        self._short = short
        self._at_once = at_once
        self._loop = asyncio.get_running_loop()
        self._pauses: set[asyncio.TimerHandle] = set()
        for each in sockets:
            self._loop.add_reader(each.fileno(), self._accept, each)

    @classmethod
    async def open(
        cls, address: Address, accepted: Accepted, short: Callable[[], object] = _nothing, most: int = 8 * _AT_ONCE
    ) -> Listener:
        """Listen, for so many connections at most; see the class for the rest.

        Raises:
            OSError: The address cannot be listened on; the text names it and says why.
        """
        try:
            return cls(await _bind(address), accepted, short, min(_AT_ONCE, max(1, most // 8)))
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
            raise OSError(error.errno, f"cannot listen on {address}: {reason}") from error

    @property
    def port(self) -> int:
        """Where it listens, also where port 0 was asked for."""
        return int(self._sockets[0].getsockname()[1])

    def close(self) -> None:
        """Listen no more."""
        for pause in self._pauses:
            pause.cancel()
        for each in self._sockets:
            self._loop.remove_reader(each.fileno())
            each.close()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(self._at_once):
            try:
                raw, peer = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _NO_DESCRIPTORS:
                    log.warning("a connection could not be accepted: %s", error)
                    return
                self._short()
                self._pause(listening)
                return
            raw.settimeout(0)
            self._accepted(raw, str(peer[0]))

    def _pause(self, listening: socket.socket) -> None:
        """Wait for descriptors: the connection stays where it is, and would be offered again at once."""
        self._loop.remove_reader(listening.fileno())

        def go_on() -> None:
            self._pauses.discard(handle)
            self._loop.add_reader(listening.fileno(), self._accept, listening)

        handle = self._loop.call_later(_PAUSE, go_on)
        self._pauses.add(handle)


async def _bind(address: Address) -> list[socket.socket]:
    """Bind to every address of a host, and listen."""
    # Not by the event loop: uvloop starts threads of its own for it, and aborts the process where there can be none.
    found = await asyncio.to_thread(
        socket.getaddrinfo, address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, where in dict.fromkeys(found):
            each = socket.socket(family, kind, protocol)
            sockets.append(each)
            each.settimeout(0)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            each.bind(where)
            each.listen(_BACKLOG)
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets

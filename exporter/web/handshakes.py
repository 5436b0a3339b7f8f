"""Turns for TLS handshakes: only who has said something gets one, so many at once, and who dawdles gives way."""

from __future__ import annotations

import asyncio
import select
from contextlib import suppress
from typing import Protocol

__all__ = ["FAIR", "Handshakes", "Waiting"]

_AT_ONCE = 32
"""Handshakes under way. Each costs the event loop a signature, so many that end at once would hold it up."""

FAIR = 1.0
"""Seconds after which a handshake gives way to one that waits."""


class Waiting(Protocol):
    """A connection that is to shake hands."""

    @property
    def descriptor(self) -> int:
        """Its file descriptor."""
        ...

    def abort(self) -> None:
        """Close it at once."""
        ...


class Handshakes:
    """Turns. A client that connects and says nothing never has one, so it keeps nobody waiting."""

    def __init__(self) -> None:
        self._under_way: dict[Waiting, float] = {}
        self._turns: list[asyncio.Future[None]] = []
        self._silent = _Silent()

    async def take(self, client: Waiting) -> None:
        """Wait until a client has said something, and then for a turn. The newest goes first: the oldest have had time."""
        await self._silent.wait(client.descriptor)
        loop = asyncio.get_running_loop()
        while len(self._under_way) >= _AT_ONCE:
            oldest, began = next(iter(self._under_way.items()))
            left = began + FAIR - loop.time()
            if left <= 0:
                self.give_back(oldest)
                oldest.abort()
                break
            turn: asyncio.Future[None] = loop.create_future()
            self._turns.append(turn)
            try:
                await asyncio.wait((turn,), timeout=left)
            finally:
                if turn in self._turns:
                    self._turns.remove(turn)
        self._under_way[client] = loop.time()

    def give_back(self, client: Waiting) -> None:
        """Say that a handshake has ended, well or not."""
        if self._under_way.pop(client, None) is not None and self._turns:
            self._turns.pop().set_result(None)

    def close(self) -> None:
        """Watch nobody any more."""
        self._silent.close()


class _Silent:
    """Connections of which nothing has come yet, watched together by one descriptor: the loop must not read from them, for
    what they say is for TLS."""

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None
        self._futures: dict[int, asyncio.Future[None]] = {}

    async def wait(self, descriptor: int) -> None:
        """Wait until there is something to read."""
        loop = asyncio.get_running_loop()
        if self._epoll is None:
            self._epoll = select.epoll()
            loop.add_reader(self._epoll.fileno(), self._look)
        said = self._futures[descriptor] = loop.create_future()
        self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLRDHUP)
        try:
            await said
        finally:
            if self._futures.get(descriptor) is said:
                self._forget(descriptor)

    def close(self) -> None:
        """Watch none any more."""
        if self._epoll is not None:
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None

    def _look(self) -> None:
        if self._epoll is None:
            return
        for descriptor, _events in self._epoll.poll(0):
            said = self._futures.get(descriptor)
            self._forget(descriptor)
            if said is not None and not said.done():
                said.set_result(None)

    def _forget(self, descriptor: int) -> None:
        self._futures.pop(descriptor, None)
        if self._epoll is not None:
            with suppress(OSError):  # closed meanwhile, and so forgotten by the kernel
                self._epoll.unregister(descriptor)

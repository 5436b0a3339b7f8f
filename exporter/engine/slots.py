"""How many attempts are under way at once: over all, to one host, and of targets that are in trouble.

An attempt on a target that hangs holds its slot until its deadline, and in an outage thousands hang. Such attempts have a
*lane* of their own, which takes at most a share of all slots: targets that answer never wait behind targets that do not.
"""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum

__all__ = ["Lane", "Slots"]

TROUBLED_SHARE = 0.5
"""Share of all slots that attempts on targets in trouble, rechecks included, may hold."""


class Lane(Enum):
    """Which attempts an attempt competes with."""

    WELL = "well"
    """The last attempt came out up, or there was none yet."""
    TROUBLED = "troubled"
    """The last attempt did not come out up."""


class _Pool:
    """A number of places, handed out in the order of asking."""

    __slots__ = ("_waiters", "size", "taken")

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken = 0
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def idle(self) -> bool:
        return not self.taken and not self._waiters

    async def take(self) -> None:
        if self.taken < self.size and not self._waiters:
            self.taken += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter  # whoever wakes it has taken the place for it
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.give()
            elif waiter in self._waiters:  # else a place that came free has passed it over
                self._waiters.remove(waiter)
            raise

    def give(self) -> None:
        self.taken -= 1
        self.wake()

    def wake(self) -> None:
        while self._waiters and self.taken < self.size:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self.taken += 1
                waiter.set_result(None)


class Slots:
    """Places for attempts under way.

    Args:
        total: Attempts at once.
        per_host: Attempts at once to one host.
    """

    def __init__(self, total: int, per_host: int) -> None:
        self._all = _Pool(total)
        self._troubled = _Pool(_share(total))
        self._per_host = per_host
        self._hosts: dict[str, _Pool] = {}

    @property
    def taken(self) -> int:
        """Attempts under way."""
        return self._all.taken

    def resize(self, total: int, per_host: int) -> None:
        """Take in other bounds. What is under way stays, and counts."""
        self._all.size, self._troubled.size, self._per_host = total, _share(total), per_host
        for pool in self._hosts.values():
            pool.size = per_host
        for pool in (self._all, self._troubled, *self._hosts.values()):
            pool.wake()

    async def take(self, host: str, lane: Lane) -> None:
        """Wait for a place. The host's comes first, so that waiting for a busy host blocks no other; then the lane's."""
        pools = self._pools(host, lane)
        held: list[_Pool] = []
        try:
            for pool in pools:
                await pool.take()
                held.append(pool)
        except BaseException:
            self._give(host, pools[0], held)
            raise

    def give(self, host: str, lane: Lane) -> None:
        """Give a place back."""
        pools = self._pools(host, lane)
        self._give(host, pools[0], pools)

    def _pools(self, host: str, lane: Lane) -> list[_Pool]:
        pool = self._hosts.get(host)
        if pool is None:
            pool = self._hosts[host] = _Pool(self._per_host)
        return [pool, self._troubled, self._all] if lane is Lane.TROUBLED else [pool, self._all]

    def _give(self, host: str, of_host: _Pool, held: list[_Pool]) -> None:
        for pool in reversed(held):
            pool.give()
        if of_host.idle and self._hosts.get(host) is of_host:  # another may have found it idle before
            del self._hosts[host]


def _share(total: int) -> int:
    return max(1, int(total * TROUBLED_SHARE))

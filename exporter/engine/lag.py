"""How long the event loop stood still: the prober's own health, and its excuse for a timeout."""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["LoopLag"]

TICK = 0.05
"""Seconds between looks while attempts are under way."""

IDLE_TICK = 1.0
"""The same while none is: waking up costs more than anything else that an idle exporter does."""

WORTH_NOTING = 0.005
"""Seconds that a timer may be late without anything standing still."""

RECENT = 15.0
_KEEP = 300.0
"""Seconds that stalls are remembered: longer than any deadline that is usual."""


class LoopLag:
    """Measures stalls of the event loop by a timer that wants to be called every so often."""

    def __init__(self) -> None:
        self._stalls: deque[tuple[float, float]] = deque()  # (loop time at which it ended, seconds)
        self._timer: asyncio.TimerHandle | None = None
        self._under_way = 0

    async def run(self) -> None:
        """Measure for ever."""
        self._arm()
        try:
            await asyncio.Event().wait()
        finally:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def begin(self) -> None:
        """Take in that an attempt is under way: from now on the loop is looked at closely."""
        self._under_way += 1
        if self._under_way == 1 and self._timer is not None:
            self._note(asyncio.get_running_loop().time() - self._timer.when())
            self._timer.cancel()
            self._arm()

    def end(self) -> None:
        """Take in that one has ended."""
        self._under_way -= 1

    def since(self, start: float) -> float:
        """Return the longest stall, in seconds, that ended after a loop time; also one that has not been noted yet."""
        longest = asyncio.get_running_loop().time() - self._timer.when() if self._timer is not None else 0.0
        for end, late in reversed(self._stalls):
            if end < start:
                break
            longest = max(longest, late)
        return longest if longest > WORTH_NOTING else 0.0

    def recent(self) -> float:
        """Return the longest stall of the last 15 s, in seconds."""
        return self.since(asyncio.get_running_loop().time() - RECENT)

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(TICK if self._under_way else IDLE_TICK, self._tick)

    def _tick(self) -> None:
        assert self._timer is not None  # noqa: S101 - it is this timer that called
        self._note(asyncio.get_running_loop().time() - self._timer.when())
        self._arm()

    def _note(self, late: float) -> None:
        now = asyncio.get_running_loop().time()
        if late > WORTH_NOTING:
            self._stalls.append((now, late))
        while self._stalls and self._stalls[0][0] < now - _KEEP:
            self._stalls.popleft()

"""How long the event loop stood still: the prober's own health, and its excuse for a timeout."""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["LoopLag"]

_TICK = 0.05
_KEEP = 15.0


class LoopLag:
    """Measures stalls of the event loop by a task that wants to wake every 50 ms."""

    def __init__(self) -> None:
        self._stalls: deque[tuple[float, float]] = deque()  # (loop time at which it ended, seconds)
        self._last = 0.0

    async def run(self) -> None:
        """Measure for ever."""
        loop = asyncio.get_running_loop()
        self._last = loop.time()
        while True:
            await asyncio.sleep(_TICK)
            now = loop.time()
            late = now - self._last - _TICK
            self._last = now
            if late > 0.005:
                self._stalls.append((now, late))
            while self._stalls and self._stalls[0][0] < now - _KEEP:
                self._stalls.popleft()

    def since(self, start: float) -> float:
        """Return the longest stall, in seconds, that ended after a loop time; also one that has not been noted yet."""
        pending = asyncio.get_running_loop().time() - self._last - _TICK if self._last else 0.0
        return (
            max((late for end, late in self._stalls if end >= start), default=0.0)
            if pending < 0.005
            else max(pending, *(late for end, late in self._stalls if end >= start), 0.0)
        )

    def recent(self) -> float:
        """Return the longest stall of the last 15 s, in seconds."""
        return max((late for _, late in self._stalls), default=0.0)

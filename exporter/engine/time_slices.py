"""Long work on the event loop, in slices."""

from __future__ import annotations

import asyncio
import time

__all__ = ["TimeSlices"]


class TimeSlices:
    """Gives other tasks their turn during work over thousands of items.

    Args:
        seconds: How long a slice may be.
    """

    def __init__(self, seconds: float = 0.004) -> None:
        self._seconds = seconds
        self._began = time.perf_counter()

    async def turn(self) -> None:
        """Let others have their turn if this slice is over. Call it after each item."""
        if time.perf_counter() - self._began > self._seconds:
            await asyncio.sleep(0)
            self._began = time.perf_counter()

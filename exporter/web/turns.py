"""Turns: how hundreds of large answers are sent while the event loop goes on with the rest."""

from __future__ import annotations

import asyncio

__all__ = ["Turns"]


class Turns:
    """Lets one task go on in each round of the event loop, in the order of their asking.

    Without it each of five hundred readers is sent a piece in every round, and whatever else is to be done waits for all of
    them; with it, for one.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def take(self) -> None:
        """Wait for one's turn."""
        async with self._lock:
            await asyncio.sleep(0)

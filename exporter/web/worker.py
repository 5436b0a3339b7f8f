"""Threads for what would hold the event loop up: compressing and filling templates."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from exporter.net.pool import started_pool

__all__ = ["Worker"]

T = TypeVar("T")

_THREADS = 2


class Worker:
    """A few threads of the web server's own, so that it cannot keep the probes waiting for theirs."""

    def __init__(self) -> None:
        self._pool = started_pool(_THREADS, "web")

    async def run(self, work: Callable[[], T]) -> T:
        """Do the work in a thread and return what it returns."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Drop what has not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)

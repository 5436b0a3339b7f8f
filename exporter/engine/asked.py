"""Attempts on demand: who asks for the same one at the same time shares it; of a target there is one a second at most."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from exporter.engine.rollup import Key
from exporter.probing.runner import Outcome

__all__ = ["SPACING", "Asked"]

SPACING = 1.0
"""Seconds between the beginnings of attempts on demand at one target, whoever asks: strangers may ask, and the target is not
to pay for it."""


@dataclass(slots=True)
class _Shared:
    """An attempt that has been asked for, and how many wait for it."""

    task: asyncio.Task[Outcome]
    waiting: int = 0


class Asked:
    """The attempts on demand of all targets.

    An attempt that has not begun yet is joined; one that has is not, since who asks wants to know how it is now.
    """

    def __init__(self) -> None:
        self._next: dict[Key, _Shared] = {}
        self._began: dict[Key, float] = {}

    async def attempt(self, key: Key, attempt: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Return what the next attempt at a target comes to.

        Args:
            key: The target.
            attempt: Makes it.
        """
        shared = self._next.get(key)
        if shared is None:
            task = asyncio.create_task(self._in_turn(key, attempt), name="attempt on demand")
            shared = self._next[key] = _Shared(task)
        shared.waiting += 1
        try:
            return await asyncio.shield(shared.task)
        finally:
            shared.waiting -= 1
            if not shared.waiting:  # nobody wants to know any more
                shared.task.cancel()
                if self._next.get(key) is shared:
                    del self._next[key]

    async def _in_turn(self, key: Key, attempt: Callable[[], Awaitable[Outcome]]) -> Outcome:
        loop = asyncio.get_running_loop()
        began = self._began.get(key)
        if began is not None:
            await asyncio.sleep(began + SPACING - loop.time())
        self._next.pop(key, None)
        now = self._began[key] = loop.time()
        loop.call_later(SPACING, self._forget, key, now)
        return await attempt()

    def _forget(self, key: Key, began: float) -> None:
        if self._began.get(key) == began:
            del self._began[key]

"""What is not due at every attempt: now and then, and the next thing in turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

__all__ = ["Every", "Step", "Turn", "in_turn"]


class Every:
    """Tells when something is due that is done at one of so many occasions.

    Args:
        occasions: From one time that it is done until it is due again.

    Attributes:
        at: When it was done last, Unix seconds; None before.
    """

    __slots__ = ("_left", "_occasions", "at")

    def __init__(self, occasions: int) -> None:
        self._occasions = occasions
        self._left = 0
        self.at: float | None = None

    @property
    def due(self) -> bool:
        """Whether it is to be done at this occasion. It stays due until it is done."""
        return self._left == 0

    def done(self, occasions: int | None = None) -> None:
        """Take in that it was done, at this occasion; it is due again after so many, or as many as always."""
        self._left = self._occasions if occasions is None else occasions
        self.at = time.time()

    def passed(self) -> None:
        """Take in that an occasion is over, whether it was done or not."""
        self._left = max(0, self._left - 1)

    def at_once(self) -> None:
        """Make it due at the next occasion."""
        self._left = 0


@dataclass(frozen=True, slots=True)
class Turn:
    """How a step of several is made.

    Attributes:
        aside: Another one is still under way.
        share: Share of the time left that it may take, so that those after it have their turn.
    """

    aside: bool = False
    share: float = 1.0


Step = Callable[[Turn], Awaitable[None]]

_IN_LINE = Turn()


async def in_turn(
    steps: Sequence[Step], patience: float, *, may_pass: Callable[[], bool] = lambda: True, aside: bool = False
) -> None:
    """Make steps one after the other. Those after one that hangs are made beside it, in turn too; at most two run at once.

    Nothing is left running: an exception, cancellation included, is raised once all that was begun is over. The steps after
    one that raises are not begun.

    Args:
        steps: What to do.
        patience: Seconds from now after which the step under way is taken to hang.
        may_pass: Asked then; False lets it be waited for a while longer.
        aside: Something else is under way already: each step has its share of the time, and none is passed.
    """
    if aside:
        for at, step in enumerate(steps):
            await step(Turn(aside=True, share=1 / (len(steps) - at)))
        return
    await _Line(steps, patience, may_pass).run()


class _Line:
    """Steps of which one is made at a time; of two, once one hangs."""

    __slots__ = ("_aside", "_may_pass", "_next", "_patience", "_steps", "_timer")

    def __init__(self, steps: Sequence[Step], patience: float, may_pass: Callable[[], bool]) -> None:
        self._steps = steps
        self._patience = patience
        self._may_pass = may_pass
        self._next = 0
        self._aside: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._patience, self._pass)
        try:
            while self._next < len(self._steps):
                step = self._steps[self._next]
                self._next += 1
                await step(_IN_LINE)
        except asyncio.CancelledError:
            if self._aside is not None:
                self._aside.cancel()
            raise
        finally:
            self._timer.cancel()
            if self._aside is not None:
                await self._ended(self._aside)

    def _pass(self) -> None:
        """Make the rest of the steps beside the one that hangs."""
        if self._next >= len(self._steps):
            return
        if not self._may_pass():
            self._timer = asyncio.get_running_loop().call_later(self._patience / 4, self._pass)
            return
        rest, self._next = self._steps[self._next :], len(self._steps)
        self._aside = asyncio.create_task(in_turn(rest, self._patience, aside=True), name="steps after one that hangs")

    @staticmethod
    async def _ended(aside: asyncio.Task[None]) -> None:
        """Wait for the steps beside the one that hung; also where this is cancelled while it waits."""
        try:
            await asyncio.shield(aside)
        except asyncio.CancelledError:
            cancelled_here = not aside.cancelled()
            aside.cancel()
            await asyncio.wait({aside})
            if cancelled_here:
                raise

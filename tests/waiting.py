"""Waiting for what another process will do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

__all__ = ["SLACK", "eventually", "until"]

T = TypeVar("T")

SLACK = 8
"""Times as long as on an idle machine: workers share cores that may be slow. What happens soon costs nothing by it."""


def until(condition: Callable[[], object], seconds: float, what: str, why: Callable[[], object] = lambda: "") -> None:
    """Wait for something to become true, which takes less than these seconds on an idle machine; else say `why`."""
    deadline = time.monotonic() + SLACK * seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {SLACK * seconds:g} s: {what} {why()}"
        time.sleep(0.1)


async def eventually(condition: Callable[[], Awaitable[T]], seconds: float, what: str) -> T:
    """Ask until the answer is yes, which on an idle machine takes less than these seconds, and return it."""
    deadline = time.monotonic() + SLACK * seconds
    while not (answer := await condition()):
        assert time.monotonic() < deadline, f"not within {SLACK * seconds:g} s: {what}; it was {answer!r}"
        await asyncio.sleep(0.1)
    return answer

"""What the network code needs of an attempt: a place to put phases and the stage reached."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Protocol

import uvloop

from exporter.verdict import Stage

__all__ = ["NoPhases", "Phases", "phase_clock", "timed"]


class Phases(Protocol):
    """Receives how far an exchange got and how long each phase took."""

    stage: Stage
    """The stage under way; what fails now failed there."""

    def add_phase(self, stage: Stage, seconds: float) -> None:
        """Add to the time spent in a phase."""


class NoPhases:
    """Phases whose timing nobody asks for."""

    __slots__ = ("stage",)

    def __init__(self, stage: Stage = Stage.CONNECT) -> None:
        self.stage = stage

    def add_phase(self, stage: Stage, seconds: float) -> None:
        """Forget it."""


def phase_clock() -> Callable[[], float]:
    """Return the clock for phases: the loop's own, which tests may replace; for uvloop, which ticks in 1 ms, a finer one."""
    loop = asyncio.get_running_loop()
    return monotonic if isinstance(loop, uvloop.Loop) else loop.time


@contextmanager
def timed(phases: Phases, stage: Stage) -> Iterator[None]:
    """Name the stage under way and time it, also where it fails."""
    phases.stage = stage
    clock = phase_clock()
    started = clock()
    try:
        yield
    finally:
        phases.add_phase(stage, clock() - started)

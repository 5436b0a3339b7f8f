"""Lookups of keys, and the share of them that found theirs: of enough of them to say something."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

__all__ = ["FEWEST", "LookupWindow", "Lookups"]

FEWEST = 100
"""Lookups below which a share says nothing: with one, it is 0 or 1. RedisHitRateLow asks for as many."""

MOST_READINGS = 61
"""Readings that are kept: with those of 60 attempts before, a quarter of an hour at an interval of 15 s."""


@dataclass(frozen=True, slots=True)
class Lookups:
    """Lookups of keys since the server's counters began.

    Attributes:
        run: The run of the server that counted them.
        hits: Those that found their key.
        misses: Those that did not.
    """

    run: str
    hits: float
    misses: float

    def follows(self, before: Lookups) -> bool:
        """Say whether these were counted on from those: of another run, or gone back, they were reset."""
        return self.run == before.run and self.hits >= before.hits and self.misses >= before.misses

    def since(self, before: Lookups) -> float:
        """Return how many there were after those."""
        return self.hits - before.hits + self.misses - before.misses


class LookupWindow:
    """The newest readings, of one run of the server."""

    def __init__(self) -> None:
        self._readings: deque[Lookups] = deque(maxlen=MOST_READINGS)

    def share_found(self, now: Lookups) -> float | None:
        """Take a reading in, and return the share of lookups that found their key.

        It is of the fewest attempts that saw `FEWEST` lookups, so that it follows a change as soon as it can be told. None
        where all that are kept saw fewer.
        """
        if self._readings and not now.follows(self._readings[-1]):
            self._readings.clear()
        self._readings.append(now)
        if now.since(self._readings[0]) < FEWEST:  # so it is of a server that does next to nothing, at every attempt
            return None
        before = next(each for each in reversed(self._readings) if now.since(each) >= FEWEST)
        return (now.hits - before.hits) / now.since(before)

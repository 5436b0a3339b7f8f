"""What is remembered of earlier attempts at one target, as far as a limit is about a change: a few numbers of each."""

from __future__ import annotations

from array import array
from collections.abc import Hashable

__all__ = ["Past"]

SLOTS = 6
"""Parts of a window, of each of which two points are kept at the most."""

SURELY_NEW = 300.0
"""Seconds after the first attempt, from which on a series that was not there before is new."""

MOST = 100
"""Series that are remembered of one target."""


class Past:
    """Points of counters and gauges, thinned to two in each of `SLOTS` parts of a window: 16 bytes each."""

    __slots__ = ("_began", "_series")

    def __init__(self) -> None:
        self._began: float | None = None
        self._series: dict[Hashable, array[float]] = {}

    def grown(self, key: Hashable, value: float, at: float, window: float) -> float | None:
        """Return by how much a counter has grown within a window; None where it was not seen before.

        One that begins anew is followed from there on: what came before its restart is given up.

        Args:
            key: Which.
            value: What it is now.
            at: Unix seconds.
            window: Seconds.
        """
        points = self._points(key, at, window)
        if points is None:
            return None
        if points and value < points[-1]:
            del points[:]
        first = points[1] if points else None
        _add(points, value, at, window)
        return value - first if first is not None else None

    def risen(self, key: Hashable, value: float, at: float, window: float) -> float | None:
        """Return by how much a gauge is above the lowest of a window; None where that is not known.

        What is new, and was not there before when others were, has risen from 0.
        """
        if self._began is None:
            self._began = at
        new = key not in self._series
        points = self._points(key, at, window)
        if points is None:
            return None
        lowest = min(points[1::2], default=0.0 if new and at - self._began >= SURELY_NEW else None)
        _add(points, value, at, window, lowest=True)
        return value - min(lowest, value) if lowest is not None else None

    def _points(self, key: Hashable, at: float, window: float) -> array[float] | None:
        points = self._series.get(key)
        if points is None:
            if len(self._series) >= MOST:
                return None
            points = self._series[key] = array("d")
        while points and not at - window <= points[0] <= at:  # a clock that was set back counts as a new beginning
            del points[:2]
        return points


def _add(points: array[float], value: float, at: float, window: float, *, lowest: bool = False) -> None:
    """Keep a point. Those that come thick are one: of a counter the last, of a gauge the lowest."""
    if points and (points[-2] == at or (len(points) >= 4 and at - points[-4] < window / SLOTS)):
        if not lowest or value <= points[-1]:
            points[-2:] = array("d", (at, value))
    else:
        points.extend((at, value))

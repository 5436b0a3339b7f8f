"""Meters as Micrometer keeps them: gauges, counters, and timers with a maximum that fades and, if wanted, a histogram."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["BUCKETS", "Kind", "Meter", "Tags", "Timer", "common"]

Tags = tuple[tuple[str, str], ...]
"""Names and values, as Micrometer writes them: `client.id`."""

_MAX_SLOT = 60.0
_MAX_SLOTS = 3


def _percentile_buckets(least: float, most: float) -> tuple[float, ...]:
    """Return the bounds of `percentiles-histogram`, in seconds: thirds between powers of four, counted in nanoseconds."""
    bounds = {least, most}
    exponent = 2
    while exponent < 64:
        bound, step = 1 << exponent, (1 << exponent) // 3
        end = (bound << 2) - step
        while bound < end:
            if least <= bound / 1e9 <= most:
                bounds.add(bound / 1e9)
            bound += step
        exponent += 2
    return tuple(sorted(bounds))


BUCKETS = _percentile_buckets(0.001, 30.0)
"""Upper bounds, in seconds, of the histogram of a timer that expects 1 ms to 30 s, as Boot's do."""


class Kind(StrEnum):
    """What a meter is."""

    GAUGE = "gauge"
    COUNTER = "counter"
    TIMER = "timer"


class Timer:
    """Durations in seconds: how many, how long in all, and the longest of the last minutes.

    Args:
        histogram: Whether `percentiles-histogram` is switched on.
    """

    __slots__ = ("_slots", "count", "counts", "total")

    def __init__(self, *, histogram: bool = False) -> None:
        self.count = 0
        self.total = 0.0
        self.counts: list[int] | None = [0] * (len(BUCKETS) + 1) if histogram else None
        self._slots: dict[int, float] = {}

    def record(self, seconds: float) -> None:
        """Take in one duration."""
        self.count += 1
        self.total += seconds
        if self.counts is not None:
            self.counts[bisect_left(BUCKETS, seconds)] += 1
        slot = _slot()
        self._slots[slot] = max(self._slots.get(slot, 0.0), seconds)
        if len(self._slots) > _MAX_SLOTS:
            del self._slots[min(self._slots)]

    @property
    def longest(self) -> float:
        """The longest of the last two to three minutes; 0 without any."""
        oldest = _slot() - _MAX_SLOTS
        return max((seconds for slot, seconds in self._slots.items() if slot > oldest), default=0.0)


def _slot() -> int:
    return int(time.monotonic() // _MAX_SLOT)


@dataclass(frozen=True, slots=True)
class Meter:
    """One meter with its tags.

    Attributes:
        name: Micrometer's name, such as `hikaricp.connections.active`.
        kind: What it is.
        value: The number; for a timer its `Timer`.
        tags: In any order.
        unit: Base unit; a timer's is seconds.
        description: For people; may be empty.
    """

    name: str
    kind: Kind
    value: float | Timer
    tags: Tags = ()
    unit: str = ""
    description: str = ""

    @property
    def base_unit(self) -> str:
        """The unit that the numbers are in."""
        return "seconds" if self.kind is Kind.TIMER else self.unit

    @property
    def family(self) -> str:
        """Name of the Prometheus family, without the suffixes of samples."""
        words = self.name.replace(".", "_").replace("-", "_")
        unit = self.base_unit
        return words if not unit or words.endswith(f"_{unit}") else f"{words}_{unit}"


def common(meters: Iterable[Meter], tags: Tags) -> list[Meter]:
    """Add tags to every meter, as `management.metrics.tags` does; tags come out in order of their names."""
    return [
        Meter(item.name, item.kind, item.value, tuple(sorted((*item.tags, *tags))), item.unit, item.description)
        for item in meters
    ]

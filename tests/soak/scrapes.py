"""What a scrape says, and whether the exporter's own counters only ever grow from one to the next."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from exporter.metrics.core import CORE
from exporter.metrics.family import Kind

__all__ = ["Counters", "Scrape"]

_COUNTERS = frozenset(family.name for family in CORE if family.kind is Kind.COUNTER)
_HISTOGRAMS = tuple(
    f"{family.name}_{part}" for family in CORE if family.kind is Kind.HISTOGRAM for part in ("bucket", "count", "sum")
)
OF_OWN = _COUNTERS | frozenset(_HISTOGRAMS)
"""Names of series that must not fall while the exporter runs. What targets count themselves starts anew when they do."""

_SLACK = 1e-9
"""Of a sum of seconds, which is a float."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """One answer of `/metrics`.

    Attributes:
        at: When it was asked for, by a monotonic clock.
        series: Values by name and labels, as they are written.
    """

    at: float
    series: Mapping[str, float]

    @classmethod
    def of(cls, at: float, text: str) -> Scrape:
        """Read one.

        Raises:
            ValueError: It is none.
        """
        lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
        return cls(at, {name: float(value) for name, _, value in lines})

    def find(self, name: str, **labels: str) -> Iterator[tuple[str, float]]:
        """Yield the series of a name that have these labels."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        for series, value in self.series.items():
            if series.partition("{")[0] == name and all(each in series for each in wanted):
                yield series, value

    def values(self, name: str, **labels: str) -> list[float]:
        """Return the values of the series of a name that have these labels."""
        return [value for _, value in self.find(name, **labels)]

    def total(self, name: str, **labels: str) -> float:
        """Return their sum."""
        return sum(self.values(name, **labels))


class Counters:
    """Sees the scrapes of one process, in order."""

    def __init__(self) -> None:
        self._before: Mapping[str, float] = {}

    def restarted(self) -> None:
        """Take in that the process is another: it counts from zero."""
        self._before = {}

    def take(self, scrape: Scrape) -> list[str]:
        """Return what is wrong with a scrape after those before it, for people."""
        now = {name: value for name, value in scrape.series.items() if name.partition("{")[0] in OF_OWN}
        before, self._before = self._before, now
        fell = [
            f"{name} fell from {before[name]:g} to {value:g}"
            for name, value in now.items()
            if name in before and value < before[name] - _SLACK
        ]
        return fell + [f"{name} is {value}" for name, value in now.items() if not math.isfinite(value) or value < 0]

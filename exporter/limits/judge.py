"""Holds what an attempt has learnt against the limits, and remembers since when something is over one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from heapq import nlargest
from typing import NamedTuple

from exporter.limits.entries import LIMITS
from exporter.limits.measures import Seen, Share, Values
from exporter.limits.model import Limit, Over
from exporter.limits.past import Past
from exporter.metrics.store import LabelValues
from exporter.probing.runner import Outcome

__all__ = ["MOST_OVER", "Judge", "judged_once", "limits_of", "over_since"]

MOST_OVER = 10
"""Of a limit that many series of a target are over, so many are kept: those that are over it by most."""

KEPT = 60.0
"""Seconds for which, beside two intervals, what was over its limit stays so while nothing new is known of it: rules bridge
lost scrapes likewise."""


class _Id(NamedTuple):
    limit: str
    labels: LabelValues


@cache
def limits_of(kind: str) -> tuple[Limit, ...]:
    """Return the limits that a kind of probe measures something for."""
    return tuple(limit for limit in LIMITS if kind in limit.kinds)


class Judge:
    """What is over its limit at one target.

    Attributes:
        over: That, in the order of the limits.
        pooled: What limits that are about a service over all its targets are judged by: a part and a whole, by threshold.

    Args:
        kind: Of its probe.
    """

    __slots__ = ("_limits", "_past", "over", "pooled")

    def __init__(self, kind: str) -> None:
        self._limits = limits_of(kind)
        self._past = Past()
        self.over: tuple[Over, ...] = ()
        self.pooled: Mapping[str, tuple[float, float]] = {}

    def take(self, outcome: Outcome, thresholds: Mapping[str, float], interval: float, *, calm: bool = True) -> None:
        """Take in what an attempt has learnt. What it says nothing of stays as it was for a while.

        Args:
            outcome: Of the attempt.
            thresholds: By name; a limit without one holds nothing back.
            interval: Seconds between attempts.
            calm: Nothing has been down for a while.
        """
        seen = Seen(outcome.samples, outcome.finished_at, self._past, outcome.asked)
        oldest = seen.at - 2 * interval - KEPT
        before = {_Id(over.limit.threshold, over.labels): over for over in self.over}
        found: list[Over] = []
        pooled: dict[str, tuple[float, float]] = {}
        for limit in self._limits:
            if limit.pooled and isinstance(limit.measure, Share):
                parts = limit.measure.parts(seen)
                if parts is not None:
                    pooled[limit.threshold] = parts
            elif limit.threshold in thresholds:
                values = limit.measure.read(seen)  # in any case: it is to remember
                if limit.in_calm and not calm:
                    continue
                over = _over(limit, values, seen, thresholds[limit.threshold])
                found += over_since(over, before)
                found += (
                    each
                    for each in before.values()
                    if each.limit is limit and each.labels not in values and each.at >= oldest
                )
        self.over = tuple(found)
        self.pooled = pooled

    def forget(self) -> None:
        """Take nothing to be over its limit: nothing is known any more."""
        self.over, self.pooled = (), {}


def judged_once(kind: str, outcome: Outcome, thresholds: Mapping[str, float]) -> list[Over]:
    """Return what is over its limit by one attempt alone; what is about a change is not known of it."""
    seen = Seen(outcome.samples, outcome.finished_at, asked=outcome.asked)
    return [
        over
        for limit in limits_of(kind)
        if limit.threshold in thresholds
        for over in _over(limit, limit.measure.read(seen), seen, thresholds[limit.threshold])
    ]


def over_since(found: Iterator[Over] | list[Over], before: Mapping[_Id, Over]) -> Iterator[Over]:
    """Give what was over its limit before the time since when it is."""
    for over in found:
        known = before.get(_Id(over.limit.threshold, over.labels))
        yield over if known is None else over._replace(since=known.since)


def _over(limit: Limit, values: Values, seen: Seen, threshold: float) -> list[Over]:
    exceeded = limit.test(threshold)
    if not any(map(exceeded, values.values())):  # there may be thousands
        return []
    at = seen.asked.get(limit.part, seen.at)
    over = [
        Over(limit, labels, value, threshold, at, at)
        for labels, value in values.items()
        if exceeded(value) and limit.only(seen, labels)
    ]
    low = limit.comparison == "<"
    return nlargest(MOST_OVER, over, key=lambda each: -each.value if low else each.value)

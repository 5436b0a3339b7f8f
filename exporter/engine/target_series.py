"""The series of a target: what an attempt learnt, the verdict, and the counters that outlive both."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Set

from exporter.engine.confirmation import Confirmed
from exporter.metrics import core as m
from exporter.metrics.family import Family
from exporter.metrics.store import LARGE, Encoded, Histogram, LabelValues, Store
from exporter.probing.probe import Target
from exporter.probing.runner import Outcome
from exporter.verdict import Verdict

__all__ = ["ProbeSeries", "Published", "TargetSeries", "samples_of", "times", "verdict_samples"]

Published = dict[Family, Mapping[LabelValues, float]]

_OF_EVERY_TARGET = frozenset(m.CORE)


class ProbeSeries:
    """Series that all targets of one probe of one service share: histograms by outcome and of lateness."""

    def __init__(self, store: Store, target: Target) -> None:
        self._owner = store.owner({"service": target.service, "probe": target.probe, **target.labels})
        self._latency: dict[Verdict, Histogram] = {}
        self._lateness = Histogram(m.LATENESS)
        self.users = 0

    def observe(self, outcome: Outcome, lateness: float) -> None:
        """Count an attempt."""
        latency = self._latency.get(outcome.verdict)
        if latency is None:
            latency = self._latency[outcome.verdict] = Histogram(m.LATENCY, (outcome.verdict.value,))
        latency.observe(outcome.duration)
        self._lateness.observe(lateness)
        self._owner.put_histograms((*self._latency.values(), self._lateness))

    def move(self, store: Store) -> None:
        """Publish in another store from now on."""
        self._owner.move(store)

    def close(self) -> None:
        """Withdraw the series."""
        self._owner.close()


class TargetSeries:
    """Publishes one target. Its counters go on when its labels change, and when what it learnt is withdrawn.

    Args:
        store: Where to publish.
        target: What it is of.
    """

    def __init__(self, store: Store, target: Target) -> None:
        self._counters: dict[Family, Counter[LabelValues]] = {
            m.FAILURES: Counter(), m.RECHECKS: Counter(), m.MISSED: Counter({(): 0}), m.PART_FAILURES: Counter(),
            m.OUTAGES: Counter({(): 0}),
        }  # fmt: skip
        self._labels = target.series_labels
        self._owner = store.owner(self._labels)
        for family, counter in self._counters.items():
            self._owner.put(family, counter)
        self._owner.put(m.IN_FLIGHT, {(): 0.0})

    def relabel(self, target: Target) -> None:
        """Take in a target's labels: what is published stays, under other labels."""
        if target.series_labels != self._labels:
            self._labels = target.series_labels
            self._owner.relabel(self._labels)

    def move(self, store: Store) -> None:
        """Publish in another store from now on."""
        self._owner.move(store)

    def facts(self) -> Iterator[tuple[Family, LabelValues, float]]:
        """Yield what the last attempt learnt, without what every target exports and without histograms."""
        return (fact for fact in self._owner.published() if fact[0] not in _OF_EVERY_TARGET)

    def facts_of(self, families: Set[Family]) -> Iterator[tuple[Family, LabelValues, float]]:
        """Yield what the last attempt learnt of some families."""
        return self._owner.published(families)

    def began(self) -> None:
        """Say that an attempt is under way."""
        self._owner.put(m.IN_FLIGHT, {(): 1.0})

    def ended(self) -> None:
        """Say that none is."""
        self._owner.put(m.IN_FLIGHT, {(): 0.0})

    def missed(self, count: int) -> None:
        """Count grid attempts that were not made."""
        self._count(m.MISSED, (), count)

    def went_down(self) -> None:
        """Count an outage."""
        self._count(m.OUTAGES, ())

    def count(self, outcome: Outcome, *, recheck: bool) -> None:
        """Count what failed in an attempt."""
        failure = outcome.failure
        if recheck:
            self._count(m.RECHECKS, (outcome.verdict.value,))
        elif failure is not None:
            self._count(m.FAILURES, (failure.stage.value, failure.reason.value))
        for name, found in outcome.parts.items():
            if found is not None:
                self._count(m.PART_FAILURES, (name, found.stage.value, found.reason.value))

    async def encode(self, outcome: Outcome) -> Encoded | None:
        """Encode what an attempt learnt in a thread, where it is so much that it would hold up the event loop."""
        if max(map(len, outcome.samples.values()), default=0) <= LARGE:
            return None
        return await asyncio.to_thread(self._owner.encode, outcome.samples)

    def publish(self, samples: Published, encoded: Encoded | None = None) -> None:
        """Replace what is published of the target's last attempt and its verdict."""
        self._owner.publish(samples, encoded)

    def withdraw(self) -> None:
        """Publish nothing of an attempt and no verdict, not even an unknown one: when all else has failed."""
        self._owner.publish({})

    def close(self) -> None:
        """Withdraw every series."""
        self._owner.close()

    def _count(self, family: Family, labels: LabelValues, count: int = 1) -> None:
        counter = self._counters[family]
        counter[labels] += count
        self._owner.put(family, counter)  # it is encoded at once, and not kept


def samples_of(outcome: Outcome, last_success: float | None) -> Published:
    """Return what an attempt learnt as samples, without a verdict.

    Args:
        outcome: Of the attempt.
        last_success: When one was last up, Unix seconds, this one included.
    """
    samples: Published = dict(outcome.samples)
    samples[m.DURATION] = {(): outcome.duration}
    if outcome.phases:
        samples[m.PHASE] = {(stage.value,): seconds for stage, seconds in outcome.phases.items()}
    if outcome.parts:
        samples[m.PART_SUCCESS] = {(name,): float(found is None) for name, found in outcome.parts.items()}
    samples.update(times(outcome.finished_at, last_success))
    return samples


def times(last_run: float | None, last_success: float | None) -> Published:
    """Return when the target last ran and was last up; both stay when all else is withdrawn."""
    found: Published = {}
    if last_run is not None:
        found[m.LAST_RUN] = {(): last_run}
    if last_success is not None:
        found[m.LAST_SUCCESS] = {(): last_success}
    return found


def verdict_samples(confirmed: Confirmed, interval: float) -> Published:
    """Return the confirmed verdict as samples: up or down, or why it is unknown."""
    found: Published = {m.INTERVAL: {(): interval}}
    if confirmed.verdict is Verdict.UNKNOWN:
        found[m.UNKNOWN] = {(str(confirmed.reason),): 1.0}
    else:
        found[m.SUCCESS] = {(): float(confirmed.verdict is Verdict.UP)}
    return found

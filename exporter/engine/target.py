"""A target at run time: its probe, its confirmed verdict, its series, its recent attempts."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from exporter.engine import metrics as m
from exporter.engine.confirmation import Confirmed
from exporter.engine.views import AttemptView, TargetView
from exporter.metrics.family import Family, Kind
from exporter.metrics.store import Histogram, LabelValues, Samples, Store
from exporter.probing.probe import Probe, Scope, Target
from exporter.probing.runner import Outcome, run_probe
from exporter.verdict import Verdict

__all__ = ["ProbeSeries", "TargetState"]

RECENTS = 12
"""Attempts remembered for people."""

STALE_INTERVALS = 3
"""Intervals without a completed attempt after which a target's facts are withdrawn."""


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

    def close(self) -> None:
        """Withdraw the series."""
        self._owner.close()


class TargetState:
    """Runs one target's probe and publishes what comes of it. It is the scheduler's `Job`.

    Args:
        probe: The probe; owned from here on.
        store: Where to publish.
        kind: Series shared with the other targets of this probe.
        loop_lag: Tells the longest stall of the event loop since a loop time.
        changed: Called when the confirmed verdict has changed.
    """

    def __init__(
        self,
        probe: Probe[Any],
        store: Store,
        kind: ProbeSeries,
        loop_lag: Callable[[float], float],
        changed: Callable[[TargetState], None],
    ) -> None:
        self.probe = probe
        self.target = probe.target
        self.kind = kind
        self.confirmed = Confirmed(probe.settings.confirm)
        self.since = time.time()
        self._recents: deque[tuple[Outcome, bool]] = deque(maxlen=RECENTS)
        self._labels = {
            "service": self.target.service, "probe": self.target.probe, "target": self.target.name, **self.target.labels
        }  # fmt: skip
        self._owner = store.owner(self._labels)
        self._loop_lag = loop_lag
        self._changed = changed
        self._lock = asyncio.Lock()
        self._completed = asyncio.get_running_loop().time()
        self._last: Outcome | None = None
        self._last_success: float | None = None
        self._counters: dict[Family, Counter[LabelValues]] = {
            family: Counter() for family in (m.FAILURES, m.RECHECKS, m.MISSED, m.PART_FAILURES)
        }
        self._count(m.MISSED, (), 0)
        self._owner.put(m.IN_FLIGHT, {(): 0.0})
        self._publish({})

    @property
    def key(self) -> tuple[str, str, str]:
        """Identity of the target."""
        return self.target.key

    @property
    def host(self) -> str:
        """The host of an instance; the service's name where the probe covers it as a whole."""
        return self.target.address.host if self.probe.scope is Scope.INSTANCE else self.target.name

    @property
    def interval(self) -> float:
        """Seconds between grid attempts."""
        return float(self.probe.settings.interval)

    @property
    def recheck(self) -> float:
        """Seconds until a recheck."""
        return float(self.probe.settings.recheck)

    @property
    def last_reason(self) -> str | None:
        """Why the last attempt failed, if it did."""
        failure = self._last.failure if self._last is not None else None
        return failure.reason if failure is not None else None

    @property
    def attempted(self) -> bool:
        """Whether an attempt has completed."""
        return self._last is not None

    async def run(self, *, lateness: float, recheck: bool) -> bool:
        """Make one attempt and publish it; return whether a recheck is wanted."""
        self._owner.put(m.IN_FLIGHT, {(): 1.0})
        try:
            async with self._lock:
                outcome = await run_probe(self.probe, self.probe.settings.timeout, self._loop_lag)
        finally:
            self._owner.put(m.IN_FLIGHT, {(): 0.0})
        self._complete(outcome, lateness, recheck)
        return outcome.verdict is not Verdict.UP

    async def run_apart(self) -> bytes:
        """Make one attempt that changes nothing, and return its exposition. Never beside a scheduled one."""
        async with self._lock:
            outcome = await run_probe(self.probe, self.probe.settings.timeout, self._loop_lag)
        scratch = Store()
        scratch.owner(self._labels).publish(
            self._samples(outcome, outcome.verdict, outcome.failure.reason if outcome.failure else None)
        )
        return scratch.render()

    def missed(self) -> None:
        """Count a grid attempt that was not made."""
        self._count(m.MISSED, ())

    def sweep(self, now: float) -> None:
        """Withdraw everything if no attempt has completed for too long: never a frozen value."""
        limit = STALE_INTERVALS * self.interval + self.probe.settings.timeout
        if now - self._completed > limit and self.confirmed.reason != "stale":
            changed = self.confirmed.stale()
            self._publish({})
            self._note_change(changed)

    def view(self, next_run: float | None) -> TargetView:
        """Return the target as people see it."""
        last, failure = self._last, self._last.failure if self._last else None
        return TargetView(
            service=self.target.service,
            probe=self.target.probe,
            target=self.target.name,
            verdict=self.confirmed.verdict,
            confirmed_since=self.since if self.attempted else None,
            stage=failure.stage if failure else None,
            reason=self.confirmed.reason or (failure.reason if failure else None),
            detail=failure.detail if failure else "",
            interval=self.interval,
            last_run=last.finished_at if last else None,
            last_success=self._last_success,
            next_run=next_run,
            duration=last.duration if last else None,
            phases={stage.value: seconds for stage, seconds in last.phases.items()} if last else {},
            parts={name: str(found) if found else None for name, found in last.parts.items()} if last else {},
            facts=_facts(last.samples) if last else {},
            recents=[_attempt_view(outcome, recheck) for outcome, recheck in self._recents],
        )

    async def close(self) -> None:
        """Withdraw the series and close the probe."""
        self._owner.close()
        await self.probe.close()

    def _complete(self, outcome: Outcome, lateness: float, recheck: bool) -> None:
        self._last = outcome
        self._completed = asyncio.get_running_loop().time()
        if outcome.verdict is Verdict.UP:
            self._last_success = outcome.finished_at
        failure = outcome.failure
        if recheck:
            self._count(m.RECHECKS, (outcome.verdict.value,))
        elif failure is not None:
            self._count(m.FAILURES, (failure.stage.value, failure.reason.value))
        for name, found in outcome.parts.items():
            if found is not None:
                self._count(m.PART_FAILURES, (name, found.stage.value, found.reason.value))
        changed = self.confirmed.feed(outcome.verdict, failure.reason if failure else None)
        self._publish(self._samples(outcome, self.confirmed.verdict, self.confirmed.reason))
        self.kind.observe(outcome, lateness)
        self._recents.append((outcome, recheck))
        self._note_change(changed)

    def _note_change(self, changed: bool) -> None:
        if changed:
            self.since = time.time()
            self._changed(self)

    def _samples(self, outcome: Outcome, verdict: Verdict, reason: str | None) -> dict[Family, dict[LabelValues, float]]:
        samples: dict[Family, dict[LabelValues, float]] = dict(outcome.samples)  # type: ignore[arg-type] # values are not changed
        samples[m.DURATION] = {(): outcome.duration}
        samples[m.LAST_RUN] = {(): outcome.finished_at}
        if outcome.phases:
            samples[m.PHASE] = {(stage.value,): seconds for stage, seconds in outcome.phases.items()}
        if outcome.verdict is Verdict.UP:
            samples[m.LAST_SUCCESS] = {(): outcome.finished_at}
        elif self._last_success is not None:
            samples[m.LAST_SUCCESS] = {(): self._last_success}
        if outcome.parts:
            samples[m.PART_SUCCESS] = {(name,): float(found is None) for name, found in outcome.parts.items()}
        samples.update(self._verdict_samples(verdict, reason))
        return samples

    def _verdict_samples(self, verdict: Verdict, reason: str | None) -> dict[Family, dict[LabelValues, float]]:
        if verdict is Verdict.UNKNOWN:
            return {m.UNKNOWN: {(str(reason),): 1.0}, m.INTERVAL: {(): self.interval}}
        return {m.SUCCESS: {(): float(verdict is Verdict.UP)}, m.INTERVAL: {(): self.interval}}

    def _publish(self, samples: dict[Family, dict[LabelValues, float]]) -> None:
        if not samples:
            samples = self._verdict_samples(self.confirmed.verdict, self.confirmed.reason)
            if self._last is not None:
                samples[m.LAST_RUN] = {(): self._last.finished_at}
            if self._last_success is not None:
                samples[m.LAST_SUCCESS] = {(): self._last_success}
        self._owner.publish(samples)

    def _count(self, family: Family, labels: LabelValues, amount: int = 1) -> None:
        counter = self._counters[family]
        counter[labels] += amount
        self._owner.put(family, counter)


def _attempt_view(outcome: Outcome, recheck: bool) -> AttemptView:
    failure = outcome.failure
    return AttemptView(
        finished_at=outcome.finished_at,
        verdict=outcome.verdict,
        stage=failure.stage if failure else None,
        reason=failure.reason if failure else None,
        detail=failure.detail if failure else "",
        duration=outcome.duration,
        recheck=recheck,
    )


def _facts(samples: Samples) -> dict[str, float]:
    """Flatten what was learnt for people: at most 200 facts, without the buckets of histograms."""
    facts: dict[str, float] = {}
    for family, values in samples.items():
        if family.kind is Kind.HISTOGRAM:
            continue
        for labels, value in values.items():
            if len(facts) == 200:
                return facts
            own = ",".join(f"{name}={text}" for name, text in zip(family.labels, labels, strict=True))
            facts[f"{family.name}{{{own}}}" if own else family.name] = value
    return facts

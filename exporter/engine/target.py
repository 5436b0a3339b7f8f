"""A target at run time: its key, its probe as it is now, its confirmed verdict, its recent attempts."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any, NamedTuple

from exporter.diagnosis.facts import levels
from exporter.engine.confirmation import Confirmed
from exporter.engine.defects import Defects
from exporter.engine.history import History
from exporter.engine.lag import LoopLag
from exporter.engine.slots import Lane
from exporter.engine.target_series import ProbeSeries, TargetSeries, samples_of, times, verdict_samples
from exporter.limits.judge import Judge
from exporter.limits.model import Over
from exporter.metrics.family import Family
from exporter.metrics.store import Encoded, LabelValues, Store
from exporter.probing.probe import Probe, Scope, Target
from exporter.probing.runner import Outcome, run_probe
from exporter.unforeseen import Where
from exporter.verdict import Reason, Stage, Verdict

__all__ = ["RECENTS", "Engineering", "LastAttempt", "Recent", "Standing", "TargetState"]

CLOSE_PATIENCE = 2.0
"""Seconds that a probe may take to close."""

RECENTS = 12
"""Attempts remembered for people."""

STALE_INTERVALS = 3
"""Intervals without a completed attempt after which a target's facts are withdrawn."""


class Standing(NamedTuple):
    """What is believed of a target."""

    verdict: Verdict
    reason: Reason | None


class Recent(NamedTuple):
    """What is remembered of an attempt: words and numbers, nothing that it learnt."""

    finished_at: float
    verdict: Verdict
    stage: Stage | None
    reason: Reason | None
    detail: str
    duration: float
    recheck: bool


class LastAttempt(NamedTuple):
    """What is kept of the last attempt, beside what is published of it."""

    recent: Recent
    phases: dict[str, float]
    parts: dict[str, str | None]
    asked: Mapping[str, float]
    """When parts were asked of which an earlier attempt is told, Unix seconds."""
    levels: Mapping[str, float]
    """The highest that was measured of what a diagnosis looks at, by the names of `diagnosis.facts.LEVELS`."""
    began: float
    """When it began, loop time."""


class Engineering(NamedTuple):
    """What every target is handed of the engine."""

    store: Store
    defects: Defects
    loop_lag: LoopLag
    """Excuses timeouts for which the event loop stood still."""
    calm: Callable[[], bool]
    """Tells whether nothing has been down for a while."""
    kept: dict[tuple[str, str, str], History]
    """Histories that a file has kept, by key; whoever has been given one takes it out."""


class TargetState:
    """Runs one target's probe and publishes what comes of it. It is the scheduler's `Job`.

    Its identity is its key. Probe, addresses, settings and labels are replaced beneath it by `adopt`, and what is believed,
    the counters and the recent attempts live on.

    Everything that a run does is inside one fence: an unexpected exception, wherever it comes from, withdraws the verdict
    (unknown, `internal`) and counts as a defect; nothing stays frozen.

    Args:
        probe: The probe; owned from here on.
        engine: What it is handed of the engine.
        shared_series: Series shared with the other targets of this probe.
        changed: Called with itself and the standing before, when its standing, the number of its failed parts, or what of it
            is over a limit has changed.
        completed: Called with itself when an attempt has ended and is published.
    """

    def __init__(
        self,
        probe: Probe[Any],
        engine: Engineering,
        shared_series: ProbeSeries,
        changed: Callable[[TargetState, Standing], None],
        completed: Callable[[TargetState], None] = lambda _: None,
    ) -> None:
        self.probe = probe
        self.target: Target = probe.target
        self.settings = probe.settings
        self.shared_series = shared_series
        self.confirmed = Confirmed(probe.settings.confirm)
        self.since: float | None = None
        self.last: LastAttempt | None = None
        self.attempted = False
        """Whether an attempt has ended, one that ended in a defect included."""
        self.last_success: float | None = None
        self.history = engine.kept.pop(self.target.key, History())
        self.recents: deque[Recent] = deque(maxlen=RECENTS)
        self.thresholds: Mapping[str, float] = {}
        """Of its service, by name: what the next attempt is held against."""
        self._judge = Judge(self.target.probe)
        self._engine = engine
        self._changed = changed
        self._on_completed = completed
        self._noted = self._to_note
        self._successor: tuple[Probe[Any], bool] | None = None
        self._running = False
        self._began = -math.inf
        self._completed = asyncio.get_running_loop().time()
        self._grace_until = -math.inf
        self._series = TargetSeries(engine.store, self.target)
        self._publish_verdict()

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
        return float(self.settings.interval)

    @property
    def timeout(self) -> float:
        """Seconds that an attempt takes at the most."""
        return float(self.settings.timeout)

    @property
    def recheck(self) -> float:
        """Seconds until a recheck."""
        return float(self.settings.recheck)

    @property
    def lane(self) -> Lane:
        """Troubled where the last attempt did not come out up."""
        return Lane.WELL if self.last is None or self.last.recent.verdict is Verdict.UP else Lane.TROUBLED

    @property
    def standing(self) -> Standing:
        """What is believed of it."""
        return Standing(self.confirmed.verdict, self.confirmed.reason)

    @property
    def failed_parts(self) -> int:
        """Optional parts of the last attempt that failed."""
        return sum(found is not None for found in self.last.parts.values()) if self.last is not None else 0

    @property
    def over(self) -> tuple[Over, ...]:
        """What of it is over a limit, by the last attempts."""
        return self._judge.over

    @property
    def pooled(self) -> Mapping[str, tuple[float, float]]:
        """What limits of its service as a whole are judged by: its part of a part and a whole, by threshold."""
        return self._judge.pooled

    async def run(self, *, lateness: float, recheck: bool) -> bool:
        """Make one attempt and publish it; return whether a recheck is wanted."""
        lag = self._engine.loop_lag
        lag.begin()
        try:
            if self._successor is not None:
                await self._take_over()
            self._running = True
            self._began = asyncio.get_running_loop().time()
            self._series.began()
            unexpected: list[tuple[str, Exception]] = []
            outcome = await run_probe(self.probe, self.timeout, lag.since, lambda *each: unexpected.append(each))
            self._note_defects(outcome, unexpected)
            encoded = await self._series.encode(outcome)
            self._complete(outcome, lateness, recheck=recheck, encoded=encoded)
            self._series.ended()
        except Exception as error:
            self._fail(error)
            return False
        else:
            return outcome.verdict is not Verdict.UNKNOWN and self.confirmed.unsettled
        finally:
            lag.end()
            self._running = False
            if self._successor is not None:
                await self._take_over()

    def missed(self, count: int = 1) -> None:
        """Count grid attempts that were not made."""
        self._series.missed(count)

    def adopt(self, probe: Probe[Any], shared_series: ProbeSeries) -> Probe[Any] | None:
        """Take in the target as it is now: its addresses, labels and settings, with the probe that was built for them.

        A run under way ends with the old probe; the next one has the new. What is published stays, and so does the verdict:
        that something was configured says nothing of the target.

        Args:
            probe: The new probe; owned from here on.
            shared_series: Of the same probe and labels.

        Returns:
            A probe that was waiting to be adopted and never will be: to be closed by the caller.
        """
        superseded = self._successor[0] if self._successor is not None else None
        self._successor = (probe, probe.settings == self.probe.settings)
        before = self._believed_until
        self.target, self.settings = probe.target, probe.settings
        # What was often enough until now is not too seldom at once; but no change lets anything live on and on.
        self._grace_until = min(before, asyncio.get_running_loop().time() + self.stale_after)
        self.confirmed.rule = probe.settings.confirm
        self.shared_series = shared_series
        self._series.relabel(self.target)
        return superseded

    def move(self, store: Store) -> None:
        """Publish in another store from now on, what is shared with the other targets of the probe included."""
        self._series.move(store)
        self.shared_series.move(store)

    def facts(self) -> Iterator[tuple[Family, LabelValues, float]]:
        """Yield what the last attempt learnt, as it is published; nothing while that is withdrawn."""
        return self._series.facts()

    def facts_of(self, families: Set[Family]) -> Iterator[tuple[Family, LabelValues, float]]:
        """Yield what the last attempt learnt of some families."""
        return self._series.facts_of(families)

    @property
    def stale_after(self) -> float:
        """Seconds without a completed attempt after which nothing is believed any more."""
        return STALE_INTERVALS * self.interval + self.timeout

    def sweep(self, now: float) -> None:
        """Withdraw everything if no attempt has completed for too long: never a frozen value."""
        if now > self._believed_until and self.confirmed.reason is not Reason.STALE:
            self.confirmed.stale()
            self._judge.forget()
            self._publish_verdict_or_nothing()
            self._note_change()

    @property
    def _believed_until(self) -> float:
        return max(self._completed + self.stale_after, self._grace_until)

    def exposition(self, outcome: Outcome) -> bytes:
        """Write what an attempt apart from the schedule came to, as it would be published; nothing is."""
        alone = Confirmed(self.settings.confirm, outcome.verdict, outcome.failure.reason if outcome.failure else None)
        scratch = Store()
        last_success = outcome.finished_at if outcome.verdict is Verdict.UP else None
        samples = {**samples_of(outcome, last_success), **verdict_samples(alone, self.interval)}
        scratch.owner(self.target.series_labels).publish(samples)
        return scratch.render()

    def withdraw(self) -> None:
        """Withdraw the series for good: nothing is published afterwards."""
        self._series.close()

    async def close(self) -> None:
        """Withdraw the series and close the probe."""
        self.withdraw()
        try:
            await self._take_over()
        finally:
            await self._close_probe(self.probe)

    async def _take_over(self) -> None:
        """Put the successor in place, if there is one: between attempts, when nothing of the old probe is in use."""
        if self._successor is None or self._running:
            return
        (probe, same_settings), self._successor = self._successor, None
        unused = probe
        if not (same_settings and self._retarget(probe.target)):
            unused, self.probe = self.probe, probe
        await self._close_probe(unused)

    def _retarget(self, target: Target) -> bool:
        try:
            return self.probe.retarget(target)
        except Exception as error:
            self._engine.defects.note(Where.PROBE, f"the probe of {self.target} could not take in its addresses", error)
            return False

    async def _close_probe(self, probe: Probe[Any]) -> None:
        """Close a probe. One that does not end is left to itself, also when whoever waits is cancelled."""
        closing = asyncio.create_task(probe.close(), name=f"close {self.target}")
        closing.add_done_callback(self._note_closed)
        await asyncio.wait({closing}, timeout=CLOSE_PATIENCE)
        if not closing.done():
            text = f"the probe of {self.target} does not close within {CLOSE_PATIENCE:g} s"
            self._engine.defects.note(Where.PROBE, text, TimeoutError(text))

    def _note_closed(self, closing: asyncio.Task[None]) -> None:
        error = closing.exception() if not closing.cancelled() else None
        if isinstance(error, Exception):
            self._engine.defects.note(Where.PROBE, f"the probe of {self.target} could not be closed", error)

    def _note_defects(self, outcome: Outcome, unexpected: list[tuple[str, Exception]]) -> None:
        """Count what nobody knows, and what a client calls the exporter's own fault and has logged."""
        for where, error in unexpected:
            self._engine.defects.note(Where.PROBE, f"{where} raised what it must not", error)
        if not unexpected and outcome.failure is not None and outcome.failure.reason is Reason.INTERNAL:
            self._engine.defects.count(Where.PROBE)

    def _complete(self, outcome: Outcome, lateness: float, *, recheck: bool, encoded: Encoded | None) -> None:
        failure = outcome.failure
        recent = Recent(
            outcome.finished_at,
            outcome.verdict,
            failure.stage if failure else None,
            failure.reason if failure else None,
            failure.detail if failure else "",
            outcome.duration,
            recheck,
        )
        if outcome.verdict is Verdict.UP:
            self.last_success = outcome.finished_at
        believed = self.confirmed.believed
        self.confirmed.feed(outcome.verdict, failure.reason if failure else None)
        if believed is not Verdict.DOWN is self.confirmed.believed:
            self._series.went_down()
        samples = samples_of(outcome, self.last_success)
        samples.update(verdict_samples(self.confirmed, self.interval))
        self._series.count(outcome, recheck=recheck)
        self._series.publish(samples, encoded)
        self.shared_series.observe(outcome, lateness)
        phases = {stage.value: seconds for stage, seconds in outcome.phases.items()}
        parts = {name: str(found) if found else None for name, found in outcome.parts.items()}
        self.last = LastAttempt(recent, phases, parts, outcome.asked, levels(outcome.samples), self._began)
        self._remember(recent)
        self._judge.take(outcome, self.thresholds, self.interval, calm=self._engine.calm())
        self._note_end()
        self._tell(self._on_completed)
        self._note_change()

    def _remember(self, recent: Recent) -> None:
        self.recents.append(recent)
        if not recent.recheck:
            self.history.count(recent.finished_at, recent.verdict, recent.duration)
        if recent.verdict is Verdict.UP:
            self.history.worked()
        else:
            self.history.failed(recent.finished_at, recent.verdict, recent.stage, recent.reason, recent.detail)

    def _note_end(self) -> None:
        self.attempted = True
        self._completed = asyncio.get_running_loop().time()

    def _fail(self, error: Exception) -> None:
        """Withdraw the verdict after a defect. What fails here too is held by taking away all that is published."""
        self._engine.defects.note(Where.TARGET, f"an attempt on {self.target} could not be judged or published", error)
        self._note_end()
        self.confirmed.feed(Verdict.UNKNOWN, Reason.INTERNAL)
        self._judge.forget()
        try:
            self._series.ended()
        finally:
            self._publish_verdict_or_nothing()
            self._note_change()

    def _publish_verdict_or_nothing(self) -> None:
        """Publish the verdict alone; where that fails, take away all that is published: nothing stays frozen."""
        try:
            self._publish_verdict()
        except Exception as error:
            self._engine.defects.note(Where.TARGET, f"the verdict on {self.target} could not be withdrawn", error)
            self._series.withdraw()

    def _publish_verdict(self) -> None:
        """Publish the verdict alone, and when it was formed: what an attempt learnt is withdrawn."""
        last_run = self.last.recent.finished_at if self.last is not None else None
        self._series.publish({**times(last_run, self.last_success), **verdict_samples(self.confirmed, self.interval)})

    def _note_change(self) -> None:
        """Tell of what has changed. The listener's failure is not the target's: its verdict stands."""
        noted, now = self._noted, self.standing
        self._noted = self._to_note
        if noted == self._noted:
            return
        before = noted[0]
        if before.verdict is not now.verdict or self.since is None:
            self.since = time.time()
        self._tell(lambda state: self._changed(state, before))

    @property
    def _to_note(self) -> tuple[Standing, int, tuple[tuple[str, LabelValues], ...]]:
        over = tuple((each.limit.threshold, each.labels) for each in self.over)
        return self.standing, self.failed_parts, over

    def _tell(self, listener: Callable[[TargetState], None]) -> None:
        try:
            listener(self)
        except Exception as error:
            self._engine.defects.note(Where.SERVICE, f"a change of {self.target} could not be taken in", error)

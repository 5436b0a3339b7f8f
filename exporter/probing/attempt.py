"""An attempt: what a probe is handed, to record facts and phases into.

Facts are recorded here as they are learnt, not returned at the end: when an attempt fails, what came before stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from types import TracebackType
from typing import cast

from exporter.metrics.family import Family, Kind
from exporter.metrics.store import LabelValues, Samples, Settled
from exporter.net.errors import timeout_reason
from exporter.net.phases import phase_clock
from exporter.verdict import Failure, Reason, Stage

__all__ = ["MAX_SERIES", "Attempt"]

MAX_SERIES = 20_000
"""Series that one attempt may record, where its probe says nothing else. Labels come from what servers answer; past this, an
answer is not believed."""

_PART_MARGIN = 0.05
"""Share of the deadline kept back from optional parts, so that a slow part cannot turn the verdict."""

_IS_FLOAT = frozenset({float})

Classify = Callable[[Exception, Stage], Failure]
Excuse = Callable[[Failure], Failure]


class Attempt:
    """One run of one probe, under way.

    Args:
        timeout: Seconds until the deadline, counted from now.
        classify: Turns an exception into a failure; used for optional parts.
        max_series: Series that it may record.
        excuse: Takes a timeout back to the prober where that stood still; else returns what it is given.

    Attributes:
        excused: Returns a failure as it is to be told: a timeout, where the prober stood still, is its own.
        stage: The stage under way; an exception is named after it.
        deadline: Loop time at which the attempt is ended.
        phases: Seconds spent in each phase of the path that decides the verdict.
        samples: What was learnt.
        parts: Optional parts that ran, and how they failed.
        asked: When parts were asked that are not asked at every attempt, and were not at this one; Unix seconds.
    """

    __slots__ = (
        "_classify", "_count", "_max_series", "_now",
        "asked", "deadline", "excused", "parts", "phases", "samples", "stage", "timeout",
    )  # fmt: skip

    def __init__(
        self,
        timeout: float,
        classify: Classify,
        max_series: int = MAX_SERIES,
        excuse: Excuse = lambda failure: failure,
    ) -> None:
        self._now = asyncio.get_running_loop().time
        self._classify = classify
        self.excused = excuse
        self._count = [0]
        self._max_series = max_series
        self.timeout = timeout
        self.deadline = self._now() + timeout
        self.stage = Stage.INTERNAL
        self.phases: dict[Stage, float] = {}
        self.samples: dict[Family, dict[LabelValues, float]] = {}
        self.parts: dict[str, Failure | None] = {}
        self.asked: dict[str, float] = {}

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; zero when it has passed."""
        return max(0.0, self.deadline - self._now())

    def record(self, family: Family, value: float, *labels: str) -> None:
        """Record a sample; the last one of a series counts.

        Raises:
            ValueError: The family is a histogram of the exporter's own, or takes other labels.
            Failure: The attempt has more series than it may.
        """
        values = self.samples.get(family)
        if values is None:
            values = self._begin(family)
        if labels not in values:
            if len(labels) != len(family.labels):
                raise ValueError(f"{family.name} takes labels {family.labels}, got {labels!r}")
            self._take(1)
        values[labels] = float(value)  # counts and flags come as int and bool

    def record_all(self, samples: Samples) -> None:
        """Record many samples at once, at a fraction of the cost of one by one: for a cluster's thousands.

        Raises:
            ValueError: As `record` has it; what came before it is recorded.
            Failure: The attempt has more series than it may; those that there was room for are recorded.
        """
        for family, found in samples.items():
            if not found:
                continue
            if not {len(family.labels)}.issuperset(map(len, found)):
                raise ValueError(f"{family.name} takes labels {family.labels}")
            values = self.samples.get(family)
            if values is None:
                values = self._begin(family)
            new = len(found.keys() - values.keys()) if values else len(found)
            room = max(0, self._max_series - self._count[0])
            if new > room:
                values.update(islice(((labels, float(found[labels])) for labels in found if labels not in values), room))
            self._take(new)
            if _IS_FLOAT.issuperset(map(type, found.values())):
                values.update(found)  # from one dict to another labels are not hashed again
            else:
                values.update(zip(found, map(float, found.values()), strict=True))

    def keep(self, samples: Mapping[Family, Settled]) -> None:
        """Record samples of an earlier attempt that hold still, all of their families, at next to no cost.

        Who records another sample of such a family is refused by what holds them, with a TypeError.

        Raises:
            Failure: The attempt has more series than it may.
        """
        self.samples.update(cast("Mapping[Family, dict[LabelValues, float]]", samples))
        self._take(sum(map(len, samples.values())))

    def _begin(self, family: Family) -> dict[LabelValues, float]:
        """Make room for a family's samples."""
        if family.buckets and family.kind is Kind.HISTOGRAM:
            raise ValueError(f"{family.name}: histograms are kept by the engine, not recorded by probes")
        values = self.samples[family] = {}
        return values

    def _take(self, series: int) -> None:
        """Count series that are new."""
        count = self._count
        count[0] += series
        if count[0] > self._max_series:
            count[0] = self._max_series + 1
            raise Failure(Stage.CHECK, Reason.TOO_LARGE, f"more than {self._max_series} series from one attempt")

    def add_phase(self, stage: Stage, seconds: float) -> None:
        """Add to the time spent in a phase."""
        self.phases[stage] = self.phases.get(stage, 0.0) + seconds

    @contextmanager
    def phase(self, stage: Stage) -> Iterator[None]:
        """Time a phase. What fails inside failed in this stage, and its time still counts."""
        self.stage = stage
        clock = phase_clock()
        started = clock()
        try:
            yield
        finally:
            self.add_phase(stage, clock() - started)
        self.stage = Stage.CHECK

    def part(self, name: str, *, timeout: float | None = None) -> _Part:
        """Run an optional part, as an `async with` block: its failure is recorded, and the attempt goes on.

        The part gets an attempt of its own, so its phases and stage do not mix with the path that decides the verdict; its
        samples land with the others. Parts may run side by side, in tasks that end before the attempt does. A part may come
        in several blocks: it has worked where all have, and the first failure is told.

        Args:
            name: What the part is called in `probe_part_success{part}`.
            timeout: Seconds it may take, beside the attempt's own deadline.
        """
        limit = self.part_time
        seconds = limit if timeout is None else max(0.0, min(limit, timeout))
        child = Attempt(seconds, self._classify, self._max_series, self.excused)
        child.samples, child.parts, child._count = self.samples, self.parts, self._count
        child.asked = self.asked
        return _Part(name, child)

    @property
    def part_time(self) -> float:
        """Seconds that a part has from now, if nothing else is said: ahead of the deadline, which it must not turn."""
        return max(0.0, self.deadline - _PART_MARGIN * self.timeout - self._now())

    def note_failure(self, name: str, failure: Failure) -> None:
        """Record how a part failed, unless it has failed before."""
        if self.parts.get(name) is None:
            self.parts[name] = self.excused(failure)

    def note_part(self, name: str, error: Exception | None) -> None:
        """Note how an optional part ended that a client has bounded in time itself; None where all of it worked."""
        self.parts[name] = None if error is None else self.excused(self._classify(error, Stage.INTERNAL))

    def note_asked(self, name: str, at: float | None) -> None:
        """Note that what is told of a part was learnt at an earlier attempt.

        Args:
            name: Of the part.
            at: When, Unix seconds.
        """
        if at is not None:
            self.asked[name] = at

    def named(self, error: Exception) -> Failure:
        """Name an error by the stage under way."""
        return self._classify(error, self.stage)


class _Part:
    """The block of an optional part."""

    __slots__ = ("_child", "_name", "_timeout")

    def __init__(self, name: str, child: Attempt) -> None:
        self._name = name
        self._child = child
        self._timeout = asyncio.timeout_at(child.deadline)

    async def __aenter__(self) -> Attempt:
        self._child.parts.setdefault(self._name, None)
        await self._timeout.__aenter__()
        return self._child

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        child = self._child
        try:
            await self._timeout.__aexit__(kind, raised, traceback)
        except TimeoutError as error:  # in place of the cancellation that ended the block
            raised = error
        if raised is None:
            return False
        if isinstance(raised, asyncio.CancelledError):  # the attempt's deadline struck in here: the part did not work either
            why = Failure(child.stage, timeout_reason(child.stage), "the attempt ended before it")
            child.note_failure(self._name, why)
            return False
        if not isinstance(raised, Exception):
            return False
        child.note_failure(self._name, child.named(raised))
        return True

"""An attempt: what a probe is handed, to record facts and phases into.

Facts are recorded here as they are learnt, not returned at the end: when an attempt fails, what came before stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import islice

from exporter.metrics.family import Family, Kind
from exporter.metrics.store import LabelValues, Samples
from exporter.net.errors import timeout_reason
from exporter.net.phases import phase_clock
from exporter.verdict import Failure, Reason, Stage

__all__ = ["MAX_SERIES", "Attempt"]

MAX_SERIES = 20_000
"""Series that one attempt may record. Labels come from what servers answer; past this, an answer is not believed."""

_PART_MARGIN = 0.05
"""Share of the deadline kept back from optional parts, so that a slow part cannot turn the verdict."""

Classify = Callable[[Exception, Stage], Failure]


class Attempt:
    """One run of one probe, under way.

    Args:
        timeout: Seconds until the deadline, counted from now.
        classify: Turns an exception into a failure; used for optional parts.

    Attributes:
        stage: The stage under way; an exception is named after it.
        deadline: Loop time at which the attempt is ended.
        phases: Seconds spent in each phase of the path that decides the verdict.
        samples: What was learnt.
        parts: Optional parts that ran, and how they failed.
    """

    __slots__ = ("_classify", "_count", "_now", "deadline", "parts", "phases", "samples", "stage", "timeout")

    def __init__(self, timeout: float, classify: Classify) -> None:
        self._now = asyncio.get_running_loop().time
        self._classify = classify
        self._count = [0]
        self.timeout = timeout
        self.deadline = self._now() + timeout
        self.stage = Stage.INTERNAL
        self.phases: dict[Stage, float] = {}
        self.samples: dict[Family, dict[LabelValues, float]] = {}
        self.parts: dict[str, Failure | None] = {}

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; zero when it has passed."""
        return max(0.0, self.deadline - self._now())

    def record(self, family: Family, value: float, *labels: str) -> None:
        """Record a sample; the last one of a series counts.

        Raises:
            ValueError: The family is a histogram of the exporter's own, or takes other labels.
            Failure: The attempt has more series than `MAX_SERIES`.
        """
        values = self.samples.get(family)
        if values is None:
            if family.kind is Kind.HISTOGRAM and family.buckets:
                raise ValueError(f"{family.name}: histograms are kept by the engine, not recorded by probes")
            values = self.samples[family] = {}
        if labels not in values:
            if len(labels) != len(family.labels):
                raise ValueError(f"{family.name} takes labels {family.labels}, got {labels!r}")
            self._count[0] += 1
            if self._count[0] > MAX_SERIES:
                raise _too_many()
        values[labels] = float(value)  # counts and flags come as int and bool

    def record_all(self, samples: Samples) -> None:
        """Record many samples at once, at a fraction of the cost of one by one: for a cluster's thousands.

        Raises:
            ValueError: As `record` has it.
            Failure: The attempt has more series than `MAX_SERIES`; those that there was room for are recorded.
        """
        for family, values in samples.items():
            if not values:
                continue
            if family.kind is Kind.HISTOGRAM and family.buckets:
                raise ValueError(f"{family.name}: histograms are kept by the engine, not recorded by probes")
            if not {len(family.labels)}.issuperset(map(len, values)):
                raise ValueError(f"{family.name} takes labels {family.labels}")
            known = self.samples.setdefault(family, {})
            new = len(values.keys() - known.keys()) if known else len(values)
            self._count[0] += new
            if self._count[0] > MAX_SERIES:
                room = max(0, new - (self._count[0] - MAX_SERIES))
                known.update(islice(((labels, float(values[labels])) for labels in values if labels not in known), room))
                raise _too_many()
            known.update(zip(values, map(float, values.values()), strict=True))

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

    @asynccontextmanager
    async def part(self, name: str, *, timeout: float | None = None) -> AsyncIterator[Attempt]:
        """Run an optional part: its failure is recorded, and the attempt goes on.

        The part gets an attempt of its own, so its phases and stage do not mix with the path that decides the verdict; its
        samples land with the others. Parts may run side by side.

        Args:
            name: What the part is called in `probe_part_success{part}`.
            timeout: Seconds it may take, beside the attempt's own deadline.
        """
        limit = self.deadline - _PART_MARGIN * self.timeout - self._now()
        child = Attempt(max(0.0, limit if timeout is None else min(limit, timeout)), self._classify)
        child.samples, child.parts, child._count = self.samples, self.parts, self._count
        self.parts[name] = None
        try:
            async with asyncio.timeout_at(child.deadline):
                yield child
        except asyncio.CancelledError:  # the attempt's deadline struck in here: the part did not work either
            self.parts[name] = Failure(child.stage, timeout_reason(child.stage), "the attempt ended before it")
            raise
        except Exception as error:
            self.parts[name] = self._classify(error, child.stage)

    def note_part(self, name: str, error: Exception | None) -> None:
        """Note how an optional part ended that a client has bounded in time itself; None where all of it worked."""
        self.parts[name] = None if error is None else self._classify(error, Stage.INTERNAL)


def _too_many() -> Failure:
    return Failure(Stage.CHECK, Reason.TOO_LARGE, f"more than {MAX_SERIES} series from one attempt")

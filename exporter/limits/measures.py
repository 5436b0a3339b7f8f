"""What of an attempt's samples is held against a limit. A measure is data: it is read here, and written as PromQL by
`exporter/alerts/promql.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from exporter.limits.past import Past
from exporter.metrics.family import Family
from exporter.metrics.store import LabelValues, Samples

__all__ = ["Either", "Gauge", "Grown", "Left", "Measure", "Ratio", "Risen", "Seen", "Share", "Total", "Values"]

Values = Mapping[LabelValues, float]
"""Values by the labels that tell them apart, in the order of `Measure.by`. NaN is over no limit."""

Where = tuple[tuple[str, str], ...]
"""Labels that series must have, with their values."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What an attempt has learnt, and what those before it have.

    Attributes:
        samples: Of the attempt.
        at: When it ended, Unix seconds.
        past: What is remembered of earlier ones; None where there are none, as in a check of a moment.
        asked: When parts were asked of which an earlier attempt is told, Unix seconds.
    """

    samples: Samples
    at: float
    past: Past | None = None
    asked: Mapping[str, float] = field(default_factory=dict)


class Measure(Protocol):
    """Something that can be read of an attempt."""

    @property
    def by(self) -> tuple[str, ...]:
        """Labels by which its values are told apart, beside the target."""
        ...

    def read(self, seen: Seen) -> Values:
        """Return its values; what is not known is left out."""
        ...


@dataclass(frozen=True, slots=True)
class Gauge:
    """A gauge as it is.

    Attributes:
        family: Which.
        by: Labels by which its series are told apart; of those that are alike the highest counts.
        where: Labels that they must have.
        per_target: Whether targets are told apart; false where each says the same of one thing, as of a consumer group.
    """

    family: Family
    by: tuple[str, ...] = ()
    where: Where = ()
    per_target: bool = True

    def read(self, seen: Seen) -> Values:
        """Return the highest of those that are alike."""
        if self.by == self.family.labels:  # there may be thousands, and none is alike
            return seen.samples.get(self.family, {})
        found: dict[LabelValues, float] = {}
        for labels, value in _series(seen, self.family, self.where):
            key = _key(self.family, labels, self.by)
            found[key] = max(value, found.get(key, -math.inf))
        return found


@dataclass(frozen=True, slots=True)
class Total:
    """A gauge over all its series."""

    family: Family
    by: tuple[str, ...] = ()

    def read(self, seen: Seen) -> Values:
        """Return their sum."""
        values = [value for _, value in _series(seen, self.family)]
        return {(): math.fsum(values)} if values else {}


@dataclass(frozen=True, slots=True)
class Ratio:
    """A part of a whole; what has none, as memory without a limit, is left out."""

    part: Gauge | Total
    whole: Gauge

    @property
    def by(self) -> tuple[str, ...]:
        """Those of the part."""
        return self.part.by

    def read(self, seen: Seen) -> Values:
        """Divide."""
        wholes = self.whole.read(seen)
        return {
            labels: value / wholes[labels] for labels, value in self.part.read(seen).items() if wholes.get(labels, 0.0) > 0
        }


@dataclass(frozen=True, slots=True)
class Either:
    """The first of several that is known."""

    these: tuple[Gauge, ...]

    @property
    def by(self) -> tuple[str, ...]:
        """Those that they share."""
        return self.these[0].by

    def read(self, seen: Seen) -> Values:
        """Return, of each thing, the first that is known of it."""
        found: dict[LabelValues, float] = {}
        for each in self.these:
            for labels, value in each.read(seen).items():
                found.setdefault(labels, value)
        return found


@dataclass(frozen=True, slots=True)
class Left:
    """Seconds until a moment; below zero once that is over."""

    moment: Gauge

    @property
    def by(self) -> tuple[str, ...]:
        """Those of the moment."""
        return self.moment.by

    def read(self, seen: Seen) -> Values:
        """Count from the end of the attempt."""
        return {labels: value - seen.at for labels, value in self.moment.read(seen).items()}


@dataclass(frozen=True, slots=True)
class Grown:
    """By how much a counter has grown, over all its series that are alike.

    Attributes:
        family: The counter.
        window: Seconds, up to.
        where: Labels that its series must have.
    """

    family: Family
    window: float
    where: Where = ()
    by: tuple[str, ...] = ()

    def read(self, seen: Seen) -> Values:
        """Return it as far as it is known; of the first attempt it is not."""
        if seen.past is None:
            return {}
        series = dict(_series(seen, self.family, self.where))
        if not series and not seen.samples.get(self.family):
            return {}
        grown = seen.past.grown((self.family, self.where), math.fsum(series.values()), seen.at, self.window)
        return {} if grown is None else {(): grown}


@dataclass(frozen=True, slots=True)
class Risen:
    """By how much a gauge is above its lowest.

    Attributes:
        family: The gauge.
        window: Seconds, up to.
        by: Labels by which its series are told apart.
    """

    family: Family
    window: float
    by: tuple[str, ...] = ()

    def read(self, seen: Seen) -> Values:
        """Return it of each thing that was seen before."""
        if seen.past is None:
            return {}
        found: dict[LabelValues, float] = {}
        for labels, value in _series(seen, self.family):
            key = _key(self.family, labels, self.by)
            risen = seen.past.risen((self.family, key), value, seen.at, self.window)
            if risen is not None:
                found[key] = risen
        return found


@dataclass(frozen=True, slots=True)
class Share:
    """How much one counter's growth is of several's.

    Attributes:
        part: Growth of which the share is asked for.
        whole: Growths that make up the whole, the part among them where it is one.
        least: The whole must be above it: of next to nothing any share says nothing.
        least_part: And the part above this.
    """

    part: Grown
    whole: tuple[Grown, ...]
    least: float = 0.0
    least_part: float = -1.0

    @property
    def by(self) -> tuple[str, ...]:
        """None."""
        return ()

    def parts(self, seen: Seen) -> tuple[float, float] | None:
        """Return the part and the whole; None while they are not known. Several targets' can be added up."""
        part = self.part.read(seen)
        wholes = [each.read(seen) for each in self.whole]  # each is asked, since each is to remember
        if not part or not all(wholes):
            return None
        return part[()], math.fsum(each[()] for each in wholes)

    def of(self, part: float, whole: float) -> float | None:
        """Divide, where both are enough."""
        return part / whole if whole > self.least and part > self.least_part else None

    def read(self, seen: Seen) -> Values:
        """Divide what one target has learnt."""
        parts = self.parts(seen)
        share = self.of(*parts) if parts is not None else None
        return {} if share is None else {(): share}


def _series(seen: Seen, family: Family, where: Where = ()) -> Iterator[tuple[LabelValues, float]]:
    at = [(family.labels.index(name), text) for name, text in where]
    for labels, value in seen.samples.get(family, {}).items():
        if not math.isnan(value) and all(labels[index] == text for index, text in at):
            yield labels, value


def _key(family: Family, labels: LabelValues, by: Iterable[str]) -> LabelValues:
    return tuple(labels[family.labels.index(name)] for name in by)

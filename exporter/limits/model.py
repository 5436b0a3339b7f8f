"""What a limit is, and what is over one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Literal, NamedTuple

from exporter.boards import Panel
from exporter.config.thresholds import THRESHOLDS
from exporter.limits.measures import Measure, Seen
from exporter.metrics.family import Family
from exporter.metrics.store import LabelValues

__all__ = ["Comparison", "Limit", "Over", "Unit"]

Comparison = Literal[">", ">=", "<"]


class Unit(Enum):
    """What a value is in."""

    RATIO = "ratio"
    SECONDS = "seconds"
    COUNT = "count"


def _always(_seen: Seen, _labels: LabelValues) -> bool:
    return True


@dataclass(frozen=True, slots=True, eq=False)
class Limit:
    """One threshold of the configuration, and what is held against it.

    Attributes:
        threshold: The field of `config.thresholds.Thresholds`.
        alert: The rule that is about it.
        panel: The panel that shows it.
        action: What the runbook says to do, in a line.
        what: What is measured, for people, as in `heap in use`; labels of the measure are filled in: `{pool}`.
        unit: What it is in.
        measure: What is held against it.
        comparison: How; `<` where low values are bad.
        only: Whether a value counts; the rule says the same in PromQL.
        pooled: The rule is about a service over all its targets, and not about each: a `Share` whose parts are added up.
        spent: The rule that takes over below zero, where there is one.
        in_calm: It is held back while anything is down, and 15 min after: the rule takes it for a consequence then.
        part: The optional part of an attempt that it is measured by, where that is not asked at every attempt.
    """

    threshold: str
    alert: str
    panel: Panel
    action: str
    what: str
    unit: Unit
    measure: Measure
    comparison: Comparison = ">"
    only: Callable[[Seen, LabelValues], bool] = _always
    pooled: bool = False
    spent: str = ""
    part: str = ""
    in_calm: bool = False

    @property
    def family(self) -> Family:
        """The family that exports the threshold."""
        return THRESHOLDS[self.threshold][0]

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of probe that measure it."""
        return frozenset(THRESHOLDS[self.threshold][1])

    def test(self, threshold: float) -> Callable[[float], bool]:
        """Return what says whether a value is over it; NaN never is."""
        return {">": threshold.__lt__, ">=": threshold.__le__, "<": threshold.__gt__}[self.comparison]


class Over(NamedTuple):
    """A value that is over its limit.

    Attributes:
        limit: Which.
        labels: What it is of, by the labels of the limit's measure.
        value: The value.
        threshold: What it is held against.
        since: When it was found over its limit first, and ever since; Unix seconds.
        at: When it was measured, Unix seconds.
    """

    limit: Limit
    labels: LabelValues
    value: float
    threshold: float
    since: float
    at: float

    @property
    def alert(self) -> str:
        """The rule that is about it."""
        return self.limit.spent if self.limit.spent and self.value < 0 else self.limit.alert

    @property
    def section(self) -> str:
        """Anchor of that rule's section in the runbook."""
        return self.alert.lower()

    @property
    def what(self) -> str:
        """What is over its limit, in words."""
        text = self.limit.what
        for name, value in zip(self.limit.measure.by, self.labels, strict=True):
            text = text.replace(f"{{{name}}}", value)
        return text

"""How a rule is described for its cases: what its series are when all is well, and when it must fire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.alerts.cases.series import Sample

__all__ = ["Entry"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One rule.

    Attributes:
        good: Series of when all is well: the nearer to the limit, the more the case shows.
        bad: Those of them that are otherwise when it must fire. None: the series is not there.
        fires: Seconds after the first bad scrape at which it fires at the latest; half its `for` before, it does not yet.
        labels: All labels of the alert but its name.
        beside: Series that are there all along.
        ends: Seconds after the first good scrape at which it is over at the latest; None follows from the rule.
        settles: Seconds for which all is well before; None follows from the rule.
        held: It goes on when all series end: nothing but recovery ends it.
        missed: It fires when there is no series: that is what it is about.
        heard: Part of each annotation that must be said when it fires, by the annotation's name.
        variant: What distinguishes it where a rule has several ways to fire.
    """

    good: Mapping[str, Sample]
    bad: Mapping[str, Sample | None]
    fires: float
    labels: Mapping[str, str]
    beside: Mapping[str, Sample] = field(default_factory=dict)
    ends: float | None = None
    settles: float | None = None
    held: bool = False
    missed: bool = False
    heard: Mapping[str, str] = field(default_factory=dict)
    variant: str = ""

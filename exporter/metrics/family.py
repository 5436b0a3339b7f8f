"""Declarations of metric families. A declaration is data: it holds no values and registers nothing at import."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["COUNT", "SUM", "Family", "Kind", "counter", "gauge", "histogram"]

COUNT = "count"
SUM = "sum"
"""In place of a bound, for the count and the sum of a histogram whose bounds come with its values."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_SUFFIXES = ("_total", "_count", "_sum", "_bucket", "_created", "_info")


class Kind(StrEnum):
    """The Prometheus metric types in use here."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """A metric family: its name, meaning and label names.

    Families are compared by identity, so that they are cheap keys of the hot path; the store refuses two with one name.

    Attributes:
        name: Full name, base unit included; counters end in `_total`.
        help: One sentence: meaning, unit, source.
        kind: Metric type.
        labels: Label names beyond those of the owner (service, probe, target).
        owner_labels: Which of the owner's labels its series carry; for the metric reference only.
        buckets: Upper bounds of a histogram, ascending, without +Inf; empty for one whose bounds come with its values, as an
            application's do. Its last label is `le`: the text of a bound, `COUNT` or `SUM`.
    """

    name: str
    help: str
    kind: Kind
    labels: tuple[str, ...] = ()
    owner_labels: tuple[str, ...] = ("service", "probe", "target")
    buckets: tuple[float, ...] = field(default=())

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is not a metric name")
        if self.kind is Kind.COUNTER:
            if not self.name.endswith("_total"):
                raise ValueError(f"{self.name}: a counter's name ends in _total")
        elif self.name.endswith(_SUFFIXES):
            raise ValueError(f"{self.name}: a {self.kind}'s name must not end in one of {', '.join(_SUFFIXES)}")
        if "\n" in self.help or not self.help:
            raise ValueError(f"{self.name}: help is one non-empty line")
        if (self.buckets and self.kind is not Kind.HISTOGRAM) or list(self.buckets) != sorted(set(self.buckets)):
            raise ValueError(f"{self.name}: only a histogram has buckets, and they are ascending")


_TARGET = ("service", "probe", "target")


def gauge(name: str, help: str, *labels: str, owner: Sequence[str] = _TARGET) -> Family:
    """Declare a gauge."""
    return Family(name, help, Kind.GAUGE, labels, tuple(owner))


def counter(name: str, help: str, *labels: str, owner: Sequence[str] = _TARGET) -> Family:
    """Declare a counter; its name ends in `_total`."""
    return Family(name, help, Kind.COUNTER, labels, tuple(owner))


def histogram(
    name: str,
    help: str,
    *labels: str,
    buckets: Sequence[float] = (),
    owner: Sequence[str] = _TARGET,
) -> Family:
    """Declare a classic histogram: with the given upper bounds, or with those that come with its values."""
    if not buckets:
        labels = (*labels, "le")
    return Family(name, help, Kind.HISTOGRAM, labels, tuple(owner), tuple(buckets))

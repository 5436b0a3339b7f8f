"""Meters as Micrometer keeps them, and the two ways in which the actuator tells them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Meter", "Timer", "as_json", "as_text"]

Tags = tuple[tuple[str, str], ...]

BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Meter:
    """One number of one meter.

    Attributes:
        name: Micrometer's name, such as `hikaricp.connections.active`.
        kind: gauge, counter or timer.
        value: The number; for a timer its `Timer`.
        tags: By name.
        unit: Base unit, appended to the Prometheus name.
        description: For people.
    """

    name: str
    kind: str
    value: float | Timer
    tags: Tags = ()
    unit: str = ""
    description: str = ""

    @property
    def family(self) -> str:
        """Name of the Prometheus family."""
        words = self.name.replace(".", "_").replace("-", "_")
        unit = "seconds" if self.kind == "timer" else self.unit
        return words if not unit or words.endswith(unit) else f"{words}_{unit}"


@dataclass(slots=True)
class Timer:
    """A timer with `percentiles-histogram` switched on."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0
    longest: float = 0.0

    def record(self, seconds: float) -> None:
        """Take in one duration."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds
        self.longest = max(self.longest, seconds)

    @property
    def count(self) -> int:
        """How many were taken in."""
        return sum(self.counts)


def as_text(meters: Iterable[Meter], included: frozenset[str]) -> str:
    """Write `/actuator/prometheus` as Boot 3.3 and later do: `includedNames` are exact family names; none means all."""
    families: dict[str, list[Meter]] = {}
    for meter in meters:
        families.setdefault(meter.family, []).append(meter)
    lines: list[str] = []
    for name in sorted(families):
        first = families[name][0]
        if not included or name in included:
            kind = "histogram" if first.kind == "timer" else first.kind
            suffix = "_total" if kind == "counter" else ""
            lines += [f"# HELP {name}{suffix} {first.description}", f"# TYPE {name}{suffix} {kind}"]
            for meter in families[name]:
                lines += _sample_lines(name, meter)
        if first.kind == "timer" and (not included or f"{name}_max" in included):
            lines += [f"# HELP {name}_max {first.description}", f"# TYPE {name}_max gauge"]
            lines += [f"{name}_max{_labels(m.tags)} {m.value.longest}" for m in families[name] if isinstance(m.value, Timer)]
    return "\n".join(lines) + "\n"


def _sample_lines(name: str, meter: Meter) -> Iterator[str]:
    if isinstance(meter.value, Timer):
        so_far = 0
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), meter.value.counts, strict=True):
            so_far += count
            yield f"{name}_bucket{_labels((*meter.tags, ('le', bound)))} {so_far}"
        yield f"{name}_count{_labels(meter.tags)} {so_far}"
        yield f"{name}_sum{_labels(meter.tags)} {meter.value.total}"
    else:
        yield f"{name}{'_total' if meter.kind == 'counter' else ''}{_labels(meter.tags)} {float(meter.value)}"


def _labels(tags: Tags) -> str:
    if not tags:
        return ""
    escaped = ((name.replace(".", "_"), text.replace("\\", "\\\\").replace('"', '\\"')) for name, text in tags)
    return "{" + ",".join(f'{name}="{text}"' for name, text in escaped) + "}"


def as_json(meters: Iterable[Meter], name: str, wanted: Sequence[tuple[str, str]]) -> dict[str, Any] | None:
    """Return what `/actuator/metrics/{name}?tag=k:v` answers: sums over the meters that match, maxima apart."""
    found = [meter for meter in meters if meter.name == name and all(pair in meter.tags for pair in wanted)]
    if not found:
        return None
    first = found[0]
    if first.kind == "timer":
        timers = [meter.value for meter in found if isinstance(meter.value, Timer)]
        numbers = {
            "COUNT": float(sum(timer.count for timer in timers)),
            "TOTAL_TIME": sum(timer.total for timer in timers),
            "MAX": max(timer.longest for timer in timers),
        }
    else:
        total = sum(meter.value for meter in found if not isinstance(meter.value, Timer))
        numbers = {"COUNT" if first.kind == "counter" else "VALUE": float(total)}
    answer: dict[str, Any] = {"name": name, "description": first.description}
    unit = "seconds" if first.kind == "timer" else first.unit
    if unit:
        answer["baseUnit"] = unit
    answer["measurements"] = [{"statistic": statistic, "value": value} for statistic, value in numbers.items()]
    answer["availableTags"] = [
        {"tag": tag, "values": values} for tag, values in _tags(found).items() if tag not in dict(wanted)
    ]
    return answer


def _tags(meters: Iterable[Meter]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for meter in meters:
        for tag, text in meter.tags:
            values = found.setdefault(tag, [])
            if text not in values:
                values.append(text)
    return found

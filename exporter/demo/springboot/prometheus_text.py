"""`/actuator/prometheus`: text 0.0.4 and OpenMetrics 1.0, as the Prometheus client of Boot 3.3 and later writes them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from decimal import Decimal
from functools import lru_cache

from exporter.demo.springboot.meters import BUCKETS, Kind, Meter, Tags, Timer

__all__ = ["OPENMETRICS", "TEXT", "accepted_format", "double", "render"]

TEXT = "text/plain;version=0.0.4;charset=utf-8"
OPENMETRICS = "application/openmetrics-text;version=1.0.0;charset=utf-8"


def accepted_format(accepts: Iterable[str]) -> str | None:
    """Choose by the Accept headers as Boot does: weights do not count, OpenMetrics wins wherever it is named.

    Returns:
        A content type, or None where neither is accepted.
    """
    types = {part.partition(";")[0].strip().lower() for header in accepts for part in header.split(",")} - {""}
    if types & {"application/openmetrics-text", "application/*"}:
        return OPENMETRICS
    return TEXT if not types or types & {"*/*", "text/plain", "text/*"} else None


def render(meters: Iterable[Meter], included: Collection[str] = (), *, openmetrics: bool = False) -> str:
    """Write meters, family by family in order of their names.

    Args:
        meters: What to write.
        included: Exact names of families to write, `x_max` of a timer being one of its own; without any, all are written.
        openmetrics: Write OpenMetrics instead of 0.0.4.
    """
    families: dict[str, list[Meter]] = {}
    for meter in meters:
        families.setdefault(meter.family, []).append(meter)
        if meter.kind is Kind.TIMER:
            families.setdefault(f"{meter.family}_max", []).append(meter)
    lines: list[str] = []
    for name in sorted(families):
        if not included or name in included:
            lines += _family(name, families[name], openmetrics=openmetrics)
    if openmetrics:
        lines.append("# EOF")
    return "".join(f"{line}\n" for line in lines)


@lru_cache(maxsize=4096)
def double(value: float) -> str:
    """Write a number as Java does: `1.0`, `2.68435456E8`; infinity as Prometheus wants it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return repr(float(value))
    sign, digits, exponent = Decimal(repr(float(value))).normalize().as_tuple()
    fraction = "".join(map(str, digits[1:])) or "0"
    return f"{'-' if sign else ''}{digits[0]}.{fraction}E{int(exponent) + len(digits) - 1}"


def _family(name: str, meters: list[Meter], *, openmetrics: bool) -> Iterator[str]:
    first = meters[0]
    maximum = name != first.family
    kind = Kind.GAUGE.value if maximum else _type(first)
    titled = name if openmetrics or kind != "counter" else f"{name}_total"
    header = [f"# HELP {titled} {_help(first.description, openmetrics=openmetrics)}", f"# TYPE {titled} {kind}"]
    yield from reversed(header) if openmetrics else header
    for meter in meters:
        labels = _labels(meter.tags)
        if not isinstance(meter.value, Timer):
            suffix = "_total" if kind == "counter" else ""
            yield f"{name}{suffix}{_braces(labels)} {double(float(meter.value))}"
        elif maximum:
            yield f"{name}{_braces(labels)} {double(meter.value.longest)}"
        else:
            yield from _timer(name, labels, meter.value)


def _type(meter: Meter) -> str:
    if not isinstance(meter.value, Timer):
        return meter.kind.value
    return "summary" if meter.value.counts is None else "histogram"


def _timer(name: str, labels: str, timer: Timer) -> Iterator[str]:
    if timer.counts is not None:
        before = f"{labels}," if labels else ""
        so_far = 0
        for bound, count in zip(_BOUNDS, timer.counts, strict=True):
            so_far += count
            yield f'{name}_bucket{{{before}le="{bound}"}} {so_far}'
    yield f"{name}_count{_braces(labels)} {timer.count}"
    yield f"{name}_sum{_braces(labels)} {double(timer.total)}"


def _help(text: str, *, openmetrics: bool) -> str:
    """Escape a description; Micrometer writes a blank for none."""
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
    return (escaped.replace('"', '\\"') if openmetrics else escaped) or " "


@lru_cache(maxsize=4096)
def _labels(tags: Tags) -> str:
    pairs = ((name.replace(".", "_").replace("-", "_"), _escape(value)) for name, value in tags)
    return ",".join(f'{name}="{value}"' for name, value in sorted(pairs))


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _braces(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


_BOUNDS = (*map(double, BUCKETS), "+Inf")

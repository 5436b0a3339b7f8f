"""`/actuator/metrics/{name}?tag=k:v`: one meter's numbers, summed over all that match, maxima apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from exporter.demo.springboot.meters import Kind, Meter, Tags, Timer

__all__ = ["describe", "names", "parse_tags"]


def names(meters: Iterable[Meter]) -> dict[str, Any]:
    """Return what `/actuator/metrics` answers."""
    return {"names": sorted({meter.name for meter in meters})}


def parse_tags(texts: Iterable[str]) -> Tags:
    """Read `k:v`.

    Raises:
        ValueError: There is no colon, or nothing on a side of it.
    """
    pairs = []
    for text in texts:
        name, _, value = text.partition(":")
        if not name or not value:
            raise ValueError(f"Each tag parameter must be in the form 'key:value' but was: {text}")
        pairs.append((name, value))
    return tuple(pairs)


def describe(meters: Iterable[Meter], name: str, wanted: Sequence[tuple[str, str]]) -> dict[str, Any] | None:
    """Return what is answered for one name, narrowed by tags; None where nothing matches.

    Also what has no meaning as a sum is summed, such as limits of -1: that is what Boot does.
    """
    found = [meter for meter in meters if meter.name == name and all(pair in meter.tags for pair in wanted)]
    if not found:
        return None
    first = found[0]
    answer: dict[str, Any] = {"name": name}
    if first.description:
        answer["description"] = first.description
    if first.base_unit:
        answer["baseUnit"] = first.base_unit
    answer["measurements"] = [
        {"statistic": statistic, "value": _json_number(value)} for statistic, value in _measure(found).items()
    ]
    given = {tag for tag, _ in wanted}
    answer["availableTags"] = [{"tag": tag, "values": values} for tag, values in _tags(found).items() if tag not in given]
    return answer


def _measure(meters: Sequence[Meter]) -> dict[str, float]:
    timers = [meter.value for meter in meters if isinstance(meter.value, Timer)]
    if timers:
        return {
            "COUNT": float(sum(timer.count for timer in timers)),
            "TOTAL_TIME": sum(timer.total for timer in timers),
            "MAX": max(timer.longest for timer in timers),
        }
    total = sum(float(meter.value) for meter in meters if not isinstance(meter.value, Timer))
    return {"COUNT" if meters[0].kind is Kind.COUNTER else "VALUE": total}


def _json_number(value: float) -> float | str:
    """Jackson writes what JSON has no number for as a string."""
    return value if value - value == 0 else {float("inf"): "Infinity", float("-inf"): "-Infinity"}.get(value, "NaN")


def _tags(meters: Iterable[Meter]) -> dict[str, list[str]]:
    found: dict[str, dict[str, None]] = {}
    for meter in meters:
        for tag, value in meter.tags:
            found.setdefault(tag, {})[value] = None
    return {tag: list(values) for tag, values in found.items()}

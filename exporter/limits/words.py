"""What is over its limit, as people are told of it."""

from __future__ import annotations

import math

from exporter.limits.model import Over, Unit

__all__ = ["said", "sentence"]

_SIZES = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


def said(value: float, unit: Unit) -> str:
    """Write a value: `97 %`, `1.4 s`, `3 d`, `1,204`."""
    if not math.isfinite(value):
        return str(value)
    match unit:
        case Unit.RATIO:
            return f"{100 * value:.3g} %"
        case Unit.COUNT:
            return f"{value:,.0f}"
        case Unit.SECONDS:
            return _seconds(value)


def sentence(over: Over) -> str:
    """Say what is over its limit: `heap in use: 97 %, limit 90 %`."""
    unit = over.limit.unit
    value = "none left" if over.limit.spent and over.value < 0 else said(over.value, unit)
    return f"{over.what}: {value}, limit {said(over.threshold, unit)}"


def _seconds(value: float) -> str:
    size = abs(value)
    for seconds, name in _SIZES:
        if size >= 2 * seconds:
            return f"{value / seconds:.3g} {name}"
    return f"{value:.3g} s" if size >= 1 else f"{1000 * value:.3g} ms"

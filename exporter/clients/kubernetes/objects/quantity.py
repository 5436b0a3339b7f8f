"""Kubernetes' quantities: `512Mi`, `250m`, `1.5`, `2e3`."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["quantity"]

_QUANTITY = re.compile(r"([+-]?\d{1,30}(?:\.\d{0,30})?|[+-]?\.\d{1,30})(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d{1,2}))?")
_UNITS = {
    "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60,
}  # fmt: skip


def quantity(value: Any) -> float | None:
    """Return a quantity in its base unit, None where it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if abs(value) < 1e30 else None
    found = _QUANTITY.fullmatch(value) if isinstance(value, str) and len(value) <= 70 else None
    if found is None:
        return None
    number, unit, exponent = found.groups()
    return float(number) * (_UNITS[unit] if unit else 10.0 ** int(exponent) if exponent else 1.0)

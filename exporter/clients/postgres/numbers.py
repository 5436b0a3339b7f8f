"""Numbers as PostgreSQL writes them."""

from __future__ import annotations

from math import isfinite

__all__ = ["number", "number_or_none"]


def number(text: str | None) -> float:
    """Read a number.

    Raises:
        ValueError: It is none, or not a finite one.
    """
    found = float(text or "")
    if not isfinite(found):
        raise ValueError(text)
    return found


def number_or_none(text: str | None) -> float | None:
    """Read a number that may be NULL: what the server does not know, or does not tell this role.

    Raises:
        ValueError: It is not a finite number.
    """
    return None if text is None else number(text)

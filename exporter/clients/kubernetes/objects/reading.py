"""Reading raw JSON that may be anything: what has the wrong type counts as missing, what cannot be missed is `Malformed`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

__all__ = ["Malformed", "flag", "integer", "items", "labels", "mapping", "required", "text", "timestamp"]

LONGEST_TEXT = 1_000
"""Characters that are kept of a text. Names have at most 253."""

_MOST_SHARED = 50
"""Labels of one object whose mapping is shared."""

_LONGEST_TIME = len("2026-01-02T03:04:05.123456789Z")

_EMPTY: Mapping[str, Any] = {}
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")


class Malformed(ValueError):  # noqa: N818 - it says what an object is
    """An object that lacks what every object of its kind has; it is skipped."""


def mapping(raw: Any, *keys: str) -> Mapping[str, Any]:
    """Return the object beneath keys, empty where there is none."""
    for key in keys:
        raw = raw.get(key) if isinstance(raw, dict) else None
    return raw if isinstance(raw, dict) else _EMPTY


def items(raw: Any, key: str) -> Sequence[Mapping[str, Any]]:
    """Return the objects of a list, none where there is none."""
    found = raw.get(key) if isinstance(raw, dict) else None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else ()


def text(raw: Mapping[str, Any], key: str) -> str:
    """Return a text that is likely to repeat, kept once for all objects; empty where there is none."""
    value = raw.get(key)
    return sys.intern(value[:LONGEST_TEXT]) if isinstance(value, str) else ""


def required(raw: Mapping[str, Any], key: str) -> str:
    """Return a text of the object's own.

    Raises:
        Malformed: There is none.
    """
    value = raw.get(key)
    if not isinstance(value, str) or not value or len(value) > LONGEST_TEXT:
        raise Malformed(f"{key} is missing")
    return value


def integer(raw: Mapping[str, Any], key: str, otherwise: int = 0) -> int:
    """Return a whole number, or another value where there is none."""
    value = raw.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise


def flag(raw: Mapping[str, Any], key: str, *, otherwise: bool = False) -> bool:
    """Return a boolean, or another value where there is none."""
    value = raw.get(key)
    return value if isinstance(value, bool) else otherwise


def labels(raw: Any, *keys: str) -> Mapping[str, str]:
    """Return the texts by name beneath keys, such as the labels of an object: one mapping for all that have the same."""
    found = mapping(raw, *keys)
    try:
        return _shared(tuple(found.items())) if len(found) <= _MOST_SHARED else _texts(found.items())
    except TypeError:  # a value that is an object or a list
        return _texts(found.items())


@lru_cache(maxsize=1000)
def _shared(found: tuple[tuple[str, Any], ...]) -> Mapping[str, str]:
    return _texts(found)


def _texts(found: Iterable[tuple[str, Any]]) -> Mapping[str, str]:
    return {sys.intern(key): sys.intern(value) for key, value in found if isinstance(value, str)}


def timestamp(raw: Mapping[str, Any], key: str) -> float | None:
    """Return a time, RFC 3339 in UTC as Kubernetes writes it, in Unix seconds; None where there is none."""
    value = raw.get(key)
    return _unix(value) if isinstance(value, str) and len(value) <= _LONGEST_TIME else None


@lru_cache(maxsize=1000)
def _unix(written: str) -> float | None:
    found = _TIME.fullmatch(written)
    if found is None:
        return None
    try:
        whole = datetime.fromisoformat(found[1]).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
    return whole + (float(f"0.{found[2]}") if found[2] else 0.0)

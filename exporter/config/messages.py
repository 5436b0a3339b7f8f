"""What people are told in place of the words of the model library.

No message repeats a value: any value may be a secret that was written in the wrong place or shape. The exceptions are
numbers where the model wants one that is smaller or larger, and what a validator itself says of a value that it knows to be
harmless. What a validator puts in quotes is not shown: it may have quoted what it was given.
"""

from __future__ import annotations

import re
from typing import Any

from pydantic_core import ErrorDetails

from exporter.config.document import Location
from exporter.config.paths import HIDDEN, closest, known_keys

__all__ = ["message_of", "unknown"]

_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number that is not as large",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_type": "a mapping",
    "path_type": "a path",
    "string_pattern_mismatch": "text that matches {pattern}",
    "string_too_long": "at most {max_length} characters",
    "string_type": "text",
    "tuple_type": "a list",
}
"""By type of error; all that is filled in comes from the model."""

_LIMITS = {"greater_than_equal": "at least {ge}", "less_than_equal": "at most {le}"}
_OTHERS = {"literal_error", "too_long", "too_short", "string_too_short"}
"""Types of error whose words hold nothing but what the model allows, and counts."""

_LARGEST_SHOWN = 10**9
_QUOTED = re.compile(r"""(?<!\w)(['"])(?:\\.|(?!\1).)*\1""")


def message_of(error: ErrorDetails, location: Location) -> str:
    """Say what is wrong with the value at a path, not what the value is."""
    kind, value = error["type"], error["input"]
    if kind == "extra_forbidden":
        return unknown(str(location[-1]), known_keys(location[:-1]))
    if kind == "missing":
        return "is required"
    if kind in _LIMITS:
        return f"expected {_LIMITS[kind].format(**error['ctx'])}{_number(value)}"
    if kind == "value_error":
        message = _QUOTED.sub(HIDDEN, str(error["ctx"]["error"]))
    elif kind in _EXPECTED:
        message = f"expected {_EXPECTED[kind].format(**error.get('ctx', {}))}"
    elif kind in _OTHERS:
        message = error["msg"].replace("Input should be", "expected")
    else:
        message = f"is not valid ({kind})"
    if value is None:
        return f"{message}, got nothing"
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f"{message}; put a number, or a word such as yes, in quotes"
    return message


def unknown(key: str, known: list[str]) -> str:
    """Say that a key is unknown, and which was meant."""
    meant = closest(key, known)
    return f"unknown key; did you mean {meant!r}?" if meant else f"unknown key; known: {', '.join(known)}"


def _number(value: Any) -> str:
    return f", got {value}" if isinstance(value, int | float) and abs(value) < _LARGEST_SHOWN else ""

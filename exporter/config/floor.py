"""How many instances must be up for a service to be up: a number, a share, or as many as its workload wants."""

from __future__ import annotations

import re
from math import ceil
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

__all__ = ["DESIRED", "Floor", "needed"]

DESIRED = "desired"

_SHARE = re.compile(r"(100|[1-9]?[0-9])%")
_MOST = 10_000


def _read(value: Any) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value <= _MOST:
            raise ValueError(f"expected 0 to {_MOST}")
        return value
    if isinstance(value, str) and (value == DESIRED or _SHARE.fullmatch(value)):
        return value
    raise ValueError("expected a whole number, a share such as 50%, or desired")


Floor = Annotated[
    int | str,
    PlainValidator(_read),
    PlainSerializer(lambda value: value),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": _MOST},
                {"type": "string", "pattern": f"^({_SHARE.pattern}|{DESIRED})$"},
            ]
        }
    ),
]
"""A number of instances, `50%`, or `desired`."""


def needed(floor: int | str, desired: int) -> int:
    """Return how many instances must be up.

    A share, and what a workload desires, come to at least one: a service that is expected and runs nowhere is down, and so
    is one whose workload was scaled to zero.

    Args:
        floor: As configured.
        desired: How many instances are wanted.
    """
    if isinstance(floor, int):
        return floor
    return max(1, desired if floor == DESIRED else ceil(desired * int(floor.removesuffix("%")) / 100))

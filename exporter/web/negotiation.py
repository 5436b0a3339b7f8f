"""What a client says that it reads: the Accept and Accept-Encoding headers with their weights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["accepts_gzip", "prefers_openmetrics"]

_WEIGHT = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")


class _Choice(NamedTuple):
    name: str
    version: str
    weight: float


def prefers_openmetrics(accept: str) -> bool:
    """Tell whether to answer in OpenMetrics 1.0.0 instead of text 0.0.4.

    OpenMetrics is for who names it, and weighs it at least as much as text. Who accepts neither gets text: a scrape that
    answers beats one that is right about its type.
    """
    choices = list(_choices(accept))
    openmetrics = max(
        (c.weight for c in choices if c.name == "application/openmetrics-text" and c.version in ("", "1.0.0")), default=0
    )
    return openmetrics > 0 and openmetrics >= _text_weight(choices)


def accepts_gzip(accept_encoding: str) -> bool:
    """Tell whether an answer may be compressed."""
    weights = {choice.name: choice.weight for choice in _choices(accept_encoding)}
    return weights.get("gzip", weights.get("*", 0)) > 0


def _text_weight(choices: list[_Choice]) -> float:
    """Weigh text 0.0.4 by what names it most closely."""
    for name in ("text/plain", "text/*", "*/*"):
        found = [choice.weight for choice in choices if choice.name == name and choice.version in ("", "0.0.4")]
        if found:
            return max(found)
    return 0.0


def _choices(header: str) -> Iterator[_Choice]:
    """Read a header's choices; those whose weight cannot be read are left out."""
    for item in header.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        pairs = (parameter.partition("=") for parameter in parameters)
        values = {key.strip(): value.strip() for key, _, value in pairs}
        weight = values.get("q", "1")
        if name and _WEIGHT.fullmatch(weight):
            yield _Choice(name, values.get("version", "").strip('"'), float(weight))

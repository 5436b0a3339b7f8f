"""What a PromQL query asks for: metrics, the labels it matches on, and those it names elsewhere. Text is enough for that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Query", "Use", "parse", "queries_of"]

_STRING = r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\''
_TOKEN = re.compile(rf"(?P<comment>#[^\n]*)|(?P<string>{_STRING})|(?P<name>[A-Za-z_:][\w:]*)|(?P<other>.)", re.DOTALL)
_MATCHER = re.compile(rf"([A-Za-z_]\w*)\s*(=~|!~|!=|=)\s*({_STRING})")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)\)")
_EXPORTED = re.compile(r"probe_\w+")
_TEMPLATE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_QUOTED = re.compile(r'`([^`]*)`|"((?:\\.|[^"\\])*)"')


@dataclass(frozen=True, slots=True)
class Use:
    """A metric with the matchers on it: label, operator, value."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Query:
    """What a query asks for.

    Attributes:
        uses: Metrics that only the exporter can export, by their name's beginning, and `up`.
        grouped: Labels named in groupings and joins.
        strings: Strings outside matchers: what label_replace and its like make of labels is among them.
        others: Whether it asks for other series too, whose labels are not known here.
    """

    uses: tuple[Use, ...]
    grouped: frozenset[str]
    strings: frozenset[str]
    others: bool


def parse(query: str) -> Query:
    """Take a query apart."""
    text = "".join(found[0] for found in _TOKEN.finditer(query) if not found["comment"])
    uses, strings, others, position = [], set(), False, 0
    while found := _TOKEN.match(text, position):
        position = found.end()
        if found["string"]:
            strings.add(found["string"][1:-1])
        elif found["other"] == "{":
            position = _end_of(text, found.end())
        elif found["name"]:
            matchers, position = _matchers(text, position)
            if _EXPORTED.fullmatch(found["name"]) or found["name"] == "up":
                uses.append(Use(found["name"], matchers))
            others = others or found["name"] == "ALERTS"
    grouped = {label.strip() for labels in _GROUPING.findall(text) for label in labels.split(",") if label.strip()}
    return Query(tuple(uses), frozenset(grouped), frozenset(strings), others)


def _matchers(text: str, position: int) -> tuple[tuple[tuple[str, str, str], ...], int]:
    """Return the matchers that follow a name, and where they end."""
    start = position + len(text[position:]) - len(text[position:].lstrip())
    if text[start : start + 1] != "{":
        return (), position
    end = _end_of(text, start + 1)
    return tuple((label, operator, value[1:-1]) for label, operator, value in _MATCHER.findall(text[start:end])), end


def _end_of(text: str, position: int) -> int:
    """Return where the braces end that were opened before a position."""
    while found := _TOKEN.match(text, position):
        position = found.end()
        if found["other"] == "}":
            break
    return position


def queries_of(template: str) -> Iterator[str]:
    """Yield the queries of a template of Prometheus: the strings in it that name a metric of the exporter."""
    for action in _TEMPLATE.findall(template):
        for raw, quoted in _QUOTED.findall(action):
            text = (raw or quoted.replace('\\"', '"')).replace("%q", '"%q"').replace('""%q""', '"%q"')
            if any(_EXPORTED.fullmatch(name) for name in re.findall(r"[A-Za-z_:][\w:]*", text)):
                yield text

"""Alertmanager's routes, evaluated: which receivers an alert with certain labels reaches."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.runbook.files import LINE, load
from exporter.runbook.finding import Unusable

__all__ = ["Matcher", "Receiver", "Route", "Routing", "read"]

_MATCHER = re.compile(r"""\s*"?([\w.\-]+)"?\s*(=~|!~|!=|=)\s*(.*?)\s*""", re.DOTALL)
_PAGERS = frozenset({"pagerduty_configs", "opsgenie_configs", "victorops_configs", "pushover_configs", "jira_configs"})


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on a label; a label that is missing is empty."""

    label: str
    operator: str
    value: str

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether labels fulfil it."""
        have = labels.get(self.label, "")
        same = re.fullmatch(self.value, have) is not None if "~" in self.operator else have == self.value
        return same is not self.operator.startswith("!")

    @property
    def named(self) -> list[str]:
        """The values that it names, where it names some."""
        if "~" not in self.operator:
            return [self.value]
        return [name for name in self.value.strip("()").split("|") if re.fullmatch(r"\w+", name)]


@dataclass(frozen=True, slots=True)
class Route:
    """A node of the tree."""

    receiver: str
    matchers: tuple[Matcher, ...]
    goes_on: bool
    routes: tuple[Route, ...]
    line: int

    def reached(self, labels: Mapping[str, str]) -> list[Route]:
        """Return the routes that an alert ends in, as Alertmanager finds them; none where this one does not match."""
        if not all(matcher.matches(labels) for matcher in self.matchers):
            return []
        found: list[Route] = []
        for child in self.routes:
            these = child.reached(labels)
            found += these
            if these and not child.goes_on:
                break
        return found or [self]

    def all(self) -> Iterator[Route]:
        """Yield it and all below it."""
        yield self
        for child in self.routes:
            yield from child.all()


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who is told.

    Attributes:
        tells: Whether it has any way to tell somebody.
        pages: Whether one of its ways wakes people up.
    """

    name: str
    line: int
    tells: bool
    pages: bool


@dataclass(frozen=True, slots=True)
class Routing:
    """Routes and receivers of an Alertmanager."""

    path: Path
    root: Route
    receivers: Mapping[str, Receiver]


def read(path: Path) -> Routing:
    """Read Alertmanager's configuration.

    Raises:
        Unusable: It cannot be read, or has no route.
    """
    config = load(path)
    if not isinstance(config.get("route"), dict):
        raise Unusable(f"{path}: has no route")
    receivers = [_receiver(item) for item in config.get("receivers") or []]
    return Routing(path, _route(config["route"], "", path), {receiver.name: receiver for receiver in receivers})


def _receiver(item: dict[Any, Any]) -> Receiver:
    ways = {str(key) for key, value in item.items() if str(key).endswith("_configs") and value}
    return Receiver(str(item.get("name", "")), item[LINE], bool(ways), bool(ways & _PAGERS))


def _route(item: dict[Any, Any], inherited: str, path: Path) -> Route:
    receiver = str(item.get("receiver") or inherited)
    matchers = [_matcher(text, item[LINE], path) for text in item.get("matchers") or []]
    for key, operator in (("match", "="), ("match_re", "=~")):
        matchers += [Matcher(str(k), operator, str(v)) for k, v in (item.get(key) or {}).items() if k != LINE]
    children = tuple(_route(child, receiver, path) for child in item.get("routes") or [])
    return Route(receiver, tuple(matchers), bool(item.get("continue")), children, item[LINE])


def _matcher(text: Any, line: int, path: Path) -> Matcher:
    found = _MATCHER.fullmatch(str(text))
    if found is None:
        raise Unusable(f"{path}:{line}: {text!r} is not a matcher")
    label, operator, value = found.groups()
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    return Matcher(label, operator, value)

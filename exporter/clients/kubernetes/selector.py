"""Label selectors, as kubectl writes them: `app=identity-service,tier in (backend,edge),!canary`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["Selector"]

_NAME = r"(?:[a-zA-Z0-9](?:[-a-zA-Z0-9.]{0,251}[a-zA-Z0-9])?/)?[a-zA-Z0-9](?:[-a-zA-Z0-9_.]{0,61}[a-zA-Z0-9])?"
_VALUE = r"(?:[a-zA-Z0-9](?:[-a-zA-Z0-9_.]{0,61}[a-zA-Z0-9])?)?"
_REQUIREMENT = re.compile(
    rf"\s*(?:(?P<absent>!)\s*(?P<no>{_NAME})"
    rf"|(?P<name>{_NAME})(?:\s*(?P<sign>==?|!=)\s*(?P<value>{_VALUE})"
    rf"|\s+(?P<word>in|notin)\s*\((?P<values>\s*{_VALUE}\s*(?:,\s*{_VALUE}\s*)*)\))?)\s*(?:,|$)"
)


@dataclass(frozen=True, slots=True)
class _Requirement:
    name: str
    values: frozenset[str] | None
    wanted: bool

    def holds(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.name)
        found = value is not None if self.values is None else value in self.values
        return found is self.wanted


@dataclass(frozen=True, slots=True)
class Selector:
    """Which objects are meant, by their labels."""

    requirements: tuple[_Requirement, ...]

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Read a selector; the empty one selects everything.

        Raises:
            ValueError: It is none.
        """
        return _parsed(text)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Say whether labels are such."""
        return all(requirement.holds(labels) for requirement in self.requirements)


@lru_cache(maxsize=256)
def _parsed(text: str) -> Selector:
    found, position = [], 0
    while position < len(text) or text.rstrip().endswith(","):
        match = _REQUIREMENT.match(text, position)
        if match is None or match.end() == position:
            raise ValueError("expected a label selector, such as app=identity-service,tier in (backend,edge)")
        position = match.end()
        found.append(_requirement(match))
        if position == len(text) and text.endswith(","):
            raise ValueError("a label selector does not end with a comma")
    return Selector(tuple(found))


def _requirement(match: re.Match[str]) -> _Requirement:
    if match["absent"]:
        return _Requirement(match["no"], None, wanted=False)
    if match["sign"]:
        return _Requirement(match["name"], frozenset({match["value"]}), wanted=match["sign"] != "!=")
    if match["word"]:
        values = frozenset(value.strip() for value in match["values"].split(","))
        return _Requirement(match["name"], values, wanted=match["word"] == "in")
    return _Requirement(match["name"], None, wanted=True)

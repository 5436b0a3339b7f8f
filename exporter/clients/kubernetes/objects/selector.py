"""Label selectors: as people write them, `app=identity-service,tier in (backend, edge)`, and as objects hold them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from exporter.clients.kubernetes.objects.reading import items, labels, text

__all__ = ["Requirement", "Selector"]

MAX_REQUIREMENTS = 100

_NAME = r"(?:[a-zA-Z0-9][-a-zA-Z0-9.]{0,252}/)?[a-zA-Z0-9][-\w.]{0,62}"
_VALUE = r"(?:[a-zA-Z0-9][-\w.]{0,62})?"
_EQUALS = re.compile(rf"({_NAME})\s*(==|=|!=)\s*({_VALUE})")
_SET = re.compile(rf"({_NAME})\s+(in|notin)\s*\(([-\w.,\s]*)\)")
_EXISTS = re.compile(rf"(!?)\s*({_NAME})")
_COMMA = re.compile(r",(?![^()]*\))")
"""A comma that is in no parentheses."""


class Requirement(NamedTuple):
    """One thing that labels must fulfil.

    Attributes:
        key: The label.
        values: One of which it must have; None: any.
        wanted: False: it must have none of them.
    """

    key: str
    values: frozenset[str] | None
    wanted: bool = True

    def fits(self, found: Mapping[str, str]) -> bool:
        """Say whether labels fulfil it. What lacks the label fulfils `!=` and `notin`, as Kubernetes has it."""
        value = found.get(self.key)
        return (value is not None and (self.values is None or value in self.values)) is self.wanted


@dataclass(frozen=True, slots=True)
class Selector:
    """Selects objects by their labels. One that requires nothing selects everything."""

    requirements: tuple[Requirement, ...] = ()

    def fits(self, found: Mapping[str, str]) -> bool:
        """Say whether labels fulfil all that is required."""
        for each in self.requirements:  # noqa: SIM110 - for every event: a generator would take twice as long
            if not each.fits(found):
                return False
        return True

    @classmethod
    def parse(cls, written: str) -> Selector:
        """Read a selector as kubectl takes it.

        Raises:
            ValueError: It is none.
        """
        parts = [part.strip() for part in _COMMA.split(written)]
        if parts == [""]:
            return cls()
        if len(parts) > MAX_REQUIREMENTS:
            raise ValueError(f"a selector has at most {MAX_REQUIREMENTS} requirements")
        return cls(tuple(_requirement(part) for part in parts))

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Selector | None:
        """Read the selector of an object: `matchLabels` and `matchExpressions`. None where one of them cannot be read."""
        exact = [Requirement(key, frozenset({value})) for key, value in labels(raw, "matchLabels").items()]
        try:
            return cls((*exact, *(_expression(each) for each in items(raw, "matchExpressions"))))
        except ValueError:
            return None


def _requirement(part: str) -> Requirement:
    if found := _EQUALS.fullmatch(part):
        return Requirement(found[1], frozenset({found[3]}), found[2] != "!=")
    if found := _SET.fullmatch(part):
        return Requirement(found[1], frozenset(value.strip() for value in found[3].split(",")), found[2] == "in")
    if found := _EXISTS.fullmatch(part):
        return Requirement(found[2], None, not found[1])
    raise ValueError(f"{part!r} is not a label selector: expected such as app=identity-service,tier in (backend)")


def _expression(raw: Mapping[str, Any]) -> Requirement:
    key, operator = text(raw, "key"), text(raw, "operator")
    if not key or operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
        raise ValueError("not an expression of a selector")
    if operator in ("In", "NotIn"):
        return Requirement(key, frozenset(_texts(raw.get("values"))), operator == "In")
    return Requirement(key, None, operator == "Exists")


def _texts(values: Any) -> Iterator[str]:
    yield from (value for value in (values if isinstance(values, list) else ()) if isinstance(value, str))

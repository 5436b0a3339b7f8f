"""Who wants to know of which objects: found by what an object says of itself, so that an event costs the same however many
there are who follow others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from math import prod
from typing import Any, NamedTuple

from exporter.clients.kubernetes.objects.selector import Selector

__all__ = ["Change", "Followers", "Marks", "marks_of", "owned_by"]

Change = Callable[[str, Any, Any], None]
"""Called with uid, the object as it was and as it is now; None where there was none, or is none any more."""

MOST_VALUES = 100
"""Combinations of values that one follower is found by; where a selector allows more, it looks at more objects instead."""

_OWNER = ""
"""Stands for the name of the owner among the names of labels."""


class Marks(NamedTuple):
    """What all objects have in common that somebody wants; others may have it too.

    Attributes:
        keys: Names of labels.
        values: What these labels may be, all together.
    """

    keys: tuple[str, ...]
    values: frozenset[tuple[str, ...]]


def owned_by(name: str) -> Marks:
    """Return what marks the pods of a workload, of whatever kind that is."""
    return Marks((_OWNER,), frozenset({(name,)}))


def marks_of(selector: Selector) -> Marks | None:
    """Return what marks that which is selected; None where a selector only rules out, or asks whether a label is there."""
    exact = {each.key: each.values for each in selector.requirements if each.wanted and each.values}
    while prod(map(len, exact.values())) > MOST_VALUES:
        del exact[max(exact, key=lambda key: len(exact[key]))]
    keys = tuple(sorted(exact))
    return Marks(keys, frozenset(product(*(exact[key] for key in keys)))) if keys else None


class Followers:
    """The callbacks of those who follow one kind of object."""

    def __init__(self) -> None:
        self._of_all: dict[object, Change] = {}
        self._marked: dict[tuple[str, ...], dict[tuple[str | None, ...], dict[object, Change]]] = {}

    def add(self, change: Change, marks: Marks | None = None) -> Callable[[], None]:
        """Have a callback called with each change of an object, at once; return what ends it.

        Args:
            change: The callback.
            marks: Only with objects that have these, or had; None: with all.
        """
        key = object()
        tables = [self._of_all]
        if marks is not None:
            by_values = self._marked.setdefault(marks.keys, {})
            tables = [by_values.setdefault(values, {}) for values in marks.values]
        for table in tables:
            table[key] = change

        def end() -> None:
            for table in tables:
                table.pop(key, None)
            if marks is not None:
                self._tidy(marks)

        return end

    def of(self, before: Any, now: Any) -> list[Change]:
        """Return who wants to know of an object, each once, by what it was and what it is; None is no object."""
        found = dict(self._of_all)
        for each in (before, now):
            if each is not None:
                for table in self._tables(each):
                    found.update(table)
        return list(found.values())

    def _tables(self, found: Any) -> Iterator[dict[object, Change]]:
        labels: Mapping[str, str] = getattr(found, "labels", {})
        for keys, by_values in self._marked.items():
            if keys == (_OWNER,):
                owner = getattr(found, "owner", None)
                table = by_values.get((owner.name,)) if owner is not None else None
            else:
                table = by_values.get(tuple(map(labels.get, keys)))
            if table:
                yield table

    def _tidy(self, marks: Marks) -> None:
        by_values = self._marked.get(marks.keys, {})
        for values in marks.values:
            if not by_values.get(values, True):
                del by_values[values]
        if not by_values:
            self._marked.pop(marks.keys, None)

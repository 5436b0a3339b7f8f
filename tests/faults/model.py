"""What a row of the table is: a fault of the exporter itself, what users are owed, and what was seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.faults.scene import Scene

__all__ = ["Act", "Fault", "Outcome", "Wrong"]

Act = Callable[["Scene"], str]
"""Brings a fault about, looks at what users see, and says it in a few words; raises `Wrong` if it is not right."""


class Wrong(AssertionError):  # noqa: N818 - it says what it is
    """Something that users must not see was seen."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A row.

    Attributes:
        name: What to ask for.
        what: What happens.
        owed: What users must see, beside what they must see in every row (`scene.Watch`).
        act: How it is brought about.
        quick: Whether it is run by `make test` too.
    """

    name: str
    what: str
    owed: str
    act: Act
    quick: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a row.

    Attributes:
        name: The row.
        seen: What was seen.
        wrong: What was not right; empty if all was.
        seconds: How long it took.
        scrapes: How many answers of `/metrics` were held to what must be true of all.
        day: The day of the run.
    """

    name: str
    seen: str
    wrong: tuple[str, ...]
    seconds: float
    scrapes: int
    day: str

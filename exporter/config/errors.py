"""What is wrong with a configuration: all of it at once, each with a place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ConfigError", "Problem"]


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        file: The file, as it was named.
        line: Line, counted from 1; 0 where the file as a whole is meant.
        column: Column, counted from 1.
        key: Dotted path of the key.
        message: What was expected.
    """

    file: str
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class ConfigError(Exception):
    """A configuration that cannot be used.

    Attributes:
        problems: Everything found, in the order of the file.
        unforeseen: Whether it is the exporter that cannot read it: a defect, which is logged.
    """

    def __init__(self, problems: Sequence[Problem], *, unforeseen: bool = False) -> None:
        self.unforeseen = unforeseen
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))

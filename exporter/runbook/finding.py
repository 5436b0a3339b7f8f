"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Finding", "Unusable"]


class Unusable(Exception):  # noqa: N818 - it says what is the matter
    """A file cannot be read for what it should be; the text says which and why."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing that does not fit.

    Attributes:
        path: The file to mend.
        line: In it, from 1.
        text: What does not fit, for people.
    """

    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        """Return it in one line, as compilers do."""
        return f"{self.path}:{self.line}: {self.text}"

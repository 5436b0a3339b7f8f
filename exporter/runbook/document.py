"""A runbook in Markdown: its tables of alerts and its headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from exporter.runbook.files import text_of

__all__ = ["Document", "Row", "Section", "read"]

_FENCE = re.compile(r"^\s*(```|~~~)")
_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*$")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_NAME = re.compile(r"[A-Z][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table of alerts; severity in lower case."""

    name: str
    severity: str
    line: int


@dataclass(frozen=True, slots=True)
class Section:
    """A heading.

    Attributes:
        title: Its text.
        anchor: As GitHub makes it.
        line: Where.
        of_alerts: Whether its title could name an alert and a heading above it speaks of alerts.
    """

    title: str
    anchor: str
    line: int
    of_alerts: bool


@dataclass(frozen=True, slots=True)
class Document:
    """A runbook."""

    path: Path
    rows: tuple[Row, ...]
    sections: tuple[Section, ...]

    @property
    def anchors(self) -> frozenset[str]:
        """All that can be linked to."""
        return frozenset(section.anchor for section in self.sections)


def read(path: Path) -> Document:
    """Read a runbook.

    A table of alerts is one whose first two columns are headed Alert and Severity.

    Raises:
        Unusable: It cannot be read.
    """
    lines = list(_prose(text_of(path)))
    return Document(path, tuple(_rows(lines)), tuple(_sections(lines)))


def _prose(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines outside blocks of code, with their numbers: a comment of a shell is no heading."""
    fence = ""
    for number, line in enumerate(text.splitlines(), 1):
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1] == fence:
            fence = ""
        elif not fence:
            yield number, line


def _rows(lines: list[tuple[int, str]]) -> Iterator[Row]:
    inside = False
    for number, line in lines:
        if not line.lstrip().startswith("|"):
            inside = False
            continue
        cells = [_LINK.sub(r"\1", cell).strip(" `*") for cell in line.strip().strip("|").split("|")]
        if [cell.lower() for cell in cells[:2]] == ["alert", "severity"]:
            inside = True
        elif inside and len(cells) > 1 and not set(cells[0]) <= set(":- "):
            yield Row(cells[0], cells[1].lower(), number)


def _sections(lines: list[tuple[int, str]]) -> Iterator[Section]:
    above: list[tuple[int, str]] = []
    seen: dict[str, int] = {}
    for number, line in lines:
        found = _HEADING.match(line)
        if not found:
            continue
        level, title = len(found[1]), _LINK.sub(r"\1", found[2])
        above = [(other, text) for other, text in above if other < level]
        of_alerts = bool(_NAME.fullmatch(title)) and any("alert" in text.lower() for _, text in above)
        above.append((level, title))
        anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        times = seen[anchor] = seen.get(anchor, -1) + 1
        yield Section(title, f"{anchor}-{times}" if times else anchor, number, of_alerts)

"""The table of `check` on a terminal: in colours, and as wide as it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from exporter.cli.rows import TITLES, Row, rows, whole
from exporter.engine.checked import CheckResult
from exporter.engine.rollup import State

__all__ = ["listed", "print_coloured", "summary"]

_STYLES = {State.UP: "green", State.DEGRADED: "yellow", State.DOWN: "bold red", State.UNKNOWN: "magenta"}
_NARROW = 72
"""Columns below which what is wrong gets lines of its own."""


def print_coloured(result: CheckResult) -> None:
    """Print a result; where it goes to no terminal, each service is one whole line, however long."""
    console = Console(highlight=False)
    if not sys.stdout.isatty():  # colours are asked for all the same
        console.width = 100_000
    with console.capture() as captured:
        console.print(listed(result, console.width), summary(result), sep="\n")
    for line in captured.get().splitlines():
        console.file.write(line.rstrip() + "\n")


def listed(result: CheckResult, width: int) -> RenderableType:
    """Return what is known of each, as it is shown on so many columns."""
    return Group(*_list(result)) if width < _NARROW else _table(result)


def summary(result: CheckResult) -> Text:
    """Return how it is as a whole."""
    return Text(whole(result), style=_STYLES[result.overall])


def _table(result: CheckResult) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in TITLES[:-1]:
        table.add_column(title, no_wrap=True, justify="right" if title == "TOOK" else "left")
    table.add_column(TITLES[-1], overflow="fold")
    for row in rows(result):
        table.add_row(Text(row.listed), _state(row), row.up, row.took, _what(row))
    return table


def _list(result: CheckResult) -> Iterator[RenderableType]:
    """Yield the lines for a narrow screen."""
    for row in rows(result):
        beside: Text | str = _what(row) if row.rooted else f"{row.up} {row.took}"
        head = Text.assemble(_state(row), " ", row.listed, " ", beside)
        head.no_wrap, head.overflow = True, "ellipsis"
        yield head
        if not row.rooted and row.state is not State.UP:
            yield Padding(_what(row), (0, 0, 0, 2))


def _state(row: Row) -> Text:
    return Text(row.state.upper(), _STYLES[row.state])


def _what(row: Row) -> Text:
    return Text(row.what, style="dim" if row.rooted or row.state is State.UP else "")

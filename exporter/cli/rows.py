"""What `check` says of each service, in words; and its table where nothing is coloured, for which no library is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import click

from exporter.engine.checked import CheckResult, ServiceResult
from exporter.engine.rollup import State
from exporter.visible import visible
from exporter.web.format import span

__all__ = ["TITLES", "Row", "print_result", "rows", "whole"]

TITLES = ("SERVICE", "STATUS", "UP", "TOOK", "WHAT")

_MOST_NAMED = 4
"""Services that are named where it is told what something takes down."""


@dataclass(frozen=True, slots=True)
class Row:
    """What is said of one service.

    Attributes:
        name: Its name.
        state: How it is.
        up: How many of its instances are up.
        took: How long its slowest target took.
        what: What is wrong.
        rooted: Whether what is wrong lies in another one, which stands above it.
    """

    name: str
    state: State
    up: str
    took: str
    what: str
    rooted: bool

    @property
    def listed(self) -> str:
        """The name as it stands in the table: set in below that in which it lies."""
        return ("  " if self.rooted else "") + self.name


def rows(result: CheckResult) -> Iterator[Row]:
    """Yield what is said of each service, causes before what they take down."""
    for service in result.causes_first():
        took = span(service.duration) if service.duration is not None else "–"
        root = result.root_of(service.name)
        what = visible(_what(result, service, root))
        yield Row(service.name, result.state(service), f"{service.up}/{service.total}", took, what, root is not None)


def whole(result: CheckResult) -> str:
    """Say how it is as a whole."""
    return f"{result.summary} in {result.seconds:.1f} s"


def print_result(result: CheckResult) -> None:
    """Print a result: for a terminal, or one whole line for each service, however long."""
    terminal = sys.stdout.isatty() and os.environ.get("TERM") not in {"dumb", "unknown"}
    if terminal or os.environ.get("FORCE_COLOR"):
        from exporter.cli.table import print_coloured

        print_coloured(result)
        return
    for line in _plain_lines(result):
        click.echo(line)


def _plain_lines(result: CheckResult) -> Iterator[str]:
    table = [TITLES, *((row.listed, row.state.upper(), row.up, row.took, row.what) for row in rows(result))]
    name, state, up, took = (max(len(line[column]) for line in table) for column in range(4))
    for line in table:
        yield f"{line[0]:{name}}  {line[1]:{state}}  {line[2]:{up}}  {line[3]:>{took}}  {line[4]}".rstrip()
    yield whole(result)


def _what(result: CheckResult, service: ServiceResult, root: str | None) -> str:
    if root is not None:
        return f"needs {root}"
    if result.state(service) is State.UP:
        return "ok"
    taken = result.takes_down(service.name)
    told = [*service.notes] or [each.causes[0].meaning(service.name) for each in result.diagnoses.get(service.name, ())]
    if taken:
        more = len(taken) - _MOST_NAMED
        told.append(f"takes down {', '.join(taken[:_MOST_NAMED])}" + (f" and {more} more" if more > 0 else ""))
    return "; ".join(told)

"""What `check` prints for people: one table, what is wrong first, and one line."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from exporter.engine.checked import CheckResult, ServiceResult
from exporter.engine.rollup import State
from exporter.web.format import span

__all__ = ["listed", "print_result", "summary"]

_STYLES = {State.UP: "green", State.DEGRADED: "yellow", State.DOWN: "bold red", State.UNKNOWN: "magenta"}
_NARROW = 72
"""Columns below which what is wrong gets lines of its own."""

_MOST_NAMED = 4
"""Services that are named where it is told what something takes down."""


def print_result(result: CheckResult) -> None:
    """Print a result; where it goes to no terminal, each service is one whole line, however long."""
    console = Console(highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:
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
    return Text(f"{result.summary} in {result.seconds:.1f} s", style=_STYLES[result.overall])


def _table(result: CheckResult) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("SERVICE", "STATUS", "UP", "TOOK"):
        table.add_column(title, no_wrap=True, justify="right" if title == "TOOK" else "left")
    table.add_column("WHAT", overflow="fold")
    for service in result.causes_first():
        table.add_row(*_cells(result, service))
    return table


def _list(result: CheckResult) -> Iterator[RenderableType]:
    """Yield the lines for a narrow screen."""
    for service in result.causes_first():
        name, state, up, took, what = _cells(result, service)
        rooted = result.root_of(service.name) is not None
        head = Text.assemble(state, " ", name, " ", what if rooted else f"{up} {took}")
        head.no_wrap, head.overflow = True, "ellipsis"
        yield head
        if not rooted and result.state(service) is not State.UP:
            yield Padding(what, (0, 0, 0, 2))


def _cells(result: CheckResult, service: ServiceResult) -> tuple[Text, Text, str, str, Text]:
    state = result.state(service)
    took = span(service.duration) if service.duration is not None else "–"
    name = ("  " if result.root_of(service.name) else "") + service.name
    return Text(name), Text(state.upper(), _STYLES[state]), f"{service.up}/{service.total}", took, _what(result, service)


def _what(result: CheckResult, service: ServiceResult) -> Text:
    root = result.root_of(service.name)
    if root is not None:
        return Text(f"needs {root}", style="dim")
    if result.state(service) is State.UP:
        return Text("ok", style="dim")
    taken = result.takes_down(service.name)
    told = [*service.notes] or [f"{each.causes[0].meaning(service.name)}" for each in result.diagnoses.get(service.name, ())]
    if taken:
        more = len(taken) - _MOST_NAMED
        told.append(f"takes down {', '.join(taken[:_MOST_NAMED])}" + (f" and {more} more" if more > 0 else ""))
    return Text("; ".join(told))

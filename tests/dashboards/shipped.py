"""The dashboards that are shipped, as data."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

import pytest

from exporter.boards import Board
from exporter.dashboards.build import render

__all__ = ["boards", "each", "expressions", "panels", "substituted", "targets"]


@cache
def boards() -> dict[Board, dict[str, Any]]:
    """Return every dashboard's JSON."""
    made = render()
    return {board: json.loads(made[f"{board.uid('hafnium')}.json"]) for board in Board}


@cache
def panels() -> dict[str, tuple[Board, dict[str, Any]]]:
    """Return every panel that is no row, by a name for it."""
    return {
        f"{board} {panel['id']}": (board, panel)
        for board, made in boards().items()
        for panel in made["panels"]
        if panel["type"] != "row"
    }


@cache
def targets() -> dict[str, tuple[Board, dict[str, Any], dict[str, Any]]]:
    """Return every query with its panel, by a name for it."""
    return {
        f"{name}{target['refId']}": (board, panel, target)
        for name, (board, panel) in panels().items()
        for target in panel.get("targets", ())
    }


def expressions() -> Iterator[str]:
    """Yield all that is asked: queries, of variables too."""
    for _, _, target in targets().values():
        yield target["expr"]
    for made in boards().values():
        yield from (variable["query"] for variable in made["templating"]["list"])


def substituted(expr: str, *, window: str = "2m", shown: int = 300) -> str:
    """Put in what Grafana does where everything is chosen.

    Args:
        expr: PromQL.
        window: In place of `$__rate_interval`.
        shown: Seconds that are looked at.
    """
    for name, value in (("__rate_interval", window), ("__range_s", str(shown)), ("__range", f"{shown}s")):
        expr = expr.replace(f"${name}", value)
    for name in ("job", "instance", "service", "target"):
        expr = expr.replace(f"${name}", ".+")
    return expr


def each(names: Iterable[str]) -> Callable[[Callable[[str], None]], Callable[[Board], None]]:
    """Have a test look at panels or queries one by one, in one run for each board, and tell all that fail.

    A test for each would be thousands, which take longer to collect in every worker than to run.

    Args:
        names: What to look at, as `panels` and `targets` call them.
    """
    by_board: dict[Board, list[str]] = {}
    for name in names:
        by_board.setdefault(Board(name.partition(" ")[0]), []).append(name)

    def over_boards(test: Callable[[str], None]) -> Callable[[Board], None]:
        @pytest.mark.parametrize("board", by_board)
        def whole(board: Board) -> None:
            failed = []
            for name in by_board[board]:
                try:
                    test(name)
                except AssertionError as error:
                    error.add_note(name)
                    failed.append(error)
            if failed:
                raise ExceptionGroup(f"{len(failed)} of {len(by_board[board])}", failed)

        whole.__name__, whole.__doc__ = test.__name__, test.__doc__
        return whole

    return over_boards

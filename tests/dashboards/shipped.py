"""The dashboards that are shipped, as data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from exporter.boards import Board
from exporter.dashboards.build import render

__all__ = ["boards", "expressions", "panels", "substituted", "targets"]


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

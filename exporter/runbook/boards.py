"""Dashboards as Grafana reads them: their panels and what these ask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.runbook.files import text_of
from exporter.runbook.finding import Unusable

__all__ = ["Board", "Panel", "read"]


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel.

    Attributes:
        line: Of its first query in the file, where one can be found.
        queries: PromQL.
    """

    number: int
    title: str
    line: int
    queries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard: its panels by number."""

    path: Path
    uid: str
    panels: tuple[Panel, ...]

    @property
    def numbers(self) -> frozenset[int]:
        """Of its panels."""
        return frozenset(panel.number for panel in self.panels)


def read(folder: Path) -> list[Board]:
    """Read all dashboards of a folder.

    Raises:
        Unusable: A file cannot be read, or there is none.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise Unusable(f"{folder}: has no dashboards (*.json)")
    return [_board(path) for path in paths]


def _board(path: Path) -> Board:
    text = text_of(path)
    try:
        made = json.loads(text)
    except ValueError as error:
        raise Unusable(f"{path}: is not JSON: {error}") from error
    if not isinstance(made, dict):
        raise Unusable(f"{path}: expected an object")
    return Board(path, str(made.get("uid", "")), tuple(_panel(panel, text) for panel in _panels(made)))


def _panels(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield panels, those in collapsed rows too."""
    for panel in node.get("panels") or []:
        yield panel
        yield from _panels(panel)


def _panel(panel: dict[str, Any], text: str) -> Panel:
    queries = tuple(str(target["expr"]) for target in panel.get("targets") or [] if target.get("expr"))
    at = text.find(json.dumps(queries[0])) if queries else -1
    return Panel(int(panel.get("id", 0)), str(panel.get("title", "")), text.count("\n", 0, max(at, 0)) + 1, queries)

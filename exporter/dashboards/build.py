"""Dashboards as files: rendering, writing, and finding files that differ from the code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from exporter import generated
from exporter.dashboards import certificates, fleet, incidents, itself, kafka, kubernetes, postgres, redis, service, slo
from exporter.dashboards.board import Content, Names, assemble

__all__ = ["check", "contents", "render", "write"]

_MODULES = (fleet, service, postgres, redis, kafka, kubernetes, certificates, slo, incidents, itself)


def contents(names: Names) -> Iterator[Content]:
    """Yield what the dashboards show, but for those of probes that there are none of."""
    for module in _MODULES:
        content = module.board()
        if content.kinds is None or names.kinds is None or content.kinds & names.kinds:
            yield content


def render(names: Names | None = None) -> dict[str, str]:
    """Return the JSON of every dashboard by file name. The same code gives the same bytes."""
    chosen = names or Names()
    boards = [assemble(content, chosen).build() for content in contents(chosen)]
    return {f"{board.uid}.json": json.dumps(board, cls=JSONEncoder, sort_keys=True, indent=2) + "\n" for board in boards}


def write(folder: Path, names: Names | None = None) -> list[Path]:
    """Write every dashboard into `folder`, made if missing, and return the files.

    Raises:
        OSError: The folder cannot be written.
    """
    return generated.write(folder, render(names))


def check(folder: Path, names: Names | None = None) -> list[str]:
    """Return what differs between `folder` and the code, one line each: missing, out of date, or not made by any code."""
    return generated.differences(folder, render(names), "*.json")

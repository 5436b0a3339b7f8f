"""Dashboards as files: rendering, writing, and finding files that differ from the code."""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from exporter.dashboards.fleet import fleet

__all__ = ["check", "render", "write"]


def render() -> dict[str, str]:
    """Return the JSON of every dashboard by file name. The same code gives the same bytes."""
    boards = (fleet().build(),)
    return {f"{board.uid}.json": json.dumps(board, cls=JSONEncoder, sort_keys=True, indent=2) + "\n" for board in boards}


def write(folder: Path) -> list[Path]:
    """Write every dashboard into `folder`, made if missing, and return the files.

    Raises:
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, text in render().items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        files.append(path)
    return files


def check(folder: Path) -> list[str]:
    """Return what differs between `folder` and the code, one line each: missing, out of date, or not made by any code."""
    wanted = render()
    drift = []
    for name, text in wanted.items():
        path = folder / name
        if not path.is_file():
            drift.append(f"{path}: missing")
        elif path.read_bytes() != text.encode():
            drift.append(f"{path}: out of date")
    drift.extend(f"{path}: no code makes this" for path in sorted(folder.glob("*.json")) if path.name not in wanted)
    return drift

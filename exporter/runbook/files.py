"""YAML with the lines that things are on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from exporter.runbook.finding import Unusable

__all__ = ["LINE", "load", "text_of"]

LINE = "\0line"
"""Key under which each mapping has the number of its first line; no file can have it."""


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        made = super().construct_mapping(node, deep)
        made[LINE] = node.start_mark.line + 1
        return made


def text_of(path: Path) -> str:
    """Return a file's text.

    Raises:
        Unusable: It cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise Unusable(f"{path}: is not there; --help says how another is named") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise Unusable(f"{path}: cannot be read: {reason}") from error


def load(path: Path) -> dict[Any, Any]:
    """Return a YAML file, a mapping at its top.

    Raises:
        Unusable: It cannot be read, or is another thing.
    """
    try:
        made = yaml.load(text_of(path), _Loader)  # noqa: S506 - it is a safe loader
    except yaml.YAMLError as error:
        raise Unusable(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(made, dict):
        raise Unusable(f"{path}: expected a mapping")
    return made

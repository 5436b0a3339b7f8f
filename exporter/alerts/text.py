"""YAML as people read it: comments where they belong, one line for what is short, blocks for what has lines."""

from __future__ import annotations

import textwrap
from typing import Any

import yaml

__all__ = ["commented", "dump"]

WIDTH = 120


class _Dumper(yaml.SafeDumper):
    """Lists indented below their key, blocks for long text; no anchors, so that each part can be read alone."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else ">" if len(text) > WIDTH - 20 else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def dump(value: Any, indent: int = 0) -> str:
    """Write a value, indented by so many columns."""
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH - indent)
    return textwrap.indent(text, " " * indent)


def commented(text: str, indent: int = 0) -> str:
    """Write comment lines."""
    return "".join(f"{' ' * indent}# {line}".rstrip() + "\n" for line in text.splitlines())

"""What pages of documentation name: commands, metrics, alerts, files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click

from exporter.cli.main import cli
from tests.house.copies import ROOT

PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))])
_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def read(name: str) -> str:
    """Return a page by its path in the repository."""
    return (ROOT / name).read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    """Return the blocks of code in a language."""
    return [code for _, found, code in _BLOCK.findall(text) if found == language]


def commands(text: str) -> Iterator[list[str]]:
    """Yield the commands that a page tells people to run, as words, each of a pipe by itself."""
    for block in blocks(text, "console"):
        for line in block.splitlines():
            if line.lstrip().startswith("$ "):
                yield from _parts(line.lstrip().removeprefix("$ "))


def _parts(line: str) -> Iterator[list[str]]:
    """Take a line of a shell apart into its commands."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|()<>")
    lexer.whitespace_split = True
    part: list[str] = []
    for word in lexer:
        if word and set(word) <= set(";&|()"):
            yield part
            part = []
        else:
            part.append(word)
    yield part


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """Return the command that words after `hafnium-exporter` name, and what is left of them.

    Raises:
        AssertionError: There is none.
    """
    found: click.Command = cli
    context = click.Context(cli)
    rest = list(words)
    while isinstance(found, click.Group) and rest and not rest[0].startswith("-"):
        inner = found.get_command(context, rest[0])
        assert inner is not None, f"no command {' '.join(words)}"
        found, rest = inner, rest[1:]
    return found, rest


def options(command: click.Command) -> set[str]:
    """Return the options that a command takes."""
    return {"--help", "-h", *(name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts))}


def shown(path: Path) -> str:
    """Return a path as it is in the repository."""
    return str(path.relative_to(ROOT))

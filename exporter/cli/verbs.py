"""Verbs whose help teaches: what each is for, its options, and commands to copy. docs/cli.md is made of the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

__all__ = ["PROGRAM", "Verb"]

PROGRAM = "hafnium-exporter"


class Verb(click.Command):
    """A command with examples.

    Args:
        examples: What is typed behind the program's name, or after `$ ` the whole line, and what that does.
    """

    def __init__(self, *args: Any, examples: Sequence[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(
            (line.removeprefix("$ ") if line.startswith("$ ") else f"{PROGRAM} {line}", what) for line, what in examples
        )

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples at the end of the help."""
        with formatter.section("Examples"):
            for line, what in self.examples:
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")
                formatter.indent()
                formatter.write_text(what)
                formatter.dedent()

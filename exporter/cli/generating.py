"""What the commands have in common that make files: they write them, or with `--check` say what differs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

__all__ = ["deliver"]


def deliver(
    context: click.Context,
    command: str,
    *,
    write: Callable[[], list[Path]],
    differences: Callable[[], list[str]],
    check: bool,
) -> None:
    """Write, or only hold what is there against the code.

    Args:
        context: Of the command; it ends with 1 where something differs.
        command: What it is called by people, who are told to run it where something differs.
        write: Writes the files and returns them.
        differences: Returns what differs, a line each.
        check: Write nothing.

    Raises:
        click.ClickException: A file cannot be written.
    """
    if not check:
        try:
            written = write()
        except OSError as error:
            raise click.ClickException(f"cannot write {error.filename}: {error.strerror}") from error
        for path in written:
            click.echo(f"wrote {path}")
        return
    found = differences()
    for line in found:
        click.echo(line, err=True)
    if found:
        click.echo(f"run: hafnium-exporter {command}", err=True)
        context.exit(1)

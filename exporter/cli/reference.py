"""docs/cli.md: every verb, from the same declarations as its `--help`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from exporter.cli.main import cli
from exporter.cli.verbs import PROGRAM, Verb

__all__ = ["reference"]


def reference(mark: str) -> str:
    """Return the page.

    Args:
        mark: Says that it is generated.
    """
    lines = [
        "# Command line",
        "",
        mark,
        "",
        *_paragraphs(cli),
        "",
        "Colours are left out where the output is no terminal, with `NO_COLOR` and with `TERM=dumb`; `FORCE_COLOR` has them",
        "in pipes too. While something takes long, a terminal shows on standard error how far it is. Tables that go into a",
        "pipe have one whole line for each service. `hafnium-exporter completion` makes the Tab key know verbs, options and",
        "the services of the configuration.",
    ]
    with click.Context(cli, info_name=PROGRAM, color=False) as context:
        for command, inner in _verbs(cli, context):
            lines += ["", *_section(command, inner)]
    return "\n".join(lines) + "\n"


def _verbs(group: click.Group, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        inner = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from _verbs(command, inner)
        else:
            yield command, inner


def _section(command: click.Command, context: click.Context) -> Iterator[str]:
    verb = context.command_path.removeprefix(f"{PROGRAM} ")
    yield from (
        f"## {verb}",
        "",
        "```text",
        f"{context.command_path} {' '.join(command.collect_usage_pieces(context))}",
        "```",
    )
    yield from ("", *_paragraphs(command))
    options = [each for each in command.params if isinstance(each, click.Option)]
    records = [record for each in options if (record := each.get_help_record(context)) is not None]
    if records:
        yield from ("", "| option | meaning |", "|---|---|")
    yield from (f"| `{_cell(names)}` | {_cell(meaning)} |" for names, meaning in records)
    if isinstance(command, Verb):
        yield from ("", "```console")
        for line, what in command.examples:
            yield from (f"# {what}", f"$ {line}")
        yield "```"


def _paragraphs(command: click.Command) -> Iterator[str]:
    """Yield what a command says of itself, paragraphs as they are and marked ones as code."""
    for number, paragraph in enumerate(inspect.cleandoc(command.help or "").split("\n\n")):
        if number:
            yield ""
        if paragraph.startswith("\b\n"):
            yield from ("```text", *paragraph.splitlines()[1:], "```")
        else:
            yield from paragraph.splitlines()


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")

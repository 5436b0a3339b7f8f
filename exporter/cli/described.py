"""What the verbs say of themselves, taken from the same declarations as their `--help`: for the page and the manual."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import NamedTuple

import click

from exporter.cli.main import cli
from exporter.cli.verbs import PROGRAM, Verb

__all__ = ["BESIDES", "Described", "Paragraph", "described", "paragraphs_of"]

BESIDES = (
    "Colours are left out where the output is no terminal, with `NO_COLOR` and with `TERM=dumb`; `FORCE_COLOR` has them",
    "in pipes too. While something takes long, a terminal shows on standard error how far it is. Tables that go into a",
    "pipe have one whole line for each service. `hafnium-exporter completion` makes the Tab key know verbs, options and",
    "the services of the configuration.",
)
"""The lines of a paragraph that is of no verb alone."""


class Paragraph(NamedTuple):
    """A paragraph of a help text.

    Attributes:
        lines: As they are written.
        verbatim: Whether they are shown as they stand.
    """

    lines: tuple[str, ...]
    verbatim: bool


class Described(NamedTuple):
    """A verb.

    Attributes:
        name: Without the program's: `config validate`.
        usage: The whole line.
        paragraphs: Its help text.
        options: What each is called, with what it takes, and what it means.
        examples: Lines for a shell, with what each does.
    """

    name: str
    usage: str
    paragraphs: tuple[Paragraph, ...]
    options: tuple[tuple[str, str], ...]
    examples: tuple[tuple[str, str], ...]


def described() -> Iterator[Described]:
    """Yield every verb that is not hidden, those of groups with the name of their group."""
    with click.Context(cli, info_name=PROGRAM, color=False) as context:
        for command, inner in _verbs(cli, context):
            records = (each.get_help_record(inner) for each in command.params if isinstance(each, click.Option))
            yield Described(
                inner.command_path.removeprefix(f"{PROGRAM} "),
                f"{inner.command_path} {' '.join(command.collect_usage_pieces(inner))}",
                tuple(paragraphs_of(command)),
                tuple((" ".join(names.split()), " ".join(meaning.split())) for names, meaning in filter(None, records)),
                tuple(command.examples) if isinstance(command, Verb) else (),
            )


def paragraphs_of(command: click.Command) -> Iterator[Paragraph]:
    """Yield the paragraphs of a help text, those that click leaves as they stand marked as such."""
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        lines = paragraph.splitlines()
        verbatim = paragraph.startswith("\b\n")
        yield Paragraph(tuple(lines[1:] if verbatim else lines), verbatim)


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

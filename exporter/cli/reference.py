"""docs/cli.md: every verb, as it describes itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from exporter.cli.described import BESIDES, Described, Paragraph, described, paragraphs_of
from exporter.cli.main import cli

__all__ = ["reference"]


def reference(mark: str) -> str:
    """Return the page.

    Args:
        mark: Says that it is generated.
    """
    lines = ["# Command line", "", mark, "", *_paragraphs(paragraphs_of(cli)), "", *BESIDES]
    for verb in described():
        lines += ["", *_section(verb)]
    return "\n".join(lines) + "\n"


def _section(verb: Described) -> Iterator[str]:
    yield from (f"## {verb.name}", "", "```text", verb.usage, "```", "", *_paragraphs(verb.paragraphs))
    if verb.options:
        yield from ("", "| option | meaning |", "|---|---|")
    yield from (f"| `{_cell(names)}` | {_cell(meaning)} |" for names, meaning in verb.options)
    if verb.examples:
        yield from ("", "```console")
        for line, what in verb.examples:
            yield from (f"# {what}", f"$ {line}")
        yield "```"


def _paragraphs(paragraphs: Iterable[Paragraph]) -> Iterator[str]:
    for number, (lines, verbatim) in enumerate(paragraphs):
        if number:
            yield ""
        yield from ("```text", *lines, "```") if verbatim else lines


def _cell(text: str) -> str:
    return text.replace("|", "\\|")

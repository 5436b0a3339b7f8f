"""Fuzz the parsers of what others have written, and exit 1 on a finding."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click

from fuzz.model import Target, run_one
from fuzz.registry import TARGETS
from fuzz.runs import ROOT, Budget, Outcome, fuzz

BEGIN, END = "<!-- fuzzing: begin -->", "<!-- fuzzing: end -->"
PAGE = ROOT / "docs" / "security.md"

_EARLIER = re.compile(r"\| `[^|]*` \| ([\d,]+) \|[^|]*\|[^|]*\| none \|")
"""A row of what was run without a finding: how many inputs."""


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--seconds", default=0, show_default="10, unless --runs is given", help="Time for each target.")
@click.option("--runs", default=0, help="Inputs for each target; with --seconds, whichever is used up first.")
@click.option("--jobs", default=1, show_default=True, help="Targets side by side.")
@click.option("--work", type=click.Path(path_type=Path), default=ROOT / ".cache" / "fuzz", help="Where corpora grow.")
@click.option(
    "--replay", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Feed one file, and nothing else."
)
@click.option(
    "--docs",
    is_flag=False,
    flag_value="anew",
    type=click.Choice(["anew", "more"]),
    help="Write the table to docs/security.md; what was not run keeps its row. `more` adds to the inputs of a row.",
)
@click.option("--list", "listed", is_flag=True, help="Print the targets and what they cover.")
def main(
    names: tuple[str, ...],
    seconds: int,
    runs: int,
    jobs: int,
    work: Path,
    replay: Path | None,
    docs: str | None,
    listed: bool,
) -> None:
    """Fuzz the named targets, or all. A finding is a file: replay it, mend what it shows, keep it in fuzz/corpus/NAME/."""
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        raise click.UsageError(f"no target is called {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    targets = [TARGETS[name] for name in names or TARGETS]
    if listed:
        for target in targets:
            click.echo(f"{target.name:20} {', '.join(target.covers)}")
    elif replay is not None:
        _replay(targets, replay)
    else:
        _fuzz(targets, Budget(seconds if seconds or runs else 10, runs), jobs, work.resolve(), docs=docs)


def _replay(targets: Sequence[Target], file: Path) -> None:
    if len(targets) != 1:
        raise click.UsageError("name the target that the file is for")
    run_one(targets[0], file.read_bytes())
    click.echo(f"{targets[0].name}: nothing wrong with {file}")


def _fuzz(targets: Sequence[Target], budget: Budget, jobs: int, work: Path, *, docs: str | None) -> None:
    click.echo(f"{'target':20} {'inputs':>10} {'inputs/s':>9} {'coverage':>9}  findings")
    outcomes = []
    with ThreadPoolExecutor(jobs) as pool:
        for found in pool.map(partial(fuzz, budget=budget, work=work), targets):
            outcomes.append(found)
            click.echo(_line(found))
    for found in outcomes:
        if found.said:
            click.echo(f"\n{found.name}: {found.file or 'no input was kept'}\n{found.said}", err=True)
    if docs:
        write_table(PAGE, outcomes, more=docs == "more")
    if any(found.said for found in outcomes):
        sys.exit(1)


def _line(found: Outcome) -> str:
    rate = found.inputs / found.seconds if found.seconds else 0.0
    finding = str(found.file or "yes") if found.said else "none"
    return f"{found.name:20} {found.inputs:>10,} {rate:>9,.0f} {found.coverage:>9,}  {finding}"


def write_table(page: Path, outcomes: Iterable[Outcome], *, more: bool = False) -> None:
    """Put what was run into the table of the page; the row of what was not run stays as it is.

    Args:
        page: It is between the marks there.
        outcomes: What was run.
        more: Add the inputs to those of a row without findings, instead of replacing them.
    """
    before, _, rest = page.read_text().partition(BEGIN)
    table, _, after = rest.partition(END)
    rows = {line.split("|")[1].strip(): line for line in table.splitlines() if line.startswith("| ") and "`" in line}
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    for found in outcomes:
        rate = found.inputs / found.seconds if found.seconds else 0.0
        findings = "yes" if found.said else "none"
        earlier = _EARLIER.match(rows.get(f"`{found.name}`", "")) if more else None
        inputs = found.inputs + (int(earlier[1].replace(",", "")) if earlier is not None else 0)
        rows[f"`{found.name}`"] = f"| `{found.name}` | {inputs:,} | {rate:,.0f} | {found.coverage:,} | {findings} | {day} |"
    head = ["", "| target | inputs | inputs/s | coverage, edges | findings | run |", "|---|---|---|---|---|---|"]
    kept = [rows[f"`{name}`"] for name in TARGETS if f"`{name}`" in rows]
    page.write_text(f"{before}{BEGIN}" + "\n".join([*head, *kept, ""]) + f"{END}{after}")


if __name__ == "__main__":
    main()

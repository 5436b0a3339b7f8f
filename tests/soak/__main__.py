"""`make soak`: the exporter over a day's attempts, and what it came to in docs/security.md."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
from pathlib import Path
from statistics import median

from tests.soak.exporter import MEMORY
from tests.soak.fleet import INTERVAL
from tests.soak.run import ATTEMPTS_OF_A_DAY, QUANTITIES, Report, soak, tolerances, warmed_up
from tests.soak.trend import growth

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"
BEGIN, END = "<!-- soak: begin -->", "<!-- soak: end -->"
A_DAY = ATTEMPTS_OF_A_DAY * INTERVAL
"""Seconds in which a target is attempted as often as in a day as shipped."""

_UNITS = {"memory": (1 << 20, " MiB")}


def main() -> int:
    """Soak; return 1 if anything is not right."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=A_DAY, help="how long (%(default)g: the attempts of a day)")
    parser.add_argument("--seed", type=int, default=1, help="which faults of targets come in which order")
    parser.add_argument("--docs", action="store_true", help="write what came of it to docs/security.md")
    parser.add_argument("--state", type=Path, default=ROOT / ".cache" / "soak", help="folder for data and logs")
    parser.add_argument("--leak", default="", help="plant a leak, such as tasks=1 an attempt: it must be told")
    options = parser.parse_args()
    shutil.rmtree(options.state, ignore_errors=True)
    options.state.mkdir(parents=True)
    report = asyncio.run(soak(options.state, options.seconds, options.seed, leaking(options.leak)))
    text = render(report)
    print(text)
    if options.docs:
        write(PAGE, text)
    return 1 if report.problems else 0


def leaking(what: str) -> dict[str, str]:
    """Return an environment in which each attempt on an actuator leaks, as `memory=600000` says."""
    return planted(PLANTED_LEAK=what) if what else {}


def planted(**variables: str) -> dict[str, str]:
    """Return an environment with a defect; `tests/faults/planted` says which there are."""
    return {**variables, "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "faults" / "planted"), str(ROOT)])}


def render(report: Report) -> str:
    """Put what came of it into words and a table."""
    done = ", ".join(f"{times:,} of {name}" for name, times in report.done.items())
    lines = [
        f"{report.seconds:,.0f} s with {MEMORY >> 20} MiB of data allowed; {report.attempts:,} attempts, on the steadiest",
        f"target {report.steadiest:,}: as many as in {report.days:.2f} days as shipped. Times: {done}.",
        "",
        "| quantity | after the warm-up | at the end | most | growth | allowed |",
        "|---|---|---|---|---|---|",
    ]
    if len(report.samples) > 1:
        warm = warmed_up(report.samples)
        most = tolerances(report.samples[-1].at - report.samples[0].at, warm)
        for name in QUANTITIES:
            unit, suffix = _UNITS.get(name, (1, ""))
            values = [getattr(each, name) / unit for each in warm]
            tenth = max(1, len(values) // 10)
            grown = growth([(each.at, getattr(each, name) / unit) for each in warm])
            shown = [median(values[:tenth]), median(values[-tenth:]), max(values)]
            cells = [f"{value:,.0f}{suffix}" for value in shown]
            cells += [f"{grown:+,.1f}{suffix}", f"{most[name] / unit:,.0f}{suffix}"]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "Nothing was wrong." if not report.problems else "What was wrong:"]
    lines += [f"- {problem}" for problem in report.problems[:20]]
    return "\n".join(lines)


def write(page: Path, text: str) -> None:
    """Put what came of it into its place of the page."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


if __name__ == "__main__":
    sys.exit(main())

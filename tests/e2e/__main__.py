"""`make e2e`: the whole matrix at the shipped intervals, several stacks side by side, and docs/e2e.md."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

from exporter.demo.cluster import build
from exporter.demo.processes import StartError
from tests.e2e import table
from tests.e2e.judge import Result
from tests.e2e.matrix import ROWS
from tests.e2e.run import run_rows
from tests.fixtures.jvm import compiled

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Run the rows that are named, or all; return 1 if one is not right."""
    parser = argparse.ArgumentParser(prog="make e2e", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"which: {', '.join(ROWS)}")
    parser.add_argument("--stacks", type=int, default=3 * (os.cpu_count() or 1), help="how many run at once")
    parser.add_argument("--hurry", type=int, help="run this many times faster than shipped; nothing is written then")
    parser.add_argument("--state", type=Path, default=ROOT / ".cache" / "e2e", help="folder for data, logs and results")
    options = parser.parse_args()
    if unknown := [name for name in options.rows if name not in ROWS]:
        parser.error(f"there is no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    rows = [ROWS[name] for name in options.rows or ROWS]
    results, began = options.state / "results", time.monotonic()

    def tell(result: Result) -> None:
        how = "right" if not result.problems else "NOT RIGHT"
        pages = ", ".join(f"{seconds:.0f} s" for seconds in result.seconds) or "no page"
        print(f"{time.monotonic() - began:6.0f}  {result.row}: {how}; {pages}; {'; '.join(result.titles)}", flush=True)
        for problem in result.problems:
            print(f"        - {problem}", flush=True)
        if options.hurry is None:
            table.save(result, results)

    if any(row.kubernetes for row in rows):
        try:
            asyncio.run(build(lambda text: print(text, flush=True), asyncio.Event()))
        except StartError as error:
            parser.error(f"rows of Kubernetes need its control plane: {error}")
    if any(row.kafka or row.brokers for row in rows):
        try:
            compiled()
        except (RuntimeError, OSError) as error:
            parser.error(f"rows of Kafka need Apache Kafka, by Maven and a JDK: {error}")
    found = asyncio.run(run_rows(rows, options.state, options.stacks, tell, options.hurry))
    kept = table.read(ROWS, results)
    if options.hurry is None:
        page = ROOT / "docs" / "e2e.md"
        page.write_text(table.render(list(ROWS), kept, page.read_text()))
        print("docs/e2e.md is written")
    right = sum(not result.problems for result in found)
    print(f"{right} of {len(found)} rows are right")
    return 0 if right == len(found) else 1


if __name__ == "__main__":
    sys.exit(main())

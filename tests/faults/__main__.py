"""`make faults`: every fault of the exporter itself, several at once, and docs/faults.md."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tests.faults.matrix import FAULTS, SECTIONS
from tests.faults.run import play
from tests.faults.scene import targets
from tests.faults.table import render

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "faults.md"


def main() -> int:
    """Play the faults that are named, or all; return 1 if one is not right."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"which: {', '.join(FAULTS)}")
    parser.add_argument("--jobs", type=int, default=4, help="how many at once")
    parser.add_argument("--short", action="store_true", help="with the times of the tests; nothing is written then")
    parser.add_argument("--state", type=Path, default=ROOT / ".cache" / "faults", help="folder for configurations and logs")
    options = parser.parse_args()
    if unknown := [name for name in options.rows if name not in FAULTS]:
        parser.error(f"there is no row {', '.join(unknown)}; there are {', '.join(FAULTS)}")
    rows = [FAULTS[name] for name in options.rows or FAULTS]
    shutil.rmtree(options.state, ignore_errors=True)
    outcomes, began = [], time.monotonic()
    with targets(options.state / "targets") as found, ThreadPoolExecutor(options.jobs) as pool:
        for done in as_completed(pool.submit(play, row, options.state, found, long=not options.short) for row in rows):
            outcome = done.result()
            outcomes.append(outcome)
            how = "right" if not outcome.wrong else "NOT RIGHT"
            print(f"{time.monotonic() - began:6.0f}  {outcome.name}: {how}; {outcome.seen}", flush=True)
            for problem in outcome.wrong:
                print(f"        - {problem}", flush=True)
    if not options.short:
        PAGE.write_text(render(SECTIONS, outcomes, PAGE.read_text() if PAGE.exists() else ""))
        print("docs/faults.md is written")
    right = sum(not outcome.wrong for outcome in outcomes)
    print(f"{right} of {len(outcomes)} rows are right")
    return 0 if right == len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())

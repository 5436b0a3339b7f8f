"""docs/e2e.md: the matrix as it came out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.e2e.judge import Result

__all__ = ["read", "render", "save"]

_HEAD = """\
# From fault to page

<!-- Written by `make e2e`. -->

Every row is a fault in the demo's fleet: a real PostgreSQL, Valkey and Kafka broker, a small Keycloak, eight simulated
services; in the rows of Kubernetes these are Deployments on a real control plane, whose kubelets are played, and in
those of `tests/e2e/kafka_rows.py` the broker is one of Apache Kafka. Exporter, Prometheus and Alertmanager run with rules,
routes and intervals as shipped; only addresses and key files are others. A stand-in takes PagerDuty's place and refuses what
its Events API v2 refuses. `make e2e ARGS="db-down twice"` runs some again, and leaves the other rows as they are; a new
fault is an entry of `tests/e2e/matrix.py` or of one of its `…_rows.py`.

*s to page* counts from the fault; *pages* is how often a person was woken up, *low* how many incidents of low urgency were
opened beside that; *s to resolve* counts from the mending. A row is right if exactly what is owed came, in time, with its
cause in the first event, and was resolved after the mending and not before.

"""
_COLUMNS = (
    "fault", "owed", "fired", "s to page", "pages", "low", "not owed", "it says", "cause named", "s to resolve", "right",
)  # fmt: skip


_ROW = re.compile(r"^\| `([\w-]+)` .*$", re.MULTILINE)
_PROBLEM = re.compile(r"^- \*\*([\w-]+)\*\*: .*$", re.MULTILINE)


def render(names: Sequence[str], results: Iterable[Result], page: str = "") -> str:
    """Return the page.

    Args:
        names: The rows, in their order. Of those of which nothing is known it says that they have not been run.
        results: What came of rows.
        page: The page as it was: what it says of other rows stays.
    """
    lines = {found[1]: found[0] for found in _ROW.finditer(page)}
    wrong = [(found[1], found[0]) for found in _PROBLEM.finditer(page)]
    for result in results:
        lines[result.row] = f"| {' | '.join(_cells(result))} |"
        wrong = [(name, line) for name, line in wrong if name != result.row]
        wrong += [(result.row, f"- **{result.row}**: {_plain(problem)}") for problem in result.problems]
    known = [lines[name] for name in names if name in lines]
    right = sum(line.endswith("| yes |") for line in known)
    head = [f"{right} of {len(known)} rows are right.", "", f"| {' | '.join(_COLUMNS)} |", "|" + "---|" * len(_COLUMNS)]
    missing = sorted(f"`{name}`" for name in names if name not in lines)
    not_run = ["", f"Not run yet: {', '.join(missing)}."] if missing else []
    problems = [line for row in names for name, line in wrong if name == row]
    not_right = ["", "What is not right:", "", *problems] if problems else []
    return _HEAD + "\n".join([*head, *known, *not_run, *not_right]) + "\n"


def save(result: Result, folder: Path) -> None:
    """Keep what came of a row."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{result.row}.json").write_text(result.json())


def read(names: Iterable[str], folder: Path) -> list[Result]:
    """Return what is kept of rows, without those of which nothing is."""
    paths = (folder / f"{name}.json" for name in names)
    return [Result(**json.loads(path.read_text())) for path in paths if path.exists()]


def _cells(result: Result) -> Iterable[str]:
    return (
        f"`{result.row}` {_plain(result.fault)}",
        ", ".join(dict.fromkeys(result.owed)) or "nothing",
        ", ".join(result.fired) or "nothing",
        ", ".join(f"{seconds:.0f}" for seconds in result.seconds) or "–",
        str(result.pages),
        str(result.low),
        str(len(result.not_owed)),
        "; ".join(_plain(title) for title in dict.fromkeys(result.titles)) or "–",
        {True: "yes", False: "**no**", None: "–"}[result.cause],
        ", ".join(f"{seconds:.0f}" for seconds in result.resolves) or "–",
        "**no**" if result.problems else "yes",
    )


def _plain(text: str) -> str:
    """Keep a text in its cell."""
    return " ".join(text.replace("|", "\\|").split())[:400]

"""docs/faults.md: the faults as they came out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from tests.faults.model import Fault, Outcome

__all__ = ["render"]

_HEAD = """\
# Faults of the exporter itself

<!-- Written by `make faults`. -->

Every row is a fault of the exporter's own process, or of what it runs in: a daemon as shipped, with three actuators,
a Valkey, and a port on which nobody listens. It is scraped five times a second from the start of the row to its end, and
whatever the row does, each answer is held to what must always be true: a target that is up is never told down, the dead
one never up, the exporter's own counters only grow, no defect is counted. Afterwards every verdict must be right again,
SIGTERM must end it with exit code 0, and the log must hold no traceback. *Owed* is what must be seen beside that.

`make faults ARGS="frozen clock-back"` runs some again, and leaves the other rows as they are; a new one is an entry in
`tests/faults/rows/`. `make test` plays some of them, with shorter times. Rows run side by side on a machine that does
something else too: seconds are an upper bound.

"""
_COLUMNS = ("fault", "owed", "seen", "scrapes", "s", "right", "run")
_ROW = re.compile(r"^\| `([\w-]+)` .*$", re.MULTILINE)
_PROBLEM = re.compile(r"^- \*\*([\w-]+)\*\*: .*$", re.MULTILINE)


def render(sections: Mapping[str, Sequence[Fault]], outcomes: Iterable[Outcome], page: str = "") -> str:
    """Return the page.

    Args:
        sections: The rows, in their order, by heading. Those of which nothing is known are listed as not run.
        outcomes: What came of rows.
        page: The page as it was: what it says of other rows stays.
    """
    names = {fault.name: fault for faults in sections.values() for fault in faults}
    lines = {found[1]: found[0] for found in _ROW.finditer(page)}
    wrong = [(found[1], found[0]) for found in _PROBLEM.finditer(page)]
    for outcome in outcomes:
        lines[outcome.name] = _line(names[outcome.name], outcome)
        wrong = [(name, line) for name, line in wrong if name != outcome.name]
        wrong += [(outcome.name, f"- **{outcome.name}**: {_plain(problem)}") for problem in outcome.wrong]
    known = [lines[name] for name in names if name in lines]
    right = sum("| yes |" in line for line in known)
    made = [f"{right} of {len(known)} rows are right."]
    for heading, faults in sections.items():
        made += ["", f"## {heading}", "", f"| {' | '.join(_COLUMNS)} |", "|" + "---|" * len(_COLUMNS)]
        made += [lines[fault.name] for fault in faults if fault.name in lines]
    if missing := [f"`{name}`" for name in names if name not in lines]:
        made += ["", f"Not run yet: {', '.join(missing)}."]
    if problems := [line for name in names for of, line in wrong if of == name]:
        made += ["", "What is not right:", "", *problems]
    return _HEAD + "\n".join(made) + "\n"


def _line(fault: Fault, outcome: Outcome) -> str:
    cells = (
        f"`{fault.name}` {_plain(fault.what)}",
        _plain(fault.owed),
        _plain(outcome.seen) or "–",
        str(outcome.scrapes),
        f"{outcome.seconds:.0f}",
        "**no**" if outcome.wrong else "yes",
        outcome.day,
    )
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Keep a text in its cell."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())[:300]

"""The cases that every alert must pass, derived from its entry, as documents for promtool.

A "ring" is the begin of a firing: what a person hears.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.alerts.cases.entry import Entry
from tests.alerts.cases.rules import Rule
from tests.alerts.cases.series import Phase, Sample, State, written

__all__ = ["CASES", "Cases"]

CASES = (
    "not firing",
    "pending",
    "firing",
    "resolved",
    "absent series",
    "flapping",
    "one lost scrape",
    "an exporter restart",
)

SCRAPE = 15.0
BLIND = 45.0
"""Seconds in which an exporter that is started anew is not scraped: three scrapes."""


class Line:
    """What happens, one phase after the other."""

    def __init__(self) -> None:
        self.phases: list[Phase] = []

    @property
    def now(self) -> float:
        """When the last scrape so far is, in seconds."""
        return sum(phase.seconds for phase in self.phases) - SCRAPE

    def go_on(self, state: State, seconds: float) -> float:
        """Add a phase of at least so long, and return when its last scrape is."""
        self.phases.append(Phase(state, math.ceil(seconds / SCRAPE) * SCRAPE))
        return self.now


@dataclass(frozen=True, slots=True, eq=False)
class Cases:
    """Those of one alert."""

    name: str
    entry: Entry
    rule: Rule

    @property
    def key(self) -> str:
        """The alert's name, and the variant where there are several."""
        return f"{self.name} {self.entry.variant}".strip()

    def groups(self) -> Iterator[dict[str, Any]]:
        """Return all cases but `firing`, as groups of tests for promtool; what is tested is named in its query."""
        yield self._well()
        yield self._in_trouble()
        yield self._absent()
        yield from self._flapping()

    def firing(self) -> dict[str, Any]:
        """Return the case in which promtool says, as a failure, what labels and annotations the alert has."""
        line = Line()
        line.go_on(State.GOOD, self._settle)
        fired = line.go_on(State.BAD, self.entry.fires + SCRAPE)
        test = {"eval_time": _at(fired), "alertname": self.name, "exp_alerts": []}
        return self._group("firing", line) | {"alert_rule_test": [test]}

    @property
    def evaluation(self) -> float:
        """Seconds between two evaluations."""
        return self.rule.interval

    @property
    def _settle(self) -> float:
        return self.entry.settles if self.entry.settles is not None else max(60.0, self.rule.window)

    @property
    def _long(self) -> float:
        """Seconds in which it would fire if it were to."""
        return self.entry.fires + 60

    @property
    def _ends(self) -> float:
        default = self.rule.window + self.rule.hold + 2 * SCRAPE
        return self.entry.ends if self.entry.ends is not None else default

    def _well(self) -> dict[str, Any]:
        line, tests = Line(), []
        at = line.go_on(State.GOOD, self._settle + self._long)
        tests.append(self._silent("not firing", at))
        line.go_on(State.LOST, SCRAPE)
        tests.append(self._silent("one lost scrape", line.go_on(State.GOOD, self._long)))
        line.go_on(State.NEW, BLIND)
        tests.append(self._silent("an exporter restart", line.go_on(State.GOOD, self._long)))
        return self._group("well", line, *tests)

    def _in_trouble(self) -> dict[str, Any]:
        line = Line()
        began = line.go_on(State.GOOD, self._settle) + SCRAPE
        tests = self._pending(began + self.entry.fires - self.rule.wait / 2) if self.rule.wait else []
        line.go_on(State.BAD, self._long)
        if not self.entry.missed:  # who is not there is neither scraped nor started anew
            line.go_on(State.LOST, SCRAPE)
            tests += self._goes_on("one lost scrape", line.go_on(State.BAD, 120))
            line.go_on(State.NEW, BLIND)
            tests += self._goes_on("an exporter restart", line.go_on(State.BAD, self._long))
        over = line.go_on(State.GOOD, self._ends)
        end = line.go_on(State.GOOD, 120)
        tests += [self._rings("resolved", "== 1", end), self._silent("resolved", end, end - over)]
        return self._group("in trouble", line, *tests)

    def _pending(self, at: float) -> list[dict[str, Any]]:
        query = f'count(ALERTS{{alertname="{self.name}",alertstate="pending"}})'
        return [self._test("pending", query, at, 1), self._silent("pending", at)]

    def _goes_on(self, case: str, at: float) -> list[dict[str, Any]]:
        return [self._rings(case, "== 1", at), self._firing(case, at, 1)]

    def _absent(self) -> dict[str, Any]:
        case, line = "absent series", Line()
        missed = line.go_on(State.GONE, self._long) if self.entry.missed else None
        tests = [] if missed is not None else [self._silent(case, line.go_on(State.GONE, self._long))]
        line.go_on(State.GOOD, self._settle + (self._ends if missed is not None else 0))
        line.go_on(State.BAD, self._long)
        end = line.go_on(State.GONE, self._ends + 60)
        tests.append(self._firing(case, end, 1 if self.entry.held or self.entry.missed else 0))
        tests.append(self._rings(case, "== 1" if missed is None else "== 2", end))
        return self._group(case, line, *tests)

    def _flapping(self) -> Iterator[dict[str, Any]]:
        """Bad for a scrape, or for half of what it takes; bad for long enough; each time good for a moment between."""
        fires, moment = self.entry.fires, 2 * SCRAPE
        for bad in (max(SCRAPE, self.rule.wait / 2), fires + moment):
            case, line = f"flapping, {bad:g}s bad and {moment:g}s good", Line()
            line.go_on(State.GOOD, self._settle)
            for _ in range(max(3, round(self._long / (bad + moment)))):
                line.go_on(State.BAD, bad)
                line.go_on(State.GOOD, moment)
            yield self._group(case, line, self._rings(case, "<= 1", line.now))

    def _group(self, case: str, line: Line, *tests: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": f"{self.key}: {case}",
            "interval": _at(SCRAPE),
            "input_series": written(self._samples(), line.phases, SCRAPE),
            "promql_expr_test": list(tests),
        }

    def _samples(self) -> Mapping[State, Mapping[str, Sample]]:
        good = {**self.entry.good, **self.entry.beside}
        bad = {name: sample for name, sample in {**good, **self.entry.bad}.items() if sample is not None}
        return {State.GOOD: good, State.BAD: bad}

    def _silent(self, case: str, at: float, during: float | None = None) -> dict[str, Any]:
        alerts = f'ALERTS{{alertname="{self.name}",alertstate="firing"}}'
        return self._test(case, f"count(count_over_time({alerts}[{_at(during or at)}]))", at, None)

    def _firing(self, case: str, at: float, count: int) -> dict[str, Any]:
        query = f'count(ALERTS{{alertname="{self.name}",alertstate="firing"}}) or vector(0)'
        return self._test(case, query, at, count)

    def _rings(self, case: str, condition: str, at: float) -> dict[str, Any]:
        """Expect a number of rings until then, of whatever labels: one that only changes its labels rings too."""
        alerts = f'ALERTS{{alertname="{self.name}",alertstate="firing"}}'
        step = _at(self.evaluation)
        rung = f"(count without (alertstate) ({alerts}) unless (count without (alertstate) ({alerts} offset {step})))"
        rings = f"(sum(sum_over_time({rung}[{_at(at)}:{step}])) or vector(0))"
        return self._test(case, f"{rings} {condition.replace(' ', ' bool ')}", at, 1)

    def _test(self, case: str, query: str, at: float, value: float | None) -> dict[str, Any]:
        """Expect one value or none; the query says whose it is, since promtool does not when it fails."""
        samples = [] if value is None else [{"labels": "{}", "value": value}]
        return {"expr": f"{query} # {self.key}: {case}", "eval_time": _at(at), "exp_samples": samples}


def _at(seconds: float) -> str:
    return f"{round(seconds)}s"

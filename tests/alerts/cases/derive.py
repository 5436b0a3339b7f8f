"""The cases that every alert must pass, derived from its entry, as documents for promtool.

A "ring" is the begin of a firing: what a person hears.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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


@dataclass(frozen=True, slots=True, eq=False)
class Cases:
    """Those of one alert."""

    name: str
    entry: Entry
    rule: Rule

    def groups(self) -> Iterator[dict[str, Any]]:
        """Return all cases but `firing`, as groups of tests for promtool; their names begin with the alert's."""
        yield from self._quiet("not firing", [(State.GOOD, self._settle + self._long)])
        yield from self._pending()
        yield from self._resolved()
        yield from self._absent()
        yield from self._flapping()
        yield from self._lost()
        yield from self._restart()

    def firing(self) -> dict[str, Any]:
        """Return the case in which promtool says, as a failure, what labels and annotations the alert has."""
        phases = [(State.GOOD, self._settle), (State.BAD, self.entry.fires + self._step)]
        test = {"eval_time": _at(self._settle + self.entry.fires), "alertname": self.name, "exp_alerts": []}
        return self._group("firing", phases) | {"alert_rule_test": [test]}

    @property
    def evaluation(self) -> float:
        """Seconds between two evaluations: as shipped, where scrapes are."""
        return self.rule.interval if self.entry.scrape == SCRAPE else self.entry.scrape

    @property
    def _step(self) -> float:
        return self.entry.scrape

    @property
    def _settle(self) -> float:
        return self.entry.settles if self.entry.settles is not None else self._rounded(max(120.0, self.rule.window))

    @property
    def _long(self) -> float:
        """Seconds in which it would fire if it were to."""
        return self._rounded(self.entry.fires + self.rule.hold + max(300.0, 4 * self._step))

    @property
    def _ends(self) -> float:
        default = self.rule.window + self.rule.hold + 2 * self._step
        return self.entry.ends if self.entry.ends is not None else default

    def _rounded(self, seconds: float) -> float:
        return -(-seconds // self._step) * self._step

    def _quiet(self, case: str, phases: list[tuple[State, float]]) -> Iterator[dict[str, Any]]:
        end = sum(seconds for _, seconds in phases)
        yield self._group(case, phases, self._nothing(end, 'alertstate="firing"', end))

    def _pending(self) -> Iterator[dict[str, Any]]:
        if not self.rule.wait:
            return
        at = self._settle + self.entry.fires - self.rule.wait / 2
        phases = [(State.GOOD, self._settle), (State.BAD, self.entry.fires + self._step)]
        pending = f'count(ALERTS{{alertname="{self.name}",alertstate="pending"}})'
        tests = [
            {"expr": pending, "eval_time": _at(at), "exp_samples": [{"labels": "{}", "value": 1}]},
            self._nothing(at, 'alertstate="firing"', at),
        ]
        yield self._group("pending", phases, *tests)

    def _resolved(self) -> Iterator[dict[str, Any]]:
        bad = self._rounded(self.entry.fires + 120)
        phases = [(State.GOOD, self._settle), (State.BAD, bad), (State.GOOD, self._ends + self._long)]
        over = self._settle + bad + self._ends
        tests = [
            self._rings("== 1", over + self._long),
            self._nothing(over + self._long, 'alertstate="firing"', self._long - self._step),
        ]
        yield self._group("resolved", phases, *tests)

    def _absent(self) -> Iterator[dict[str, Any]]:
        if not self.entry.missed:
            yield from self._quiet("absent series", [(State.GONE, self._settle + self._long)])
        bad = self._rounded(self.entry.fires + 60)
        phases = [(State.GOOD, self._settle), (State.BAD, bad), (State.GONE, self._ends + self._long)]
        end = self._settle + bad + self._ends + self._long
        stays = self.entry.held or self.entry.missed
        last = self._firing(end - self._step, 1) if stays else self._firing(self._settle + bad + self._ends, 0)
        yield self._group("absent series", phases, last, self._rings("== 1", end))

    def _flapping(self) -> Iterator[dict[str, Any]]:
        """Once bad and twice good; bad for half of what it takes; bad for long enough, and good for a moment."""
        fires, step = self.entry.fires, self._step
        for bad, good in (
            (step, 2 * step),
            (self._rounded(max(2 * step, fires / 2)), 2 * step),
            (self._rounded(fires) + 4 * step, 2 * step),
        ):
            times = max(4, round(1200 / (bad + good)))
            phases = [(State.GOOD, self._settle), *[(State.BAD, bad), (State.GOOD, good)] * times]
            end = sum(seconds for _, seconds in phases)
            yield self._group(f"flapping, {bad:g}s bad and {good:g}s good", phases, self._rings("<= 1", end))

    def _lost(self) -> Iterator[dict[str, Any]]:
        lost = (State.LOST, self._step)
        yield from self._quiet("one lost scrape", [(State.GOOD, self._settle), lost, (State.GOOD, self._long)])
        if self.entry.missed:  # who is not there is not scraped
            return
        bad = self._rounded(self.entry.fires + 60)
        phases = [(State.GOOD, self._settle), (State.BAD, bad), lost, (State.BAD, self._long)]
        end = self._settle + bad + self._step + self._long - self._step
        yield self._group("one lost scrape", phases, self._rings("== 1", end), self._firing(end, 1))

    def _restart(self) -> Iterator[dict[str, Any]]:
        new = (State.NEW, self._rounded(BLIND))
        yield from self._quiet("an exporter restart", [(State.GOOD, self._settle), new, (State.GOOD, self._long)])
        if self.entry.missed:
            return
        bad = self._rounded(self.entry.fires + 60)
        phases = [(State.GOOD, self._settle), (State.BAD, bad), new, (State.BAD, self._settle + self._long)]
        end = sum(seconds for _, seconds in phases) - self._step
        tests = [self._rings("== 1", end), self._firing(end, 1)]
        yield self._group("an exporter restart", phases, *tests)

    def _group(self, case: str, phases: Iterable[tuple[State, float]], *tests: dict[str, Any]) -> dict[str, Any]:
        spans = [Phase(state, seconds) for state, seconds in phases]
        named = [
            {**test, "expr": f"{test['expr']} # {self.name}: {case}"} for test in tests
        ]  # or promtool does not say which
        return {
            "name": f"{self.name}: {case}",
            "interval": _at(self._step),
            "input_series": written(self._samples(), spans, self._step),
            "promql_expr_test": named,
        }

    def _samples(self) -> Mapping[State, Mapping[str, Sample]]:
        good = {**self.entry.good, **self.entry.beside}
        bad = {name: sample for name, sample in {**good, **self.entry.bad}.items() if sample is not None}
        return {State.GOOD: good, State.BAD: bad}

    def _nothing(self, at: float, matcher: str, during: float) -> dict[str, Any]:
        query = f'count_over_time(ALERTS{{alertname="{self.name}",{matcher}}}[{_at(during)}])'
        return {"expr": query, "eval_time": _at(at), "exp_samples": []}

    def _firing(self, at: float, count: int) -> dict[str, Any]:
        query = f'count(ALERTS{{alertname="{self.name}",alertstate="firing"}}) or vector(0)'
        return {"expr": query, "eval_time": _at(at), "exp_samples": [{"labels": "{}", "value": count}]}

    def _rings(self, condition: str, at: float) -> dict[str, Any]:
        """Expect a number of rings until then, of whatever labels: one that only changes its labels rings too."""
        alerts = f'ALERTS{{alertname="{self.name}",alertstate="firing"}}'
        step = _at(self.evaluation)
        rung = f"(count without (alertstate) ({alerts}) unless (count without (alertstate) ({alerts} offset {step})))"
        query = f"(sum(sum_over_time({rung}[{_at(at)}:{step}])) or vector(0)) {condition.replace(' ', ' bool ')}"
        return {"expr": query, "eval_time": _at(at), "exp_samples": [{"labels": "{}", "value": 1}]}


def _at(seconds: float) -> str:
    return f"{round(seconds)}s"

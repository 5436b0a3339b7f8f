"""What the engine exports, recorded on a fake clock at every scrape, and what the shipped rules make of it.

promtool evaluates the rules as they are, with their own windows and waits, and nobody has to wait for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import yaml

from tests.alerts.cases.rules import alerts
from tests.alerts.shipped import RULE_FILES, rules, tool, uses

__all__ = ["Recording"]

SCRAPE = 15
EXPORTER = 'job="hafnium-exporter",instance="x:9818"'
ASKED = {
    use.metric for rule in rules().values() for text in (rule["expr"], *rule["annotations"].values()) for use in uses(text)
}

FIRING = 'ALERTS{alertstate="firing",alertname!="Watchdog"}'

Alerts = Iterable[tuple[str, str]]
"""Alerts by name and service."""

Rings = Mapping[tuple[str, str], int]
"""How often ServiceDown began to fire, by service and incident: a person hears of each new incident once."""


class Exposed(Protocol):
    """What can be scraped."""

    def lines(self, start: str) -> list[str]:
        """Return the exported series that start like this."""


class Recording:
    """Scrapes of one exporter, 15 s apart, as Prometheus would keep them.

    Args:
        bench: Whose exposition it is.
    """

    def __init__(self, bench: Exposed) -> None:
        self.bench = bench
        self._scrapes: list[dict[str, str]] = []

    async def go_on(self, minutes: float) -> None:
        """Let time pass, and scrape."""
        for _ in range(round(minutes * 60 / SCRAPE)):
            self._scrapes.append(self._scrape())
            await asyncio.sleep(SCRAPE)

    def hold(self, minutes: float = 0.25) -> None:
        """Scrape once, and have it stay so for that long."""
        self._scrapes += [self._scrape()] * round(minutes * 60 / SCRAPE)

    async def blind(self, minutes: float) -> None:
        """Let time pass without getting an answer."""
        for _ in range(round(minutes * 60 / SCRAPE)):
            self._scrapes.append({f"up{{{EXPORTER}}}": "0"})
            await asyncio.sleep(SCRAPE)

    def frozen(self, minutes: float) -> None:
        """Have the exporter stand still, as one that is stopped by a signal: its clock goes on, and nothing else."""
        loop = asyncio.get_running_loop()
        scrapes = round(minutes * 60 / SCRAPE)
        loop.setup_looptime(start=loop.time() + scrapes * SCRAPE, noop_cycles=4)  # type: ignore[attr-defined] # looptime's
        self._scrapes += [{f"up{{{EXPORTER}}}": "0"}] * scrapes

    def expect(self, folder: Path, *, fired: Alerts, firing: Alerts = ()) -> None:
        """Fail unless exactly these alerts, the Watchdog apart, fired at any time, and these fire at the last scrape."""
        ever = f"group by (alertname, service) (count_over_time({FIRING}[{self._last + SCRAPE}s]))"
        now = f"group by (alertname, service) ({FIRING})"
        tests = [_expectation(ever, self._last, fired), _expectation(now, self._last, firing)]
        self._test(folder, [str(path) for path in RULE_FILES], SCRAPE, tests)

    def expect_pages(self, folder: Path, *, rings: Rings, firing: Iterable[tuple[str, str]] = ()) -> None:
        """Fail unless ServiceDown rang exactly so often, and fires at the last scrape for these: service and incident."""
        down = 'count by (service, incident) (ALERTS{alertname="ServiceDown",alertstate="firing"}'
        rule = alerts()["ServiceDown"]
        step = round(rule.interval)
        rung = f"({down}) unless {down} offset {step}s))[{self._last + SCRAPE}s:{step}s]"
        tests = [
            _samples(f"sum by (service, incident) (sum_over_time({rung}))", self._last, rings),
            _samples(f"{down})", self._last, dict.fromkeys(firing, 1)),
        ]
        alone = folder / "servicedown.yml"
        alone.write_text(yaml.safe_dump({"groups": [{"name": "down", "rules": [rule.document]}]}))
        self._test(folder, [str(alone)], step, tests)

    @property
    def _last(self) -> int:
        return (len(self._scrapes) - 1) * SCRAPE

    def _test(self, folder: Path, rule_files: list[str], evaluation: int, tests: list[dict[str, Any]]) -> None:
        group = {"interval": f"{SCRAPE}s", "input_series": self._series(), "promql_expr_test": tests}
        document = {"rule_files": rule_files, "evaluation_interval": f"{evaluation}s", "tests": [group]}
        path = folder / "recorded.yml"
        path.write_text(yaml.safe_dump(document))
        tool("promtool", "test", "rules", str(path))

    def _scrape(self) -> dict[str, str]:
        found = {f"up{{{EXPORTER}}}": "1"}
        for line in self.bench.lines("p"):
            series, _, value = line.rpartition(" ")
            name, _, labels = series.rstrip("}").partition("{")
            if name in ASKED:
                found[f"{name}{{{','.join(filter(None, (EXPORTER, labels)))}}}"] = value
        return found

    def _series(self) -> list[dict[str, str]]:
        names = sorted({series for scrape in self._scrapes for series in scrape})
        return [{"series": name, "values": " ".join(self._values(name))} for name in names]

    def _values(self, series: str) -> list[str]:
        """Write one series down; where it ends it is stale, as Prometheus marks it."""
        values, before = [], False
        for scrape in self._scrapes:
            now = series in scrape
            values.append(scrape[series] if now else "stale" if before else "_")
            before = now
        return values


def _expectation(query: str, at: int, alerts: Alerts) -> dict[str, Any]:
    found = [{"labels": f'{{alertname="{name}",service="{service}"}}', "value": 1} for name, service in sorted(alerts)]
    return {"expr": query, "eval_time": f"{at}s", "exp_samples": found}


def _samples(query: str, at: int, values: Rings) -> dict[str, Any]:
    found = [
        {"labels": f'{{service="{service}",incident="{incident}"}}', "value": value}
        for (service, incident), value in sorted(values.items())
    ]
    return {"expr": query, "eval_time": f"{at}s", "exp_samples": found}

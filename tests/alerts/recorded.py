"""What the engine exports, recorded on a fake clock at every scrape, and what the shipped rules make of it.

promtool evaluates the rules as they are, with their own windows and waits, and nobody has to wait for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tests.alerts.shipped import RULE_FILES, rules, tool, uses
from tests.engine.bench import Bench

__all__ = ["Recording"]

SCRAPE = 15
EXPORTER = 'job="hafnium-exporter",instance="x:9818"'
ASKED = {
    use.metric for rule in rules().values() for text in (rule["expr"], *rule["annotations"].values()) for use in uses(text)
}

Alerts = Iterable[tuple[str, str]]
"""Alerts by name and service; an alert of the exporter itself has none."""


class Recording:
    """Scrapes of one exporter, 15 s apart, as Prometheus would keep them.

    Args:
        bench: Whose exposition it is.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._scrapes: list[dict[str, str]] = []

    async def go_on(self, minutes: float) -> None:
        """Let time pass, and scrape."""
        for _ in range(round(minutes * 60 / SCRAPE)):
            self._scrapes.append(self._scrape())
            await asyncio.sleep(SCRAPE)

    def expect(self, folder: Path, *, fired: Alerts, firing: Alerts = ()) -> None:
        """Fail unless exactly these alerts, the Watchdog apart, fired at any time, and these fire at the last scrape."""
        last = (len(self._scrapes) - 1) * SCRAPE
        select = 'ALERTS{alertstate="firing",alertname!="Watchdog"}'
        tests = [
            _expectation(f"group by (alertname, service) (count_over_time({select}[{last + SCRAPE}s]))", last, fired),
            _expectation(f"group by (alertname, service) ({select})", last, firing),
        ]
        group = {"interval": f"{SCRAPE}s", "input_series": self._series(), "promql_expr_test": tests}
        document = {"rule_files": [str(path) for path in RULE_FILES], "evaluation_interval": f"{SCRAPE}s", "tests": [group]}
        path = folder / "recorded.yml"
        path.write_text(yaml.safe_dump(document))
        tool("promtool", "test", "rules", str(path))

    def _scrape(self) -> dict[str, str]:
        found = {f"up{{{EXPORTER}}}": "1"}
        for line in self._bench.lines("p"):
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
    samples = []
    for name, service in sorted(alerts):
        labels = f'alertname="{name}"' + (f',service="{service}"' if service else "")
        samples.append({"labels": f"{{{labels}}}", "value": 1})
    return {"expr": query, "eval_time": f"{at}s", "exp_samples": samples}

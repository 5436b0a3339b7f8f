"""What the panels of a dashboard show: their queries, answered by a Prometheus, as a page draws them."""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Source", "drawn"]

POINTS = 240


@dataclass(frozen=True, slots=True)
class Source:
    """A Prometheus, and what is looked at.

    Attributes:
        url: Its address.
        start: Unix time.
        end: Unix time.
        chosen: What is chosen of a variable; all where it is not here.
    """

    url: str
    start: float
    end: float
    chosen: Mapping[str, str]

    @property
    def step(self) -> float:
        """Seconds between two points, as Grafana would have them on a panel of this width."""
        return max(15.0, (self.end - self.start) / POINTS)

    def substituted(self, expr: str) -> str:
        """Put variables in."""
        shown = round(self.end - self.start)
        window = round(max(4 * 15, self.step + 15))
        for name, value in (("__rate_interval", f"{window}s"), ("__range_s", str(shown)), ("__range", f"{shown}s")):
            expr = expr.replace(f"${name}", value)
        return re.sub(r"\$(job|instance|service|target)", lambda found: self.chosen.get(found[1], ".+"), expr)

    def series(self, target: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Ask one query: over the time, or at its end where the panel asks for that."""
        query = self.substituted(target["expr"])
        if target.get("instant"):
            answer = self._get("query", {"query": query, "time": self.end})
            return [
                {"labels": each["metric"], "name": _legend(target, each), "values": [each["value"]]}
                for each in answer["result"]
            ]
        asked = {"query": query, "start": self.start, "end": self.end, "step": self.step}
        return [
            {"labels": each["metric"], "name": _legend(target, each), "values": each["values"]}
            for each in self._get("query_range", asked)["result"]
        ]

    def alerts(self) -> list[dict[str, Any]]:
        """Return what fires, but for the Watchdog, the latest first: what Grafana's list of alerts shows."""
        found = [each for each in self._get("alerts", {})["alerts"] if each["state"] == "firing"]
        wanted = re.compile(rf"(?:{self.chosen.get('service', '.+')}|)")
        shown = [
            {"labels": each["labels"], "since": each["activeAt"]}
            for each in found
            if each["labels"]["alertname"] != "Watchdog" and wanted.fullmatch(each["labels"].get("service", ""))
        ]
        return sorted(shown, key=lambda each: str(each["since"]), reverse=True)

    def _get(self, path: str, asked: Mapping[str, Any]) -> Any:
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(asked)}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            return json.load(answer)["data"]


def _legend(target: Mapping[str, Any], series: Mapping[str, Any]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: series["metric"].get(found[1], ""), target["legendFormat"]).strip()


def drawn(board: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """Return a dashboard with the data of its panels."""
    panels = []
    for panel in board["panels"]:
        made = {key: panel.get(key) for key in ("id", "type", "title", "description", "gridPos", "fieldConfig", "options")}
        made["columns"] = [t["options"] for t in panel.get("transformations") or []]
        made["series"] = [series for target in panel.get("targets") or [] for series in source.series(target)]
        if panel["type"] == "alertlist":
            made["alerts"] = source.alerts()
        panels.append(made)
    chosen = {v["label"]: source.chosen.get(v["name"], "All") for v in board["templating"]["list"] if v["type"] == "query"}
    return {
        "title": board["title"], "chosen": chosen, "start": source.start, "end": source.end, "step": source.step,
        "panels": panels,
    }  # fmt: skip

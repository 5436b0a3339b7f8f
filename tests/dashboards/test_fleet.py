"""The Fleet dashboard: what a dashboard linter asks for, queries that Prometheus accepts, metrics that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.dashboards.build import render
from exporter.metrics.limits import LIMITS as LIMITS_EXPORTED
from tests.alerts.shipped import ROOT, declared, tool, undeclared, uses

BOARD: dict[str, Any] = json.loads(render()["hafnium-fleet.json"])
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
VARIABLES = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
TARGETS = {f"{panel['id']}{target['refId']}": target for panel in PANELS for target in panel["targets"]}
LINKED = {
    80: "What each incident takes down",
    81: "Evidence",
    82: "Why groups are behind",
    83: "Error ratio and burn of the error budget",
    84: "Restarts",
    85: "PostgreSQL connections in use",
    86: "PostgreSQL transactions and queries",
    87: "Redis memory in use",
    88: "Growth of dead letters",
    89: "Migrations behind or failed",
    90: "Flapping",
    91: "Redis replicas",
    92: "Time since the last success",
    93: "Configuration",
    110: "Containers that wait",
    111: "Pods without a node",
    112: "OOM kills",
    113: "Rollouts",
    114: "Quotas",
    115: "Autoscalers",
    116: "Autoscalers that cannot scale",
    117: "Nodes",
    118: "Blind",
    240: "Redis Cluster",
    241: "Redis persistence",
    242: "Redis clients",
    243: "Redis errors",
    250: "Redis replicas behind",
    251: "Redis masters by Sentinel",
    252: "Redis Sentinels",
}
LIMITS = {family.name for family in LIMITS_EXPORTED}
FIXED = {83: {"1h", "6h"}, 84: {"30m"}, 88: {"15m"}, 90: {"15m"}, 112: {"15m"}}
"""Windows that a panel has because what it shows is counted over them, whatever time it is looked at for."""
COUNTER = re.compile(r"\w+_(?:total|count|sum|bucket)\b")


def test_the_one_data_source_is_a_variable() -> None:
    source = VARIABLES["datasource"]
    assert (source["label"], source["query"], source["type"]) == ("Data source", "prometheus", "datasource")
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}
    assert {annotation["datasource"]["uid"] for annotation in BOARD["annotations"]["list"]} == {"${datasource}"}


@pytest.mark.parametrize("name", ["job", "instance", "service"])
def test_choices_are_many_or_all_and_follow_the_time_range(name: str) -> None:
    variable = VARIABLES[name]
    assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (True, True, ".+")
    assert variable["refresh"] == 2
    assert variable["datasource"]["uid"] == "${datasource}"
    assert undeclared(variable["query"]) == []


def test_it_is_not_edited_by_hand() -> None:
    assert BOARD["editable"] is False


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["id"]))
def test_a_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]


def test_panels_are_told_apart_by_id_and_title() -> None:
    ids = [panel["id"] for panel in BOARD["panels"]]
    titles = [panel["title"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert len(set(titles)) == len(titles)


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
def test_a_query_asks_for_what_is_exported_and_obeys_the_variables(target: dict[str, Any]) -> None:
    expr = target["expr"]
    assert undeclared(expr) == []
    for use in uses(expr):
        assert (use.matched.get("job"), use.matched.get("instance")) == ("$job", "$instance")
        if "service" in declared()[use.metric]:
            assert use.matched.get("service") == "$service"


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
def test_counters_are_rated_over_grafanas_interval_and_summed(target: dict[str, Any]) -> None:
    expr = target["expr"]
    for counter in COUNTER.finditer(expr):
        assert re.search(r"(?:rate|increase)\($", expr[: counter.start()]), counter[0]
        assert "sum by" in expr


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["id"]))
def test_windows_follow_the_time_that_is_looked_at(panel: dict[str, Any]) -> None:
    windows = {window for target in panel["targets"] for window in re.findall(r"\[([^\]]*)\]", target["expr"])}
    assert windows <= FIXED.get(panel["id"], {"$__rate_interval"})


def test_every_threshold_of_the_configuration_is_drawn_where_its_value_is() -> None:
    """A person sets one number, and the line moves with it: no panel of a limited value has a number of its own."""
    drawn = {use.metric for target in TARGETS.values() for use in uses(target["expr"])} & LIMITS
    assert drawn == LIMITS
    for panel in PANELS:
        limited = [target for target in panel["targets"] if any(use.metric in LIMITS for use in uses(target["expr"]))]
        steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
        if limited and panel["type"] == "timeseries":
            assert [step["color"] for step in steps if step["value"] is not None] == []
            assert all(target["legendFormat"].endswith(" limit") for target in limited)
            [override] = panel["fieldConfig"]["overrides"]
            assert override["matcher"] == {"id": "byRegexp", "options": "/ limit$/"}


@pytest.mark.parametrize(("panel_id", "title"), sorted(LINKED.items()))
def test_panels_that_alerts_link_to_keep_their_ids(panel_id: int, title: str) -> None:
    assert [panel["title"] for panel in PANELS if panel["id"] == panel_id] == [title]


@pytest.mark.parametrize(
    "table", [panel for panel in PANELS if panel["type"] == "table"], ids=lambda panel: str(panel["id"])
)
def test_a_table_shows_what_is_so_now_with_its_labels_as_columns(table: dict[str, Any]) -> None:
    [target] = table["targets"]
    assert (target["format"], target["instant"]) == ("table", True)
    [organised] = table["transformations"]
    columns = organised["options"]["indexByName"]
    kept = re.search(r"by \(([^)]*)\)", target["expr"])
    assert kept is not None
    assert [*kept[1].split(", "), "Value"] == sorted(columns, key=columns.__getitem__)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
def test_a_legend_names_labels_that_the_query_keeps(target: dict[str, Any]) -> None:
    named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    kept = {label.strip() for labels in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in labels.split(",")}
    if not kept:
        kept = set.union(set(), *(declared()[use.metric] for use in uses(target["expr"])))
    assert named <= kept


def test_prometheus_parses_every_query(tmp_path: Path) -> None:
    queries = [target["expr"] for target in TARGETS.values()]
    queries += [annotation["expr"] for annotation in BOARD["annotations"]["list"]]
    rules = [
        {"record": f"panel:{number}", "expr": query.replace("$__rate_interval", "1m")}
        for number, query in enumerate(queries)
    ]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    tool("promtool", "check", "rules", str(path))


def test_provisioning_offers_the_kind_of_data_source_that_the_dashboard_asks_for() -> None:
    folder = ROOT / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((folder / "dashboards" / "hafnium.yml").read_text())["providers"]
    scrape = yaml.safe_load((ROOT / "alerts" / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert (source["type"], source["isDefault"]) == (VARIABLES["datasource"]["query"], True)
    assert source["jsonData"]["timeInterval"] == scrape
    assert provider["allowUiUpdates"] is False

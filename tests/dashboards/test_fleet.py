"""The Fleet dashboard: what a dashboard linter asks for, queries that Prometheus accepts, metrics that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.dashboards.build import render
from tests.alerts.shipped import ROOT, declared, tool, undeclared, uses

BOARD: dict[str, Any] = json.loads(render()["hafnium-fleet.json"])
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
VARIABLES = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
TARGETS = {f"{panel['id']}{target['refId']}": target for panel in PANELS for target in panel["targets"]}
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
    assert set(re.findall(r"\[([^\]]*)\]", expr)) <= {"$__rate_interval"}


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

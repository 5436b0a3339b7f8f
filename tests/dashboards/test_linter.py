"""The rules of Grafana's dashboard-linter, all of them and without exclusions, as tests.

Of https://github.com/grafana/dashboard-linter/blob/main/docs/index.md; each test is named after its rule. They are as strict
as the linter or stricter: of panels it asks some for certain types only.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from exporter.boards import Board
from tests.dashboards.shipped import boards, each, panels, targets

UNITS = {
    "none", "short", "percent", "percentunit", "bytes", "bits", "Bps", "s", "ms", "dtdurations", "ops", "reqps", "rps",
    "wps", "iops", "cps", "dateTimeAsIso", "bool", "string",
}  # fmt: skip
"""Of the linter's list of units, those that could be meant here."""
SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\{([^{}]*)\}(\[[^\]]*\])?")
FUNCTION_OF_WINDOW = re.compile(r"(\w+)\((?=[a-zA-Z_:][\w:]*\{[^{}]*\}\[)")

each_board = pytest.mark.parametrize("board", Board)
each_panel = each(panels())
each_target = each(targets())


def variables(board: Board) -> dict[str, dict[str, Any]]:
    return {variable["name"]: variable for variable in boards()[board]["templating"]["list"]}


@each_board
def test_template_datasource_rule(board: Board) -> None:
    [source] = [variable for variable in variables(board).values() if variable["type"] == "datasource"]
    assert (source["name"], source["label"], source["query"]) == ("datasource", "Data source", "prometheus")


@each_board
@pytest.mark.parametrize("name", ["job", "instance"])
def test_template_job_and_instance_rules(board: Board, name: str) -> None:
    variable = variables(board)[name]
    assert (variable["type"], variable["label"]) == ("query", name.capitalize())
    assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (True, True, ".+")
    assert variable["datasource"]["uid"] == "${datasource}"


@each_board
def test_template_label_promql_rule_and_template_on_time_change_reload_rule(board: Board) -> None:
    asked = [variable for variable in variables(board).values() if variable["type"] == "query"]
    assert {"job", "instance", "service"} <= {variable["name"] for variable in asked}
    for variable in asked:
        assert re.fullmatch(r"label_values\([a-z_]+(\{.*\})?, [a-z]+\)", variable["query"])
        assert variable["refresh"] == 2
        assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (True, True, ".+")


@each_panel
def test_panel_datasource_rule(name: str) -> None:
    assert panels()[name][1]["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@each_panel
def test_panel_title_description_rule(name: str) -> None:
    panel = panels()[name][1]
    assert panel["title"]
    assert panel["description"].endswith(".")


@each_panel
def test_panel_units_rule(name: str) -> None:
    panel = panels()[name][1]
    assert panel["type"] == "alertlist" or panel["fieldConfig"]["defaults"]["unit"] in UNITS


@each_panel
def test_panel_no_targets_rule(name: str) -> None:
    panel = panels()[name][1]
    assert panel["type"] == "alertlist" or panel["targets"]


@each_target
def test_target_job_and_instance_rules(name: str) -> None:
    selectors = SELECTOR.findall(targets()[name][2]["expr"])
    assert selectors
    for metric, matchers, _ in selectors:
        assert {'job=~"$job"', 'instance=~"$instance"'} <= set(matchers.split(", ")), metric


@each_target
def test_every_series_is_selected_with_matchers(name: str) -> None:
    """What has none would escape the test above."""
    expr = re.sub(r'"[^"]*"', "", targets()[name][2]["expr"])
    assert re.findall(r"\b(?:probe_\w+|process_\w+|up|ALERTS\w*)\b(?!\{)", expr) == []


@each_target
def test_target_rate_interval_rule(name: str) -> None:
    for call in FUNCTION_OF_WINDOW.finditer(targets()[name][2]["expr"]):
        rest = targets()[name][2]["expr"][call.end() :]
        selector = SELECTOR.match(rest)
        assert selector is not None
        assert selector[3] == "[$__rate_interval]" or call[1] not in ("rate", "irate")


@each_target
def test_target_counter_agg_rule(name: str) -> None:
    expr = targets()[name][2]["expr"]
    for found in SELECTOR.finditer(expr):
        if found[1].endswith("_total"):
            assert re.search(r"(?:rate|irate|increase)\($", expr[: found.start()])
            assert found[3]


@each_target
def test_no_legend_is_empty(name: str) -> None:
    assert targets()[name][2]["legendFormat"].strip()


@each_board
def test_uneditable_dashboard_rule(board: Board) -> None:
    assert boards()[board]["editable"] is False

"""The dashboards: queries that Prometheus takes, metrics that exist, limits as configured, links that lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.alerts.rules import alerts
from exporter.boards import Board
from exporter.dashboards.board import Names
from exporter.dashboards.build import contents
from exporter.metrics.limits import LIMITS as LIMITS_EXPORTED
from tests.alerts.shipped import ROOT, declared, rules, tool, undeclared, uses
from tests.dashboards.shipped import boards, each, panels, substituted, targets

LIMITS = {family.name for family in LIMITS_EXPORTED}
FIXED = {83: {"1h", "6h"}, 84: {"30m"}, 88: {"15m"}, 90: {"15m"}, 112: {"15m"}, 327: {"1h"}, 325: {"1h"}}
FIXED |= {291: {"15m", "$__rate_interval", "$__range"}}
FIXED |= {320: {"30d"}, 321: {"30d"}, 323: {"5m", "30m", "1h", "6h"}, 324: {"2h", "6h", "1d", "3d"}}
"""Windows that a panel has because what it shows is counted over them, whatever time it is looked at for."""
COUNTER = re.compile(r"\w+_(?:total|count|sum|bucket)\b")

LINES = {"timeseries", "state-timeline"}

each_board = pytest.mark.parametrize("board", Board)
each_panel = each(panels())
each_target = each(targets())


def test_the_fleet_is_where_it_has_always_been() -> None:
    assert (boards()[Board.FLEET]["uid"], boards()[Board.FLEET]["title"]) == ("hafnium-fleet", "Hafnium fleet")


@each_board
def test_panels_are_told_apart_by_id_and_title(board: Board) -> None:
    ids = [panel["id"] for panel in boards()[board]["panels"]]
    titles = [panel["title"] for panel in boards()[board]["panels"]]
    assert len(set(ids)) == len(ids)
    assert len(set(titles)) == len(titles)


def test_an_id_is_one_panel_wherever_it_is() -> None:
    seen: dict[int, dict[str, Any]] = {}
    for board, made in boards().items():
        for panel in made["panels"]:
            shown = {key: panel.get(key) for key in ("type", "title", "description", "targets", "options")}
            assert seen.setdefault(panel["id"], shown) == shown, f"{board} {panel['id']}"


@each_board
def test_panels_do_not_overlap_and_rows_are_full(board: Board) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in boards()[board]["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
    tops = {panel["gridPos"]["y"] for panel in boards()[board]["panels"]}
    assert all({(x, top) for x in range(24)} <= taken for top in tops)


@each_board
def test_boards_lead_to_each_other_with_time_and_choices_and_to_the_runbook(board: Board) -> None:
    made = boards()[board]
    dropdown, runbook = made["links"]
    assert (dropdown["type"], dropdown["tags"], dropdown["asDropdown"]) == ("dashboards", ["hafnium"], True)
    assert (dropdown["keepTime"], dropdown["includeVars"]) == (True, True)
    assert "hafnium" in made["tags"]
    assert runbook["url"] == Names().runbook_url
    assert not any("placement" in link for link in made["links"])


@each_board
def test_a_board_offers_services_that_it_says_something_of(board: Board) -> None:
    [content] = [content for content in contents(Names()) if content.board is board]
    variables = {variable["name"]: variable["query"] for variable in boards()[board]["templating"]["list"]}
    assert undeclared(" ".join(variables.values())) == []
    if content.kinds is not None:
        assert f'probe=~"{"|".join(sorted(content.kinds))}"' in variables["service"]
    assert ("target" in variables) == ("$target" in "".join(t["expr"] for b, _, t in targets().values() if b is board))


@each_panel
def test_what_names_a_service_leads_to_it(name: str) -> None:
    board, panel = panels()[name]
    legends = " ".join(target["legendFormat"] for target in panel.get("targets", ()))
    links = panel.get("fieldConfig", {}).get("defaults", {}).get("links") or []
    urls = {link["title"]: link["url"] for link in links}
    assert len(urls) == ("{{service}}" in legends) + ("{{target}}" in legends and board is Board.SERVICE)
    for title, url in urls.items():
        assert url.startswith("/d/hafnium-service?var-")
        assert url.endswith("&${datasource:queryparam}&${__url_time_range}")
        label = "target" if "target" in title else "service"
        of = f"__data.fields.{label.capitalize()}" if panel["type"] == "table" else f"__field.labels.{label}"
        assert f"var-{label}=${{{of}}}" in url


@each_target
def test_a_query_asks_for_what_is_exported_and_obeys_the_variables(name: str) -> None:
    expr = targets()[name][2]["expr"]
    assert undeclared(expr) == []
    for use in uses(expr):
        by_group = use.matched.get("group", "").startswith("($service)")
        if "service" in declared()[use.metric] and not by_group:
            assert use.matched.get("service") == "$service"


@each_target
def test_counters_are_rated_and_summed(name: str) -> None:
    expr = targets()[name][2]["expr"]
    for counter in COUNTER.finditer(expr):
        assert re.search(r"(?:rate|increase)\($", expr[: counter.start()]), counter[0]
        assert "sum by" in expr


@each_panel
def test_windows_follow_the_time_that_is_looked_at(name: str) -> None:
    _, panel = panels()[name]
    asked = re.sub(r'"[^"]*"', "", " ".join(target["expr"] for target in panel.get("targets", ())))
    windows = set(re.findall(r"\[([^\]]*)\]", asked))
    assert windows <= FIXED.get(panel["id"], {"$__rate_interval", "$__range", "$__range:15s"})


def test_every_threshold_of_the_configuration_is_drawn_where_its_value_is() -> None:
    """A person sets one number, and the line moves with it: no panel of a limited value has a number of its own."""
    drawn = {use.metric for _, _, target in targets().values() for use in uses(target["expr"])} & LIMITS
    assert drawn == LIMITS
    for _, panel in panels().values():
        limits = [target for target in panel.get("targets", ()) if target["legendFormat"].endswith(" limit")]
        if limits:
            assert all({use.metric for use in uses(target["expr"])} <= LIMITS for target in limits)
            steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
            assert [step["color"] for step in steps if step["value"] is not None] == []
            [override] = panel["fieldConfig"]["overrides"]
            assert override["matcher"] == {"id": "byRegexp", "options": "/ limit$/"}


def test_a_panel_that_an_alert_leads_to_draws_the_limits_that_the_alert_holds_it_against() -> None:
    for alert in alerts():
        if alert.panel is None:
            continue
        _, panel = panels()[f"{alert.panel.board} {alert.panel.number}"]
        asked = {use.metric for use in uses(alert.expr)} & LIMITS
        drawn = {use.metric for target in panel["targets"] for use in uses(target["expr"])}
        assert asked <= drawn, f"{alert.name}: {asked - drawn} not drawn in {panel['title']}"


def labels_kept(expr: str) -> set[str]:
    """Return the labels that a query keeps by an aggregation or a join, and those that it makes."""
    lists = re.findall(r"(?:by|group_left) \(([^)]*)\)", expr)
    return {label.strip() for labels in lists for label in labels.split(",")} | set(
        re.findall(r', "(\w+)", "[^"]+", ""', expr)
    )


@each(name for name, (_, panel) in panels().items() if panel["type"] == "table")
def test_a_table_shows_what_is_so_now_with_its_labels_as_columns(name: str) -> None:
    _, table = panels()[name]
    [target] = table["targets"]
    assert (target["format"], target["instant"]) == ("table", True)
    [organised] = table["transformations"]
    columns = organised["options"]["indexByName"]
    assert set(columns) - {"Value"} <= labels_kept(target["expr"])
    assert sorted(columns, key=columns.__getitem__)[-1] == "Value"
    assert set(organised["options"]["renameByName"]) == set(columns)


@each(name for name, (_, panel) in panels().items() if panel["type"] == "alertlist")
def test_lists_of_alerts_show_what_fires_of_the_chosen_services_and_of_none(name: str) -> None:
    """Grafana draws them without a query: what they filter by must be labels of the rules."""
    _, panel = panels()[name]
    options = panel["options"]
    named = re.findall(r'(\w+)(?:=~|!=)"', options["alertInstanceLabelFilter"])
    assert named == ["service", "incident", "alertname"]
    assert any(alert.name == "Watchdog" for alert in alerts())
    assert all(rule["labels"]["incident"] for rule in rules().values() if "alert" in rule)
    assert [state for state, wanted in options["stateFilter"].items() if wanted] == ["error", "firing"]


@each(name for name, (_, panel) in panels().items() if panel["type"] == "state-timeline")
def test_states_are_not_merged_before_they_are_mapped_to_words(name: str) -> None:
    """Grafana merges equal values of a state timeline whose colours come from thresholds by these, not by value."""
    _, panel = panels()[name]
    assert panel["options"]["mergeValues"] is True
    assert panel["fieldConfig"]["defaults"]["color"]["mode"] == "fixed"


@each(name for name, (_, panel) in panels().items() if panel["type"] == "alertlist")
def test_lists_of_alerts_show_those_of_one_service_of_several_and_of_all_and_of_nothing_else(name: str) -> None:
    """A filter of alerts is not a query: Grafana anchors it, and takes a label that is missing for an empty one."""
    text = panels()[name][1]["options"]["alertInstanceLabelFilter"]
    case, vault, exporter = ({"service": service, "incident": "x"} for service in ("case", "vault", ""))
    theirs = {"alertname": "DiskFull", "node": "n1"}
    firing = [case, vault, exporter, theirs, {"alertname": "Watchdog", "incident": "x"}]
    for chosen, shown in ((["case"], [case, exporter]), (["case", "vault"], firing[:3]), ([".+"], firing[:3])):
        matchers = re.findall(r'(\w+)(=~|!=)"([^"]*)"', interpolated(text, chosen))
        assert [alert for alert in firing if all(matches(alert, *matcher) for matcher in matchers)] == shown


def interpolated(text: str, chosen: list[str]) -> str:
    """Put in what is chosen as Grafana does: by the format that a variable has, or as a glob."""
    one = chosen[0] if len(chosen) == 1 else ""
    text = text.replace("${service:regex}", one or f"({'|'.join(chosen)})")
    return text.replace("$service", one or f"{{{','.join(chosen)}}}")


def matches(alert: dict[str, str], label: str, operator: str, value: str) -> bool:
    """Say whether an alert has what a filter asks for."""
    is_so = alert.get(label, "")
    return is_so != value if operator == "!=" else re.fullmatch(value, is_so) is not None


@each_target
def test_a_legend_names_labels_that_the_query_keeps(name: str) -> None:
    target = targets()[name][2]
    named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    kept = labels_kept(target["expr"])
    if not kept:
        kept = set.union(set(), *(declared()[use.metric] for use in uses(target["expr"])))
    assert named <= kept


@each(name for name, (_, panel, _) in targets().items() if panel["type"] in LINES)
def test_a_legend_tells_lines_apart(name: str) -> None:
    """What a query keeps lines apart by is in their names: two clusters may have a topic of one name."""
    _, _, target = targets()[name]
    kept = re.search(r"\bby \(([^)]*)\)", target["expr"])
    apart = {label.strip() for label in kept[1].split(",")} if kept else set()
    assert apart - {"le"} <= set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))


@each_panel
def test_no_axis_ends_where_values_may_go_on(name: str) -> None:
    """Grafana cuts a line off at the end of an axis: what is past its bound would be the one thing that is not seen."""
    defaults = panels()[name][1].get("fieldConfig", {}).get("defaults", {})
    assert "max" not in defaults
    assert defaults.get("min", 0) == 0
    assert "expir" not in panels()[name][1]["description"] or "min" not in defaults


@each(name for name, (_, panel) in panels().items() if panel["type"] == "timeseries")
def test_what_was_there_for_a_moment_is_drawn(name: str) -> None:
    """Grafana draws a value between two gaps as a point, but where points are never shown."""
    custom = panels()[name][1]["fieldConfig"]["defaults"]["custom"]
    assert custom["showPoints"] == "auto"
    assert not custom.get("spanNulls")


@each_target
def test_what_is_counted_of_services_is_counted_by_exporter_and_joined(name: str) -> None:
    """Two exporters that watch one service count as one, in dashboards as in alerts."""
    _, panel, target = targets()[name]
    if panel["id"] in OF_EXPORTERS:
        return
    for how, labels, of in re.findall(r"\b(sum|count) by \(([^)]*)\) \((\w+)", target["expr"]):
        share = " / (" in target["expr"] and {"service", "cache"} >= set(labels.split(", ")) and how == "sum"
        joined = "job, instance" in labels or of in ("max", "min", "group", "count")
        assert joined or share, f"{how} by ({labels}) ({of}"


OF_EXPORTERS = {
    13: "the time of attempts", 14: "a share of attempts", 15: "failed attempts", 18: "attempts",
    61: "a quantile of lateness", 62: "attempts", 63: "attempts", 65: "by instance",
    70: "by instance", 77: "defects", 95: "what was turned away",
    344: "failed attempts",
}  # fmt: skip
"""Panels of what exporters do themselves: two do twice as much."""


def test_prometheus_parses_every_query(tmp_path: Path) -> None:
    queries = [target["expr"] for _, _, target in targets().values()]
    queries += [annotation["expr"] for made in boards().values() for annotation in made["annotations"]["list"]]
    rules = [{"record": f"panel:{number}", "expr": substituted(query)} for number, query in enumerate(queries)]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    tool("promtool", "check", "rules", str(path))


def test_provisioning_offers_the_kind_of_data_source_that_the_dashboards_ask_for() -> None:
    folder = ROOT / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((folder / "dashboards" / "hafnium.yml").read_text())["providers"]
    scrape = yaml.safe_load((ROOT / "alerts" / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    assert source["jsonData"]["timeInterval"] == scrape
    assert source["jsonData"]["manageAlerts"] is True
    assert (provider["folder"], provider["allowUiUpdates"]) == ("Hafnium", False)

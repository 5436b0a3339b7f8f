"""The rules: valid, tested in every state, true to the runbook, and free of the traps that alerting rules fall into."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from exporter.alerts.model import Alert, Options, Severity, Team
from exporter.alerts.routes import receiver_of
from exporter.alerts.rules import alerts
from exporter.metrics.core import CORE
from exporter.metrics.family import Family
from tests.alerts.shipped import ALERTS, ROOT, RULE_FILES, anchors, rules, runbook_table, tool, undeclared, uses
from tests.dashboards.shipped import expressions, panels

SCRAPE = 15
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
ENTRIES = tuple(alerts())
TESTED = sorted(set(rules()) - {"Watchdog"})
UNASKED = {
    "probe_last_run_timestamp_seconds": "the engine withdraws what has not run; the last success is what grows old",
    "probe_exporter_config_last_reload_success_timestamp_seconds": "a reload that fails has an alert, whenever it was",
    "probe_exporter_scrape_size_bytes": "how long a scrape takes is shown; its size is Prometheus' to tell",
    "process_virtual_memory_bytes": "resident memory is shown; this is by convention",
}
"""Families that neither a rule nor a panel asks for, and why."""


def seconds(duration: str) -> int:
    return sum(int(number) * SECONDS[unit] for number, unit in re.findall(r"(\d+)([smhd])", duration))


def test_prometheus_accepts_its_configuration_and_finds_the_rules() -> None:
    assert f"{len(RULE_FILES)} rule files found" in tool("promtool", "check", "config", str(ALERTS / "prometheus.yml"))


def test_prometheus_accepts_the_rules() -> None:
    tool("promtool", "check", "rules", "--lint=all", "--lint-fatal", *map(str, RULE_FILES))


def test_prometheus_scrapes_the_job_that_the_rules_select() -> None:
    config = yaml.safe_load((ALERTS / "prometheus.yml").read_text())
    assert [job["job_name"] for job in config["scrape_configs"]] == ["hafnium-exporter"]
    assert seconds(config["global"]["scrape_interval"]) == SCRAPE
    selected = set(re.findall(r'job="([^"]*)"', "".join(rule["expr"] for rule in rules().values())))
    assert selected == {"hafnium-exporter"}


def test_the_runbooks_alerts_exist_by_exactly_its_names_severities_and_actions() -> None:
    table = runbook_table()
    shipped = [(name, rules()[name]["labels"]["severity"], rules()[name]["annotations"]["action"]) for name, _, _ in table]
    assert shipped == table
    assert [name for name, _, _ in table] == [
        "ServiceDown",
        "HighLatencyP99",
        "KafkaLagHigh",
        "MemoryPressure",
        "CertificateExpiring",
    ]


@pytest.mark.parametrize("name", sorted(rules()))
def test_an_alert_says_what_is_wrong_what_to_do_and_where_to_read_on(name: str) -> None:
    annotations = rules()[name]["annotations"]
    assert annotations["summary"]
    assert annotations["description"]
    assert annotations["action"]
    assert annotations["runbook_url"] == f"{Options().runbook_url}#{name.lower()}"
    assert name.lower() in anchors(ROOT / "docs" / "runbook.md")


@pytest.mark.parametrize("name", sorted(rules()))
def test_labels_are_of_the_series_or_fixed_since_a_changing_label_is_another_alert(name: str) -> None:
    labels = rules()[name]["labels"]
    assert labels["severity"] in ({"none"} if name == "Watchdog" else {"critical", "warning"})
    assert {"severity", "incident"} <= set(labels) <= {"severity", "team", "tier", "service", "incident"}
    for value in labels.values():
        assert "query" not in value
        assert "$value" not in value


@pytest.mark.parametrize("name", TESTED)
def test_no_alert_fires_on_a_single_scrape(name: str) -> None:
    if name == "ServiceDown":
        assert "for" not in rules()[name], "the exporter has confirmed it: waiting again would make each page later"
    else:
        assert seconds(rules()[name]["for"]) >= 2 * SCRAPE


@pytest.mark.parametrize("name", TESTED)
def test_ranges_hold_enough_scrapes(name: str) -> None:
    for function, window in re.findall(r"(\w+)\s*\([^()\[]*\[(\w+)\]", rules()[name]["expr"]):
        # Two scrapes, but for the one that must not hold samples as far apart: it is bridged by `keep_firing_for`.
        least = 4 if function in {"rate", "increase", "delta", "deriv", "predict_linear"} else 2
        assert seconds(window) >= least * SCRAPE or (name, window) == ("ServiceDown", Options().one_scrape), function


@pytest.mark.parametrize("name", TESTED)
def test_one_lost_scrape_changes_nothing(name: str) -> None:
    """Every series of the exporter is read over a range; a verdict that is known now only ends an alert."""
    expr = re.sub(r"\(abs\([^[]*\)\)\[\w+:\]", "", rules()[name]["expr"])  # a subquery is a range
    bare = re.findall(r"\b(probe_\w+)\b(?:\{[^}]*\})?(?!\w|\{|\[)", expr)
    ending = {"ProbeUnknown": {"probe_success"}, "ServiceUnknown": {"probe_service_up"}, "ServiceDown": {"probe_incident"}}
    assert set(bare) <= ending.get(name, set())


@pytest.mark.parametrize("alert", ENTRIES, ids=lambda alert: alert.name)
def test_a_check_of_pint_is_switched_off_for_series_of_the_rule_alone(alert: Alert) -> None:
    for disable in alert.disables:
        assert disable.reason
        selector = re.fullmatch(r"promql/series\((.*)\)", disable.check)
        if selector is not None:
            assert selector[1].partition("{")[0] in alert.expr


@pytest.mark.parametrize("name", sorted(rules()))
def test_rules_and_their_annotations_ask_for_metrics_that_are_exported(name: str) -> None:
    rule = rules()[name]
    assert undeclared(rule["expr"]) == []
    for text in rule["annotations"].values():
        for query in re.findall(r"printf `([^`]*)`", text):
            assert undeclared(query.replace("%q", '"x"')) == []


@pytest.mark.parametrize("name", TESTED)
def test_every_alert_links_to_the_panel_that_shows_it(name: str) -> None:
    rule = rules()[name]
    found = re.fullmatch(
        re.escape(Options().grafana_url)
        + r"/d/hafnium-(\w+)\?(var-service=\{\{ \$labels\.service \}\}&)?from=(\{\{ .* \}\})&to=now&viewPanel=(\d+)",
        rule["annotations"]["dashboard"],
    )
    assert found is not None
    assert f'ALERTS_FOR_STATE{{alertname="{name}"' in found[3]
    assert ("service=%q" in found[3]) == bool(found[2])
    _, panel = panels()[f"{found[1]} {found[4]}"]
    shown = {use.metric for target in panel["targets"] for use in uses(target["expr"])}
    asked = {use.metric for use in uses(rule["expr"])}
    assert shown & asked or not asked  # `up` is Prometheus' own


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        (("alertname=ServiceDown", "severity=critical", "service=vault", "team=on-call"), "pagerduty-critical"),
        (("alertname=ServiceDown", "severity=critical", "service=postgres", "team=dba"), "pagerduty-critical,pagerduty-dba"),
        (("alertname=ExporterDown", "severity=critical", "team=on-call"), "pagerduty-critical"),
        (("alertname=MemoryPressure", "severity=warning", "service=vault", "team=on-call"), "pagerduty-warning"),
        (("alertname=DatabaseSlowQuery", "severity=warning", "service=postgres", "team=dba"), "pagerduty-dba"),
        (("alertname=CertificateExpiring", "severity=warning", "service=vault", "team=secops"), "pagerduty-secops"),
        (("alertname=SomethingElse",), "pagerduty-warning"),
        (("alertname=Watchdog", "severity=none"), "watchdog"),
    ],
)
def test_alerts_reach_whose_they_are(labels: tuple[str, ...], receivers: str) -> None:
    assert routed(*labels) == receivers


def routed(*labels: str) -> str:
    return tool("amtool", "config", "routes", "test", f"--config.file={ALERTS / 'alertmanager.yml'}", *labels).strip()


@pytest.mark.parametrize("alert", ENTRIES, ids=lambda alert: alert.name)
def test_every_alert_reaches_the_receivers_of_its_severity_and_team(alert: Alert) -> None:
    mine = [receiver_of(alert.team)] if alert.team in {Team.DBA, Team.SECOPS} else []
    receivers = {
        Severity.CRITICAL: ["pagerduty-critical", *mine],
        Severity.WARNING: mine or ["pagerduty-warning"],
        Severity.NONE: ["watchdog"],
    }[alert.severity]
    labels = {"alertname": alert.name, "severity": alert.severity, "team": alert.team, "service": "vault"}
    assert routed(*(f"{label}={value}" for label, value in labels.items())) == ",".join(receivers)


def test_routes_name_alerts_that_exist() -> None:
    config = yaml.safe_load((ALERTS / "alertmanager.yml").read_text())
    matchers = [matcher for route in config["route"]["routes"] for matcher in route["matchers"]]
    named = re.findall(r'alertname =~? "([^"]*)"', " ".join(matchers))
    assert {name for names in named for name in names.split("|")} <= set(rules())


def test_every_alert_has_its_row_in_the_table_of_alerts() -> None:
    rows = re.findall(r"^\| (\w+) \| (\w+) \|", (ROOT / "docs" / "alerts.md").read_text(), re.MULTILINE)
    found = sorted(row for row in rows if row != ("alert", "severity"))
    assert found == sorted((name, rule["labels"]["severity"]) for name, rule in rules().items())


@pytest.mark.parametrize("family", CORE, ids=lambda family: family.name)
def test_what_every_exporter_exports_is_asked_for_by_a_rule_or_a_panel(family: Family) -> None:
    """A fact that nobody looks at is not whole: it needs an alert or a panel, or a reason here."""
    queries = list(expressions())
    queries += [json.dumps(rule) for rule in rules().values()]
    names = {family.name, f"{family.name}_bucket", f"{family.name}_count", f"{family.name}_sum"}
    asked = any(use.metric in names for query in queries for use in uses(query))
    assert asked != (family.name in UNASKED)


def test_alertmanager_accepts_its_configuration() -> None:
    tool("amtool", "check-config", str(ALERTS / "alertmanager.yml"))

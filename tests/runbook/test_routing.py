"""Routes evaluated as Alertmanager evaluates them."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import yaml

from exporter.runbook.finding import Unusable
from exporter.runbook.routing import Matcher, read
from tests.alerts.shipped import ALERTS, tool

TREE = """
route:
  receiver: all
  routes:
    - matchers: ['severity = "critical"']
      receiver: pager
      continue: true
    - matchers: [team =~ "dba|db.*", 'severity != "none"']
      receiver: dba
      routes:
        - match: {service: postgres}
          receiver: postgres
        - match_re: {service: "red.*"}
    - matchers: ['tier = ""', 'severity !~ "crit.*|none"']
      receiver: untiered
receivers:
  - {name: all, pagerduty_configs: [{routing_key: a}]}
  - {name: pager, pagerduty_configs: [{routing_key: a}]}
  - {name: dba, slack_configs: [{channel: a, api_url: 'http://a.example'}]}
  - {name: postgres}
  - {name: untiered}
"""
VALUES = {
    "severity": ("critical", "warning", "none", ""),
    "team": ("dba", "dbx", "web", ""),
    "service": ("postgres", "redis", "x"),
    "tier": ("", "backend"),
}


def reached(path: Path, labels: dict[str, str]) -> list[str]:
    return [route.receiver for route in read(path).root.reached(labels)]


def test_amtool_finds_the_same_receivers_for_every_combination_of_labels(tmp_path: Path) -> None:
    path = tmp_path / "alertmanager.yml"
    path.write_text(TREE)
    seen = set()
    for values in itertools.product(*VALUES.values()):
        labels = {name: value for name, value in zip(VALUES, values, strict=True) if value}
        told = tool("amtool", "config", "routes", "test", f"--config.file={path}", *(f"{k}={v}" for k, v in labels.items()))
        found = reached(path, labels)
        assert ",".join(found) == told.strip(), labels
        seen.update(found)
    assert seen == {"all", "pager", "dba", "postgres", "untiered"}


@pytest.mark.parametrize("severity", ["critical", "warning", "none"])
@pytest.mark.parametrize("team", ["on-call", "dba", "secops"])
def test_amtool_finds_the_same_in_what_is_shipped(severity: str, team: str) -> None:
    path = ALERTS / "alertmanager.yml"
    labels = {"alertname": "Watchdog" if severity == "none" else "ServiceDown", "severity": severity, "team": team}
    told = tool("amtool", "config", "routes", "test", f"--config.file={path}", *(f"{k}={v}" for k, v in labels.items()))
    assert ",".join(reached(path, labels)) == told.strip()


@pytest.mark.parametrize(
    ("matcher", "labels", "matches"),
    [
        (Matcher("a", "=", ""), {}, True),
        (Matcher("a", "!=", ""), {}, False),
        (Matcher("a", "=~", "x|y"), {"a": "xy"}, False),
        (Matcher("a", "!~", "x.*"), {"a": "xy"}, False),
        (Matcher("a", "!~", "x.*"), {}, True),
    ],
)
def test_a_label_that_is_missing_is_empty_and_expressions_are_whole(
    matcher: Matcher, labels: dict[str, str], matches: bool
) -> None:
    assert matcher.matches(labels) is matches


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("route: [", "is not YAML"),
        ("[]", "expected a mapping"),
        ("receivers: []", "has no route"),
        (yaml.safe_dump({"route": {"receiver": "a", "matchers": ["nonsense"]}}), "'nonsense' is not a matcher"),
    ],
)
def test_what_is_no_configuration_is_told(tmp_path: Path, config: str, says: str) -> None:
    path = tmp_path / "alertmanager.yml"
    path.write_text(config)
    with pytest.raises(Unusable, match=says):
        read(path)
    with pytest.raises(Unusable, match=r"none\.yml: is not there"):
        read(tmp_path / "none.yml")

"""What is shipped, held against each version of Prometheus and Alertmanager: accepted, and routed alike."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

import pytest

from exporter.demo.servers.prometheus import PrometheusServer
from tests.alerts.shipped import ALERTS, RULE_FILES, TEST_FILES, rules, tool
from tests.alerts.tools import Tools
from tests.waiting import until

ROUTES = str(ALERTS / "alertmanager.yml")
CRITICAL, WARNING, WATCHDOG = "pagerduty-critical", "pagerduty-warning", "watchdog"
TEAMS = {"dba": "pagerduty-dba", "secops": "pagerduty-secops"}


def receivers(tools: Tools, **labels: str) -> list[str]:
    """Return who hears of an alert with these labels."""
    matchers = [f"{name}={value}" for name, value in labels.items() if value]
    return tool(tools.amtool, "config", "routes", "test", f"--config.file={ROUTES}", *matchers).strip().split(",")


def expected(severity: str, team: str) -> list[str]:
    """Return who is to hear of an alert of this severity and team."""
    if severity == "none":
        return [WATCHDOG]
    to_team = [TEAMS[team]] if team in TEAMS else []
    if severity == "critical":
        return [CRITICAL, *to_team]
    return to_team or [WARNING]


def test_prometheus_accepts_its_configuration_and_the_rules(tools: Tools) -> None:
    assert f"{len(RULE_FILES)} rule files found" in tool(tools.promtool, "check", "config", str(ALERTS / "prometheus.yml"))
    tool(tools.promtool, "check", "rules", "--lint=all", "--lint-fatal", *map(str, RULE_FILES))


_SINCE = re.compile(r"from=(\{\{.*?\}\}|-?[0-9]+)&to=now", re.DOTALL)
"""When a link begins: an hour before its alert did."""


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("tools", ["newer"], indirect=True)
def test_the_rules_pass_their_own_tests_with_the_newer_version_too(tools: Tools, path: Path, tmp_path: Path) -> None:
    """With Debian's, `make check` does.

    All but the moment that links begin with: from version 3 on the left end of a range is not in it, and an alert that
    goes by a range begins one evaluation sooner or later. `make check` holds the moments, by the version that they are of.
    """
    for folder, files in (("rules", RULE_FILES), ("tests", [path])):
        (tmp_path / folder).mkdir()
        for file in files:
            (tmp_path / folder / file.name).write_text(_SINCE.sub("from=then&to=now", file.read_text()))
    tool(tools.promtool, "test", "rules", str(tmp_path / "tests" / path.name))


def test_alertmanager_accepts_its_configuration(tools: Tools) -> None:
    assert "WARN" not in tool(tools.amtool, "check-config", ROUTES)  # of matchers that only the old parser reads


@pytest.mark.parametrize("name", sorted(rules()))
def test_every_alert_reaches_who_it_is_for(tools: Tools, name: str) -> None:
    """By the labels that the rule gives it; also where a service has a team that is configured."""
    labels = rules()[name]["labels"]
    own = labels.get("team", "").rpartition("{{ else }}")[2].removesuffix("{{ end }}")
    configured = ["dba", "secops", "payments"] if "{{" in labels.get("team", "") else []
    for team in (own, *configured):
        sent = {"alertname": name, "severity": labels["severity"], "service": "vault", "incident": "vault", "team": team}
        assert receivers(tools, **sent) == expected(labels["severity"], team)


@pytest.mark.parametrize("severity", ["critical", "warning", "", "unheard-of"])
@pytest.mark.parametrize("team", ["", "on-call", "dba", "secops"])
def test_an_alert_of_somebody_elses_is_not_lost(tools: Tools, severity: str, team: str) -> None:
    assert receivers(tools, alertname="Odd", severity=severity, team=team) == expected(severity, team)


def test_a_running_prometheus_evaluates_what_is_shipped(tools: Tools, tmp_path: Path) -> None:
    """Beyond what promtool checks: it starts, and no rule ends in an error, as one that matches many to many."""

    class OfThisVersion(PrometheusServer):
        def command(self) -> Iterable[str | Path]:
            _, *arguments = super().command()
            return [tools.prometheus, *arguments]

    server = OfThisVersion(tmp_path, None, "127.0.0.1:1", None, every="1s")
    server.start()
    try:
        until(lambda: "unknown" not in errors(server.address).values(), 10, "every rule evaluated")
        evaluated = errors(server.address)
    finally:
        server.stop()
    assert set(evaluated) == set(rules())
    assert {name: error for name, error in evaluated.items() if error} == {}


def errors(address: str) -> dict[str, str]:
    """Return the last error of every alert's rule; `unknown` before it was evaluated."""
    try:
        with urllib.request.urlopen(f"http://{address}/api/v1/rules?type=alert", timeout=5) as answer:
            groups = json.load(answer)["data"]["groups"]
    except urllib.error.HTTPError:  # it is starting
        return {"": "unknown"}
    found = [rule for group in groups for rule in group["rules"]]
    return {rule["name"]: "unknown" if rule["health"] == "unknown" else rule.get("lastError", "") for rule in found}

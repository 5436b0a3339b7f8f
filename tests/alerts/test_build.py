"""Rules and routes made from entries: as they are committed, and for a user's own names, addresses and intervals."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from exporter.alerts import build, kubernetes, routes, rules
from exporter.alerts.model import Options, duration
from exporter.cli.alerts import alerts as command
from tests.alerts.shipped import ALERTS, ROOT, tool

OWN = (
    "--job", "probes", "--scrape-interval", "30s", "--runbook-url", "https://wiki.test/runbook", "--name", "shop",
    "--grafana-url", "https://grafana.test/", "--dead-mans-switch", "https://switch.test/x",
    "--exporter", "probes:1", "--alertmanager", "am:2", "--namespace", "watch",
)  # fmt: skip


def made(folder: Path, *options: str) -> dict[str, str]:
    """Build, and return every file."""
    done = CliRunner().invoke(command, ["build", "--output", str(folder), *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.y*ml")}


def test_what_is_committed_is_what_the_code_makes() -> None:
    assert build.check(ALERTS) == []
    assert build.render() == build.render()


def test_a_file_that_differs_is_missing_or_that_nothing_makes_is_told(tmp_path: Path) -> None:
    build.write(tmp_path)
    (tmp_path / "prometheus.yml").write_text("x")
    (tmp_path / "alertmanager.yml").unlink()
    (tmp_path / "rules" / "old.yml").write_text("groups: []")
    done = CliRunner().invoke(command, ["build", "--output", str(tmp_path), "--check"])
    assert done.exit_code == 1
    assert [line.rpartition("/")[2] for line in done.output.splitlines()] == [
        "alertmanager.yml: missing",
        "prometheus.yml: out of date",
        "old.yml: no code makes this",
        "run: hafnium-exporter alerts build",
    ]


def test_comments_and_folded_lines_change_nothing_of_what_a_rule_says() -> None:
    for name, groups in rules.files(Options()).items():
        read = yaml.safe_load(build.render()[f"rules/{name}.yml"])["groups"]
        assert [group["rules"] for group in read] == [
            [rules.rule(alert, Options()) for alert in group.alerts] for group in groups
        ]


def test_a_users_own_names_addresses_and_intervals_are_everywhere(tmp_path: Path) -> None:
    files = made(tmp_path, *OWN)
    tool("promtool", "check", "config", str(tmp_path / "prometheus.yml"))
    tool("amtool", "check-config", str(tmp_path / "alertmanager.yml"))
    everything = "\n".join(files.values())
    assert 'job="hafnium-exporter"' not in everything
    assert 'up{job="probes"}' in files["rules/exporter.yml"]
    assert "last_over_time(probe_incident[1m10s])" in files["rules/services.yml"]
    assert "[40s]" not in files["rules/services.yml"]
    assert "https://wiki.test/runbook#servicedown" in files["rules/services.yml"]
    assert "https://grafana.test/d/shop-fleet?" in files["rules/services.yml"]
    assert Options().runbook_url not in everything
    assert Options().grafana_url not in everything
    config = yaml.safe_load(files["prometheus.yml"])
    assert config["global"]["scrape_interval"] == "30s"
    assert config["scrape_configs"] == [{"job_name": "probes", "static_configs": [{"targets": ["probes:1"]}]}]
    assert config["alerting"]["alertmanagers"] == [{"static_configs": [{"targets": ["am:2"]}]}]
    assert yaml.safe_load(files["alertmanager.yml"])["receivers"][-1]["webhook_configs"][0]["url"] == "https://switch.test/x"
    for name in ("prometheusrule", "alertmanagerconfig"):
        metadata = yaml.safe_load(files[f"kubernetes/{name}.yaml"])["metadata"]
        assert (metadata["name"], metadata["namespace"]) == ("shop-exporter", "watch")


def test_alerts_over_probes_that_there_are_none_of_are_left_out_and_teams_get_receivers(tmp_path: Path) -> None:
    config = tmp_path / "exporter.yml"
    config.write_text(
        """
links: {runbook: "https://wiki.test/ops", dashboard: "https://grafana.test/sub/d/hafnium-fleet"}
services:
  web: {instances: ["web:1"], labels: {team: "Web & Shop"}, probes: {tls: {}}}
  api: {instances: ["api:1"], labels: {team: dba}, probes: {tls: {}}}
"""
    )
    files = made(tmp_path / "made", "--config", str(config))
    assert set(files) == {
        "rules/services.yml", "rules/certificates.yml", "rules/exporter.yml", "alertmanager.yml", "prometheus.yml",
        "kubernetes/prometheusrule.yaml", "kubernetes/alertmanagerconfig.yaml",
    }  # fmt: skip
    assert re.findall(r"- alert: (\w+)", files["rules/services.yml"]) == ["ServiceDown", "ServiceFlapping"]
    assert "https://wiki.test/ops#servicedown" in files["rules/services.yml"]
    assert "https://grafana.test/sub/d/" in files["rules/services.yml"]
    given = made(tmp_path / "given", "--config", str(config), "--runbook-url", "https://other.test/book")
    assert "https://other.test/book#servicedown" in given["rules/services.yml"]
    path = tmp_path / "made" / "alertmanager.yml"
    tool("amtool", "check-config", str(path))
    labels = ("alertname=ServiceDown", "severity=critical", "team=Web & Shop")
    routed = tool("amtool", "config", "routes", "test", f"--config.file={path}", *labels).strip()
    assert routed == "pagerduty-critical,pagerduty-web-shop"


def test_the_whole_fleet_of_the_shipped_configuration_has_every_alert_in_a_cluster(tmp_path: Path) -> None:
    text = (ROOT / "config" / "exporter.yml").read_text()
    assert text.count("{actuator: {}}") == 1
    config = tmp_path / "exporter.yml"
    config.write_text(text.replace("{actuator: {}}", "{actuator: {}, kubernetes: {}}"))
    files = made(tmp_path / "made", "--config", str(config))
    assert files == {name: text for name, text in build.render().items() if name in files}
    assert set(files) == set(build.render())


def test_the_operators_objects_say_what_the_files_say() -> None:
    rendered = build.render()
    groups = yaml.safe_load(rendered["kubernetes/prometheusrule.yaml"])["spec"]["groups"]
    files = [yaml.safe_load(text)["groups"] for name, text in rendered.items() if name.startswith("rules/")]
    assert groups == [group for file in files for group in file]
    spec = yaml.safe_load(rendered["kubernetes/alertmanagerconfig.yaml"])["spec"]
    config = yaml.safe_load(rendered["alertmanager.yml"])
    assert [receiver["name"] for receiver in spec["receivers"]] == [receiver["name"] for receiver in config["receivers"]]
    for ours, theirs in zip(config["route"]["routes"], spec["route"]["routes"], strict=True):
        assert [f'{m["name"]} {m["matchType"]} "{m["value"]}"' for m in theirs["matchers"]] == ours["matchers"]
        assert (ours["receiver"], ours.get("continue")) == (theirs["receiver"], theirs.get("continue"))
        assert ours.get("group_by") == theirs.get("groupBy")
    for receiver in spec["receivers"][:-1]:
        (pagerduty,) = receiver["pagerdutyConfigs"]
        assert pagerduty["routingKey"] == {"name": kubernetes.SECRET, "key": receiver["name"]}
        assert pagerduty["description"] == routes.TITLE


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (40, "40s"), (70, "1m10s"), (3600, "1h"), (90061, "1d1h1m1s")])
def test_durations_are_written_as_prometheus_reads_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text

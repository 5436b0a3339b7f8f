"""`runbook check`: what is shipped agrees, and every kind of drift is found, with its place."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from exporter.alerts import build
from exporter.alerts.model import Options
from exporter.cli.runbook import runbook
from exporter.dashboards import build as dashboards
from exporter.dashboards.board import Names
from exporter.runbook import document
from exporter.runbook.check import Files, check
from exporter.runbook.finding import Unusable
from tests.alerts.shipped import ROOT

SHIPPED = Files(
    ROOT / "docs" / "runbook.md", ROOT / "alerts" / "rules", ROOT / "alerts" / "alertmanager.yml",
    ROOT / "alerts" / "prometheus.yml", ROOT / "grafana",
)  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A copy of what is shipped, to be spoilt."""
    shutil.copytree(ROOT / "alerts", tmp_path / "alerts")
    (tmp_path / "grafana").mkdir()
    for path in (ROOT / "grafana").glob("*.json"):
        shutil.copy(path, tmp_path / "grafana")
    shutil.copy(SHIPPED.runbook, tmp_path / "runbook.md")
    alerts = tmp_path / "alerts"
    return Files(
        tmp_path / "runbook.md",
        alerts / "rules",
        alerts / "alertmanager.yml",
        alerts / "prometheus.yml",
        tmp_path / "grafana",
    )


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


def rule_file(files: Files, name: str) -> Path:
    [found] = [path for path in files.rules.glob("*.yml") if f"alert: {name}\n" in path.read_text()]
    return found


def edit_rule(files: Files, name: str, before: str, after: str) -> None:
    """Replace text of one rule."""
    path = rule_file(files, name)
    head, mark, tail = path.read_text().partition(f"alert: {name}\n")
    assert before in tail
    path.write_text(head + mark + tail.replace(before, after, 1))


def board(files: Files, change: Callable[[dict[str, object]], None]) -> None:
    path = files.dashboards / BOARD
    made = json.loads(path.read_text())
    change(made)
    path.write_text(json.dumps(made, indent=2, sort_keys=True))


def told(files: Files) -> list[str]:
    return [str(finding) for finding in check(files)]


def test_what_is_shipped_agrees() -> None:
    assert told(SHIPPED) == []


def test_the_given_runbook_is_kept_whole() -> None:
    """Its table comes first, by exactly its names and severities; what was added comes after it."""
    rows = [(row.name, row.severity) for row in document.read(SHIPPED.runbook).rows][:5]
    assert rows == [
        ("ServiceDown", "critical"), ("HighLatencyP99", "warning"), ("KafkaLagHigh", "warning"),
        ("MemoryPressure", "warning"), ("CertificateExpiring", "warning"),
    ]  # fmt: skip
    headings = [section.title for section in document.read(SHIPPED.runbook).sections]
    assert headings[0] == "Backend Operations Runbook"
    assert headings.index("Emergency Contacts") < headings.index("More Alerts")


@pytest.mark.parametrize("part", ["Means", "Impact", "Run", "Mend"])
def test_every_alert_has_a_section_that_says_what_to_do(part: str) -> None:
    page = document.read(SHIPPED.runbook)
    text = SHIPPED.runbook.read_text()
    for row in page.rows:
        section = text.split(f"\n### {row.name}\n", 1)[1].split("\n### ", 1)[0].split("\n## ", 1)[0]
        assert f"**{part}**" in section, row.name
        if part == "Run":
            assert re.search(r"```bash\n(?:.*\n)*?(?!#)\S.*\n", section), row.name


def test_links_within_the_runbook_lead_somewhere() -> None:
    anchors = document.read(SHIPPED.runbook).anchors
    assert set(re.findall(r"\]\(#([\w-]+)\)", SHIPPED.runbook.read_text())) <= anchors


BOARD = "hafnium-redis.json"
TABLE = "| ServiceDown | Critical |"
DRIFTS: dict[str, tuple[Callable[[Files], object], str, str]] = {
    "the table has an alert that no rule makes": (
        lambda f: edit(f.runbook, TABLE, "| ServiceGone | Critical | x |\n" + TABLE),
        r"runbook\.md:156: ServiceGone: no rule has that name", "",
    ),
    "the table has another severity": (
        lambda f: edit(f.runbook, TABLE, "| ServiceDown | Warning |"),
        r"runbook\.md:156: ServiceDown: the table says warning, the rule at .*services\.yml:\d+ critical", "",
    ),
    "an alert is in two rows": (
        lambda f: edit(f.runbook, TABLE, TABLE + " x |\n" + TABLE),
        r"runbook\.md:156: ServiceDown: is in a table more than once", "",
    ),
    "a rule is in no table": (
        lambda f: edit(f.runbook, "| [RedisMemoryHigh](#redismemoryhigh) | Warning |", "not in a table any more |"),
        r"redis\.yml:\d+: RedisMemoryHigh: is in no table of .*runbook\.md", "",
    ),
    "a section is gone": (
        lambda f: edit(f.runbook, "### RedisMemoryHigh", "### Redis and its memory"),
        r"redis\.yml:\d+: RedisMemoryHigh: .*runbook\.md has no section #redismemoryhigh, to which runbook_url leads", "",
    ),
    "a section is of an alert that no rule makes": (
        lambda f: edit(f.runbook, "### RedisMemoryHigh", "### RedisTooOld\n\nOld.\n\n### RedisMemoryHigh"),
        r"runbook\.md:\d+: RedisTooOld: a section of an alert that no rule makes", "",
    ),
    "a section that causes lead to is gone": (
        lambda f: edit(f.runbook, "### High Latency", "### Latency"),
        r"runbook\.md:1: has no section #high-latency, to which causes lead: pool_exhausted", "",
    ),
    "the address of the runbook is relative": (
        lambda f: edit_rule(f, "ServiceDown", "runbook_url: https://runbooks.hafnium.example/", "runbook_url: docs/"),
        r"services\.yml:\d+: ServiceDown: runbook_url is no absolute address: 'docs/runbook\.md#servicedown'", "",
    ),
    "there is no address of the runbook": (
        lambda f: edit_rule(f, "ServiceDown", "runbook_url:", "runbook:"),
        r"services\.yml:\d+: ServiceDown: has no runbook_url", "",
    ),
    "a rule has another name": (
        lambda f: edit(rule_file(f, "ServiceDown"), "alert: ServiceDown\n", "alert: ServiceIsDown\n"),
        r"runbook\.md:156: ServiceDown: no rule has that name", r"ServiceIsDown: is in no table",
    ),
    "a rule is there twice": (
        lambda f: shutil.copy(rule_file(f, "CertificateExpired"), f.rules / "more.yml"),
        r"more\.yml:\d+: CertificateExpired: is defined already at .*certificates\.yml:\d+", "",
    ),
    "a receiver is gone": (
        lambda f: edit(f.alertmanager, "- name: pagerduty-dba", "- name: pagerduty-dbas"),
        r"alertmanager\.yml:\d+: there is no receiver 'pagerduty-dba'",
        r"alertmanager\.yml:\d+: no route leads to the receiver 'pagerduty-dbas'",
    ),
    "critical alerts have lost their route": (
        lambda f: edit(f.alertmanager, "- severity = \"critical\"", "- severity = \"fatal\""),
        r"services\.yml:\d+: ServiceDown: is critical and reaches only what warnings reach too: pagerduty-warning", "",
    ),
    "critical alerts are only written down": (
        lambda f: edit(f.alertmanager, "pagerduty_configs:", "webhook_configs:"),
        r"ServiceDown: is critical and reaches pagerduty-critical, which pages nobody", "",
    ),
    "a receiver tells nobody": (
        lambda f: edit(f.alertmanager, "webhook_configs:", "nothing:"),
        r"Watchdog: reaches watchdog, and that tells nobody \(.*alertmanager\.yml:\d+\)", "",
    ),
    "a route is for an alert that is not": (
        lambda f: edit(f.alertmanager, 'alertname = "Watchdog"', 'alertname =~ "Watchdog|Watchcat"'),
        r"alertmanager\.yml:\d+: a route is for Watchcat, and no rule has that name", "",
    ),
    "a panel is gone": (
        lambda f: board(f, lambda made: made.update(panels=[p for p in made["panels"] if p["id"] != 87])),  # type: ignore[attr-defined]
        r"redis\.yml:\d+: RedisMemoryHigh: .*hafnium-redis\.json has no panel 87", "",
    ),
    "a panel shows another thing": (
        lambda f: edit_rule(f, "RedisMemoryHigh", "viewPanel=87", "viewPanel=91"),
        r"RedisMemoryHigh: panel 91 \(Redis replicas\) of .*hafnium-redis\.json shows nothing that it asks for", "",
    ),
    "the dashboard has another uid": (
        lambda f: board(f, lambda made: made.update(uid="other")),
        r"RedisMemoryHigh: there is no dashboard hafnium-redis", "",
    ),
    "the address of the dashboard is relative": (
        lambda f: edit_rule(f, "ServiceDown", "http://grafana:3000/d/hafnium-fleet", "/d/hafnium-fleet"),
        r"ServiceDown: dashboard is no absolute address of one", "",
    ),
    "a panel asks for what nothing exports": (
        lambda f: edit(f.dashboards / BOARD, "probe_redis_rejected_connections_total", "probe_redis_rejected"),
        r"hafnium-redis\.json:\d+: panel 36 \(Redis evictions and refusals\): nothing exports probe_redis_rejected", "",
    ),
    "a rule asks for what nothing exports": (
        lambda f: edit_rule(f, "ServiceDown", "probe_service_up", "probe_service_ok"),
        r"services\.yml:\d+: ServiceDown: nothing exports probe_service_ok", "",
    ),
    "a rule matches on a label that is not": (
        lambda f: edit_rule(f, "MemoryPressure", 'area="heap"', 'arena="heap"'),
        r"MemoryPressure: probe_jvm_memory_\w+_bytes has no label arena", "",
    ),
    "a template asks for what nothing exports": (
        lambda f: edit_rule(f, "ServiceDown", "probe_suspected_cause{", "probe_suspected_reason{"),
        r"ServiceDown: \w+: nothing exports probe_suspected_reason", "",
    ),
    "a template takes a label that the alert has not": (
        lambda f: edit_rule(f, "MemoryPressure", "{{ $labels.service }}", "{{ $labels.servce }}"),
        r"MemoryPressure: \w+: the alert has no label servce", "",
    ),
    "Prometheus does not load a file of rules": (
        lambda f: edit(f.prometheus, "rules/*.yml", "rules/s*.yml"),
        r"data\.yml:1: .*prometheus\.yml does not load these rules", "",
    ),
    "Prometheus scrapes the job by another name": (
        lambda f: edit(f.prometheus, "job_name: hafnium-exporter", "job_name: exporter"),
        r"ExporterDown: selects the job 'hafnium-exporter', which .*prometheus\.yml does not scrape", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DRIFTS)
def test_drift_is_found_with_its_place(files: Files, name: str) -> None:
    spoil, first, second = DRIFTS[name]
    assert told(files) == []
    spoil(files)
    found = told(files)
    assert any(re.search(first, line) for line in found), found
    assert any(re.search(second, line) for line in found), found
    assert all(re.match(r"/\S+:\d+: \S", line) for line in found)
    assert found == sorted(set(found), key=lambda line: (line.split(":")[0], int(line.split(":")[1]), line))


def test_what_a_user_builds_for_names_of_their_own_agrees_with_a_runbook_of_their_own(files: Files, tmp_path: Path) -> None:
    """A page with one table and a section for each alert, under headings of its own."""
    options = Options(
        name="acme", job="probes", scrape_interval=30.0, runbook_url="https://wiki.acme.example/ops", teams=("web",)
    )
    build.write(tmp_path / "own", options)
    dashboards.write(tmp_path / "boards", Names(fleet="acme", runbook_url=options.runbook_url))
    own = tmp_path / "own"
    kept = document.read(files.runbook).rows
    rows = "\n".join(f"| **{row.name}** | {row.severity.upper()} |" for row in kept)
    causes = "\n".join(f"## {title}\n" for title in (
        "Service Won't Start", "High Latency", "Kafka Consumer Lag", "Connection Issues", "Horizontal Pod Autoscaler",
        "Service Restart", "Kubernetes",
    ))  # fmt: skip
    sections = "\n".join(f"#### {row.name}\n" for row in kept)
    (tmp_path / "ops.md").write_text(
        f"# Ops\n{causes}\n## PagerDuty\n\n## Alerts\n\n|Alert|Severity|\n|:-|-|\n{rows}\n\n{sections}"
    )
    found = check(replace(files, runbook=tmp_path / "ops.md", rules=own / "rules", alertmanager=own / "alertmanager.yml",
                          prometheus=own / "prometheus.yml", dashboards=tmp_path / "boards"))  # fmt: skip
    assert [str(finding) for finding in found] == []


def test_a_runbook_without_a_table_is_one_finding_and_code_is_not_read_as_headings(files: Files, tmp_path: Path) -> None:
    page = tmp_path / "empty.md"
    page.write_text("# Alerts\n\n```bash\n### NoSuchAlert\n| Alert | Severity |\n```\n")
    found = [finding for finding in check(replace(files, runbook=page)) if finding.path == page]
    assert any("has no table of alerts" in finding.text for finding in found)
    assert not any("NoSuchAlert" in finding.text for finding in found)


def test_labels_of_a_configuration_are_known(files: Files, tmp_path: Path) -> None:
    edit_rule(files, "ServiceDown", "probe_service_up[", 'probe_service_up{area="north"}[')
    assert any("has no label area" in line for line in told(files))
    assert check(files, {"tier", "team", "area"}) == []


@pytest.mark.parametrize("option", ["--runbook", "--rules", "--alertmanager", "--prometheus", "--dashboards"])
def test_a_file_that_is_not_there_is_bad_usage(option: str, tmp_path: Path) -> None:
    arguments = {
        "--runbook": SHIPPED.runbook, "--rules": SHIPPED.rules, "--alertmanager": SHIPPED.alertmanager,
        "--prometheus": SHIPPED.prometheus, "--dashboards": SHIPPED.dashboards,
    } | {option: tmp_path / "none"}  # fmt: skip
    done = CliRunner().invoke(runbook, ["check", *(str(part) for pair in arguments.items() for part in pair)])
    assert done.exit_code == 1  # of click alone; the command line makes it 3
    assert str(tmp_path / "none") in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_says_ok_or_lists_findings_and_exits_1(files: Files, tmp_path: Path) -> None:
    arguments = [
        "check",
        "--runbook",
        str(files.runbook),
        "--rules",
        str(files.rules),
        "--dashboards",
        str(files.dashboards),
    ]
    arguments += ["--alertmanager", str(files.alertmanager), "--prometheus", str(files.prometheus)]
    done = CliRunner().invoke(runbook, arguments)
    assert (done.exit_code, done.stdout) == (0, "ok: runbook, rules, routes, dashboards and metrics agree\n")
    edit(files.runbook, TABLE, "| ServiceDown | Warning |")
    config = tmp_path / "exporter.yml"
    config.write_text(yaml.safe_dump({"services": {"a": {"instances": ["a:1"], "probes": {"tls": {}}}}}))
    done = CliRunner().invoke(runbook, [*arguments, "--config", str(config)])
    assert done.exit_code == 1
    assert done.stdout.startswith(f"{files.runbook}:156: ServiceDown: the table says warning")
    assert done.stderr == "1 finding\n"


def test_hostile_files_are_told(files: Files) -> None:
    (files.dashboards / "bad.json").write_text("{")
    with pytest.raises(Unusable, match=r"bad\.json: is not JSON"):
        check(files)
    (files.dashboards / "bad.json").write_text("[]")
    with pytest.raises(Unusable, match="expected an object"):
        check(files)
    (files.dashboards / "bad.json").unlink()
    (files.rules / "bad.yml").write_text("groups: {}\n---\n")
    with pytest.raises(Unusable, match=r"bad\.yml"):
        check(files)
    (files.rules / "bad.yml").write_text("groups: [{rules: [a]}]")
    with pytest.raises(Unusable, match=r"bad\.yml:1: rules: expected a list of mappings"):
        check(files)

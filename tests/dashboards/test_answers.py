"""What panels show at moments when they could mislead, by Prometheus' own engine over series that are written down here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.alerts.shipped import tool
from tests.dashboards.shipped import substituted, targets

EXPORTER = 'job="hafnium-exporter", instance="a"'
OTHER = 'job="hafnium-exporter", instance="b"'
STRANGER = 'job="node", instance="n"'
COUNTS = [
    name
    for name, (_, panel, target) in targets().items()
    if panel["type"] in ("stat", "timeseries") and " or on () " in target["expr"]
]
"""Queries that say 0 where there is nothing to count."""


def asked(path: Path, series: dict[str, str], expected: dict[str, list[tuple[str, float]]], at: str = "10m") -> None:
    """Ask the queries of targets, and compare their answers.

    Args:
        path: Folder for promtool's file.
        series: Values of series, a minute apart.
        expected: Labels and value of each series, by the name of a target.
        at: When it is asked.
    """
    tests: list[dict[str, Any]] = [
        {
            "expr": substituted(targets()[name][2]["expr"], shown=600, window="4m"),
            "eval_time": at,
            "exp_samples": [{"labels": labels, "value": value} for labels, value in samples],
        }
        for name, samples in expected.items()
    ]
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    file = path / "answers.yml"
    case = {"interval": "1m", "input_series": inputs, "promql_expr_test": tests}
    file.write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [case]}))
    tool("promtool", "test", "rules", str(file))


def test_nothing_is_down_is_said_only_while_it_is_known(tmp_path: Path) -> None:
    """The exporter is gone: a 0 in the colour of good would say that all is well."""
    gone = {f'probe_service_up{{{EXPORTER}, service="case"}}': "1+0x5 stale"}
    asked(tmp_path, gone, {name: [] for name in COUNTS})


@pytest.mark.parametrize("name", COUNTS)
def test_nothing_to_count_is_a_zero_while_services_are_watched(name: str, tmp_path: Path) -> None:
    _, panel, target = targets()[name]
    label = target["legendFormat"].split("}}")[0].removeprefix("{{")
    series = {f'probe_service_up{{{EXPORTER}, service="case"}}': "1+0x20"}
    asked(
        tmp_path,
        series,
        {name: [("{}" if panel["type"] == "stat" else f'{{{label}="none"}}', float(panel["title"] == "Up"))]},
    )


def test_two_exporters_of_one_service_count_once(tmp_path: Path) -> None:
    series: dict[str, str] = {}
    for exporter in (EXPORTER, OTHER):
        series |= {
            f'probe_http_server_requests_total{{{exporter}, service="case", target="t", outcome="SUCCESS"}}': "0+120x20",
            f'probe_postgres_connections{{{exporter}, service="db", target="t", state="active"}}': "40+0x20",
            f'probe_postgres_usable_connections{{{exporter}, service="db", target="t"}}': "50+0x20",
            f'probe_outages_total{{{exporter}, service="case", probe="actuator", target="t"}}': "0 0 0 1+0x20",
            f'probe_unknown{{{exporter}, service="case", probe="actuator", target="t", reason="auth"}}': "1+0x20",
            f'probe_service_up{{{exporter}, service="case"}}': "0+0x20",
        }
    asked(tmp_path, series, {
        "service 10A": [('{service="case"}', 2)],
        "postgres 85A": [('{service="db"}', 0.8)],
        "postgres 31A": [('{service="db", state="active"}', 40)],
        "incidents 311A": [('{service="case"}', 1)],
        "exporter 68A": [('{reason="auth"}', 1)],
        "fleet 3A": [("{}", 1)],
    })  # fmt: skip


def test_a_service_that_one_of_two_exporters_reaches_is_not_down(tmp_path: Path) -> None:
    """The other is cut off: the alerts do not fire, and no board says that everything is down."""
    series = {
        f'probe_service_up{{{EXPORTER}, service="case"}}': "1+0x20",
        f'probe_service_up{{{OTHER}, service="case"}}': "0+0x20",
        f'probe_incident{{{OTHER}, service="case", incident="case"}}': "1+0x20",
        f'probe_service_verdict_since_timestamp_seconds{{{OTHER}, service="case"}}': "60+0x20",
        f'probe_service_up{{{EXPORTER}, service="vault"}}': "1+0x20",
        f'probe_service_unknown{{{OTHER}, service="vault", reason="auth"}}': "1+0x20",
        f'probe_success{{{EXPORTER}, service="case", probe="actuator", target="t"}}': "1+0x20",
        f'probe_success{{{OTHER}, service="case", probe="actuator", target="t"}}': "0+0x20",
    }
    none = [("{}", 0.0)]
    asked(tmp_path, series, {
        **{f"fleet {panel}": none for panel in ("3A", "4A", "5A", "9A")},
        "fleet 2A": [("{}", 2)],
        "fleet 300A": [],
        "fleet 1A": [('{service="case"}', 1), ('{service="vault"}', 1)],
        "incidents 312A": [],
        "slo 326A": [('{service="case"}', 1), ('{service="vault"}', 1)],
    })  # fmt: skip


def test_the_exporter_is_what_the_board_about_it_shows_and_no_other_process(tmp_path: Path) -> None:
    """All jobs are chosen, and the exporter is down: what was there before is told, and the node beside it is not."""
    series = {
        f"probe_exporter_build{{{EXPORTER}}}": "1+0x5 stale",
        f"up{{{EXPORTER}}}": "1+0x5 0+0x20",
        f"up{{{STRANGER}}}": "1+0x20",
        f"process_resident_memory_bytes{{{STRANGER}}}": "5+0x20",
        f"process_cpu_seconds_total{{{STRANGER}}}": "0+5x20",
        f"process_open_fds{{{STRANGER}}}": "5+0x20",
        f"process_max_fds{{{STRANGER}}}": "5+0x20",
        f"process_start_time_seconds{{{STRANGER}}}": "5+1x20",
    }
    panels = ("65A", "66A", "67A", "291A")
    asked(tmp_path, series, {"exporter 60A": [('{instance="a"}', 0)], **{f"exporter {panel}": [] for panel in panels}})


def test_what_was_not_up_all_the_time_comes_first(tmp_path: Path) -> None:
    series = {
        f'probe_service_up{{{EXPORTER}, service="broken"}}': "1+0x4 0 0 1+0x20",
        f'probe_service_up{{{EXPORTER}, service="fine"}}': "1+0x20",
        f'probe_service_unknown{{{EXPORTER}, service="unknown", reason="auth"}}': "1+0x20",
    }
    first, then = [('{service="broken"}', 1.0), ('{service="unknown"}', 2.0)], [('{service="fine"}', 1.0)]
    asked(tmp_path, series, {"fleet 1A": first, "fleet 1B": then})

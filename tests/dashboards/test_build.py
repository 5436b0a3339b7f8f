"""Dashboards as files: the same code gives the same bytes, and drift is found and named."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from exporter.cli.dashboards import dashboards
from exporter.dashboards.build import check, render, write
from tests.alerts.shipped import ROOT

FILES = [
    f"hafnium-{board}.json"
    for board in (
        "fleet", "service", "postgres", "redis", "kafka", "kubernetes", "certificates", "slo", "incidents", "exporter",
    )
]  # fmt: skip
MISSING = "".join(f"{{folder}}/{name}: missing\n" for name in FILES)


def test_the_same_code_gives_the_same_bytes() -> None:
    assert render() == render()


def test_the_committed_files_are_what_the_code_makes() -> None:
    assert check(ROOT / "grafana") == []


def test_drift_is_named_and_writing_ends_it(tmp_path: Path) -> None:
    assert check(tmp_path) == MISSING.format(folder=tmp_path).splitlines()
    write(tmp_path)
    assert check(tmp_path) == []
    (tmp_path / "hafnium-fleet.json").write_text("{}")
    (tmp_path / "forgotten.json").write_text("{}")
    assert check(tmp_path) == [
        f"{tmp_path}/hafnium-fleet.json: out of date",
        f"{tmp_path}/forgotten.json: no code makes this",
    ]


def test_build_writes_into_a_new_folder_and_says_what(tmp_path: Path) -> None:
    out = tmp_path / "new" / "grafana"
    result = CliRunner().invoke(dashboards, ["build", "--out", str(out)])
    assert (result.exit_code, result.stdout) == (0, "".join(f"wrote {out}/{name}\n" for name in FILES))
    assert check(out) == []


def test_build_check_writes_nothing_and_exits_1_on_drift(tmp_path: Path) -> None:
    result = CliRunner().invoke(dashboards, ["build", "--check", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stderr == MISSING.format(folder=tmp_path) + "run: hafnium-exporter dashboards build\n"
    assert list(tmp_path.iterdir()) == []


def test_build_check_is_silent_where_nothing_differs(tmp_path: Path) -> None:
    write(tmp_path)
    result = CliRunner().invoke(dashboards, ["build", "--check", "--out", str(tmp_path)])
    assert (result.exit_code, result.output) == (0, "")


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(dashboards, ["build", "--out", str(tmp_path / "file" / "grafana")])
    assert result.exit_code == 1
    assert result.stderr == f"Error: cannot write {tmp_path}/file/grafana: Not a directory\n"


CONFIG = """
links: {runbook: "https://wiki.test/ops"}
services:
  web: {instances: ["web:1"], probes: {tls: {}}}
"""


def test_a_fleet_of_another_name_has_its_own_addresses_titles_and_links(tmp_path: Path) -> None:
    config = tmp_path / "exporter.yml"
    config.write_text(CONFIG)
    out = tmp_path / "grafana"
    result = CliRunner().invoke(
        dashboards, ["build", "--out", str(out), "--name", "shop", "--config", str(config), "--runbook-url", ""]
    )
    assert result.exit_code == 0, result.output
    boards = {path.name: path.read_text() for path in out.glob("*.json")}
    assert set(boards) == {
        "shop-fleet.json", "shop-service.json", "shop-certificates.json", "shop-incidents.json", "shop-exporter.json",
    }  # fmt: skip
    everything = "".join(boards.values())
    assert "hafnium" not in everything.lower()
    assert "/d/shop-service?" in boards["shop-fleet.json"]
    assert '"title": "Shop fleet"' in boards["shop-fleet.json"]
    assert "https://wiki.test/ops" in boards["shop-fleet.json"]

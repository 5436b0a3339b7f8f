"""docs/upgrading.md: what is promised to stay is there, and is what it is said to be."""

from __future__ import annotations

import json
import re
import tomllib

import pytest
import yaml

from exporter.alerts.reference import reference
from exporter.cli.check import check
from exporter.cli.main import BAD_USAGE
from exporter.config.models import Config
from exporter.engine.views import FleetView, ServiceView
from exporter.metrics.core import CORE
from exporter.web.api import ErrorView, IncidentsView, TargetsView
from exporter.web.endpoints import ENDPOINTS
from exporter.web.openapi import document
from tests.house.copies import ROOT
from tests.house.pages import command_of, options, read

PAGE = read("docs/upgrading.md")
FAMILIES = {family.name: family for family in CORE}


def rows(head: str) -> list[list[str]]:
    """Return the rows of the table with this first column."""
    table = PAGE.partition(f"| {head} |")[2].partition("\n\n")[0].splitlines()[2:]
    assert table
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table]


@pytest.mark.parametrize(("command", "stays"), rows("command"))
def test_commands(command: str, stays: str) -> None:
    words = command.strip("`").split()
    assert words[0] == "hafnium-exporter"
    found, _ = command_of([word for word in words[1:] if word.islower()])
    named = re.findall(r"(--[a-z.-]+)", f"{command} {stays}")
    assert set(named) <= options(found) | {"--output"}


def test_exit_codes() -> None:
    """What each comes of, tests/cli tells."""
    assert BAD_USAGE == 3
    assert "0 ok, 1 degraded, 2 something is down, 3 unknown or bad usage" in " ".join(str(check.help).split())
    assert "exit code 0 ok, 1 degraded, 2 down, 3 unknown or bad usage" in PAGE


def test_endpoints() -> None:
    served = {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}
    promised = [cell.strip("`").removeprefix("POST ").partition("?")[0] for cell, _ in rows("endpoint")]
    methods = ["POST" if cell.startswith("`POST") else "GET" for cell, _ in rows("endpoint")]
    assert set(zip(methods, promised, strict=True)) <= served
    api = json.loads(
        document(fleet=FleetView, service=ServiceView, targets=TargetsView, incidents=IncidentsView, error=ErrorView)
    )
    assert {path for path in promised if path.startswith("/api/")} == {
        path for path in api["paths"] if path.startswith("/api/")
    }


@pytest.mark.parametrize(("metric", "kind", "labels"), rows("metric"))
def test_metrics(metric: str, kind: str, labels: str) -> None:
    family = FAMILIES[metric.strip("`")]
    assert family.kind.value == kind
    assert tuple(re.findall(r"`(\w+)`", labels)) == family.labels


def test_sections_of_the_configuration() -> None:
    (promised,) = re.findall(r"the sections (.*?), and every key", " ".join(PAGE.split()))
    assert re.findall(r"`(\w+)`", promised) == list(Config.model_fields)


def test_least_versions() -> None:
    least = {program: version for program, version, _ in rows("program")}
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert project["requires-python"] == f">={least['Python']}"
    assert f"Prometheus {least['Prometheus']} or later" in reference()
    assert f"Alertmanager {least['Alertmanager']} or later" in reference()
    assert f"Prometheus {least['Prometheus']} and Alertmanager {least['Alertmanager']}" in read("tests/alerts/tools.py")
    chart = yaml.safe_load(read("deploy/helm/hafnium-exporter/Chart.yaml"))
    assert chart["kubeVersion"] == f">={least['Kubernetes']}.0-0"
    assert (ROOT / "tests" / "boot_applications" / f"boot-{least['Spring Boot']}").is_dir()

"""The compose file, as far as it can be held without Docker: what it mounts is there, and names, ports and paths agree."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from click.testing import CliRunner

from exporter.cli.demo import demo
from tests.alerts.shipped import ROOT, tool

FOLDER = ROOT / "deploy" / "compose"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
MOUNTS = [
    (name, FOLDER / mount.split(":")[0], mount.split(":")[1], mount.split(":")[2])
    for name, service in SERVICES.items()
    for mount in service.get("volumes", ())
]


def mounted(service: str, path: str) -> Path:
    """Return what a service finds at a path."""
    for name, source, target, _ in MOUNTS:
        if name == service and (path == target or path.startswith(f"{target}/")):
            return Path(f"{source}{path.removeprefix(target)}")
    raise AssertionError(f"{service} has nothing at {path}")


def test_services_have_what_compose_knows_and_images_are_pinned() -> None:
    known = {
        "build", "image", "init", "ports", "extra_hosts", "network_mode", "depends_on", "volumes", "environment",
    }  # fmt: skip
    for name, service in SERVICES.items():
        assert set(service) <= known
        assert ("build" in service) != ("image" in service)
        if "image" in service:
            assert re.fullmatch(r"[\w/-]+:v?\d+\.\d+\.\d+", service["image"])
        assert set(service.get("depends_on", ())) <= set(SERVICES) - {name}


@pytest.mark.parametrize("mount", MOUNTS, ids=lambda mount: f"{mount[0]} {mount[2]}")
def test_what_is_mounted_is_there_and_read_only(mount: tuple[str, Path, str, str]) -> None:
    _, source, _, mode = mount
    assert source.exists()
    assert mode == "ro"


def test_all_share_one_network_so_that_ports_are_published_once_and_on_the_loopback_alone() -> None:
    owner = SERVICES["fleet"]
    for name, service in SERVICES.items():
        if name != "fleet":
            assert service["network_mode"] == "service:fleet"
            assert not {"ports", "extra_hosts"} & set(service)
    published = [port.split(":") for port in owner["ports"]]
    assert {address for address, _, _ in published} == {"127.0.0.1"}
    assert all(outside == inside for _, outside, inside in published)


def test_names_and_ports_by_which_shipped_configurations_know_each_other_lead_here() -> None:
    prometheus = yaml.safe_load(mounted("prometheus", "/etc/prometheus/prometheus.yml").read_text())
    [source] = yaml.safe_load(mounted("grafana", "/etc/grafana/provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    [[scraped], [alertmanager]] = (
        prometheus["scrape_configs"][0]["static_configs"][0]["targets"],
        prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"],
    )
    addresses = {scraped, alertmanager, urlsplit(source["url"]).netloc}
    rules = "".join(path.read_text() for path in mounted("prometheus", "/etc/prometheus/rules").glob("*.yml"))
    addresses |= set(re.findall(r"http://(grafana:\d+)/d/", rules))
    assert len(addresses) == 4
    hosts = dict(entry.split(":") for entry in SERVICES["fleet"]["extra_hosts"])
    assert {address.split(":")[0] for address in addresses} == set(hosts)
    assert set(hosts.values()) == {"127.0.0.1"}
    assert {address.split(":")[1] for address in addresses} == {port.split(":")[1] for port in SERVICES["fleet"]["ports"]}


def test_prometheus_and_alertmanager_take_what_they_find(tmp_path: Path) -> None:
    for name, source, target, _ in MOUNTS:
        if name == "prometheus":
            path = tmp_path / target.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy)(source, path)
    assert "rule files found" in tool("promtool", "check", "config", str(tmp_path / "etc/prometheus/prometheus.yml"))
    path = mounted("alertmanager", "/etc/alertmanager/alertmanager.yml")
    tool("amtool", "check-config", str(path))
    for key in re.findall(r"routing_key_file: (\S+)", path.read_text()):
        assert mounted("alertmanager", key).parent == FOLDER / "secrets"


def test_grafana_finds_the_dashboards_where_its_provisioning_looks() -> None:
    path = mounted("grafana", "/etc/grafana/provisioning/dashboards/hafnium.yml")
    [provider] = yaml.safe_load(path.read_text())["providers"]
    folder = mounted("grafana", provider["options"]["path"])
    assert folder.resolve() == ROOT / "grafana"
    assert list(folder.glob("*.json"))
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert mounted("grafana", home).is_file()


def test_the_image_of_the_demo_copies_what_there_is_and_what_is_not_ignored() -> None:
    build = SERVICES["fleet"]["build"]
    assert (FOLDER / build["context"]).resolve() == ROOT
    text = (ROOT / build["dockerfile"]).read_text()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE):
        for name in line.split():
            assert (ROOT / name).exists()
            assert f"!{name}" in ignored
    entry = re.search(r"^ENTRYPOINT \[(.*)\]$", text, re.MULTILINE)
    assert entry is not None
    words = re.findall(r'"([^"]*)"', entry[1])
    assert words[:2] == ["hafnium-exporter", "demo"]
    done = CliRunner().invoke(demo, [*words[2:], "--list-faults"])
    assert done.exit_code == 0, done.output

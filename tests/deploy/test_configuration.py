"""The configurations in deploy/ are config/exporter.yml's, and valid."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from exporter.config.loader import load
from exporter.deployment.configuration import Mode, in_cluster, sharing
from tests.deploy.rendering import DEPLOY

ENVIRONMENT = {"NAMESPACE": "hafnium", "SHARDS": "2"}
TEXT = (DEPLOY.parent / "config" / "exporter.yml").read_text()


@pytest.mark.parametrize("mode", [Mode.LEADER, Mode.SHARDS])
def test_what_a_mode_adds_is_valid(tmp_path: Path, mode: Mode) -> None:
    file = tmp_path / "exporter.yml"
    file.write_text(in_cluster(TEXT) + sharing(mode))
    found = load(file, ENVIRONMENT).sharing
    assert found is not None
    if mode is Mode.SHARDS:
        assert found.shards is not None
        assert (found.shards.count, found.shards.index) == (2, "ordinal")
    else:
        assert found.lease is not None
        assert found.lease.name == "hafnium-exporter"
        assert found.lease.peers is not None
        assert found.lease.peers.dns == "hafnium-exporter-peers.hafnium.svc"


@pytest.mark.parametrize("file", sorted(DEPLOY.glob("**/exporter.yml")), ids=lambda file: str(file.relative_to(DEPLOY)))
def test_each_is_valid(file: Path) -> None:
    config = load(file, ENVIRONMENT)
    assert all(set(service.probe_settings) == {"actuator", "kubernetes"} for service in config.services.values())


def test_the_one_for_a_cluster_has_everything_of_the_other() -> None:
    plain, made = yaml.safe_load(TEXT), yaml.safe_load(in_cluster(TEXT))
    assert made.pop("kubernetes") == {}
    assert made.keys() == plain.keys()
    assert made["defaults"]["probes"].pop("kubernetes") == {"skip": ["nodes"]}
    assert made["defaults"] == plain["defaults"]
    assert made["dependencies"] == plain["dependencies"]
    for name, service in plain["services"].items():
        port = service["instances"]["port"]
        assert made["services"][name]["instances"] == {
            "kubernetes": {"selector": f"app={name}-service,tier=backend", "port": port}
        }
        assert made["services"][name]["probes"] == {"actuator": {}, "kubernetes": {}}
        for key in ("labels", "depends_on"):
            assert made["services"][name][key] == service[key]


def test_a_configuration_that_is_another_is_not_changed_by_halves() -> None:
    with pytest.raises(ValueError, match="has 7 of"):
        in_cluster(TEXT.replace('dns: "case-service.', 'dns: "file-service-2.'))

"""Configured labels: no name can be written twice in one series, whatever is configured."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from exporter.config.document import parse_document
from exporter.config.errors import ConfigError
from exporter.config.loader import validate
from exporter.config.schema import json_schema
from exporter.metrics.core import CORE
from exporter.probes import probe_types
from tests.app.daemon import Daemon
from tests.cli.test_config import run

FAMILIES = [*CORE, *(family for probe in probe_types().values() for family in probe.metrics)]
OF_FAMILIES = {label for family in FAMILIES for label in (*family.owner_labels, *family.labels)}
TAKEN = sorted(
    OF_FAMILIES | {"job", "instance", "le", "quantile"} | {"pod", "node", "zone", "revision", "namespace", "incident"}
)
EVERYWHERE = """\
defaults:
  probes:
    tls:
      labels: {NAME: x}
    redis:
      labels:
        tier: x
        NAME: x
dependencies:
  cache:
    instances: [c:1]
    labels:
      NAME: x
    probes:
      redis: {labels: {tier: y, NAME: x}}
services:
  orders:
    instances: [a:1]
    labels: {NAME: x}
    probes:
      tls:
      actuator:
        labels:
          NAME: x
"""


@pytest.mark.parametrize("name", TAKEN)
def test_a_name_of_any_family_is_refused_wherever_labels_are_written(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "exporter.yml"
    path.write_text(EVERYWHERE.replace("NAME", name))
    code, out, err = run(capsys, "config", "validate", "--config", str(path))
    why = f"{name!r} is a label that the exporter or Prometheus sets; choose another name"
    assert (code, out) == (3, "")
    assert err.splitlines() == [
        f"{path}:4:16: defaults.probes.tls.labels.{name}: {why}",
        f"{path}:8:9: defaults.probes.redis.labels.{name}: {why}",
        f"{path}:13:7: dependencies.cache.labels.{name}: {why}",
        f"{path}:15:33: dependencies.cache.probes.redis.labels.{name}: {why}",
        f"{path}:19:14: services.orders.labels.{name}: {why}",
        f"{path}:24:11: services.orders.probes.actuator.labels.{name}: {why}",
    ]


@pytest.mark.parametrize("name", ["tier", "team", "env", "region", "cluster", "owner"])
def test_what_people_call_their_labels_is_free(name: str) -> None:
    validate(
        parse_document(EVERYWHERE.replace("tier: x", "x: x").replace("tier: y, ", "").replace("NAME", name), "x.yml", {})
    )


def test_the_schema_warns_of_them_in_the_editor() -> None:
    """What an editor underlines is what the loader refuses."""
    schema = json_schema()
    for model in ("DependencySettings", "ServiceSettings", "ActuatorSettings", "RedisSettings"):
        assert schema["$defs"][model]["properties"]["labels"]["propertyNames"] == {"$ref": "#/$defs/LabelName"}
    for name, valid in {"tier": True, "area": False, "job": False, "__x": False, "a-b": False}.items():
        member = {"instances": ["a:1"], "labels": {name: "x"}, "probes": {"tls": {"labels": {name: "x"}}}}
        errors = list(jsonschema.Draft202012Validator(schema).iter_errors({"services": {"a": member}}))
        assert len(errors) == (0 if valid else 2)


@pytest.mark.parametrize("name", ["0tier", "__name__", "a-b", "a b", "", "ü", "a.b"])
def test_what_is_no_label_name_is_refused(name: str) -> None:
    text = yaml.safe_dump({"services": {"a": {"instances": ["a:1"], "labels": {name: "x"}, "probes": {"tls": {}}}}})
    with pytest.raises(ConfigError, match="expected a label name: letters, digits and _"):
        validate(parse_document(text, "exporter.yml", {}))


def test_a_label_of_service_and_probe_is_written_once_and_the_probe_s_wins(tmp_path: Path) -> None:
    config = {
        "defaults": {"interval": "1s", "timeout": "1s"},
        "services": {
            "orders": {
                "instances": ["127.0.0.1:1"],
                "labels": {"tier": "backend", "team": "orders"},
                "probes": {"actuator": {"labels": {"tier": "edge"}}, "tls": {}},
            }
        },
    }
    with Daemon(tmp_path, config) as daemon:
        daemon.start()
        daemon.wait(lambda: daemon.value("probe_success", service="orders", probe="actuator") is not None)
        text = daemon.request("/metrics")[1].decode()
        assert daemon.value("probe_success", service="orders", probe="actuator", tier="edge", team="orders") == 0
        assert daemon.value("probe_interval_seconds", service="orders", probe="tls", tier="backend", team="orders") == 1
        assert daemon.value("probe_service_up", service="orders", tier="backend", team="orders") == 0
    series = [line.rpartition(" ")[0] for line in text.splitlines() if line and not line.startswith("#")]
    assert len(set(series)) == len(series) > 20
    for line in series:
        names = re.findall(r'([a-z_]+)="', line)
        assert len(set(names)) == len(names), line

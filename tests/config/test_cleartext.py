"""Credentials that cross a network over plain HTTP are told, once for all that are alike; no secret is in what is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from exporter.cli.main import cli
from exporter.config.cleartext import cleartext_credentials
from exporter.config.loader import load

BASIC = {"basic": {"username": "monitor", "password": "hunter2"}}
TOKEN = {"client_id": "prober", "client_secret": "hunter2"}
ELSEWHERE = ["identity.hafnium.svc:8080"]
PLAIN, TLS = "http://keycloak.hafnium.svc:8080/token", "https://keycloak.hafnium.svc:8443/token"
ASKED = {**TOKEN, "token_url": PLAIN}
BY_TOKEN = {"protocol": "SASL_SSL", "mechanism": "OAUTHBEARER", "oauth2": ASKED}
NAMED = {"dns": "identity.hafnium.svc", "port": 8080}


def written(folder: Path, services: dict[str, Any]) -> Path:
    path = folder / "exporter.yml"
    path.write_text(yaml.safe_dump({"services": services}), "utf-8")
    return path


def told(folder: Path, probes: dict[str, Any], instances: object) -> list[str]:
    return list(cleartext_credentials(load(written(folder, {"identity": {"instances": instances, "probes": probes}}))))


@pytest.mark.parametrize(
    ("probes", "says"),
    [
        ({"actuator": {"auth": BASIC}}, "actuator: what auth sends of identity crosses"),
        ({"actuator": {"auth": {"bearer": {"token": "hunter2"}}}}, "actuator: what auth sends of identity crosses"),
        ({"actuator": {"headers": {"X-Key": "hunter2"}}}, "actuator: what headers hold of identity crosses"),
        (
            {"actuator": {"scheme": "https", "auth": {"oauth2": ASKED}}},
            "the client secret for a token",
        ),
        ({"oidc": {"scheme": "http", "issuer_path": "/", "client": TOKEN}}, "oidc: the client secret of identity crosses"),
        ({"kafka": {"security": BY_TOKEN}}, "kafka: the client secret for a token"),
    ],
)
@pytest.mark.parametrize("instances", [ELSEWHERE, NAMED, ["127.0.0.1:1", *ELSEWHERE]])
def test_credentials_over_plain_http_are_told(tmp_path: Path, probes: dict[str, Any], says: str, instances: object) -> None:
    (warning,) = told(tmp_path, probes, instances)
    assert says in warning
    assert "hunter2" not in warning
    done = CliRunner().invoke(cli, ["config", "validate", "--config", str(tmp_path / "exporter.yml")])
    assert f"warning: {warning}" in done.output
    assert done.exit_code in (0, None)


@pytest.mark.parametrize(
    ("probes", "instances"),
    [
        ({"actuator": {}}, ELSEWHERE),
        ({"actuator": {"auth": BASIC, "scheme": "https"}}, ELSEWHERE),
        ({"actuator": {"auth": BASIC, "allow_cleartext": True}}, ELSEWHERE),
        ({"actuator": {"auth": BASIC}}, ["127.0.0.1:1", "[::1]:1", "localhost:1"]),
        ({"actuator": {"scheme": "https", "auth": {"oauth2": {**TOKEN, "token_url": TLS}}}}, ELSEWHERE),
        (
            {"actuator": {"scheme": "https", "auth": {"oauth2": {**ASKED, "allow_cleartext": True}}}},
            ELSEWHERE,
        ),
        ({"actuator": {"scheme": "https", "auth": {"oauth2": {**TOKEN, "token_url": "http://127.0.0.1/t"}}}}, ELSEWHERE),
        ({"oidc": {"scheme": "http", "issuer_path": "/"}}, ELSEWHERE),
        ({"oidc": {"issuer_path": "/", "client": TOKEN}}, ELSEWHERE),
    ],
)
def test_what_is_encrypted_or_allowed_or_at_home_is_not(tmp_path: Path, probes: dict[str, Any], instances: object) -> None:
    assert told(tmp_path, probes, instances) == []


def test_a_large_fleet_is_one_warning(tmp_path: Path) -> None:
    probes = {"actuator": {"auth": BASIC}}
    services = {f"service-{n:03}": {"instances": [f"s{n}.example:1"], "probes": probes} for n in range(200)}
    (warning,) = cleartext_credentials(load(written(tmp_path, services)))
    assert "service-004 and 195 more" in warning
    assert len(warning) < 400

"""URLs as people write them: what each says, and that what is refused is not repeated."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.scaffold.draft import Unusable
from exporter.scaffold.unconfigured import config_of
from exporter.scaffold.urls import is_url, name_of, read_url

READ: list[tuple[str, str, str, list[str], dict[str, Any]]] = [
    ("http://case:8084", "actuator", "case", ["case:8084"], {}),
    ("http://case.hafnium.svc:8084/actuator/", "actuator", "case", ["case.hafnium.svc:8084"], {}),
    ("http://case:8084/actuator/health", "actuator", "case", ["case:8084"], {}),
    ("http://case:8084/actuator/health/readiness", "actuator", "case", ["case:8084"], {}),
    ("http://127.0.0.1:8084/manage", "actuator", "127-0-0-1-8084", ["127.0.0.1:8084"], {"base_path": "/manage"}),
    ("http://localhost:8084/", "actuator", "localhost-8084", ["localhost:8084"], {}),
    ("http://old:8084/health", "actuator", "old", ["old:8084"], {"base_path": "/"}),
    ("https://case/actuator", "actuator", "case", ["case:443"], {"scheme": "https"}),
    ("https://[::1]:8443/", "actuator", "1-8443", ["[::1]:8443"], {"scheme": "https"}),
    ("http://kc:8080/realms/x", "oidc", "identity-provider", ["kc:8080"], {"issuer_path": "/realms/x", "scheme": "http"}),
    ("https://id/.well-known/openid-configuration", "oidc", "identity-provider", ["id:443"], {"issuer_path": "/"}),
    ("postgres://monitor@db/app", "postgres", "postgres", ["db:5432"], {"user": "monitor", "database": "app"}),
    ("postgresql://m%40x@db:5433", "postgres", "postgres", ["db:5433"], {"user": "m@x", "database": "m@x"}),
    ("postgres://m@db/a?sslmode=require", "postgres", "postgres", ["db:5432"], {"user": "m", "database": "a", "tls": {}}),
    ("redis://cache", "redis", "redis", ["cache:6379"], {}),
    ("redis://a:1,b:2/0", "redis", "redis", ["a:1", "b:2"], {}),
    ("rediss://probe@cache:6380", "redis", "redis", ["cache:6380"], {"user": "probe", "tls": {}}),
    ("kafka://a:9092,b", "kafka", "kafka", ["a:9092", "b:9092"], {}),
    ("kafkas://a:9093", "kafka", "kafka", ["a:9093"], {"security": {"protocol": "SSL"}}),
    ("tls://api.example:8443", "tls", "api", ["api.example:8443"], {}),
]  # fmt: skip
REFUSED = [
    ("mysql://db", "mysql is no URL of what can be probed"),
    ("hunter2 hunter2://x", "this is no URL"),
    ("postgres://m:hunter2@db/app", "has a password or a user in it"),
    ("redis://:hunter2@cache", "REDISCLI_AUTH"),
    ("http://m:hunter2@case", "--password-file"),
    ("http://hunter2@case", "has a password or a user in it"),
    ("postgres://db/app", "names no role"),
    ("postgres://m@db/app?password=hunter2", "only sslmode"),
    ("postgres://m@db/app?sslmode=hunter2", "only sslmode"),
    ("redis://cache/3", "leave the number"),
    ("kafka://m@broker", "the brokers alone"),
    ("tls://x/hunter2", "the address alone"),
    ("http://case?token=hunter2", "parameters"),
    ("http://case#hunter2", "fragment"),
    ("http://", "no host"),
    ("http://case:hunter2x", "no host and port"),
    ("http://[::1", "cannot be read"),
]


@pytest.mark.parametrize(("url", "kind", "name", "instances", "settings"), READ, ids=lambda value: str(value)[:40])
def test_a_url_says_where_and_how(url: str, kind: str, name: str, instances: list[str], settings: dict[str, Any]) -> None:
    place = read_url(url)
    assert (place.kind, place.name, place.instances, place.settings) == (kind, name, instances, settings)
    probed = config_of([url], {}).everything[name]
    assert list(probed.probe_settings) == [kind]


@pytest.mark.parametrize(("url", "told"), REFUSED, ids=lambda value: value[:40])
def test_what_is_refused_is_not_repeated(url: str, told: str) -> None:
    with pytest.raises(Unusable) as refused:
        read_url(url)
    assert told in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_passwords_come_from_the_variables_of_psql_and_redis_cli() -> None:
    environment = {"PGPASSWORD": "hunter2", "REDISCLI_AUTH": "hunter3"}
    found = config_of(["postgres://m@db/app", "redis://cache"], environment).everything
    settings = {name: found[name].probe_settings[name].model_dump() for name in ("postgres", "redis")}
    shown = {name: each["password"].get_secret_value() for name, each in settings.items()}
    assert shown == {"postgres": "hunter2", "redis": "hunter3"}


def test_several_of_a_kind_have_names_of_their_own() -> None:
    assert list(config_of(["redis://a", "redis://b", "tls://a.x", "tls://a.y"], {}).everything) == [
        "redis", "redis-2", "a", "a-2",
    ]  # fmt: skip


def test_a_name_of_the_configuration_is_no_url() -> None:
    assert not is_url("case")
    assert name_of("Case Service (EU)") == "case-service-eu"
    assert name_of("---") == ""

"""The commands by which a person asks what a probe asks: of every kind, without secrets, and right on real servers."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from typing import Any

import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer

from exporter.config.document import parse_document
from exporter.config.errors import ConfigError
from exporter.config.loader import validate
from exporter.demo.servers.postgres import PostgresServer
from exporter.diagnosis.places import names_of
from exporter.probes import probe_types
from exporter.web.format import marked
from tests.probes.test_tls import presenting

SECRET = "marked-secret"
LOGIN = {"user": "monitor", "password": SECRET}

COMMANDS: dict[str, tuple[dict[str, Any], str]] = {
    "actuator": (
        {"scheme": "https", "port": 8443, "base_path": "/manage/", "headers": {"X-Key": SECRET}},
        "curl -sS https://db.example:8443/manage/health",
    ),
    "kafka": (
        {"security": {"protocol": "SASL_SSL", "mechanism": "PLAIN", "user": "monitor", "password": SECRET}},
        "rpk cluster info -X brokers=db.example:5432 -X tls.enabled=true",
    ),
    "oidc": (
        {"issuer_path": "/realms/shop/"},
        "curl -sS https://db.example:5432/realms/shop/.well-known/openid-configuration",
    ),
    "postgres": ({**LOGIN, "database": "shop"}, "psql -h db.example -p 5432 -U monitor -d shop -c 'SELECT 1'"),
    "redis": ({**LOGIN, "tls": {}}, "redis-cli -h db.example -p 5432 --tls --user monitor --askpass PING"),
    "tls": (
        {"server_name": "shop"},
        "openssl s_client -connect db.example:5432 -servername shop </dev/null",
    ),
}


def names(instances: Any, probes: dict[str, Any]) -> dict[str, str]:
    """Return what fills the steps of a dependency."""
    text = {"kubernetes": {"namespace": "shop"}, "dependencies": {"db": {"instances": instances, "probes": probes}}}
    return names_of(validate(parse_document(json.dumps(text), "exporter.yml", {})).dependencies["db"])


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_kind_is_asked_by_a_command_without_secrets(kind: str) -> None:
    settings, command = COMMANDS[kind]
    found = names(["db.example:5432"], {kind: settings})
    assert found["ask"] == command
    assert "<code>" in marked(command)
    assert SECRET not in str(found)


def test_every_kind_that_has_a_command_is_tested() -> None:
    kinds = probe_types()
    assert {kind for kind in kinds if "by_hand" in vars(kinds[kind].settings_type)} == COMMANDS.keys()


@pytest.mark.parametrize(
    ("kind", "settings", "command"),
    [
        ("postgres", {"user": "a b", "database": "pgbouncer", "pgbouncer": True}, "-U 'a b' -d pgbouncer -c 'SHOW VERSION'"),
        ("redis", {}, "redis-cli -h ::1 -p 5432 PING"),
        ("redis", {"password": SECRET}, "redis-cli -h ::1 -p 5432 --askpass PING"),
        ("actuator", {"base_path": "/"}, "curl -sS 'http://[::1]:5432/health'"),
        ("kafka", {}, "rpk cluster info -X 'brokers=[::1]:5432'"),
    ],
)
def test_a_command_is_as_the_settings_are(kind: str, settings: dict[str, Any], command: str) -> None:
    assert names(["[::1]:5432"], {kind: settings})["ask"].endswith(command)


def test_what_decides_is_asked_and_the_certificate_by_the_name_that_is_configured() -> None:
    found = names({"dns": "sso.example", "port": 443}, {"tls": {"server_name": "sso"}, "oidc": {"issuer_path": "/"}})
    assert found["ask"] == "curl -sS https://sso.example:443/.well-known/openid-configuration"
    assert found["handshake"] == "openssl s_client -connect sso.example:443 -servername sso </dev/null"


def test_pods_have_no_address_to_ask_by_hand() -> None:
    assert "ask" not in names({"kubernetes": {"selector": "app=db", "port": 5432}}, {"redis": {}})


def test_nothing_in_a_command_is_obeyed_by_a_terminal_or_turns_the_direction_of_writing() -> None:
    found = names(["db.example:5432"], {"redis": {"user": "a\n\x1b[8m\u202eb;id", "password": SECRET}})
    assert found["ask"] == r"redis-cli -h db.example -p 5432 --user 'a\x0a\x1b[8m\u202eb;id' --askpass PING"


def test_a_database_is_not_taken_for_the_address_of_another_server(postgres_server: PostgresServer) -> None:
    login = {"user": postgres_server.user, "database": "host=192.0.2.1 o'clock\\"}
    found = names([f"{postgres_server.host}:{postgres_server.port}"], {"postgres": login})
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run(found["ask"], PGPASSWORD=postgres_server.password, PGCONNECT_TIMEOUT="5")
    assert """database "host=192.0.2.1 o'clock\\" does not exist""" in failed.value.stderr


@pytest.mark.parametrize("database", ["password=s", "host=h password = s", "postgresql://u:s@h/d"])
def test_a_database_with_a_password_in_it_is_refused(database: str) -> None:
    with pytest.raises(ConfigError, match="expected the name of a database alone"):
        names(["db.example:5432"], {"postgres": {**LOGIN, "database": database}})


def test_the_command_for_postgres_works(postgres_server: PostgresServer) -> None:
    login = {"user": postgres_server.user, "database": postgres_server.database}
    found = names([f"{postgres_server.host}:{postgres_server.port}"], {"postgres": login})
    assert "1 row" in run(found["ask"], PGPASSWORD=postgres_server.password)


async def test_the_command_for_a_certificate_works() -> None:
    leaf = trustme.CA().issue_cert("localhost")
    async with presenting(leaf) as port:
        found = names([f"localhost:{port}"], {"tls": {}})
        shown = await asyncio.to_thread(run, found["ask"])
    assert "BEGIN CERTIFICATE" in shown
    assert found["handshake"] == found["ask"]


@pytest.mark.parametrize(
    ("kind", "settings", "path"),
    [
        ("actuator", {"base_path": "/manage"}, "/manage/health"),
        ("oidc", {"scheme": "http", "issuer_path": "/realms/shop"}, "/realms/shop/.well-known/openid-configuration"),
    ],
)
async def test_the_command_for_what_speaks_http_works(kind: str, settings: dict[str, Any], path: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=f"asked for {request.path}")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as server:
        found = names([f"127.0.0.1:{server.port}"], {kind: settings})
        assert await asyncio.to_thread(run, found["ask"]) == f"asked for {path}"


def run(command: str, **environment: str) -> str:
    """Run a command as a person does, in a shell."""
    done = subprocess.run(
        ["sh", "-c", command], env=os.environ | environment, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout

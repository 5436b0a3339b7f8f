"""The servers that tests and the demo stand on: they serve, end whole, hang, and come back on the same port."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
import redis
import redis.asyncio
import yaml
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from exporter.demo.ports import free_port
from exporter.demo.processes import ServerError, descendants
from exporter.demo.servers.base import Server
from exporter.demo.servers.broker import BrokerServer
from exporter.demo.servers.events_api import MAX_BYTES, problems
from exporter.demo.servers.keycloak import KeycloakServer
from exporter.demo.servers.pagerduty import PagerDuty
from exporter.demo.servers.postgres import PostgresServer
from exporter.demo.servers.prometheus import ALERTS, alertmanager_config, prometheus_config
from exporter.demo.servers.springboot import SpringBootServer
from exporter.demo.servers.valkey import ValkeyServer
from tests.demo.running import fetch
from tests.demo.watching import state, wait_until_gone


@pytest.mark.parametrize("kind", [PostgresServer, ValkeyServer, BrokerServer, KeycloakServer])
def test_a_server_leaves_no_process_and_comes_back_on_its_port(kind: type[Server], tmp_path: Path) -> None:
    server = kind(tmp_path / "data")
    for end in (server.stop, server.kill):
        for _ in range(2):  # what runs is left alone
            server.start()
        assert server.ready()
        assert server.child is not None
        assert server.child.pid is not None
        family = [server.child.pid, *descendants(server.child.pid)]
        end()
        wait_until_gone(*family)
        assert not server.ready()


async def test_the_database_is_owned_by_a_plain_role_that_must_log_in(postgres_server: PostgresServer) -> None:
    where = {"host": postgres_server.host, "port": postgres_server.port, "database": postgres_server.database}
    connection = await asyncpg.connect(**where, user=postgres_server.user, password=postgres_server.password)
    assert await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
    await connection.execute("CREATE SCHEMA owned; DROP SCHEMA owned")
    await connection.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(**where, user=postgres_server.user, password="wrong")


async def test_a_paused_server_hangs_and_a_resumed_one_answers(own_valkey: ValkeyServer) -> None:
    client = redis.asyncio.Redis(host=own_valkey.host, port=own_valkey.port, socket_timeout=0.2, retry=Retry(NoBackoff(), 0))
    assert await client.ping()
    own_valkey.pause()
    with pytest.raises(redis.TimeoutError):
        await client.ping()
    own_valkey.resume()
    assert await client.ping()
    await client.aclose()


def test_a_paused_server_can_be_stopped(own_postgres: PostgresServer) -> None:
    own_postgres.pause()
    own_postgres.stop()
    assert not own_postgres.running


def differences(ours: Any, shipped: Any, path: str = "") -> set[str]:
    """Return the keys under which two configurations differ."""
    if isinstance(ours, dict) and isinstance(shipped, dict):
        both = ours.keys() | shipped.keys()
        return {d for key in both for d in differences(ours.get(key), shipped.get(key), f"{path}.{key}")}
    if isinstance(ours, list) and isinstance(shipped, list) and len(ours) == len(shipped):
        return {d for pair in zip(ours, shipped, strict=True) for d in differences(*pair, path)}
    return set() if ours == shipped else {path}


def test_of_what_is_shipped_only_addresses_and_files_are_replaced(tmp_path: Path) -> None:
    shipped = {name: yaml.safe_load((ALERTS / f"{name}.yml").read_text()) for name in ("prometheus", "alertmanager")}
    assert differences(prometheus_config("e:1", "a:1", None), shipped["prometheus"]) == {
        ".rule_files", ".alerting.alertmanagers.static_configs.targets", ".scrape_configs.static_configs.targets",
    }  # fmt: skip
    assert differences(alertmanager_config("http://p:1", tmp_path), shipped["alertmanager"]) == {
        ".global.pagerduty_url", ".receivers.pagerduty_configs.routing_key_file", ".receivers.webhook_configs.url",
    }  # fmt: skip
    alone = prometheus_config("e:1", None, "1s")
    assert "alerting" not in alone
    assert alone["global"] == {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}


async def test_the_stand_in_for_pagerduty_takes_and_refuses_what_pagerduty_does() -> None:
    told: list[dict[str, Any]] = []
    stub = PagerDuty(free_port(), told.append)
    await stub.start()
    key = stub.key("on-call")
    good = {
        "routing_key": key, "dedup_key": "d", "event_action": "trigger",
        "payload": {"summary": "s", "source": "x", "severity": "critical"},
    }  # fmt: skip
    async with aiohttp.ClientSession(stub.url, timeout=aiohttp.ClientTimeout(5)) as session:
        async with session.post("/v2/enqueue", json=good | {"payload": None}) as answer:
            assert (answer.status, (await answer.json())["errors"]) == (400, ["payload is required"])
        async with session.post("/v2/enqueue", json=good | {"client": "x" * MAX_BYTES}) as answer:
            assert answer.status == 413
        resolve = {"routing_key": key, "dedup_key": "d", "event_action": "resolve"}
        for body in (good, resolve):
            async with session.post("/v2/enqueue", json=body) as answer:
                assert (answer.status, (await answer.json())["dedup_key"]) == (202, "d")
        async with session.post("/watchdog", json={}) as answer:
            assert answer.status == 200
        async with session.get("/") as answer:
            kept = await answer.json()
    assert (kept["events"], kept["beats"], len(kept["refused"])) == ([good, resolve], 1, 2)
    assert told == stub.events == [good, resolve]
    await stub.stop()


async def test_an_incident_is_opened_added_to_resolved_and_opened_anew() -> None:
    stub = PagerDuty(free_port())
    await stub.start()
    keys = [stub.key("on-call"), stub.key("dba")]
    trigger: dict[str, Any] = {"event_action": "trigger", "payload": {"summary": "s", "source": "x", "severity": "critical"}}
    resolve: dict[str, Any] = {"event_action": "resolve"}
    acted = [
        (0, "a", trigger),
        (0, "a", trigger),
        (1, "a", trigger),
        (0, "b", resolve),
        (0, "a", resolve),
        (0, "a", trigger),
    ]
    async with aiohttp.ClientSession(stub.url, timeout=aiohttp.ClientTimeout(5)) as session:
        for key, dedup, event in acted:
            body = {"routing_key": keys[key], "dedup_key": dedup, **event}
            async with session.post("/v2/enqueue", json=body) as answer:
                assert answer.status == 202
    await stub.stop()
    found = [(i.receiver, i.dedup_key, len(i.triggers), i.resolved is not None) for i in stub.incidents]
    assert found == [("on-call", "a", 2, True), ("dba", "a", 1, False), ("on-call", "a", 1, False)]


KEY = "0123456789abcdef0123456789abcdef"
GOOD: dict[str, Any] = {
    "routing_key": KEY, "dedup_key": "d" * 255, "event_action": "trigger", "client": "c", "client_url": "http://c/",
    "links": [{"href": "https://grafana/d/x", "text": "Dashboard"}],
    "payload": {
        "summary": "s" * 1024, "source": "x", "severity": "critical", "timestamp": "2026-01-02T03:04:05.678+0100",
        "component": "c", "group": "g", "class": "k", "custom_details": {"cause": "x"},
    },
}  # fmt: skip


def changed(**payload: Any) -> dict[str, Any]:
    return GOOD | {"payload": GOOD["payload"] | payload}


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        (GOOD, None),
        ({"routing_key": KEY, "event_action": "resolve", "dedup_key": "d"}, None),
        (GOOD | {"dedup_key": None}, None),
        ([], "the body is not an object"),
        (GOOD | {"routing_key": ""}, "routing_key is not 32 letters and digits"),
        (GOOD | {"routing_key": f"{KEY}0"}, "routing_key is not 32 letters and digits"),
        (GOOD | {"routing_key": KEY[::-1]}, "routing_key is of no integration"),
        (GOOD | {"event_action": "page"}, "event_action is none of trigger, acknowledge, resolve"),
        (GOOD | {"dedup_key": "d" * 256}, "dedup_key is not a string of at most 255 characters"),
        ({"routing_key": KEY, "event_action": "resolve"}, "dedup_key is required to resolve"),
        (GOOD | {"payload": None}, "payload is required"),
        (changed(summary=""), "payload.summary is not a text of at most 1024 characters"),
        (changed(summary="s" * 1025), "payload.summary is not a text of at most 1024 characters"),
        (changed(source=""), "payload.source is required"),
        (changed(severity="none"), "payload.severity is none of critical, error, warning, info"),
        (changed(timestamp="yesterday"), "payload.timestamp is not in ISO 8601"),
        (changed(custom_details="x"), "payload.custom_details is not an object"),
        (changed(component=None), "payload.component is not a string"),
        (GOOD | {"client": 1}, "client is not a string"),
        (GOOD | {"links": {}}, "links is not a list"),
        (GOOD | {"links": [{"href": "/d/x", "text": "t"}]}, "links[0].href is not an http or https URL"),
        (GOOD | {"links": [{"href": "http://x/", "text": None}]}, "links[0].text is not a string"),
        (GOOD | {"images": [{"src": ""}]}, "images[0].src is not an http or https URL"),
        (GOOD | {"client": "x" * MAX_BYTES}, "more than 512000"),
    ],
)
def test_an_event_is_refused_for_what_pagerduty_refuses(event: Any, problem: str | None) -> None:
    found = problems(json.dumps(event).encode(), {KEY: "on-call"})
    assert found == [] if problem is None else (len(found) == 1 and found[0].endswith(problem)), found


def test_the_stand_in_for_keycloak_is_one_that_the_probe_and_its_client_take(tmp_path: Path) -> None:
    with KeycloakServer(tmp_path) as server:
        base = f"http://{server.address}{server.issuer_path}"
        document = json.loads(fetch(f"{base}/.well-known/openid-configuration"))
        assert document["issuer"] == base
        (key,) = json.loads(fetch(document["jwks_uri"]))["keys"]
        secret = server.secret_file.read_text()
        token = ask_for_token(document["token_endpoint"], server.client, secret)
        assert token[0] == 200
        head, claims, signature = token[1]["access_token"].split(".")
        public = rsa.RSAPublicNumbers(*(int.from_bytes(decoded(key[part])) for part in "en")).public_key()
        public.verify(decoded(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
        assert json.loads(decoded(head))["kid"] == key["kid"]
        assert ask_for_token(document["token_endpoint"], server.client, "wrong")[0] == 401
        assert ask_for_token(document["token_endpoint"], server.client, secret, "password")[0] == 400


def ask_for_token(url: str, client: str, secret: str, grant: str = "client_credentials") -> tuple[int, Any]:
    """Ask for a token as RFC 6749, 4.4 says."""
    body = urllib.parse.urlencode({"grant_type": grant}).encode()
    basic = base64.b64encode(f"{client}:{secret}".encode()).decode()
    request = urllib.request.Request(url, body, {"Authorization": f"Basic {basic}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_a_throttled_server_answers_late_and_is_quick_again(own_valkey: ValkeyServer) -> None:
    def slowest() -> float:
        longest = 0.0
        with redis.Redis(host=own_valkey.host, port=own_valkey.port, socket_timeout=10) as client:
            for _ in range(20):
                began = time.monotonic()
                client.ping()
                longest = max(longest, time.monotonic() - began)
                time.sleep(0.1)
        return longest

    own_valkey.slow()
    own_valkey.slow()
    assert slowest() > 0.5
    own_valkey.resume()
    assert own_valkey.child is not None
    assert own_valkey.child.pid is not None
    assert state(own_valkey.child.pid) == "S"
    own_valkey.slow()
    own_valkey.kill()
    assert not own_valkey.running


def test_an_order_that_the_services_do_not_take_says_why(
    tmp_path: Path, postgres_server: PostgresServer, valkey_server: ValkeyServer, kafka_broker: BrokerServer
) -> None:
    services = SpringBootServer(tmp_path, postgres_server, valkey_server, kafka_broker)
    with pytest.raises(ServerError, match=r"did not take 'hang' of vault: .*refused"):
        services.control("vault", "hang", on=True)
    with services, pytest.raises(ServerError, match=r"did not take 'burn' of vault: services: identity(?s:.)*faults: "):
        services.control("vault", "burn", on=True)

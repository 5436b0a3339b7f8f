"""The servers that tests and the demo stand on: they serve, end whole, hang, and come back on the same port."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
import redis.asyncio as redis
import yaml
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from exporter.demo.ports import free_port
from exporter.demo.processes import ServerError, descendants
from exporter.demo.servers.base import Server
from exporter.demo.servers.broker import BrokerServer
from exporter.demo.servers.pagerduty import PagerDuty
from exporter.demo.servers.postgres import PostgresServer
from exporter.demo.servers.prometheus import ALERTS, alertmanager_config, prometheus_config
from exporter.demo.servers.springboot import SpringBootServer
from exporter.demo.servers.valkey import ValkeyServer
from tests.demo.watching import wait_until_gone


@pytest.mark.parametrize("kind", [PostgresServer, ValkeyServer, BrokerServer])
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
    client = redis.Redis(host=own_valkey.host, port=own_valkey.port, socket_timeout=0.2, retry=Retry(NoBackoff(), 0))
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
    good = {
        "routing_key": "k", "dedup_key": "d", "event_action": "trigger",
        "payload": {"summary": "s", "source": "x", "severity": "critical"},
    }  # fmt: skip
    refused: tuple[Any, ...] = (
        [], {}, {**good, "event_action": "page"}, {**good, "routing_key": ""}, {**good, "payload": None},
        {**good, "payload": {**good["payload"], "severity": "bad"}},  # type: ignore[dict-item] # it is a dict
    )  # fmt: skip
    async with aiohttp.ClientSession(stub.url, timeout=aiohttp.ClientTimeout(5)) as session:
        for body in refused:
            async with session.post("/v2/enqueue", json=body) as answer:
                assert answer.status == 400
        async with session.post("/v2/enqueue", data=b"{") as answer:
            assert answer.status == 400
        resolve = {"routing_key": "k", "dedup_key": "d", "event_action": "resolve"}
        for body in (good, resolve):
            async with session.post("/v2/enqueue", json=body) as answer:
                assert (answer.status, (await answer.json())["dedup_key"]) == (202, "d")
        async with session.post("/watchdog", json={}) as answer:
            assert answer.status == 200
        async with session.get("/") as answer:
            assert await answer.json() == {"events": [good, resolve], "beats": 1}
    assert told == stub.events == [good, resolve]
    await stub.stop()


def test_an_order_that_the_services_do_not_take_says_why(
    tmp_path: Path, postgres_server: PostgresServer, valkey_server: ValkeyServer, kafka_broker: BrokerServer
) -> None:
    services = SpringBootServer(tmp_path, postgres_server, valkey_server, kafka_broker)
    with pytest.raises(ServerError, match=r"did not take 'hang' of vault: .*refused"):
        services.control("vault", "hang", on=True)
    with services, pytest.raises(ServerError, match=r"did not take 'burn' of vault: services: identity(?s:.)*faults: "):
        services.control("vault", "burn", on=True)

"""Every fault changes what a service says, as the exporter's own probe sees it, and is undone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from exporter.actuator import health_samples, mainport, recording
from exporter.demo.springboot.faults import FAULTS
from exporter.demo.springboot.messaging import LAST
from exporter.probes import actuator
from exporter.probing.probe import SharedClients
from exporter.probing.runner import Outcome
from exporter.verdict import Verdict
from tests.fixtures.springboot import SpringFleet
from tests.probes.doing import attempt, make, reason
from tests.springboot.asking import get, meter, probe, statuses, told
from tests.waiting import until

SERVICE = "case"
Check = Callable[[SpringFleet, int], object]


def down_for(stage: str, why: str, timeout: float = 5.0) -> Check:
    return lambda _, port: reason(probe(port, timeout)) == (stage, why)


def is_slow(_: SpringFleet, port: int) -> bool:
    return get(port, "/health/ping").seconds > 0.7 and probe(port).duration > 0.7


def component_is_down(_: SpringFleet, port: int) -> bool:
    found = probe(port)
    return (
        reason(found) == ("check", "reported_down")
        and get(port, "/health").status == 503
        and told(found, health_samples.COMPONENT_UP, "upstreams/sanctionsList") == 0
        and told(found, health_samples.COMPONENT_UP, "db") == 1
    )


def refuses_traffic(_: SpringFleet, port: int) -> bool:
    found = probe(port)
    return (
        told(found, actuator.GROUP_UP, "readiness") == 0
        and told(found, actuator.GROUP_UP, "liveness") == 1
        and told(found, health_samples.STATUS, "OUT_OF_SERVICE") == 1
        and get(port, "/health/readiness").status == 503
    )


def heap_is_full(_: SpringFleet, port: int) -> bool:
    found = probe(port)
    used, most = (told(found, family, "heap") for family in (recording.MEMORY_USED, recording.MEMORY_MAX))
    return used is not None and most is not None and used > 0.95 * most


def pool_is_exhausted(_: SpringFleet, port: int) -> bool:
    found = probe(port)
    states = {state: told(found, recording.CONNECTIONS, "HikariPool-1", state) for state in ("active", "idle", "pending")}
    return (
        states["active"] == told(found, recording.CONNECTIONS_MAX, "HikariPool-1") == 4
        and states["idle"] == 0
        and (states["pending"] or 0) >= 2  # users, and the health check
        and (told(found, recording.CONNECTION_TIMEOUTS, "HikariPool-1") or 0) > 1
        and told(found, health_samples.COMPONENT_UP, "db") == 0
    )


def forgets_to_commit(fleet: SpringFleet, _: int) -> bool:
    return asyncio.run(_sessions(fleet, "state = 'idle in transaction'")) == 3


def waits_for_itself(fleet: SpringFleet, _: int) -> bool:
    return asyncio.run(_sessions(fleet, "wait_event_type = 'Lock'")) == 1


def migrates(fleet: SpringFleet, _: int) -> bool:
    return asyncio.run(_sessions(fleet, "state = 'idle in transaction'")) == 1


def is_newer(_: SpringFleet, port: int) -> bool:
    return "FUTURE_SUCCESS" in get(port, "/flyway").body.decode()


def lag_grows(fleet: SpringFleet, port: int) -> bool:
    before = asyncio.run(_behind(fleet))
    time.sleep(1.2)
    return asyncio.run(_behind(fleet)) > before >= 3 and "records_lag{" not in get(port, "/prometheus").body.decode()


def stands_still(fleet: SpringFleet, port: int) -> bool:
    """What comes piles up before a consumer that lives, and nothing of it is put aside."""
    before, aside = asyncio.run(_behind(fleet)), asyncio.run(_end(fleet, "-dlt"))
    time.sleep(1.2)
    lives = "records_lag{" in get(port, "/prometheus").body.decode()
    return lives and asyncio.run(_behind(fleet)) > before >= 3 and asyncio.run(_end(fleet, "-dlt")) == aside


def half_stands_still(fleet: SpringFleet, port: int) -> bool:
    """The lag grows by what comes to one of the two partitions."""
    before, written = asyncio.run(_behind(fleet)), asyncio.run(_end(fleet))
    time.sleep(4.2)
    grown, came = asyncio.run(_behind(fleet)) - before, asyncio.run(_end(fleet)) - written
    return "records_lag{" in get(port, "/prometheus").body.decode() and before >= 3 and 0.3 * came < grown < 0.7 * came


def falls_quiet(fleet: SpringFleet, _: int) -> bool:
    """Some wait, and neither are they read nor do more come."""
    before, written = asyncio.run(_behind(fleet)), asyncio.run(_end(fleet))
    time.sleep(1.2)
    return asyncio.run(_behind(fleet)) == before >= LAST and asyncio.run(_end(fleet)) == written


def dead_letters_grow(fleet: SpringFleet, _: int) -> bool:
    before = asyncio.run(_end(fleet, "-dlt"))
    time.sleep(1.2)
    return asyncio.run(_end(fleet, "-dlt")) > before


def requests_fail(_: SpringFleet, port: int) -> bool:
    name, labels = "http_server_requests_seconds_count", {"outcome": "SERVER_ERROR", "uri": "/api/profiles/{id}"}
    before = meter(port, name, **labels)
    time.sleep(3.2)  # half of eight requests fail, and none where nothing is wrong
    return meter(port, name, **labels) > before


def fails_at_times(_: SpringFleet, port: int) -> bool:
    return any(get(port, "/health").status == 503 for _ in range(400))  # one in a hundred


SHOWN: dict[str, Check] = {
    "stop": down_for("connect", "connect_refused"),
    "hang": down_for("wait", "timeout", 0.5),
    "slow": is_slow,
    "status-503": down_for("check", "http_status"),
    "garbage": down_for("check", "malformed"),
    "component-down": component_is_down,
    "readiness-down": refuses_traffic,
    "heap-full": heap_is_full,
    "pool-exhausted": pool_is_exhausted,
    "idle-transactions": forgets_to_commit,
    "lock-held": waits_for_itself,
    "migration-stuck": migrates,
    "database-newer": is_newer,
    "consumer-stopped": lag_grows,
    "consumer-stuck": stands_still,
    "consumer-poisoned": half_stands_still,
    "last-unread": falls_quiet,
    "poison": dead_letters_grow,
    "flaky": fails_at_times,
    "errors-5xx": requests_fail,
}


def is_whole(port: int) -> bool:
    found = probe(port)
    return found.verdict is Verdict.UP and not any(found.parts.values())


def test_every_fault_has_a_look_here() -> None:
    assert SHOWN.keys() == FAULTS.keys()


@pytest.mark.parametrize("fault", SHOWN)
def test_a_fault_shows_in_its_service_and_is_undone(fault: str, spring_fleet: SpringFleet) -> None:
    port, other = spring_fleet.ports[SERVICE], spring_fleet.ports["signals"]
    until(lambda: is_whole(port), 15, "it is whole before")
    shows = SHOWN[fault]
    assert not shows(spring_fleet, port)
    with spring_fleet.fault(SERVICE, fault):
        until(lambda: shows(spring_fleet, port), 20, f"{fault} shows")
        assert probe(other).verdict is Verdict.UP
    until(lambda: is_whole(port), 15, "it is whole again")
    until(lambda: not shows(spring_fleet, port), 20, f"{fault} is undone")


def test_a_fault_that_is_ordered_twice_is_undone_once(spring_fleet: SpringFleet) -> None:
    port = spring_fleet.ports[SERVICE]
    for fault in ("stop", "pool-exhausted"):
        for on in (True, True, False, False):
            spring_fleet.control(SERVICE, fault, on)
        until(lambda: is_whole(port), 15, "it is whole again")


def test_faults_of_the_pool_are_undone_one_by_one(spring_fleet: SpringFleet) -> None:
    port = spring_fleet.ports[SERVICE]
    with spring_fleet.fault(SERVICE, "idle-transactions"):
        with spring_fleet.fault(SERVICE, "pool-exhausted"):
            until(lambda: meter(port, "hikaricp_connections_active") == 4, 10, "all are held")
        until(lambda: forgets_to_commit(spring_fleet, port), 10, "the transactions are still there")
        until(lambda: statuses(port)["db"] == "UP", 10, "the pool has one to lend")
    until(lambda: is_whole(port), 15, "it is whole again")


def test_a_slow_service_has_a_p99_above_the_runbooks_line(spring_fleet: SpringFleet) -> None:
    port = spring_fleet.ports[SERVICE]

    async def p99() -> float | None:
        shared = SharedClients.open()
        try:
            instance = make("actuator", shared, "127.0.0.1", port)
            await attempt(instance)
            await asyncio.sleep(2.5)
            return told(await attempt(instance), recording.REQUEST_P99, "histogram")
        finally:
            await shared.close()

    assert (asyncio.run(p99()) or 1) < 0.5
    with spring_fleet.fault(SERVICE, "slow"):
        assert (asyncio.run(p99()) or 0) > 0.5


async def _sessions(fleet: SpringFleet, which: str) -> int:
    server = fleet.postgres
    connection = await asyncpg.connect(
        host=server.host, port=server.port, user="postgres", password=server.superuser_password, database="postgres"
    )
    query = f"SELECT count(*) FROM pg_stat_activity WHERE {which} AND application_name = $1"
    try:
        return int(await connection.fetchval(query, f"{SERVICE}-service"))
    finally:
        await connection.close()


async def _end(fleet: SpringFleet, suffix: str = "") -> int:
    """Return how many records a topic has had."""
    consumer = AIOKafkaConsumer(bootstrap_servers=fleet.broker.address)
    await consumer.start()
    try:
        numbers = (0,) if suffix else (0, 1)
        parts = [TopicPartition(f"hafnium.{SERVICE}.events{suffix}", number) for number in numbers]
        return int(sum((await consumer.end_offsets(parts)).values()))
    finally:
        await consumer.stop()


async def _behind(fleet: SpringFleet) -> int:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=fleet.broker.address, group_id=f"{SERVICE}-service", enable_auto_commit=False
    )
    await consumer.start()
    try:
        parts = [TopicPartition(f"hafnium.{SERVICE}.events", number) for number in (0, 1)]
        ends = await consumer.end_offsets(parts)
        return int(sum(ends.values()) - sum([await consumer.committed(part) or 0 for part in parts]))
    finally:
        await consumer.stop()


_LATER = {"probe_http_server_request_p99_seconds", "probe_jvm_gc_pause_ratio", "probe_cache_hit_ratio"}
"""What it takes two attempts to tell."""


def test_outcomes_are_of_the_exporters_own_kind(spring_fleet: SpringFleet) -> None:
    """Nothing that the probe asks for is missing in a healthy service."""
    port = spring_fleet.ports["signals"]

    def complete() -> bool:
        found: Outcome = probe(port)
        missing = {family.name for family in actuator.ActuatorProbe.metrics} - {family.name for family in found.samples}
        return missing <= _LATER | {family.name for family in mainport.METRICS}

    until(complete, 30, "every metric of the probe")

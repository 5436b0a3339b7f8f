"""The main job, end to end: the daemon over the whole embedded fleet, held against what the servers themselves say."""

from __future__ import annotations

import asyncio
import gzip
import re
import resource
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import asyncpg
import pytest
import redis
from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from exporter.demo.fleet import Options
from exporter.demo.servers.springboot import SERVICES
from tests.alerts.shipped import ROOT
from tests.dashboards.shipped import substituted, targets
from tests.demo.running import RunningFleet, running
from tests.waiting import until

DEPENDENCIES = {"postgres": "postgres", "redis": "redis", "kafka": "kafka", "keycloak": "oidc", "gateway": "tls"}
PROBES = {**dict.fromkeys(SERVICES, "actuator"), **DEPENDENCIES}
INTERVAL = 2.0


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFleet]:
    with running(Options(tmp_path_factory.mktemp("demo"), free_ports=True, interval=INTERVAL)) as fleet:
        until(lambda: len(fleet.values("probe_kafka_consumer_group_topic_lag")) == len(SERVICES), 60, "every group has lag")
        yield fleet


def target(demo: RunningFleet, service: str) -> str:
    fleet = demo.fleet
    addresses = {
        "postgres": fleet.postgres.address,
        "redis": fleet.valkey.address,
        "kafka": "kafka",
        "keycloak": fleet.keycloak.address,
        "gateway": f"127.0.0.1:{fleet.gateway.port}",
    }
    return addresses.get(service) or f"127.0.0.1:{fleet.services[service]}"


def test_the_exposition_is_valid_in_both_formats(demo: RunningFleet) -> None:
    text = demo.get("/metrics")
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    url = f"http://{demo.fleet.exporter.address}/metrics"
    wanted = {"Accept": "application/openmetrics-text", "Accept-Encoding": "gzip"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=wanted), timeout=10) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        openmetrics = gzip.decompress(answer.read()).decode()
    families = list(parse_openmetrics(openmetrics))  # type: ignore[no-untyped-call] # the library's
    assert {family.name for family in families} >= {"probe_success", "probe_runs_missed", "probe_latency_seconds"}


@pytest.mark.parametrize("service", PROBES)
def test_every_target_has_every_contract_metric_and_is_up(service: str, demo: RunningFleet) -> None:
    labels = {"service": service, "probe": PROBES[service], "target": target(demo, service)}
    assert demo.value("probe_success", **labels) == 1
    assert demo.value("probe_unknown", **labels) is None
    assert 0 < (demo.value("probe_duration_seconds", **labels) or 0) < 2
    phases = demo.values("probe_phase_seconds", **labels)
    assert len(phases) >= 1
    assert all(seconds >= 0 for seconds in phases.values())
    for name in ("probe_last_run_timestamp_seconds", "probe_last_success_timestamp_seconds"):
        assert abs((demo.value(name, **labels) or 0) - time.time()) < 3 * INTERVAL
    assert demo.value("probe_runs_missed_total", **labels) is not None
    assert demo.value("probe_in_flight", **labels) in (0, 1)
    kind = {"service": service, "probe": PROBES[service]}
    assert (demo.value("probe_latency_seconds_count", **kind, outcome="up") or 0) >= 1
    assert (demo.value("probe_lateness_seconds_count", **kind) or 0) >= 1
    assert demo.value("probe_service_up", service=service) == 1
    assert demo.value("probe_service_targets_current", service=service) == 1
    assert demo.value("probe_discovery_success", service=service) == 1
    assert demo.value("probe_discovery_instances", service=service) == 1


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_tells_its_components_pool_heap_cache_and_requests(service: str, demo: RunningFleet) -> None:
    for component in ("db", "redis", "diskSpace", "upstreams", "upstreams/sanctionsList"):
        assert demo.value("probe_actuator_component_up", service=service, component=component) == 1
    for group in ("liveness", "readiness"):
        assert demo.value("probe_actuator_group_up", service=service, group=group) == 1
    assert demo.value("probe_hikari_connections_max", service=service, pool="HikariPool-1") == 4
    assert 0 < (demo.value("probe_jvm_memory_used_bytes", service=service, area="heap") or 0) < 256 * 2**20
    assert demo.value("probe_jvm_memory_max_bytes", service=service, area="heap") == 256 * 2**20
    assert (demo.value("probe_cache_gets_total", service=service, result="hit") or 0) >= 0
    assert (demo.value("probe_http_server_requests_total", service=service, outcome="SUCCESS") or 0) > 1
    until(lambda: demo.values("probe_http_server_request_p99_seconds", service=service, source="histogram"), 20, "a p99")
    assert demo.value("probe_postgres_flyway_version", schema=service.replace("-", "_"), version="3.1") == 1


def test_sessions_are_those_that_postgres_counts(demo: RunningFleet) -> None:
    server = demo.fleet.postgres

    async def count() -> int:
        connection = await asyncpg.connect(
            host=server.host, port=server.port, user="postgres", password=server.superuser_password, database="postgres"
        )
        try:
            return int(
                await connection.fetchval(
                    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' "
                    "AND pid <> pg_backend_pid() AND application_name <> 'hafnium-exporter'"
                )
            )
        finally:
            await connection.close()

    def agree() -> bool:
        return sum(demo.values("probe_postgres_connections").values()) == asyncio.run(count())

    until(agree, 15, "the same number of sessions")
    assert demo.value("probe_postgres_max_connections") == 60


def test_the_cache_is_as_it_says_itself(demo: RunningFleet) -> None:
    server = demo.fleet.valkey
    told = (demo.value("probe_redis_keyspace_hits_total") or 0) + (demo.value("probe_redis_keyspace_misses_total") or 0)
    with redis.Redis(host=server.host, port=server.port) as client:  # later than what was told: the counters only grow
        info: dict[str, Any] = client.info()
    assert demo.value("probe_redis_memory_max_bytes") == info["maxmemory"]
    assert abs((demo.value("probe_redis_memory_used_bytes") or 0) - info["used_memory"]) < 0.2 * info["used_memory"]
    lookups = info["keyspace_hits"] + info["keyspace_misses"]
    assert 0 < told <= lookups
    assert lookups - told < 40 * 2 * INTERVAL  # no older than two intervals of the fleet's traffic
    until(lambda: demo.value("probe_redis_hit_ratio") is not None, 10, "a hit ratio")


def test_lag_is_what_the_broker_says_and_grows_while_a_consumer_is_stopped(demo: RunningFleet) -> None:
    topic, group = "hafnium.vault.events", "vault-service"

    async def behind() -> int:
        consumer = AIOKafkaConsumer(bootstrap_servers=demo.fleet.broker.address, group_id=group, enable_auto_commit=False)
        await consumer.start()
        try:
            parts = [TopicPartition(topic, number) for number in range(2)]
            ends = await consumer.end_offsets(parts)
            commits = {part: await consumer.committed(part) for part in parts}
            return sum(ends[part] - (commits[part] or 0) for part in parts)
        finally:
            await consumer.stop()

    def told() -> float:
        return demo.value("probe_kafka_consumer_group_topic_lag", group=group, topic=topic) or 0

    with demo.fault("consumer-stopped", "vault"):
        until(lambda: told() >= 10, 40, "lag of ten")
        low = told()
        truth = asyncio.run(behind())
        assert low <= truth
        until(lambda: told() >= truth, 10, "the lag that the broker knows")
        assert demo.verdicts()["vault"] == "up"
    until(lambda: told() <= 2, 60, "the backlog is worked off")


def test_a_dead_database_is_down_and_nothing_else_lies(demo: RunningFleet) -> None:
    with demo.fault("db-down"):
        until(lambda: demo.value("probe_success", service="postgres") == 0, 20, "postgres is down")
        until(
            lambda: set(demo.values("probe_actuator_component_up", component="db").values()) == {0.0},
            20,
            "every service says that its db component is down",
        )
        until(lambda: {demo.verdicts()[name] for name in SERVICES} == {"down"}, 20, "the services are down, by their word")
        assert {name: demo.verdicts()[name] for name in ("redis", "kafka")} == {"redis": "up", "kafka": "up"}
        blamed = {"cause": "dependency_down", "dependency": "postgres"}
        until(lambda: len(demo.values("probe_suspected_cause", **blamed)) == len(SERVICES), 10, "every service blames it")
        assert demo.value("probe_suspected_cause", service="postgres", cause="connect_refused") == 1
        assert set(demo.values("probe_actuator_component_up", component="redis").values()) == {1.0}
        assert demo.values("probe_unknown") == {}
        assert demo.values("probe_postgres_connections") == {}
        assert (demo.value("probe_failures_total", service="postgres", reason="connect_refused") or 0) >= 1
        done = check(demo)
        assert done.returncode == 2
        assert "postgres" in done.stdout
    until(lambda: set(demo.verdicts().values()) == {"up"}, 30, "everything is up again")


def test_a_hung_database_is_a_timeout_and_the_services_still_answer(demo: RunningFleet) -> None:
    with demo.fault("db-hung"):
        until(lambda: demo.value("probe_success", service="postgres") == 0, 20, "postgres is down")
        assert demo.value("probe_failures_total", service="postgres", reason="timeout") is not None
        until(lambda: demo.value("probe_actuator_component_up", service="case", component="db") == 0, 20, "db is down")
        assert demo.value("probe_http_status_code", service="case") == 503
    until(lambda: set(demo.verdicts().values()) == {"up"}, 30, "everything is up again")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("service-down", "connect_refused"),
        ("service-hung", "timeout"),
        ("login-page", "malformed"),
        ("proxy-503", "http_status"),
    ],
)
def test_a_service_that_fails_is_down_for_its_own_reason_alone(fault: str, reason: str, demo: RunningFleet) -> None:
    with demo.fault(fault, "screening"):
        until(lambda: demo.value("probe_service_up", service="screening") == 0, 20, f"{fault}: screening is down")
        assert (demo.value("probe_failures_total", service="screening", reason=reason) or 0) >= 1
        assert [name for name, verdict in demo.verdicts().items() if verdict != "up"] == ["screening"]
    until(lambda: demo.verdicts()["screening"] == "up", 20, "screening is up again")


def test_what_is_wrong_inside_a_service_shows_in_its_numbers(demo: RunningFleet) -> None:
    with demo.fault("heap-full", "case"), demo.fault("pool-exhausted", "signals"), demo.fault("dlq-growing", "vault"):
        until(
            lambda: (demo.value("probe_jvm_memory_used_bytes", service="case", area="heap") or 0) > 0.95 * 256 * 2**20,
            20,
            "a full heap",
        )
        until(
            lambda: (
                demo.value("probe_hikari_connections", service="signals", state="active") == 4
                and (demo.value("probe_hikari_connection_timeouts_total", service="signals") or 0) > 0
            ),
            20,
            "an exhausted pool",
        )
        until(
            lambda: (demo.value("probe_kafka_dlq_messages", topic="hafnium.vault.events-dlt") or 0) > 2, 20, "dead letters"
        )
    until(lambda: set(demo.verdicts().values()) == {"up"}, 30, "everything is up again")


def check(demo: RunningFleet, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "exporter", "check", "--config", str(demo.fleet.exporter.config_path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)


def test_the_quick_check_says_that_all_is_well_for_less_than_three_seconds_of_cpu(demo: RunningFleet) -> None:
    """A person waits about as long, where nothing else keeps the machine busy."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = check(demo)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "13 of 13 ok" in done.stdout
    assert all(name in done.stdout for name in PROBES)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3


def queries() -> dict[str, tuple[str, str]]:
    """Return the legend and the query of every target of every dashboard."""
    return {name: (target["legendFormat"], substituted(target["expr"])) for name, (_, _, target) in targets().items()}


WITH_DATA = (
    ("errors-5xx", "case"),
    ("component-down", "signals"),
    ("lock-held", "screening"),
    ("migration-stuck", "vault"),
    ("slot-left", ""),
    ("consumer-stopped", "monitoring"),
)
"""Faults and their services, without which some panels are empty."""
CLUSTER = "tests/demo/test_cluster.py"
EMPTY = {
    r"probe_kubernetes_|probe=\"kubernetes\"": ("no cluster is asked here", CLUSTER),
    r"probe_tls_secret_": ("the Secret of a certificate is in a cluster", CLUSTER),
    r"probe_redis_(cluster|sentinel|replica_lag)": ("one Valkey, without Sentinels", "tests/e2e/valkey_rows.py"),
    r"probe_redis_(canary|latency_event|slow_commands)": (
        "off, as it is by default",
        "tests/probes/test_redis_canary.py",
    ),
    r"probe_redis_rdb_last_save_seconds": ("nothing is saved", "tests/probes/test_redis_figures.py"),
    r"probe_postgres_replica(_lag|tion_(lag|link))": ("no standby", "tests/probes/test_postgres_servers.py"),
    r"probe_postgres_wal_archive": ("nothing is archived", "tests/probes/test_postgres_figures.py"),
    r"probe_pgbouncer": ("no pgbouncer", "tests/probes/test_postgres_pgbouncer.py"),
    r"probe_kafka_open_transaction": ("no transaction is open", "tests/e2e/kafka_rows.py"),
    r"probe_exporter_state_file": ("none is configured", "tests/e2e/matrix.py"),
    r"probe_exporter_web_certificate": ("it serves plain HTTP", "tests/faults/test_faults.py"),
    r"probe_kafka_canary": ("off, as it is by default", "tests/e2e/kafka_rows.py"),
}
"""What this demo has no data for, why, and where a real server, broken too, has it."""
MAY_BE_EMPTY = {"dependency"}
"""Of causes that are a service's own; Prometheus knows no label that is empty."""
ELSEWHERE = re.compile("|".join(pattern for pattern, (_, where) in EMPTY.items() if where == CLUSTER))
"""What the demo with a cluster is asked."""


def test_every_query_of_the_dashboards_returns_what_its_legend_names_from_a_prometheus_that_scraped_the_fleet(
    demo: RunningFleet,
) -> None:
    assert [where for _, where in EMPTY.values() if not (ROOT / where).is_file()] == []
    listed = re.compile("|".join(EMPTY))
    always = re.compile(r'(?<!_at)_limit\{|"none"')  # limits are exported whatever there is, and what counts nothing says so
    left_out = {name: query for name, (_, query) in queries().items() if listed.search(query) and not always.search(query)}
    asked = {name: target for name, target in queries().items() if name not in left_out}
    assert len(asked) > 200

    def wrong() -> dict[str, str]:
        """Ask what was not right yet: an outage, for one, is over after a while."""
        found = {}
        for name, (legend, query) in list(asked.items()):
            series = demo.query(query)
            named = set(re.findall(r"\{\{(\w+)\}\}", legend)) - MAY_BE_EMPTY
            missing = named - set().union(*(each["metric"] for each in series))
            # A line for what is absent on a good day has only the first of its labels.
            if series and (not missing or '"none"' in query):
                del asked[name]
            else:
                found[name] = f"{query}: {'no label ' + ', '.join(sorted(missing)) if series else 'no data'}"
        return found

    until(lambda: demo.query("probe_outages_total"), 60, "an outage can be told from one of before the first scrape")
    with ExitStack() as broken:
        for fault, service in WITH_DATA:
            broken.enter_context(demo.fault(fault, service))
        until(lambda: not wrong(), 180, "every panel has data", wrong)
    assert {name: query for name, query in left_out.items() if demo.query(query)} == {}, "it has data: list it no longer"

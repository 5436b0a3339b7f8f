"""What a healthy service answers, byte for byte as Boot does, and that there is real work behind it."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.error
import urllib.request
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from exporter.clients.postgres.flyway import Migration, summed_up
from exporter.clients.spring import meters, metrics_json, prometheus_text
from exporter.demo.servers.springboot import SERVICES
from tests.fixtures.springboot import SpringFleet
from tests.springboot.asking import V2, V3, get, meter, statuses
from tests.waiting import until


@pytest.fixture(scope="module")
def port(spring_fleet: SpringFleet) -> int:
    """A service that nothing is wrong with."""
    found = spring_fleet.ports["monitoring"]
    until(lambda: set(statuses(found).values()) == {"UP"}, 10, "everything is up")
    return found


def test_health_has_real_components_sorted_and_groups(port: int) -> None:
    answer = get(port, "/health")
    assert (answer.status, answer.headers["Content-Type"]) == (200, V3)
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert "Server" not in answer.headers
    tree = answer.json
    assert list(tree) == ["status", "components", "groups"]
    assert tree["groups"] == ["liveness", "readiness"]
    components = tree["components"]
    assert list(components) == [
        "db", "diskSpace", "kafka", "livenessState", "ping", "readinessState", "redis", "ssl", "upstreams",
    ]  # fmt: skip
    assert components["db"] == {"status": "UP", "details": {"database": "PostgreSQL", "validationQuery": "isValid()"}}
    assert re.fullmatch(r"\d+\.\d+\.\d+", components["redis"]["details"]["version"])
    assert components["kafka"]["details"]["nodes"] == 1
    assert components["ping"] == components["livenessState"] == components["readinessState"] == {"status": "UP"}
    assert components["ssl"] == {"status": "UP", "details": {"validChains": [], "invalidChains": []}}
    disk = components["diskSpace"]["details"]
    assert list(disk) == ["total", "free", "threshold", "path", "exists"]
    assert 0 < disk["free"] <= disk["total"]
    assert components["upstreams"] == {"status": "UP", "components": {"sanctionsList": {"status": "UP"}}}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("liveness", {"status": "UP"}),
        ("readiness", {"status": "UP"}),
        ("ping", {"status": "UP"}),
        ("upstreams/sanctionsList", {"status": "UP"}),
    ],
)
def test_groups_and_components_have_paths_of_their_own(path: str, expected: Any, port: int) -> None:
    answer = get(port, f"/health/{path}")
    assert (answer.status, answer.json) == (200, expected)


@pytest.mark.parametrize(
    "path", ["/health/nothing", "/health/db/nothing", "/health/liveness/livenessState", "/metrics/nothing"]
)
def test_what_an_endpoint_does_not_have_is_404_without_a_body(path: str, port: int) -> None:
    answer = get(port, path)
    assert (answer.status, answer.body) == (404, b"")


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/nothing", 404, "Not Found"),
        ("POST", "/health", 405, "Method Not Allowed"),
        ("GET", "/metrics/jvm.memory.used?tag=area", 400, "Bad Request"),
    ],
)
def test_errors_have_the_body_of_boots_error_controller(method: str, path: str, status: int, error: str, port: int) -> None:
    answer = get(port, path, method=method)
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/json")
    body = answer.json
    assert list(body) == ["timestamp", "status", "error", "path"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", body["timestamp"])
    assert (body["status"], body["error"], body["path"]) == (status, error, f"/actuator{path.partition('?')[0]}")
    assert status != 405 or "GET" in answer.headers["Allow"]


def test_unknown_paths_count_under_one_uri(port: int) -> None:
    before = meter(port, "http_server_requests_seconds_count", uri="/**", status="404")
    for number in range(3):
        get(port, f"/{number}")
    assert meter(port, "http_server_requests_seconds_count", uri="/**", status="404") == before + 3
    assert meter(port, "http_server_requests_seconds_count", uri="/actuator/0") == 0
    get(port, "/metrics/jvm.memory.used")
    assert meter(port, "http_server_requests_seconds_count", uri="/actuator/metrics/{requiredMetricName}") >= 1
    get(port, "/health/db")
    assert meter(port, "http_server_requests_seconds_count", uri="/actuator/health/**", status="200") >= 1


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, V3), ("*/*", V3), ("application/json", "application/json"), (f"{V3}, application/json", V3),
        (f"application/json;q=0.5, {V2}", V2),
        ("text/html, application/*;q=0.8", V3),
    ],
)  # fmt: skip
def test_json_comes_in_the_media_type_that_is_accepted(accept: str | None, kind: str, port: int) -> None:
    answer = get(port, "/health", accept=accept)
    assert (answer.status, answer.headers["Content-Type"]) == (200, kind)
    assert ("components" in answer.json) is ("v2" not in kind)
    assert "sanctionsList" in answer.json["details" if "v2" in kind else "components"]["upstreams"].get(
        "details" if "v2" in kind else "components", {}
    )


@pytest.mark.parametrize("path", ["/health", "/prometheus", "/metrics"])
def test_what_nobody_accepts_is_406(path: str, port: int) -> None:
    answer = get(port, path, accept="image/png")
    assert (answer.status, answer.body) == (406, b"")


def test_the_index_links_every_endpoint(spring_fleet: SpringFleet, port: int) -> None:
    links = get(port, "").json["_links"]
    base = f"http://127.0.0.1:{port}/actuator"
    assert links["self"] == {"href": base, "templated": False}
    assert links["health-path"] == {"href": f"{base}/health/{{*path}}", "templated": True}
    for name in ("health", "info", "flyway", "prometheus", "metrics"):
        assert get(port, links[name]["href"].removeprefix(base)).status == 200
    assert get(port, "/info").json["build"]["artifact"] == "monitoring-service"


def test_prometheus_is_written_in_the_format_that_is_asked_for(port: int) -> None:
    text = get(port, "/prometheus")
    assert text.headers["Content-Type"] == "text/plain;version=0.0.4;charset=utf-8"
    assert int(text.headers["Content-Length"]) == len(text.body)
    other = get(port, "/prometheus", accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert other.headers["Content-Type"] == "application/openmetrics-text;version=1.0.0;charset=utf-8"
    families = {family.name for family in parse_openmetrics(other.body.decode())}  # type: ignore[no-untyped-call] # the library's
    assert {"http_server_requests_seconds", "cache_gets", "hikaricp_connections_timeout", "jvm_memory_max_bytes"} <= families


def test_the_names_that_the_exporter_sends_choose_all_it_wants_and_nothing_else(port: int) -> None:
    """It sends families and samples together; this version knows the families."""

    def full() -> bool:
        body = get(port, f"/prometheus?includedNames={meters.included_names()}").body
        found = prometheus_text.parse(body, meters.WANTED)
        missing = {name for name, samples in found.samples.items() if not samples}
        return missing == {"http_server_requests_seconds"}  # quantiles, which these services do not have

    until(full, 30, "every wanted meter")
    filtered = get(port, f"/prometheus?includedNames={meters.included_names()}").body.decode()
    assert "_seconds_max" not in filtered
    assert "jvm_threads" not in filtered
    assert len(filtered) < len(get(port, "/prometheus").body)


@pytest.mark.parametrize(
    "query",
    ["includedNames=process_uptime_seconds,cache_gets", "includedNames=process_uptime_seconds&includedNames=cache_gets"],
)
def test_included_names_come_in_one_parameter_or_in_many(query: str, port: int) -> None:
    lines = get(port, f"/prometheus?{query}").body.decode().splitlines()
    assert {line.split()[2] for line in lines if line.startswith("# TYPE")} == {"cache_gets_total", "process_uptime_seconds"}


def test_included_names_of_samples_match_nothing(port: int) -> None:
    answer = get(port, "/prometheus?includedNames=cache_gets_total,http_server_requests_seconds_count")
    assert (answer.status, answer.body) == (200, b"")


def test_every_meter_has_the_application_and_the_kafka_client_writes_no_dots(port: int) -> None:
    lines = [line for line in get(port, "/prometheus").body.decode().splitlines() if not line.startswith("#")]
    assert [line for line in lines if 'application="monitoring-service"' not in line] == []
    until(lambda: "records_lag{" in get(port, "/prometheus").body.decode(), 30, "lag")
    lag = next(line for line in get(port, "/prometheus").body.decode().splitlines() if "records_lag{" in line)
    assert 'topic="hafnium_monitoring_events"' in lag


async def test_the_metrics_endpoint_tells_the_exporter_the_same_as_prometheus(port: int) -> None:
    async def ask(name: str, tags: metrics_json.Tags) -> metrics_json.Measured | None:
        query = "&".join(f"tag={tag}:{value.replace(' ', '%20')}" for tag, value in tags)
        answer = await asyncio.to_thread(get, port, f"/metrics/{name}?{query}")
        return metrics_json.parse(answer.body) if answer.status == 200 else None

    def lagging() -> bool:
        return "kafka.consumer.fetch.manager.records.lag" in get(port, "/metrics").json["names"]

    await asyncio.to_thread(until, lagging, 30, "lag")
    names = metrics_json.parse_names((await asyncio.to_thread(get, port, "/metrics")).body)
    readings = meters.Readings()
    await metrics_json.collect(names, ask, readings)
    body = (await asyncio.to_thread(get, port, "/prometheus")).body
    other = meters.read(prometheus_text.parse(body, meters.WANTED))
    assert readings.memory_max == other.memory_max == {("heap",): 256.0 * 2**20, ("nonheap",): 1141.0 * 2**20}
    assert readings.connections_max == other.connections_max == {("HikariPool-1",): 4.0}
    assert readings.connections.keys() == other.connections.keys()
    assert readings.connection_timeouts == other.connection_timeouts
    assert readings.lag.keys() == other.lag.keys() == {("hafnium_monitoring_events",)}
    assert abs(readings.started[()] - other.started[()]) < 0.001
    gets, later = sum(readings.cache_gets.values()), sum(other.cache_gets.values())
    assert 0 < gets <= later <= gets + 10
    assert 0 < readings.requests["SUCCESS",] <= other.requests["SUCCESS",]


async def test_flyway_tells_the_table_that_flyway_writes(spring_fleet: SpringFleet) -> None:
    answer = await asyncio.to_thread(get, spring_fleet.ports["risk-engine"], "/flyway")
    told = answer.json["contexts"]["risk-engine-service"]["flywayBeans"]["flyway"]["migrations"]
    assert [(item["type"], item.get("version"), item["state"]) for item in told] == [
        ("SCHEMA", None, "SUCCESS"), ("SQL", "1", "SUCCESS"), ("SQL", "2", "SUCCESS"), ("SQL", "3.1", "SUCCESS"),
    ]  # fmt: skip
    assert told[2]["script"] == "V2__add_indexes.sql"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told[1]["installedOn"])
    assert "checksum" not in told[0]
    rows = await fetch(spring_fleet, "SELECT * FROM risk_engine.flyway_schema_history ORDER BY installed_rank")
    history = summed_up(Migration(row["version"], row["type"], row["success"], row["script"]) for row in rows)
    assert (history.version, history.migrations, history.failed) == ("3.1", 3, 0)
    assert [row["checksum"] for row in rows] == [item.get("checksum") for item in told]
    schemas = await fetch(spring_fleet, "SELECT schemaname FROM pg_tables WHERE tablename = 'flyway_schema_history'")
    assert {row["schemaname"] for row in schemas} == {name.replace("-", "_") for name in SERVICES}


async def test_the_pool_that_is_told_is_the_one_that_postgres_sees(spring_fleet: SpringFleet, port: int) -> None:
    query = "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'monitoring-service'"
    for _ in range(50):
        seen = (await fetch(spring_fleet, query))[0]["n"]
        if await asyncio.to_thread(meter, port, "hikaricp_connections") == seen:
            break
    else:
        pytest.fail("PostgreSQL counts other sessions than the pool")
    assert 2 <= seen <= 4
    everything = (await fetch(spring_fleet, "SELECT count(*) AS n FROM pg_stat_activity WHERE usename = 'hafnium'"))[0]["n"]
    assert everything <= 4 * len(SERVICES)


def test_traffic_counts_requests_lookups_and_records(port: int) -> None:
    names = (
        "cache_gets_total",
        "cache_puts_total",
        "spring_kafka_listener_seconds_count",
        "http_server_requests_seconds_sum",
    )
    before = {name: meter(port, name) for name in names}
    until(lambda: all(meter(port, name) > before[name] for name in names), 30, "traffic")
    assert meter(port, "cache_gets_total", result="hit") > 0
    assert meter(port, "cache_gets_total", result="miss") > 0
    assert meter(port, "http_server_requests_seconds_count", uri="/api/profiles/{id}", outcome="SUCCESS") > 0
    assert meter(port, "http_server_requests_seconds_bucket", uri="/api/profiles/{id}", le="+Inf") > 0
    assert meter(port, "hikaricp_connections_usage_seconds_count") > 0


async def test_events_are_in_the_topic_and_their_group_commits(spring_fleet: SpringFleet) -> None:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=spring_fleet.broker.address, group_id="monitoring-service", enable_auto_commit=False
    )
    await consumer.start()
    try:
        parts = [TopicPartition("hafnium.monitoring.events", number) for number in range(2)]
        for _ in range(300):
            commits = [await consumer.committed(part) or 0 for part in parts]
            if all(commits):
                break
            await asyncio.sleep(0.1)
        ends = await consumer.end_offsets(parts)
        assert all(0 < commit <= ends[part] for part, commit in zip(parts, commits, strict=True))
        assert sum(ends.values()) - sum(commits) <= 5
    finally:
        await consumer.stop()


def order(fleet: SpringFleet, body: bytes) -> tuple[int, str]:
    url = f"http://{fleet.server.address}/fault"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body, method="POST"), timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"service": "vault", "fault": "burn", "on": True}, "faults: stop, hang, slow, "),
        ({"service": "vat", "fault": "hang", "on": True}, "services: identity, screening, "),
        ({"service": "vault", "fault": "hang"}, "Field required"),
        ({"service": "vault", "fault": "hang", "on": "maybe"}, "valid boolean"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_with_the_choices(
    wanted: dict[str, Any], says: str, spring_fleet: SpringFleet
) -> None:
    status, text = order(spring_fleet, json.dumps(wanted).encode())
    assert status == 400
    assert says in text
    assert order(spring_fleet, b"{")[0] == 400


def test_an_order_is_answered_with_what_is_wrong_now(spring_fleet: SpringFleet) -> None:
    for on, says in ((True, '["poison"]'), (True, '["poison"]'), (False, "[]"), (False, "[]")):
        assert order(spring_fleet, json.dumps({"service": "vault", "fault": "poison", "on": on}).encode()) == (200, says)


async def fetch(fleet: SpringFleet, query: str) -> list[Any]:
    """Ask PostgreSQL itself."""
    server = fleet.postgres
    connection = await asyncpg.connect(
        host=server.host, port=server.port, user="postgres", password=server.superuser_password, database=server.database
    )
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()

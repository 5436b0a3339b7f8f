"""Meters of real applications, held against the applications' own numbers."""

from __future__ import annotations

import asyncio
import math
import re
import time
from typing import Any
from urllib.parse import urlencode

import pytest
from aiokafka import AIOKafkaProducer

from exporter.actuator import flyway
from exporter.actuator import recording as r
from exporter.clients.spring import meters, metrics_json, prometheus_text
from exporter.probing.probe import SharedClients
from exporter.probing.runner import Outcome
from tests.conformance.conftest import Cell
from tests.conformance.reading import Reader, ask_often, p99, series
from tests.conformance.subjects import Subject
from tests.fixtures.boot_applications import ApacheKafka, Application, BootApplications

MB = 1 << 20


def _of(outcome: Outcome, family: Any, *labels: str) -> float:
    assert outcome.parts["metrics"] is None, outcome.parts
    return series(outcome, family)[labels]


@pytest.mark.feature("Prometheus endpoint, filtered by `includedNames`")
def test_included_names_leave_what_is_wanted(subject: Subject, cell: Cell) -> None:
    subject.application.get("/actuator/health")
    everything = subject.application.get("/actuator/prometheus")
    filtered = subject.application.get(f"/actuator/prometheus?includedNames={meters.included_names()}")
    found = {name for name, samples in prometheus_text.parse(everything, meters.WANTED).samples.items() if samples}
    assert found == {name for name, samples in prometheus_text.parse(filtered, meters.WANTED).samples.items() if samples}
    assert {"http_server_requests_seconds_bucket", "hikaricp_connections_active", "jvm_memory_used_bytes"} <= found
    if subject.application.version_key >= (2, 4):
        assert b"system_cpu_usage" not in filtered
    else:
        assert b"system_cpu_usage" in filtered
        cell.absent()


@pytest.mark.feature("HTTP requests by outcome, over all URIs")
async def test_requests_are_counted(boot: BootApplications, shared: SharedClients) -> None:
    read = Reader(shared, boot.full)
    before, own_before = await read(), boot.full.truth()
    await ask_often(boot.full, "/work/slow/a", 20)
    await ask_often(boot.full, "/work/slow/b", 10)
    await ask_often(boot.full, "/work/fail", 7)
    own = boot.full.truth()
    assert (own["served"] - own_before["served"], own["failed"] - own_before["failed"]) == (30, 7)

    def more(outcome: Outcome, family: Any, *labels: str) -> float:
        return _of(outcome, family, *labels) - series(before, family).get(labels, 0)

    after = await read.until(lambda outcome: more(outcome, r.REQUESTS, "SERVER_ERROR") >= 7)
    assert more(after, r.REQUESTS, "SERVER_ERROR") == 7
    assert 30 <= more(after, r.REQUESTS, "SUCCESS") < 45, "the probe's own requests and the truth's count too"
    assert more(after, r.REQUEST_SECONDS) > 0


@pytest.mark.feature("p99 from the application's histogram")
async def test_p99_comes_from_the_histogram(boot: BootApplications, shared: SharedClients) -> None:
    read = Reader(shared, boot.full)
    await read()
    await ask_often(boot.full, "/work/slow/p99?ms=10", 100)
    await ask_often(boot.full, "/work/slow/p99?ms=300", 8)
    outcome = await read.until(lambda outcome: p99(outcome).get(("histogram",), 0) > 0.2)
    own = boot.full.truth()["p99"]
    assert p99(outcome) == {("histogram",): pytest.approx(own, rel=0.25)}


@pytest.mark.feature("p99 from client-side quantiles")
async def test_p99_comes_from_quantiles(boot: BootApplications, shared: SharedClients) -> None:
    began = time.perf_counter()
    await ask_often(boot.hidden, "/work/slow/p99?ms=250", 20)
    longest = time.perf_counter() - began  # of all together: none of them took longer
    read = Reader(shared, boot.hidden)
    outcome = await read.until(lambda outcome: p99(outcome) == {("quantile",): max(own_quantiles(boot.hidden).values())})
    (slow,) = (value for uri, value in own_quantiles(boot.hidden).items() if uri.endswith("/{name}"))
    assert 0.24 < slow < 1.1 * longest
    assert p99(outcome)["quantile",] > 0.24
    assert series(outcome, r.REQUEST_DURATION) == {}


def own_quantiles(application: Application) -> dict[str, float]:
    """Return the highest p99 of each URI, as the application shows it."""
    shown = application.actuator("prometheus").decode()
    found: dict[str, float] = {}
    for labels, value in re.findall(r'^http_server_requests_seconds\{(.*quantile="0\.99".*)\} (\S+)', shown, re.MULTILINE):
        (uri,) = re.findall(r'uri="([^"]*)"', labels)
        found[uri] = max(found.get(uri, 0), float(value))
    return found


@pytest.mark.feature("`/actuator/metrics` as the fallback, p99 from the probe's own requests")
async def test_an_application_without_prometheus_is_read_number_by_number(
    boot: BootApplications, shared: SharedClients
) -> None:
    read = Reader(shared, boot.plain)
    for _ in range(25):
        outcome = await read()
    own = boot.plain.truth()
    assert set(p99(outcome)) == {("own",)}
    assert 0 < p99(outcome)["own",] < 5
    assert _of(outcome, r.MEMORY_MAX, "heap") == own["heapMax"]
    assert _of(outcome, r.STARTED) == pytest.approx(own["startTime"], abs=1)
    assert _of(outcome, r.REQUESTS, "SUCCESS") >= 25
    assert "flyway" not in outcome.parts


@pytest.mark.feature("Hikari pool: in use, at most, share in use")
async def test_the_pool_is_told_as_it_is(boot: BootApplications, shared: SharedClients) -> None:
    read = Reader(shared, boot.full)
    pool = boot.full.truth()["pool"]
    with boot.full.switched("hold", {"connections": 0}, connections=3):
        outcome = await read.until(lambda outcome: series(outcome, r.CONNECTIONS).get((pool, "active")) == 3)
        own = boot.full.truth()
        assert own["poolActive"] == 3
        assert _of(outcome, r.CONNECTIONS_MAX, pool) == own["poolMax"] == 4
        assert _of(outcome, r.SATURATION, pool) == 0.75
    await read.until(lambda outcome: series(outcome, r.CONNECTIONS).get((pool, "active")) == 0)


@pytest.mark.feature("Heap in use and its limit, without pools that have none")
async def test_the_heap_is_told_as_it_is(boot: BootApplications, shared: SharedClients) -> None:
    read = Reader(shared, boot.full)
    boot.full.switch("collect")
    before = await read()
    own = boot.full.truth()
    assert _of(before, r.MEMORY_MAX, "heap") == own["heapMax"] == 256 * MB
    assert _of(before, r.MEMORY_USED, "heap") == pytest.approx(own["heapUsed"], abs=40 * MB)
    with boot.full.switched("leak", {"mb": 0}, mb=80):
        boot.full.switch("collect")
        leaking = await read()
        assert _of(leaking, r.MEMORY_USED, "heap") - _of(before, r.MEMORY_USED, "heap") > 60 * MB
        assert _of(leaking, r.MEMORY_COMMITTED, "heap") >= _of(leaking, r.MEMORY_USED, "heap")
    boot.full.switch("collect")


@pytest.mark.feature("Garbage collection: pauses, their time, its share")
async def test_collections_are_counted(boot: BootApplications, shared: SharedClients) -> None:
    read = Reader(shared, boot.full)
    before, own_before = await read(), boot.full.truth()
    for _ in range(3):
        boot.full.switch("collect")
    after = await read.until(lambda outcome: _of(outcome, r.GC_PAUSES) - _of(before, r.GC_PAUSES) >= 3)
    own = boot.full.truth()
    assert 3 <= _of(after, r.GC_PAUSES) - _of(before, r.GC_PAUSES) <= own["gcPauses"] - own_before["gcPauses"]
    paused = _of(after, r.GC_SECONDS) - _of(before, r.GC_SECONDS)
    assert 0 < paused <= own["gcSeconds"] - own_before["gcSeconds"] + 0.01
    assert 0 <= _of(after, r.GC_RATIO) <= 1


@pytest.mark.feature("Redis cache: hits, misses, hit ratio")
async def test_cache_lookups_are_counted(boot: BootApplications, shared: SharedClients, cell: Cell) -> None:
    read = Reader(shared, boot.full)
    before = await read()
    if boot.full.version_key < (2, 4):
        assert series(before, r.CACHE_GETS) == {}
        cell.absent()
        return
    own_before = boot.full.truth()
    for _ in range(4):
        boot.full.get(f"/work/cached/{time.monotonic_ns()}")
    key = time.monotonic_ns()
    for _ in range(7):
        boot.full.get(f"/work/cached/{key}")
    after, own = await read(), boot.full.truth()
    hits, misses = (own[of] - own_before[of] for of in ("cacheHits", "cacheMisses"))
    assert hits > 0 < misses
    assert _of(after, r.CACHE_GETS, "answers", "hit") - series(before, r.CACHE_GETS)["answers", "hit"] == hits
    assert _of(after, r.CACHE_GETS, "answers", "miss") - series(before, r.CACHE_GETS)["answers", "miss"] == misses
    assert _of(after, r.CACHE_HIT_RATIO, "answers") == pytest.approx(hits / (hits + misses))


@pytest.mark.feature("Start time, uptime, restarts")
async def test_the_process_is_told_as_it_is(boot: BootApplications, shared: SharedClients) -> None:
    outcome, own = await Reader(shared, boot.full)(), boot.full.truth()
    assert _of(outcome, r.STARTED) == pytest.approx(own["startTime"], abs=1)
    assert _of(outcome, r.UPTIME) == pytest.approx(own["uptime"], abs=2)
    assert _of(outcome, r.RESTARTS) == 0


@pytest.mark.feature("Hikari pool: exhausted, with threads that wait in vain")
async def test_an_exhausted_pool_is_told_as_it_is(subject: Subject, shared: SharedClients) -> None:
    """The health check waits for a connection as well: the meters are read while it does."""
    read = Reader(shared, subject.application, deadline=3)
    timeouts = _of(await read(), r.CONNECTION_TIMEOUTS, subject.pool)
    with subject.pool_exhausted():
        outcome = await read.until(lambda outcome: series(outcome, r.CONNECTIONS).get((subject.pool, "pending"), 0) >= 1)
        assert _of(outcome, r.SATURATION, subject.pool) == 1
        assert _of(outcome, r.CONNECTIONS, subject.pool, "active") == _of(outcome, r.CONNECTIONS_MAX, subject.pool)
        await read.until(lambda outcome: series(outcome, r.CONNECTION_TIMEOUTS).get((subject.pool,), 0) > timeouts, 45)
    await read.until(lambda outcome: series(outcome, r.SATURATION).get((subject.pool,), 1) < 1, 45)


@pytest.mark.feature("Both metrics endpoints agree")
async def test_the_metrics_endpoint_says_the_same_as_the_prometheus_endpoint(subject: Subject) -> None:
    application = subject.application
    by_text = meters.read(prometheus_text.parse(application.get("/actuator/prometheus"), meters.WANTED))
    by_json = meters.Readings()

    async def ask(name: str, tags: metrics_json.Tags) -> metrics_json.Measured | None:
        query = urlencode([("tag", f"{tag}:{value}") for tag, value in tags])
        body = application.get(f"/actuator/metrics/{name}?{query}")
        return metrics_json.parse(body) if body else None

    await metrics_json.collect(metrics_json.parse_names(application.get("/actuator/metrics")), ask, by_json)
    for same in ("memory_max", "connections_max", "started"):
        assert getattr(by_json, same) == getattr(by_text, same) != {}
    for alike in ("requests", "connections", "memory_used", "memory_committed", "gc_pauses", "uptime"):
        assert getattr(by_json, alike).keys() == getattr(by_text, alike).keys(), alike
    assert by_json.cache_gets.keys() == {key for key in by_text.cache_gets if key[1] != "pending"}


@pytest.mark.feature("Histogram: a bounded number of buckets, over all URIs")
async def test_the_histogram_holds_all_requests(subject: Subject, shared: SharedClients) -> None:
    await ask_often(subject.application, "/actuator/health/ping", 5)
    outcome = await Reader(shared, subject.application)()
    buckets = series(outcome, r.REQUEST_DURATION)
    assert 10 < len(buckets) <= 25
    assert buckets["count",] == buckets["+Inf",] == sum(series(outcome, r.REQUESTS).values())
    assert buckets["sum",] == _of(outcome, r.REQUEST_SECONDS)
    counts = [buckets[bound,] for bound in sorted((b for (b,) in buckets if b not in {"sum", "count"}), key=float)]
    assert counts == sorted(counts)


@pytest.mark.feature("Flyway: expected and applied version, pending and failed migrations")
async def test_migrations_are_told_as_they_are(subject: Subject, shared: SharedClients) -> None:
    applied, behind = subject.version, subject.before
    outcome = await Reader(shared, subject.application)()
    assert series(outcome, flyway.VERSION) == {("flyway", "expected", applied): 1, ("flyway", "applied", applied): 1}
    assert series(outcome, flyway.BEHIND) == {("flyway",): 0}
    states = series(outcome, flyway.MIGRATIONS)
    assert (states["flyway", "SUCCESS"], states["flyway", "PENDING"], states["flyway", "FAILED"]) == (3, 0, 0)
    with subject.history_changed(f"DELETE FROM {{}} WHERE version = '{applied}'"):
        outcome = await Reader(shared, subject.application)()
        if subject.fleet is None:
            assert subject.application.truth("/migrations") == {"pending": 1, "version": behind}
        assert series(outcome, flyway.BEHIND) == {("flyway",): 1}
        assert series(outcome, flyway.VERSION) == {("flyway", "expected", applied): 1, ("flyway", "applied", behind): 1}
        assert series(outcome, flyway.MIGRATIONS)["flyway", "PENDING"] == 1
    with subject.history_changed(f"UPDATE {{}} SET success = false WHERE version = '{applied}'"):
        outcome = await Reader(shared, subject.application)()
        assert series(outcome, flyway.MIGRATIONS)["flyway", "FAILED"] == 1
        assert series(outcome, flyway.BEHIND) == {("flyway",): 1}


@pytest.mark.feature("Kafka client lag, dotted topics counted once")
async def test_the_clients_lag_is_told_as_it_is(
    boot: BootApplications, shared: SharedClients, apache_kafka: ApacheKafka, cell: Cell
) -> None:
    """Micrometer looks for new client metrics once a minute, so that a topic can take that long to show."""
    read = Reader(shared, boot.full)
    if boot.full.version_key < (2, 4):
        assert series(await read(), r.KAFKA_LAG) == {}
        cell.absent()
        return
    async with AIOKafkaProducer(bootstrap_servers=apache_kafka.address) as producer:
        for _ in range(60):
            await producer.send_and_wait(boot.topic, b"an event")
    await asyncio.sleep(1)
    with boot.full.switched("consumer", {"paused": "false"}, paused="true"):
        await asyncio.sleep(1)
        name = boot.topic if boot.full.version_key >= (4, 0) else boot.topic.replace(".", "_")
        own = boot.full.truth()["lag"]
        assert own[name] > 0
        outcome = await read.until(lambda outcome: series(outcome, r.KAFKA_LAG).get((name,)) == own[name], 75)
        assert series(outcome, r.KAFKA_LAG) == {(name,): own[name]}
        assert not math.isnan(own[name])

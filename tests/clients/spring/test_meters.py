"""The curated meters: sums, the order of preference for p99, and the oddities of JVM pools and Kafka clients."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.clients.spring.meters import WANTED, LatencyWindow, OwnLatency, Readings, included_names, quantile_of, read
from exporter.clients.spring.prometheus_text import parse

BOOT_3 = b"""\
# TYPE http_server_requests_seconds histogram
http_server_requests_seconds_bucket{error="none",method="GET",outcome="SUCCESS",status="200",uri="/a",le="0.1"} 90
http_server_requests_seconds_bucket{error="none",method="GET",outcome="SUCCESS",status="200",uri="/a",le="0.2"} 99
http_server_requests_seconds_bucket{error="none",method="GET",outcome="SUCCESS",status="200",uri="/a",le="+Inf"} 100
http_server_requests_seconds_bucket{error="none",method="POST",outcome="SERVER_ERROR",status="500",uri="/b",le="0.1"} 0
http_server_requests_seconds_bucket{error="none",method="POST",outcome="SERVER_ERROR",status="500",uri="/b",le="0.2"} 1
http_server_requests_seconds_bucket{error="none",method="POST",outcome="SERVER_ERROR",status="500",uri="/b",le="+Inf"} 2
http_server_requests_seconds_count{error="none",exception="none",method="GET",outcome="SUCCESS",status="200",uri="/a"} 100
http_server_requests_seconds_sum{error="none",exception="none",method="GET",outcome="SUCCESS",status="200",uri="/a"} 5.5
http_server_requests_seconds_count{error="none",exception="X",method="POST",outcome="SERVER_ERROR",status="500",uri="/b"} 2
http_server_requests_seconds_sum{error="none",exception="X",method="POST",outcome="SERVER_ERROR",status="500",uri="/b"} 0.5
hikaricp_connections{pool="HikariPool-1"} 10
hikaricp_connections_active{pool="HikariPool-1"} 3
hikaricp_connections_idle{pool="HikariPool-1"} 7
hikaricp_connections_pending{pool="HikariPool-1"} 0
hikaricp_connections_max{pool="HikariPool-1"} 10
hikaricp_connections_timeout_total{pool="HikariPool-1"} 4
jvm_memory_used_bytes{area="heap",id="G1 Eden Space"} 100
jvm_memory_used_bytes{area="heap",id="G1 Old Gen"} 50
jvm_memory_used_bytes{area="nonheap",id="Metaspace"} 30
jvm_memory_committed_bytes{area="heap",id="G1 Eden Space"} 200
jvm_memory_committed_bytes{area="heap",id="G1 Old Gen"} 300
jvm_memory_max_bytes{area="heap",id="G1 Eden Space"} -1
jvm_memory_max_bytes{area="heap",id="G1 Old Gen"} 1.0E9
jvm_memory_max_bytes{area="nonheap",id="Metaspace"} -1
jvm_gc_pause_seconds_count{action="end of minor GC",cause="G1 Evacuation Pause"} 5
jvm_gc_pause_seconds_sum{action="end of minor GC",cause="G1 Evacuation Pause"} 0.05
jvm_gc_pause_seconds_count{action="end of major GC",cause="System.gc()"} 1
jvm_gc_pause_seconds_sum{action="end of major GC",cause="System.gc()"} 0.2
cache_gets_total{cache="users",cache_manager="cacheManager",name="users",result="hit"} 8
cache_gets_total{cache="users",cache_manager="cacheManager",name="users",result="miss"} 2
cache_gets_total{cache="users",cache_manager="cacheManager",name="users",result="odd"} 2
kafka_consumer_fetch_manager_records_lag{client_id="c-0",topic="events",partition="0"} 5
kafka_consumer_fetch_manager_records_lag{client_id="c-0",topic="events",partition="1"} 7
kafka_consumer_fetch_manager_records_lag{client_id="c-1",topic="idle",partition="0"} NaN
process_uptime_seconds 12.5
process_start_time_seconds 1.7E9
"""


def readings(body: bytes | str) -> Readings:
    return read(parse(body if isinstance(body, bytes) else body.encode(), WANTED))


def test_the_meters_of_an_application_are_summed_by_what_people_ask_for() -> None:
    found = readings(BOOT_3)
    assert found.requests == {("SUCCESS",): 100, ("SERVER_ERROR",): 2}
    assert found.request_seconds == {(): 6.0}
    assert found.buckets == {0.1: 90, 0.2: 100, math.inf: 102}
    assert found.quantile is None
    pool = "HikariPool-1"
    assert found.connections == {(pool, "active"): 3, (pool, "idle"): 7, (pool, "pending"): 0}
    assert (found.connections_max, found.connection_timeouts) == ({(pool,): 10}, {(pool,): 4})
    assert found.gc_pauses == {(): 6}
    assert found.gc_seconds[()] == pytest.approx(0.25)
    assert found.cache_gets == {("users", "hit"): 8, ("users", "miss"): 2}
    assert (found.uptime, found.started) == ({(): 12.5}, {(): 1.7e9})


def test_memory_pools_without_a_limit_do_not_spoil_the_limit_of_their_area() -> None:
    found = readings(BOOT_3)
    assert found.memory_used == {("heap",): 150, ("nonheap",): 30}
    assert found.memory_committed == {("heap",): 500}
    assert found.memory_max == {("heap",): 1e9}, "an area without any limit has none"


def test_lag_is_summed_over_partitions_and_nan_is_no_lag() -> None:
    assert readings(BOOT_3).lag == {("events",): 12}


def test_a_dotted_topic_that_is_registered_twice_counts_once() -> None:
    line = 'kafka_consumer_fetch_manager_records_lag{{client_id="{}",topic="{}",partition="0"}} {}\n'
    both = line.format("c", "a.b", 5) + line.format("c", "a_b", 5)
    assert readings(both).lag == {("a.b",): 5}
    assert readings(line.format("c", "a_b", 5)).lag == {("a_b",): 5}, "older clients have only this one"
    assert readings(both + line.format("d", "a_b", 2)).lag == {("a.b",): 5, ("a_b",): 2}, "another client's is its own"


def test_outcomes_of_boot_2_0_come_from_the_status() -> None:
    line = 'http_server_requests_seconds_count{{exception="None",method="GET",status="{}",uri="/{}"}} 1\n'
    body = "".join(line.format(status, n) for n, status in enumerate(["200", "204", "404", "500", "302", "what"]))
    assert readings(body).requests == {
        ("SUCCESS",): 2,
        ("CLIENT_ERROR",): 1,
        ("SERVER_ERROR",): 1,
        ("REDIRECTION",): 1,
        ("UNKNOWN",): 1,
    }


def test_label_values_of_an_application_are_bounded() -> None:
    pools = "".join(f'hikaricp_connections_max{{pool="{n:04}{"p" * 500}"}} 1\n' for n in range(500))
    areas = "".join(
        f'jvm_memory_used_bytes{{area="a{n}"}} 1\nhttp_server_requests_seconds_count{{outcome="o{n}"}} 1\n'
        for n in range(50)
    )
    found = readings(pools + areas)
    assert len(found.connections_max) == 200
    assert max(len(pool) for (pool,) in found.connections_max) == 200
    assert (found.memory_used, found.requests) == ({}, {("UNKNOWN",): 50})


def test_an_application_without_these_meters_has_no_readings() -> None:
    assert readings(b"other 1\n") == Readings()
    assert readings(b"process_uptime_seconds NaN\n").uptime == {}


def test_a_quantile_is_the_highest_of_all_uris_and_zero_means_no_recent_request() -> None:
    line = 'http_server_requests_seconds{{uri="/{}",quantile="{}"}} {}\n'
    body = line.format("a", "0.99", 0.3) + line.format("b", "0.99", 0.7) + line.format("b", "0.5", 0.9)
    assert readings(body).quantile == 0.7
    idle = readings(line.format("a", "0.99", 0.0) + line.format("b", "0.99", "NaN")).quantile
    assert idle is not None
    assert math.isnan(idle)
    assert readings(line.format("a", "0.95", 0.3)).quantile is None


def test_buckets_with_an_odd_bound_are_left_out() -> None:
    body = 'http_server_requests_seconds_bucket{le="x"} 1\nhttp_server_requests_seconds_bucket{le="NaN"} 1\n'
    assert readings(body + 'http_server_requests_seconds_bucket{le="1.0"} 4\n').buckets == {1.0: 4}


def test_included_names_have_both_forms() -> None:
    """Boot 2.4 to 3.2 match sample names, 3.3 and later family names."""
    names = included_names().split(",")
    assert {
        "http_server_requests_seconds",
        "http_server_requests_seconds_count",
        "http_server_requests_seconds_bucket",
    } <= set(names)
    assert {"cache_gets", "cache_gets_total", "jvm_gc_pause_seconds", "hikaricp_connections_timeout"} <= set(names)
    assert len(names) == len(set(names))
    assert len(included_names()) < 2000, "it travels in a URL"


def window(*counts: dict[float, float], started: tuple[float, ...] = ()) -> list[float | None]:
    """p99 after each reading."""
    open_window = LatencyWindow()
    starts = started or (1.0,) * len(counts)
    return [open_window.p99(Readings(buckets=count, started={(): at})) for count, at in zip(counts, starts, strict=True)]


def test_p99_is_of_the_requests_between_two_readings() -> None:
    """A day of fast requests does not hide a slow minute."""
    first, second = window({0.1: 1e6, 0.2: 1e6, math.inf: 1e6}, {0.1: 1e6, 0.2: 1e6 + 100, math.inf: 1e6 + 100})
    assert first is None
    assert second == pytest.approx(0.199)


def test_without_requests_in_between_there_is_no_p99() -> None:
    assert window({0.1: 5, math.inf: 5}, {0.1: 5, math.inf: 5}) == [None, None]


def test_a_restart_gives_no_p99_once() -> None:
    count = {0.1: 50.0, math.inf: 50.0}
    more = {0.1: 60.0, math.inf: 60.0}
    assert window(more, count)[1] is None, "counters went back"
    assert window(count, more, started=(1.0, 900.0))[1] is None, "they passed the old value meanwhile"
    assert window(count, count, more, started=(1.0, 900.0, 900.0))[2] is not None


def test_other_buckets_than_before_give_no_p99() -> None:
    assert window({0.1: 1, math.inf: 1}, {0.2: 2, math.inf: 2})[1] is None
    assert window({}, {})[1] is None


def test_in_the_last_bucket_the_highest_bound_is_what_is_known() -> None:
    assert quantile_of(0.99, {0.1: 0, 0.5: 1, math.inf: 100}) == 0.5


def test_a_histogram_without_its_last_bucket_has_no_quantile() -> None:
    assert quantile_of(0.99, {0.1: 1, 0.5: 2}) is None
    assert quantile_of(0.99, {math.inf: 2}) is None
    assert quantile_of(0.99, {}) is None


@given(st.lists(st.floats(0.001, 9.0), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_the_estimate_lies_in_the_bucket_of_the_true_quantile(latencies: list[float], share: float) -> None:
    bounds = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0]
    cumulative = {bound: float(sum(value <= bound for value in latencies)) for bound in bounds} | {
        math.inf: float(len(latencies))
    }
    true = sorted(latencies)[max(0, math.ceil(share * len(latencies) - 1e-9) - 1)]
    upper = next(bound for bound in bounds if true <= bound)
    lower = max((bound for bound in bounds if bound < upper), default=0.0)
    estimate = quantile_of(share, cumulative)
    assert estimate is not None
    assert lower - 1e-9 <= estimate <= upper + 1e-9


@given(st.dictionaries(st.sampled_from([0.1, 0.5, 1.0, math.inf]), st.floats(0, 1e6), min_size=2))
def test_buckets_that_contradict_each_other_still_give_a_bounded_estimate(cumulative: dict[float, float]) -> None:
    estimate = quantile_of(0.99, cumulative)
    assert estimate is None or 0 <= estimate <= 1.0


def test_the_probes_own_p99_needs_twenty_requests_and_forgives_one() -> None:
    own = OwnLatency()
    own.add(30.0)  # the first request to a cold JVM
    for _ in range(18):
        own.add(0.01)
    assert own.p99() is None
    own.add(0.02)
    assert own.p99() == 0.02


def test_the_probes_own_p99_forgets() -> None:
    own = OwnLatency()
    values = [random.Random(5).random() for _ in range(1000)]
    for value in [9.0, 9.0, 9.0, *values]:
        own.add(value)
    assert own.p99() == sorted(values[-100:])[-2]

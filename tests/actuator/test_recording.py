"""What readings in a row say: ratios, restarts, saturation, and the histogram that is passed on."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.actuator import recording
from exporter.actuator.recording import Recorder
from exporter.clients.spring.meters import WANTED, Readings, quantile_of, read, thinned
from exporter.clients.spring.prometheus_text import parse
from exporter.metrics.family import Family
from exporter.probing.attempt import Attempt
from exporter.verdict import Failure, Reason
from tests.fixtures.formats import exported, held_against_promtool, published

Values = dict[tuple[str, ...], float]

MICROMETER = (
    0.001, 0.001048576, 0.001398101, 0.001747626, 0.002097151, 0.002446676, 0.002796201, 0.003145726, 0.003495251,
    0.003844776, 0.004194304, 0.005592405, 0.006990506, 0.008388607, 0.009786708, 0.011184809, 0.01258291, 0.013981011,
    0.015379112, 0.016777216, 0.022369621, 0.027962026, 0.033554431, 0.039146836, 0.044739241, 0.050331646, 0.055924051,
    0.061516456, 0.067108864, 0.089478485, 0.111848106, 0.134217727, 0.156587348, 0.178956969, 0.20132659, 0.223696211,
    0.246065832, 0.268435456, 0.357913941, 0.447392426, 0.536870911, 0.626349396, 0.715827881, 0.805306366, 0.894784851,
    0.984263336, 1.073741824, 1.431655765, 1.789569706, 2.147483647, 2.505397588, 2.863311529, 3.22122547, 3.579139411,
    3.937053352, 4.294967296, 5.726623061, 7.158278826, 8.589934591, 10.021590356, 11.453246121, 12.884901886, 14.316557651,
    15.748213416, 17.179869184, 22.906492245, 28.633115306, 30.0, math.inf,
)  # fmt: skip
"""Bounds of `http.server.requests` as Micrometer makes them."""


def one(value: float) -> Values:
    return {(): value}


class Told:
    """A recorder, told one reading after the other, and what it recorded of each."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.last = self._attempt()

    @staticmethod
    def _attempt() -> Attempt:
        return Attempt(5, lambda error, stage: Failure(stage, Reason.INTERNAL, str(error)))

    def reading(self, *, whole: bool = True, **values: Any) -> Attempt:
        self.last = self._attempt()
        self.recorder.record(self.last, Readings(**values), whole=whole)
        assert self.last.samples.keys() <= set(recording.METRICS)
        return self.last

    def values(self, family: Family) -> Values:
        return dict(self.last.samples.get(family, {}))


@pytest.fixture
async def told() -> Told:
    return Told()


# --- garbage collection -------------------------------------------------------------------------------------------------


async def test_the_gc_ratio_is_of_the_time_between_two_readings_by_the_applications_own_clock(told: Told) -> None:
    told.reading(uptime=one(100), gc_seconds=one(50))
    assert told.values(recording.GC_RATIO) == {}, "a first reading says nothing of a rate"
    told.reading(uptime=one(110), gc_seconds=one(52.5))
    assert told.values(recording.GC_RATIO) == {(): 0.25}
    told.reading(uptime=one(120), gc_seconds=one(52.5))
    assert told.values(recording.GC_RATIO) == {(): 0}


async def test_the_first_collection_of_an_application_counts(told: Told) -> None:
    """Micrometer has no meter of it before."""
    told.reading(uptime=one(100))
    assert told.values(recording.GC_RATIO) == {}
    told.reading(uptime=one(110), gc_seconds=one(1))
    assert told.values(recording.GC_RATIO) == {(): 0.1}


async def test_the_gc_ratio_is_never_above_one(told: Told) -> None:
    """Concurrent collectors' pauses may be counted late."""
    told.reading(uptime=one(100), gc_seconds=one(0))
    told.reading(uptime=one(101), gc_seconds=one(5))
    assert told.values(recording.GC_RATIO) == {(): 1}


@pytest.mark.parametrize(
    ("uptime", "gc_seconds"),
    [(100, 6), (99.5, 6), (110, 4), (math.nan, math.nan), (110, math.inf)],
    ids=["no time passed", "time went back", "the counter went back", "not numbers", "too much"],
)
async def test_there_is_no_gc_ratio_of_numbers_that_make_none(told: Told, uptime: float, gc_seconds: float) -> None:
    told.reading(started=one(5), uptime=one(100), gc_seconds=one(5))
    told.reading(started=one(5), uptime=one(uptime), gc_seconds=one(gc_seconds))
    assert told.values(recording.GC_RATIO) == {}


async def test_without_an_uptime_the_time_between_the_readings_is_this_sides(told: Told) -> None:
    loop = asyncio.get_running_loop()
    earliest = loop.time()
    told.reading(gc_seconds=one(1))
    latest = loop.time()
    await asyncio.sleep(0.1)
    shortest = loop.time() - latest
    told.reading(gc_seconds=one(1.05))
    longest = loop.time() - earliest
    assert 0.05 / longest <= told.values(recording.GC_RATIO)[()] * 1.000001
    assert told.values(recording.GC_RATIO)[()] <= 0.05 / shortest * 1.000001


async def test_a_reading_that_was_cut_short_makes_no_ratio(told: Told) -> None:
    """Counters that are missing from it are not zero, or all since the start would count as of one interval."""
    told.reading(uptime=one(100), gc_seconds=one(50), cache_gets={("a", "hit"): 500})
    told.reading(uptime=one(110), whole=False)
    assert told.values(recording.RESTARTS) == {(): 0}
    told.reading(uptime=one(120), gc_seconds=one(51), cache_gets={("a", "hit"): 510, ("a", "miss"): 30})
    assert told.values(recording.GC_RATIO) == {(): 0.05}, "of the time since the last whole reading"
    assert told.values(recording.CACHE_HIT_RATIO) == {("a",): 0.25}


# --- caches -------------------------------------------------------------------------------------------------------------


async def test_hit_ratios_are_of_the_lookups_between_two_readings_cache_by_cache(told: Told) -> None:
    told.reading(cache_gets={("a", "hit"): 1000, ("a", "miss"): 0, ("b", "hit"): 7, ("b", "miss"): 9, ("b", "pending"): 1})
    assert told.values(recording.CACHE_HIT_RATIO) == {}
    told.reading(cache_gets={("a", "hit"): 1001, ("a", "miss"): 3, ("b", "hit"): 9, ("b", "miss"): 9, ("b", "pending"): 99})
    assert told.values(recording.CACHE_HIT_RATIO) == {("a",): 0.25, ("b",): 1}
    assert told.values(recording.CACHE_GETS)[("b", "pending")] == 99


async def test_a_cache_without_lookups_in_between_has_no_ratio(told: Told) -> None:
    for gets in (10, 10):
        told.reading(cache_gets={("idle", "hit"): gets, ("idle", "miss"): gets, ("new", "pending"): gets})
    assert told.values(recording.CACHE_HIT_RATIO) == {}


async def test_a_cache_that_is_new_counts_from_zero(told: Told) -> None:
    told.reading()
    told.reading(cache_gets={("new", "hit"): 3, ("new", "miss"): 1, ("missed", "miss"): 5})
    assert told.values(recording.CACHE_HIT_RATIO) == {("new",): 0.75, ("missed",): 0}


async def test_counters_that_go_back_make_no_hit_ratio_once(told: Told) -> None:
    """As where a cache was made anew."""
    told.reading(cache_gets={("a", "hit"): 10, ("a", "miss"): 10})
    told.reading(cache_gets={("a", "hit"): 2, ("a", "miss"): 12})
    assert told.values(recording.CACHE_HIT_RATIO) == {}
    told.reading(cache_gets={("a", "hit"): 3, ("a", "miss"): 13})
    assert told.values(recording.CACHE_HIT_RATIO) == {("a",): 0.5}


# --- restarts -----------------------------------------------------------------------------------------------------------


async def test_another_start_time_is_a_restart(told: Told) -> None:
    found = []
    for started in (1000, 1000.9, 1000, 2000, 2000, 1500):
        told.reading(started=one(started), uptime=one(5000))
        found.append(told.values(recording.RESTARTS))
    assert found == [one(count) for count in (0, 0, 0, 1, 1, 2)]


async def test_an_uptime_that_went_back_is_a_restart_where_there_is_no_start_time(told: Told) -> None:
    found = []
    for uptime in (100, 115, 3, 18, 18):
        told.reading(uptime=one(uptime))
        found.append(told.values(recording.RESTARTS))
    assert found == [one(count) for count in (0, 0, 1, 1, 1)]


async def test_the_start_time_is_believed_before_the_uptime(told: Told) -> None:
    told.reading(started=one(1000), uptime=one(100))
    told.reading(started=one(1000), uptime=one(99))
    assert told.recorder.restarts == 0


async def test_a_restart_is_seen_also_where_readings_in_between_know_neither(told: Told) -> None:
    """An application that starts may answer before it has these meters."""
    told.reading(started=one(1000))
    told.reading(cache_gets={("a", "hit"): 1})
    assert told.values(recording.RESTARTS) == {}, "of this process nothing is known"
    told.reading(started=one(2000))
    assert told.values(recording.RESTARTS) == {(): 1}


async def test_a_restart_is_seen_in_a_reading_that_was_cut_short(told: Told) -> None:
    told.reading(uptime=one(100), gc_seconds=one(1))
    told.reading(uptime=one(5), whole=False)
    assert told.values(recording.RESTARTS) == {(): 1}
    told.reading(uptime=one(20), gc_seconds=one(2))
    assert told.values(recording.GC_RATIO) == {}, "the last whole reading was of another process"
    told.reading(uptime=one(30), gc_seconds=one(3))
    assert told.values(recording.GC_RATIO) == {(): 0.1}


async def test_no_ratio_reaches_over_a_restart(told: Told) -> None:
    """Also where the new process's counters have passed the old ones."""
    told.reading(started=one(1000), uptime=one(5), gc_seconds=one(1), cache_gets={("a", "hit"): 1, ("a", "miss"): 1})
    told.reading(started=one(2000), uptime=one(9), gc_seconds=one(2), cache_gets={("a", "hit"): 9, ("a", "miss"): 9})
    assert told.values(recording.GC_RATIO) == told.values(recording.CACHE_HIT_RATIO) == {}
    told.reading(started=one(2000), uptime=one(11), gc_seconds=one(3), cache_gets={("a", "hit"): 10, ("a", "miss"): 12})
    assert told.values(recording.GC_RATIO) == {(): 0.5}
    assert told.values(recording.CACHE_HIT_RATIO) == {("a",): 0.25}


# --- pools, and what cannot be ------------------------------------------------------------------------------------------


async def test_saturation_is_per_pool_and_only_where_both_numbers_are_known(told: Told) -> None:
    told.reading(
        connections={("a", "active"): 10, ("b", "active"): 1, ("c", "idle"): 3, ("d", "active"): 1, ("e", "active"): 2},
        connections_max={("a",): 10, ("b",): 4, ("c",): 5, ("d",): 0},
    )
    assert told.values(recording.SATURATION) == {("a",): 1, ("b",): 0.25}


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, -math.inf])
async def test_numbers_that_no_meter_can_have_are_left_out(told: Told, value: float) -> None:
    for _ in range(2):
        told.reading(
            requests={("SUCCESS",): value},
            request_seconds=one(value),
            connections={("a", "active"): value},
            connections_max={("a",): value},
            gc_seconds=one(value),
            cache_gets={("a", "hit"): value},
            uptime=one(value),
            started=one(value),
        )
        assert not told.last.samples


async def test_the_probes_own_latency_stands_in_for_a_p99_until_there_is_a_better_one(told: Told) -> None:
    for seconds in [0.5] * 19 + [2.0]:
        told.recorder.take_own_latency(told.last, seconds)
    assert told.values(recording.REQUEST_P99) == {("own",): 0.5}
    told.reading(quantile=0.25)
    assert told.values(recording.REQUEST_P99) == {("quantile",): 0.25}
    told.recorder.take_own_latency(told.last, 0.5)
    assert told.values(recording.REQUEST_P99) == {("quantile",): 0.25}
    told.reading(quantile=math.nan)
    assert told.values(recording.REQUEST_P99) == {}, "nothing was served lately: not this probe's own either"


# --- the histogram ------------------------------------------------------------------------------------------------------


def histogram(counts: dict[float, float], seconds: float = 1.0) -> dict[str, Any]:
    return {"buckets": counts, "request_seconds": one(seconds)}


def evenly(bounds: tuple[float, ...] = MICROMETER, start: float = 0.0) -> dict[float, float]:
    return {bound: start + 10 * number for number, bound in enumerate(bounds, 1)}


def test_about_twenty_of_micrometers_buckets_are_kept() -> None:
    kept = thinned(evenly())
    assert list(kept) == [
        0.001, 0.002796201, 0.005592405, 0.008388607, 0.011184809, 0.027962026, 0.050331646, 0.089478485, 0.111848106,
        0.268435456, 0.536870911, 0.805306366, 1.073741824, 2.505397588, 5.726623061, 8.589934591, 10.021590356,
        28.633115306, 30.0, math.inf,
    ]  # fmt: skip
    assert all(evenly()[bound] == count for bound, count in kept.items())


def test_where_there_are_few_buckets_all_are_kept() -> None:
    """They are objectives that somebody has set: each of them is wanted."""
    few = evenly((0.1, 0.2, 0.3, 0.31, math.inf))
    assert thinned(few) == few
    assert thinned({}) == {}


sorted_bounds = st.lists(st.floats(0.0001, 200), min_size=1, max_size=120, unique=True).map(sorted)


@given(sorted_bounds, st.data())
def test_thinning_depends_on_the_bounds_alone_and_keeps_counts(bounds: list[float], data: st.DataObject) -> None:
    """Or instances could not be summed, and a rate would compare one bucket with another."""
    every = [*bounds, math.inf]
    counts = st.lists(st.integers(0, 10**9), min_size=len(every), max_size=len(every)).map(sorted)
    first, second = (dict(zip(every, data.draw(counts), strict=True)) for _ in range(2))
    kept = thinned(first)
    assert kept.keys() == thinned(second).keys()
    assert len(kept) <= 22
    assert list(kept) == sorted(kept)
    assert list(kept.values()) == sorted(kept.values())
    assert all(first[bound] == count for bound, count in kept.items())
    assert thinned(kept) == kept


@given(
    st.one_of(sorted_bounds, st.just(list(MICROMETER[:-1]))),
    st.lists(st.floats(0, 300), min_size=1, max_size=200),
    st.floats(0.5, 0.999),
)
def test_a_quantile_of_the_kept_buckets_is_that_of_all_within_one_bucket(
    bounds: list[float], latencies: list[float], share: float
) -> None:
    full = {bound: float(sum(seconds <= bound for seconds in latencies)) for bound in [*bounds, math.inf]}
    kept = thinned(full)
    exact, estimate = quantile_of(share, full), quantile_of(share, kept)
    assert exact is not None
    assert estimate is not None
    upper = next(bound for bound in kept if exact <= bound)
    lower = max((bound for bound in kept if bound < upper), default=0.0)
    assert not math.isinf(upper), "the highest bound is always kept"
    assert abs(exact - estimate) <= (upper - lower) * (1 + 1e-9)


async def test_the_histogram_is_exported_with_count_and_sum_in_both_formats(told: Told) -> None:
    told.reading(**histogram(evenly(), 12.5))
    store = published(told.last.samples)
    found = exported(store)
    held_against_promtool(store)
    buckets = {
        dict(labels)["le"]: value
        for (name, labels), value in found.items()
        if name == "probe_http_server_request_duration_seconds_bucket"
    }
    assert list(map(float, buckets)) == sorted(map(float, buckets))
    assert buckets["+Inf"] == 10 * len(MICROMETER)
    assert buckets["0.002796201"] == 10 * (MICROMETER.index(0.002796201) + 1)
    service = (("service", "identity"),)
    assert found["probe_http_server_request_duration_seconds_count", service] == buckets["+Inf"]
    assert found["probe_http_server_request_duration_seconds_sum", service] == 12.5
    assert len(buckets) == 20


async def test_sums_over_uris_with_unlike_buckets_do_not_go_back(told: Told) -> None:
    """A histogram that contradicts itself would make a reader refuse the whole answer."""
    told.reading(**histogram({0.1: 90, 0.5: 3, 1.0: 95, math.inf: 94}))
    assert told.values(recording.REQUEST_DURATION) == {
        ("0.1",): 90, ("0.5",): 90, ("1.0",): 95, ("+Inf",): 95, ("count",): 95, ("sum",): 1,
    }  # fmt: skip
    exported(published(told.last.samples))


async def test_a_histogram_without_its_last_bucket_is_left_out(told: Told) -> None:
    told.reading(**histogram({0.1: 1, 1.0: 2}))
    assert told.values(recording.REQUEST_DURATION) == {}


async def test_without_a_histogram_there_is_none(told: Told) -> None:
    told.reading(request_seconds=one(5), quantile=0.5)
    assert told.values(recording.REQUEST_DURATION) == {}


def bucket(le: str, count: float | str, uri: str = "/") -> str:
    return f'http_server_requests_seconds_bucket{{uri="{uri}",le="{le}"}} {count}\n'


@pytest.mark.parametrize("odd", ["-1.0", "0.0", "-Inf", "NaN", "x", ""])
async def test_bounds_that_are_no_latency_are_left_out(told: Told, odd: str) -> None:
    text = bucket(odd, 7) + bucket("0.5", 3) + bucket("+Inf", 4)
    told.recorder.record(told.last, read(parse(text.encode(), WANTED)))
    assert told.values(recording.REQUEST_DURATION) == {
        ("0.5",): 3, ("+Inf",): 4, ("count",): 4, ("sum",): 0,
    }  # fmt: skip
    exported(published(told.last.samples))


@pytest.mark.parametrize("odd", ["-5", "NaN", "+Inf", "1e400"])
async def test_counts_that_are_none_are_left_out(told: Told, odd: str) -> None:
    text = bucket("0.5", 3) + bucket("+Inf", 4) + bucket("0.5", odd, "/odd") + bucket("+Inf", odd, "/odd")
    found = read(parse(text.encode(), WANTED))
    assert found.buckets == {0.5: 3, math.inf: 4}


async def test_bounds_without_end_are_no_histogram(told: Told) -> None:
    text = "".join(bucket(repr(number / 1000), number) for number in range(1, 2000)) + bucket("+Inf", 2000)
    assert read(parse(text.encode(), WANTED)).buckets == {}


any_bounds = st.sampled_from(MICROMETER) | st.floats(1e-300, 1e300)


@given(st.dictionaries(any_bounds, st.floats(0, 1e300), min_size=1), st.floats(0, 1e300))
def test_whatever_the_buckets_say_the_exposition_can_be_read(counts: dict[float, float], seconds: float) -> None:
    counts.setdefault(math.inf, 5.0)

    async def steps() -> None:
        told = Told()
        for _ in range(2):
            told.reading(**histogram(counts, seconds))
        exported(published(told.last.samples))

    asyncio.run(steps())


async def test_all_that_an_application_has_is_exported_validly(told: Told) -> None:
    hostile = 'a"b\\c\nd'
    for step in (1, 2):
        told.reading(
            requests={("SUCCESS",): 5 * step},
            **histogram(evenly(start=step * 100), 2.5 * step),
            connections={(hostile, "active"): 1, (hostile, "idle"): 2, (hostile, "pending"): 0},
            connections_max={(hostile,): 10},
            connection_timeouts={(hostile,): step},
            memory_used={("heap",): 1e9},
            memory_max={("heap",): 2e9},
            memory_committed={("heap",): 1.5e9},
            gc_seconds=one(step),
            gc_pauses=one(step),
            cache_gets={(hostile, "hit"): step, (hostile, "miss"): step, (hostile, "pending"): 0},
            lag={(hostile,): 3},
            uptime=one(10 * step),
            started=one(1.7e9),
        )
    assert set(told.last.samples) == set(recording.METRICS)
    store = published(told.last.samples)
    exported(store)
    held_against_promtool(store)

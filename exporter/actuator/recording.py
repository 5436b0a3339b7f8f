"""What an application's meters are recorded as, and what only two readings in a row can tell.

Rates of counters are Prometheus's work; what is worked out here are the ratios and the restarts that people look at first.
"""

from __future__ import annotations

import asyncio
import math
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple

from exporter.clients.spring.meters import LatencyWindow, OwnLatency, Readings, Series, thinned
from exporter.metrics.family import COUNT, SUM, counter, gauge, histogram
from exporter.probing.attempt import Attempt

__all__ = ["METRICS", "Recorder"]

REQUESTS = counter("probe_http_server_requests_total", "HTTP requests that the application served.", "outcome")
REQUEST_SECONDS = counter(
    "probe_http_server_request_seconds_total", "Time that the application spent serving HTTP requests."
)
REQUEST_DURATION = histogram(
    "probe_http_server_request_duration_seconds",
    "Latency of HTTP requests as the application counts it, over all URIs, in about 20 of its buckets; only where it has a "
    "histogram. Sum instances by le.",
)
REQUEST_P99 = gauge(
    "probe_http_server_request_p99_seconds",
    "p99 latency of HTTP requests: of those between two attempts (histogram), as the application computes it (quantile), or "
    "of this probe's last 100 requests (own).",
    "source",
)
CONNECTIONS = gauge(
    "probe_hikari_connections", "Connections of a Hikari pool by state; pending are waiting threads.", "pool", "state"
)
CONNECTIONS_MAX = gauge("probe_hikari_connections_max", "Most connections that a Hikari pool may open.", "pool")
SATURATION = gauge(
    "probe_hikari_saturation_ratio", "Share of a Hikari pool's connections that are in use; 1 is exhausted.", "pool"
)
CONNECTION_TIMEOUTS = counter(
    "probe_hikari_connection_timeouts_total", "Requests for a connection of a Hikari pool that timed out.", "pool"
)
MEMORY_USED = gauge("probe_jvm_memory_used_bytes", "Memory that the JVM uses.", "area")
MEMORY_MAX = gauge(
    "probe_jvm_memory_max_bytes", "Memory that the JVM may use; memory pools without a limit are left out.", "area"
)
MEMORY_COMMITTED = gauge("probe_jvm_memory_committed_bytes", "Memory that the JVM has from the system.", "area")
GC_SECONDS = counter("probe_jvm_gc_pause_seconds_total", "Time that the JVM stood still for garbage collection.")
GC_PAUSES = counter("probe_jvm_gc_pauses_total", "Pauses of the JVM for garbage collection.")
GC_RATIO = gauge(
    "probe_jvm_gc_pause_ratio", "Share of the time between two attempts that the JVM stood still for garbage collection."
)
CACHE_GETS = counter("probe_cache_gets_total", "Cache lookups by result: hit, miss or pending.", "cache", "result")
CACHE_HIT_RATIO = gauge(
    "probe_cache_hit_ratio", "Hits among the hits and misses of a cache between two attempts; none without lookups.", "cache"
)
KAFKA_LAG = gauge(
    "probe_kafka_client_records_lag", "Records that the application's Kafka consumers say they are behind.", "topic"
)
UPTIME = gauge("probe_process_uptime_seconds", "Time since the application's process started.")
STARTED = gauge("probe_process_start_timestamp_seconds", "Unix time at which the application's process started.")
RESTARTS = counter(
    "probe_process_restarts_total",
    "Times that the application's process was found to be another than at the attempt before.",
)

_SERIES = (
    (REQUESTS, "requests"),
    (REQUEST_SECONDS, "request_seconds"),
    (CONNECTIONS, "connections"),
    (CONNECTIONS_MAX, "connections_max"),
    (CONNECTION_TIMEOUTS, "connection_timeouts"),
    (MEMORY_USED, "memory_used"),
    (MEMORY_MAX, "memory_max"),
    (MEMORY_COMMITTED, "memory_committed"),
    (GC_SECONDS, "gc_seconds"),
    (GC_PAUSES, "gc_pauses"),
    (CACHE_GETS, "cache_gets"),
    (KAFKA_LAG, "lag"),
    (UPTIME, "uptime"),
    (STARTED, "started"),
)

_read_all = attrgetter(*(name for _, name in _SERIES))
_FAMILIES = tuple(family for family, _ in _SERIES)

METRICS = (
    *_FAMILIES,
    REQUEST_DURATION,
    REQUEST_P99,
    SATURATION,
    GC_RATIO,
    CACHE_HIT_RATIO,
    RESTARTS,
)

_SAME_START = 1.0
"""Seconds by which one process's start may be told differently: endpoints round it."""


class _Counted(NamedTuple):
    """What is kept of a reading, to tell the next one by."""

    at: float
    uptime: float | None
    gc_seconds: float | None
    cache_gets: Series


class _Process(NamedTuple):
    """What tells one process from the next."""

    started: float | None
    uptime: float | None


class Recorder:
    """Records the readings of one application, attempt after attempt.

    Attributes:
        restarts: Times that its process was found to be another.
    """

    def __init__(self) -> None:
        self.restarts = 0
        self._window = LatencyWindow()
        self._own_latency = OwnLatency()
        self._has_p99 = False
        self._process: _Process | None = None
        self._last: _Counted | None = None

    def take_own_latency(self, attempt: Attempt, seconds: float) -> None:
        """Take in how long the application took for a request of the probe's own."""
        self._own_latency.add(seconds)
        if not self._has_p99:
            _record_p99(attempt, "own", self._own_latency.p99())

    def record(self, attempt: Attempt, readings: Readings, *, whole: bool = True) -> None:
        """Record what was read, and what it says together with the reading before.

        Args:
            attempt: Where to.
            readings: What was read; bounded here, since a reading that was cut short is not yet.
            whole: All was read. Of counters that are missing in a reading that was cut short nothing can be told.
        """
        readings.bound()
        attempt.record_all(dict(zip(_FAMILIES, _read_all(readings), strict=True)))
        self._record_latency(attempt, readings)
        attempt.record_all({SATURATION: {
            (pool,): readings.connections[pool, "active"] / most
            for (pool,), most in readings.connections_max.items()
            if most > 0 and (pool, "active") in readings.connections
        }})  # fmt: skip
        self._note_restart(attempt, readings)
        if whole:
            self._compare(attempt, readings)

    def _record_latency(self, attempt: Attempt, readings: Readings) -> None:
        p99 = self._window.p99(readings)
        self._has_p99 = bool(readings.buckets) or readings.quantile is not None
        if readings.buckets:
            _record_histogram(attempt, readings)
        if self._has_p99:
            attempt.samples.pop(REQUEST_P99, None)  # the application's own figure is better than this probe's
            if readings.buckets:
                _record_p99(attempt, "histogram", p99)
            else:
                _record_p99(attempt, "quantile", readings.quantile)

    def _note_restart(self, attempt: Attempt, readings: Readings) -> None:
        if not (readings.uptime or readings.started):
            return
        process = _Process(readings.started.get(()), readings.uptime.get(()))
        if self._process is not None and _restarted(self._process, process):
            self.restarts += 1
            self._last = None  # its counters are another process's
        self._process = process
        attempt.record(RESTARTS, self.restarts)

    def _compare(self, attempt: Attempt, readings: Readings) -> None:
        now = _Counted(
            at=asyncio.get_running_loop().time(),
            uptime=readings.uptime.get(()),
            gc_seconds=readings.gc_seconds.get(()),
            cache_gets=readings.cache_gets,
        )
        last, self._last = self._last, now
        if last is not None:
            _record_gc_ratio(attempt, last, now)
            _record_hit_ratios(attempt, last, now)


def _restarted(before: _Process, now: _Process) -> bool:
    if now.started is not None and before.started is not None:
        return abs(now.started - before.started) > _SAME_START
    return now.uptime is not None and before.uptime is not None and now.uptime < before.uptime


def _record_gc_ratio(attempt: Attempt, before: _Counted, now: _Counted) -> None:
    """By the application's own clock where it tells it: an attempt's reading may come late within the attempt."""
    elapsed = now.at - before.at
    if now.uptime is not None and before.uptime is not None:
        elapsed = now.uptime - before.uptime
    if now.gc_seconds is not None and elapsed > 0:
        paused = now.gc_seconds - (before.gc_seconds or 0.0)
        if paused >= 0:
            attempt.record(GC_RATIO, min(1.0, paused / elapsed))


def _record_hit_ratios(attempt: Attempt, before: _Counted, now: _Counted) -> None:
    def looked_up(cache: str, result: str) -> float:
        return now.cache_gets.get((cache, result), 0.0) - before.cache_gets.get((cache, result), 0.0)

    for cache in {cache for cache, _ in now.cache_gets}:
        hits, misses = looked_up(cache, "hit"), looked_up(cache, "miss")
        if hits >= 0 and misses >= 0 and hits + misses > 0:
            attempt.record(CACHE_HIT_RATIO, hits / (hits + misses), cache)


def _record_histogram(attempt: Attempt, readings: Readings) -> None:
    kept = thinned(readings.buckets)
    if math.inf not in kept:
        return
    reached = 0.0
    values: Series = {}
    for bound, count in kept.items():
        reached = max(reached, math.floor(count))  # URIs with other bounds than the rest make sums by bound go back
        values[_le(bound)] = float(reached)
    values[COUNT,] = float(reached)
    values[SUM,] = readings.request_seconds.get((), 0.0)
    attempt.record_all({REQUEST_DURATION: values})


@lru_cache(maxsize=2048)
def _le(bound: float) -> tuple[str]:
    """Write a bound as the label that it is."""
    return ("+Inf" if math.isinf(bound) else repr(bound),)


def _record_p99(attempt: Attempt, source: str, seconds: float | None) -> None:
    if seconds is not None and not math.isnan(seconds):
        attempt.record(REQUEST_P99, seconds, source)

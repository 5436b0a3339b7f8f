"""The meters that people ask a Spring Boot application for, out of the many that it has.

Names and labels are Micrometer's, of Boot 2.0 to 4.x. Label values come from the application, so each family keeps a bounded
number of them.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from operator import attrgetter

from exporter.clients.spring.prometheus_text import PrometheusText, Sample, Summed, Wanted

__all__ = ["WANTED", "LatencyWindow", "OwnLatency", "Readings", "Series", "included_names", "read", "thinned"]

Series = dict[tuple[str, ...], float]
"""Values by label values; a meter without labels has one, under the empty tuple."""

MAX_VALUES = 200
"""Label sets kept of one meter: pools, caches, topics."""

MAX_LABEL = 200

MAX_BOUNDS = 1_000
"""Bounds of a histogram; Micrometer has up to 276. One with more is left out."""

_OUTCOMES = {"1": "INFORMATIONAL", "2": "SUCCESS", "3": "REDIRECTION", "4": "CLIENT_ERROR", "5": "SERVER_ERROR"}
_KNOWN_OUTCOMES = frozenset(_OUTCOMES.values())
_AREAS = frozenset({"heap", "nonheap"})
_RESULTS = frozenset({"hit", "miss", "pending"})
POOL_STATES = ("active", "idle", "pending")

WANTED: Wanted = {
    "http_server_requests_seconds_count": Summed(("outcome", "status")),
    "http_server_requests_seconds_sum": Summed(()),
    "http_server_requests_seconds_bucket": Summed(("le",)),
    "http_server_requests_seconds": ("quantile",),
    "hikaricp_connections_active": Summed(("pool",)),
    "hikaricp_connections_idle": Summed(("pool",)),
    "hikaricp_connections_pending": Summed(("pool",)),
    "hikaricp_connections_max": Summed(("pool",)),
    "hikaricp_connections_timeout_total": Summed(("pool",)),
    "jvm_memory_used_bytes": Summed(("area",)),
    "jvm_memory_max_bytes": Summed(("area",)),
    "jvm_memory_committed_bytes": Summed(("area",)),
    "jvm_gc_pause_seconds_count": Summed(()),
    "jvm_gc_pause_seconds_sum": Summed(()),
    "cache_gets_total": Summed(("cache", "name", "result")),
    "kafka_consumer_fetch_manager_records_lag": ("client_id", "topic", "partition"),
    "process_uptime_seconds": Summed(()),
    "process_start_time_seconds": Summed(()),
}
"""Sample names and the labels read of each."""


def included_names() -> str:
    """Return the value of `includedNames`: family names for Boot 3.3 and later, sample names for 2.4 to 3.2, together.

    Each version ignores the names of the other form; before 2.4 the parameter is ignored as a whole.
    """
    names = set(WANTED)
    for name in WANTED:
        for suffix in ("_total", "_count", "_sum", "_bucket"):
            names.add(name.removesuffix(suffix))
    return ",".join(sorted(names))


@dataclass(slots=True)
class Readings:
    """What was read of one application, whichever endpoint it came from. Times in seconds, sizes in bytes.

    Attributes:
        requests: HTTP server requests so far, by outcome.
        request_seconds: Time spent in them so far.
        buckets: Requests so far up to each latency (upper bound in seconds), over all URIs; empty without a histogram.
        quantile: The highest p99 that the application computed itself; None without, NaN without recent requests.
        connections: Pool connections, by pool and state.
        connections_max: By pool.
        connection_timeouts: Requests for a connection that timed out so far, by pool.
        memory_used: By area.
        memory_max: By area; only of pools that have a limit.
        memory_committed: By area.
        gc_seconds: Time in garbage collection pauses so far.
        gc_pauses: Pauses so far.
        cache_gets: By cache and result.
        lag: Records that the application's own Kafka consumers are behind, by topic.
        uptime: Of the process.
        started: Unix time of the process's start.
    """

    requests: Series = field(default_factory=dict)
    request_seconds: Series = field(default_factory=dict)
    buckets: dict[float, float] = field(default_factory=dict)
    quantile: float | None = None
    connections: Series = field(default_factory=dict)
    connections_max: Series = field(default_factory=dict)
    connection_timeouts: Series = field(default_factory=dict)
    memory_used: Series = field(default_factory=dict)
    memory_max: Series = field(default_factory=dict)
    memory_committed: Series = field(default_factory=dict)
    gc_seconds: Series = field(default_factory=dict)
    gc_pauses: Series = field(default_factory=dict)
    cache_gets: Series = field(default_factory=dict)
    lag: Series = field(default_factory=dict)
    uptime: Series = field(default_factory=dict)
    started: Series = field(default_factory=dict)

    def bound(self) -> Readings:
        """Cut label values and their number, in place; the first by name are kept.

        Nothing that is read here can be negative, and a sum of hostile numbers may be infinite: such values are left out.
        """
        for name, series in zip(_SERIES, _all_series(self), strict=True):
            if series and not _is_bounded(series):
                cut = sorted(pair for pair in series.items() if 0 <= pair[1] < math.inf)[:MAX_VALUES]
                setattr(self, name, {tuple(text[:MAX_LABEL] for text in labels): value for labels, value in cut})
        return self


_SERIES = tuple(item.name for item in fields(Readings) if item.name not in {"buckets", "quantile"})
_all_series = attrgetter(*_SERIES)


def _is_bounded(series: Series) -> bool:
    """Say whether there is nothing to cut, as there nearly never is."""
    if len(series) > MAX_VALUES:
        return False
    for labels, value in series.items():
        if not 0 <= value < math.inf:
            return False
        for text in labels:
            if len(text) > MAX_LABEL:
                return False
    return True


def read(text: PrometheusText) -> Readings:
    """Read the curated meters from parsed samples."""
    of = text.samples
    connections: Series = {}
    for state in POOL_STATES:
        for labels, value in of[f"hikaricp_connections_{state}"]:
            connections[(*labels, state)] = value
    return Readings(
        requests=_sum((_outcome(*labels), value) for labels, value in of["http_server_requests_seconds_count"]),
        request_seconds=_sum(of["http_server_requests_seconds_sum"]),
        buckets=_buckets(of["http_server_requests_seconds_bucket"]),
        quantile=_quantile(of["http_server_requests_seconds"]),
        connections=connections,
        connections_max=_sum(of["hikaricp_connections_max"]),
        connection_timeouts=_sum(of["hikaricp_connections_timeout_total"]),
        memory_used=_sum(_positive(of["jvm_memory_used_bytes"])),
        memory_max=_sum(_positive(of["jvm_memory_max_bytes"])),
        memory_committed=_sum(_positive(of["jvm_memory_committed_bytes"])),
        gc_seconds=_sum(of["jvm_gc_pause_seconds_sum"]),
        gc_pauses=_sum(of["jvm_gc_pause_seconds_count"]),
        cache_gets=_sum(_cache_gets(of["cache_gets_total"])),
        lag=_lag(of["kafka_consumer_fetch_manager_records_lag"]),
        uptime=_sum(of["process_uptime_seconds"]),
        started=_sum(of["process_start_time_seconds"]),
    ).bound()


def known_outcome(outcome: str) -> str:
    """Keep the outcomes that Micrometer has; anything else is UNKNOWN."""
    return outcome if outcome in _KNOWN_OUTCOMES else "UNKNOWN"


def undotted_twins(topics: Iterable[str]) -> frozenset[str]:
    """Return the topics that are another one's name with dots replaced: kafka-clients 4.1 has each dotted topic twice."""
    known = set(topics)
    return frozenset(topic.replace(".", "_") for topic in known if "." in topic) & known


def quantile_of(share: float, cumulative: Mapping[float, float]) -> float | None:
    """Estimate a quantile from bucket counts as Prometheus's `histogram_quantile` does; None without observations.

    Args:
        share: Between 0 and 1.
        cumulative: Observations up to and including each upper bound; has one for +Inf.
    """
    bounds = sorted(cumulative)
    if len(bounds) < 2 or not math.isinf(bounds[-1]) or cumulative[bounds[-1]] <= 0:
        return None
    rank = share * cumulative[bounds[-1]]
    lower, below = 0.0, 0.0
    for bound in bounds:
        count = max(below, cumulative[bound])
        if count >= rank and count > below:
            if math.isinf(bound):
                break
            return lower + (bound - lower) * (rank - below) / (count - below)
        if not math.isinf(bound):
            lower, below = bound, count
    return lower


_GRID = tuple(base * 10.0**exponent for exponent in (-3, -2, -1, 0, 1) for base in (1, 2.5, 5, 7.5))
"""Latencies in seconds next to which a bucket of an application's histogram is kept."""


def thinned(cumulative: Mapping[float, float]) -> dict[float, float]:
    """Keep about twenty buckets of the seventy that Micrometer has: for each of a fixed grid the first at or above it.

    The last two are always kept: up to there, and beyond. Where there are few, as with objectives alone, all are. Which are
    kept depends on the bounds alone, so that instances of one application can be summed.
    """
    return {bound: cumulative[bound] for bound in _thinned(tuple(cumulative))}


@lru_cache(maxsize=64)
def _thinned(unordered: tuple[float, ...]) -> tuple[float, ...]:
    bounds = sorted(unordered)
    if len(bounds) > len(_GRID) + 2:
        kept = {bounds[at] for latency in _GRID if (at := bisect_left(bounds, latency)) < len(bounds)}
        bounds = sorted(kept.union(bounds[-2:]))
    return tuple(bounds)


class LatencyWindow:
    """p99 of the requests that were served between two readings, from histogram buckets."""

    __slots__ = ("_buckets", "_started")

    def __init__(self) -> None:
        self._buckets: dict[float, float] = {}
        self._started: float | None = None

    def p99(self, readings: Readings) -> float | None:
        """Return seconds, or None at the first reading, after a restart, and where nothing was served in between."""
        before, started_before = self._buckets, self._started
        now, started = readings.buckets, readings.started.get(())
        self._buckets, self._started = now, started
        if before.keys() != now.keys():
            return None
        if started is not None and started_before is not None and abs(started - started_before) > 1:
            return None
        served = {bound: count - before[bound] for bound, count in now.items()}
        if served and min(served.values()) < 0:
            return None
        return quantile_of(0.99, served)


class OwnLatency:
    """p99 of the probe's own last requests, for applications that publish neither histogram nor quantile.

    It is the second-highest of the last 100, once 20 are known: a single cold start is not a p99, however few there are.
    """

    __slots__ = ("_last", "_sorted")

    def __init__(self) -> None:
        self._last: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, seconds: float) -> None:
        """Take in one request, also one that ended in a timeout."""
        if len(self._last) == 100:
            del self._sorted[bisect_left(self._sorted, self._last.popleft())]
        self._last.append(seconds)
        insort(self._sorted, seconds)

    def p99(self) -> float | None:
        """Return seconds, or None while too few are known."""
        return self._sorted[-2] if len(self._sorted) >= 20 else None


def _positive(samples: Iterable[Sample]) -> Iterable[Sample]:
    """Drop -1, by which a memory pool says that it has no limit, and areas that no JVM has."""
    return ((labels, value) for labels, value in samples if value > 0 and labels[0] in _AREAS)


def _sum(samples: Iterable[Sample]) -> Series:
    series: Series = {}
    for labels, value in samples:
        if 0 <= value < math.inf:  # nothing read here can be negative, infinite or not a number
            series[labels] = series.get(labels, 0.0) + value
    return series


def _outcome(outcome: str, status: str) -> tuple[str]:
    """Boot before 2.2 has no outcome: the status code tells it."""
    return (known_outcome(outcome or _OUTCOMES.get(status[:1], "")),)


def _buckets(samples: Iterable[Sample]) -> dict[float, float]:
    """Sum by bound what the reader has summed by its text, over URIs and methods; two texts may say the same number."""
    by_text = list(samples)
    if len(by_text) > MAX_BOUNDS:
        return {}
    buckets: dict[float, float] = {}
    for (text,), count in by_text:
        bound = _bound(text)
        if bound > 0 and 0 <= count < math.inf:
            buckets[bound] = buckets.get(bound, 0.0) + count
    return buckets


@lru_cache(maxsize=2048)
def _bound(text: str) -> float:
    """Read a bound; 0 where it is none. Those of Micrometer are some hundred texts in all."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def _quantile(samples: Iterable[Sample]) -> float | None:
    values = [value for (quantile,), value in samples if quantile == "0.99"]
    if not values:
        return None
    recent = [value for value in values if math.isfinite(value) and value > 0]  # 0: its window holds no request
    return max(recent, default=math.nan)


def _cache_gets(samples: Iterable[Sample]) -> Iterable[Sample]:
    for (cache, name, result), value in samples:
        if result in _RESULTS:
            yield ((cache or name), result), value


def _lag(samples: Iterable[Sample]) -> Series:
    topics: dict[tuple[str, str], set[str]] = {}
    for (client, topic, partition), _ in samples:
        topics.setdefault((client, partition), set()).add(topic)
    twins = {key: undotted_twins(names) for key, names in topics.items()}
    return _sum(
        ((topic,), value)
        for (client, topic, partition), value in samples
        if value >= 0 and topic not in twins[client, partition]  # NaN: nothing was fetched yet
    )

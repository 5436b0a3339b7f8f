"""What the simulated actuators say: health, its groups, migrations, and meters of which every number moves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

__all__ = ["FLYWAY", "METERS_BYTES", "group", "health", "meters"]

METERS_BYTES = 98_000
"""Length of the metrics answer, within two per cent: that of a service with a latency histogram over a handful of URIs."""

_URIS = (
    "/api/v1/customers",
    "/api/v1/customers/{id}",
    "/api/v1/cases/{id}",
    "/api/v1/screenings",
    "/api/v1/cases/{id}/audit",
    "UNKNOWN",
)
_BOUNDS = (
    *(
        f"{base * 10.0**power:.9g}"
        for power in range(-3, 2)
        for base in (1, 1.2, 1.4, 1.8, 2.1, 2.5, 3, 3.6, 4.2, 5, 6, 7, 8, 9)
    ),
    "+Inf",
)
_POOLS = ("G1 Eden Space", "G1 Old Gen", "G1 Survivor Space", "Metaspace", "CodeCache", "Compressed Class Space")
_TOPICS = ("hafnium.cases", "hafnium.signals", "hafnium.audit", "hafnium.screenings")
_APP = 'application="identity"'


def health(number: int) -> bytes:
    """Write a health answer with details, of which the free disk space changes."""
    return (
        b'{"status":"UP","components":{"db":{"status":"UP","details":{"database":"PostgreSQL","validationQuery":"isValid()"}},'
        b'"diskSpace":{"status":"UP","details":{"total":1000000,"free":%d,"threshold":100,"path":"/.","exists":true}},'
        b'"livenessState":{"status":"UP"},"ping":{"status":"UP"},"readinessState":{"status":"UP"},'
        b'"redis":{"status":"UP","details":{"version":"7.2.4"}}},"groups":["liveness","readiness"]}'
        % (500_000 - number % 9000)
    )


def group(name: str) -> bytes:
    """Write the answer of a health group."""
    return json.dumps({"status": "UP", "components": {f"{name}State": {"status": "UP"}}}, separators=(",", ":")).encode()


FLYWAY = json.dumps({"contexts": {"application": {"flywayBeans": {"flyway": {"migrations": [
    {"type": "SQL", "checksum": 1, "version": str(version), "description": "a change", "script": f"V{version}__a_change.sql",
     "state": "SUCCESS", "installedBy": "hafnium", "installedOn": "2024-01-01T00:00:00Z", "executionTime": 12}
    for version in range(1, 31)
]}}}}}).encode()  # fmt: skip


def meters(number: int) -> bytes:
    """Write the metrics answer number so-and-so, as Micrometer does: counters grow, gauges move, the start stays."""
    return _TEMPLATE % tuple([start + number * step for start, step in _NUMBERS])


def _lines() -> Iterator[tuple[str, float | None]]:
    """Give each line of the answer with its first value; None where it has no value."""
    yield from _family("application_ready_time_seconds", "gauge", [('main_application_class="Main"', 12)])
    yield from _family("process_start_time_seconds", "gauge", [("", -1_700_000_000)])
    yield from _family("process_uptime_seconds", "gauge", [("", 1000)])
    for name in ("cpu_usage", "files_open_files", "files_max_files", "cpu_time_ns_total"):
        yield from _family(f"process_{name}", "gauge", [("", 40)])
    yield from _family("system_load_average_1m", "gauge", [("", 2)])
    for name in ("used", "max", "committed"):
        areas = [("nonheap" if at > 2 else "heap", pool) for at, pool in enumerate(_POOLS)]
        yield from _family(f"jvm_memory_{name}_bytes", "gauge", [(f'area="{a}",id="{p}"', 5_000_000) for a, p in areas])
    for cause in ("count", "sum", "max"):
        yield from _family(
            f"jvm_gc_pause_seconds_{cause}", "gauge", [('action="end of minor GC",cause="G1 Evacuation Pause"', 9)]
        )
    for name in ("live", "daemon", "peak", "started"):
        yield from _family(f"jvm_threads_{name}_threads", "gauge", [("", 40)])
    states = ("blocked", "new", "runnable", "terminated", "timed-waiting", "waiting")
    yield from _family("jvm_threads_states_threads", "gauge", [(f'state="{state}"', 7) for state in states])
    timers = [f"{name}_seconds_{which}" for name in ("usage", "creation", "acquire") for which in ("count", "sum")]
    for name in ("active", "idle", "pending", "max", "min", "timeout_total", *timers):
        yield from _family(f"hikaricp_connections_{name}", "gauge", [('pool="HikariPool-1"', 8)])
    for name in ("current_threads", "busy_threads", "max_threads"):
        yield from _family(f"tomcat_threads_config_{name}", "gauge", [('name="http-nio-8081"', 10)])
    levels = ("debug", "error", "info", "trace", "warn")
    yield from _family("logback_events_total", "counter", [(f'level="{level}"', 30) for level in levels])
    caches = [
        (f'cache="{c}",cache_manager="cacheManager",name="{c}",result="{r}"', 50)
        for c in ("users", "lists")
        for r in ("hit", "miss")
    ]
    yield from _family("cache_gets_total", "counter", caches)
    for name in ("records_lag", "records_lag_avg", "records_lag_max", "records_lead", "records_lead_min"):
        labels = [
            (f'client_id="consumer-1",kafka_version="3.7",partition="{at % 3}",topic="{t}"', 4)
            for at, t in enumerate(_TOPICS * 3)
        ]
        yield from _family(f"kafka_consumer_fetch_manager_{name}", "gauge", labels)
    yield from _requests()


def _requests() -> Iterator[tuple[str, float | None]]:
    yield from _family("http_server_requests_seconds", "histogram", [])
    for uri in _URIS:
        labels = f'{_APP},error="none",exception="none",method="GET",outcome="SUCCESS",status="200",uri="{uri}"'
        for at, bound in enumerate(_BOUNDS):
            yield f'http_server_requests_seconds_bucket{{{labels},le="{bound}"}}', 100 + 3 * at
        for suffix in ("count", "sum"):
            yield f"http_server_requests_seconds_{suffix}{{{labels}}}", 100 + 3 * len(_BOUNDS)


def _family(name: str, kind: str, samples: Sequence[tuple[str, float]]) -> Iterator[tuple[str, float | None]]:
    yield f"# HELP {name} What this is, in about as many words as Micrometer has for it", None
    yield f"# TYPE {name} {kind}", None
    for labels, value in samples:
        yield f"{name}{{{_APP}{',' if labels else ''}{labels}}}", value


def _written() -> tuple[bytes, list[tuple[int, int]]]:
    """Write the template, and its numbers: first value and what one request adds; a negative first value stays."""
    lines, numbers = [], []
    for at, (line, value) in enumerate(_lines()):
        lines.append(line.replace("%", "%%") + ("\n" if value is None else " %d.0\n"))
        if value is not None:
            numbers.append((abs(int(value)), 0 if value < 0 else 1 + at // 100))
    return "".join(lines).encode(), numbers


_TEMPLATE, _NUMBERS = _written()

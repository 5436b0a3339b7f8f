"""What users feel of the services, and what the services run short of."""

from __future__ import annotations

from exporter.dashboards.limits import limit
from exporter.dashboards.panels import Panels, Query, graph
from exporter.dashboards.promql import of, ratio, total
from exporter.metrics import limits

__all__ = ["requests", "resources"]

FAST_BURN, SLOW_BURN = 14.4, 6
"""Times the pace that uses an error budget of 30 days up just in time: a fiftieth of it in an hour, a twentieth in six."""


def requests() -> Panels:
    """Rate, errors, duration."""
    everything = total("service", of("probe_http_server_requests_total"))
    p99 = " or ignoring (source) ".join(
        of("probe_http_server_request_p99_seconds", f'source="{source}"') for source in ("histogram", "quantile", "own")
    )
    return (
        graph(
            10, "Requests", "HTTP requests served, from the service's own counters.", "reqps",
            Query(everything, "{{service}}"),
        ),
        graph(
            11, "Errors", "Share of HTTP requests answered with a server error.", "percentunit",
            Query(_errors("$__rate_interval"), "{{service}}"), limit(limits.ERROR_RATIO),
        ),
        graph(
            12, "p99", "99th percentile of request time of the slowest instance.", "s",
            Query(f"max by (service) ({p99})", "{{service}}"), limit(limits.LATENCY_P99),
        ),
        graph(
            83, "Error ratio and burn of the error budget",
            f"Share of server errors over an hour and over six. Above its line the error budget of 30 days burns "
            f"{FAST_BURN} or {SLOW_BURN} times as fast as it may.", "percentunit",
            Query(_errors("1h"), "{{service}} 1h"), limit(limits.AVAILABILITY, f"{FAST_BURN} * (1 - {{}})", "1h"),
            Query(_errors("6h"), "{{service}} 6h"), limit(limits.AVAILABILITY, f"{SLOW_BURN} * (1 - {{}})", "6h"),
        ),
    )  # fmt: skip


def _errors(window: str) -> str:
    counter = "probe_http_server_requests_total"
    fine = total("service", of(counter, 'outcome!="SERVER_ERROR"'), window)
    return f"1 - {ratio(fine, total('service', of(counter), window))}"


def resources() -> Panels:
    """Pools, memory, restarts."""
    pool = "probe_hikari_connections"
    pending = of(pool, 'state="pending"')
    heap = ratio(of("probe_jvm_memory_used_bytes", 'area="heap"'), of("probe_jvm_memory_max_bytes", 'area="heap"'))
    hits = total("service, cache", of("probe_cache_gets_total", 'result="hit"'))
    return (
        graph(
            20, "Connection pool in use", "Active connections of the fullest pool, of those it may open.", "percentunit",
            Query(f"max by (service, pool) ({of('probe_hikari_saturation_ratio')})", "{{service}} {{pool}}"),
            limit(limits.POOL_RATIO), top=1,
        ),
        graph(
            21, "Waiting for a connection", "Threads that wait for a connection of the pool.", "short",
            Query(f"sum by (service, pool) ({pending})", "{{service}} {{pool}}"),
        ),
        graph(
            22, "Heap", "Heap in use of its maximum, of the fullest instance.", "percentunit",
            Query(f"max by (service) ({heap})", "{{service}}"), limit(limits.HEAP_RATIO), top=1,
        ),
        graph(
            23, "Garbage collection", "Share of time that the JVM pauses.", "percentunit",
            Query(total("service", of("probe_jvm_gc_pause_seconds_total")), "{{service}}"),
        ),
        graph(
            24, "Cache hits", "Share of cache reads that hit.", "percentunit",
            Query(ratio(hits, total("service, cache", of("probe_cache_gets_total"))), "{{service}} {{cache}}"), top=1,
        ),
        graph(
            25, "Uptime", "How long the youngest instance has been running.", "s",
            Query(f"min by (service) ({of('probe_process_uptime_seconds')})", "{{service}}"),
        ),
        graph(
            84, "Restarts", "Times that a process was found to be another than before, within 30 minutes.", "short",
            Query(f"sum by (service) (increase({of('probe_process_restarts_total')}[30m]))", "{{service}}"),
        ),
    )  # fmt: skip

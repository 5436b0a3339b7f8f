"""The Service dashboard: what users feel of services, what these run short of, their consumers, instances and pods."""

from __future__ import annotations

from exporter.boards import Board
from exporter.dashboards.board import Content, Row
from exporter.dashboards.kubernetes import pods
from exporter.dashboards.limits import limit
from exporter.dashboards.panels import Columns, Panels, Query, Size, chosen, graph, states, table
from exporter.dashboards.promql import joined, of, own, rate, ratio, total
from exporter.dashboards.queries import highest, lowest
from exporter.dashboards.verdicts import causes, timeline
from exporter.metrics import limits

__all__ = ["board", "requests", "resources"]


def board() -> Content:
    """Return what it shows."""
    return Content(
        Board.SERVICE,
        "service",
        "One service, or several: what its users feel, what it runs short of, its consumers, instances and pods.",
        (
            Row(360, "Verdict", (*timeline(), *_verdict(), *chosen(causes(), 81))),
            Row(361, "Rate, errors, duration", requests()),
            Row(362, "Pools and caches", (*chosen(resources(), 20, 21), *_waits(), *chosen(resources(), 24))),
            Row(363, "JVM", (*chosen(resources(), 22), *_memory(), *chosen(resources(), 23, 25, 84))),
            Row(364, "What it says of itself", _components()),
            Row(365, "Consumers", _consumers()),
            Row(366, "Instances", _instances()),
            Row(367, "Pods", chosen(pods(), 119, 110, 112, 120, 121)),
        ),
        instances=True,
    )


def requests() -> Panels:
    """Rate, errors, duration."""
    requests_total = of("probe_http_server_requests_total")
    everything = total("service", requests_total)
    fine = total("service", of("probe_http_server_requests_total", 'outcome!="SERVER_ERROR"'))
    p99 = " or ignoring (source) ".join(
        of("probe_http_server_request_p99_seconds", f'source="{source}"') for source in ("histogram", "quantile", "own")
    )
    return (
        graph(
            10, "Requests", "HTTP requests served, from the service's own counters.", "reqps",
            Query(rate("service", requests_total), "{{service}}"),
        ),
        graph(
            11, "Errors", "Share of HTTP requests answered with a server error.", "percentunit",
            Query(f"1 - {ratio(fine, everything)}", "{{service}}"), limit(limits.ERROR_RATIO),
        ),
        graph(
            12, "p99", "99th percentile of request time of the slowest instance.", "s",
            Query(f"max by (service) ({p99})", "{{service}}"), limit(limits.LATENCY_P99),
        ),
    )  # fmt: skip


def resources() -> Panels:
    """Pools, memory, restarts."""
    pool = "probe_hikari_connections"
    pending = of(pool, 'state="pending"')
    heap = ratio(of("probe_jvm_memory_used_bytes", 'area="heap"'), of("probe_jvm_memory_max_bytes", 'area="heap"'))
    hits = total("service, cache", of("probe_cache_gets_total", 'result="hit"'))
    return (
        graph(
            20, "Connection pool in use", "Active connections of the fullest pool, of those it may open.", "percentunit",
            highest("probe_hikari_saturation_ratio", "service", "pool"),
            limit(limits.POOL_RATIO), top=1,
        ),
        graph(
            21, "Waiting for a connection", "Threads that wait for a connection of the pool.", "short",
            Query(joined("service, pool", pending), "{{service}} {{pool}}"),
        ),
        graph(
            22, "Heap", "Heap in use of its maximum, of the fullest instance.", "percentunit",
            Query(f"max by (service) ({heap})", "{{service}}"), limit(limits.HEAP_RATIO), top=1,
        ),
        graph(
            23, "Garbage collection", "Share of time that the JVM pauses, of the instance where it is most.", "percentunit",
            Query(f"max by (service) ({rate('service, target', of('probe_jvm_gc_pause_seconds_total'))})", "{{service}}"),
        ),
        graph(
            24, "Cache hits", "Share of cache reads that hit.", "percentunit",
            Query(ratio(hits, total("service, cache", of("probe_cache_gets_total"))), "{{service}} {{cache}}"), top=1,
        ),
        graph(
            25, "Uptime", "How long the youngest instance has been running.", "s",
            lowest("probe_process_uptime_seconds", "service"),
        ),
        graph(
            84, "Restarts", "Times that a process was found to be another than before, within 30 minutes.", "short",
            Query(joined("service", f"increase({of('probe_process_restarts_total')}[30m])"), "{{service}}"),
        ),
    )  # fmt: skip


def _verdict() -> Panels:
    return (
        graph(
            330, "Instances by verdict", "How many are how, of the probes that decide the service's.", "short",
            Query(
                f"sum by (service, verdict) (max by (service, verdict) ({of('probe_service_instances')})) > 0",
                "{{service}} {{verdict}}",
            ),
            size=Size.HALF,
        ),
    )  # fmt: skip


def _waits() -> Panels:
    return (
        graph(
            331, "Waits for a connection that were given up", "Threads that got no connection of the pool in time.", "ops",
            Query(
                rate("service, pool", of("probe_hikari_connection_timeouts_total")), "{{service}} {{pool}}"
            ),
        ),
    )  # fmt: skip


def _memory() -> Panels:
    used, committed = (f"max by (service, area) ({of(f'probe_jvm_memory_{name}_bytes')})" for name in ("used", "committed"))
    return (
        graph(
            332, "Memory of the JVM", "Used and committed, by area, of the fullest instance.", "bytes",
            Query(used, "{{service}} {{area}}"), Query(committed, "{{service}} {{area}} committed"),
        ),
    )  # fmt: skip


def _components() -> Panels:
    component = of("probe_actuator_component_up")
    return (
        states(
            30, "Components", "Components that a service said were not up, at some time within the time shown.",
            Query(
                f"min by (service, component) ({component}) and on (service, component) "
                f"(min by (service, component) (min_over_time({component}[$__range] @ end())) == 0)",
                "{{service}} {{component}}",
            ),
            size=Size.WIDE,
        ).no_value("All were up"),
        states(
            333, "Liveness and readiness", "What each instance says of its health groups.",
            Query(f"min by (service, target, group) ({of('probe_actuator_group_up', _CHOSEN)})",
                  "{{service}} {{target}} {{group}}"), size=Size.HALF,
        ),
        states(
            334, "Optional parts", "What a probe does besides its verdict. A failing part leaves its metrics out.",
            lowest("probe_part_success", "service", "probe", "part"),
            texts=("Failed", "Works"), size=Size.HALF,
        ),
    )  # fmt: skip


_CHOSEN = 'target=~"$target"'
_GROUP = 'group=~"($service)([._-].*)?"'
"""Consumer groups are named after their service, and then on: identity, identity-service, identity.events."""


def _consumers() -> Panels:
    by_topic = "max by (group, topic)"
    return (
        graph(
            335, "Lag of its consumers", "Messages not yet read, of groups whose name begins with the service's.", "short",
            Query(f"{by_topic} ({own('probe_kafka_consumer_group_topic_lag', _GROUP)})", "{{group}} {{topic}}"),
        ),
        graph(
            336, "Lag of its consumers in time", "Age of the oldest message not yet read, of the same groups.", "s",
            Query(f"{by_topic} ({own('probe_kafka_consumer_group_topic_lag_seconds', _GROUP)})", "{{group}} {{topic}}"),
        ),
        table(
            337, "What its consumers do", "Verdict of the same groups, and their members.", "none",
            Query(
                f"max by (group, verdict) ({own('probe_kafka_consumer_group_verdict', _GROUP)}) * on (group) "
                f"group_left () max by (group) ({own('probe_kafka_consumer_group_members', _GROUP)})",
                "{{group}} {{verdict}}",
            ),
            columns=Columns(("group", "verdict"), "members"), size=Size.THIRD,
        ),
    )  # fmt: skip


def _instances() -> Panels:
    return (
        states(
            338, "Targets", "Confirmed verdict of each target and probe.",
            Query(
                f"max by (service, probe, target) ({of('probe_success', _CHOSEN)}) or "
                f"(2 * max by (service, probe, target) ({of('probe_unknown', _CHOSEN)}))",
                "{{service}} {{probe}} {{target}}",
            ),
            size=Size.WIDE,
        ),
        graph(
            339, "Attempts", "How long the last attempt took.", "s",
            Query(f"max by (service, probe, target) ({of('probe_duration_seconds', _CHOSEN)})", _TARGET),
        ),
        graph(
            340, "Phases by target", "Where the last attempt's time went.", "s",
            Query(
                f"max by (service, target, phase) ({of('probe_phase_seconds', _CHOSEN)})", "{{service}} {{target}} {{phase}}"
            ),
        ),
        graph(
            341, "p99 by target", "99th percentile of request time of each instance.", "s",
            Query(f"max by (service, target) ({of('probe_http_server_request_p99_seconds', _CHOSEN)})",
                  "{{service}} {{target}}"),
        ),
        graph(
            342, "Heap by target", "Heap in use of its maximum, of each instance.", "percentunit",
            Query(
                ratio(*(
                    f"max by (service, target) ({of(f'probe_jvm_memory_{name}_bytes', _CHOSEN, _HEAP)})"
                    for name in ("used", "max")
                )),
                "{{service}} {{target}}",
            ),
            top=1,
        ),
        graph(
            343, "Requests by target", "HTTP requests served by each instance.", "reqps",
            Query(
                rate("service, target", of("probe_http_server_requests_total", _CHOSEN)), "{{service}} {{target}}"
            ),
        ),
        graph(
            344, "Failed attempts by target", "Grid attempts that failed, by reason.", "short",
            Query(
                f"sum by (service, target, reason) (increase({of('probe_failures_total', _CHOSEN)}[$__rate_interval]))",
                "{{service}} {{target}} {{reason}}",
            ),
        ),
    )  # fmt: skip


_HEAP = 'area="heap"'
_TARGET = "{{service}} {{probe}} {{target}}"

"""The Fleet dashboard, top down: verdicts, what users feel, what runs short, dependencies, certificates, the exporter."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.models import dashboard as models

from exporter.dashboards.panels import DASHBOARD_UID, DATASOURCE, Query, Scale, Size, graph, number, states
from exporter.dashboards.promql import gone_is_zero, of, own, ratio, total

__all__ = ["fleet"]

Panels = Sequence[timeseries.Panel | stat.Panel | statetimeline.Panel]

ALL = models.VariableOption(selected=True, text=["All"], value=["$__all"])


def fleet() -> dashboard.Dashboard:
    """Build the dashboard."""
    board = (
        dashboard.Dashboard("Hafnium fleet")
        .uid(DASHBOARD_UID)
        .description("Health of the services and of what they depend on, as the exporter probes them.")
        .tags(["hafnium", "generated"])
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
    )
    for variable in _variables():
        board.with_variable(variable)
    board.annotation(_alerts())
    rows = (
        (100, "Fleet", _verdicts()),
        (101, "Rate, errors, duration", _requests()),
        (102, "Probes", _probes()),
        (103, "Pools and memory", _resources()),
        (104, "Dependencies", _dependencies()),
        (105, "Certificates", _certificates()),
        (106, "The exporter itself", _exporter()),
    )
    for row_id, title, panels in rows:
        board.with_row(dashboard.Row(title).id(row_id))
        for panel in panels:
            board.with_panel(panel)
    return board


def _variables() -> list[dashboard.DatasourceVariable | dashboard.QueryVariable]:
    datasource = dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    return [
        datasource,
        _label("job", "Job", "label_values(probe_exporter_build, job)"),
        _label("instance", "Instance", 'label_values(probe_exporter_build{job=~"$job"}, instance)'),
        _label("service", "Service", f"label_values({own('probe_service_instances')}, service)"),
    ]


def _label(name: str, label: str, query: str) -> dashboard.QueryVariable:
    variable = dashboard.QueryVariable(name).label(label).datasource(DATASOURCE).query(query).definition(query)
    variable.multi(multi=True).include_all(include_all=True).all_value(".+").current(ALL)
    return variable.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(models.VariableSort.ALPHABETICAL_ASC)


def _alerts() -> dashboard.AnnotationQuery:
    # An alert of the exporter itself has no service: the empty alternative keeps it.
    expr = 'ALERTS{alertstate="firing", alertname!="Watchdog", service=~"$service|"}'
    query = prometheus.Dataquery().expr(expr).ref_id("Anno")
    annotation = (
        dashboard.AnnotationQuery().name("Firing alerts").datasource(DATASOURCE).enable(enable=True).hide(hide=False)
    )
    annotation.icon_color("red").expr(expr).target(query).step("30s")
    return annotation.title_format("{{alertname}}").text_format("{{service}} {{target}}").tag_keys("severity")


def _verdicts() -> Panels:
    up, unknown = of("probe_service_up"), of("probe_service_unknown")
    return (
        number(2, "Up", "Services and dependencies that are up.", "short", Query(gone_is_zero(f"count({up} == 1)"), "up")),
        number(
            3, "Down", "Services and dependencies with too few instances up.", "short",
            Query(gone_is_zero(f"count({up} == 0)"), "down"), scale=Scale(red=1),
        ),
        number(
            4, "Unknown", "Services and dependencies of which the exporter cannot tell whether they are up.", "short",
            Query(gone_is_zero(f"count({unknown})"), "unknown"), scale=Scale(yellow=1),
        ),
        number(
            5, "Failing", "Targets whose confirmed verdict is down, also where enough others are up.", "short",
            Query(gone_is_zero(f"count({of('probe_success')} == 0)"), "failing"), scale=Scale(yellow=1),
        ),
        number(
            6, "Alerts", "Alerts firing now, without the Watchdog.", "short",
            Query(
                gone_is_zero('count(ALERTS{alertstate="firing", alertname!="Watchdog", service=~"$service|"})'), "alerts"
            ),
            scale=Scale(yellow=1),
        ),
        number(
            7, "Next certificate", "Time until the first certificate expires; below zero it has expired.", "s",
            Query(f"min({of('probe_ssl_earliest_cert_expiry')}) - time()", "left"),
            scale=Scale(yellow=14 * 86400, red=2 * 86400, falling=True),
        ),
        states(
            1, "Services and dependencies",
            "The confirmed verdict over all instances. Unknown: the exporter cannot tell. Gap: the exporter was not there.",
            Query(f"min by (service) ({up}) or (2 * max by (service) ({unknown}))", "{{service}}"), size=Size.WIDE,
        ),
        graph(
            8, "Suspected causes",
            "Services that are down, by likely cause: the end of a chain of dependencies, or a reason of their own.",
            "short",
            Query(gone_is_zero(f"count by (cause, dependency) ({of('probe_suspected_cause')})"), "{{cause}} {{dependency}}"),
            size=Size.WIDE,
        ),
    )  # fmt: skip


def _requests() -> Panels:
    requests = "probe_http_server_requests_total"
    fine = total("service", of(requests, 'outcome!="SERVER_ERROR"'))
    everything = total("service", of(requests))
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
            Query(f"1 - {ratio(fine, everything)}", "{{service}}"),
        ),
        graph(
            12, "p99", "99th percentile of request time of the slowest instance. The line is the runbook's 500 ms.", "s",
            Query(f"max by (service) ({p99})", "{{service}}"), scale=Scale(red=0.5),
        ),
    )  # fmt: skip


def _probes() -> Panels:
    attempts = "probe_latency_seconds_count"
    fine = total("service, probe", of(attempts, 'outcome="up"'))
    everything = total("service, probe", of(attempts))
    buckets = total("service, probe, le", of("probe_latency_seconds_bucket"))
    reasons = f"sum by (service, stage, reason) (increase({of('probe_failures_total')}[$__rate_interval]))"
    return (
        graph(
            13, "Probe p95", "95th percentile of the time an attempt takes, failures included.", "s",
            Query(f"histogram_quantile(0.95, {buckets})", "{{service}} {{probe}}"),
        ),
        graph(
            14, "Attempts that failed", "Share of attempts that did not come out up, rechecks included; unconfirmed.",
            "percentunit", Query(f"1 - {ratio(fine, everything)}", "{{service}} {{probe}}"), top=1,
        ),
        graph(
            15, "Why attempts failed", "Grid attempts that failed, by the stage they reached and the reason.", "short",
            Query(gone_is_zero(reasons), "{{service}} {{stage}} {{reason}}"),
        ),
        graph(
            18, "Rechecks", "Attempts between grid attempts that confirm what the one before found, by outcome.", "ops",
            Query(gone_is_zero(total("probe, outcome", of("probe_rechecks_total"))), "{{probe}} {{outcome}}"),
        ),
        graph(
            16, "Phases", "Where an attempt's time goes, averaged over targets.", "s",
            Query(f"avg by (probe, phase) ({of('probe_phase_seconds')})", "{{probe}} {{phase}}"),
        ),
        states(
            17, "Optional parts", "What a probe does besides its verdict. A failing part leaves its metrics out.",
            Query(f"min by (service, probe, part) ({of('probe_part_success')})", "{{service}} {{probe}} {{part}}"),
            texts=("Failed", "Works"), size=Size.THIRD,
        ),
    )  # fmt: skip


def _resources() -> Panels:
    pool = "probe_hikari_connections"
    active = of(pool, 'state="active"')
    pending = of(pool, 'state="pending"')
    most = f"sum by (service, pool) ({of('probe_hikari_connections_max')})"
    heap = ratio(of("probe_jvm_memory_used_bytes", 'area="heap"'), of("probe_jvm_memory_max_bytes", 'area="heap"'))
    hits = total("service, cache", of("probe_cache_gets_total", 'result="hit"'))
    return (
        graph(
            20, "Connection pool in use", "Active connections of the pool, of those it may open.", "percentunit",
            Query(ratio(f"sum by (service, pool) ({active})", most), "{{service}} {{pool}}"),
            scale=Scale(yellow=0.8, red=1), top=1,
        ),
        graph(
            21, "Waiting for a connection", "Threads that wait for a connection of the pool.", "short",
            Query(f"sum by (service, pool) ({pending})", "{{service}} {{pool}}"),
        ),
        graph(
            22, "Heap", "Heap in use of its maximum, of the fullest instance. The line is where MemoryPressure begins.",
            "percentunit", Query(f"max by (service) ({heap})", "{{service}}"), scale=Scale(red=0.9), top=1,
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
    )  # fmt: skip


def _dependencies() -> Panels:
    return (
        states(
            30, "Components", "What each service says of its components: the view from inside.",
            Query(f"min by (service, component) ({of('probe_actuator_component_up')})", "{{service}} {{component}}"),
            size=Size.WIDE,
        ),
        graph(
            31, "PostgreSQL connections", "Connections by state, and how many the server takes.", "short",
            Query(f"sum by (service, state) ({of('probe_postgres_connections')})", "{{service}} {{state}}"),
            Query(f"max by (service) ({of('probe_postgres_max_connections')})", "{{service}} max"),
        ),
        graph(
            32, "PostgreSQL transactions and queries", "Age of the longest transaction and query under way.", "s",
            Query(f"max by (service) ({of('probe_postgres_longest_transaction_seconds')})", "{{service}} transaction"),
            Query(f"max by (service) ({of('probe_postgres_longest_query_seconds')})", "{{service}} query"),
        ),
        graph(
            33, "Failed migrations, idle connections",
            "Flyway migrations recorded as failed, and connections idle for over an hour.", "short",
            Query(
                f"sum by (service, schema) ({of('probe_postgres_flyway_failed_migrations')})",
                "{{service}} {{schema}} failed",
            ),
            Query(f"max by (service) ({of('probe_postgres_idle_connections_over_1h')})", "{{service}} idle"),
        ),
        graph(
            34, "Redis memory", "Memory in use, and the limit where one is set.", "bytes",
            Query(f"max by (service, target) ({of('probe_redis_memory_used_bytes')})", "{{service}} {{target}}"),
            Query(f"max by (service, target) ({of('probe_redis_memory_max_bytes')} > 0)", "{{service}} {{target}} max"),
        ),
        graph(
            35, "Redis hits", "Share of key lookups that hit.", "percentunit",
            Query(f"min by (service, target) ({of('probe_redis_hit_ratio')})", "{{service}} {{target}}"), top=1,
        ),
        graph(
            36, "Redis evictions and refusals", "Keys evicted for want of memory, and connections refused.", "ops",
            Query(total("service", of("probe_redis_evicted_keys_total")), "{{service}} evicted"),
            Query(total("service", of("probe_redis_rejected_connections_total")), "{{service}} refused"),
        ),
        graph(
            37, "Kafka lag", "Messages that a consumer group has not yet read of a topic.", "short",
            Query(f"max by (service, group, topic) ({of('probe_kafka_consumer_group_topic_lag')})", "{{group}} {{topic}}"),
            scale=Scale(red=1000),
        ),
        graph(
            38, "Kafka dead letters", "Messages in dead-letter topics.", "short",
            Query(f"max by (service, topic) ({of('probe_kafka_dlq_messages')})", "{{topic}}"),
        ),
        graph(
            39, "Kafka consumers", "Members of each consumer group.", "short",
            Query(f"max by (service, group) ({of('probe_kafka_consumer_group_members')})", "{{group}}"),
        ),
    )  # fmt: skip


def _certificates() -> Panels:
    left = f"min by (service, target) ({of('probe_ssl_earliest_cert_expiry')}) - time()"
    return (
        graph(
            50, "Time left", "Time until the first certificate of the served chain expires; below zero it has expired.", "s",
            Query(left, "{{service}} {{target}}"), size=Size.HALF,
            scale=Scale(yellow=14 * 86400, red=2 * 86400, falling=True),
        ).min(-86400),
        states(
            51, "Verified", "Whether the served chain verifies for the name.",
            Query(f"min by (service, target) ({of('probe_tls_verified')})", "{{service}} {{target}}"),
            texts=("Not verified", "Verified"),
        ),
    )  # fmt: skip


def _exporter() -> Panels:
    return (*_knowledge(), *_work())


def _knowledge() -> Panels:
    """What the exporter itself does not know, and why."""
    answered = f"time() - max by (service) ({of('probe_discovery_last_success_timestamp_seconds')})"
    failing = f"min by (service) ({of('probe_discovery_success')}) == 0"
    defects = f"sum by (where) (increase({own('probe_exporter_defects_total')}[$__rate_interval]))"
    return (
        states(
            60, "Exporter", "Whether Prometheus could scrape the exporter.",
            Query(f"min by (instance) ({own('up')})", "{{instance}}"),
        ),
        graph(
            68, "Cannot tell", "Targets without a verdict, by the exporter's reason.", "short",
            Query(gone_is_zero(f"count by (reason) ({of('probe_unknown')})"), "{{reason}}"), size=Size.HALF,
        ),
        states(
            72, "Discovery", "Whether the source of a service's instances gave its last answer.",
            Query(f"min by (service) ({of('probe_discovery_success')})", "{{service}}"), texts=("Failing", "Answers"),
        ),
        states(
            75, "Targets as configured",
            "Whether a service's targets are those that its configuration and its instances ask for.",
            Query(f"min by (service) ({of('probe_service_targets_current')})", "{{service}}"),
            texts=("Not as configured", "As configured"),
        ),
        graph(
            73, "Known instances", "Instances by the last answer of their source.", "short",
            Query(f"max by (service) ({of('probe_discovery_instances')})", "{{service}}"), size=Size.HALF,
        ),
        graph(
            74, "Age of the known instances", "Time since the last answer of a source that fails now.", "s",
            Query(gone_is_zero(f"({answered}) and on (service) ({failing})"), "{{service}}"), size=Size.HALF,
        ),
        graph(
            71, "Services that cannot be told", "Services and dependencies without a verdict, by reason.", "short",
            Query(gone_is_zero(f"count by (service, reason) ({of('probe_service_unknown')})"), "{{service}} {{reason}}"),
            size=Size.HALF,
        ),
        graph(
            77, "Defects", "Unexpected exceptions, by the part of the exporter: each is a bug.", "short",
            Query(defects, "{{where}}"), size=Size.HALF,
        ),
    )  # fmt: skip


def _work() -> Panels:
    """What the exporter does, and what that costs."""
    lateness = total("service, probe, le", of("probe_lateness_seconds_bucket"))
    return (
        graph(
            61, "Lateness p99", "How long after its due time an attempt starts.", "s",
            Query(f"histogram_quantile(0.99, {lateness})", "{{service}} {{probe}}"),
        ),
        graph(
            62, "Missed runs", "Attempts not made because the one before was still under way.", "ops",
            Query(total("service, probe", of("probe_runs_missed_total")), "{{service}} {{probe}}"),
        ),
        graph(
            63, "In flight", "Attempts under way at the time of the scrape.", "short",
            Query(f"sum by (probe) ({of('probe_in_flight')})", "{{probe}}"),
        ),
        graph(
            64, "Event loop lag", "Longest stall of the event loop in the last 15 s.", "s",
            Query(f"max by (instance) ({own('probe_exporter_loop_lag_seconds')})", "{{instance}}"),
        ),
        graph(
            65, "CPU", "CPU time per second: 1 is a whole core.", "short",
            Query(total("instance", own("process_cpu_seconds_total")), "{{instance}}"),
        ),
        graph(
            66, "Memory", "Resident memory.", "bytes",
            Query(f"max by (instance) ({own('process_resident_memory_bytes')})", "{{instance}}"),
        ),
        graph(
            67, "File descriptors", "Open file descriptors of those allowed.", "percentunit",
            Query(ratio(own("process_open_fds"), own("process_max_fds")), "{{instance}}"), scale=Scale(red=0.8), top=1,
        ),
        graph(
            69, "Scrape", "How long joining a scrape took.", "s",
            Query(f"max by (instance) ({own('probe_exporter_scrape_duration_seconds')})", "{{instance}}"),
        ),
        graph(
            70, "Targets", "Targets that are scheduled.", "short",
            Query(f"sum by (instance) ({own('probe_exporter_targets')})", "{{instance}}"),
        ),
    )  # fmt: skip

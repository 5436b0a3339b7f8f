"""The Exporter dashboard: its probes, what it does not know, what it does, and what that costs."""

from __future__ import annotations

from exporter.boards import Board
from exporter.dashboards.board import Content, Row
from exporter.dashboards.panels import Panels, Query, Scale, Size, graph, states
from exporter.dashboards.promql import exporters, gone_is_zero, of, own, ratio, total
from exporter.dashboards.queries import highest, lowest

__all__ = ["board"]

_TIME = own("probe_exporter_time_seconds")


def board() -> Content:
    """Return what it shows."""
    return Content(
        Board.EXPORTER,
        "exporter",
        "The exporter itself: whether it is there and on time, what it cannot tell, what it costs, its defects.",
        (
            Row(106, "Is it there", _there()),
            Row(377, "Is it on time", _on_time()),
            Row(378, "What it cannot tell", _knowledge()),
            Row(102, "What its attempts come to", _attempts()),
            Row(379, "Defects, and what it turned away", _defects()),
            Row(380, "What it costs", _cost()),
        ),
    )


def _there() -> Panels:
    """Return whether it answers, leads and has its configuration."""
    started = f"changes({own('process_start_time_seconds')}[$__rate_interval])"
    return (
        states(
            60, "Exporter", "Whether Prometheus could scrape the exporter.",
            Query(f"min by (instance) ({exporters(own('up'))})", "{{instance}}"),
        ),
        states(
            78, "Leads", "Which exporter exports verdicts: with a lease one, without all.",
            Query(f"min by (instance) ({own('probe_exporter_leader')})", "{{instance}}"), texts=("Stands by", "Leads"),
        ),
        states(
            93, "Configuration", "Whether the last load of the exporter's configuration worked.",
            Query(f"min by (instance) ({own('probe_exporter_config_last_reload_successful')})", "{{instance}}"),
            texts=("Rejected", "In use"), size=Size.THIRD,
        ),
        states(
            94, "Web configuration", "Whether the file of TLS and users could be read as it is now.",
            Query(f"min by (instance) ({own('probe_exporter_web_config_last_reload_successful')})", "{{instance}}"),
            texts=("Rejected", "In use"), size=Size.THIRD,
        ),
        states(
            96, "History", "Whether the file that keeps the pages' history over a restart could be written.",
            Query(f"min by (instance) ({own('probe_exporter_state_file_last_write_successful')})", "{{instance}}"),
            texts=("Not written", "Written"), size=Size.THIRD,
        ),
        graph(
            97, "Own certificate", "Time until the certificate that the exporter itself serves expires.", "s",
            Query(
                f"min by (instance) ({own('probe_exporter_web_certificate_not_after_timestamp_seconds')}) - time()",
                "{{instance}}",
            ),
            negative=True,
        ),
        graph(
            70, "Targets", "Targets that are scheduled.", "short",
            Query(f"sum by (instance) ({own('probe_exporter_targets')})", "{{instance}}"),
        ),
        graph(
            291, "Starts", "How often the exporter was started anew.", "short",
            Query(f"max by (instance) ({exporters(started)})", "{{instance}}"),
        ),
        graph(
            79, "Shards", "Shards of the services that are scraped, and that there are to be.", "short",
            Query(f'count(count_values("shard", {own("probe_exporter_shard")}))', "scraped"),
            Query(f"max({own('probe_exporter_shards')})", "to be"), size=Size.HALF,
        ),
    )  # fmt: skip


def _on_time() -> Panels:
    """Return how honest the schedule is."""
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
            292, "Clock", "How far the exporter's clock is from Prometheus'.", "s",
            Query(f"max by (instance) (abs(timestamp({_TIME}) - {_TIME}))", "{{instance}}"),
        ),
    )  # fmt: skip


def _knowledge() -> Panels:
    """Return what it does not know, and why."""
    answered = f"time() - max by (service) ({of('probe_discovery_last_success_timestamp_seconds')})"
    unknown = f"max by (service, probe, target, reason) ({of('probe_unknown')})"
    failing = f"min by (service) ({of('probe_discovery_success')}) == 0"
    return (
        graph(
            68, "Cannot tell", "Targets without a verdict, by the exporter's reason.", "short",
            Query(gone_is_zero(f"count by (reason) ({unknown})", "reason"), "{{reason}}"), size=Size.HALF,
        ),
        graph(
            71, "Services that cannot be told", "Services and dependencies without a verdict, by reason.", "short",
            Query(
                gone_is_zero(f"max by (service, reason) ({of('probe_service_unknown')})", "service"),
                "{{service}} {{reason}}",
            ),
            size=Size.HALF,
        ),
        states(
            72, "Discovery", "Whether the source of a service's instances gave its last answer.",
            lowest("probe_discovery_success", "service"), texts=("Failing", "Answers"),
        ),
        states(
            75, "Targets as configured",
            "Whether a service's targets are those that its configuration and its instances ask for.",
            lowest("probe_service_targets_current", "service"),
            texts=("Not as configured", "As configured"),
        ),
        graph(
            73, "Known instances", "Instances by the last answer of their source.", "short",
            highest("probe_discovery_instances", "service"), size=Size.HALF,
        ),
        graph(
            74, "Age of the known instances", "Time since the last answer of a source that fails now.", "s",
            Query(gone_is_zero(f"({answered}) and on (service) ({failing})", "service"), "{{service}}"), size=Size.HALF,
        ),
    )  # fmt: skip


def _attempts() -> Panels:
    """Return what attempts take and why they fail."""
    attempts = "probe_latency_seconds_count"
    success = of("probe_last_success_timestamp_seconds")
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
            Query(gone_is_zero(reasons, "service"), "{{service}} {{stage}} {{reason}}"),
        ),
        graph(
            18, "Rechecks", "Attempts between grid attempts that confirm what the one before found, by outcome.", "ops",
            Query(gone_is_zero(total("probe, outcome", of("probe_rechecks_total")), "probe"), "{{probe}} {{outcome}}"),
        ),
        graph(
            16, "Phases", "Where an attempt's time goes, averaged over targets.", "s",
            Query(f"avg by (probe, phase) ({of('probe_phase_seconds')})", "{{probe}} {{phase}}"),
        ),
        graph(
            92, "Time since the last success", "Of the target of each probe for which it is longest.", "s",
            Query(f"time() - min by (service, probe) ({success})", "{{service}} {{probe}}"),
        ),
        states(
            17, "Optional parts", "What a probe does besides its verdict. A failing part leaves its metrics out.",
            lowest("probe_part_success", "service", "probe", "part"),
            texts=("Failed", "Works"), size=Size.THIRD,
        ),
    )  # fmt: skip


def _defects() -> Panels:
    """Return bugs, and what was not taken."""
    defects = f"sum by (where) (increase({own('probe_exporter_defects_total')}[$__rate_interval]))"
    return (
        graph(
            77, "Defects", "Unexpected exceptions, by the part of the exporter: each is a bug.", "short",
            Query(defects, "{{where}}"), size=Size.HALF,
        ),
        graph(
            95, "Turned away", "Requests and connections that were not taken, and lines of the log that were dropped.",
            "short",
            Query(f"sum by (reason) ({_increase('probe_exporter_requests_refused_total')})", "{{reason}}"),
            Query(f"sum by (reason) ({_increase('probe_exporter_connections_closed_total')})", "{{reason}}"),
            Query(
                f"sum by (instance) ({_increase('probe_exporter_log_lines_dropped_total')})", "{{instance}} log lines"
            ),
        ),
    )  # fmt: skip


def _increase(counter: str) -> str:
    return f"increase({own(counter)}[$__rate_interval])"


def _cost() -> Panels:
    """Return what it uses of its machine."""
    files = ratio(own("process_open_fds"), own("process_max_fds"))
    cpu = f"rate({own('process_cpu_seconds_total')}[$__rate_interval])"
    return (
        graph(
            65, "CPU", "CPU time per second: 1 is a whole core.", "short",
            Query(f"sum by (instance) ({exporters(cpu)})", "{{instance}}"),
        ),
        graph(
            66, "Memory", "Resident memory.", "bytes",
            Query(f"max by (instance) ({exporters(own('process_resident_memory_bytes'))})", "{{instance}}"),
        ),
        graph(
            67, "File descriptors", "Open file descriptors of those allowed.", "percentunit",
            Query(f"max by (instance) ({exporters(files)})", "{{instance}}"), scale=Scale(bad=0.8), top=1,
        ),
        graph(
            69, "Scrape", "How long joining a scrape took.", "s",
            Query(f"max by (instance) ({own('probe_exporter_scrape_duration_seconds')})", "{{instance}}"),
        ),
        graph(
            290, "Tasks and threads", "Tasks of the event loop, and threads: a number that only grows is a leak.", "short",
            Query(f"max by (instance) ({own('probe_exporter_tasks')})", "{{instance}} tasks"),
            Query(f"max by (instance) ({own('probe_exporter_threads')})", "{{instance}} threads"),
        ),
    )  # fmt: skip

"""The families that every probe of every kind exports, and the exporter's own."""

from __future__ import annotations

from exporter.metrics.family import Family, counter, gauge, histogram
from exporter.metrics.limits import LIMITS

__all__ = ["CORE"]

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SERVICE = ("service",)
_KIND = ("service", "probe")
_SELF = ()

SUCCESS = gauge("probe_success", "1 while the confirmed verdict is up, 0 while it is down; absent while it is unknown.")
UNKNOWN = gauge("probe_unknown", "1 while the prober cannot tell whether the target is up, by reason.", "reason")
DURATION = gauge("probe_duration_seconds", "How long the last attempt took, all phases together.")
PHASE = gauge("probe_phase_seconds", "How long each phase of the last attempt took, also of one that failed.", "phase")
LATENCY = histogram(
    "probe_latency_seconds", "Duration of every attempt, failures and rechecks included, by outcome.", "outcome",
    buckets=_BUCKETS, owner=_KIND,
)  # fmt: skip
FAILURES = counter(
    "probe_failures_total", "Grid attempts that did not come out up, by the stage reached and the reason.", "stage", "reason"
)
RECHECKS = counter(
    "probe_rechecks_total",
    "Attempts made between grid attempts to confirm what the one before found, by outcome.",
    "outcome",
)
OUTAGES = counter("probe_outages_total", "Times that the target was confirmed down, having been held up before; from 0 on.")
LAST_RUN = gauge("probe_last_run_timestamp_seconds", "Unix time at which the last attempt ended.")
LAST_SUCCESS = gauge("probe_last_success_timestamp_seconds", "Unix time at which the last attempt that was up ended.")
INTERVAL = gauge("probe_interval_seconds", "Configured time between grid attempts.")
LATENESS = histogram(
    "probe_lateness_seconds", "How long after its due time each attempt started, waiting for a free slot included.",
    buckets=_BUCKETS, owner=_KIND,
)  # fmt: skip
MISSED = counter("probe_runs_missed_total", "Grid attempts not made because the one before was still waiting or running.")
IN_FLIGHT = gauge("probe_in_flight", "1 while an attempt is under way.")
PART_SUCCESS = gauge("probe_part_success", "1 if an optional part of the last attempt worked, 0 if it failed.", "part")
PART_FAILURES = counter(
    "probe_part_failures_total", "Optional parts of attempts that failed, by stage and reason.", "part", "stage", "reason"
)
SERVICE_UP = gauge(
    "probe_service_up",
    "1 if enough instances of the service are up, 0 if not; absent while that is unknown. The vital probes decide, or "
    "all of them where a service has no vital one.",
    owner=_SERVICE,
)
SERVICE_SINCE = gauge(
    "probe_service_verdict_since_timestamp_seconds",
    "Unix time since when the service has its verdict, also an unknown one; the exporter's start where it has not changed.",
    owner=_SERVICE,
)
SERVICE_INSTANCES = gauge(
    "probe_service_instances",
    "Instances of the service by verdict, of the probes that decide it.",
    "verdict",
    owner=_SERVICE,
)
SERVICE_UNKNOWN = gauge(
    "probe_service_unknown",
    "1 while it cannot be told whether enough instances of the service are up, by reason: that its instances have never "
    "been known (not_discovered), or why most of its targets are unknown.",
    "reason",
    owner=_SERVICE,
)
SERVICE_CURRENT = gauge(
    "probe_service_targets_current",
    "1 while the targets of the service are those that its configuration and its instances ask for, 0 while they cannot be "
    "made, as when a certificate file has gone; the log says why.",
    owner=_SERVICE,
)
DISCOVERY_SUCCESS = gauge(
    "probe_discovery_success",
    "1 if the source of the service's instances gave its last answer, 0 if it could not: the instances last known stay.",
    owner=_SERVICE,
)
DISCOVERY_TIME = gauge(
    "probe_discovery_last_success_timestamp_seconds",
    "Unix time at which the source of the service's instances last answered.",
    owner=_SERVICE,
)
DISCOVERY_INSTANCES = gauge(
    "probe_discovery_instances", "Instances of the service that are known, of the last answer of its source.", owner=_SERVICE
)
SUSPECTED_CAUSE = gauge(
    "probe_suspected_cause",
    "1 for each cause that the diagnosis holds likely while a service is down, slow or unguarded: the root, over any number "
    "of steps of what needs what, and what it lies in; `unknown` where nothing speaks for any. Absent while all is well.",
    "cause",
    "dependency",
    owner=_SERVICE,
)
CAUSE_EVIDENCE = gauge(
    "probe_suspected_cause_evidence",
    "What speaks for a suspected cause: the value that was seen, with what it is in words.",
    "cause",
    "dependency",
    "evidence",
    owner=_SERVICE,
)
LAG_CAUSE = gauge(
    "probe_suspected_lag_cause",
    "1 for each cause that the diagnosis holds likely of a consumer group whose lag is above its threshold.",
    "group",
    "cause",
    owner=_SERVICE,
)
INCIDENT = gauge(
    "probe_incident",
    "1 while the service is down: the incident that its page belongs to, named after the root cause. It does not change "
    "while the service and the root are down.",
    "incident",
    owner=_SERVICE,
)
LOOP_LAG = gauge("probe_exporter_loop_lag_seconds", "Longest stall of the event loop in the last 15 s.", owner=_SELF)
TASKS = gauge(
    "probe_exporter_tasks", "Tasks of the event loop: they come and go with attempts and connections.", owner=_SELF
)
THREADS = gauge("probe_exporter_threads", "Threads that Python code runs in.", owner=_SELF)
DEFECTS = counter(
    "probe_exporter_defects_total",
    "Unexpected exceptions, by the part of the exporter they were raised in; always a bug, told in the log.",
    "where",
    owner=_SELF,
)
BUILD = gauge(
    "probe_exporter_build", "Always 1; the version of the exporter and of Python.", "version", "python", owner=_SELF
)
RELOAD_OK = gauge(
    "probe_exporter_config_last_reload_successful", "1 if the last load of the configuration worked, 0 if not.", owner=_SELF
)
RELOAD_TIME = gauge(
    "probe_exporter_config_last_reload_success_timestamp_seconds", "Unix time of the last load that worked.", owner=_SELF
)
WEB_RELOAD_OK = gauge(
    "probe_exporter_web_config_last_reload_successful",
    "1 if the web configuration file and what it names could be read as they are now, 0 while what was read before is in "
    "use. Without such a file there is no series.",
    owner=_SELF,
)
WEB_CERTIFICATE_FROM = gauge(
    "probe_exporter_web_certificate_not_before_timestamp_seconds",
    "Unix time from which on the certificate that the exporter itself serves is valid: of its chain, the one that expires "
    "first. Without TLS in a web configuration there is no series.",
    owner=_SELF,
)
WEB_CERTIFICATE_TO = gauge(
    "probe_exporter_web_certificate_not_after_timestamp_seconds",
    "Unix time at which the certificate that the exporter itself serves expires, or the first of its chain. Without TLS in "
    "a web configuration there is no series.",
    owner=_SELF,
)
STATE_OK = gauge(
    "probe_exporter_state_file_last_write_successful",
    "1 if the history could be written to server.state_file, 0 if not. Without such a file there is no series.",
    owner=_SELF,
)
REFUSED = counter(
    "probe_exporter_requests_refused_total",
    "Requests to the exporter itself that were turned away: a `host` it is not known by, over the `rate`, a `login` that is "
    "missing or wrong, a `role` that does not name the client, a page of another `site`, `busy` with logins.",
    "reason",
    owner=_SELF,
)
CLOSED = counter(
    "probe_exporter_connections_closed_total",
    "Connections of the exporter's clients that were closed because there was no room for all: `taken_back` from one that "
    "was idle or did not read, `turned_away` as they came, or as more of a request came.",
    "reason",
    owner=_SELF,
)
TIME = gauge(
    "probe_exporter_time_seconds",
    "Unix time by the exporter's clock when the scrape was made: ages of what it tells are by this clock.",
    owner=_SELF,
)
LOG_DROPPED = counter(
    "probe_exporter_log_lines_dropped_total",
    "Lines of the log that could not be written: nobody reads the pipe, or the disk is full.",
    owner=_SELF,
)
READY = gauge(
    "probe_exporter_ready",
    "1 once everything that the configuration names has a verdict or a reason for having none: what has no series then is "
    "not configured.",
    owner=_SELF,
)
LEADER = gauge(
    "probe_exporter_leader",
    "1 while this exporter exports verdicts: it holds the lease, or needs none. 0 while another is to, or nobody may.",
    owner=_SELF,
)
LEASE_TRANSITIONS = counter(
    "probe_exporter_lease_transitions_total", "Times that the lease has changed hands, as it says itself.", owner=_SELF
)
SHARD = gauge("probe_exporter_shard", "Which shard of the services this exporter has, from 0 on.", owner=_SELF)
SHARDS = gauge("probe_exporter_shards", "How many shards the services are spread over.", owner=_SELF)
TARGETS = gauge("probe_exporter_targets", "Targets that are scheduled.", owner=_SELF)
SCRAPE_DURATION = gauge("probe_exporter_scrape_duration_seconds", "How long joining the last scrape took.", owner=_SELF)
SCRAPE_SIZE = gauge("probe_exporter_scrape_size_bytes", "Size of the last scrape before compression.", owner=_SELF)
CPU = counter("process_cpu_seconds_total", "User and system CPU time of the exporter.", owner=_SELF)
RSS = gauge("process_resident_memory_bytes", "Resident memory of the exporter.", owner=_SELF)
VIRTUAL = gauge("process_virtual_memory_bytes", "Virtual memory of the exporter.", owner=_SELF)
STARTED = gauge("process_start_time_seconds", "Unix time at which the exporter started.", owner=_SELF)
FDS = gauge("process_open_fds", "Open file descriptors of the exporter.", owner=_SELF)
MAX_FDS = gauge("process_max_fds", "Most file descriptors the exporter may open.", owner=_SELF)

CORE: tuple[Family, ...] = (
    SUCCESS, UNKNOWN, DURATION, PHASE, LATENCY, FAILURES, RECHECKS, OUTAGES, LAST_RUN, LAST_SUCCESS, INTERVAL, LATENESS,
    MISSED, IN_FLIGHT, PART_SUCCESS, PART_FAILURES, SERVICE_UP, SERVICE_SINCE, SERVICE_INSTANCES, SERVICE_UNKNOWN,
    SERVICE_CURRENT, DISCOVERY_SUCCESS, DISCOVERY_TIME, DISCOVERY_INSTANCES, SUSPECTED_CAUSE, CAUSE_EVIDENCE,
    LAG_CAUSE, INCIDENT, *LIMITS, READY, DEFECTS, LOOP_LAG, TASKS, THREADS, TIME, BUILD,
    RELOAD_OK, RELOAD_TIME, WEB_RELOAD_OK, WEB_CERTIFICATE_FROM, WEB_CERTIFICATE_TO, STATE_OK, REFUSED, CLOSED, LOG_DROPPED,
    LEADER, LEASE_TRANSITIONS, SHARD, SHARDS,
    TARGETS, SCRAPE_DURATION, SCRAPE_SIZE, CPU, RSS, VIRTUAL, STARTED, FDS, MAX_FDS,
)  # fmt: skip
"""All of them, for the metric reference and the checks over rules and dashboards."""

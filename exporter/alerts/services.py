"""Alerts of services and dependencies as such: down, slow, failing, flapping."""

from __future__ import annotations

from exporter.alerts.model import Alert, Disable, Group, Options, Severity
from exporter.alerts.promql import OWNER, firing, highest, over, stepping_back
from exporter.alerts.texts import CAUSE, causes, first, listed, newest
from exporter.boards import Board, Panel
from exporter.limits import entries as limits

__all__ = ["groups"]


def groups(options: Options) -> tuple[Group, ...]:
    """Return the groups of this file."""
    return (
        Group(
            "down",
            (service_down(options),),
            interval=options.evaluation,
            comment="Evaluated more often than scraped: whatever is waited for here comes on top of every page.",
        ),
        Group(
            "services",
            (
                high_latency(options),
                memory_pressure(options),
                high_error_rate(options),
                pool_exhausted(options),
                flapping(options),
                restarting(options),
            ),
        ),
    )


_DOWN_COMMENT = """\
Confirmed by the exporter (two failures in a row), so without `for`. One incident is one cause: `incident` is named after it.
1. Down by the newest verdict. A new name of the incident takes over at once, where the old one is still in the window.
2. Down for two scrapes, and no incident is named, as where the diagnosis itself fails: the service is its own.
3. Held while no verdict is known: the exporter is frozen, killed or starting, cannot be scraped, or cannot tell. Nothing but
   recovery resolves a page; or that the service is not configured any more: for 1m every exporter was there and ready, one
   led, no shard was missing, and none knows the service."""


def service_down(options: Options) -> Alert:
    """Build ServiceDown."""
    by = "max by (service, incident, tier, team)"
    bridge = options.bridge
    verdict = f"max by (service) (last_over_time(probe_service_up[{bridge}]))"
    paged = f'{by} (ALERTS{{alertname="ServiceDown", alertstate="firing"}})'
    ready = f"""\
(
      min(up{{job="{options.job}"}}) == 1 and min(min_over_time(probe_exporter_ready[{options.recent}])) == 1
        unless max(min_over_time(probe_exporter_leader[{options.recent}])) == 0
        unless count(count_values("shard", last_over_time(probe_exporter_shard[{bridge}])))
          < max(last_over_time(probe_exporter_shards[{options.recent}]))
    )"""
    expr = f"""\
(
  (
      {by} (probe_incident and last_over_time(probe_incident[{bridge}]))
    or on (service)
      {by} (last_over_time(probe_incident[{bridge}]))
  )
  and on (service) {verdict} == 0
)
or
label_replace(
  max by ({OWNER}) (max_over_time(probe_service_up[{options.one_scrape}])) == 0
    and on (service) max by (service) (last_over_time(probe_service_up[{bridge}] offset {options.two_scrapes})) == 0
    unless on (service) last_over_time(probe_incident[{bridge}]),
  "incident", "$1", "service", "(.+)"
)
or
(
  {paged}
    unless on (service) {verdict}
    and on (service) last_over_time(probe_service_unknown[{bridge}])
)
or
(
  {paged}
    unless on (service) {verdict}
    unless on () {ready}
)
"""
    others = (
        f"group by (service) (last_over_time(probe_incident{{incident=%q,service!=%q}}[{bridge}]))"
        ' or group by (service) (ALERTS{alertname="ServiceDown",alertstate="firing",incident=%q,service!=%q}'
        f" unless on (service) last_over_time(probe_service_up[{bridge}]))"
    )
    incident = " ".join(["$labels.incident"] * 4)
    why = listed(
        f"group by (cause, dependency) {newest('probe_suspected_cause{service=%[1]q}', options)}",
        "$labels.incident",
        "cause",
        CAUSE,
        otherwise="cause unknown",
    )
    summary = (
        "{{ $labels.incident }} is down: "
        f"{{{{ $others := printf `{others}` {incident} | query }}}}"
        "{{ if $others }}{{ len $others }} service{{ if ne (len $others) 1 }}s{{ end }} with it"
        f"{{{{ else }}}}{why}{{{{ end }}}}"
    )
    instances = listed(
        f"max by (verdict) {newest('probe_service_instances{service=%[1]q}', options)} > 0",
        "$labels.service",
        "verdict",
        "{{ .Value | humanize }} {{ .Labels.verdict }}",
        around=" (instances: {})",
    )
    known = first(
        f"max(last_over_time(probe_service_up{{service=%q}}[{bridge}]))",
        "$labels.service",
        instances,
        " by the last that is known: the exporter tells nothing of it at present, and this is held until it does",
    )
    with_it = listed(
        others,
        incident,
        "service",
        "{{ .Labels.service }}",
        around=" Down with {{ $labels.incident }}: {}.",
        otherwise=" Nothing else is down with {{ $labels.incident }}.",
    )
    return Alert(
        name="ServiceDown",
        severity=Severity.CRITICAL,
        expr=expr,
        summary=summary,
        description="{{ $labels.service }} is down" + known + "." + with_it,
        cause=causes(options),
        action="Page on-call, check pods",
        panel=Panel(Board.FLEET, 1),
        meaning="a service's or dependency's confirmed verdict is down; held while none is known",
        labels={"incident": "{{ $labels.incident }}"},
        comment=_DOWN_COMMENT,
        disables=(
            Disable("promql/series(probe_incident)", "there is none while all is up"),
            Disable("promql/series(probe_service_unknown)", "there is none while the exporter can tell"),
        ),
    )


_ACTUATOR = frozenset({"actuator"})


def high_latency(options: Options) -> Alert:
    """Build HighLatencyP99."""
    p99 = "probe_http_server_request_p99_seconds"
    slow = over(limits.LATENCY_P99, options)
    traffic = (
        f"sum by (service, target) (increase(probe_http_server_requests_total[{options.rate}])) < {limits.LEAST_REQUESTS}"
    )
    return Alert(
        name=limits.LATENCY_P99.alert,
        severity=Severity.WARNING,
        expr=f"{stepping_back(slow, options)}\nunless on (service, target) ({traffic})",
        wait="5m",
        summary="{{ $labels.service }} is slow: p99 is {{ $value | humanizeDuration }}",
        description=(
            "The 99th percentile of HTTP requests of {{ $labels.service }} at {{ $labels.target }} is "
            "{{ $value | humanizeDuration }}" + _above(f"{p99}_limit", "humanizeDuration", options) + " for 5m."
        ),
        cause=causes(options),
        action=limits.LATENCY_P99.action,
        panel=limits.LATENCY_P99.panel,
        meaning="an instance's p99 is above its threshold for 5 min, with at least 10 requests in 5 min",
        comment="""\
The best source that the instance offers, so that one which gets a histogram does not count twice. Of next to no requests
the slowest is the p99.""",
        disables=(Disable(f"promql/series({p99})", "a fleet seldom has all of its sources"),),
        kinds=_ACTUATOR,
    )


def _above(family: str, humanised: str, options: Options) -> str:
    """Say the threshold."""
    return first(
        f"max(last_over_time({family}{{service=%q}}[{options.recent}]))",
        "$labels.service",
        f", above {{{{ .Value | {humanised} }}}}",
    )


def memory_pressure(options: Options) -> Alert:
    """Build MemoryPressure."""
    full = over(limits.HEAP_RATIO, options)
    return Alert(
        name=limits.HEAP_RATIO.alert,
        severity=Severity.WARNING,
        expr=stepping_back(full, options),
        wait="5m",
        summary="{{ $labels.service }} is short of heap: {{ $value | humanizePercentage }} in use",
        description=(
            "The heap of {{ $labels.service }} at {{ $labels.target }} is {{ $value | humanizePercentage }} full"
            + _above("probe_jvm_memory_used_ratio_limit", "humanizePercentage", options)
            + " for 5m."
        ),
        cause="Time spent in garbage collection: "
        + first(
            f"max(rate(probe_jvm_gc_pause_seconds_total{{service=%q,target=%q}}[{options.rate}]))",
            "$labels.service $labels.target",
            "{{ .Value | humanizePercentage }}",
            "unknown",
        ),
        action=limits.HEAP_RATIO.action,
        panel=limits.HEAP_RATIO.panel,
        meaning="an instance's heap is fuller than its threshold for 5 min",
        comment="Heap right after a collection counts: the sawtooth of a healthy heap dips below the line and resets `for`.",
        kinds=_ACTUATOR,
    )


def high_error_rate(options: Options) -> Alert:
    """Build HighErrorRate."""
    often = over(limits.ERROR_RATIO, options)
    enough = f'increase(probe_http_server_requests_total{{outcome="SERVER_ERROR"}}[{options.rate}])'
    return Alert(
        name=limits.ERROR_RATIO.alert,
        severity=Severity.WARNING,
        expr=(
            f"{stepping_back(often, options)}\nand on (service) sum by (service) ({enough}) > 5\n{firing('ErrorBudgetBurn')}"
        ),
        wait="5m",
        summary="{{ $labels.service }} fails: {{ $value | humanizePercentage }} of its requests end in a server error",
        description=(
            "{{ $value | humanizePercentage }} of the HTTP requests of {{ $labels.service }} end in a server error"
            + _above("probe_http_server_error_ratio_limit", "humanizePercentage", options)
            + " for 5m, though it is up."
        ),
        cause=causes(options) + _components_down(options),
        action=limits.ERROR_RATIO.action,
        panel=limits.ERROR_RATIO.panel,
        meaning="the share of server errors is above its threshold for 5 min; not while ErrorBudgetBurn pages for it",
        disables=(
            Disable(
                'promql/series(probe_http_server_requests_total{outcome="SERVER_ERROR"})', "there is none on a good day"
            ),
        ),
        kinds=_ACTUATOR,
    )


def _components_down(options: Options) -> str:
    return listed(
        f"group by (component) (last_over_time(probe_actuator_component_up{{service=%q}}[{options.bridge}]) == 0)",
        "$labels.service",
        "component",
        "{{ .Labels.component }}",
        around=". Components down: {}",
    )


def pool_exhausted(options: Options) -> Alert:
    """Build ConnectionPoolExhausted."""
    full = over(limits.POOL_RATIO, options)
    waiting = highest('probe_hikari_connections{state="pending"}', options.recent, "target", "pool")
    return Alert(
        name=limits.POOL_RATIO.alert,
        severity=Severity.WARNING,
        expr=f"{stepping_back(full, options)}\nand on (service, target, pool) {waiting} > 0",
        wait="2m",
        summary="{{ $labels.service }} has run out of database connections: {{ $labels.pool }} is "
        "{{ $value | humanizePercentage }} in use",
        description=(
            "The connection pool {{ $labels.pool }} of {{ $labels.service }} at {{ $labels.target }} is "
            "{{ $value | humanizePercentage }} in use, and threads wait for a connection, for 2m."
        ),
        cause="Threads that wait: "
        + first(
            'max(probe_hikari_connections{service=%q,target=%q,pool=%q,state="pending"})',
            "$labels.service $labels.target $labels.pool",
            "{{ .Value | humanize }}",
            "unknown",
        )
        + ". Timeouts in 5m: "
        + first(
            f"max(increase(probe_hikari_connection_timeouts_total{{service=%q,target=%q,pool=%q}}[{options.rate}]))",
            "$labels.service $labels.target $labels.pool",
            "{{ .Value | humanize }}",
            "unknown",
        )
        + ". Suspected: "
        + causes(options),
        action=limits.POOL_RATIO.action,
        panel=limits.POOL_RATIO.panel,
        meaning="a connection pool is in use to its threshold and threads wait, for 2 min",
        comment="A pool that is all in use and that nobody waits for is of the right size.",
        kinds=_ACTUATOR,
    )


def flapping(options: Options) -> Alert:
    """Build ServiceFlapping."""
    outages = f"max by ({OWNER}, target) (increase(probe_outages_total[15m])) > 2.5"
    incidents = "max_over_time(probe_incident[15m])"
    own = f'label_replace(max by (service) ({incidents}), "incident", "$1", "service", "(.+)")'
    return Alert(
        name="ServiceFlapping",
        severity=Severity.WARNING,
        expr=f"""\
{outages}
unless on (service) (
  max by (service, incident) ({incidents}) unless on (service, incident) {own}
)
""",
        wait="1m",
        summary="{{ $labels.service }} comes and goes: down about {{ printf `%.0f` $value }} times in 15m",
        description=(
            "{{ $labels.target }} of {{ $labels.service }} was found down about {{ printf `%.0f` $value }} times within "
            "15m, and came back in between."
        ),
        cause=listed(
            "sum by (stage, reason) (increase(probe_failures_total{service=%q,target=%q}[15m])) > 0",
            "$labels.service $labels.target",
            "reason",
            "{{ .Labels.reason }} in {{ .Labels.stage }} ({{ printf `%.0f` .Value }})",
            otherwise="unknown",
        ),
        action="Look for restarts, probes that kill it, and what it shares a node with; pages of it come and go meanwhile",
        panel=Panel(Board.INCIDENTS, 90),
        meaning="an instance went down three times within 15 min, whether a scrape saw it or not",
        comment="""\
Counted by the exporter, also what begins and ends between two scrapes. What went down because of something else is the
flapping of that.""",
        disables=(Disable("promql/series(probe_incident)", "there is none while all is up"),),
    )


def restarting(options: Options) -> Alert:
    """Build ServiceRestarting."""
    often = f"max by ({OWNER}, target) (increase(probe_process_restarts_total[30m])) > 1.5"
    return Alert(
        name="ServiceRestarting",
        severity=Severity.WARNING,
        expr=stepping_back(often, options),
        wait="1m",
        summary="{{ $labels.service }} keeps restarting: about {{ printf `%.0f` $value }} times in 30m",
        description=(
            "The process of {{ $labels.service }} at {{ $labels.target }} was restarted about {{ printf `%.0f` $value }} "
            "times within 30m."
        ),
        cause="Suspected: "
        + causes(options)
        + ". Heap in use: "
        + first(
            'max(max_over_time(probe_jvm_memory_used_bytes{service=%q,target=%q,area="heap"}[30m]))'
            ' / max(probe_jvm_memory_max_bytes{service=%q,target=%q,area="heap"} > 0)',
            "$labels.service $labels.target $labels.service $labels.target",
            "at most {{ .Value | humanizePercentage }}",
            "unknown",
        ),
        action="Read the log of the process before (in a cluster kubectl logs --previous), check memory limits and probes",
        panel=Panel(Board.SERVICE, 84),
        meaning="an instance's process was restarted twice within 30 min; one restart is a deployment",
        kinds=_ACTUATOR,
    )

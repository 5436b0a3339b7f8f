"""Alerts of services and dependencies as such: down, slow, failing, flapping."""

from __future__ import annotations

from exporter.alerts.model import Alert, Disable, Group, Options, Severity
from exporter.alerts.promql import OWNER
from exporter.alerts.texts import CAUSE, causes, listed

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
    )


_DOWN_COMMENT = """\
Confirmed by the exporter (two failures in a row), so without `for`. One incident is one cause: `incident` is named after it.
1. Down by the newest verdict. A new name of the incident takes over at once, where the old one is still in the window.
2. Down for 30s, and no incident is named, as where the diagnosis itself fails: the service is its own.
3. Held while no verdict is known: the exporter is frozen, killed or starting, cannot be scraped, or cannot tell. Nothing but
   recovery resolves a page; or that the service is not configured any more: for 1m every exporter was there and ready, and
   none knows the service."""


def service_down(options: Options) -> Alert:
    """Build ServiceDown."""
    by = "max by (service, incident, tier, team)"
    bridge = options.bridge
    verdict = f"max by (service) (last_over_time(probe_service_up[{bridge}]))"
    paged = f'{by} (ALERTS{{alertname="ServiceDown", alertstate="firing"}})'
    ready = f'(min(up{{job="{options.job}"}}) == 1 and min(min_over_time(probe_exporter_ready[{options.recent}])) == 1)'
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
  max by ({OWNER}) (max_over_time(probe_service_up[30s])) == 0
    and on (service) max by (service) (last_over_time(probe_service_up[{bridge}] offset 30s)) == 0
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
        f"group by (cause, dependency) (last_over_time(probe_suspected_cause{{service=%q}}[{bridge}]))",
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
        f"sum by (verdict) (last_over_time(probe_service_instances{{service=%q}}[{bridge}])) > 0",
        "$labels.service",
        "verdict",
        "{{ .Value | humanize }} {{ .Labels.verdict }}",
        around=" (instances: {})",
        otherwise=" by the last that is known: the exporter tells nothing of it at present, and this is held until it does",
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
        hold="1m",
        summary=summary,
        description="{{ $labels.service }} is down" + instances + "." + with_it,
        cause=causes(options),
        action="Page on-call, check pods",
        panel=1,
        meaning="a service's or dependency's confirmed verdict is down; held while none is known",
        labels={"incident": "{{ $labels.incident }}"},
        comment=_DOWN_COMMENT,
        disables=(
            Disable("promql/series(probe_incident)", "there is none while all is up"),
            Disable("promql/series(probe_service_unknown)", "there is none while the exporter can tell"),
        ),
    )

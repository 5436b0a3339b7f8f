"""All alerts, and the rules that they become."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from exporter.alerts import certificates, data, exporter, redis, services, slo, workloads
from exporter.alerts.model import Alert, Group, Options, Severity
from exporter.alerts.texts import first
from exporter.boards import Panel

__all__ = ["FILES", "alerts", "files", "rule"]

FILES = {
    "services": services,
    "data": data,
    "redis": redis,
    "certificates": certificates,
    "workloads": workloads,
    "slo": slo,
    "exporter": exporter,
}
"""Modules by the name of the file of rules that each becomes."""


def files(options: Options) -> dict[str, tuple[Group, ...]]:
    """Return the groups of every file of rules, without the alerts over probes that there are none of."""
    found = {}
    for name, module in FILES.items():
        groups = tuple(Group(g.name, _of(g, options), g.interval, g.comment) for g in module.groups(options))
        found[name] = tuple(group for group in groups if group.alerts)
    return {name: groups for name, groups in found.items() if groups}


def _of(group: Group, options: Options) -> tuple[Alert, ...]:
    kinds = options.kinds
    return tuple(alert for alert in group.alerts if kinds is None or alert.kinds is None or alert.kinds & kinds)


def alerts(options: Options | None = None) -> Iterator[Alert]:
    """Yield every alert."""
    for groups in files(options or Options()).values():
        for group in groups:
            yield from group.alerts


def rule(alert: Alert, options: Options) -> dict[str, Any]:
    """Return an alert as Prometheus reads it."""
    made: dict[str, Any] = {"alert": alert.name, "expr": alert.expr.rstrip() + ("\n" if "\n" in alert.expr.rstrip() else "")}
    if alert.wait:
        made["for"] = alert.wait
    if alert.hold:
        made["keep_firing_for"] = alert.hold
    made["labels"] = _labels(alert)
    made["annotations"] = _annotations(alert, options)
    return made


def _labels(alert: Alert) -> dict[str, str]:
    """Severity and team; the rest is of the series, or of the alert where there is no service in them."""
    if alert.severity is Severity.NONE:
        return {"severity": alert.severity.value, **alert.labels}
    if "service" in alert.labels:
        return {"severity": alert.severity.value, "team": alert.team.value, **alert.labels}
    team = f"{{{{ with $labels.team }}}}{{{{ . }}}}{{{{ else }}}}{alert.team}{{{{ end }}}}"
    return {"severity": alert.severity.value, "team": team, "incident": "{{ $labels.service }}", **alert.labels}


def _annotations(alert: Alert, options: Options) -> dict[str, str]:
    made = {"summary": alert.summary, "description": alert.description}
    if alert.cause:
        made["cause"] = alert.cause
    made["action"] = alert.action
    made["runbook_url"] = f"{options.runbook_url}#{alert.anchor}"
    if alert.panel is not None:
        made["dashboard"] = _dashboard(alert, alert.panel, options)
    return made


_BEFORE = 3600
"""Seconds that are shown before an alert began."""


def _dashboard(alert: Alert, panel: Panel, options: Options) -> str:
    """Return the address of a panel, of the alert's service, from an hour before the alert began until now.

    When it began is not among what a template is given: Prometheus writes it down with the first evaluation that finds it.
    """
    own = "service" in alert.labels
    began = "" if own else ",service=%q"
    moment = first(
        f'1000 * ((min(ALERTS_FOR_STATE{{alertname="{alert.name}"{began}}}) or vector(time())) - {_BEFORE})',
        "" if own else "$labels.service",
        '{{ printf "%.0f" .Value }}',
    )
    where = f"{options.grafana_url.rstrip('/')}/d/{panel.board.uid(options.name)}"
    return f"{where}?{'' if own else 'var-service={{ $labels.service }}&'}from={moment}&to=now&viewPanel={panel.number}"

"""Who hears of what: Alertmanager's routes and receivers. One incident is one page, whatever its size."""

from __future__ import annotations

import json
import re
from typing import Any

from exporter.alerts.model import Options, Team

__all__ = ["CRITICAL", "HEADER", "WARNING", "WATCHDOG", "alertmanager", "receiver_of", "teams"]

CRITICAL = "pagerduty-critical"
WARNING = "pagerduty-warning"
WATCHDOG = "watchdog"

HEADER = """\
Critical alerts page on-call, one page for one incident: its title says the cause and how many are down with it, and it is
resolved when all of it is. Warnings make incidents of low urgency; those of the database and security teams go to them, and
they hear of critical ones that are theirs. The Watchdog proves that the path is alive.
Works with Alertmanager 0.25 and later. Each key file holds one PagerDuty Events API v2 integration key: an integration of
high urgency for `pagerduty-critical-key`, of low urgency for all others.

No inhibit_rules and no mute times, on purpose: Alertmanager also holds back the *resolve* of an alert that is inhibited or
muted, so that an incident which was open before would stay open for ever. What a page makes redundant steps back in the
rules (`unless on (service) ...`), where it ends, and is resolved, like any alert; and whether a warning rings is what the
urgency of its integration says. A resolve sent with another key is dropped by PagerDuty: do not re-route an alert while its
incident is open.
"""

_KEYS = "/etc/alertmanager/secrets"
_MOST = 50
"""Alerts of a group that are listed: PagerDuty takes 512,000 bytes of details, and a group can be of any size."""

# The page of an incident is titled by the root's own ServiceDown; else by any ServiceDown, whose summary is the incident's
# too; else by the first alert, with how many more there are. What fires comes before what has ended.
TITLE = (
    '{{ $title := "" }}{{ $more := 0 }}'
    "{{ range .Alerts.Firing }}"
    '{{ if and (not $title) (eq .Labels.alertname "ServiceDown") (eq .Labels.service .Labels.incident) }}'
    "{{ $title = .Annotations.summary }}{{ end }}{{ end }}"
    '{{ range .Alerts.Firing }}{{ if and (not $title) (eq .Labels.alertname "ServiceDown") }}'
    "{{ $title = .Annotations.summary }}{{ end }}{{ end }}"
    "{{ if not $title }}"
    "{{ range .Alerts.Firing }}{{ if not $title }}{{ $title = .Annotations.summary }}"
    "{{ if gt (len $.Alerts.Firing) 1 }}{{ $more = 1 }}{{ end }}{{ end }}{{ end }}{{ end }}"
    "{{ range .Alerts }}{{ if not $title }}{{ $title = .Annotations.summary }}{{ end }}{{ end }}"
    "{{ if $title }}{{ $title }}{{ else }}{{ .CommonLabels.alertname }}{{ end }}"
    "{{ if $more }} ({{ len .Alerts.Firing }} alerts){{ end }}"
)
SEVERITY = (
    '{{ if eq .CommonLabels.severity "critical" }}critical'
    '{{ else if eq .CommonLabels.severity "warning" }}warning{{ else }}error{{ end }}'
)
SOURCE = (
    "{{ if .CommonLabels.incident }}{{ .CommonLabels.incident }}"
    "{{ else if .CommonLabels.service }}{{ .CommonLabels.service }}{{ else }}hafnium-exporter{{ end }}"
)


def _of_the_root(annotation: str, otherwise: str = "") -> str:
    """Take an annotation of the alert that titles the page: the root's own, else the first that has one."""
    return (
        '{{ $said := "" }}'
        f"{{{{ range .Alerts }}}}{{{{ if and (not $said) (eq .Labels.service .Labels.incident) }}}}"
        f"{{{{ $said = .Annotations.{annotation} }}}}{{{{ end }}}}{{{{ end }}}}"
        f"{{{{ range .Alerts }}}}{{{{ if not $said }}}}{{{{ $said = .Annotations.{annotation} }}}}{{{{ end }}}}{{{{ end }}}}"
        + (f"{{{{ if $said }}}}{{{{ $said }}}}{{{{ else }}}}{otherwise}{{{{ end }}}}" if otherwise else "{{ $said }}")
    )


def _each(alerts: str, item: str) -> str:
    """List alerts, one a line, so many at most."""
    return (
        f"{{{{ range $i, $a := .Alerts.{alerts} }}}}{{{{ if lt $i {_MOST} }}}}{item}"
        '{{ "\\n" }}{{ end }}{{ end }}'
    )


def _details() -> dict[str, str]:
    who = "{{ .Labels.alertname }}{{ with .Labels.service }} {{ . }}{{ end }}{{ with .Labels.target }} {{ . }}{{ end }}"
    return {
        "description": _each("Firing", "{{ .Annotations.description }}"),
        "cause": _of_the_root("cause"),
        "causes": _each(
            "Firing",
            "{{ with .Annotations.cause }}{{ $a.Labels.service }}: {{ . }}{{ end }}",
        ),
        "action": _of_the_root("action"),
        "runbook": _of_the_root("runbook_url"),
        "firing": _each("Firing", who),
        "resolved": _each("Resolved", who),
    }


def _pagerduty(name: str, options: Options) -> dict[str, Any]:
    return {
        "name": name,
        "pagerduty_configs": [
            {
                "routing_key_file": f"{_KEYS}/{name}-key",
                "send_resolved": True,
                "severity": SEVERITY,
                "description": TITLE,
                "client": "hafnium-exporter",
                "source": SOURCE,
                "component": "{{ .CommonLabels.service }}",
                "class": "{{ .CommonLabels.alertname }}",
                "group": options.name,
                "links": [
                    {"text": "Runbook", "href": _of_the_root("runbook_url", options.runbook_url)},
                    {"text": "Dashboard", "href": _of_the_root("dashboard", options.grafana_url)},
                ],
                "details": _details(),
            }
        ],
    }


def teams(options: Options) -> tuple[str, ...]:
    """Return the teams that have a receiver of their own."""
    others = (team for team in options.teams if team != Team.ON_CALL)
    return tuple(dict.fromkeys((Team.DBA.value, Team.SECOPS.value, *others)))


def receiver_of(team: str) -> str:
    """Name a team's receiver, and so the file of its key: a label's value can be any text."""
    return f"pagerduty-{re.sub(r'[^a-z0-9._-]+', '-', team.lower())}"


def alertmanager(options: Options) -> dict[str, Any]:
    """Return Alertmanager's configuration."""
    low = {"group_by": ["alertname", "incident"]}
    routes: list[dict[str, Any]] = [
        {
            "matchers": ['alertname = "Watchdog"'],
            "receiver": WATCHDOG,
            "group_by": ["alertname"],
            "group_wait": "0s",
            "group_interval": "1m",
            "repeat_interval": "1m",
        },
        {
            "matchers": ['severity = "critical"'],
            "receiver": CRITICAL,
            "group_by": ["incident"],
            "group_wait": "5s",
            "group_interval": "30s",
            "continue": True,
        },
        *({"matchers": [f"team = {json.dumps(team)}"], "receiver": receiver_of(team), **low} for team in teams(options)),
        # What is critical and of no such team was sent above; the rest, and what names no severity known here, is seen.
        {"matchers": ['severity != "critical"'], "receiver": WARNING, **low},
    ]
    names = (CRITICAL, WARNING, *(receiver_of(team) for team in teams(options)))
    return {
        "global": {"resolve_timeout": "5m", "pagerduty_url": "https://events.pagerduty.com/v2/enqueue"},
        "route": {
            "receiver": WARNING,
            "group_by": ["alertname", "incident"],
            "group_wait": "30s",
            "group_interval": "1m",
            "repeat_interval": "4h",
            "routes": routes,
        },
        "receivers": [
            *(_pagerduty(name, options) for name in names),
            {"name": WATCHDOG, "webhook_configs": [{"url": options.dead_mans_switch, "send_resolved": False}]},
        ],
    }

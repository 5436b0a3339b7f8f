"""The same rules and routes as objects of the Prometheus operator."""

from __future__ import annotations

import json
import re
from typing import Any

from exporter.alerts import routes, rules
from exporter.alerts.model import Options

__all__ = ["SECRET", "alertmanager_config", "prometheus_rule"]

SECRET = "hafnium-exporter-pagerduty"  # noqa: S105 (the name of a Secret, not one)
"""The Secret that holds the integration keys, one key for each receiver, by its name."""

_MATCHER = re.compile(r'(\w+) (=|!=|=~|!~) ("(?:[^"\\]|\\.)*")')


def _metadata(options: Options) -> dict[str, Any]:
    return {
        "name": f"{options.name}-exporter",
        "namespace": options.namespace,
        "labels": {"app.kubernetes.io/name": "hafnium-exporter", "app.kubernetes.io/part-of": options.name},
    }


def prometheus_rule(options: Options) -> dict[str, Any]:
    """Return the PrometheusRule."""
    found = [
        {
            "name": f"{options.name}-{group.name}",
            **({"interval": group.interval} if group.interval else {}),
            "rules": [rules.rule(alert, options) for alert in group.alerts],
        }
        for groups in rules.files(options).values()
        for group in groups
    ]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": _metadata(options),
        "spec": {"groups": found},
    }


def alertmanager_config(options: Options) -> dict[str, Any]:
    """Return the AlertmanagerConfig."""
    config = routes.alertmanager(options)
    return {
        "apiVersion": "monitoring.coreos.com/v1alpha1",
        "kind": "AlertmanagerConfig",
        "metadata": _metadata(options),
        "spec": {
            "route": _route(config["route"]),
            "receivers": [_receiver(receiver) for receiver in config["receivers"]],
        },
    }


_ROUTE = {
    "receiver": "receiver",
    "group_by": "groupBy",
    "group_wait": "groupWait",
    "group_interval": "groupInterval",
    "repeat_interval": "repeatInterval",
    "continue": "continue",
}


def _route(route: dict[str, Any]) -> dict[str, Any]:
    made = {theirs: route[ours] for ours, theirs in _ROUTE.items() if ours in route}
    if "matchers" in route:
        made["matchers"] = [_matcher(text) for text in route["matchers"]]
    if "routes" in route:
        made["routes"] = [_route(child) for child in route["routes"]]
    return made


def _matcher(text: str) -> dict[str, str]:
    found = _MATCHER.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a matcher as routes.py writes them")
    return {"name": found[1], "matchType": found[2], "value": json.loads(found[3])}


def _receiver(receiver: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"name": receiver["name"]}
    if "pagerduty_configs" in receiver:
        made["pagerdutyConfigs"] = [_pagerduty(receiver["name"], config) for config in receiver["pagerduty_configs"]]
    if "webhook_configs" in receiver:
        made["webhookConfigs"] = [
            {"url": config["url"], "sendResolved": config["send_resolved"]} for config in receiver["webhook_configs"]
        ]
    return made


def _pagerduty(name: str, config: dict[str, Any]) -> dict[str, Any]:
    return {
        "routingKey": {"name": SECRET, "key": name},
        "sendResolved": config["send_resolved"],
        "pagerDutyLinkConfigs": config["links"],
        "details": [{"key": key, "value": value} for key, value in config["details"].items()],
        **{field: config[field] for field in ("severity", "description", "client", "source", "component", "class", "group")},
    }

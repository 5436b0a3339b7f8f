"""Pieces of PromQL for rules.

Every series is read over a window that bridges a lost scrape, and joined over all exporters: two of them are one alert, and
a new pod of one does not make a new alert.
"""

from __future__ import annotations

from textwrap import indent

from exporter.alerts.model import Options

__all__ = ["OWNER", "above", "below", "down", "firing", "highest", "limit", "lowest", "ratio", "stepping_back"]

OWNER = "service, tier, team"
"""Labels by which every alert is told apart, those of the configuration where it has them."""


def highest(series: str, window: str, *labels: str) -> str:
    """Take the highest of the newest values."""
    return f"max by ({', '.join((OWNER, *labels))}) (last_over_time({series}[{window}]))"


def lowest(series: str, window: str, *labels: str) -> str:
    """Take the lowest of the newest values."""
    return f"min by ({', '.join((OWNER, *labels))}) (last_over_time({series}[{window}]))"


def limit(family: str, options: Options) -> str:
    """Take a threshold of the configuration, by service."""
    return f"max by (service) (last_over_time({family}[{options.recent}]))"


def above(value: str, family: str, options: Options, comparison: str = ">") -> str:
    """Hold a value of a service against its threshold."""
    return f"{value}\n  {comparison} on (service) group_left ()\n{limit(family, options)}"


def below(value: str, family: str, options: Options) -> str:
    """Hold a value of a service against its threshold, where low values are bad."""
    return above(value, family, options, "<")


def ratio(part: str, whole: str) -> str:
    """Divide, leaving out what has no denominator."""
    return f"{part}\n  / ({whole} > 0)"


def firing(name: str, *on: str) -> str:
    """Leave out what another alert says better while it fires."""
    return f'unless on ({", ".join(on or ("service",))}) ALERTS{{alertname="{name}", alertstate="firing"}}'


def down(options: Options) -> str:
    """Select the services whose newest verdict is down. Of several exporters all must say so."""
    return f"max by (service) (last_over_time(probe_service_up[{options.recent}])) == 0"


def stepping_back(expr: str, options: Options) -> str:
    """Leave out what is a symptom of a service that is down: its page says more."""
    return f"(\n{indent(expr.strip(), '  ')}\n)\nunless on (service) ({down(options)})"

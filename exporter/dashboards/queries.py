"""The queries of most panels: the highest, or the lowest, of a metric's series, by labels that name the lines."""

from __future__ import annotations

from exporter.dashboards.panels import Query
from exporter.dashboards.promql import of
from exporter.metrics import limits

__all__ = ["CERTIFICATE_DUE", "CERTIFICATE_LEFT", "highest", "lowest"]

CERTIFICATE_LEFT = f"min by (service, target) ({of('probe_ssl_earliest_cert_expiry')}) - time()"
"""Seconds that each served certificate lasts."""

CERTIFICATE_DUE = f"({CERTIFICATE_LEFT}) < on (service) group_left () max by (service) ({of(limits.CERTIFICATE.name)})"
"""The same, of those that have less left than the configuration wants."""


def highest(metric: str, *by: str, says: str = "") -> Query:
    """Ask for the highest of the chosen services' series.

    Args:
        metric: Its name.
        by: Labels that tell lines apart; a line is named after their values.
        says: What its name ends with, where a panel has lines of several metrics.
    """
    return _line("max", metric, by, says)


def lowest(metric: str, *by: str, says: str = "") -> Query:
    """Ask for the lowest, as for the highest: of what is 1 where all is well, the worst."""
    return _line("min", metric, by, says)


def _line(which: str, metric: str, by: tuple[str, ...], says: str) -> Query:
    legend = " ".join([*(f"{{{{{label}}}}}" for label in by), *([says] if says else [])])
    return Query(f"{which} by ({', '.join(by)}) ({of(metric)})", legend)

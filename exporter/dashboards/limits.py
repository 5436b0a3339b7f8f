"""Lines where something begins to be wrong: the thresholds of the configuration, as the exporter exports them."""

from __future__ import annotations

from exporter.dashboards.panels import Query
from exporter.dashboards.promql import of
from exporter.metrics.family import Family

__all__ = ["limit"]


def limit(threshold: Family, form: str = "{}", what: str = "") -> Query:
    """Return the query of a threshold, a line for each service; services with one threshold share one line to the eye.

    Args:
        threshold: Which.
        form: What is drawn of it: PromQL, with `{}` for the threshold.
        what: Which line it is, where a panel has two.
    """
    return Query(form.format(f"max by (service) ({of(threshold.name)})"), f"{{{{service}}}} {what} limit".replace("  ", " "))

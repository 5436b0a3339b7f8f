"""Writing PromQL for the dashboards: every selector carries the dashboard's variables.

`job` and `instance` are the exporter's, set by Prometheus; `service` is the probed service's.
"""

from __future__ import annotations

__all__ = ["gone_is_zero", "of", "own", "ratio", "total"]

EXPORTER = 'job=~"$job", instance=~"$instance"'
SERVICE = 'service=~"$service"'


def of(metric: str, *matchers: str) -> str:
    """Select series of the chosen services."""
    return f"{metric}{{{', '.join((EXPORTER, SERVICE, *matchers))}}}"


def own(metric: str, *matchers: str) -> str:
    """Select series of the exporter itself, which have no `service`."""
    return f"{metric}{{{', '.join((EXPORTER, *matchers))}}}"


def total(by: str, counter: str, window: str = "$__rate_interval") -> str:
    """Rate of a counter given by its selector, summed by labels. Rates first: a sum of counters hides restarts."""
    return f"sum by ({by}) (rate({counter}[{window}]))"


def ratio(part: str, whole: str) -> str:
    """Divide, leaving out what has no denominator."""
    return f"{part} / ({whole} > 0)"


def gone_is_zero(query: str, label: str = "") -> str:
    """Show 0 where nothing matches: for counts of what is absent on a good day.

    Args:
        query: The count.
        label: Label of it that the legend names; it is `none` where nothing matches, for a line with no name is none.
    """
    zero = f'label_replace(vector(0), "{label}", "none", "", "")' if label else "vector(0)"
    return f"{query} or on () {zero}"

"""Writing PromQL for the dashboards: every selector carries the dashboard's variables.

`job` and `instance` are the exporter's, set by Prometheus; `service` is the probed service's.
"""

from __future__ import annotations

__all__ = ["exporters", "gone_is_zero", "joined", "of", "own", "rate", "ratio", "total"]

EXPORTER = 'job=~"$job", instance=~"$instance"'
SERVICE = 'service=~"$service"'


def of(metric: str, *matchers: str) -> str:
    """Select series of the chosen services."""
    return f"{metric}{{{', '.join((EXPORTER, SERVICE, *matchers))}}}"


def own(metric: str, *matchers: str) -> str:
    """Select series of the exporter itself, which have no `service`."""
    return f"{metric}{{{', '.join((EXPORTER, *matchers))}}}"


def exporters(series: str) -> str:
    """Keep what the exporters' processes say, of metrics that others have too, such as `up`.

    All jobs are as chosen as the exporters' alone: the variable stands for any. One that is down has been there before.
    """
    return f"{series} and on (job, instance) present_over_time({own('probe_exporter_build')}[$__range] @ end())"


def total(by: str, counter: str, window: str = "$__rate_interval") -> str:
    """Rate of a counter given by its selector, summed by labels. Rates first: a sum of counters hides restarts.

    Over all exporters: for what they do themselves, and for shares, both of whose sides count as often.
    """
    return f"sum by ({by}) (rate({counter}[{window}]))"


def joined(by: str, series: str) -> str:
    """Sum by labels what one exporter says. Several that watch one service count as one, as they do for the alerts."""
    return f"max by ({by}) (sum by ({by}, job, instance) ({series}))"


def rate(by: str, counter: str) -> str:
    """Rate of a counter of the probed services given by its selector, summed by labels, counted once."""
    return joined(by, f"rate({counter}[$__rate_interval])")


def ratio(part: str, whole: str) -> str:
    """Divide, leaving out what has no denominator."""
    return f"{part} / ({whole} > 0)"


def gone_is_zero(query: str, label: str = "") -> str:
    """Show 0 where nothing matches, while there are verdicts: for counts of what is absent on a good day.

    Without an exporter nothing is known: a 0 would say that all is well.

    Args:
        query: The count.
        label: Label of it that the legend names; it is `none` where nothing matches, for a line with no name is none.
    """
    zero = f"(0 * ({' or '.join(f'group({of(verdict)})' for verdict in _VERDICTS)}))"
    if label:
        zero = f'label_replace({zero}, "{label}", "none", "", "")'
    return f"{query} or on () {zero}"


_VERDICTS = ("probe_service_up", "probe_service_unknown")
"""A service that is watched has one or the other."""

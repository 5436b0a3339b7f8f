"""Alerts of the objective for availability: how fast its budget of failed requests is spent."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.alerts.model import Alert, Disable, Group, Options, Severity
from exporter.alerts.promql import OWNER, firing, limit
from exporter.alerts.texts import causes, first
from exporter.boards import Board, Panel

__all__ = ["groups"]

_REQUESTS = "probe_http_server_requests_total"
_FAILED = f'{_REQUESTS}{{outcome="SERVER_ERROR"}}'
_OBJECTIVE = "probe_http_server_availability_ratio_limit"


@dataclass(frozen=True, slots=True)
class Windows:
    """A pair of windows: the long one says that it matters, the short one that it goes on.

    Attributes:
        short: The short one.
        long: The long one.
        factor: How many times as fast as allowed the budget of 30 days is spent.
        least: Failed requests in the long one, below which they may be the exporter's own, of a service that nobody uses.
        down: Over which the service must not have been down: its page said so, and its failed requests are in the short one.
    """

    short: str
    long: str
    factor: float
    least: int
    down: str


_FAST = (Windows("5m", "1h", 14.4, 30, "10m"), Windows("30m", "6h", 6, 100, "40m"))
_SLOW = (Windows("2h", "1d", 3, 200, "2h"), Windows("6h", "3d", 1, 500, "6h"))


def groups(options: Options) -> tuple[Group, ...]:
    """Return the groups of this file."""
    return (Group("slo", (burn(options), burn_slow(options))),)


def _spent(window: str) -> str:
    every = f"sum by ({OWNER}) (rate({_REQUESTS}[{window}]))"
    return f"sum by ({OWNER}) (rate({_FAILED}[{window}])) / ({every} > 0)"


def _budget(factor: float, options: Options) -> str:
    return f"{factor:g} * (1 - {limit(_OBJECTIVE, options)})"


def _pair(windows: Windows, options: Options) -> str:
    parts = [
        f"  ({_spent(window)})\n    > on (service) group_left () ({_budget(windows.factor, options)})"
        for window in (windows.long, windows.short)
    ]
    return (
        "(\n"
        + f"\n  and on ({OWNER})\n".join(parts)
        + f"\n  and on (service) sum by (service) (increase({_FAILED}[{windows.long}])) > {windows.least}"
        + f"\n  unless on (service) min by (service) (min_over_time(probe_service_up[{windows.down}])) == 0\n)"
    )


_COMMENT = """\
Each pair: the long window says that it matters, the short one that it goes on. A service that is down, or was within the
short window, has had its page, and what it spent then is no second one. Of few failures the rate says nothing: of a service
that nobody uses they may be the exporter's own requests."""
_DISABLES = (
    Disable(f"promql/series({_FAILED})", "there is none on a good day"),
    Disable("promql/range_query", "a Prometheus that keeps less than the longest window sees what it has"),
)


def burn(options: Options) -> Alert:
    """Build ErrorBudgetBurn."""
    return Alert(
        name="ErrorBudgetBurn",
        severity=Severity.CRITICAL,
        expr="\nor\n".join(_pair(windows, options) for windows in _FAST),
        wait="2m",
        summary="{{ $labels.service }} fails its users: {{ $value | humanizePercentage }} of requests end in a server error",
        description=_description("at this rate the budget of 30 days is gone within 5 days at most", options),
        cause=causes(options),
        action="Roll back a new version, check what it depends on",
        panel=Panel(Board.SLO, 83),
        meaning="a service that is up spends its budget of failed requests 14.4 times too fast over 1 h and 5 min, or "
        "6 times over 6 h and 30 min",
        comment=_COMMENT,
        disables=_DISABLES[:1],
        kinds=frozenset({"actuator"}),
    )


def burn_slow(options: Options) -> Alert:
    """Build ErrorBudgetBurnSlow."""
    return Alert(
        name="ErrorBudgetBurnSlow",
        severity=Severity.WARNING,
        expr="\nor\n".join(_pair(windows, options) for windows in _SLOW) + f"\n{firing('ErrorBudgetBurn')}",
        wait="15m",
        summary="{{ $labels.service }} spends its error budget: {{ $value | humanizePercentage }} of requests fail",
        description=_description("at this rate the budget of 30 days does not last", options),
        cause=causes(options),
        action="Find out which requests fail, and mend that within days",
        panel=Panel(Board.SLO, 83),
        meaning="the same, 3 times too fast over 1 d and 2 h, or just too fast over 3 d and 6 h",
        comment=_COMMENT,
        disables=_DISABLES,
        kinds=frozenset({"actuator"}),
    )


def _description(so: str, options: Options) -> str:
    objective = first(
        f"max({_OBJECTIVE}{{service=%q}})", "$labels.service", " (objective {{ .Value | humanizePercentage }})"
    )
    return (
        "{{ $value | humanizePercentage }} of the HTTP requests of {{ $labels.service }} ended in a server error over the "
        f"long window{objective}: {so}."
    )

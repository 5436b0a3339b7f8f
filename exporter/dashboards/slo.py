"""The SLO dashboard: objectives, what is left of their budgets, and how fast that burns."""

from __future__ import annotations

from exporter.boards import Board
from exporter.dashboards.board import Content, Row
from exporter.dashboards.limits import limit
from exporter.dashboards.panels import Columns, Panels, Query, Scale, Size, graph, table
from exporter.dashboards.promql import joined, of, ratio
from exporter.metrics import limits

__all__ = ["board"]

FAST_BURN, SLOW_BURN, TICKET_BURN, LASTING_BURN = 14.4, 6, 3, 1
"""Times the pace that uses an error budget of 30 days up just in time, of the alerts' pairs of windows: a fiftieth of it in
an hour, a twentieth in six, a tenth in a day, a tenth in three."""

_OBJECTIVE = f"max by (service) ({of(limits.AVAILABILITY.name)})"


def board() -> Content:
    """Return what it shows."""
    return Content(
        Board.SLO,
        "SLOs and budgets",
        "The share of requests without a server error held against its objective, over 30 days and now.",
        (Row(373, "Budgets", _budgets()), Row(374, "How fast they burn", _burn()), Row(375, "Verdicts", _verdicts())),
        kinds=frozenset({"actuator"}),
    )


def failed(window: str) -> str:
    """Share of requests that failed. It is increases that are divided: over a window that is given, they are no rates."""
    counter = "probe_http_server_requests_total"
    fine, every = (
        f"sum by (service) (increase({series}[{window}]))"
        for series in (of(counter, 'outcome!="SERVER_ERROR"'), of(counter))
    )
    return f"1 - {ratio(fine, every)}"


def _budgets() -> Panels:
    spent = f"({failed('30d')}) / on (service) (1 - {_OBJECTIVE})"
    return (
        table(
            320, "Error budget left", "Of the budget of failed requests of 30 days, as far back as Prometheus remembers; "
            "below zero the objective is missed.", "percentunit",
            Query(f"sort(1 - {spent})", "{{service}}"),
            columns=Columns(("service",), "left", scale=Scale(warn=0.25, bad=0, falling=True)),
        ),
        table(
            321, "Requests without a server error", "Over 30 days, as far back as Prometheus remembers.", "percentunit",
            Query(f"sort(1 - ({failed('30d')}))", "{{service}}"), columns=Columns(("service",), "share", decimals=3),
        ),
        table(
            322, "Objectives", "Share of requests without a server error that the configuration wants.", "percentunit",
            Query(_OBJECTIVE, "{{service}}"), columns=Columns(("service",), "objective", decimals=3),
        ),
    )  # fmt: skip


def _burn() -> Panels:
    return (
        graph(
            83, "Error ratio and burn of the error budget",
            f"Share of server errors over an hour and over six. Above its line the error budget of 30 days burns "
            f"{FAST_BURN} or {SLOW_BURN} times as fast as it may.", "percentunit",
            Query(failed("1h"), "{{service}} 1h"), limit(limits.AVAILABILITY, f"{FAST_BURN} * (1 - {{}})", "1h"),
            Query(failed("6h"), "{{service}} 6h"), limit(limits.AVAILABILITY, f"{SLOW_BURN} * (1 - {{}})", "6h"),
            size=Size.HALF,
        ),
        graph(
            323, "Burn that pages",
            "How many times as fast as it may the budget burns, by the lower of a short and a long window. An hour with its "
            "last five minutes above the upper line is a page, as are six hours with their last half above the lower one.",
            "none", _burns("1h", "5m"), _burns("6h", "30m"),
            scale=Scale(warn=SLOW_BURN, bad=FAST_BURN), size=Size.HALF,
        ),
        graph(
            324, "Burn that makes a ticket",
            "The same of a day with its last two hours, above the upper line, and of three days with their last six hours, "
            "above the lower one.", "none", _burns("1d", "2h"), _burns("3d", "6h"),
            scale=Scale(warn=LASTING_BURN, bad=TICKET_BURN), size=Size.HALF,
        ),
        graph(
            325, "Failed requests", "Requests that ended in a server error, within the hour before.", "short",
            Query(
                joined("service", f"increase({of('probe_http_server_requests_total', _SERVER_ERROR)}[1h])"), "{{service}}"
            ),
            size=Size.HALF,
        ),
    )  # fmt: skip


def _burns(long: str, short: str) -> Query:
    """Ask how many times too fast the budget burns over both of two windows."""
    both = f"({failed(long)}) < ({failed(short)}) or ({failed(short)})"
    return Query(f"({both}) / on (service) (1 - {_OBJECTIVE})", f"{{{{service}}}} {long}")


_SERVER_ERROR = 'outcome="SERVER_ERROR"'


def _verdicts() -> Panels:
    up = of("probe_service_up")
    return (
        table(
            326, "Time up", "Share of the time shown that each was up, of that in which it was known.", "percentunit",
            Query(f"sort(max by (service) (avg_over_time({up}[$__range])))", "{{service}}"),
            columns=Columns(("service",), "up", decimals=3), size=Size.HALF,
        ),
        graph(
            327, "Time up within an hour", "Share of the hour before that each was up.", "percentunit",
            Query(f"max by (service) (avg_over_time({up}[1h]))", "{{service}}"), top=1, size=Size.HALF,
        ),
    )  # fmt: skip

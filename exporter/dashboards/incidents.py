"""The Incidents dashboard: from page to resolve, now and over the time that is looked at."""

from __future__ import annotations

from exporter.boards import Board
from exporter.dashboards.board import Content, Row
from exporter.dashboards.panels import Columns, Panels, Query, Size, chosen, states, table
from exporter.dashboards.promql import joined, of
from exporter.dashboards.verdicts import causes, incidents, timeline

__all__ = ["board"]


def board() -> Content:
    """Return what it shows."""
    return Content(
        Board.INCIDENTS,
        "incidents",
        "From page to resolve: what is down now and why, what each incident took down, and how long it took to mend.",
        (
            Row(370, "Now", (*incidents(), *chosen(causes(), 81, 90))),
            Row(371, "Since when, and what with it", (*_open(), *timeline(), *chosen(causes(), 80, 8, 82))),
            Row(372, "From page to resolve, over the time shown", _mended()),
        ),
    )


def _open() -> Panels:
    return (
        states(
            310, "Open incidents", "While an incident is open, by the cause that its page is named after. Gap: it is not.",
            Query(f"0 * max by (incident) ({of('probe_incident')})", "{{incident}}"),
            texts=("Open", "Closed"), size=Size.LOW,
        ),
    )  # fmt: skip


_LOOK = 15
"""Seconds: as often as the exporter is scraped."""


def _mended() -> Panels:
    up, outages = of("probe_service_up"), of("probe_outages_total")
    # Every so many seconds it is looked up: a gap is not down, and what is not there yet counts for nothing.
    down = f"{_LOOK} * sum_over_time((1 - max by (service) ({up}))[$__range:{_LOOK}s]) > 0"
    times = f"round({joined('service', f'increase({outages}[$__range])')}) > 0"
    return (
        table(
            311, "Outages", "Times that an instance was confirmed down within the time shown.", "none",
            Query(f"sort_desc({times})", "{{service}}"),
            columns=Columns(("service",), "outages", none="No outage"), size=Size.THIRD,
        ),
        table(
            312, "Time down", "How long a service or dependency was down within the time shown, as Prometheus saw it.",
            "dtdurations", Query(f"sort_desc({down})", "{{service}}"),
            columns=Columns(("service",), "down for", none="Nothing was down"), size=Size.THIRD,
        ),
        table(
            313, "Time to mend", "Time down by outage of an instance: the mean time from page to resolve.",
            "dtdurations", Query(f"sort_desc(({down}) / on (service) ({times}))", "{{service}}"),
            columns=Columns(("service",), "mean", none="Nothing to mend"),
            size=Size.THIRD,
        ),
    )  # fmt: skip

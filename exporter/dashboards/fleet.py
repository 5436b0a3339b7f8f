"""The Fleet dashboard: is anything wrong, since when, and why; everything on it leads to where there is more."""

from __future__ import annotations

from exporter.boards import Board
from exporter.dashboards.board import Content, Row
from exporter.dashboards.certificates import certificates
from exporter.dashboards.kafka import lag
from exporter.dashboards.panels import chosen
from exporter.dashboards.service import requests, resources
from exporter.dashboards.verdicts import causes, incidents, numbers, timeline

__all__ = ["board"]


def board() -> Content:
    """Return what it shows."""
    return Content(
        Board.FLEET,
        "fleet",
        "Whether anything is wrong with the services and with what they depend on, since when, and why.",
        (
            Row(100, "Is anything wrong", (*numbers(), *incidents(), *timeline())),
            Row(107, "Why", chosen(causes(), 80, 8, 82)),
            Row(101, "What users feel", (*chosen(requests(), 12, 11), *lag())),
            Row(103, "What runs short", (*chosen(resources(), 20, 22), *chosen(certificates(), 50))),
        ),
    )

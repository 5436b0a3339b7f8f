"""Which dashboards there are: what alerts and links name them by. Making them is `exporter/dashboards/`."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

__all__ = ["Board", "Panel"]


class Board(StrEnum):
    """A dashboard, by what it is about."""

    FLEET = "fleet"
    SERVICE = "service"
    POSTGRES = "postgres"
    REDIS = "redis"
    KAFKA = "kafka"
    KUBERNETES = "kubernetes"
    CERTIFICATES = "certificates"
    SLO = "slo"
    INCIDENTS = "incidents"
    EXPORTER = "exporter"

    def uid(self, fleet: str) -> str:
        """Return what Grafana knows it by.

        Args:
            fleet: Name of the fleet, such as `hafnium`.
        """
        return f"{fleet}-{self.value}"


class Panel(NamedTuple):
    """A panel of a dashboard.

    Attributes:
        board: Where it is.
        number: Its id there; a panel on several dashboards has one id.
    """

    board: Board
    number: int

"""Which services this exporter is to probe."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Everything", "Ownership"]


class Ownership(Protocol):
    """Says which services are this exporter's. One that is not has no target and no series here."""

    def owns(self, service: str) -> bool:
        """Say whether a service or dependency is this exporter's to probe."""


class Everything:
    """One exporter that probes all there is."""

    def owns(self, service: str) -> bool:
        """Say yes."""
        return True

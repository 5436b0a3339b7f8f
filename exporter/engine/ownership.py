"""Which services this exporter is to probe, and which of them it exports."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Everything", "Ownership"]


class Ownership(Protocol):
    """Says which services are this exporter's. One that is not has no series here; one that is not needed has no target."""

    def owns(self, service: str) -> bool:
        """Say whether a service or dependency is this exporter's to export."""

    def needs(self, service: str) -> bool:
        """Say whether it is to be probed, be it only to find the causes of what is exported. What is owned is needed."""


class Everything:
    """One exporter that probes all there is."""

    def owns(self, _service: str) -> bool:
        """Say yes."""
        return True

    def needs(self, _service: str) -> bool:
        """Say yes."""
        return True

"""What the web server asks of the daemon. It knows nothing else of it."""

from __future__ import annotations

from typing import Protocol

from exporter.engine.views import FleetView

__all__ = ["Backend", "UnknownTarget"]


class UnknownTarget(LookupError):  # noqa: N818 - it says what is the matter
    """No configured target answers to what was asked; the text says which there are."""


class Backend(Protocol):
    """The daemon, as the web server sees it."""

    async def fleet(self) -> FleetView:
        """Return what people see."""
        ...

    def render(self, *, openmetrics: bool) -> bytes:
        """Return the exposition."""
        ...

    def ready(self) -> str | None:
        """Return why the exporter is not ready, or None."""
        ...

    def healthy(self) -> str | None:
        """Return why the exporter is not healthy, or None."""
        ...

    async def reload(self) -> list[str]:
        """Read the configuration anew; return what is wrong with it, in which case the old one is kept."""
        ...

    async def probe(self, service: str, probe: str, target: str | None) -> bytes:
        """Run one configured target now and return its exposition.

        Raises:
            UnknownTarget: Nothing like it is configured.
        """
        ...

    def observe_scrape(self, seconds: float, size: int) -> None:
        """Note what a scrape cost: seconds of event-loop time, bytes before compression."""
        ...

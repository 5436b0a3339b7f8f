"""What the web server asks of the daemon. It knows nothing else of it."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Protocol

from exporter.engine.diagnosis_views import IncidentView
from exporter.engine.probed_view import ProbedView
from exporter.engine.views import About, FleetView, Neighbours, ServiceView, TargetView
from exporter.verdict import Verdict

__all__ = ["Backend", "UnknownTarget"]


class UnknownTarget(LookupError):  # noqa: N818 - it says what is the matter
    """No configured target answers to what was asked; the text says which there are."""


class Backend(Protocol):
    """The daemon, as the web server sees it."""

    @property
    def edition(self) -> Hashable:
        """What differs as soon as a verdict, a reason or the configuration is another."""
        ...

    def about(self) -> About:
        """Return what is told of the exporter itself."""
        ...

    async def fleet(self) -> FleetView:
        """Return what people see first: each service with its worst targets."""
        ...

    def names(self) -> list[str]:
        """Return the names of services and dependencies."""
        ...

    def kinds(self, service: str | None) -> list[str]:
        """Return the kinds of the probes that a service has, or that there are."""
        ...

    async def service(self, name: str, most: int) -> ServiceView | None:
        """Return one service with so many of its targets, the worst; None where there is none of that name."""
        ...

    def incidents(self) -> list[IncidentView]:
        """Return every incident, the oldest first."""
        ...

    def neighbours(self, name: str) -> Neighbours:
        """Return what a service needs and what needs it."""
        ...

    def targets(self, service: str | None, probe: str | None, verdict: Verdict | None) -> Iterator[TargetView]:
        """Make the views of the targets that are asked for, one by one: whoever takes them decides how many at a time."""
        ...

    @property
    def exports(self) -> bool:
        """Whether verdicts may be exported at this very moment: with a lease, only while it is held."""
        ...

    def parts(self, *, openmetrics: bool, of_services: bool = True) -> list[bytes]:
        """Return the exposition; without `of_services`, what is of the exporter itself alone."""
        ...

    def to_others(self) -> Mapping[str, object] | None:
        """Return what other exporters are told that share a lease; None where there is none."""
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

    async def probe_now(self, service: str, probe: str, target: str | None) -> ProbedView:
        """Run one configured target now and return what it came to; likewise."""
        ...

    def observe_scrape(self, seconds: float, size: int) -> None:
        """Note what a scrape cost: seconds of event-loop time, bytes before compression."""
        ...

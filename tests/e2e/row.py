"""What a row of the matrix is: a fault, what is done, and what a person on call is owed for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.e2e.scene import Scene

__all__ = ["ON_CALL", "Owed", "Row", "Step", "filled"]

Step = Callable[["Scene"], Awaitable[None]]

ON_CALL = "pagerduty-critical"
"""The one receiver that wakes people up."""


@dataclass(frozen=True, slots=True)
class Owed:
    """An incident that is owed. `{0}` and `{1}` in its texts are the row's services.

    Attributes:
        alert: Name of the alert that makes it.
        incident: What the incident is named after.
        title: Pattern that is in its title in the end.
        cause: Pattern that is in what the person is told first, case ignored.
        within: Seconds to the page at the shipped intervals.
        low: Whether it is of low urgency, and not a page.
        times: How often it is opened, at least and at most.
        since: Mark from which the seconds count; empty: the row's first fault.
        while_broken: Faults during which it must not be resolved: all of the row's by default; none: it may be.
    """

    alert: str
    incident: str
    title: str = ""
    cause: str = ""
    within: float = 75.0
    low: bool = False
    times: tuple[int, int] = (1, 1)
    since: str = ""
    while_broken: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A row.

    Attributes:
        name: What to ask for.
        fault: What happens, for people.
        story: What is done, in order.
        owed: What people are owed: nothing else may reach them.
        services: How many services it breaks.
        parts: What else it breaks and no service notices: dependencies; services by name, where only those will do.
        alone: Whether nothing may go on beside it in its stack; so it is of a row of neither services nor parts.
        may: Alerts of which incidents of low urgency are right too, and not owed.
        quick: Whether it is part of `make test`.
        patience: Seconds that the last resolve may take at the shipped intervals.
        hurry: How many times faster its fleet runs in `make e2e`: 1 is as shipped.
        spoils: Whether its fleet is thrown away afterwards: what it did is seen for hours.
        kubernetes: Whether its fleet's services are Deployments on a control plane of Kubernetes.
        kafka: Whether its fleet's broker is one of Apache Kafka.
        valkeys: Whether its fleet has a replica, Sentinels and a Cluster of Redis too.
        databases: Whether its fleet has standbys of PostgreSQL, and servers to spoil, too.
        brokers: Whether its fleet has a cluster of three brokers too.
    """

    name: str
    fault: str
    story: Sequence[Step]
    owed: Sequence[Owed] = ()
    services: int = 0
    parts: frozenset[str] = frozenset()
    alone: bool = False
    may: frozenset[str] = frozenset()
    quick: bool = False
    patience: float = 240.0
    hurry: int = 1
    spoils: bool = False
    kubernetes: bool = False
    kafka: bool = False
    valkeys: bool = False
    databases: bool = False
    brokers: bool = False

    @property
    def is_alone(self) -> bool:
        """Whether nothing may go on beside it."""
        return self.alone or not (self.services or self.parts)


def filled(text: str, services: Sequence[str]) -> str:
    """Put the row's services into a text."""
    for number, service in enumerate(services):
        text = text.replace(f"{{{number}}}", service)
    return text

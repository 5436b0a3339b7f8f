"""What every source of instances is: it pushes, for one service, the set of its instances whenever it learns of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from exporter.values import Address
from exporter.verdict import Failure

__all__ = ["Discovered", "Instance", "Report", "Source"]


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of a service.

    Attributes:
        name: What it is called, unique within its service: a pod's name, or `host:port` where nothing better is known.
        address: Where it listens.
        labels: What the source knows of it that is wanted on its series, such as pod, node, zone, revision.
        ready: Whether the source holds it ready to serve. One that is not is probed, and expected to fail.
        terminating: Whether it is on its way out.
    """

    name: str
    address: Address
    labels: Mapping[str, str] = field(default_factory=dict)
    ready: bool = True
    terminating: bool = False

    @classmethod
    def at(cls, address: Address) -> Instance:
        """Make an instance of which only the address is known."""
        return cls(str(address), address)


@dataclass(frozen=True, slots=True)
class Discovered:
    """The instances of a service, as its source sees them now.

    Attributes:
        instances: All of them; those last known where the source could not tell.
        failure: Why the source could not tell. Then nothing may be concluded from an instance that is missing.
    """

    instances: tuple[Instance, ...]
    failure: Failure | None = None

    @property
    def complete(self) -> bool:
        """Whether the set is what the source says now, and not what was last known."""
        return self.failure is None


Report = Callable[[Discovered], None]


class Source(Protocol):
    """Tells of the instances of one service.

    `run` reports at once, or within a few seconds that it cannot tell, and then whenever the set or the source's own health
    has changed or was looked at again. It ends only by being cancelled; what it raises is a defect, and it is run anew.
    """

    async def run(self, report: Report) -> None:
        """Report for ever."""

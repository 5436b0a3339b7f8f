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
        ready: Whether the source held it ready to serve when it was reported. One that is not is probed, and expected to
            fail. That alone makes no other instance, and is not reported.
        terminating: Whether it is on its way out. One that is serves nobody any more: it is not probed, and does not count.
        uid: What tells it from another one of the same name, such as the next pod of a StatefulSet; empty where names tell.
    """

    name: str
    address: Address
    labels: Mapping[str, str] = field(default_factory=dict)
    ready: bool = field(default=True, compare=False)
    terminating: bool = False
    uid: str = ""

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
        wanted: How many there should be, where the source knows: the replicas of the workload.
        unsized: Why it cannot be told how many there should be as of now, where that was asked for.
        desired: How many there should be; as many as there are, where the source knows no better.
    """

    instances: tuple[Instance, ...]
    failure: Failure | None = None
    wanted: int | None = None
    unsized: Failure | None = None
    desired: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Count once: every change of a target asks for it."""
        wanted = self.wanted if self.wanted is not None else sum(not each.terminating for each in self.instances)
        object.__setattr__(self, "desired", wanted)

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

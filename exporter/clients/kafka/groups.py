"""Consumer groups of one broker: which there are, their state and their members."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from aiokafka.protocol.admin import DescribeGroupsRequest, ListGroupsRequest

from exporter.clients.kafka.connection import Broker
from exporter.clients.kafka.errors import PartitionErrorReason, failure_of_code
from exporter.clients.kafka.layout import MAX_NAME, Partition
from exporter.clients.kafka.offsets import OffsetsByTopic
from exporter.verdict import Failure, Reason, Stage

__all__ = ["MAX_COMMITS", "MAX_GROUPS", "STATES", "Group", "Quota", "describe_groups", "list_groups"]

STATES = {
    "Stable": "stable",
    "Empty": "empty",
    "Dead": "dead",
    "PreparingRebalance": "preparing_rebalance",
    "CompletingRebalance": "completing_rebalance",
}
"""States as brokers say them, and as they are exported; any other is `unknown`."""

MAX_GROUPS = 1000
"""Groups that are looked at, over all brokers."""

MAX_COMMITS = 200_000
"""Groups times partitions that are asked for in one reading: about a second's computing."""

_LARGE = 2000
"""Groups past which a list is looked through in a thread: patterns of the configuration are matched against each."""

_CONSUMERS = frozenset({"consumer", ""})
"""Protocol types of groups that consume; empty where the group only commits. Kafka Connect's workers have others."""


@dataclass(slots=True)
class Group:
    """What is known of a group; None and missing entries are not known.

    Attributes:
        state: Of `STATES` or `unknown`.
        members: How many consumers are in it.
        commits: Committed offsets.
        partition_errors: Partitions whose commit could not be read.
    """

    state: str | None = None
    members: int | None = None
    commits: OffsetsByTopic = field(default_factory=dict)
    partition_errors: dict[Partition, PartitionErrorReason] = field(default_factory=dict)

    def complete(self, other: Group) -> None:
        """Take in what another broker knows of the group, as two list it while it moves."""
        self.state = self.state or other.state
        self.members = other.members if self.members is None else self.members
        self.commits = self.commits or other.commits
        self.partition_errors = self.partition_errors or other.partition_errors


async def list_groups(broker: Broker, select: Callable[[str], bool]) -> list[str]:
    """Return the selected groups that this broker coordinates: a broker lists those, and answers for no others.

    Raises:
        Failure: The broker cannot be asked, or refuses.
    """
    answer = await broker.ask(ListGroupsRequest())
    if answer.error_code:
        raise failure_of_code(answer.error_code, "list of groups")
    listed = answer.groups or ()
    return await asyncio.to_thread(_selected, listed, select) if len(listed) > _LARGE else _selected(listed, select)


def _selected(listed: Iterable[tuple[str, str]], select: Callable[[str], bool]) -> list[str]:
    names = {name: kind for name, kind in listed if name and len(name) <= MAX_NAME}
    return [name for name, kind in names.items() if kind in _CONSUMERS and select(name)]


async def describe_groups(broker: Broker, names: Sequence[str]) -> tuple[dict[str, tuple[str, int]], list[Failure]]:
    """Return state and number of members by name, and the failures of those that the broker has an error for.

    Raises:
        Failure: The broker cannot be asked.
    """
    answer = await broker.ask(DescribeGroupsRequest(names))
    described: dict[str, tuple[str, int]] = {}
    failures: list[Failure] = []
    for error, name, state, _, _, members, *_ in answer.groups or ():
        if name not in names:
            continue
        if error:
            failures.append(failure_of_code(error, f"group {name}"))
        else:
            described[name] = (STATES.get(state, "unknown"), len(members or ()))
    return described, failures


class Quota:
    """What may still be asked in one reading, over all brokers: groups come from whoever may commit."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._commits = 0

    @property
    def groups(self) -> int:
        """How many groups have been admitted."""
        return len(self._names)

    def admit(self, names: Iterable[str]) -> list[str]:
        """Return those names that are looked at; one that two brokers list counts once."""
        admitted = []
        for name in names:
            if name in self._names or len(self._names) < MAX_GROUPS:
                self._names.add(name)
                admitted.append(name)
        return admitted

    def take_commits(self, count: int, group: str) -> None:
        """Count what is asked of a group.

        Raises:
            Failure: It would be too much.
        """
        self._commits += count
        if self._commits > MAX_COMMITS:
            detail = f"group {group}: more than {MAX_COMMITS} commits to ask for: narrow groups or topics"
            raise Failure(Stage.CHECK, Reason.TOO_LARGE, detail)

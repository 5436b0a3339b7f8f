"""Consumer groups of one broker: which there are, their state and their members."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.protocol.admin import DescribeGroupsRequest

from exporter.clients.kafka.connection import Broker
from exporter.clients.kafka.errors import UNKNOWN_GROUP, PartitionErrorReason, failure_of_code
from exporter.clients.kafka.layout import MAX_NAME, Partition
from exporter.clients.kafka.offsets import OffsetsByTopic
from exporter.clients.kafka.requests import ConsumerGroupDescribeRequest, ListGroupsRequest, ShareGroupDescribeRequest
from exporter.verdict import Failure, Reason, Stage

__all__ = [
    "CLASSIC",
    "MAX_ASKED",
    "MAX_COMMITS",
    "MAX_GROUPS",
    "SHARE",
    "STATES",
    "Described",
    "Group",
    "Listed",
    "Quota",
    "describe_groups",
    "list_groups",
    "seek_groups",
]

STATES = {
    "Stable": "stable",
    "Empty": "empty",
    "Dead": "dead",
    "PreparingRebalance": "preparing_rebalance",
    "CompletingRebalance": "completing_rebalance",
    "Assigning": "assigning",
    "Reconciling": "reconciling",
}
"""States as brokers say them, and as they are exported; any other is `unknown`."""

MAX_GROUPS = 5000
"""Groups that are looked at, over all brokers."""

MAX_ASKED = 200_000
"""Groups times partitions that are asked for by name in one reading. Past it groups are asked for whatever they have."""

MAX_COMMITS = 500_000
"""Commits that are kept of one reading: about a second's computing."""

SHARE = "share"
"""Type of a share group."""

CLASSIC = "classic"
"""Type of a group of the old protocol, of brokers that tell types."""

_LARGE = 2000
"""Groups past which a list is looked through in a thread: patterns of the configuration are matched against each."""

_STRAYS = 100
"""Groups that an answer may describe beside those it was asked for; they are left out."""

_LARGE_ASSIGNMENTS = 32 * 1024
"""Bytes of assignments past which they are read in a thread."""

_CONSUMERS = frozenset({"consumer", "share", ""})
"""Protocol types of groups that consume; empty where the group only commits. Kafka Connect's workers have others."""

_DESCRIBING = {"consumer": ConsumerGroupDescribeRequest, SHARE: ShareGroupDescribeRequest}
"""Requests for groups of the new protocols, by the group's type; of the old one where it is not told."""


@dataclass(slots=True)
class Group:
    """What is known of a group; None and missing entries are not known.

    Attributes:
        kind: Its type: classic, consumer (KIP-848) or share (KIP-932); empty where the broker does not say.
        state: Of `STATES` or `unknown`.
        members: How many consumers are in it.
        assignor: How they share out partitions; empty while they do not.
        coordinator: The node that keeps its commits.
        committed: Whether its commits were read: then a partition that is missing has none.
        commits: Committed offsets; of a share group, the first records that it has not finished with.
        left: Of a share group, how many records it has not finished with, where the broker counts them.
        assigned: Partitions that its members have been given, by topic.
        elsewhere: The same of other topics than those that metadata lists.
        partition_errors: Partitions whose commit could not be read.
    """

    kind: str = ""
    state: str | None = None
    members: int | None = None
    assignor: str = ""
    coordinator: int | None = None
    committed: bool = False
    commits: OffsetsByTopic = field(default_factory=dict)
    left: OffsetsByTopic = field(default_factory=dict)
    assigned: Mapping[str, Collection[int]] = field(default_factory=dict)
    elsewhere: Mapping[str, Collection[int]] = field(default_factory=dict)
    partition_errors: dict[Partition, PartitionErrorReason] = field(default_factory=dict)

    def complete(self, other: Group) -> None:
        """Take in what another broker knows of the group, as two list it while it moves."""
        self.kind = self.kind or other.kind
        self.state = self.state or other.state
        self.members = other.members if self.members is None else self.members
        self.assignor = self.assignor or other.assignor
        self.coordinator = self.coordinator if self.committed or not other.committed else other.coordinator
        self.committed = self.committed or other.committed
        self.commits = self.commits or other.commits
        self.left = self.left or other.left
        self.assigned = self.assigned or other.assigned
        self.elsewhere = self.elsewhere or other.elsewhere
        self.partition_errors = self.partition_errors or other.partition_errors


class Listed(NamedTuple):
    """The selected groups that a broker lists.

    Attributes:
        kinds: Their types by name, in lower case: `classic`, `consumer` or `share`; empty where the broker does not say.
        nameless: How many more there are, whose names make no label: empty ones, and those longer than `MAX_NAME`.
    """

    kinds: dict[str, str]
    nameless: int = 0


async def list_groups(broker: Broker, select: Callable[[str], bool]) -> Listed:
    """Return the selected groups that this broker coordinates: a broker lists those, and answers for no others.

    Raises:
        Failure: The broker cannot be asked, or refuses.
    """
    answer = await broker.ask(ListGroupsRequest())
    if answer.error_code:
        raise failure_of_code(answer.error_code, "list of groups")
    listed = answer.groups or ()
    return await asyncio.to_thread(_selected, listed, select) if len(listed) > _LARGE else _selected(listed, select)


def _selected(listed: Iterable[Sequence[str]], select: Callable[[str], bool]) -> Listed:
    found = {
        name or "": (rest[1] or "").lower() if len(rest) > 1 else ""
        for name, kind, *rest in listed
        if kind in _CONSUMERS and select(name or "")
    }
    kinds = {name: kind for name, kind in found.items() if 0 < len(name) <= MAX_NAME}
    return Listed(kinds, len(found) - len(kinds))


@dataclass(frozen=True, slots=True)
class Described:
    """What the coordinator of a group says of it.

    Attributes:
        kind: Its type: classic, consumer (KIP-848) or share (KIP-932); empty where the broker does not say.
        state: Of `STATES` or `unknown`.
        members: How many consumers are in it.
        assignor: How they share out partitions, such as `range`; empty while they do not.
        assigned: The partitions that they have been given, by topic.
        elsewhere: The same of topics that do not matter, or are not known.
    """

    state: str
    members: int
    assignor: str = ""
    assigned: Mapping[str, Collection[int]] = field(default_factory=dict)
    elsewhere: Mapping[str, Collection[int]] = field(default_factory=dict)


async def describe_groups(
    broker: Broker, kind: str, names: Sequence[str], wanted: Mapping[str, Collection[int]]
) -> tuple[dict[str, Described], list[str], list[Failure]]:
    """Return what the broker says of groups by name, those that it knows no more, and the failures of those that it has an
    error for.

    Args:
        broker: Their coordinator.
        kind: Their type, as `list_groups` has it.
        names: The groups.
        wanted: The partitions, by topic, of which it matters to whom they are given.

    Raises:
        Failure: The broker cannot be asked, or describes far more than it was asked for.
    """
    groups = await _ask_for(broker, kind, names)
    if sum(group.size for group in groups) > _LARGE_ASSIGNMENTS:
        return await asyncio.to_thread(_described, groups, names, wanted)
    return _described(groups, names, wanted)


async def seek_groups(broker: Broker, kind: str, names: Sequence[str]) -> dict[str, int | None]:
    """Return what the broker says of groups that it does not list: 0 that it has them, None that they are gone, or an error.

    Args:
        broker: Who may coordinate them.
        kind: Their type: asked for a group of another, a coordinator says that it is gone.
        names: The groups.

    Raises:
        Failure: As for `describe_groups`.
    """
    return {
        said.name: None if said.error == UNKNOWN_GROUP or (not said.error and said.state == "Dead") else said.error
        for said in await _ask_for(broker, kind, names)
        if said.name in names
    }


async def _ask_for(broker: Broker, kind: str, names: Sequence[str]) -> list[_Said]:
    by_kind = _DESCRIBING.get(kind)
    answer = await broker.ask(by_kind(names) if by_kind is not None else DescribeGroupsRequest(names))
    said = answer.groups or ()
    if len(said) > len(names) + _STRAYS:
        raise Failure(Stage.CHECK, Reason.MALFORMED, f"{len(said)} groups are described, {len(names)} were asked for")
    return [_of_new_protocol(group) if by_kind is not None else _of_old_protocol(group) for group in said]


class _Said(NamedTuple):
    """What a broker says of a group, in either protocol.

    Attributes:
        error: Its code.
        name: Of the group.
        state: In the broker's words.
        assignor: Its name.
        members: How many there are.
        size: Of what says who has which partitions, in bytes or so.
        assigned: Yields it, by topic.
    """

    error: int
    name: str
    state: str
    assignor: str | None
    members: int
    size: int
    assigned: Callable[[], Iterable[tuple[str, Sequence[int] | None]]]


def _of_old_protocol(group: Sequence[Any]) -> _Said:
    error, name, state, _, assignor, members, *_ = group
    encoded = [member[4] for member in members or () if member[4]]

    def assigned() -> Iterator[tuple[str, Sequence[int] | None]]:
        """Read what members have been given. The bytes are the members' own, and need not be what the protocol has."""
        for each in encoded:
            with suppress(ValueError, TypeError, struct.error):
                yield from ConsumerProtocolMemberAssignment.decode(each).assignment or ()

    return _Said(error, name, state, assignor, len(members or ()), sum(map(len, encoded)), assigned)


def _of_new_protocol(group: Sequence[Any]) -> _Said:
    error, _, name, state, _, _, assignor, members, *_ = group
    assignments = [member[_ASSIGNMENT_AT[len(member)]][0] or () for member in members or ()]
    size = sum(4 * len(topic[2] or ()) for topics in assignments for topic in topics)
    return _Said(
        error, name, state, assignor, len(members or ()), size,
        lambda: ((topic[1], topic[2]) for topics in assignments for topic in topics),
    )  # fmt: skip


_ASSIGNMENT_AT = {11: 8, 8: 6}
"""Where a member's assignment is, by how many fields it has: of a consumer group, of a share group."""


def _described(
    groups: Iterable[_Said], names: Sequence[str], wanted: Mapping[str, Collection[int]]
) -> tuple[dict[str, Described], list[str], list[Failure]]:
    described: dict[str, Described] = {}
    gone: list[str] = []
    failures: list[Failure] = []
    for said in groups:
        if said.name not in names:
            continue
        if said.error == UNKNOWN_GROUP:
            gone.append(said.name)
            continue
        if said.error:
            failures.append(failure_of_code(said.error, f"group {said.name}"))
            continue
        assigned: dict[str, set[int]] = {}
        elsewhere: dict[str, set[int]] = {}
        for topic, numbers in said.assigned():
            known = wanted.get(topic)
            if known:
                assigned.setdefault(topic, set()).update(number for number in numbers or () if number in known)
            elif topic and numbers:
                elsewhere.setdefault(topic, set()).update(numbers)
        state, assignor = STATES.get(said.state, "unknown"), (said.assignor or "")[:MAX_NAME]
        described[said.name] = Described(state, said.members, assignor, assigned, elsewhere)
    return described, gone, failures


class Quota:
    """What may still be asked in one reading, over all brokers: groups come from whoever may commit."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._asked = 0
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

    def affords(self, count: int) -> bool:
        """Say whether so many partitions more may be asked for one by one, and count them if so."""
        if self._asked + count > MAX_ASKED:
            return False
        self._asked += count
        return True

    def take_commits(self, count: int, group: str) -> None:
        """Count what a group has committed.

        Raises:
            Failure: It would be too much.
        """
        self._commits += count
        if self._commits > MAX_COMMITS:
            detail = f"group {group}: more than {MAX_COMMITS} commits in all: narrow groups or topics"
            raise Failure(Stage.CHECK, Reason.TOO_LARGE, detail)

"""Consumer groups of one broker: which there are, their state and members, and what they have committed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiokafka.protocol.admin import DescribeGroupsRequest, ListGroupsRequest

from exporter.clients.kafka.cluster import MAX_NAME, Partition
from exporter.clients.kafka.commits import CommitsRequest, Wanted
from exporter.clients.kafka.connection import Connection
from exporter.clients.kafka.errors import PartitionFault, failure_of_code, fault_of_code
from exporter.verdict import Failure, Reason, Stage

__all__ = ["MAX_GROUPS", "STATES", "Group", "Groups", "read_groups"]

MAX_GROUPS = 1000
"""Groups that are looked at, over all brokers."""

MAX_COMMITS = 200_000
"""Groups times partitions that are asked for in one attempt: about a second's computing."""

_BATCH = 50
_SIDE_BY_SIDE = 16

STATES = {
    "Stable": "stable",
    "Empty": "empty",
    "Dead": "dead",
    "PreparingRebalance": "preparing_rebalance",
    "CompletingRebalance": "completing_rebalance",
}
"""States as brokers say them, and as they are exported; any other is `unknown`."""

_CONSUMERS = frozenset({"consumer", ""})
"""Protocol types of groups that consume; empty where the group only commits. Kafka Connect's workers have others."""


@dataclass(slots=True)
class Group:
    """What is known of a group; None and missing entries are not known.

    Attributes:
        state: Of `STATES` or `unknown`.
        members: How many consumers are in it.
        commits: Committed offset by partition.
        faults: Partitions whose commit could not be read.
    """

    state: str | None = None
    members: int | None = None
    commits: dict[Partition, int] = field(default_factory=dict)
    faults: dict[Partition, PartitionFault] = field(default_factory=dict)


@dataclass(slots=True)
class Groups:
    """Groups as they become known, and what failed. Filled by several brokers side by side."""

    known: dict[str, Group] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    asked: int = 0


async def read_groups(connection: Connection, select: Callable[[str], bool], wanted: Wanted, into: Groups) -> None:
    """Read the groups that one broker coordinates: a broker lists those, and answers for no others.

    Args:
        connection: To the broker.
        select: Which groups are wanted.
        wanted: Partitions to ask the commits of. Asking for "all" would be shorter, but not every broker can answer it.
        into: Receives groups and failures. One group's error leaves the others.

    Raises:
        Failure: The connection is lost.
    """
    try:
        answer = await connection.ask(ListGroupsRequest())
        if answer.error_code:
            raise failure_of_code(answer.error_code, "list of groups")
        names = _names(answer, select, into)
        for start in range(0, len(names), _BATCH):
            await _describe(connection, names[start : start + _BATCH], into)
    except Failure as failure:
        if not connection.alive:
            raise
        into.failures.append(failure)
        return
    if wanted.partitions:
        await _read_commits(connection, names, wanted, into)


def _names(answer: Any, select: Callable[[str], bool], into: Groups) -> list[str]:
    names: dict[str, None] = {}
    for name, kind in answer.groups or ():
        if name and len(name) <= MAX_NAME and kind in _CONSUMERS and select(name):
            names[name] = None
    new = [name for name in names if name not in into.known]
    room = MAX_GROUPS - len(into.known)
    if len(new) > room:
        detail = f"{len(new) + len(into.known)} groups, at most {MAX_GROUPS} are read: narrow groups"
        into.failures.append(Failure(Stage.CHECK, Reason.TOO_LARGE, detail))
    into.known.update({name: Group() for name in new[:room]})
    return [name for name in names if name in into.known]


async def _describe(connection: Connection, names: list[str], into: Groups) -> None:
    answer = await connection.ask(DescribeGroupsRequest(names))
    for error, name, state, _, _, members, *_ in answer.groups or ():
        group = into.known.get(name)
        if group is None:
            continue
        if error:
            into.failures.append(failure_of_code(error, f"group {name}"))
            continue
        group.state = STATES.get(state, "unknown")
        group.members = len(members or ())


async def _read_commits(connection: Connection, names: list[str], wanted: Wanted, into: Groups) -> None:
    room = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def read(name: str) -> None:
        async with room:
            await _read_commits_of(connection, name, wanted, into)

    results = await asyncio.gather(*(read(name) for name in names), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


async def _read_commits_of(connection: Connection, name: str, wanted: Wanted, into: Groups) -> None:
    into.asked += len(wanted.partitions)
    if into.asked > MAX_COMMITS:
        detail = f"group {name}: more than {MAX_COMMITS} commits to ask for: narrow groups or topics"
        into.failures.append(Failure(Stage.CHECK, Reason.TOO_LARGE, detail))
        return
    answer = await connection.ask(CommitsRequest(name, wanted))
    if answer.error_code:
        into.failures.append(failure_of_code(answer.error_code, f"commits of group {name}"))
        return
    group = into.known[name]
    group.commits.update(answer.offsets)
    for partition, code in answer.faults.items():
        group.faults[partition] = fault_of_code(code)
    if answer.faults:
        code = max(answer.faults.values())
        into.failures.append(failure_of_code(code, f"commits of group {name} in {len(answer.faults)} partitions"))

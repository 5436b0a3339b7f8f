"""A cluster: read as a whole, in one call, over connections that are kept between calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from exporter.clients.kafka.brokers import Brokers, Patience
from exporter.clients.kafka.canary import Canary, Flight
from exporter.clients.kafka.commits import Wanted
from exporter.clients.kafka.connection import Access
from exporter.clients.kafka.errors import (
    PartitionErrorReason,
    error_name,
    failure_of_code,
    partition_error_of_failure,
    together,
)
from exporter.clients.kafka.group_reading import read_groups
from exporter.clients.kafka.groups import Group
from exporter.clients.kafka.hidden import HiddenTopics
from exporter.clients.kafka.layout import GROUPS_TOPIC, Layout, Partition, read_layout, size_of
from exporter.clients.kafka.minimums import Minimums
from exporter.clients.kafka.offsets import LogOffsets, OffsetsByTopic, fetch_offsets_since
from exporter.clients.kafka.pool import BrokerPool
from exporter.clients.kafka.requests import MetadataRequest
from exporter.clients.kafka.seeking import Kept
from exporter.net.phases import Phases
from exporter.net.resolver import is_ip
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage

__all__ = ["Cluster", "Reading", "Selection"]

RESERVE = 0.15
"""Share of the time that is kept back, so that what some brokers said is returned although another hangs."""

FUTURE = 60.0
"""Seconds by which a record's timestamp may be ahead of this machine's clock: past it, it tells nothing of when it came."""

LEAST_FLIGHT = 0.25
"""Seconds without which no canary is flown: that one took longer would say nothing of the brokers."""

LOOKING_AROUND = 1.0
"""Seconds at most in which the names of the bootstrap addresses are looked up, to know where brokers may be."""

HIDDEN_SHARE = 0.2
"""Share of the time left after the metadata in which a broker is asked for topics that were there."""

MINIMUMS_SHARE = 0.3
"""Share of the time left after the offsets in which topics are asked how many replicas they want in sync."""

_LARGE = 2000
"""Topics and partitions past which metadata is looked through in a thread."""

_STAGES = tuple(Stage)


@dataclass(frozen=True, slots=True)
class Selection:
    """What to read.

    Attributes:
        groups: Whether a group is wanted, by its name.
        topics: Whether a topic is; internal ones never are.
        beginnings: Whether the beginning and the stable end of a topic's partitions are wanted beside their end, although
            no group has commits for it.
        max_partitions: With more partitions selected no offsets are read.
        canary: Topic that a canary is flown to; empty for none. It need not be selected.
        expected: Topics that should be there.
    """

    groups: Callable[[str], bool]
    topics: Callable[[str], bool]
    beginnings: Callable[[str], bool]
    max_partitions: int
    canary: str = ""
    expected: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """What a cluster said. What is missing is not known.

    Attributes:
        layout: Brokers and partitions.
        groups: Consumer groups by name.
        seconds: How long each node took to say which groups it has, connecting included; those that did not answer are
            missing.
        ends: Offset after the last record of a partition.
        beginnings: Offset of its first record, where that was wanted or some group has commits.
        stable: Offset of its first record of an open transaction, or its end, for the same partitions; missing where the
            broker does not tell it.
        partition_errors: Partitions whose offsets are not known, and why.
        under_min_isr: Partitions that have a leader and fewer replicas in sync than their topic wants before it takes what
            must be on all of them; None where it is not known of a topic that lacks a replica.
        unknown_min_isr: Topics of which it is not known how many they want.
        failures: How reading `groups` and `offsets` failed, None where all of it is known; what others said is there all
            the same. An exception that is no `Failure` is a defect.
        refused: Nodes that were not asked, since the configuration does not let the prober be sent to where they are said to
            be: nothing is known of them.
    """

    layout: Layout
    groups: Mapping[str, Group] = field(default_factory=dict)
    seconds: Mapping[int, float] = field(default_factory=dict)
    ends: OffsetsByTopic = field(default_factory=dict)
    beginnings: OffsetsByTopic = field(default_factory=dict)
    stable: OffsetsByTopic = field(default_factory=dict)
    partition_errors: Mapping[Partition, PartitionErrorReason] = field(default_factory=dict)
    under_min_isr: int | None = None
    unknown_min_isr: int = 0
    failures: Mapping[str, Exception | None] = field(default_factory=dict)
    refused: Collection[int] = ()

    @property
    def size(self) -> int:
        """How many offsets and commits it has."""
        by_topic = (self.ends, self.beginnings, self.stable, *(group.commits for group in self.groups.values()))
        return sum(len(numbers) for offsets in by_topic for numbers in offsets.values())


class Cluster:
    """A cluster that is read again and again.

    Args:
        bootstrap: Where to ask for metadata.
        access: How to get in.
    """

    def __init__(self, bootstrap: Sequence[Address], access: Access) -> None:
        self._bootstrap = tuple(bootstrap)
        self._access = access
        access.referrals.start_from(self._bootstrap)
        self._pool = BrokerPool(access)
        self._minimums = Minimums()
        self._hidden = HiddenTopics()
        self._turn = 0
        self._kept: dict[str, Kept] = {}

    def retarget(self, bootstrap: Sequence[Address]) -> None:
        """Ask other addresses for metadata from now on. Connections stay until metadata no longer lists their brokers."""
        self._bootstrap = tuple(bootstrap)
        self._access.referrals.start_from(self._bootstrap)

    def is_connected(self, address: Address) -> bool:
        """Say whether a connection to this address is open."""
        return self._pool.is_connected(address)

    async def read(self, selection: Selection, deadline: float, phases: Phases) -> Reading:
        """Read metadata, then what groups have committed, and only then the ends: so lag is never negative by order.

        Args:
            selection: What to read.
            deadline: Loop time by which this returns or raises.
            phases: Receives how far the request for metadata gets, and the time it takes.

        Raises:
            Failure: No bootstrap address gave metadata that can be read. What comes after is told in `Reading.failures`.
        """
        loop = asyncio.get_running_loop()
        end = deadline - RESERVE * (deadline - loop.time())
        try:
            await self._pool.renew()
            layout, wanted = await self._layout(selection, deadline, phases)
        except BaseException:
            self._pool.drop()  # the next reading looks anew
            raise
        self._pool.keep_only({*layout.brokers.values(), *self._bootstrap} if layout.brokers else ())
        await self._look_around(deadline)
        asked = Brokers(self._pool, layout)
        soon = loop.time() + HIDDEN_SHARE * (end - loop.time())
        await self._hidden.seek(asked, layout, soon, selection.expected, selection.canary)
        patience = Patience.of(loop.time(), end)
        groups, seconds, groups_failure = await read_groups(asked, selection.groups, wanted, patience, self._kept)
        groups_failure = groups_failure or _without_coordinator(layout)
        unseen = self._hidden.mark(groups, layout, selection.topics, whole=groups_failure is None)
        committed = {topic for group in groups.values() for topic in group.commits}
        offsets, offsets_failure = await _read_offsets(asked, layout, selection, committed, end)
        offsets.partition_errors |= self._hidden.partitions
        await self._ask_minimums(asked, layout, end)
        under, unknown = _under_min_isr(layout, self._minimums)
        return Reading(
            layout, groups, seconds, offsets.ends, offsets.beginnings, offsets.stable, offsets.partition_errors, under,
            unknown,
            {"groups": groups_failure or unseen, "offsets": offsets_failure or self._hidden.failure},
            asked.refused,
        )  # fmt: skip

    async def offsets_since(
        self, layout: Layout, times: Mapping[Partition, int], deadline: float
    ) -> dict[Partition, int | None]:
        """Return the first record that is not older than a time, in one request to each leader.

        What cannot be had is left out: a broker that fails here has been told of by `read`, or will be by the next.

        Args:
            layout: Who leads what.
            times: Milliseconds since 1970.
            deadline: Loop time by which this returns.
        """
        asked = Brokers(self._pool, layout)
        found: dict[Partition, int | None] = {}
        latest = int((time.time() + FUTURE) * 1000)

        async def ask(node: int, of_node: Mapping[Partition, int]) -> None:
            found.update(await fetch_offsets_since(asked.by_node[node], of_node, latest))

        work = {}
        for node, led in layout.led.items():
            of_node = {at: asked_for for at, asked_for in times.items() if at.number in led.get(at.topic, ())}
            if of_node and asked.by_node[node].is_connected():
                work[node] = partial(ask, node, of_node)
        await asked.side_by_side(work, deadline)
        return found

    async def fly(self, canary: Canary, layout: Layout, deadline: float) -> Flight:
        """Write a record to each partition of the canary's topic and read it again, at all leaders side by side.

        Args:
            canary: It.
            layout: Who leads what.
            deadline: Loop time by which this returns.

        Raises:
            Failure: The topic is not there, or is not told of; or no time is left, as all else took it.
        """
        topic = layout.canary
        if topic is None:
            if self._hidden.hides_canary:
                raise Failure(Stage.CHECK, Reason.AUTH, f"topic {canary.topic}: may not be described")
            hidden = layout.describes is False
            detail = "not there, or may not be described" if hidden else "not there; nobody makes it but you"
            raise Failure(Stage.CHECK, Reason.AUTH if hidden else Reason.QUERY_FAILED, f"topic {canary.topic}: {detail}")
        if topic.error:
            raise failure_of_code(topic.error, f"topic {canary.topic}")
        if deadline - asyncio.get_running_loop().time() < LEAST_FLIGHT:
            raise Failure(Stage.QUERY, Reason.TIMEOUT, "no time was left to fly: groups and offsets took it")
        flight = Flight()
        for number, code in topic.leaderless.items():
            detail = f"{canary.topic}/{number} has no leader: {error_name(code)}"
            flight.fail([number], Failure(Stage.CHECK, Reason.NO_LEADER, detail))
        asked = Brokers(self._pool, layout)
        work = {
            node: partial(canary.fly, asked.by_node[node], node, numbers, deadline, flight)
            for node, numbers in topic.led.items()
        }
        for node, failure in (await asked.side_by_side(work, deadline)).items():
            flight.fail(topic.led[node], failure)
        return flight

    def close(self) -> None:
        """Close all connections at once, and open no more."""
        self._pool.close()

    async def _look_around(self, deadline: float) -> None:
        """Learn which networks the bootstrap addresses are in: there, brokers may be. What is not known in time is not."""
        referrals, resolver = self._access.referrals, self._access.resolver
        referrals.learn(self._pool.peers(self._bootstrap))
        names = {address.host for address in self._bootstrap if not is_ip(address.host)}
        end = min(LOOKING_AROUND, RESERVE * (deadline - asyncio.get_running_loop().time()))

        async def look(name: str) -> None:
            with suppress(Failure, TimeoutError):
                async with asyncio.timeout(end):
                    referrals.learn(await resolver.resolve(name))

        await asyncio.gather(*map(look, names))

    async def _ask_minimums(self, brokers: Brokers, layout: Layout, end: float) -> None:
        """Ask one broker how many replicas topics want in sync, where that is due; what it does not say is counted."""
        now = asyncio.get_running_loop().time()
        health = layout.health
        due = partial(self._minimums.due, now, health.made, health.lacking)
        names = await asyncio.to_thread(due) if len(health.made) > _LARGE else due()
        asked = [broker for broker in brokers.left().values() if broker.is_connected()]
        if names and asked:
            broker = asked[self._turn % len(asked)]
            self._turn += 1  # one that hangs at it is not asked again at once
            end = now + MINIMUMS_SHARE * (end - now)
            await broker.within(end, partial(self._minimums.ask, broker, now, names, health.made))

    async def _layout(self, selection: Selection, deadline: float, phases: Phases) -> tuple[Layout, Wanted]:
        answer = await self._metadata(deadline, phases)
        phases.stage = Stage.CHECK
        if size_of(answer) > _LARGE:
            return await asyncio.to_thread(_look_through, answer, selection)
        return _look_through(answer, selection)

    async def _metadata(self, deadline: float, phases: Phases) -> Any:
        """Ask one bootstrap address after the other, connected ones first; of failures, raise that which got furthest."""
        now = asyncio.get_running_loop().time
        addresses = sorted(self._bootstrap, key=lambda address: not self.is_connected(address))
        failures: list[Failure] = []
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            broker = self._pool.broker(address, str(address) if len(addresses) > 1 else "", phases)
            # Each gets its share only, so that one which hangs does not speak for the others.
            answer = await broker.within(now() + (deadline - now()) / left, partial(broker.ask, MetadataRequest()))
            if not isinstance(answer, Failure):
                return answer
            failures.append(answer)
        raise max(failures, key=lambda failure: _STAGES.index(failure.stage))


def _look_through(answer: Any, selection: Selection) -> tuple[Layout, Wanted]:
    layout = read_layout(answer, selection.topics, selection.canary)
    return layout, Wanted.of(layout.topics if layout.partitions <= selection.max_partitions else {})


def _without_coordinator(layout: Layout) -> Failure | None:
    """Say where groups are missing because nobody coordinates them: no broker lists those, nor says so."""
    number = layout.health.uncoordinated
    if not number:
        return None
    detail = f"{number} partitions of {GROUPS_TOPIC} have no leader: which groups they keep is not known"
    return Failure(Stage.CHECK, Reason.NO_LEADER, detail)


def _under_min_isr(layout: Layout, minimums: Minimums) -> tuple[int | None, int]:
    """Count partitions under their topic's minimum, and topics of which it is not known.

    A partition with all of its replicas in sync is not under it, whatever it is: brokers want no more than there are.
    """
    health = layout.health
    under: int | None = 0
    for topic, lacking in health.lacking.items():
        least = minimums.least(topic)
        if least is None or under is None:
            under = None
        else:
            under += sum(in_sync < min(least, replicas) for in_sync, replicas in lacking)
    return under, minimums.unknown(len(health.made))


async def _read_offsets(
    brokers: Brokers, layout: Layout, selection: Selection, committed: Container[str], end: float
) -> tuple[LogOffsets, Exception | None]:
    if layout.partitions > selection.max_partitions:
        detail = f"{layout.partitions} partitions, max_partitions is {selection.max_partitions}: narrow topics"
        return LogOffsets(), Failure(Stage.CHECK, Reason.TOO_LARGE, detail)

    def matters(topic: str) -> bool:
        return topic in committed or selection.beginnings(topic)

    offsets = LogOffsets(partition_errors=dict(layout.leaderless))
    found = {node: LogOffsets() for node in brokers.left() if node in layout.led}
    failed: dict[int, Failure] = {}
    defect: Exception | None = None
    try:
        asking = {
            node: partial(of_node.ask, brokers.by_node[node], layout.led[node], matters) for node, of_node in found.items()
        }
        failed = await brokers.side_by_side(asking, end)
        failed |= {node: failure for node, failure in brokers.lost.items() if node in layout.led}
    except Exception as error:  # a defect in here leaves the groups
        defect = error
    for of_node in found.values():
        offsets.add(of_node)
    for node, failure in failed.items():
        reason = partition_error_of_failure(failure)
        for topic, numbers in layout.led[node].items():
            known = offsets.ends.get(topic, {})
            offsets.partition_errors.update({Partition(topic, number): reason for number in numbers if number not in known})
    return offsets, defect or together([*failed.values(), *offsets.failures(layout)])

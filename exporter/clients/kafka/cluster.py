"""A cluster: read as a whole, in one call, over connections that are kept between calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, Self

from exporter.clients.kafka.canary import Canary, Flight
from exporter.clients.kafka.commits import MANY_GROUPS, CommitsRequest, Wanted, fetch_commits
from exporter.clients.kafka.connection import Access, Broker
from exporter.clients.kafka.errors import (
    PartitionErrorReason,
    error_name,
    failure_of_code,
    partition_error_of_code,
    partition_error_of_failure,
    together,
)
from exporter.clients.kafka.groups import MAX_GROUPS, SHARE, Group, Quota, describe_groups, list_groups
from exporter.clients.kafka.layout import Layout, Partition, read_layout, size_of
from exporter.clients.kafka.minimums import Minimums
from exporter.clients.kafka.offsets import LogOffsets, OffsetsByTopic, fetch_offsets_since
from exporter.clients.kafka.pool import BrokerPool
from exporter.clients.kafka.requests import MetadataRequest
from exporter.clients.kafka.shares import fetch_shared
from exporter.net.phases import Phases
from exporter.net.resolver import is_ip
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage

__all__ = ["Cluster", "Reading", "Selection"]

RESERVE = 0.15
"""Share of the time that is kept back, so that what some brokers said is returned although another hangs."""

GROUPS_SHARE = 0.45
"""Share of the time left after the metadata after which a broker is given up that hangs when asked for groups."""

SLOW_SHARE = 0.85
"""The same for one that has just answered, if slowly: it takes long for the many groups that it has."""

QUIET_SHARE = 0.2
"""Share of that time within which it must have answered again."""

FUTURE = 60.0
"""Seconds by which a record's timestamp may be ahead of this machine's clock: past it, it tells nothing of when it came."""

LEAST_FLIGHT = 0.25
"""Seconds without which no canary is flown: that one took longer would say nothing of the brokers."""

LOOKING_AROUND = 1.0
"""Seconds at most in which the names of the bootstrap addresses are looked up, to know where brokers may be."""

MINIMUMS_SHARE = 0.3
"""Share of the time left after the offsets in which topics are asked how many replicas they want in sync."""

_DESCRIBED = 50
"""Groups described in one request."""

_SIDE_BY_SIDE = 16
"""Requests for commits that one broker is sent before it has answered."""

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
    """

    groups: Callable[[str], bool]
    topics: Callable[[str], bool]
    beginnings: Callable[[str], bool]
    max_partitions: int
    canary: str = ""


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
        self._turn = 0
        self._had_groups = 0

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
        asked = _Brokers(self._pool, layout)
        groups, seconds, groups_failure = await _read_groups(asked, selection, wanted, _Patience.of(loop.time(), end))
        groups_failure = groups_failure or self._all_gone(len(groups))
        committed = {topic for group in groups.values() for topic in group.commits}
        offsets, offsets_failure = await _read_offsets(asked, layout, selection, committed, end)
        await self._ask_minimums(asked, layout, end)
        under, unknown = _under_min_isr(layout, self._minimums)
        return Reading(
            layout, groups, seconds, offsets.ends, offsets.beginnings, offsets.stable, offsets.partition_errors, under,
            unknown, {"groups": groups_failure, "offsets": offsets_failure}, asked.refused,
        )  # fmt: skip

    def _all_gone(self, number: int) -> Failure | None:
        """Doubt for one reading that all groups are gone: while coordinators move, no broker lists any, or says so."""
        had, self._had_groups = self._had_groups, number
        if number or not had:
            return None
        return failure_of_code(_NOT_AVAILABLE, f"no broker lists any of the {had} groups that were there a reading ago")

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
        asked = _Brokers(self._pool, layout)
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
        asked = _Brokers(self._pool, layout)
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

    async def _ask_minimums(self, brokers: _Brokers, layout: Layout, end: float) -> None:
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


@dataclass(frozen=True, slots=True)
class _Patience:
    """How long brokers are waited for, in loop time.

    Attributes:
        end: When one that does not answer is given up.
        latest: When one that goes on answering is.
        quiet: Seconds in which it must answer again.
    """

    end: float
    latest: float
    quiet: float

    @classmethod
    def of(cls, now: float, end: float) -> Self:
        """Return what may be spent on groups, of the time to an end."""
        left = end - now
        return cls(now + GROUPS_SHARE * left, now + SLOW_SHARE * left, QUIET_SHARE * left)


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


class _Brokers:
    """The brokers of one reading.

    Attributes:
        by_node: All that metadata lists.
        lost: Those that failed and have no connection left; they are not asked again in this reading.
    """

    def __init__(self, pool: BrokerPool, layout: Layout) -> None:
        self.by_node = {node: pool.broker(at, f"broker {node} at {at}") for node, at in layout.brokers.items()}
        self.lost: dict[int, Failure] = {}

    @property
    def refused(self) -> frozenset[int]:
        """Nodes that are not where the prober may be sent."""
        return frozenset(node for node, failure in self.lost.items() if failure.reason is Reason.NOT_ALLOWED)

    def left(self) -> dict[int, Broker]:
        """Return those that are not lost."""
        return {node: broker for node, broker in self.by_node.items() if node not in self.lost}

    async def side_by_side(
        self, work: Mapping[int, Callable[[], Awaitable[None]]], end: float | _Patience
    ) -> dict[int, Failure]:
        """Await what asks brokers, by node; return how those failed that did."""
        limits = (end.end, end.latest, end.quiet) if isinstance(end, _Patience) else (end, end, 0.0)
        asking = [self.by_node[node].within(limits[0], each, *limits[1:]) for node, each in work.items()]
        failed: dict[int, Failure] = {}
        for node, result in zip(work, await asyncio.gather(*asking, return_exceptions=True), strict=True):
            if isinstance(result, Failure):  # returned, not raised
                failed[node] = result
                if not self.by_node[node].is_connected():
                    self.lost[node] = result
            elif result is not None:
                raise result
        return failed


# Groups.


_NOT_AVAILABLE = 15
"""Error code (COORDINATOR_NOT_AVAILABLE)."""


@dataclass(slots=True)
class _GroupsOfBroker:
    """What one broker has said of its groups so far: what it said before it hung counts."""

    node: int
    groups: dict[str, Group] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    seconds: float | None = None

    async def ask(self, broker: Broker, selection: Selection, wanted: Wanted, quota: Quota) -> None:
        """Ask for groups, state and commits. A group's error leaves the other groups; only a lost broker is raised."""
        try:
            names = self._admitted(await self._listed(broker, selection), quota)
            for kind in sorted({self.groups[name].kind for name in names}):
                await self._describe(broker, kind, [name for name in names if self.groups[name].kind == kind], wanted)
            many = await broker.offers(CommitsRequest.API_KEY, MANY_GROUPS)
        except Failure as failure:
            self._note(failure, broker)
            return
        if wanted.count:
            shared = [name for name in names if self.groups[name].kind == SHARE]
            names = [name for name in names if self.groups[name].kind != SHARE]
            asked = wanted if quota.affords(wanted.count * len(names)) else wanted.any()
            together = asked.together if many else 1
            asking = iter(
                [
                    *(partial(self._ask_commits, broker, some, asked, quota) for some in _slices(names, together)),
                    *(partial(self._ask_shared, broker, some, wanted, quota) for some in _slices(shared, _DESCRIBED)),
                ]
            )
            failed: list[Exception] = []
            await asyncio.gather(*(_ask_one_by_one(asking, failed) for _ in range(_SIDE_BY_SIDE)))
            if failed:
                raise next((each for each in failed if not isinstance(each, Failure)), failed[0])  # a defect is told first

    async def _describe(self, broker: Broker, kind: str, names: Sequence[str], wanted: Wanted) -> None:
        for some in _slices(names, _DESCRIBED):
            described, failures = await describe_groups(broker, kind, some, wanted.numbers)
            self.failures += failures
            for name, said in described.items():
                group = self.groups[name]
                group.state, group.members = said.state, said.members
                group.assignor, group.assigned = said.assignor, said.assigned

    async def _listed(self, broker: Broker, selection: Selection) -> dict[str, str]:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            return await list_groups(broker, selection.groups)
        finally:
            if broker.is_connected():  # it has answered, if only to refuse
                self.seconds = clock() - began

    def _admitted(self, names: Mapping[str, str], quota: Quota) -> list[str]:
        admitted = quota.admit(names)
        if len(admitted) < len(names):
            found = len(names) - len(admitted) + quota.groups
            detail = f"{found} groups, at most {MAX_GROUPS} are read: narrow groups"
            self.failures.append(Failure(Stage.CHECK, Reason.TOO_LARGE, detail))
        self.groups = {name: Group(names[name], coordinator=self.node) for name in admitted}
        return admitted

    async def _ask_commits(self, broker: Broker, names: Sequence[str], wanted: Wanted, quota: Quota) -> None:
        """Ask for the commits of groups in one request, and of each half of them where the answer would be too large."""
        try:
            found, failures = await fetch_commits(broker, names, wanted)
        except Failure as failure:
            if failure.reason is Reason.TOO_LARGE and len(names) > 1:
                for half in _slices(names, (len(names) + 1) // 2):
                    await self._ask_commits(broker, half, wanted, quota)
            else:
                self._note(failure, broker)
            return
        self.failures += failures
        for name, committed in found.items():
            try:
                quota.take_commits(sum(map(len, committed.offsets.values())), name)
            except Failure as failure:
                self.failures.append(failure)
            else:
                self._take_commits(name, committed.offsets, committed.partition_errors)
            if committed.partition_errors:
                await asyncio.sleep(0)  # each may have thousands

    async def _ask_shared(self, broker: Broker, names: Sequence[str], wanted: Wanted, quota: Quota) -> None:
        """Ask where share groups are, which have no commits."""
        try:
            found, failures = await fetch_shared(broker, names, wanted.numbers)
        except Failure as failure:
            self._note(failure, broker)
            return
        self.failures += failures
        for name, shared in found.items():
            try:
                quota.take_commits(shared.size, name)
            except Failure as failure:
                self.failures.append(failure)
                return
            self.groups[name].left = shared.left
            self._take_commits(name, shared.starts, shared.partition_errors)

    def _take_commits(self, name: str, offsets: OffsetsByTopic, errors: Mapping[Partition, int]) -> None:
        group = self.groups[name]
        group.commits, group.committed = offsets, True
        group.partition_errors = {at: partition_error_of_code(code) for at, code in errors.items()}
        if errors:
            what = f"commits of group {name} in {len(errors)} partitions"
            self.failures.append(failure_of_code(max(errors.values()), what))

    def _note(self, failure: Failure, broker: Broker) -> None:
        if not broker.is_connected():
            raise failure
        self.failures.append(failure)


def _slices(names: Sequence[str], size: int) -> list[Sequence[str]]:
    return [names[start : start + size] for start in range(0, len(names), size)]


async def _ask_one_by_one(asking: Iterator[Callable[[], Awaitable[None]]], failed: list[Exception]) -> None:
    """Ask what others have not asked yet. What fails is noted, and the rest is asked all the same."""
    for ask in asking:
        try:
            await ask()
        except Exception as error:
            failed.append(error)


async def _read_groups(
    brokers: _Brokers, selection: Selection, wanted: Wanted, end: _Patience
) -> tuple[dict[str, Group], dict[int, float], Exception | None]:
    found = {node: _GroupsOfBroker(node) for node in brokers.left()}
    quota = Quota()
    failure: Exception | None
    try:
        left = brokers.left().items()
        asking = {node: partial(found[node].ask, broker, selection, wanted, quota) for node, broker in left}
        failed = await brokers.side_by_side(asking, end)
        failure = together([*failed.values(), *chain.from_iterable(each.failures for each in found.values())])
    except Exception as error:  # a defect in here leaves the offsets
        failure = error
    groups: dict[str, Group] = {}
    for name, group in chain.from_iterable(each.groups.items() for each in found.values()):
        groups.setdefault(name, group).complete(group)
    return groups, {node: each.seconds for node, each in found.items() if each.seconds is not None}, failure


# Offsets.


async def _read_offsets(
    brokers: _Brokers, layout: Layout, selection: Selection, committed: Container[str], end: float
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

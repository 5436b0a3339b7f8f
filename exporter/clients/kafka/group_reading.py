"""Consumer groups of all brokers: listed, described, with what they have committed; and those that are listed no more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

from exporter.clients.kafka.brokers import Brokers, Patience
from exporter.clients.kafka.commits import MANY_GROUPS, CommitsRequest, Wanted, fetch_commits
from exporter.clients.kafka.connection import Broker
from exporter.clients.kafka.errors import UNKNOWN_GROUP, failure_of_code, partition_error_of_code, together
from exporter.clients.kafka.groups import CLASSIC, MAX_GROUPS, SHARE, Group, Listed, Quota, describe_groups, list_groups
from exporter.clients.kafka.layout import MAX_NAME, Partition
from exporter.clients.kafka.offsets import OffsetsByTopic
from exporter.clients.kafka.seeking import Kept, seek
from exporter.clients.kafka.shares import fetch_shared
from exporter.verdict import Failure, Reason, Stage

__all__ = ["read_groups"]

_DESCRIBED = 50
"""Groups described in one request."""

_SIDE_BY_SIDE = 16
"""Requests for commits that one broker is sent before it has answered."""

_MOST_KEPT = 2 * MAX_GROUPS
"""Groups that are looked for once they are listed no more; those that were seen last, of more."""


async def read_groups(
    brokers: Brokers, select: Callable[[str], bool], wanted: Wanted, end: Patience, kept: dict[str, Kept]
) -> tuple[dict[str, Group], dict[int, float], Exception | None]:
    """Return all groups, how long each node took to list them, and how that failed, None where all is known.

    Args:
        brokers: All of them.
        select: Whether a group is wanted, by its name.
        wanted: Whose commits matter.
        end: How long brokers are waited for.
        kept: Groups that earlier readings saw; what this one sees is taken in.
    """
    found = {node: _GroupsOfBroker(node) for node in brokers.left()}
    quota = Quota()
    failure: Exception | None
    try:
        left = brokers.left().items()
        asking = {node: partial(found[node].ask, broker, select, wanted, quota) for node, broker in left}
        failed = await brokers.side_by_side(asking, end)
        sought = await _find(
            brokers, found, end, kept, lambda of_broker, broker, kinds: of_broker.read(broker, kinds, wanted, quota)
        )
        failure = together([*failed.values(), *chain.from_iterable(each.failures for each in found.values()), *sought])
    except Exception as error:  # a defect in here leaves the offsets
        failure = error
    groups: dict[str, Group] = {}
    for name, group in chain.from_iterable(each.groups.items() for each in found.values()):
        groups.setdefault(name, group).complete(group)
    for name, group in groups.items():
        if group.coordinator is not None:
            kept[name] = Kept(group.kind, group.coordinator)
    for name in list(kept)[: max(0, len(kept) - _MOST_KEPT)]:
        del kept[name]
    return groups, {node: each.seconds for node, each in found.items() if each.seconds is not None}, failure


@dataclass(slots=True)
class _GroupsOfBroker:
    """What one broker has said of its groups so far: what it said before it hung counts.

    Attributes:
        node: It.
        groups: Those that it lists.
        listed: All of their names, of too many too; None where it has not listed any.
        vanished: Those that it listed, and knows no more: deleted since, or about to move.
        failures: What it has an error for.
        seconds: How long it took to list them.
    """

    node: int
    groups: dict[str, Group] = field(default_factory=dict)
    listed: Collection[str] | None = None
    vanished: set[str] = field(default_factory=set)
    failures: list[Failure] = field(default_factory=list)
    seconds: float | None = None

    async def ask(self, broker: Broker, select: Callable[[str], bool], wanted: Wanted, quota: Quota) -> None:
        """Ask for groups, state and commits. A group's error leaves the other groups; only a lost broker is raised."""
        try:
            listed = await self._listed(broker, select)
        except Failure as failure:
            self._note(failure, broker)
        else:
            self.listed = listed.kinds
            if listed.nameless:
                self.failures.append(_nameless(listed.nameless))
            await self.read(broker, listed.kinds, wanted, quota)

    async def read(self, broker: Broker, kinds: Mapping[str, str], wanted: Wanted, quota: Quota) -> None:
        """Ask for state and commits of groups, by name and kind."""
        names = self._admitted(kinds, quota)
        await self._read(broker, names, wanted, quota)
        of_old = (name for name in names if self.groups[name].kind == CLASSIC)
        self.vanished.update(name for name in of_old if self.groups[name].state == "dead" and not self.groups[name].commits)

    async def _read(self, broker: Broker, names: Sequence[str], wanted: Wanted, quota: Quota) -> None:
        try:
            for kind in sorted({self.groups[name].kind for name in names}):
                await self._describe(broker, kind, [name for name in names if self.groups[name].kind == kind], wanted)
            many = await broker.offers(CommitsRequest.API_KEY, MANY_GROUPS)
        except Failure as failure:
            self._note(failure, broker)
            return
        if wanted.count:
            names = [name for name in names if name not in self.vanished]
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
            described, gone, failures = await describe_groups(broker, kind, some, wanted.numbers)
            self.vanished.update(gone)
            self.failures += failures
            for name, said in described.items():
                group = self.groups[name]
                group.state, group.members = said.state, said.members
                group.assignor, group.assigned, group.elsewhere = said.assignor, said.assigned, said.elsewhere

    async def _listed(self, broker: Broker, select: Callable[[str], bool]) -> Listed:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            return await list_groups(broker, select)
        finally:
            if broker.is_connected():  # it has answered, if only to refuse
                self.seconds = clock() - began

    def _admitted(self, names: Mapping[str, str], quota: Quota) -> list[str]:
        admitted = quota.admit(names)
        if len(admitted) < len(names):
            found = len(names) - len(admitted) + quota.groups
            detail = f"{found} groups, at most {MAX_GROUPS} are read: narrow groups"
            self.failures.append(Failure(Stage.CHECK, Reason.TOO_LARGE, detail))
        self.groups |= {name: Group(names[name], coordinator=self.node) for name in admitted}
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
            found, gone, failures = await fetch_shared(broker, names, wanted.numbers)
        except Failure as failure:
            self._note(failure, broker)
            return
        self.vanished.update(gone)
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


def _nameless(number: int) -> Failure:
    detail = f"{number} groups are left out: their names are empty, or longer than {MAX_NAME} letters"
    return Failure(Stage.CHECK, Reason.TOO_LARGE, detail)


def _slices(names: Sequence[str], size: int) -> list[Sequence[str]]:
    return [names[start : start + size] for start in range(0, len(names), size)]


async def _ask_one_by_one(asking: Iterator[Callable[[], Awaitable[None]]], failed: list[Exception]) -> None:
    """Ask what others have not asked yet. What fails is noted, and the rest is asked all the same."""
    for ask in asking:
        try:
            await ask()
        except Exception as error:
            failed.append(error)


async def _find(
    brokers: Brokers,
    found: Mapping[int, _GroupsOfBroker],
    end: Patience,
    kept: dict[str, Kept],
    read: Callable[[_GroupsOfBroker, Broker, Mapping[str, str]], Awaitable[None]],
) -> list[Failure]:
    """Look for groups that were there and are not listed; read those that are found, and forget those that are gone."""
    missing = _missing(found, kept)
    if not missing:
        return []
    search = await seek(brokers, missing, end)
    kept |= search.left
    for name in search.gone:
        kept.pop(name, None)
    reading: dict[int, Callable[[], Awaitable[None]]] = {}
    for node, kinds in search.there.items():
        reading[node] = partial(read, found[node], brokers.by_node[node], kinds)
    failed = await brokers.side_by_side(reading, end)
    again = [failure_of_code(UNKNOWN_GROUP, f"group {name}") for node in reading for name in _taken_out(found[node])]
    for node, kinds in search.there.items():
        for name in kinds:
            group = found[node].groups.get(name)
            if group is not None and group.state == "empty" and not group.commits:  # so Tansu calls whatever it is asked for
                del found[node].groups[name]
                kept.pop(name, None)
    return [*search.failures, *failed.values(), *again]


def _missing(found: Mapping[int, _GroupsOfBroker], kept: Mapping[str, Kept]) -> dict[str, Kept]:
    """Return groups that were there and are listed by none; and those that vanished meanwhile, taken out of what was found.

    While it is not known what some broker lists, that is told, and no group of before is missing.
    """
    vanished = {name: Kept(kind, node) for node, each in found.items() for name, kind in _taken_out(each).items()}
    missing = {name: at for name, at in vanished.items() if all(name not in each.groups for each in found.values())}
    if all(each.listed is not None for each in found.values()):
        listed: set[str] = set().union(*(each.listed or () for each in found.values()))
        missing |= {name: at for name, at in kept.items() if name not in listed}
    return missing


def _taken_out(broker: _GroupsOfBroker) -> dict[str, str]:
    """Take out what a broker knew no more when it was asked for it; return its kinds."""
    kinds = {name: group.kind for name in broker.vanished if (group := broker.groups.pop(name, None)) is not None}
    broker.vanished.clear()
    return kinds

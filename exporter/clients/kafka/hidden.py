"""Looks for topics that there is a trace of and that metadata does not list: deleted, or not to be described.

A broker leaves out topics that the user may not describe, and what groups have committed for them, without a word: without
another trace of them, their groups have nothing to read. A topic that was listed before is one, and a partition that the
members of a group have been given. Asked for a topic by its name, a broker says which of both it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache, partial
from typing import Any

from exporter.clients.kafka.brokers import Brokers
from exporter.clients.kafka.errors import PartitionErrorReason, error_name, failure_of_code
from exporter.clients.kafka.groups import MAX_GROUPS, Group
from exporter.clients.kafka.layout import Layout, Partition
from exporter.clients.kafka.offsets import OffsetsByTopic
from exporter.clients.kafka.requests import MetadataRequest
from exporter.verdict import Failure, Reason, Stage

__all__ = ["HiddenTopics"]

_TOGETHER = 1000
"""Topics that are asked for in one reading; of more that are gone at once, the others come next."""

_MOST_GIVEN = 5000
"""Partitions of topics that were never listed that are remembered at most: which they are, members of groups say."""

_MOST_GROUPS = 2 * MAX_GROUPS
"""Groups that are remembered while not all are known; past it, those alone that are there."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}", re.ASCII)
"""What a topic can be called; members of groups may say anything."""

_UNAUTHORIZED = 29
"""Error code (TOPIC_AUTHORIZATION_FAILED) of a topic that may not be described, whether or not it is there."""

_GONE = frozenset({3, 17, None})
"""Error codes of a topic that is not there, or cannot be; or nothing is said of it."""


class HiddenTopics:
    """Remembers selected topics, and which groups have to do with them, from reading to reading.

    Attributes:
        hides_canary: Whether the topic of the canary, which counts for nothing else, may not be described.
    """

    def __init__(self) -> None:
        self.hides_canary = False
        self._known: dict[str, Collection[int]] = {}
        self._hidden: set[str] = set()
        self._commits: dict[str, OffsetsByTopic] = {}

    @property
    def partitions(self) -> dict[Partition, PartitionErrorReason]:
        """The partitions that they had."""
        reason = PartitionErrorReason.NOT_AUTHORIZED
        return {Partition(topic, number): reason for topic in self._hidden for number in self._known.get(topic, ())}

    @property
    def failure(self) -> Failure | None:
        """Say that topics are hidden; None where none is."""
        if not self._hidden:
            return None
        such_as = f"{len(self._hidden)} topics that are not listed, such as {min(self._hidden)}"
        return Failure(Stage.CHECK, Reason.AUTH, f"{such_as}: {error_name(_UNAUTHORIZED)}")

    async def seek(
        self, brokers: Brokers, layout: Layout, end: float, expected: Collection[str] = (), canary: str = ""
    ) -> None:
        """Ask a broker what has become of topics that metadata does not list.

        Where it cannot be asked, what was found before stands, and the next reading asks again.

        Args:
            brokers: All of them.
            layout: What metadata lists.
            end: Loop time until which a broker is waited for.
            expected: Topics that should be there, whether or not there is another trace of them.
            canary: Topic that a canary is flown to; empty for none.
        """
        self._hidden -= layout.topics.keys()
        missing = sorted({*self._known, *expected} - layout.topics.keys())
        self._known |= layout.topics
        aside = [canary] if canary and layout.canary is None else []
        self.hides_canary = self.hides_canary and bool(aside)
        asked = min(brokers.left().values(), key=lambda broker: not broker.is_connected(), default=None)
        if asked is None or not (missing or aside):
            return
        names = [*sorted(self._hidden), *(name for name in missing if name not in self._hidden)][:_TOGETHER]
        answer = await asked.within(end, partial(asked.ask, MetadataRequest(sorted({*names, *aside}))))
        if not isinstance(answer, Failure):
            codes = _codes(answer)
            self.hides_canary = codes.get(canary) == _UNAUTHORIZED
            self._take(names, codes)
        elif answer.reason is Reason.PROTOCOL:  # it cannot be asked without harm
            self._forget(names)

    def mark(
        self, groups: Mapping[str, Group], layout: Layout, select: Callable[[str], bool], *, whole: bool
    ) -> Failure | None:
        """Note what groups have to do with hidden topics as unknown, and say how many groups have.

        Args:
            groups: As they were read; what is not told of them is added to their errors.
            layout: What metadata lists.
            select: Whether a topic is wanted, by its name.
            whole: These are all the groups that there are: others are gone.
        """
        marked, wanted = 0, cache(partial(_is_wanted, select))
        for name, group in groups.items():
            unseen = self._unseen(name) if self._hidden else {}
            for topic, commits in unseen.items():
                group.partition_errors |= {Partition(topic, at): PartitionErrorReason.NOT_AUTHORIZED for at in commits}
            marked += bool(unseen)
            given = self._given(group, layout, wanted) if group.elsewhere else {}
            known = group.commits if group.committed else self._commits.get(name, {})
            self._commits[name] = {**given, **unseen, **known} if unseen or given else known
        if whole or len(self._commits) > _MOST_GROUPS:
            for name in self._commits.keys() - groups.keys():
                del self._commits[name]
        return failure_of_code(_UNAUTHORIZED, f"commits of {marked} groups in topics not listed") if marked else None

    def _given(self, group: Group, layout: Layout, wanted: Callable[[str], bool]) -> OffsetsByTopic:
        """Remember what members of a group have been given of topics that are wanted and not listed."""
        given: OffsetsByTopic = {}
        for topic, numbers in group.elsewhere.items():
            if topic in layout.topics or not wanted(topic):
                continue
            if topic not in self._known and len(numbers) <= self._room(layout):
                self._known[topic] = numbers
            if topic in self._known:
                given[topic] = dict.fromkeys(numbers, 0)
        return given

    def _room(self, layout: Layout) -> int:
        return _MOST_GIVEN - sum(len(self._known[topic]) for topic in self._known.keys() - layout.topics.keys())

    def _unseen(self, name: str) -> OffsetsByTopic:
        return {topic: found for topic, found in self._commits.get(name, {}).items() if topic in self._hidden}

    def _take(self, names: Iterable[str], codes: Mapping[str, int]) -> None:
        self._hidden.update(name for name in names if codes.get(name) == _UNAUTHORIZED)
        self._forget(name for name in names if codes.get(name) in _GONE)

    def _forget(self, names: Iterable[str]) -> None:
        for name in names:
            self._known.pop(name, None)
            self._hidden.discard(name)


def _is_wanted(select: Callable[[str], bool], topic: str) -> bool:
    return _NAME.fullmatch(topic) is not None and not topic.startswith("__") and select(topic)


def _codes(answer: Any) -> dict[str, int]:
    return {topic: error for error, topic, *_ in answer.topics or () if topic}

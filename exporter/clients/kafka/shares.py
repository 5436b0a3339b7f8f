"""Where share groups are in their topics (KIP-932): a group has no commits, a broker keeps what is finished with."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from exporter.clients.kafka.connection import Broker
from exporter.clients.kafka.errors import UNKNOWN_GROUP, failure_of_code
from exporter.clients.kafka.layout import Partition
from exporter.clients.kafka.offsets import OffsetsByTopic
from exporter.clients.kafka.requests import ShareGroupOffsetsRequest
from exporter.verdict import Failure

__all__ = ["Shared", "fetch_shared"]

_LARGE = 5000
"""Partitions past which an answer is looked through in a thread."""


@dataclass(slots=True)
class Shared:
    """Where a share group is.

    Attributes:
        starts: First record of each partition that the group has not finished with; partitions that it has not begun are
            left out.
        left: How many records from there on it has not finished with, by the broker's count, which leaves out what was
            acknowledged out of order. Empty where the broker does not count.
        partition_errors: Error codes by partition.
    """

    starts: OffsetsByTopic = field(default_factory=dict)
    left: OffsetsByTopic = field(default_factory=dict)
    partition_errors: dict[Partition, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many partitions it has begun."""
        return sum(map(len, self.starts.values()))


async def fetch_shared(
    broker: Broker, names: Sequence[str], wanted: Mapping[str, Collection[int]]
) -> tuple[dict[str, Shared], list[str], list[Failure]]:
    """Return where share groups are, those that the broker knows no more, and failures of those that it has an error for.

    Args:
        broker: Their coordinator.
        names: The groups.
        wanted: Partitions, by topic, that matter.

    Raises:
        Failure: The broker cannot be asked.
    """
    answer = await broker.ask(ShareGroupOffsetsRequest(names))
    size = sum(len(topic[2] or ()) for group in answer.groups or () for topic in group[1] or ())
    if size > _LARGE:
        return await asyncio.to_thread(_read, answer, names, wanted)
    return _read(answer, names, wanted)


def _read(
    answer: Any, names: Sequence[str], wanted: Mapping[str, Collection[int]]
) -> tuple[dict[str, Shared], list[str], list[Failure]]:
    found: dict[str, Shared] = {}
    gone: list[str] = []
    failures: list[Failure] = []
    asked = set(names)
    for name, topics, error, _, _ in answer.groups or ():
        if name not in asked:
            continue
        if error == UNKNOWN_GROUP:
            gone.append(name)
            continue
        if error:
            failures.append(failure_of_code(error, f"offsets of share group {name}"))
            continue
        shared = found[name] = Shared()
        for topic in topics or ():
            _take(shared, topic[0], topic[2] or (), wanted.get(topic[0], ()))
    return found, gone, failures


def _take(shared: Shared, topic: str, partitions: Sequence[Any], wanted: Collection[int]) -> None:
    for number, start, _, *rest in partitions:
        error = rest[-3]  # a message and tags follow it
        if number not in wanted:
            continue
        if error:
            shared.partition_errors[Partition(topic, number)] = error
        elif start >= 0:
            shared.starts.setdefault(topic, {})[number] = start
            if len(rest) > 3 and rest[0] >= 0:
                shared.left.setdefault(topic, {})[number] = rest[0]

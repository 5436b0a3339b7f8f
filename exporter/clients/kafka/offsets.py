"""Offsets of the log (ListOffsets): where partitions begin and end, and what was written when."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.offset import OffsetRequest

from exporter.clients.kafka.connection import Broker
from exporter.clients.kafka.errors import PartitionErrorReason, error_name, partition_error_of_code
from exporter.clients.kafka.layout import Layout, Partition
from exporter.verdict import Failure, Reason, Stage

__all__ = ["LogOffsets", "OffsetsByTopic", "fetch_offsets_since"]

OffsetsByTopic = dict[str, dict[int, int]]
"""Offsets by topic and number of the partition: lag is reckoned topic by topic."""

_END = -1
"""The offset after the last record: the high watermark, records of open transactions included."""

_BEGINNING = -2
"""The offset of the first record that is still kept."""

_LISTED = 1000
"""Partitions of one request for offsets: writing it and reading its answer take the event loop some 5 ms."""

_CONSUMER = -1
_READ_UNCOMMITTED, _READ_COMMITTED = 0, 1


@dataclass(slots=True)
class LogOffsets:
    """Offsets of the log as they become known; every partition that was asked for gets an offset or an error.

    Attributes:
        ends: Offset after the last record.
        beginnings: Offset of the first record.
        stable: Offset of the first record of a transaction that is open, or the end; up to it records can be read by who
            reads what was committed alone.
        partition_errors: Partitions that could not be read.
        words: One of the broker's own words for such an error, for people.
    """

    ends: OffsetsByTopic = field(default_factory=dict)
    beginnings: OffsetsByTopic = field(default_factory=dict)
    stable: OffsetsByTopic = field(default_factory=dict)
    partition_errors: dict[Partition, PartitionErrorReason] = field(default_factory=dict)
    words: str = ""

    async def ask(self, broker: Broker, led: Mapping[str, Sequence[int]], matters: Callable[[str], bool]) -> None:
        """Ask a broker for the partitions that it leads: beginnings where they matter, all ends, and then stable ends.

        Raises:
            Failure: The broker cannot be asked.
        """
        mattering = {topic: numbers for topic, numbers in led.items() if matters(topic)}
        for topics in _slices(mattering):
            self._read(await broker.ask(_request(topics, _BEGINNING)), topics, self.beginnings)
        for topics in _slices(led):
            self._read(await broker.ask(_request(topics, _END)), topics, self.ends)
        for topics in _slices(mattering):
            try:
                answer = await broker.ask(_request(topics, _END, _READ_COMMITTED))
            except IncompatibleBrokerVersion:  # before version 2 of the request there is no such question
                return
            self._read(answer, topics, self.stable)

    def add(self, other: LogOffsets) -> None:
        """Take in what another broker said of the partitions that it leads."""
        pairs = ((self.ends, other.ends), (self.beginnings, other.beginnings), (self.stable, other.stable))
        for mine, its in pairs:
            for topic, found in its.items():
                mine.setdefault(topic, {}).update(found)
        self.partition_errors |= other.partition_errors
        self.words = self.words or other.words

    def failures(self, layout: Layout) -> list[Failure]:
        """Say what is wrong with partitions and topics, in one failure for each of the two."""
        failures = []
        if self.partition_errors:
            partition, reason = min(self.partition_errors.items())
            words = f" ({self.words})" if self.words else ""
            such_as = f"{partition.topic}/{partition.number}: {reason}{words}"
            detail = f"{len(self.partition_errors)} of {layout.partitions} partitions, such as {such_as}"
            failures.append(Failure(Stage.CHECK, _REASONS.get(reason, Reason.QUERY_FAILED), detail))
        if layout.refused:
            topic, said = min(layout.refused.items())
            detail = f"{len(layout.refused)} topics, such as {topic}: {said}"
            failures.append(Failure(Stage.CHECK, Reason.QUERY_FAILED, detail))
        return failures

    def _read(self, answer: Any, asked: Mapping[str, Sequence[int]], offsets: OffsetsByTopic) -> None:
        missing = {topic: set(numbers) for topic, numbers in asked.items()}
        for topic, answers in answer.topics or ():
            waited_for = missing.get(topic, set())
            found: dict[int, int] = {}
            for number, code, _, offset, *_ in answers or ():
                if number not in waited_for:
                    continue
                waited_for.discard(number)
                if code or offset < 0:
                    words = error_name(code) if code else "a negative offset"
                    self._refuse(Partition(topic, number), partition_error_of_code(code), words)
                else:
                    found[number] = offset
            if found:
                offsets.setdefault(topic, {}).update(found)
        for topic, numbers in missing.items():
            for number in numbers:
                self._refuse(Partition(topic, number), PartitionErrorReason.OTHER, "missing from the answer")

    def _refuse(self, partition: Partition, reason: PartitionErrorReason, words: str) -> None:
        self.partition_errors[partition] = reason
        self.words = self.words or words


def _slices(topics: Mapping[str, Sequence[int]]) -> Iterator[dict[str, list[int]]]:
    """Cut into requests of at most `_LISTED` partitions."""
    partitions = ((topic, number) for topic, numbers in topics.items() for number in numbers)
    while some := list(islice(partitions, _LISTED)):
        topics_of_slice: dict[str, list[int]] = {}
        for topic, number in some:
            topics_of_slice.setdefault(topic, []).append(number)
        yield topics_of_slice


def _request(topics: Mapping[str, Sequence[int]], which: int, isolation: int = _READ_UNCOMMITTED) -> OffsetRequest:
    asked = [(topic, [(number, which) for number in numbers]) for topic, numbers in topics.items()]
    return OffsetRequest(_CONSUMER, isolation, asked)


async def fetch_offsets_since(broker: Broker, times: Mapping[Partition, int], latest: int) -> dict[Partition, int | None]:
    """Return the first record that is not older than a time, by its timestamp; None where there is none.

    Partitions that the broker has an error for are left out, and those for which it answers with an older record, as
    Tansu does, or with one that says that it is of the future: when that one came is not known, and it hides the next.

    Args:
        broker: The leader of all of them.
        times: Milliseconds since 1970.
        latest: The same, past which a record is of the future.

    Raises:
        Failure: The broker cannot be asked.
    """
    asked: dict[str, list[tuple[int, int]]] = {}
    for (topic, number), time in times.items():
        asked.setdefault(topic, []).append((number, max(0, time)))
    answer = await broker.ask(OffsetRequest(_CONSUMER, _READ_UNCOMMITTED, list(asked.items())))
    found = {
        Partition(topic, number): offset if offset >= 0 else None
        for topic, answers in answer.topics or ()
        for number, code, written, offset, *_ in answers or ()
        if not code and (offset < 0 or max(0, times.get(Partition(topic, number), 0)) <= written <= latest)
    }
    return {partition: found[partition] for partition in times if partition in found}


_REASONS = {
    PartitionErrorReason.NO_LEADER: Reason.NO_LEADER,
    PartitionErrorReason.NOT_LEADER: Reason.NO_LEADER,
    PartitionErrorReason.NOT_AUTHORIZED: Reason.AUTH,
    PartitionErrorReason.TIMEOUT: Reason.TIMEOUT,
}

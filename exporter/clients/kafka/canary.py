"""A canary: a record written to each partition of a topic of its own, and fetched again by the offset that it was given.

No group is joined and nothing is committed. The topic is never made: a partition is written to only where metadata lists it,
and neither Produce nor Fetch brings a topic into being.
"""

from __future__ import annotations

import asyncio
import secrets
import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from aiokafka.errors import KafkaError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from exporter.clients.kafka.connection import Broker
from exporter.clients.kafka.errors import failure_of_code, together
from exporter.verdict import Failure, Reason, Stage, Verdict

__all__ = ["Canary", "Flight", "Times"]

_ALL_IN_SYNC = -1
"""Acks: a record counts as written once all replicas in sync have it, as many as the topic wants at least."""

_ANSWER_SHARE = 0.8
"""Share of the time left in which a broker is to answer that replicas did not: its answer must come before the end."""

_BATCH_BYTES = 1024
"""What a partition may answer; its first batch is sent whatever its size, and the connection bounds the whole answer."""

_FETCH_WAIT_MS = 250
_TRIES = 20
_PAUSE = 0.05
"""What is acknowledged can be fetched at once; a broker that is a little behind is asked again, with a pause in between."""

_RECORD_TOO_LARGE = 10
"""Error code for a batch of some hundred bytes: the topic takes next to nothing."""

_READ_UNCOMMITTED = 0
_MAGIC, _MAGIC_AT = 2, 16
"""The format of records since Kafka 0.11, and where it stands in a batch, as it did in older ones."""


class Times(NamedTuple):
    """Seconds that a leader took.

    Attributes:
        produce: Until it acknowledged all records.
        fetch: From then until they were read again.
    """

    produce: float
    fetch: float

    @property
    def end_to_end(self) -> float:
        """Return both together."""
        return self.produce + self.fetch


@dataclass(slots=True)
class Flight:
    """What came of one round.

    Attributes:
        partitions: How each partition fared, None where its record was read again.
        times: Seconds by node, of those of which every record was read again.
    """

    partitions: dict[int, Failure | None] = field(default_factory=dict)
    times: dict[int, Times] = field(default_factory=dict)

    @property
    def failure(self) -> Failure | None:
        """Return how it failed, None where all worked."""
        return together([failure for _, failure in sorted(self.partitions.items()) if failure is not None])

    def excused(self, excuse: Callable[[Failure], Failure]) -> Flight:
        """Return it with its failures as they are to be told."""
        return Flight({at: excuse(why) if why is not None else None for at, why in self.partitions.items()}, self.times)

    def fail(self, numbers: Iterable[int], failure: Failure) -> None:
        """Note that these partitions failed, where nothing is known of them yet."""
        for number in numbers:
            self.partitions.setdefault(number, failure)


class _UnfitTopic(Failure):
    """The topic is set up so that no canary can fly: of writes to others it says nothing."""

    @property
    def verdict(self) -> Verdict:
        """Return that it cannot be told."""
        return Verdict.UNKNOWN


class Canary:
    """Writes records that nobody else has written: their value is drawn by lot, and counted.

    Args:
        topic: Where to; it is there already.
    """

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self._lot = secrets.token_hex(8)
        self._round = 0

    async def fly(self, broker: Broker, node: int, numbers: Sequence[int], end: float, flight: Flight) -> None:
        """Write to partitions that a broker leads, and read again what was written, all of them in one request each way.

        Args:
            broker: It.
            node: Its number.
            numbers: The partitions.
            end: Loop time at which the caller gives it up.
            flight: Receives what came of it, partition by partition.

        Raises:
            Failure: The broker cannot be asked, or what it answers cannot be read.
        """
        self._round += 1
        clock = asyncio.get_running_loop().time
        values = {number: f"hafnium-exporter canary {self._lot} {self._round} {number}".encode() for number in numbers}
        began = clock()
        offsets = await self._write(broker, values, end - began, flight)
        written = clock()
        await self._read(broker, offsets, values, flight)
        if all(flight.partitions.get(number, _NEVER) is None for number in numbers):
            flight.times[node] = Times(written - began, clock() - written)

    async def _write(self, broker: Broker, values: Mapping[int, bytes], left: float, flight: Flight) -> dict[int, int]:
        batches = [(number, _batch(self._lot.encode(), value)) for number, value in values.items()]
        timeout = max(1, int(1000 * _ANSWER_SHARE * left))
        answer = await broker.ask(ProduceRequest(None, _ALL_IN_SYNC, timeout, [(self.topic, batches)]))
        offsets: dict[int, int] = {}
        for topic, partitions in answer.topics or ():
            for number, code, offset, *_ in partitions or ():
                if topic != self.topic or number not in values:
                    continue
                if code:
                    flight.fail([number], _refused(code, f"writing to {topic}/{number}"))
                else:
                    offsets[number] = offset
        flight.fail(values.keys() - offsets.keys(), Failure(Stage.CHECK, Reason.MALFORMED, "a write was not answered"))
        return offsets

    async def _read(self, broker: Broker, offsets: Mapping[int, int], values: Mapping[int, bytes], flight: Flight) -> None:
        missing = dict(offsets)
        for attempt in range(_TRIES):
            if attempt:
                await asyncio.sleep(_PAUSE)
            wanted = [(number, offset, _BATCH_BYTES) for number, offset in missing.items()]
            if not wanted:
                return
            most = _BATCH_BYTES * len(wanted)
            answer = await broker.ask(FetchRequest(_FETCH_WAIT_MS, 1, most, _READ_UNCOMMITTED, [(self.topic, wanted)]))
            for topic, partitions in answer.topics or ():
                for number, code, *_, records in partitions or ():
                    if topic != self.topic or number not in missing or not (code or records):
                        continue
                    at = f"{topic}/{number}"
                    failure = (
                        failure_of_code(code, f"reading {at}")
                        if code
                        else _why_not(records, missing[number], values[number], at)
                    )
                    flight.partitions[number] = failure
                    del missing[number]
        for number, offset in missing.items():
            detail = f"{self.topic}/{number}: what was written at offset {offset} is not found again"
            flight.partitions[number] = Failure(Stage.CHECK, Reason.QUERY_FAILED, detail)


_UNREADABLE = (KafkaError, ValueError, TypeError, IndexError, AssertionError, SystemError, struct.error)
"""What the library raises at batches that are none; it lets Python's own SystemError out at a negative length."""

_NEVER = Failure(Stage.CHECK, Reason.QUERY_FAILED, "not flown")


def _refused(code: int, what: str) -> Failure:
    refused = failure_of_code(code, what)
    if code != _RECORD_TOO_LARGE:
        return refused
    return _UnfitTopic(refused.stage, refused.reason, f"{refused.detail}: raise the topic's max.message.bytes")


def _batch(key: bytes, value: bytes) -> bytes:
    """Make a batch of one record; it has a key, without which compacted topics take none."""
    builder = DefaultRecordBatchBuilder(_MAGIC, 0, 0, -1, -1, -1, _BATCH_BYTES)
    builder.append(0, int(1000 * time.time()), key, value, [])
    return bytes(builder.build())


def _why_not(records: bytes, offset: int, value: bytes, at: str) -> Failure | None:
    """Say why what was fetched is not what was written; None where it is. Only the first record is looked at."""
    if (
        len(records) > _MAGIC_AT and records[_MAGIC_AT] != _MAGIC
    ):  # the library reads older formats without looking at lengths
        detail = f"{at}: what was fetched is in another format than was written: look at the topic's message.format.version"
        return Failure(Stage.CHECK, Reason.MALFORMED, detail)
    return _differs(records, offset, value, at)


def _differs(records: bytes, offset: int, value: bytes, at: str) -> Failure | None:
    try:
        found = MemoryRecords(records)
        batch = found.next_batch() if found.has_next() else None
        if batch is None:
            return Failure(Stage.CHECK, Reason.MALFORMED, f"{at}: what was fetched is not a whole batch")
        if getattr(batch, "compression_type", 0):  # unpacked, a few bytes may be gigabytes
            detail = f"{at}: the topic compresses what it is given: set its compression.type to producer or uncompressed"
            return _UnfitTopic(Stage.CHECK, Reason.QUERY_FAILED, detail)
        if not batch.validate_crc():
            return Failure(Stage.CHECK, Reason.MALFORMED, f"{at}: the checksum of what was fetched is wrong")
        first = next(iter(batch), None)
    except _UNREADABLE:
        return Failure(Stage.CHECK, Reason.MALFORMED, f"{at}: what was fetched cannot be read")
    if first is None or (first.offset, first.value) != (offset, value):
        return Failure(Stage.CHECK, Reason.QUERY_FAILED, f"{at}: at offset {offset} is something else than was written")
    return None

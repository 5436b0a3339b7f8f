"""Offsets of partitions, asked of the brokers that lead them, with each partition's error kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from aiokafka.protocol.offset import OffsetRequest

from exporter.clients.kafka.cluster import Partition
from exporter.clients.kafka.connection import Connection
from exporter.clients.kafka.errors import PartitionFault, error_name, fault_of_code

__all__ = ["BEGINNING", "END", "Offsets", "read_offsets"]

END = -1
"""The offset after the last record: the high watermark, records of open transactions included."""

BEGINNING = -2
"""The offset of the first record that is still kept."""

_CONSUMER = -1
_READ_UNCOMMITTED = 0


@dataclass(slots=True)
class Offsets:
    """Offsets as they become known. Filled by several brokers side by side.

    Attributes:
        ends: Offset after the last record.
        beginnings: Offset of the first record.
        faults: Partitions that could not be read.
        words: One of the broker's own words for such an error, for people.
    """

    ends: dict[Partition, int] = field(default_factory=dict)
    beginnings: dict[Partition, int] = field(default_factory=dict)
    faults: dict[Partition, PartitionFault] = field(default_factory=dict)
    words: str = ""


async def read_offsets(connection: Connection, partitions: Iterable[Partition], which: int, into: Offsets) -> None:
    """Read one end of each of the partitions that this broker leads.

    Args:
        connection: To the leader.
        partitions: Those it leads.
        which: `END` or `BEGINNING`.
        into: Receives offsets and faults; every partition gets one of the two.

    Raises:
        Failure: The connection is lost, or the broker does not know the request.
    """
    wanted = set(partitions)
    if not wanted:
        return
    topics: dict[str, list[tuple[int, int]]] = {}
    for topic, number in sorted(wanted):
        topics.setdefault(topic, []).append((number, which))
    answer = await connection.ask(OffsetRequest(_CONSUMER, _READ_UNCOMMITTED, list(topics.items())))
    found = into.ends if which == END else into.beginnings
    for topic, answers in answer.topics or ():
        for number, error, _, offset, *_ in answers or ():
            partition = Partition(topic, number)
            if partition not in wanted:
                continue
            wanted.discard(partition)
            if error or offset < 0:
                into.faults[partition] = fault_of_code(error)
                into.words = into.words or (error_name(error) if error else "a negative offset")
            else:
                found[partition] = offset
    for partition in wanted:
        into.faults[partition] = PartitionFault.OTHER
        into.words = into.words or "missing from the answer"

"""Offsets that groups have committed (OffsetFetch): of many groups in one request, where the broker can.

Written and read by hand. Groups times partitions is the one product in an attempt: the partitions are the same for every
group, so they are encoded once, and the answer is read some ten times faster than from a schema.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from struct import Struct, pack
from typing import NamedTuple, Self

from aiokafka.protocol.types import CompactString, String, UnsignedVarInt32

from exporter.clients.kafka.connection import Broker
from exporter.clients.kafka.errors import failure_of_code
from exporter.clients.kafka.layout import Partition
from exporter.clients.kafka.offsets import OffsetsByTopic
from exporter.verdict import Failure, Reason, Stage

__all__ = ["MANY_GROUPS", "CommitsRequest", "Committed", "Wanted", "fetch_commits"]

MANY_GROUPS = 8
"""Version of the request from which on it asks for many groups: Kafka 3.0."""

_TOGETHER = 25
"""Groups of one request at most: with 50 commits each, the answer is just not so long that it is read in a thread."""

_TOGETHER_BYTES = 32 * 1024
"""Bytes that an answer should have at most, where it is known what each group's part of it has."""

_SHORT = Struct(">h")
_INT = Struct(">i")
_BYTE = Struct(">B")
_HEADER = Struct(">hhi")  # which request, its version, its number
_ENTRY = Struct(">iqh")  # partition, offset, length of the metadata
_COMPACT_ENTRY = Struct(">iqiB")  # partition, offset, epoch of its leader, length of the metadata and one, below 128
_COMPACT_END = Struct(">hB")  # error, how many tags
_PLAIN_ENTRY = Struct(">iqiBhB")  # all of these, of a commit without metadata and tags

_NONE = b"\0"
"""How many tags there are, where there is none; null for an array; false."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Partitions to ask the commits of.

    Attributes:
        numbers: Which, by topic; what an answer says of others is left out.
        count: How many.
        encoded: The same, as a request for one group has them.
        compact: The same, as a request for many has them.
        together: Of how many groups to ask in one request, where the broker can.
        oldest: Version of the request that it needs at least.
    """

    numbers: Mapping[str, frozenset[int]]
    count: int
    encoded: bytes
    compact: bytes
    together: int
    oldest: int = 1

    @classmethod
    def of(cls, topics: Mapping[str, Sequence[int]]) -> Self:
        """Encode once what is asked of every group."""
        encoded, compact = [_INT.pack(len(topics))], [UnsignedVarInt32.encode(len(topics) + 1)]
        for topic, numbers in topics.items():
            packed = pack(f">{len(numbers)}i", *numbers)
            encoded += [String().encode(topic), _INT.pack(len(numbers)), packed]
            compact += [CompactString().encode(topic), UnsignedVarInt32.encode(len(numbers) + 1), packed, _NONE]
        by_topic = {topic: frozenset(numbers) for topic, numbers in topics.items()}
        count = sum(map(len, by_topic.values()))
        of_one = sum(map(len, compact)) + (_COMPACT_ENTRY.size + _COMPACT_END.size - _INT.size) * count
        together = max(1, min(_TOGETHER, _TOGETHER_BYTES // of_one))
        return cls(by_topic, count, b"".join(encoded), b"".join(compact), together)

    def any(self) -> Self:
        """Ask for whatever a group has committed. For many groups it is far shorter; not every broker can answer it."""
        return replace(self, encoded=_INT.pack(-1), compact=_NONE, together=_TOGETHER, oldest=2)


@dataclass(slots=True)
class Committed:
    """What is said of a group.

    Attributes:
        error_code: For the whole group; zero for none.
        offsets: Committed offsets; partitions without a commit are left out.
        partition_errors: Error codes by partition.
    """

    error_code: int = 0
    offsets: OffsetsByTopic = field(default_factory=dict)
    partition_errors: dict[Partition, int] = field(default_factory=dict)

    def take(self, topic: str, found: Mapping[int, int], errors: Mapping[int, int]) -> None:
        """Take what is said of a topic, which may be said in pieces."""
        if found:
            self.offsets.setdefault(topic, {}).update(found)
        for number, error in errors.items():
            self.partition_errors[Partition(topic, number)] = error


class CommitsRequest:
    """Asks for groups' commits; to `BrokerConnection.ask` the same as aiokafka's requests. Versions 1 to 3, and 8.

    Args:
        groups: Which; before version 8 one alone.
        wanted: What is asked of each.
    """

    API_KEY = 9

    def __init__(self, groups: Sequence[str], wanted: Wanted) -> None:
        self.groups = groups
        self.wanted = wanted

    def prepare(self, versions: Mapping[int, tuple[int, int]]) -> _Prepared:
        """Take the newest version of those given."""
        version = versions[self.API_KEY][1]
        if version < self.wanted.oldest:
            detail = f"{self.wanted.count} partitions in too many groups, and the broker does not serve all of a group's"
            raise Failure(Stage.CHECK, Reason.TOO_LARGE, f"{detail}: narrow groups or topics")
        if version >= MANY_GROUPS:
            return _OfMany(self.groups, self.wanted, version)
        if len(self.groups) > 1:
            raise Failure(Stage.CHECK, Reason.PROTOCOL, "OffsetFetch: the broker no longer serves many groups at once")
        return _OfOne(self.groups, self.wanted, version)


class _Header(NamedTuple):
    """The header of a request, or of its answer, which has its number alone. From a schema it takes as long as the rest."""

    correlation_id: int
    version: int = 0
    client_id: str = ""

    def encode(self) -> bytes:
        tags = _NONE if self.version >= MANY_GROUPS else b""
        fixed = _HEADER.pack(CommitsRequest.API_KEY, self.version, self.correlation_id)
        return fixed + bytes(String().encode(self.client_id)) + tags


class _Prepared(ABC):
    API_KEY = CommitsRequest.API_KEY

    def __init__(self, groups: Sequence[str], wanted: Wanted, version: int) -> None:
        self.API_VERSION = version
        self.RESPONSE_TYPE = self
        self._groups = groups
        self._wanted = wanted

    def build_request_header(self, correlation_id: int, client_id: str) -> _Header:
        return _Header(correlation_id, self.API_VERSION, client_id)

    def parse_response_header(self, stream: BytesIO) -> _Header:
        return _Header(*_INT.unpack(stream.read(4)))

    @abstractmethod
    def encode(self) -> bytes:
        """Return what follows the header."""

    @abstractmethod
    def decode(self, stream: BytesIO) -> dict[str, Committed]:
        """Read what follows the number of the answer; raises `struct.error` or `ValueError` where it is not one."""


class _OfOne(_Prepared):
    """Versions 1 to 3."""

    def encode(self) -> bytes:
        return bytes(String().encode(self._groups[0])) + self._wanted.encoded

    def decode(self, stream: BytesIO) -> dict[str, Committed]:
        data = stream.read()
        at = 4 if self.API_VERSION >= 3 else 0  # a throttle time comes first
        committed = Committed()
        (topics,) = _INT.unpack_from(data, at)
        at += 4
        for _ in range(topics):
            (length,) = _SHORT.unpack_from(data, at)
            topic = data[at + 2 : at + 2 + _size(length)].decode()
            found: dict[int, int] = {}
            errors: dict[int, int] = {}
            at = _read(data, at + 2 + length, self._wanted.numbers.get(topic, frozenset()), found, errors)
            committed.take(topic, found, errors)
        committed.error_code = _SHORT.unpack_from(data, at)[0] if self.API_VERSION >= 2 else 0
        return {self._groups[0]: committed}


def _read(data: bytes, at: int, wanted: frozenset[int], found: dict[int, int], errors: dict[int, int]) -> int:
    """Read a topic's partitions; return where they end."""
    entry_at, short_at = _ENTRY.unpack_from, _SHORT.unpack_from
    (partitions,) = _INT.unpack_from(data, at)
    at += 4
    for _ in range(partitions):
        number, offset, length = entry_at(data, at)
        at += 14 + (length if length > 0 else 0)
        (error,) = short_at(data, at)
        at += 2
        if (offset >= 0 or error) and number in wanted:
            if error:
                errors[number] = error
            else:
                found[number] = offset
    return at


def _size(length: int) -> int:
    if length < 0:
        raise ValueError("a topic without a name")
    return length


class _OfMany(_Prepared):
    """Version 8."""

    def encode(self) -> bytes:
        parts = [UnsignedVarInt32.encode(len(self._groups) + 1)]
        for group in self._groups:
            parts += [CompactString().encode(group), self._wanted.compact, _NONE]
        return b"".join([*parts, _NONE, _NONE])  # whether only what is stable is wanted, and tags

    def decode(self, stream: BytesIO) -> dict[str, Committed]:
        """Read what is said of the groups that were asked for; of one that is there twice, what is said first."""
        data = stream.read()
        at = _past_tags(data, 0) + 4  # the header's, and a throttle time
        groups, at = _count(data, at)
        if groups > len(self._groups):
            raise ValueError(f"{groups} groups, {len(self._groups)} were asked for")
        said: dict[str, Committed] = {}
        for _ in range(groups):
            group, at = _name(data, at)
            committed = Committed()
            at = self._read_topics(data, at, committed)
            (committed.error_code,) = _SHORT.unpack_from(data, at)
            at = _past_tags(data, at + 2)
            said.setdefault(group, committed)
        return {group: said[group] for group in self._groups if group in said}

    def _read_topics(self, data: bytes, at: int, committed: Committed) -> int:
        topics, at = _count(data, at)
        for _ in range(topics):
            topic, at = _name(data, at)
            found: dict[int, int] = {}
            errors: dict[int, int] = {}
            at = _read_compact(data, at, self._wanted.numbers.get(topic, frozenset()), found, errors)
            at = _past_tags(data, at)
            committed.take(topic, found, errors)
        return at


def _read_compact(data: bytes, at: int, wanted: frozenset[int], found: dict[int, int], errors: dict[int, int]) -> int:
    """Read a topic's partitions; return where they end."""
    partitions, at = _count(data, at)
    end = at + partitions * _PLAIN_ENTRY.size
    if end <= len(data) and _read_plain(data[at:end], wanted, found, errors):
        return end
    entry_at, end_at = _COMPACT_ENTRY.unpack_from, _COMPACT_END.unpack_from
    for _ in range(partitions):
        number, offset, _, length = entry_at(data, at)
        at += 17
        if length > 1:
            if length < 128:
                at += length - 1
            else:
                length, at = _count(data, at - 1)
                at += length
        error, tags = end_at(data, at)
        at += 3
        if tags:
            at = _past_tags(data, at - 1)
        if (offset >= 0 or error) and number in wanted:
            if error:
                errors[number] = error
            else:
                found[number] = offset
    return at


def _read_plain(data: bytes, wanted: frozenset[int], found: dict[int, int], errors: dict[int, int]) -> bool:
    """Read partitions as nearly all are, in a third of the time; return whether none has metadata or tags.

    Up to the first that has, all is as it is read here.
    """
    for number, offset, _, length, error, tags in _PLAIN_ENTRY.iter_unpack(data):
        if length > 1 or tags:
            return False
        if (offset >= 0 or error) and number in wanted:
            if error:
                errors[number] = error
            else:
                found[number] = offset
    return True


def _unsigned(data: bytes, at: int) -> tuple[int, int]:
    """Read a number of seven bits to the byte, the lowest first; return it and where it ends."""
    value = 0
    for shift in range(0, 35, 7):
        (byte,) = _BYTE.unpack_from(data, at)
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than five bytes")


def _count(data: bytes, at: int) -> tuple[int, int]:
    """Read how many there are, which is written as one more, and null as 0; return it and where it ends."""
    value, at = _unsigned(data, at)
    return max(0, value - 1), at


def _name(data: bytes, at: int) -> tuple[str, int]:
    length, at = _count(data, at)
    return data[at : at + length].decode(), at + length


def _past_tags(data: bytes, at: int) -> int:
    tags, at = _unsigned(data, at)
    for _ in range(tags):
        _, at = _unsigned(data, at)
        size, at = _unsigned(data, at)
        at += size
    return at


async def fetch_commits(broker: Broker, groups: Sequence[str], wanted: Wanted) -> tuple[dict[str, Committed], list[Failure]]:
    """Return what groups have committed, and the failures of those that the broker has an error for.

    Args:
        broker: Their coordinator.
        groups: By name; one alone, unless the broker offers `MANY_GROUPS`.
        wanted: What is asked of each.

    Raises:
        Failure: The broker cannot be asked.
    """
    try:
        answer: Mapping[str, Committed] = await broker.ask(CommitsRequest(groups, wanted))
    except Failure as failure:
        if failure.reason is not Reason.TOO_LARGE or len(groups) > 1:
            raise
        raise Failure(failure.stage, failure.reason, f"commits of group {groups[0]}: {failure.detail}") from None
    found: dict[str, Committed] = {}
    failures: list[Failure] = []
    for group in groups:
        committed = answer.get(group)
        if committed is None:
            failures.append(Failure(Stage.CHECK, Reason.MALFORMED, f"commits of group {group}: missing from the answer"))
        elif committed.error_code:
            failures.append(failure_of_code(committed.error_code, f"commits of group {group}"))
        else:
            found[group] = committed
    return found, failures

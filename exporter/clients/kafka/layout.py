"""What a cluster consists of: its brokers, and which of them leads which partition."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from exporter.clients.kafka.errors import PartitionErrorReason, error_name, partition_error_of_code
from exporter.clients.kafka.requests import CLUSTER_DESCRIBE
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage

__all__ = [
    "GROUPS_TOPIC",
    "MAX_BROKERS",
    "MAX_NAME",
    "CanaryTopic",
    "Health",
    "Layout",
    "Partition",
    "read_layout",
    "size_of",
]

MAX_BROKERS = 200
"""More brokers than any cluster has; each costs a connection."""

MAX_NAME = 255
"""Longest topic or group name that becomes a label; Kafka's own limit for topics is 249."""

MAX_CANARY_PARTITIONS = 100
"""Partitions that a canary is flown to, those with the lowest numbers: its topic needs one for each broker."""

GROUPS_TOPIC = "__consumer_offsets"
"""Topic in which brokers keep groups: the leader of a group's partition is its coordinator."""

_LEADER_NOT_AVAILABLE = 5

_NOT_SAID = -(1 << 31)
"""Stands for what may be done where the broker does not say it."""

_EPOCH, _WITH_EPOCH = 1, 3
"""How many fields stand before a partition's replicas with a leader's epoch, and how many follow the leader without one."""


class Partition(NamedTuple):
    """A partition of a topic."""

    topic: str
    number: int


@dataclass(slots=True)
class Health:
    """How partitions are replicated: of all topics, those that are not selected and internal ones too.

    Attributes:
        missing: Nodes that hold replicas, and that metadata does not list among the brokers.
        partitions: How many partitions there are.
        under_replicated: Partitions with fewer replicas in sync than there should be.
        offline: Partitions that have no leader: nothing is read from them nor written to them.
        uncoordinated: Those among them that keep what groups have committed: nobody coordinates the groups of these.
        made: Identity of each topic, None where the broker does not tell it.
        lacking: Of each topic, the partitions that have a leader and lack a replica: how many replicas each has in sync,
            and should have.
    """

    missing: set[int] = field(default_factory=set)
    partitions: int = 0
    under_replicated: int = 0
    offline: int = 0
    uncoordinated: int = 0
    made: dict[str, bytes | None] = field(default_factory=dict)
    lacking: dict[str, list[tuple[int, int]]] = field(default_factory=dict)


@dataclass(slots=True)
class CanaryTopic:
    """A topic that is written to, selected or not.

    Attributes:
        led: Its partitions by the node that leads them.
        leaderless: Those that nobody leads, and the error code for it.
        error: Error code that it came with; zero for none.
    """

    led: dict[int, list[int]] = field(default_factory=dict)
    leaderless: dict[int, int] = field(default_factory=dict)
    error: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """What metadata says of the selected topics.

    Attributes:
        brokers: Where each node listens.
        describes: Whether the cluster may be described: then every group is listed, else those that may be. None where the
            broker does not say.
        racks: Which rack each node is in, where that is known.
        health: How partitions are replicated.
        topics: Numbers of the partitions of each topic.
        led: The same by the node that leads them, without those that have no leader.
        leaderless: Partitions without a leader that could be asked.
        refused: Topics that came with an error, and which.
        canary: The topic that a canary is flown to; None where it is not listed, or none is wanted.
    """

    brokers: Mapping[int, Address]
    describes: bool | None = None
    racks: Mapping[int, str] = field(default_factory=dict)
    health: Health = field(default_factory=Health)
    topics: Mapping[str, Sequence[int]] = field(default_factory=dict)
    led: Mapping[int, Mapping[str, Sequence[int]]] = field(default_factory=dict)
    leaderless: Mapping[Partition, PartitionErrorReason] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    canary: CanaryTopic | None = None

    @property
    def partitions(self) -> int:
        """How many partitions are selected."""
        return sum(map(len, self.topics.values()))


def read_layout(answer: Any, select: Callable[[str], bool], canary: str = "") -> Layout:
    """Read a metadata answer; internal topics and those not selected are left out.

    Args:
        answer: To a request for all topics.
        select: Whether a topic is wanted.
        canary: Name of the topic that a canary is flown to; empty for none.

    Raises:
        Failure: It names brokers that cannot be, or too many.
    """
    brokers, racks = _brokers(answer)
    topics: dict[str, list[int]] = {}
    led: dict[int, dict[str, list[int]]] = defaultdict(dict)
    leaderless: dict[Partition, PartitionErrorReason] = {}
    refused: dict[str, str] = {}
    health = Health()
    flown_to: CanaryTopic | None = None
    for error, topic, identity, internal, partitions in _topics(answer):
        _take_health(health, brokers, topic or "", partitions or ())
        if topic and not error:
            health.made[topic] = identity
        if topic and topic == canary:
            flown_to = _canary_topic(error, brokers, partitions or ())
        if not topic or internal or topic.startswith("__") or len(topic) > MAX_NAME or not select(topic):
            continue
        if error:
            refused[topic] = error_name(error)
        found = {number: (leader, code) for code, number, leader, *_ in partitions or ()}
        if found:
            topics[topic] = list(found)
        for number, (leader, code) in found.items():
            if leader in brokers:
                led[leader].setdefault(topic, []).append(number)
            else:
                leaderless[Partition(topic, number)] = partition_error_of_code(code or _LEADER_NOT_AVAILABLE)
    return Layout(brokers, _describes(answer), racks, health, topics, dict(led), leaderless, refused, flown_to)


def _canary_topic(error: int, brokers: Mapping[int, Address], partitions: Sequence[Any]) -> CanaryTopic:
    topic = CanaryTopic(error=error)
    for code, number, leader, *_ in sorted(partitions, key=lambda partition: int(partition[1]))[:MAX_CANARY_PARTITIONS]:
        if leader in brokers:
            topic.led.setdefault(leader, []).append(number)
        else:
            topic.leaderless[number] = code or _LEADER_NOT_AVAILABLE
    return topic


def size_of(answer: Any) -> int:
    """Say how many topics and partitions a metadata answer has."""
    return sum(1 + len(partitions or ()) for *_, partitions in _topics(answer))


def _describes(answer: Any) -> bool | None:
    allowed = getattr(answer, "cluster_authorized_operations", _NOT_SAID)
    return None if allowed == _NOT_SAID else bool(allowed & CLUSTER_DESCRIBE)


def _topics(answer: Any) -> Iterator[tuple[int, str | None, bytes | None, bool, Sequence[Any] | None]]:
    """Yield error, name, identity, whether it is internal, and partitions; from version 10 on topics have an identity."""
    for error, topic, *rest in answer.topics or ():
        if isinstance(rest[0], bytes):
            yield error, topic, rest[0] if any(rest[0]) else None, rest[1], rest[2]
        else:
            yield error, topic, None, rest[0], rest[1]


def _take_health(health: Health, brokers: Mapping[int, Address], topic: str, partitions: Sequence[Any]) -> None:
    for _, _, leader, *rest in partitions:
        replicas, in_sync = rest[_EPOCH:][:2] if len(rest) > _WITH_EPOCH else rest[:2]
        health.partitions += 1
        health.offline += leader not in brokers
        health.uncoordinated += topic == GROUPS_TOPIC and leader not in brokers
        if len(in_sync or ()) < len(replicas or ()):
            health.under_replicated += 1
            if leader in brokers:
                health.lacking.setdefault(topic, []).append((len(in_sync or ()), len(replicas)))
        if len(health.missing) < MAX_BROKERS:
            health.missing.update(node for node in replicas or () if node not in brokers)


def _brokers(answer: Any) -> tuple[dict[int, Address], dict[int, str]]:
    brokers: dict[int, Address] = {}
    racks: dict[int, str] = {}
    if len(answer.brokers or ()) > MAX_BROKERS:
        raise Failure(Stage.CHECK, Reason.TOO_LARGE, f"{len(answer.brokers)} brokers, at most {MAX_BROKERS} are asked")
    for node, host, port, *rest in answer.brokers or ():
        if not host or len(host) > MAX_NAME or not 0 < port < 65536:
            raise Failure(Stage.CHECK, Reason.MALFORMED, f"broker {node} has an address that cannot be")
        brokers[node] = Address(host, port)
        if rest and rest[0]:
            racks[node] = rest[0][:MAX_NAME]
    return brokers, racks

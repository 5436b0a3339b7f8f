"""What a cluster consists of: its brokers, and which of them leads which partition."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from exporter.clients.kafka.errors import PartitionErrorReason, error_name, partition_error_of_code
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage

__all__ = ["MAX_BROKERS", "MAX_NAME", "Layout", "Partition", "read_layout"]

MAX_BROKERS = 200
"""More brokers than any cluster has; each costs a connection."""

MAX_NAME = 255
"""Longest topic or group name that becomes a label; Kafka's own limit for topics is 249."""

_LEADER_NOT_AVAILABLE = 5


class Partition(NamedTuple):
    """A partition of a topic."""

    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Layout:
    """What metadata says of the selected topics.

    Attributes:
        brokers: Where each node listens.
        topics: Numbers of the partitions of each topic.
        led: The same by the node that leads them, without those that have no leader.
        leaderless: Partitions without a leader that could be asked.
        refused: Topics that came with an error, and which.
    """

    brokers: Mapping[int, Address]
    topics: Mapping[str, Sequence[int]] = field(default_factory=dict)
    led: Mapping[int, Mapping[str, Sequence[int]]] = field(default_factory=dict)
    leaderless: Mapping[Partition, PartitionErrorReason] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def partitions(self) -> int:
        """How many partitions are selected."""
        return sum(map(len, self.topics.values()))


def read_layout(answer: Any, select: Callable[[str], bool]) -> Layout:
    """Read a metadata answer; internal topics and those not selected are left out.

    Raises:
        Failure: It names brokers that cannot be, or too many.
    """
    brokers = _brokers(answer)
    topics: dict[str, list[int]] = {}
    led: dict[int, dict[str, list[int]]] = defaultdict(dict)
    leaderless: dict[Partition, PartitionErrorReason] = {}
    refused: dict[str, str] = {}
    for error, topic, internal, partitions in answer.topics or ():
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
    return Layout(brokers, topics, dict(led), leaderless, refused)


def _brokers(answer: Any) -> dict[int, Address]:
    brokers: dict[int, Address] = {}
    for node, host, port, *_ in answer.brokers or ():
        if not host or len(host) > MAX_NAME or not 0 < port < 65536:
            raise Failure(Stage.CHECK, Reason.MALFORMED, f"broker {node} has an address that cannot be")
        brokers[node] = Address(host, port)
    if len(brokers) > MAX_BROKERS:
        raise Failure(Stage.CHECK, Reason.TOO_LARGE, f"{len(brokers)} brokers, at most {MAX_BROKERS} are asked")
    return brokers

"""A cluster: what its metadata says, and connections to its brokers, kept between attempts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiokafka.protocol.metadata import MetadataRequest

from exporter.clients.kafka.connection import Access, Connection, NoPhases
from exporter.clients.kafka.errors import PartitionFault, error_name, fault_of_code
from exporter.net.errors import timeout_reason
from exporter.net.phases import Phases
from exporter.probing.attempt import Attempt
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage

__all__ = ["MAX_BROKERS", "MAX_NAME", "Cluster", "Layout", "Partition", "read_layout"]

MAX_BROKERS = 200
"""More brokers than any cluster has; each costs a connection."""

MAX_NAME = 255
"""Longest topic or group name that becomes a label; Kafka's own limit for topics is 249."""

_STAGES = tuple(Stage)


class Partition(NamedTuple):
    """A partition of a topic."""

    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Layout:
    """What metadata says of the selected topics.

    Attributes:
        brokers: Where each node listens.
        leaders: The node that leads each partition.
        faults: Partitions without a leader that could be asked.
        refused: Topics without partitions, each with the error that it came with.
    """

    brokers: Mapping[int, Address]
    leaders: Mapping[Partition, int]
    faults: Mapping[Partition, PartitionFault] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def partitions(self) -> int:
        """How many partitions are selected."""
        return len(self.leaders) + len(self.faults)

    def by_topic(self) -> list[tuple[str, list[int]]]:
        """All selected partitions, as requests list them."""
        topics: dict[str, list[int]] = {}
        for topic, number in (*self.leaders, *self.faults):
            topics.setdefault(topic, []).append(number)
        return list(topics.items())


def read_layout(answer: Any, select: Callable[[str], bool]) -> Layout:
    """Read a metadata answer; internal topics and those not selected are left out.

    Raises:
        Failure: It names brokers that cannot be, or too many.
    """
    brokers = _brokers(answer)
    leaders: dict[Partition, int] = {}
    faults: dict[Partition, PartitionFault] = {}
    refused: dict[str, str] = {}
    for error, topic, internal, partitions in answer.topics or ():
        if not topic or internal or topic.startswith("__") or len(topic) > MAX_NAME or not select(topic):
            continue
        if error:
            refused[topic] = error_name(error)
        for fault, number, leader, *_ in partitions or ():
            if leader in brokers:
                leaders[Partition(topic, number)] = leader
            else:
                faults[Partition(topic, number)] = fault_of_code(fault or 5)
    return Layout(brokers, leaders, faults, refused)


def _brokers(answer: Any) -> dict[int, Address]:
    brokers: dict[int, Address] = {}
    for node, host, port, *_ in answer.brokers or ():
        if not host or len(host) > MAX_NAME or not 0 < port < 65536:
            raise Failure(Stage.CHECK, Reason.MALFORMED, f"broker {node} has an address that cannot be")
        brokers[node] = Address(host, port)
    if len(brokers) > MAX_BROKERS:
        raise Failure(Stage.CHECK, Reason.TOO_LARGE, f"{len(brokers)} brokers, at most {MAX_BROKERS} are asked")
    return brokers


class Cluster:
    """Connections to a cluster's brokers, by address.

    Args:
        bootstrap: Where to ask for metadata.
        access: How to get in.
    """

    def __init__(self, bootstrap: Sequence[Address], access: Access) -> None:
        self._bootstrap = bootstrap
        self._access = access
        self._kept: dict[Address, Connection] = {}
        self._closed = False

    def is_connected(self, address: Address) -> bool:
        """Say whether a connection to this address is open."""
        kept = self._kept.get(address)
        return kept is not None and kept.alive

    async def metadata(self, attempt: Attempt) -> Any:
        """Get the metadata of all topics from the first bootstrap address that answers, a connected one before others.

        Raises:
            Failure: None answered; of the failures, that which got furthest.
        """
        addresses = sorted(self._bootstrap, key=lambda address: not self.is_connected(address))
        failures: list[Failure] = []
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            try:
                # Each but the last gets its share only, so that one which hangs does not speak for the others.
                async with asyncio.timeout(attempt.remaining / left if left > 1 else None):
                    return await self._metadata_from(address, attempt)
            except Failure as failure:
                failures.append(_at(failure, str(address)) if len(addresses) > 1 else failure)
            except TimeoutError:
                failures.append(Failure(attempt.stage, timeout_reason(attempt.stage), f"{address}: no answer"))
        raise max(failures, key=lambda failure: _STAGES.index(failure.stage))

    async def on_broker(
        self, node: int, address: Address, seconds: float, work: Callable[[Connection], Awaitable[None]]
    ) -> Failure | None:
        """Do work on the connection to one broker; return how the broker failed, so that others go on.

        Args:
            node: The broker's number, for people.
            address: Where it listens.
            seconds: How long it may take, connecting included.
            work: May be done twice, where a kept connection turns out to be closed.
        """
        phases = NoPhases()
        try:
            async with asyncio.timeout(seconds):
                reused = self.is_connected(address)
                try:
                    await work(await self._connection(address, phases))
                except Failure as failure:
                    if not _was_stale(failure, reused=reused):
                        raise
                    await work(await self._connection(address, phases))
        except Failure as failure:
            return _at(failure, f"broker {node} at {address}")
        except TimeoutError:
            return Failure(phases.stage, timeout_reason(phases.stage), f"broker {node} at {address}: no answer")
        return None

    def keep_only(self, addresses: Collection[Address]) -> None:
        """Close connections to brokers that are no longer of the cluster."""
        for address in set(self._kept) - {*addresses, *self._bootstrap}:
            self._kept.pop(address).close()

    def close(self) -> None:
        """Close all connections at once, and open no more."""
        self._closed = True
        self.drop()

    def drop(self) -> None:
        """Close all connections at once; the next attempt looks anew."""
        for connection in self._kept.values():
            connection.close()
        self._kept.clear()

    async def _metadata_from(self, address: Address, attempt: Attempt) -> Any:
        reused = self.is_connected(address)
        try:
            return await self._ask_metadata(address, attempt)
        except Failure as failure:
            if not _was_stale(failure, reused=reused):
                raise
        return await self._ask_metadata(address, attempt)

    async def _ask_metadata(self, address: Address, attempt: Attempt) -> Any:
        connection = await self._connection(address, attempt)
        with attempt.phase(Stage.QUERY):
            return await connection.ask(MetadataRequest(None))

    async def _connection(self, address: Address, phases: Phases) -> Connection:
        kept = self._kept.get(address)
        if kept is not None and kept.alive:
            phases.stage = Stage.QUERY
            return kept
        if self._closed:
            raise Failure(phases.stage, Reason.CONNECTION_CLOSED, "the probe is closed")
        opened = await Connection.open(address, self._access, phases)
        other = self._kept.get(address)
        if other is not None and other.alive:  # two nodes at one address, asked side by side
            opened.close()
            return other
        self._kept[address] = opened
        return opened


def _was_stale(failure: Failure, *, reused: bool) -> bool:
    """A kept connection that the broker closed, as it does when it restarts, says nothing yet."""
    return reused and failure.reason is Reason.CONNECTION_CLOSED


def _at(failure: Failure, where: str) -> Failure:
    return Failure(failure.stage, failure.reason, f"{where}: {failure.detail}")

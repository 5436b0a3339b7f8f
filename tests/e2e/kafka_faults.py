"""Faults of a broker of Apache Kafka: the demo's own keeps every record, and knows no transactions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from exporter.demo.faults import Act, Fault
from exporter.demo.fleet import Fleet
from exporter.demo.springboot.messaging import PARTITIONS

__all__ = ["CANARY", "KAFKA_FAULTS", "make_canary"]

CANARY = "hafnium.canary"
"""The topic of the exporter's canary."""

AHEAD = 100_000
"""Messages by which a group's commits are beyond the end."""

HANGS = 3_600_000
"""Milliseconds for which the broker lets a transaction be open; brokers allow no more than 15 minutes by default."""

_open: dict[Fleet, AIOKafkaProducer] = {}


@asynccontextmanager
async def _admin(fleet: Fleet) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=fleet.broker.address)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def _outsider(fleet: Fleet, service: str) -> AsyncIterator[tuple[AIOKafkaConsumer, dict[TopicPartition, int]]]:
    """Somebody who may commit for a service's group while nobody is in it; and where the service's topic ends."""
    client = AIOKafkaConsumer(
        bootstrap_servers=fleet.broker.address, group_id=f"{service}-service", enable_auto_commit=False
    )
    await client.start()
    try:
        partitions = [TopicPartition(f"hafnium.{service}.events", number) for number in range(PARTITIONS)]
        yield client, await client.end_offsets(partitions)
    finally:
        await client.stop()


async def _consume(fleet: Fleet, service: str, *, on: bool) -> None:
    await fleet.in_thread(lambda: fleet.springboot.control(service, "consumer-stopped", on=not on))


async def _start_consumer(fleet: Fleet, service: str) -> None:
    await _consume(fleet, service, on=True)


async def _truncate(fleet: Fleet, service: str) -> None:
    """Delete what nobody has read, as retention does to a group that has stopped for too long."""
    await _consume(fleet, service, on=False)
    await asyncio.sleep(20)
    async with _outsider(fleet, service) as (_, ends), _admin(fleet) as admin:
        await admin.delete_records({at: RecordsToDelete(end) for at, end in ends.items()})


async def _commit_ahead(fleet: Fleet, service: str) -> None:
    """Leave the commits of a topic that was longer, as making it anew does."""
    await _consume(fleet, service, on=False)
    async with _outsider(fleet, service) as (client, ends):
        client.assign(list(ends))
        for _ in range(60):
            try:
                await client.commit({at: end + AHEAD for at, end in ends.items()})
            except KafkaError:  # its members have not left yet
                await asyncio.sleep(1)
            else:
                return
    raise TimeoutError(f"{service}-service does not become empty")


async def _open_transaction(fleet: Fleet, service: str) -> None:
    """Write in a transaction that is not ended."""
    producer = AIOKafkaProducer(
        bootstrap_servers=fleet.broker.address, transactional_id=f"{service}-payouts", transaction_timeout_ms=HANGS
    )
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(f"hafnium.{service}.events", b'{"id": 0, "at": 0}', partition=0)
    _open[fleet] = producer


async def _end_transaction(fleet: Fleet, _: str) -> None:
    producer = _open.pop(fleet)
    await producer.abort_transaction()
    await producer.stop()


def _letters(service: str) -> str:
    return f"hafnium.{service}.mails-dlt"


async def _leave_letters(fleet: Fleet, service: str) -> None:
    """Write dead letters of two days ago, of which nobody has seen the coming."""
    async with _admin(fleet) as admin:
        await admin.create_topics([NewTopic(_letters(service), 1, 1)])
    producer = AIOKafkaProducer(bootstrap_servers=fleet.broker.address, linger_ms=0)
    await producer.start()
    try:
        before = int((time.time() - 2 * 86400) * 1000)
        for sent in [await producer.send(_letters(service), b"{}", partition=0, timestamp_ms=before) for _ in range(3)]:
            await sent
    finally:
        await producer.stop()


async def _delete_letters(fleet: Fleet, service: str) -> None:
    async with _admin(fleet) as admin:
        await admin.delete_records({TopicPartition(_letters(service), 0): RecordsToDelete(3)})


async def make_canary(fleet: Fleet) -> None:
    """Make the topic that the exporter writes to, as the one who runs the cluster does."""
    async with _admin(fleet) as admin:
        await admin.create_topics([NewTopic(CANARY, 3, 1)])


def _largest(size: int) -> Act:
    async def act(fleet: Fleet, _: str) -> None:
        """Change how large a record of the canary's topic may be."""
        async with _admin(fleet) as admin:
            change = ConfigResource(ConfigResourceType.TOPIC, CANARY, {"max.message.bytes": str(size)})
            await admin.alter_configs([change])

    return act


_LIST = (
    Fault("writes-refused", "the broker refuses what is written to the canary's topic", _largest(10), _largest(1_000_000)),
    Fault("messages-lost", "a group has stopped, and what it has not read is deleted", _truncate, _start_consumer),
    Fault("offsets-ahead", "a group's commits are beyond the end of its topic", _commit_ahead, _start_consumer),
    Fault("transaction-open", "a producer does not end its transaction", _open_transaction, _end_transaction),
    Fault("letters-left", "dead letters of two days ago that nobody has seen to", _leave_letters, _delete_letters),
)
KAFKA_FAULTS = {fault.name: Fault(fault.name, fault.summary, fault.begin, fault.end, of_service=True) for fault in _LIST}
"""Every such fault by name."""

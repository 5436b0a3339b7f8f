"""What tests do to a cluster."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import DeleteGroupsRequest

from tests.fixtures.kafkas import KafkaCluster
from tests.waiting import eventually

__all__ = ["commit", "commit_many", "create", "delete_groups", "member", "program", "write"]


async def create(admin: AIOKafkaAdminClient, topic: str, replicas: Mapping[int, list[int]]) -> None:
    """Make a topic, with the brokers of each partition, its leader first; wait until it is there."""
    made = await admin.create_topics([NewTopic(topic, -1, -1, replica_assignments=dict(replicas))])
    assert [error for _, error, *_ in made.topic_errors] == [0], made

    async def there() -> bool:
        (described,) = await admin.describe_topics([topic])
        return not described["error_code"] and all(not each["error_code"] for each in described["partitions"])

    await eventually(there, 5, f"the topic {topic}")


async def write(producer: AIOKafkaProducer, topic: str, messages: Mapping[int, int]) -> None:
    """Write so many messages to each partition."""
    for partition, count in messages.items():
        for sent in [await producer.send(topic, b"message", partition=partition) for _ in range(count)]:
            await sent


async def commit(kafkas: KafkaCluster, group: str, topic: str, offsets: Mapping[int, int]) -> None:
    """Commit for a group that nobody is in."""
    client = AIOKafkaConsumer(bootstrap_servers=kafkas.first.address, group_id=group, enable_auto_commit=False)
    await client.start()
    try:
        partitions = {TopicPartition(topic, number): offset for number, offset in offsets.items()}
        client.assign(list(partitions))
        await client.commit(partitions)
    finally:
        await client.stop()


async def commit_many(kafkas: KafkaCluster, topic: str, offsets: Mapping[str, Mapping[int, int]]) -> None:
    """Commit for many groups, by their name."""
    for at in range(0, len(offsets), 10):
        some = list(offsets.items())[at : at + 10]
        await asyncio.gather(*(commit(kafkas, group, topic, each) for group, each in some))


async def delete_groups(kafkas: KafkaCluster, names: Sequence[str]) -> None:
    """Delete groups that nobody is in, one after the other: each broker is asked, of which one coordinates it."""
    client = AIOKafkaClient(bootstrap_servers=kafkas.first.address)
    await client.bootstrap()
    try:
        for name in names:
            said = [await client.send(node.node, DeleteGroupsRequest([name])) for node in kafkas.nodes]
            assert 0 in [error for each in said for _, error in each.results], said
    finally:
        await client.close()


@asynccontextmanager
async def member(kafkas: KafkaCluster, group: str, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A member of a group, that commits when told; it has been given its partitions."""
    client = AIOKafkaConsumer(
        topic, bootstrap_servers=kafkas.first.address, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await client.start()
    try:

        async def given() -> bool:
            return bool(client.assignment())

        await eventually(given, 10, "partitions")
        yield client
    finally:
        await client.stop()


@asynccontextmanager
async def program(command: Sequence[str]) -> AsyncIterator[None]:
    """Run one until the block ends; it is asked to end, as by somebody at a terminal."""
    running = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        running.terminate()
        await running.wait()

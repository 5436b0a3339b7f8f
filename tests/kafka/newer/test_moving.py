"""The same of Apache Kafka 4, whose coordinators are others; and of groups of its protocols."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from exporter.probing.probe import SharedClients
from exporter.probing.runner import run_probe
from tests.clients.kafka.asking import probe_of
from tests.fixtures.kafkas import KafkaCluster
from tests.kafka.doing import create, delete_groups, write
from tests.kafka.newer.test_groups import CONSUMERS, SHARE_GROUPS
from tests.kafka.test_moving import (
    TIMEOUT,
    move,
    reading,
    seen,
    test_groups_that_are_deleted_while_they_are_read_are_no_failure,
    test_while_coordinators_move_no_reading_misses_a_group_without_a_word,
)
from tests.waiting import eventually

__all__ = [
    "test_groups_that_are_deleted_while_they_are_read_are_no_failure",
    "test_while_coordinators_move_no_reading_misses_a_group_without_a_word",
]


async def test_groups_of_the_new_protocols_that_move_are_told_and_those_that_are_deleted_are_gone(
    kafkas: KafkaCluster,
    shared: SharedClients,
    admin: AIOKafkaAdminClient,
    producer: AIOKafkaProducer,
    name: str,
    tmp_path: Path,
) -> None:
    """Their coordinator answers to other requests, with another error for a group that it has not."""
    await create(admin, name, {0: [1, 2, 3]})
    await write(producer, name, {0: 9})
    reset = ("--topic", name, "--reset-offsets", "--to-earliest", "--execute")
    options = ("--topic", name, *CONSUMERS["consumer"][1:], "--from-beginning", "--max-messages", "9")
    await asyncio.gather(
        asyncio.to_thread(kafkas.tool, SHARE_GROUPS, "--group", f"{name}-shared", *reset),
        asyncio.to_thread(
            kafkas.tool, "org.apache.kafka.tools.consumer.ConsoleConsumer", "--group", f"{name}-consuming", *options
        ),
    )
    probe = probe_of(shared, kafkas.first.port, groups={"include": [f"{name}-.*"]})

    async def both() -> bool:
        outcome = await run_probe(probe, TIMEOUT)
        return outcome.parts["groups"] is None and seen(outcome, name) == 2

    await eventually(both, 20, "both groups")
    async with reading(probe) as moved:
        await move(kafkas, tmp_path, 3, (0, 1, 2))
        await move(kafkas, tmp_path, 1, (0, 1, 2))
    assert [seen(each, name) for each in moved if each.parts["groups"] is None and seen(each, name) < 2] == []
    await eventually(both, 20, "both groups again")
    async with reading(probe) as deleted:
        await delete_groups(kafkas, [f"{name}-shared", f"{name}-consuming"])
    deleted.append(await run_probe(probe, TIMEOUT))
    await probe.close()
    assert {each.parts["groups"] for each in deleted} == {None}
    assert seen(deleted[-1], name) == 0

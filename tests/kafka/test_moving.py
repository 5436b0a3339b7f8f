"""Coordinators of real Apache Kafka that move: what is not known meanwhile is told, reading by reading."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient

from exporter.clients.kafka.layout import GROUPS_TOPIC
from exporter.kafka import families as kafka
from exporter.probes.kafka import KafkaProbe
from exporter.probing.probe import SharedClients
from exporter.probing.runner import Outcome, run_probe
from tests.clients.kafka.asking import probe_of, values
from tests.fixtures.kafkas import KafkaCluster
from tests.kafka.doing import commit_many, create, delete_groups
from tests.waiting import eventually

TIMEOUT = 20.0
GROUPS = 30


def seen(outcome: Outcome, name: str) -> int:
    """How many of the test's groups are told of."""
    return sum(group.startswith(f"{name}-") for group, _ in values(outcome, kafka.VERDICT))


@asynccontextmanager
async def reading(probe: KafkaProbe) -> AsyncIterator[list[Outcome]]:
    """Read as fast as can be while the block lasts; all that was read is there after it."""
    outcomes: list[Outcome] = []
    ended = asyncio.Event()

    async def go_on() -> None:
        while not ended.is_set():
            outcomes.append(await run_probe(probe, TIMEOUT))
            await asyncio.sleep(0.001)

    task = asyncio.create_task(go_on())
    try:
        yield outcomes
    finally:
        ended.set()
        await task


async def move(kafkas: KafkaCluster, tmp_path: Path, leader: int, partitions: tuple[int, ...]) -> None:
    """Have another broker coordinate the groups of some partitions."""
    replicas = [leader, *(node.node for node in kafkas.nodes if node.node != leader)]
    wanted = [{"topic": GROUPS_TOPIC, "partition": number, "replicas": replicas} for number in partitions]
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"version": 1, "partitions": wanted}))
    tools = "org.apache.kafka.tools."
    reassign = (tools + "reassign.ReassignPartitionsCommand", "--reassignment-json-file", str(plan), "--execute")
    elect = (tools + "LeaderElectionCommand", "--election-type", "preferred", "--path-to-json-file", str(plan))
    await asyncio.to_thread(kafkas.tool, *reassign)
    await asyncio.to_thread(kafkas.tool, *elect)


async def test_while_coordinators_move_no_reading_misses_a_group_without_a_word(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, name: str, tmp_path: Path
) -> None:
    """Of one partition alone, and of all; and groups that are deleted are gone at once, which is no failure."""
    await create(admin, name, {0: [1]})
    await commit_many(kafkas, name, {f"{name}-{number}": {0: 0} for number in range(GROUPS)})
    probe = probe_of(shared, kafkas.first.port, groups={"include": [f"{name}-.*"]})
    async with reading(probe) as outcomes:
        for leader, partitions in ((2, (0,)), (1, (0, 1, 2)), (2, (0, 1, 2)), (1, (1,))):
            await move(kafkas, tmp_path, leader, partitions)
    silent = [seen(each, name) for each in outcomes if each.parts["groups"] is None and seen(each, name) < GROUPS]
    assert not silent, f"{len(silent)} of {len(outcomes)} readings miss groups and do not say so"
    assert {at for each in outcomes for group, at, _ in values(each, kafka.COORDINATOR) if group == f"{name}-0"} == {
        "1",
        "2",
    }

    async def whole() -> bool:
        outcome = await run_probe(probe, TIMEOUT)
        return outcome.parts["groups"] is None and seen(outcome, name) == GROUPS

    await eventually(whole, 20, "all groups again")
    await delete_groups(kafkas, [f"{name}-{number}" for number in range(5)])
    outcome = await run_probe(probe, TIMEOUT)
    await probe.close()
    assert (outcome.parts["groups"], seen(outcome, name)) == (None, GROUPS - 5)


async def test_groups_that_are_deleted_while_they_are_read_are_no_failure(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, name: str
) -> None:
    """As a test run does that makes and deletes hundreds."""
    await create(admin, name, {0: [1]})
    probe = probe_of(shared, kafkas.first.port, groups={"include": [f"{name}-.*"]})
    for turn in range(3):
        names = [f"{name}-{turn}-{number}" for number in range(20)]
        await commit_many(kafkas, name, {group: {0: 0} for group in names})
        async with reading(probe) as outcomes:
            await delete_groups(kafkas, names)
        outcomes.append(await run_probe(probe, TIMEOUT))
        assert {each.parts["groups"] for each in outcomes} == {None}
        assert seen(outcomes[-1], name) == 0
    await probe.close()

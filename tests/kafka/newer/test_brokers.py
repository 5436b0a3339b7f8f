"""Three brokers of Apache Kafka 4: leaders move, one is lost, and what is told stays right."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from exporter.clients.kafka.layout import GROUPS_TOPIC
from exporter.kafka import families as kafka
from exporter.probing.probe import SharedClients
from exporter.probing.runner import Outcome, run_probe
from exporter.verdict import Verdict
from tests.clients.kafka.asking import descriptors, probe_of, values
from tests.fixtures.kafkas import KafkaCluster, KafkaNode
from tests.kafka.doing import commit, commit_many, create, write
from tests.waiting import eventually

PARTITIONS = 6

KEPT_IN = 3
"""Partitions in which the clusters of tests keep their groups."""

HURTS: dict[str, tuple[Callable[[KafkaNode], None], Callable[[KafkaNode], None]]] = {
    "hung": (KafkaNode.pause, KafkaNode.resume),
    "killed": (KafkaNode.kill, KafkaNode.start),
}


def move_leaders(kafkas: KafkaCluster, topic: str, replicas: Sequence[Sequence[int]], file: Path) -> None:
    """Have other replicas preferred, and make them leaders, as an operator does before maintenance."""
    moves = [{"topic": topic, "partition": number, "replicas": list(on)} for number, on in enumerate(replicas)]
    file.write_text(json.dumps({"version": 1, "partitions": moves}))
    at = "--reassignment-json-file", str(file)
    kafkas.tool("org.apache.kafka.tools.reassign.ReassignPartitionsCommand", *at, "--execute")
    file.write_text(json.dumps({"partitions": [{"topic": topic, "partition": number} for number in range(len(replicas))]}))
    at = "--path-to-json-file", str(file)
    kafkas.tool("org.apache.kafka.tools.LeaderElectionCommand", "--election-type", "preferred", *at)


@pytest.mark.parametrize("how", ["elected", "reassigned"])
async def test_a_planned_move_of_leaders_costs_a_reading_of_its_partitions_at_most(
    kafkas: KafkaCluster,
    shared: SharedClients,
    admin: AIOKafkaAdminClient,
    producer: AIOKafkaProducer,
    name: str,
    how: str,
    tmp_path: Path,
) -> None:
    """Readings go on all the while: no lag is ever wrong, none is missing twice, and the cluster is up."""
    copies = {"elected": 3, "reassigned": 1}[how]  # with one copy the log itself moves
    before = [[1 + (number + copy) % 3 for copy in range(copies)] for number in range(PARTITIONS)]
    after = [[1 + (number + copy + 1) % 3 for copy in range(copies)] for number in range(PARTITIONS)]
    await create(admin, name, dict(enumerate(before)))
    await write(producer, name, {number: 3 + number for number in range(PARTITIONS)})
    await commit(kafkas, name, name, dict.fromkeys(range(PARTITIONS), 1))
    expected: dict[tuple[str, ...], float] = {(name, name, str(number)): 2 + number for number in range(PARTITIONS)}
    probe = probe_of(shared, kafkas.first.port)
    moving = asyncio.create_task(asyncio.to_thread(move_leaders, kafkas, name, after, tmp_path / "moves.json"))
    readings = [await run_probe(probe, 5.0)]

    async def moved() -> bool:
        readings.append(await run_probe(probe, 5.0))
        (described,) = await admin.describe_topics([name])
        return moving.done() and all(each["leader"] == after[each["partition"]][0] for each in described["partitions"])

    try:
        await eventually(moved, 20, "moved")
    finally:
        await moving
    readings += [await run_probe(probe, 5.0) for _ in range(2)]
    await probe.close()
    await admin.delete_topics([name])  # what has one copy is offline where another test stops a broker
    missed: set[tuple[str, ...]] = set()
    for outcome in readings:
        assert outcome.verdict is Verdict.UP
        lags = {at: lag for at, lag in values(outcome, kafka.LAG).items() if at[0] == name}
        assert lags.items() <= expected.items()
        missing = expected.keys() - lags.keys()
        assert not missing & missed, "a partition was missed twice in a row"
        told = {at[:2] for at in values(outcome, kafka.PARTITION_ERROR)}
        assert {(name, number) for _, _, number in missing} <= told
        assert (outcome.parts["offsets"] is None) is (not told)
        assert outcome.parts["groups"] is None
        missed = missing
    assert not missed
    assert len(readings) > 3


async def test_a_coordinator_that_moves_costs_a_reading_of_its_groups_at_most(
    kafkas: KafkaCluster,
    shared: SharedClients,
    admin: AIOKafkaAdminClient,
    producer: AIOKafkaProducer,
    name: str,
    tmp_path: Path,
) -> None:
    """Twice, while readings go on: no lag is ever wrong, what is missing is told, and then the new one answers for all."""
    await create(admin, name, {0: [1, 2, 3]})
    await write(producer, name, {0: 50})
    names = [f"{name}-{number}" for number in range(30)]
    await commit_many(kafkas, name, {group: {0: number} for number, group in enumerate(names)})
    expected: dict[tuple[str, ...], float] = {(group, name, "0"): 50.0 - number for number, group in enumerate(names)}
    probe = probe_of(shared, kafkas.first.port, groups={"include": [f"{name}-.*"]}, topics={"include": [name]})
    readings: list[Outcome] = []

    async def led_by(node: int) -> bool:
        readings.append(await run_probe(probe, 5.0))
        last = readings[-1]
        everything = values(last, kafka.LAG) == expected and last.parts["groups"] is None
        return everything and {at[1] for at in values(last, kafka.COORDINATOR)} == {str(node)}

    for first in (2, 3, 1):
        others = [node for node in (1, 2, 3) if node != first]
        moving = asyncio.create_task(
            asyncio.to_thread(move_leaders, kafkas, GROUPS_TOPIC, [[first, *others]] * KEPT_IN, tmp_path / "moves.json")
        )
        try:
            await eventually(partial(led_by, first), 20, "moved")
        finally:
            await moving
    await probe.close()
    for outcome in readings:
        assert outcome.verdict is Verdict.UP
        lags = values(outcome, kafka.LAG)
        assert lags.items() <= expected.items()
        assert lags.keys() == expected.keys() or outcome.parts["groups"] is not None
    assert len(readings) > 3


@pytest.mark.parametrize("how", HURTS)
async def test_one_of_three_brokers_is_lost_and_all_of_it_is_read_from_the_others(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer, name: str, how: str
) -> None:
    """Leaders and coordinators move: what is told at once is right, soon all is, and all is well when it is back."""
    hurt, heal = HURTS[how]
    third = kafkas.nodes[2]
    await create(admin, name, {number: [1 + (number + copy) % 3 for copy in range(3)] for number in range(PARTITIONS)})
    await write(producer, name, {number: 3 + number for number in range(PARTITIONS)})
    groups = [f"{name}-{number}" for number in range(4)]
    for group in groups:
        await commit(kafkas, group, name, dict.fromkeys(range(PARTITIONS), 1))
    expected = {(group, name, str(number)): 2 + number for group in groups for number in range(PARTITIONS)}
    probe = probe_of(shared, kafkas.first.port, topics={"include": [name]})

    async def look(missing: int) -> Outcome | None:
        outcome = await run_probe(probe, 5.0)
        assert outcome.verdict is Verdict.UP
        lags = {at: lag for at, lag in values(outcome, kafka.LAG).items() if at[1] == name}
        assert lags.items() <= expected.items()
        whole = lags == expected and set(outcome.parts.values()) == {None}
        up = values(outcome, kafka.BROKER_UP)[("3",)] == 1 - missing
        return outcome if whole and up and bool(values(outcome, kafka.UNDER_REPLICATED)[()]) is bool(missing) else None

    await eventually(lambda: look(0), 10, "whole")
    open_before = descriptors()
    hurt(third)
    try:
        at_once = await run_probe(probe, 5.0)
        after = cast(Outcome, await eventually(lambda: look(1), 15, "read from the others"))
    finally:
        heal(third)
    await eventually(lambda: look(0), 15, "whole again")
    await probe.close()
    assert at_once.verdict is Verdict.UP
    assert values(at_once, kafka.BROKER_UP) == values(after, kafka.BROKER_UP) == {("1",): 1, ("2",): 1, ("3",): 0}
    assert {at: lag for at, lag in values(at_once, kafka.LAG).items() if at[1] == name}.items() <= expected.items()
    assert values(after, kafka.OFFLINE)[()] == 0
    assert descriptors() <= open_before

"""Groups of every kind on Apache Kafka 4: what the probe says is what Kafka's own tools say."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from exporter.kafka import families as kafka
from exporter.probing.probe import SharedClients
from exporter.probing.runner import Outcome, run_probe
from exporter.verdict import Verdict
from tests.clients.kafka.asking import probe_of, values
from tests.fixtures.kafkas import KafkaCluster
from tests.kafka.doing import commit, commit_many, create, member, program, write
from tests.kafka.test_groups import verdict_of
from tests.waiting import eventually

TIMEOUT = 20.0

CONSUMERS = {
    "consumer": ("ConsoleConsumer", "--consumer-property", "group.protocol=consumer"),
    "share": ("ConsoleShareConsumer",),
}
"""Consumers of the new protocols, by the kind of their group."""


async def test_lag_is_what_kafka_consumer_groups_says(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer, name: str
) -> None:
    """Of groups that three brokers coordinate, in every partition; a member of the old protocol is seen as before."""
    await create(admin, name, {number: [1 + number % 3, 1 + (number + 1) % 3] for number in range(6)})
    await write(producer, name, {number: 5 * number for number in range(6)})
    for number in range(4):
        await commit(kafkas, f"{name}-{number}", name, {at: 2 * number + at for at in range(number, 6)})
    async with member(kafkas, f"{name}-member", name):
        probe = probe_of(shared, kafkas.first.port)
        outcome = await run_probe(probe, TIMEOUT)
        await probe.close()
        told = await asyncio.to_thread(kafkas.lags)
    assert outcome.verdict is Verdict.UP
    assert dict(outcome.parts) == {"groups": None, "offsets": None}
    shared_by = {at[0] for at in values(outcome, kafka.SHARE_START)}  # the tool tells nothing of share groups
    lags = {at: lag for at, lag in values(outcome, kafka.LAG).items() if at[0] not in shared_by}
    assert lags == {at: lag for at, lag in told.items() if lag is not None}
    assert len([at for at in told if at[1] == name]) == 6 + 5 + 4 + 3 + 6
    assert values(outcome, kafka.MEMBERS)[f"{name}-member",] == 1
    assert values(outcome, kafka.UNCOMMITTED)[f"{name}-member", name] == 6


async def test_lags_of_both_protocols_are_what_kafka_consumer_groups_says(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer, name: str
) -> None:
    """Of many classic groups and some of the new protocol, asked for together."""
    await create(admin, name, {number: [1 + number % 3] for number in range(3)})
    await write(producer, name, dict.fromkeys(range(3), 40))
    await commit_many(
        kafkas, name, {f"{name}-{group}": {at: group + at for at in range(group % 3, 3)} for group in range(30)}
    )
    options = ("--topic", name, *CONSUMERS["consumer"][1:], "--consumer-property", "auto.offset.reset=earliest")
    reader = "org.apache.kafka.tools.consumer.ConsoleConsumer"
    for group, count in ((f"{name}-left", "17"), (f"{name}-in", "25")):
        await asyncio.to_thread(kafkas.tool, reader, "--group", group, *options, "--max-messages", count)
    told = await asyncio.to_thread(kafkas.lags)
    told = {at: lag for at, lag in told.items() if at[1] == name and lag is not None}
    probe = probe_of(shared, kafkas.first.port, topics={"include": [name]})
    outcome = await run_probe(probe, TIMEOUT)
    await probe.close()
    assert dict(outcome.parts) == {"groups": None, "offsets": None}
    assert values(outcome, kafka.LAG) == told
    assert {at[0] for at in told} >= {f"{name}-left", f"{name}-in", f"{name}-29"}
    assert values(outcome, kafka.TOPIC_LAG)[f"{name}-left", name] == 120 - 17


@pytest.mark.parametrize("kind", CONSUMERS)
async def test_a_group_of_a_new_protocol_has_state_and_members_and_is_empty_once_they_leave(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, name: str, kind: str
) -> None:
    """A consumer that runs and one that was stopped do not look alike."""
    await create(admin, name, {0: [1, 2, 3], 1: [2, 3, 1]})
    probe = probe_of(shared, kafkas.first.port)

    async def of_members(count: int) -> Outcome | None:
        outcome = await run_probe(probe, TIMEOUT)
        return outcome if values(outcome, kafka.MEMBERS).get((name,)) == count else None

    tool, *options = CONSUMERS[kind]
    command = kafkas.tool_command(f"org.apache.kafka.tools.consumer.{tool}", "--topic", name, "--group", name, *options)
    async with program(command):
        running = cast(Outcome, await eventually(lambda: of_members(1), 20, "one member"))
    left = cast(Outcome, await eventually(lambda: of_members(0), 20, "no member"))
    await probe.close()
    assert dict(running.parts) == dict(left.parts) == {"groups": None, "offsets": None}
    assert [state for group, state in values(running, kafka.STATE) if group == name] in (["stable"], ["reconciling"])
    assert [state for group, state in values(left, kafka.STATE) if group == name] == ["empty"]
    assert verdict_of(left, name) == "empty"


async def test_the_backlog_of_share_groups_is_what_kafka_share_groups_says(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer, name: str
) -> None:
    """Of a group that somebody has read for and of one at the beginning; nobody is in them, so both have stopped."""
    await create(admin, name, {0: [1, 2, 3], 1: [2, 3, 1], 2: [3, 1, 2]})
    await write(producer, name, {0: 20, 1: 7})
    groups = [f"{name}-{number}" for number in range(2)]
    for group in groups:
        await asyncio.to_thread(
            kafkas.tool, SHARE_GROUPS, "--group", group, "--topic", name, "--reset-offsets", "--to-earliest", "--execute"
        )
    reader = ("--topic", name, "--group", groups[0], "--max-messages", "9", "--timeout-ms", "30000")
    await asyncio.to_thread(kafkas.tool, "org.apache.kafka.tools.consumer.ConsoleShareConsumer", *reader)
    probe = probe_of(shared, kafkas.first.port, topics={"include": [name]})

    async def settled() -> tuple[Outcome, dict[tuple[str, ...], tuple[float, float]]] | None:
        """What a consumer acquired and gave back when it left is counted a moment later."""
        outcome = await run_probe(probe, TIMEOUT)
        told = await asyncio.to_thread(shares, kafkas, name)
        starts, lags = values(outcome, kafka.SHARE_START), values(outcome, kafka.LAG)
        return (outcome, told) if {at: (starts[at], lags[at]) for at in starts} == told else None

    found = await eventually(settled, 10, "as the tool says")
    assert found is not None
    outcome, told = found
    await probe.close()
    assert dict(outcome.parts) == {"groups": None, "offsets": None}
    assert {at for at, _ in told.items()} == {(group, name, str(number)) for group in groups for number in range(3)}
    assert told[groups[1], name, "0"] == (0, 20)
    assert values(outcome, kafka.TOPIC_LAG)[groups[1], name] == 27
    assert 0 < values(outcome, kafka.TOPIC_LAG)[groups[0], name] < 27
    assert {verdict_of(outcome, group) for group in groups} == {"stopped"}
    assert values(outcome, kafka.TOPIC_LAG_SECONDS)[groups[1], name] > 0


SHARE_GROUPS = "org.apache.kafka.tools.consumer.group.ShareGroupCommand"


def shares(kafkas: KafkaCluster, topic: str) -> dict[tuple[str, ...], tuple[float, float]]:
    """Ask kafka-share-groups for start and lag by group, topic and partition."""
    rows = [line.split() for line in kafkas.tool(SHARE_GROUPS, "--describe", "--all-groups").splitlines()]
    of_topic = [row for row in rows if len(row) == 5 and row[1] == topic]
    return {(group, of, number): (float(start), float(lag)) for group, of, number, start, lag in of_topic}

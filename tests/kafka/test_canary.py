"""The canary on real Apache Kafka: written, read again, and what is told where that does not work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pydantic import ValidationError

from exporter.kafka import families as kafka
from exporter.probes.kafka import KafkaSettings
from exporter.probing.probe import SharedClients
from exporter.probing.runner import Outcome, run_probe
from exporter.verdict import Reason, Stage, Verdict
from tests.clients.kafka.asking import descriptors, once, part, probe_of, values
from tests.fixtures.kafkas import KafkaCluster, KafkaNode
from tests.kafka.doing import commit, create, write
from tests.kafka.test_rights import LOGIN
from tests.waiting import eventually

TIMEOUT = 20.0
STAGES = ("produce", "fetch", "end_to_end")


def flying(topic: str) -> dict[str, Any]:
    return {"canary": {"topic": topic}}


def flown(outcome: Outcome) -> dict[str, float]:
    return {partition: well for (partition,), well in values(outcome, kafka.CANARY).items()}


async def read(kafkas: KafkaCluster, topic: str, number: int) -> list[tuple[bytes | None, bytes | None]]:
    """Read all of a partition, as anybody would."""
    client = AIOKafkaConsumer(bootstrap_servers=kafkas.first.address, auto_offset_reset="earliest")
    await client.start()
    try:
        at = TopicPartition(topic, number)
        client.assign([at])
        end = (await client.end_offsets([at]))[at]
        found: list[tuple[bytes | None, bytes | None]] = []
        while len(found) < end:
            found += [(record.key, record.value) for record in (await client.getmany(timeout_ms=1000)).get(at, [])]
        return found
    finally:
        await client.stop()


async def test_a_record_of_each_partition_is_written_read_and_timed_at_each_leader(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, name: str
) -> None:
    """One in each attempt; the topic need not be among those looked at, and nobody is in a group for it."""
    await create(admin, name, {0: [1, 2], 1: [2, 1], 2: [1, 2]})
    probe = probe_of(shared, kafkas.first.port, topics={"exclude": [name]}, **flying(name))
    outcomes = [await run_probe(probe, TIMEOUT) for _ in range(2)]
    await probe.close()
    for outcome in outcomes:
        assert outcome.verdict is Verdict.UP
        assert part(outcome, "canary") is None
        assert flown(outcome) == {"0": 1, "1": 1, "2": 1}
        seconds = values(outcome, kafka.CANARY_SECONDS)
        assert seconds.keys() == {(broker, stage) for broker in "12" for stage in STAGES}
        for broker in "12":
            produce, fetch, whole = (seconds[broker, stage] for stage in STAGES)
            assert 0 < produce < produce + fetch == whole < TIMEOUT
        assert not [at for at in values(outcome, kafka.END_OFFSET) if at[0] == name]
    written = [await read(kafkas, name, number) for number in range(3)]
    assert [len(records) for records in written] == [2, 2, 2]
    assert len({value for records in written for _, value in records}) == 6
    assert {key for records in written for key, _ in records} == {written[0][0][0]}
    assert name not in {group for group, _ in await admin.list_consumer_groups()}


async def test_nothing_is_written_unless_it_is_asked_for(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, name: str
) -> None:
    await create(admin, name, {0: [1]})
    outcome = await once(shared, kafkas.first.port, timeout=TIMEOUT)
    assert "canary" not in outcome.parts
    assert not flown(outcome)
    assert values(outcome, kafka.END_OFFSET)[name, "0"] == 0


async def test_a_topic_that_is_not_there_is_told_and_never_made(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, name: str
) -> None:
    """The brokers make topics at the first wrong question. Made by a person and deleted again, it stays away too."""
    probe = probe_of(shared, kafkas.first.port, **flying(name))
    before = await run_probe(probe, TIMEOUT)
    await create(admin, name, {0: [1]})
    there = await run_probe(probe, TIMEOUT)
    await admin.delete_topics([name])
    after = [await run_probe(probe, TIMEOUT) for _ in range(2)]
    await probe.close()
    for outcome in (before, *after):
        assert outcome.verdict is Verdict.UP
        assert part(outcome, "canary") == (Stage.CHECK, Reason.QUERY_FAILED)
        assert f"topic {name}: not there" in str(outcome.parts["canary"])
        assert not flown(outcome)
    assert flown(there) == {"0": 1}
    assert name not in await admin.list_topics()


async def test_the_rights_on_its_topic_alone_are_enough_and_each_that_is_missing_is_told(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, name: str
) -> None:
    """None, to describe it, to write, to read too: until then it is unknown, and no fault of the cluster's."""

    async def look() -> Outcome:
        outcome = await once(shared, kafkas.first.sasl_port, timeout=TIMEOUT, security=LOGIN, **flying(name))
        assert outcome.verdict is Verdict.UP
        return outcome

    await create(admin, name, {0: [1], 1: [2]})
    try:
        for right in ("Describe", "Write"):
            refused = await look()
            assert part(refused, "canary") == (Stage.CHECK, Reason.AUTH), right
            assert not flown(refused)
            await asyncio.to_thread(kafkas.allow, "--operation", right, "--topic", name)
        unread = await look()
        assert part(unread, "canary") == (Stage.CHECK, Reason.AUTH)
        assert "reading" in str(unread.parts["canary"])
        assert not flown(unread)
        await asyncio.to_thread(kafkas.allow, "--operation", "Read", "--topic", name)
        assert flown(await look()) == {"0": 1, "1": 1}
    finally:
        await asyncio.to_thread(kafkas.take_back, "--topic", name)


async def test_too_few_replicas_are_told_until_there_are_enough(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, name: str
) -> None:
    """The leader answers, and refuses: fewer are in sync than the topic wants. Where one is enough, it goes on."""
    whole, half = name, f"{name}-half"
    for topic, least in ((whole, 2), (half, 1)):
        await create(admin, topic, {0: [1, 2]})
        await configure(kafkas, topic, f"min.insync.replicas={least}")
    probe, other = (probe_of(shared, kafkas.first.port, **flying(topic)) for topic in (whole, half))

    async def refused() -> Outcome | None:
        outcome = await run_probe(probe, 10.0)
        return outcome if "NOT_ENOUGH_REPLICAS" in str(outcome.parts["canary"]) else None

    async def taken() -> bool:
        return flown(await run_probe(probe, 10.0)) == {"0": 1}

    await eventually(taken, 3, "a canary")
    kafkas.nodes[1].kill()
    try:
        outcome = cast(Outcome, await eventually(refused, 5, "refused"))
        goes_on = await run_probe(other, 10.0)
    finally:
        kafkas.nodes[1].start()
    await eventually(taken, 5, "a canary again")
    await probe.close()
    await other.close()
    assert outcome.verdict is Verdict.UP
    assert part(outcome, "canary") == (Stage.CHECK, Reason.QUERY_FAILED)
    assert flown(outcome) == {"0": 0}
    assert not values(outcome, kafka.CANARY_SECONDS)
    assert flown(goes_on) == {"0": 1}


HURTS: dict[str, tuple[Callable[[KafkaNode], None], Callable[[KafkaNode], None]]] = {
    "hung": (KafkaNode.pause, KafkaNode.resume),
    "killed": (KafkaNode.kill, KafkaNode.start),
}


@pytest.mark.parametrize("how", HURTS)
async def test_a_broker_that_is_lost_fails_its_partitions_and_lag_is_read_as_before(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer, name: str, how: str
) -> None:
    """At once, and once nobody leads its partitions; when it is back all is well, and no connection is left."""
    hurt, heal = HURTS[how]
    orders = f"{name}-orders"
    await create(admin, name, {0: [1], 1: [2]})
    await create(admin, orders, {0: [1]})
    await write(producer, orders, {0: 9})
    await commit(kafkas, name, orders, {0: 2})
    probe = probe_of(shared, kafkas.first.port, **flying(name))

    async def whole() -> Outcome | None:
        outcome = await run_probe(probe, 5.0)
        return outcome if flown(outcome) == {"0": 1, "1": 1} and set(outcome.parts.values()) == {None} else None

    async def leaderless() -> Outcome | None:
        outcome = await run_probe(probe, 5.0)
        known = (name, orders, "0") in values(outcome, kafka.LAG)  # its coordinator may have been the one that is lost
        return outcome if known and part(outcome, "canary") == (Stage.CHECK, Reason.NO_LEADER) else None

    await eventually(whole, 3, "whole")
    open_before = descriptors()
    hurt(kafkas.nodes[1])
    try:
        at_once = await run_probe(probe, 5.0)
        after = cast(Outcome, await eventually(leaderless, 5, "leaderless"))
    finally:
        heal(kafkas.nodes[1])
    await eventually(whole, 5, "whole again")
    await probe.close()
    for outcome in (at_once, after):
        assert outcome.verdict is Verdict.UP
        assert flown(outcome) == {"0": 1, "1": 0}
        assert part(outcome, "canary") is not None
        assert values(outcome, kafka.END_OFFSET)[orders, "0"] == 9
        assert {broker for broker, _ in values(outcome, kafka.CANARY_SECONDS)} == {"1"}
    assert values(after, kafka.LAG)[name, orders, "0"] == 7
    assert descriptors() <= open_before


async def test_a_slow_broker_is_seen_in_its_time(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, name: str
) -> None:
    """It answers, late: no failure, and the others' times are as before."""
    await create(admin, name, {0: [1], 1: [2]})
    probe = probe_of(shared, kafkas.first.port, **flying(name))

    async def late() -> Outcome | None:
        outcome = await run_probe(probe, TIMEOUT)
        whole = {broker: values(outcome, kafka.CANARY_SECONDS).get((broker, "end_to_end"), 0.0) for broker in "12"}
        return outcome if whole["2"] > 0.4 and whole["2"] > 2 * whole["1"] else None

    await run_probe(probe, TIMEOUT)
    kafkas.nodes[1].slow()
    try:
        outcome = cast(Outcome, await eventually(late, 10, "a late canary"))
    finally:
        kafkas.nodes[1].resume()
    await probe.close()
    assert flown(outcome) == {"0": 1, "1": 1}
    assert part(outcome, "canary") is None


@pytest.mark.parametrize("config", ["cleanup.policy=compact", "message.timestamp.type=LogAppendTime"])
async def test_topics_of_other_kinds_take_it_too(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, name: str, config: str
) -> None:
    key, _, value = config.partition("=")
    await admin.create_topics([NewTopic(name, 1, 1, topic_configs={key: value})])

    async def flies() -> bool:
        return flown(await once(shared, kafkas.first.port, timeout=TIMEOUT, **flying(name))) == {"0": 1}

    await eventually(flies, 5, "a canary")


@pytest.mark.parametrize(("key", "value"), [("compression.type", "gzip"), ("max.message.bytes", "100")])
async def test_a_topic_that_is_not_fit_for_a_canary_says_nothing_of_others(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, name: str, key: str, value: str
) -> None:
    """What a few packed bytes become is not known before, so they are not unpacked; the words say what to set."""
    await admin.create_topics([NewTopic(name, 1, 1, topic_configs={key: value})])

    async def refused() -> Outcome | None:
        outcome = await once(shared, kafkas.first.port, timeout=TIMEOUT, **flying(name))
        return outcome if key in str(outcome.parts["canary"]) else None

    outcome = cast(Outcome, await eventually(refused, 5, "refused"))
    assert part(outcome, "canary") == (Stage.CHECK, Reason.QUERY_FAILED)
    assert not flown(outcome)


@pytest.mark.parametrize("topic", ["", "__consumer_offsets", "with space", "x" * 250])
def test_topics_that_would_not_do_are_refused(topic: str) -> None:
    with pytest.raises(ValidationError):
        KafkaSettings.model_validate(flying(topic))


async def configure(kafkas: KafkaCluster, topic: str, config: str) -> None:
    """Change a topic's configuration, in the words of kafka-configs."""
    what = ("--alter", "--entity-type", "topics", "--entity-name", topic, "--add-config", config)
    await asyncio.to_thread(kafkas.tool, "kafka.admin.ConfigCommand", *what)

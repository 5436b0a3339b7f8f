"""What happens to topics of Apache Kafka 4 under a group: retention, compaction, made anew, too few replicas."""

from __future__ import annotations

import asyncio
import time
from typing import cast

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.errors import KafkaError

from exporter.kafka import families as kafka
from exporter.probing.probe import SharedClients
from exporter.probing.runner import Outcome, run_probe
from exporter.verdict import Verdict
from tests.clients.kafka.asking import once, probe_of, values
from tests.fixtures.kafkas import PASSWORD, USER, KafkaCluster
from tests.kafka.doing import commit, create, write
from tests.kafka.test_groups import verdict_of
from tests.waiting import eventually

TIMEOUT = 20.0
COPIED = {0: [1, 2, 3]}


async def test_what_retention_took_before_it_was_read_is_told(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer, name: str
) -> None:
    """Kafka's tool counts what is no more as lag; the probe says too how much of it is lost, and what is next."""
    await create(admin, name, COPIED)
    await write(producer, name, {0: 100})
    await commit(kafkas, f"{name}-late", name, {0: 5})
    await commit(kafkas, f"{name}-near", name, {0: 95})
    await admin.delete_records({TopicPartition(name, 0): RecordsToDelete(before_offset=60)})
    outcome = await once(shared, kafkas.first.port, timeout=TIMEOUT)
    told = await asyncio.to_thread(kafkas.lags)
    for group, lost, margin, lag in ((f"{name}-late", 55, 0, 95), (f"{name}-near", 0, 35, 5)):
        assert values(outcome, kafka.LOST)[group, name] == lost
        assert values(outcome, kafka.MARGIN)[group, name] == margin
        assert values(outcome, kafka.LAG)[group, name, "0"] == told[group, name, "0"] == lag
        assert values(outcome, kafka.TOPIC_LAG_SECONDS)[group, name] < 120


async def test_a_compacted_topic_has_the_lag_and_the_age_of_its_offsets(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer, name: str
) -> None:
    """The record at the commit is gone: the lag is what Kafka's tool says, and the age is still known."""
    configs = {
        "cleanup.policy": "compact",
        "segment.ms": "1",
        "min.cleanable.dirty.ratio": "0.01",
        "segment.bytes": "1048576",
    }
    await admin.create_topics([NewTopic(name, -1, -1, replica_assignments=dict(COPIED), topic_configs=configs)])
    for number in range(60):
        await producer.send_and_wait(name, b"value", key=f"key-{number % 3}".encode(), partition=0)
    await commit(kafkas, name, name, {0: 10})

    async def compacted() -> bool:
        """Whether what is before the last records of each key is gone: nothing between 10 and 40 is left."""
        await producer.send_and_wait(name, b"value", key=b"key-0", partition=0)
        first = await asyncio.to_thread(first_key_from, kafkas, name, 10)
        return first >= 40

    await eventually(compacted, 30, "compacted")
    probe = probe_of(shared, kafkas.first.port, topics={"include": [name]})
    for _ in range(3):  # it takes some questions to see that nothing before it is left
        outcome = await run_probe(probe, TIMEOUT)
    await probe.close()
    told = await asyncio.to_thread(kafkas.lags)
    assert values(outcome, kafka.LAG)[name, name, "0"] == told[name, name, "0"]
    assert values(outcome, kafka.LAG)[name, name, "0"] >= 50
    assert 0 < values(outcome, kafka.TOPIC_LAG_SECONDS)[name, name] < 300
    assert values(outcome, kafka.LOST)[name, name] == 0


def first_key_from(kafkas: KafkaCluster, topic: str, offset: int) -> int:
    """Return the offset of the first record from one on, by Kafka's console consumer."""
    said = kafkas.tool(
        "org.apache.kafka.tools.consumer.ConsoleConsumer", "--topic", topic, "--partition", "0", "--offset", str(offset),
        "--max-messages", "1", "--formatter-property", "print.offset=true", "--timeout-ms", "10000",
    )  # fmt: skip
    return int(said.split()[0].removeprefix("Offset:"))


async def test_a_topic_made_anew_under_its_group_begins_anew_though_its_log_is_longer(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer, name: str
) -> None:
    """Between two readings: its old commits are gone with it, and a lower one is no step back."""
    await create(admin, name, COPIED)
    await write(producer, name, {0: 20})
    await commit(kafkas, name, name, {0: 15})
    probe = probe_of(shared, kafkas.first.port, topics={"include": [name]}, window=600)
    await run_probe(probe, TIMEOUT)
    await write(producer, name, {0: 1})
    before = await run_probe(probe, TIMEOUT)
    await admin.delete_topics([name])

    async def deleted() -> bool:
        return name not in await admin.list_topics()

    await eventually(deleted, 5, "deleted")
    await create(admin, name, {0: [2, 3, 1]})
    await producer.stop()  # it knows the old topic
    async with AIOKafkaProducer(bootstrap_servers=kafkas.first.address, acks="all") as another:
        await write(another, name, {0: 50})
    await commit(kafkas, name, name, {0: 3})
    after = await run_probe(probe, TIMEOUT)
    again = await run_probe(probe, TIMEOUT)
    await probe.close()
    assert values(before, kafka.LAG)[name, name, "0"] == 6
    for outcome in (after, again):
        assert values(outcome, kafka.LAG)[name, name, "0"] == 47
        assert verdict_of(outcome, name) == "stopped"
        assert values(outcome, kafka.STANDING_SECONDS)[name, name] == 0
    assert values(again, kafka.TOPIC_LAG_SECONDS)[name, name] < 60


async def test_partitions_under_their_minimum_are_what_kafka_topics_says(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer, name: str
) -> None:
    """One of three brokers is gone, and a topic wants all three: what must be on all replicas is refused, and told."""
    wants = NewTopic(
        name, -1, -1, replica_assignments={0: [1, 2, 3], 1: [2, 3, 1]}, topic_configs={"min.insync.replicas": "3"}
    )
    await admin.create_topics([wants])
    await create(admin, f"{name}-easy", COPIED)
    await write(producer, name, {0: 1, 1: 1})
    probe = probe_of(shared, kafkas.first.port)

    async def told(count: int) -> Outcome | None:
        outcome = await run_probe(probe, TIMEOUT)
        assert outcome.verdict is Verdict.UP
        lacking = values(outcome, kafka.UNDER_REPLICATED)[()]
        return outcome if values(outcome, kafka.UNDER_MIN_ISR) == {(): count} and bool(lacking) is bool(count) else None

    well = cast(Outcome, await eventually(lambda: told(0), 10, "well"))
    kafkas.nodes[2].kill()
    try:
        await eventually(lambda: told(2), 15, "told")
        said = await asyncio.to_thread(
            kafkas.tool, "org.apache.kafka.tools.TopicCommand", "--describe", "--under-min-isr-partitions"
        )
        impatient = AIOKafkaProducer(bootstrap_servers=kafkas.first.address, acks="all", request_timeout_ms=3000)
        async with impatient:
            with pytest.raises(KafkaError):
                await impatient.send_and_wait(name, b"refused", partition=0)
            await impatient.send_and_wait(f"{name}-easy", b"taken", partition=0)
    finally:
        kafkas.nodes[2].start()
    await eventually(lambda: told(0), 15, "well again")
    await probe.close()
    assert values(well, kafka.UNKNOWN_MIN_ISR) == {(): 0}
    assert len([line for line in said.splitlines() if f"Topic: {name}\t" in line]) == 2
    assert f"{name}-easy" not in said


async def test_a_minimum_that_may_not_be_seen_is_told(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, name: str
) -> None:
    """Without the right to describe the configuration of topics; with it, of each topic that it is given for."""
    await create(admin, name, COPIED)
    login = {"protocol": "SASL_PLAINTEXT", "mechanism": "PLAIN", "user": USER, "password": PASSWORD}

    async def look(*rights: str) -> Outcome:
        for right in rights:
            await asyncio.to_thread(kafkas.allow, "--operation", right, "--topic", name)
        return await once(shared, kafkas.first.sasl_port, timeout=TIMEOUT, security=login)

    seen = await look("Describe")
    allowed = await look("DescribeConfigs")
    assert values(seen, kafka.UNKNOWN_MIN_ISR) == {(): 1}
    assert values(seen, kafka.UNDER_MIN_ISR) == {(): 0}  # nothing lacks a replica
    assert values(allowed, kafka.UNKNOWN_MIN_ISR) == {(): 0}


@pytest.mark.parametrize("ahead", [1800.0, -(10.0**9)], ids=["of-the-future", "of-long-ago"])
async def test_records_whose_time_is_wrong_have_the_age_at_which_they_were_seen_to_come(
    kafkas: KafkaCluster,
    shared: SharedClients,
    admin: AIOKafkaAdminClient,
    producer: AIOKafkaProducer,
    name: str,
    ahead: float,
) -> None:
    """A producer's clock says what it likes: what came before the first reading has no age rather than that."""

    async def wrong(count: int) -> None:
        stamp = int((time.time() + ahead) * 1000)
        for _ in range(count):
            await producer.send_and_wait(name, b"message", partition=0, timestamp_ms=stamp)

    await create(admin, name, COPIED)
    await wrong(5)
    await commit(kafkas, f"{name}-old", name, {0: 2})
    await commit(kafkas, f"{name}-new", name, {0: 5})
    probe = probe_of(shared, kafkas.first.port)
    first = await run_probe(probe, TIMEOUT)
    began = time.monotonic()
    await wrong(3)
    await asyncio.sleep(3)
    second = await run_probe(probe, TIMEOUT)
    await asyncio.sleep(2)
    third = await run_probe(probe, TIMEOUT)
    passed = time.monotonic() - began
    await probe.close()
    for outcome in (first, second, third):
        assert dict(outcome.parts) == {"groups": None, "offsets": None}
        ages = values(outcome, kafka.TOPIC_LAG_SECONDS)
        assert (f"{name}-old", name) not in ages
    assert values(first, kafka.TOPIC_LAG_SECONDS)[f"{name}-new", name] == 0
    assert 2 <= values(third, kafka.TOPIC_LAG_SECONDS)[f"{name}-new", name] <= passed

"""The Kafka probe against a real broker: what it records is what an independent client finds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pydantic import ValidationError

from exporter.clients.kafka import group_reading, offsets
from exporter.clients.kafka.ages import PRECISE
from exporter.demo.servers.base import Server
from exporter.demo.servers.broker import BrokerServer
from exporter.kafka import families as kafka
from exporter.probes.kafka import KafkaProbe, KafkaSettings
from exporter.probing.probe import Scope, SharedClients
from exporter.probing.runner import run_probe
from exporter.verdict import Reason, Stage, Verdict
from tests.clients.kafka.asking import descriptors, failure, once, part, probe_of, values


@asynccontextmanager
async def topics_on(broker: Server, **partitions: int) -> AsyncIterator[AIOKafkaProducer]:
    """Make topics; a producer for them."""
    address = f"{broker.host}:{broker.port}"
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    producer = AIOKafkaProducer(bootstrap_servers=address, linger_ms=0)
    try:
        await admin.create_topics([NewTopic(name.replace("_", "-"), count, 1) for name, count in partitions.items()])
        await producer.start()
        yield producer
    finally:
        await producer.stop()
        await admin.close()


async def produce(producer: AIOKafkaProducer, topic: str, messages: int, partitions: int = 1) -> None:
    """Write messages, spread over the partitions."""
    for number in range(messages):
        await producer.send_and_wait(topic, b"message", partition=number % partitions)


@asynccontextmanager
async def consumer_of(broker: Server, group: str, *topics: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A member of a group that commits when told."""
    consumer = AIOKafkaConsumer(
        *topics,
        bootstrap_servers=f"{broker.host}:{broker.port}",
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def consume(broker: Server, group: str, topic: str, messages: int) -> None:
    """Read so many messages and commit, without joining the group, which takes seconds."""
    async with consumer_of(broker, group) as consumer:
        consumer.assign([TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())])
        for _ in range(messages):
            await asyncio.wait_for(consumer.getone(), 10)
        await consumer.commit()


async def independent_lag(broker: BrokerServer, group: str, topic: str) -> dict[tuple[str, ...], float]:
    """Lag by partition as a consumer of the group finds it."""
    consumer = AIOKafkaConsumer(bootstrap_servers=f"{broker.host}:{broker.port}", group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        ends = await consumer.end_offsets(partitions)
        commits = {partition: await consumer.committed(partition) for partition in partitions}
    finally:
        await consumer.stop()
    return {
        (group, topic, str(partition.partition)): ends[partition] - commit
        for partition, commit in commits.items()
        if commit is not None
    }


def of(found: dict[tuple[str, ...], float], *start: str) -> dict[tuple[str, ...], float]:
    """Series whose labels begin so; the broker is shared between tests."""
    return {labels: value for labels, value in found.items() if labels[: len(start)] == start}


async def test_lag_is_what_an_independent_consumer_computes(kafka_broker: BrokerServer, shared: SharedClients) -> None:
    """By partition, and summed by topic; ends are the broker's."""
    async with topics_on(kafka_broker, agree=3) as producer:
        await produce(producer, "agree", 31, partitions=3)
        await consume(kafka_broker, "agreeing", "agree", 12)
        outcome = await once(shared, kafka_broker.port)
    assert outcome.verdict is Verdict.UP
    assert dict(outcome.parts) == {"groups": None, "offsets": None}
    expected = await independent_lag(kafka_broker, "agreeing", "agree")
    assert expected
    assert sum(expected.values()) > 0
    assert of(values(outcome, kafka.LAG), "agreeing") == expected
    assert of(values(outcome, kafka.TOPIC_LAG), "agreeing") == {("agreeing", "agree"): sum(expected.values())}
    assert sum(of(values(outcome, kafka.END_OFFSET), "agree").values()) == 31
    assert values(outcome, kafka.BROKERS) == {(): 1}


async def test_messages_that_nobody_reads_add_to_the_lag(kafka_broker: BrokerServer, shared: SharedClients) -> None:
    """Also while the consumer is stopped; a consumer that catches up brings it to zero."""
    async with topics_on(kafka_broker, grow=1) as producer:
        await produce(producer, "grow", 5)
        await consume(kafka_broker, "growing", "grow", 5)
        probe = probe_of(shared, kafka_broker.port, host=kafka_broker.host)
        lags = []
        for more in (0, 7, 4):
            await produce(producer, "grow", more)
            lags.append(values(await run_probe(probe, 5.0), kafka.TOPIC_LAG)["growing", "grow"])
        await consume(kafka_broker, "growing", "grow", 11)
        lags.append(values(await run_probe(probe, 5.0), kafka.TOPIC_LAG)["growing", "grow"])
        await probe.close()
    assert lags == [0, 7, 11, 0]


async def test_a_group_has_a_state_and_members(kafka_broker: BrokerServer, shared: SharedClients) -> None:
    """A consumer that joined is a member while it is there, and its lag is known at once."""
    async with topics_on(kafka_broker, joined=1) as producer:
        await produce(producer, "joined", 3)
        async with consumer_of(kafka_broker, "joiners", "joined") as consumer:
            await asyncio.wait_for(consumer.getone(), 10)
            await consumer.commit()
            outcome = await once(shared, kafka_broker.port)
    assert of(values(outcome, kafka.STATE), "joiners") == {("joiners", "stable"): 1}
    assert of(values(outcome, kafka.MEMBERS), "joiners") == {("joiners",): 1}
    assert of(values(outcome, kafka.LAG), "joiners") == {("joiners", "joined", "0"): 2}


async def test_dead_letters_are_counted_without_a_group(kafka_broker: BrokerServer, shared: SharedClients) -> None:
    """By the suffix of the topic's name, over all its partitions; an empty one has zero."""
    async with topics_on(kafka_broker, orders_dlt=2, empty_dlq=1, mine_graveyard=1) as producer:
        await produce(producer, "orders-dlt", 5, partitions=2)
        await produce(producer, "mine-graveyard", 2)
        outcome = await once(shared, kafka_broker.port)
        renamed = await once(shared, kafka_broker.port, dlq_suffixes=["-graveyard"])
    found = values(outcome, kafka.DLQ_MESSAGES)
    assert (found["orders-dlt",], found["empty-dlq",]) == (5, 0)
    assert ("mine-graveyard",) not in found
    assert values(renamed, kafka.DLQ_MESSAGES) == {("mine-graveyard",): 2}


async def test_looking_makes_no_topic_and_no_group(kafka_broker: BrokerServer, shared: SharedClients) -> None:
    """Two attempts in a row see the same cluster."""
    probe = probe_of(shared, kafka_broker.port)
    first, second = await run_probe(probe, 5.0), await run_probe(probe, 5.0)
    await probe.close()
    assert values(first, kafka.END_OFFSET).keys() == values(second, kafka.END_OFFSET).keys()
    assert values(first, kafka.STATE).keys() == values(second, kafka.STATE).keys()


async def test_a_stopped_broker_is_down_and_comes_back(own_broker: BrokerServer, shared: SharedClients) -> None:
    """Refused, without any fact of before; up again on the same port at the first attempt."""
    async with topics_on(own_broker, orders=1) as producer:
        await produce(producer, "orders", 3)
    probe = probe_of(shared, own_broker.port)
    before = await run_probe(probe, 5.0)
    own_broker.kill()
    down = await run_probe(probe, 5.0)
    still = await run_probe(probe, 5.0)
    own_broker.start()
    after = await run_probe(probe, 5.0)
    await probe.close()
    assert before.verdict is Verdict.UP
    assert values(before, kafka.END_OFFSET) == {("orders", "0"): 3}
    assert failure(down) == failure(still) == (Stage.CONNECT, Reason.CONNECT_REFUSED)
    assert not down.samples
    assert not down.parts
    assert after.verdict is Verdict.UP


async def test_a_broker_that_stands_still_is_a_timeout_and_comes_back(
    own_broker: BrokerServer, shared: SharedClients
) -> None:
    """On a kept connection in the query, on a new one in the handshake; nothing is left open meanwhile."""
    probe = probe_of(shared, own_broker.port)
    assert (await run_probe(probe, 5.0)).verdict is Verdict.UP
    before = descriptors()
    own_broker.pause()
    try:
        kept, new = await run_probe(probe, 0.3), await run_probe(probe, 0.3)
    finally:
        own_broker.resume()
    assert failure(kept) == (Stage.QUERY, Reason.TIMEOUT)
    assert failure(new) == (Stage.AUTH, Reason.TIMEOUT)
    assert (await run_probe(probe, 5.0)).verdict is Verdict.UP
    assert descriptors() <= before
    await probe.close()
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


@pytest.mark.measures
async def test_a_thousand_partitions_take_a_fraction_of_a_second(own_broker: BrokerServer, shared: SharedClients) -> None:
    """Computing by the probe alone, broker and its process not counted."""
    async with topics_on(own_broker, big=1000) as producer:
        await produce(producer, "big", 5)
    probe = probe_of(shared, own_broker.port)
    await run_probe(probe, 5.0)
    spent = []
    for _ in range(3):  # a neighbour on the same core makes CPU seconds longer, but not each time
        started = time.process_time()
        outcome = await run_probe(probe, 5.0)
        spent.append(time.process_time() - started)
        assert len(values(outcome, kafka.END_OFFSET)) == 1000
    await probe.close()
    assert min(spent) < 0.3


@pytest.mark.parametrize(
    ("target", "name", "broken_part"), [(group_reading, "list_groups", "groups"), (offsets.LogOffsets, "ask", "offsets")]
)
async def test_a_defect_in_a_part_is_internal_and_leaves_no_task(
    kafka_broker: BrokerServer,
    shared: SharedClients,
    monkeypatch: pytest.MonkeyPatch,
    target: object,
    name: str,
    broken_part: str,
) -> None:
    """An exception that nobody foresaw does not turn the verdict."""

    async def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(target, name, broken)
    probe = probe_of(shared, kafka_broker.port)
    async with topics_on(kafka_broker, something=1):  # a broker without partitions is asked for no offsets
        outcome = await run_probe(probe, 5.0)
    await probe.close()
    assert outcome.verdict is Verdict.UP
    assert part(outcome, broken_part) == (Stage.INTERNAL, Reason.INTERNAL)
    assert [found for found in outcome.parts if outcome.parts[found] is None] == list({"groups", "offsets"} - {broken_part})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"groups": {"include": ["orders("]}}, "'orders(' is not a regular expression: missing ), unterminated subpattern"),
        ({"topics": {"exclude": ["*"]}}, "'*' is not a regular expression: nothing to repeat"),
        ({"security": {"protocol": "SASL_SSL"}}, "SASL_SSL needs user, and either password or password_file"),
        ({"security": {"protocol": "SASL_SSL", "mechanism": "OAUTHBEARER"}}, "OAUTHBEARER needs either bearer or oauth2"),
        (
            {"security": {"protocol": "SASL_SSL", "mechanism": "OAUTHBEARER", "user": "u", "bearer": {"token": "t"}}},
            "OAUTHBEARER needs either bearer or oauth2, and has neither user nor password",
        ),
        (
            {"security": {"protocol": "SASL_SSL", "user": "u", "password": "p", "bearer": {"token": "t"}}},
            "bearer and oauth2 are for OAUTHBEARER",
        ),
        ({"security": {"bearer": {"token": "t"}}}, "PLAINTEXT has no login: use SASL_PLAINTEXT or SASL_SSL"),
        (
            {"security": {"protocol": "SASL_SSL", "user": "a", "password": "b", "password_file": "c"}},
            "SASL_SSL needs user, and either password or password_file",
        ),
        ({"security": {"user": "a", "password": "b"}}, "PLAINTEXT has no login: use SASL_PLAINTEXT or SASL_SSL"),
        ({"security": {"tls": {"ca_file": "ca.pem"}}}, "PLAINTEXT has no TLS: use SSL or SASL_SSL"),
        ({"security": {"protocol": "TLS"}}, "Input should be 'PLAINTEXT', 'SSL', 'SASL_PLAINTEXT' or 'SASL_SSL'"),
        ({"dlq_suffixes": [""]}, "String should have at least 1 character"),
        ({"max_partitions": 0}, "Input should be greater than or equal to 1"),
        ({"brokers": ["a:1"]}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_words(settings: dict[str, Any], message: str) -> None:
    """Each with what is wrong and, where it helps, what to write instead."""
    with pytest.raises(ValidationError) as caught:
        KafkaSettings.model_validate(settings)
    assert message in str(caught.value)


def test_the_password_is_masked_and_one_target_is_a_cluster() -> None:
    """Wherever settings are shown."""
    settings = KafkaSettings.model_validate(
        {"security": {"protocol": "SASL_PLAINTEXT", "user": "anna", "password": "s3cr3t"}}
    )
    assert "s3cr3t" not in repr(settings)
    security = {"protocol": "SASL_SSL", "mechanism": "OAUTHBEARER", "bearer": {"token": "s3cr3t"}}
    assert "s3cr3t" not in repr(KafkaSettings.model_validate({"security": security}))
    assert "s3cr3t" not in settings.model_dump_json()
    assert KafkaProbe.scope is Scope.SERVICE


async def test_an_age_is_known_to_an_interval_from_what_was_seen_and_to_a_minute_otherwise(
    kafka_broker: BrokerServer, shared: SharedClients
) -> None:
    """What came before the probe did is asked for by timestamp, and is never put at zero."""
    async with topics_on(kafka_broker, seen=1, before=1, before_dlt=1) as producer:
        await produce(producer, "seen", 1)
        await produce(producer, "before", 3)
        await consume(kafka_broker, "seeing", "seen", 1)
        await consume(kafka_broker, "seeing", "before", 1)
        probe = probe_of(shared, kafka_broker.port)
        await run_probe(probe, 5.0)
        began = time.monotonic()
        await produce(producer, "seen", 4)
        await run_probe(probe, 5.0)
        await asyncio.sleep(0.2)
        outcome = await run_probe(probe, 5.0)
        longest = time.monotonic() - began
        await probe.close()
    ages = values(outcome, kafka.TOPIC_LAG_SECONDS)
    assert 0.2 <= ages["seeing", "seen"] <= longest + 1
    assert values(outcome, kafka.LAG_SECONDS)["seeing", "seen", "0"] == ages["seeing", "seen"]
    assert values(outcome, kafka.TOPIC_LAG)["seeing", "before"] == 2
    assert 0 < ages["seeing", "before"] <= PRECISE
    assert values(outcome, kafka.MARGIN)["seeing", "before"] == 1
    assert values(outcome, kafka.LOST)["seeing", "before"] == 0
    assert values(outcome, kafka.DLQ_GROUP) == {("before-dlt", "seeing"): 1}
    assert values(outcome, kafka.DLQ_SECONDS)["before-dlt",] == 0


async def test_what_has_no_lag_is_of_no_age(kafka_broker: BrokerServer, shared: SharedClients) -> None:
    async with topics_on(kafka_broker, caught=1) as producer:
        await produce(producer, "caught", 3)
        await consume(kafka_broker, "catching", "caught", 3)
        outcome = await once(shared, kafka_broker.port)
    assert values(outcome, kafka.TOPIC_LAG_SECONDS)["catching", "caught"] == 0
    assert ("catching", "caught", "0") not in values(outcome, kafka.LAG_SECONDS)
    assert ("catching", "caught") not in values(outcome, kafka.MARGIN)

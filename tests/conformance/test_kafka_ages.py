"""The age of what is not read, of real Kafka: which answers by timestamp what the probe has not seen."""

from __future__ import annotations

import time

import pytest
from aiokafka import TopicPartition

from exporter.kafka import families as kafka
from exporter.probing.probe import SharedClients
from tests.clients.kafka.asking import once, values
from tests.fixtures.boot_applications import ApacheKafka
from tests.probes.test_kafka import consumer_of, topics_on


async def test_the_age_of_the_first_unread_message_is_that_of_its_timestamp(
    apache_kafka: ApacheKafka, shared: SharedClients
) -> None:
    """Known in the first reading, from what the broker says by timestamp; the probe reads no message."""
    async with topics_on(apache_kafka, aged=1, aged_dlt=1) as producer:
        now = int(time.time() * 1000)
        for seconds in (9000, 4000, 2000, 5):
            await producer.send_and_wait("aged", b"message", partition=0, timestamp_ms=now - seconds * 1000)
        await producer.send_and_wait("aged-dlt", b"message", partition=0, timestamp_ms=now - 7000 * 1000)
        async with consumer_of(apache_kafka, "ageing") as consumer:
            consumer.assign([TopicPartition("aged", 0)])
            await consumer.commit({TopicPartition("aged", 0): 1})
        outcome = await once(shared, apache_kafka.port)
    at = ("ageing", "aged")
    assert values(outcome, kafka.TOPIC_LAG)[at] == 3
    assert values(outcome, kafka.TOPIC_LAG_SECONDS)[at] == pytest.approx(4000, rel=0.3)
    assert values(outcome, kafka.LAG_SECONDS)[*at, "0"] == values(outcome, kafka.TOPIC_LAG_SECONDS)[at]
    assert values(outcome, kafka.LOST)[at] == 0
    assert values(outcome, kafka.MARGIN)[at] == 1
    assert values(outcome, kafka.DLQ_SECONDS)["aged-dlt",] == pytest.approx(7000, rel=0.3)
    assert values(outcome, kafka.DLQ_GROUP) == {("aged-dlt", "ageing"): 1}
    assert values(outcome, kafka.OPEN_MESSAGES) == {}

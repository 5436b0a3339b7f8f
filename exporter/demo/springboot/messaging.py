"""The Kafka side of a service: it writes events, reads them as a group, and puts what it cannot handle aside."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from exporter.demo.springboot.meters import Meter

__all__ = ["Messaging"]

PARTITIONS = 2
PERIOD = 0.5
"""Seconds between events of a healthy service; it handles them much faster."""
_BACKOFF = 1.0


class Messaging:
    """Producer and consumer of one service, each restarted when the broker goes away.

    Args:
        servers: Bootstrap address.
        service: Name of the service: topic `hafnium.<service>.events`, group `<service>-service`.
    """

    def __init__(self, servers: str, service: str) -> None:
        self._servers = servers
        self.topic = f"hafnium.{service}.events"
        self.dead_letters = f"{self.topic}-dlt"
        self.group = f"{service}-service"
        self.consuming = asyncio.Event()
        self.consuming.set()
        self.poisoning = False
        self._lag: dict[int, int] = {}

    async def produce(self) -> None:
        """Write events for ever."""
        while True:
            with contextlib.suppress(KafkaError, OSError):
                await self._create_topics()
                producer = AIOKafkaProducer(bootstrap_servers=self._servers, request_timeout_ms=3000, linger_ms=0)
                try:
                    await producer.start()
                    await self._write(producer)
                finally:
                    await _quietly(producer.stop())
            await asyncio.sleep(_BACKOFF)

    async def consume(self) -> None:
        """Read events for ever, while allowed."""
        while True:
            await self.consuming.wait()
            with contextlib.suppress(KafkaError, OSError):
                consumer = AIOKafkaConsumer(
                    bootstrap_servers=self._servers, group_id=self.group, enable_auto_commit=False,
                    request_timeout_ms=15_000,  # the broker answers a JoinGroup after 5 s

                    auto_offset_reset="earliest", fetch_max_wait_ms=200, session_timeout_ms=6000, heartbeat_interval_ms=2000,
                )  # fmt: skip
                try:
                    consumer.subscribe([self.topic])
                    await consumer.start()
                    await self._read(consumer)
                finally:
                    self._lag.clear()  # a consumer that is gone tells nothing
                    await _quietly(consumer.stop())
            await asyncio.sleep(_BACKOFF)

    def meters(self) -> Iterator[Meter]:
        """Tell what the Kafka client's metrics tell."""
        for partition, lag in self._lag.items():
            tags = (("client.id", f"consumer-{self.group}-1"), ("partition", str(partition)), ("topic", self.topic))
            text = "The latest lag of the partition"
            yield Meter("kafka.consumer.fetch.manager.records.lag", "gauge", lag, tags, description=text)

    async def _create_topics(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._servers, request_timeout_ms=3000)
        try:
            await admin.start()
            for name, partitions in ((self.topic, PARTITIONS), (self.dead_letters, 1)):
                await admin.create_topics([NewTopic(name, partitions, 1)])
        finally:
            await _quietly(admin.close())

    async def _write(self, producer: AIOKafkaProducer) -> None:
        number = 0
        while True:
            number += 1
            event = json.dumps({"id": number, "at": time.time()}).encode()
            await producer.send_and_wait(self.topic, event, partition=number % PARTITIONS)
            if self.poisoning:
                await producer.send_and_wait(self.dead_letters, event, partition=0)
            await asyncio.sleep(PERIOD)

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        while self.consuming.is_set():
            batch = await consumer.getmany(timeout_ms=500)
            if batch:
                await consumer.commit()
            for part in consumer.assignment():
                self._lag[part.partition] = await self._behind(consumer, part)

    @staticmethod
    async def _behind(consumer: AIOKafkaConsumer, part: TopicPartition) -> int:
        end = consumer.highwater(part)
        return max(0, end - await consumer.position(part)) if end is not None else 0


async def _quietly(work: object) -> None:
    """Close something that may be broken already, and not for long."""
    with contextlib.suppress(KafkaError, OSError):
        async with asyncio.timeout(1.0):
            await work  # type: ignore[misc] # a coroutine of a library without types

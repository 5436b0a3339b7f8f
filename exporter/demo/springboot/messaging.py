"""The Kafka side of a service: it writes events, reads them as a group, and puts what it cannot handle aside."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import time
from collections.abc import Awaitable, Iterable, Iterator
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, KafkaError

from exporter.demo.springboot.meters import Kind, Meter, Timer

__all__ = ["MESSAGING_ERRORS", "Messaging"]

MESSAGING_ERRORS = (KafkaError, OSError)
"""Whatever a use of the broker raises while there is none; TimeoutError is an OSError."""

_log = logging.getLogger(__name__)

PARTITIONS = 2
PERIOD = 0.5
"""Seconds between events of a healthy service; it handles them much faster."""
LAST = 12
"""Events that are written at once before the topic falls quiet."""
CHECK_TIMEOUT = 1.0
START_TIMEOUT = 20.0
WORK_TIMEOUT = 5.0
"""The client tries for ever to commit to a group, or find a position in a topic, that a restarted broker has forgotten."""
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
        self.connected = asyncio.Event()
        self._failing: set[str] = set()
        self._producer: AIOKafkaProducer | None = None
        self._lag: dict[int, float] = {}
        self._handled = Timer()

    def fail(self, fault: str, *, on: bool) -> None:
        """Have records fail, in the way of a fault, or no more."""
        if on:
            self._failing.add(fault)
        else:
            self._failing.discard(fault)

    async def produce(self) -> None:
        """Write events for ever."""
        while True:
            with self._telling("producer"):
                async with asyncio.timeout(START_TIMEOUT):
                    await self._create_topics()
                producer = AIOKafkaProducer(bootstrap_servers=self._servers, request_timeout_ms=3000, linger_ms=0)
                try:
                    async with asyncio.timeout(START_TIMEOUT):
                        await producer.start()
                    self._producer = producer
                    self.connected.set()
                    await self._write(producer)
                finally:
                    self._producer = None
                    await _quietly(producer.stop())
            await asyncio.sleep(_BACKOFF)

    async def consume(self) -> None:
        """Read events for ever, while allowed."""
        while True:
            await self.consuming.wait()
            with self._telling("consumer"):
                consumer = AIOKafkaConsumer(
                    bootstrap_servers=self._servers, group_id=self.group, enable_auto_commit=False,
                    request_timeout_ms=15_000,  # the broker answers a JoinGroup after 5 s

                    auto_offset_reset="earliest", fetch_max_wait_ms=200, session_timeout_ms=6000, heartbeat_interval_ms=2000,
                )  # fmt: skip
                try:
                    consumer.subscribe([self.topic])
                    async with asyncio.timeout(START_TIMEOUT):
                        await consumer.start()
                    await self._read(consumer)
                finally:
                    self._lag.clear()  # a consumer that is gone tells nothing
                    await _quietly(consumer.stop())
            await asyncio.sleep(_BACKOFF)

    async def describe(self) -> dict[str, Any]:
        """Ask the broker for its cluster, as many applications' own health indicator does.

        Raises:
            MESSAGING_ERRORS: There is no broker that answers in a second.
        """
        producer = self._producer
        if producer is None:
            raise KafkaConnectionError("no broker was reached yet")
        async with asyncio.timeout(CHECK_TIMEOUT):
            cluster = await producer.client.fetch_all_metadata()
        return {"bootstrapServers": self._servers, "nodes": len(cluster.brokers())}

    def meters(self) -> Iterator[Meter]:
        """Tell what the Kafka client's metrics and the listener tell."""
        prefix, client = "kafka.consumer.fetch.manager", f"consumer-{self.group}-1"
        tags = (
            ("client.id", client), ("kafka.version", "3.9.1"), ("spring.id", f"kafkaConsumerFactory.{client}"),
        )  # fmt: skip
        topic = self.topic.replace(".", "_")  # so does the client, up to 4.0
        for partition, lag in self._lag.items():
            more = (("partition", str(partition)), ("topic", topic))
            text = "The latest lag of the partition"
            yield Meter(f"{prefix}.records.lag", Kind.GAUGE, lag, (*tags, *more), description=text)
        if self._lag:
            most = max((lag for lag in self._lag.values() if not math.isnan(lag)), default=math.nan)
            text = "The maximum lag in terms of number of records for any partition in this window"
            yield Meter(f"{prefix}.records.lag.max", Kind.GAUGE, most, tags, description=text)
        name = "org.springframework.kafka.KafkaListenerEndpointContainer#0-0"
        handled = (("exception", "none"), ("name", name), ("result", "success"))
        yield Meter("spring.kafka.listener", Kind.TIMER, self._handled, handled, description="Kafka Listener Timer")

    @contextlib.contextmanager
    def _telling(self, part: str) -> Iterator[None]:
        """Let a part begin again after an error, and say in the log what it was."""
        try:
            yield
        except MESSAGING_ERRORS as error:
            _log.warning("%s: the %s begins again: %s: %s", self.group, part, type(error).__name__, error)

    async def _create_topics(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._servers, request_timeout_ms=3000)
        try:
            await admin.start()
            for name, partitions in ((self.topic, PARTITIONS), (self.dead_letters, 1)):
                await admin.create_topics([NewTopic(name, partitions, 1)])
        finally:
            await _quietly(admin.close())

    async def _write(self, producer: AIOKafkaProducer) -> None:
        number, quiet = 0, False
        while True:
            if "last-unread" in self._failing:
                if not quiet:
                    await self._write_last(producer)
                quiet = True
                await asyncio.sleep(PERIOD)
                continue
            number, quiet = number + 1, False
            event = json.dumps({"id": number, "at": time.time()}).encode()
            async with asyncio.timeout(WORK_TIMEOUT):
                await producer.send_and_wait(self.topic, event, partition=number % PARTITIONS)
                if "poison" in self._failing:
                    await producer.send_and_wait(self.dead_letters, event, partition=0)
            await asyncio.sleep(PERIOD)

    async def _write_last(self, producer: AIOKafkaProducer) -> None:
        """Write some at once; its consumer handles nothing any more.

        One after the other: the demo's broker gives a batch of several records one offset.
        """
        event = json.dumps({"id": 0, "at": time.time()}).encode()
        async with asyncio.timeout(WORK_TIMEOUT):
            for number in range(LAST):
                await producer.send_and_wait(self.topic, event, partition=number % PARTITIONS)

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        while self.consuming.is_set():
            batch = await consumer.getmany(timeout_ms=500)
            if self._failing & {"consumer-stuck", "last-unread"}:
                await self._try_again(consumer, batch)
                continue
            if "consumer-poisoned" in self._failing:
                bad = [part for part in batch if part.partition == 0]
                await self._try_again(consumer, bad)
                batch = {part: records for part, records in batch.items() if part not in bad}
            for records in batch.values():
                for record in records:
                    self._handle(record.value)
            async with asyncio.timeout(WORK_TIMEOUT):
                if batch:
                    await consumer.commit()
                lag = {part.partition: await self._behind(consumer, part) for part in consumer.assignment()}
            self._lag.clear()
            self._lag.update(lag)

    async def _try_again(self, consumer: AIOKafkaConsumer, batch: Iterable[TopicPartition]) -> None:
        """Go back to where it was, as a container does whose listener has thrown, and try again after a while."""
        async with asyncio.timeout(WORK_TIMEOUT):
            for part in batch:
                consumer.seek(part, await consumer.committed(part) or 0)
        await asyncio.sleep(_BACKOFF)

    def _handle(self, event: bytes) -> None:
        began = time.perf_counter()
        json.loads(event)
        self._handled.record(time.perf_counter() - began)

    @staticmethod
    async def _behind(consumer: AIOKafkaConsumer, part: TopicPartition) -> float:
        """Return how far behind a partition is; NaN until something was fetched of it."""
        end, position = consumer.highwater(part), await consumer.position(part)
        if end is None:
            return math.nan
        if end < position:  # the broker has lost its log: begin anew, with what is there
            raise KafkaError("the log ends before the position")
        return float(end - position)


async def _quietly(work: Awaitable[object]) -> None:
    """Close something that may be broken already, and not for long."""
    with contextlib.suppress(*MESSAGING_ERRORS):
        async with asyncio.timeout(1.0):
            await work

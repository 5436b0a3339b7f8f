"""A cluster of three brokers of Apache Kafka beside the fleet's one, whose topic has a copy on each and needs two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.fixtures.kafkas import KafkaCluster, kafka_cluster

__all__ = ["probed", "running_brokers"]

BROKERS = 3


def probed(cluster: KafkaCluster) -> dict[str, Any]:
    """Return the exporter's configuration of them."""
    return {"kafka-three": {"instances": [node.address for node in cluster.nodes], "probes": {"kafka": {}}}}


@asynccontextmanager
async def running_brokers(folder: Path) -> AsyncIterator[KafkaCluster]:
    """Run them for as long as the block lasts."""
    with ExitStack() as running:
        cluster = await asyncio.to_thread(running.enter_context, kafka_cluster(folder, BROKERS))
        admin = AIOKafkaAdminClient(bootstrap_servers=cluster.first.address)
        await admin.start()
        try:
            await admin.create_topics(
                [NewTopic("payments", 6, BROKERS, topic_configs={"min.insync.replicas": "2"})], timeout_ms=30_000
            )
        finally:
            await admin.close()
        yield cluster

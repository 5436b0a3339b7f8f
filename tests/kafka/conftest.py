"""One cluster of Apache Kafka for all tests here: a test that stops a broker starts it again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import count

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from tests.fixtures.jvm import require_jvm
from tests.fixtures.kafkas import KafkaCluster, kafka_cluster
from tests.leftovers import pytest_runtest_teardown  # noqa: F401 - a hook

_numbers = count()


@pytest.fixture(scope="package")
def kafkas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """Two brokers."""
    require_jvm()
    with kafka_cluster(tmp_path_factory.mktemp("kafkas"), 2) as cluster:
        yield cluster


@pytest.fixture
async def admin(kafkas: KafkaCluster) -> AsyncIterator[AIOKafkaAdminClient]:
    """Somebody who may do everything."""
    client = AIOKafkaAdminClient(bootstrap_servers=kafkas.first.address)
    await client.start()
    yield client
    await client.close()


@pytest.fixture
async def producer(kafkas: KafkaCluster) -> AsyncIterator[AIOKafkaProducer]:
    """Somebody who writes; what is acknowledged is on all replicas, and only then does the log end after it."""
    client = AIOKafkaProducer(bootstrap_servers=kafkas.first.address, linger_ms=0, acks="all")
    await client.start()
    yield client
    await client.stop()


@pytest.fixture
def name() -> str:
    """A name that no other test has, for topics and groups."""
    return f"orders-{next(_numbers)}"

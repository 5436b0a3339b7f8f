"""One cluster of Apache Kafka 4 for all tests here, of three brokers: a test that stops one starts it again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fixtures.jvm import require_jvm
from tests.fixtures.kafkas import NEW, KafkaCluster, kafka_cluster


@pytest.fixture(scope="package")
def kafkas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """Three brokers, in place of the two of Kafka 3.9."""
    require_jvm()
    with kafka_cluster(tmp_path_factory.mktemp("kafkas"), 3, NEW) as cluster:
        yield cluster

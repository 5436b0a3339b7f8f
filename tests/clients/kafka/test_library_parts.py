"""aiokafka's protocol without its clients, and its clients all the same where somebody wants them."""

from __future__ import annotations

import subprocess
import sys

import pytest

PARTS_ALONE = """
import sys
import exporter.probes.kafka
unused = {"aiokafka.client", "aiokafka.consumer", "aiokafka.producer", "aiokafka.record", "packaging"} & set(sys.modules)
assert not unused, unused
assert "aiokafka.protocol.admin" in sys.modules
"""
CLIENTS_LATER = """
import exporter.clients.kafka.errors as ours
import aiokafka
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
assert aiokafka.__version__[0].isdigit() and TopicPartition("a", 1).partition == 1
assert for_code is ours.for_code
assert AIOKafkaConsumer.__name__ == "AIOKafkaConsumer" and AIOKafkaAdminClient
assert not hasattr(aiokafka, "none")
"""
CLIENTS_FIRST = """
import aiokafka
import exporter.clients.kafka.errors
assert aiokafka.AIOKafkaConsumer
"""


@pytest.mark.parametrize("code", [PARTS_ALONE, CLIENTS_LATER, CLIENTS_FIRST], ids=["alone", "later", "first"])
def test_the_clients_are_imported_by_those_who_use_them(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

"""SCRAM, by Apache Kafka: a password that is changed there, and where it is read from, while the probe goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from exporter.kafka import families as kafka
from exporter.probing.probe import SharedClients
from exporter.probing.runner import Outcome, run_probe
from exporter.verdict import Reason, Stage, Verdict
from tests.clients.kafka.asking import descriptors, failure, probe_of, values
from tests.fixtures.kafkas import OPERATOR, SESSION_SECONDS, KafkaCluster
from tests.kafka.doing import commit, create, write
from tests.waiting import eventually


def set_password(kafkas: KafkaCluster, mechanism: str, password: str) -> None:
    """Let somebody in by a password, in the words of kafka-configs, and nobody by the one before."""
    what = ("--alter", "--entity-type", "users", "--entity-name", OPERATOR)
    kafkas.tool("kafka.admin.ConfigCommand", *what, "--add-config", f"{mechanism}=[iterations=4096,password={password}]")


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_a_password_that_is_changed_is_told_until_it_is_known_here_too(
    kafkas: KafkaCluster,
    shared: SharedClients,
    admin: AIOKafkaAdminClient,
    producer: AIOKafkaProducer,
    name: str,
    tmp_path: Path,
    mechanism: str,
) -> None:
    """The cluster is not down for it, and no reload is wanted: the file is read at each login."""
    await create(admin, name, {0: [1]})
    await write(producer, name, {0: 9})
    await commit(kafkas, name, name, {0: 2})
    await asyncio.to_thread(set_password, kafkas, mechanism, "the-first-one")
    file = tmp_path / "password"
    file.write_text("the-first-one\n")
    login = {"protocol": "SASL_PLAINTEXT", "mechanism": mechanism, "user": OPERATOR, "password_file": str(file)}
    probe = probe_of(shared, kafkas.first.sasl_port, security=login)

    async def look() -> Outcome:
        return await run_probe(probe, 20.0)

    async def up() -> Outcome | None:
        outcome = await look()
        return outcome if outcome.verdict is Verdict.UP and set(outcome.parts.values()) == {None} else None

    async def refused() -> Outcome | None:
        outcome = await look()
        return outcome if outcome.verdict is not Verdict.UP else None

    first = await eventually(up, 20, "all brokers to know the user")
    opened = descriptors()
    await asyncio.to_thread(set_password, kafkas, mechanism, "the-second-one")
    told = await eventually(refused, 4 * SESSION_SECONDS, "the sessions to end")
    file.write_text("the-second-one\n")
    again = await look()
    await asyncio.sleep(1.5 * SESSION_SECONDS)
    later = await look()
    assert descriptors() <= opened + 1
    await probe.close()

    assert told is not None
    assert (told.verdict, failure(told)) == (Verdict.UNKNOWN, (Stage.AUTH, Reason.AUTH))
    assert "-one" not in repr(told)
    for outcome in (first, again, later):
        assert outcome is not None
        assert outcome.verdict is Verdict.UP
        assert values(outcome, kafka.LAG)[name, name, "0"] == 7

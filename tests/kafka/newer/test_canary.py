"""The canary on Apache Kafka 4, of three brokers: the versions of Produce and Fetch that are the oldest it takes."""

from __future__ import annotations

from typing import cast

from aiokafka.admin import AIOKafkaAdminClient

from exporter.kafka import families as kafka
from exporter.probing.probe import SharedClients
from exporter.probing.runner import Outcome, run_probe
from exporter.verdict import Reason, Stage, Verdict
from tests.clients.kafka.asking import part, probe_of, values
from tests.fixtures.kafkas import KafkaCluster
from tests.kafka.doing import create
from tests.kafka.test_canary import configure, flown, flying
from tests.waiting import eventually

WHOLE = {"0": 1, "1": 1, "2": 1}


async def test_it_flies_while_enough_replicas_are_in_sync_and_is_refused_after(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, name: str
) -> None:
    """With one broker of three gone its partition is led by another; with two gone no partition takes a record."""
    await create(admin, name, {0: [1, 2, 3], 1: [2, 3, 1], 2: [3, 1, 2]})
    await configure(kafkas, name, "min.insync.replicas=2")
    probe = probe_of(shared, kafkas.first.port, **flying(name))

    async def flies(brokers: str) -> Outcome | None:
        outcome = await run_probe(probe, 10.0)
        leaders = {broker for broker, stage in values(outcome, kafka.CANARY_SECONDS) if stage == "end_to_end"}
        return outcome if flown(outcome) == WHOLE and leaders == set(brokers) else None

    async def refused() -> Outcome | None:
        outcome = await run_probe(probe, 10.0)
        return outcome if set(flown(outcome).values()) == {0} and "REPLICAS" in str(outcome.parts["canary"]) else None

    whole = cast(Outcome, await eventually(lambda: flies("123"), 5, "three leaders"))
    assert part(whole, "canary") is None
    kafkas.nodes[2].kill()
    try:
        await eventually(lambda: flies("12"), 10, "two leaders")
        kafkas.nodes[1].kill()
        alone = cast(Outcome, await eventually(refused, 10, "refused"))
    finally:
        for node in kafkas.nodes[1:]:
            if not node.running:
                node.start()
    assert alone.verdict is Verdict.UP
    assert part(alone, "canary") == (Stage.CHECK, Reason.QUERY_FAILED)
    assert set(flown(alone)) == set(WHOLE)

    async def again() -> bool:
        return flown(await run_probe(probe, 10.0)) == WHOLE

    await eventually(again, 20, "all of them again")
    await probe.close()

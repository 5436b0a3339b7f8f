"""One of two brokers of Apache Kafka dies or hangs: told, and only what is on it is lost, until it is back."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from exporter.kafka import families as kafka
from exporter.probing.probe import SharedClients
from exporter.probing.runner import Outcome, run_probe
from exporter.verdict import Verdict
from tests.clients.kafka.asking import descriptors, probe_of, values
from tests.fixtures.kafkas import KafkaCluster, KafkaNode
from tests.kafka.doing import commit, create, write
from tests.waiting import eventually

HURTS: dict[str, tuple[Callable[[KafkaNode], None], Callable[[KafkaNode], None]]] = {
    "hung": (KafkaNode.pause, KafkaNode.resume),
    "killed": (KafkaNode.kill, KafkaNode.start),
}


@pytest.mark.parametrize("how", HURTS)
async def test_a_lost_broker_costs_its_own_partitions_only(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer, name: str, how: str
) -> None:
    """Its partitions are offline, those that have a copy go on from it, and all is well when it is back."""
    hurt, heal = HURTS[how]
    second = kafkas.nodes[1]
    copied = f"{name}-copied"
    await create(admin, name, {0: [1], 1: [2]})
    await create(admin, copied, {0: [2, 1]})
    await write(producer, name, {0: 4, 1: 5})
    await write(producer, copied, {0: 6})
    await commit(kafkas, name, name, {0: 1, 1: 1})
    await commit(kafkas, name, copied, {0: 1})
    probe = probe_of(shared, kafkas.first.port)

    async def look() -> Outcome:
        return await run_probe(probe, 5.0)

    async def whole() -> Outcome | None:
        outcome = await look()
        well = values(outcome, kafka.UNDER_REPLICATED) == values(outcome, kafka.OFFLINE) == {(): 0}
        return outcome if well and set(outcome.parts.values()) == {None} else None

    async def fenced() -> Outcome | None:
        outcome = await look()
        lost = values(outcome, kafka.OFFLINE)[()] and (name, name, "0") in values(outcome, kafka.LAG)
        return outcome if lost else None

    before = cast(Outcome, await eventually(whole, 2, "whole"))
    open_before = descriptors()
    hurt(second)
    try:
        at_once = await look()
        after = cast(Outcome, await eventually(fenced, 5, "fenced"))
    finally:
        heal(second)
    back = cast(Outcome, await eventually(whole, 5, "whole again"))
    await probe.close()

    lags = {(name, name, "0"): 3, (name, name, "1"): 4, (name, copied, "0"): 5}
    assert values(before, kafka.BROKER_UP) == {("1",): 1, ("2",): 1}
    assert lags.items() <= values(before, kafka.LAG).items()
    assert at_once.verdict is after.verdict is Verdict.UP
    assert values(at_once, kafka.BROKER_UP) == values(after, kafka.BROKER_UP) == {("1",): 1, ("2",): 0}
    assert at_once.parts["offsets"] is not None
    assert after.parts["offsets"] is not None
    assert values(at_once, kafka.END_OFFSET)[name, "0"] == values(after, kafka.END_OFFSET)[name, "0"] == 4
    assert {at for at in values(after, kafka.PARTITION_ERROR) if at[0] in {name, copied}} == {(name, "1", "no_leader")}
    assert values(after, kafka.LAG)[name, copied, "0"] == 5
    assert (name, name, "1") not in values(after, kafka.LAG)
    assert (name, name) not in values(after, kafka.TOPIC_LAG)
    assert values(after, kafka.UNDER_REPLICATED)[()] > 0
    assert values(back, kafka.BROKER_UP) == {("1",): 1, ("2",): 1}
    assert lags.items() <= values(back, kafka.LAG).items()
    assert descriptors() <= open_before

"""Consumer groups of real Apache Kafka: what the probe says is what Kafka's own tool says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from exporter.clients.kafka import group_reading, groups
from exporter.clients.kafka.commits import Wanted, fetch_commits
from exporter.clients.kafka.connection import Broker
from exporter.kafka import families as kafka
from exporter.metrics.store import Store
from exporter.probing.probe import SharedClients
from exporter.probing.runner import Outcome, run_probe
from exporter.verdict import Reason, Stage, Verdict
from exporter.visible import told_apart
from tests.clients.kafka.asking import once, part, probe_of, values
from tests.fixtures.kafkas import KafkaCluster
from tests.kafka.doing import commit, commit_many, create, delete_groups, member, write
from tests.scraped import samples_of

TIMEOUT = 20.0


def verdict_of(outcome: Outcome, group: str) -> str | None:
    """What the probe says of a group."""
    found = [verdict for name, verdict in values(outcome, kafka.VERDICT) if name == group]
    assert len(found) < 2
    return found[0] if found else None


async def test_lag_is_what_kafka_consumer_groups_says(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer, name: str
) -> None:
    """Of every group and partition: caught up, behind, beyond the end, and with commits of some partitions only."""
    await create(admin, name, {0: [1, 2], 1: [2, 1], 2: [2, 1]})
    await write(producer, name, {0: 20, 1: 7, 2: 31})
    commits = ({0: 20, 1: 7, 2: 31}, {0: 3, 1: 0, 2: 30}, {0: 500, 1: 7, 2: 1}, {1: 2})
    for number, offsets in enumerate(commits):
        await commit(kafkas, f"{name}-{number}", name, offsets)
    probe = probe_of(shared, kafkas.first.port)
    await run_probe(probe, TIMEOUT)  # a commit beyond the end is believed at the second sight
    outcome = await run_probe(probe, TIMEOUT)
    await probe.close()
    told = await asyncio.to_thread(kafkas.lags)
    assert outcome.verdict is Verdict.UP
    assert dict(outcome.parts) == {"groups": None, "offsets": None}
    assert values(outcome, kafka.LAG) == {at: lag for at, lag in told.items() if lag is not None}
    assert told[f"{name}-2", name, "0"] == -480
    assert len([at for at in told if at[1] == name]) == 10
    assert verdict_of(outcome, f"{name}-2") == "ahead"
    assert values(outcome, kafka.COMMITTED)[f"{name}-3", name] == 1


async def test_the_lags_of_many_groups_are_what_kafka_consumer_groups_says(
    kafkas: KafkaCluster,
    shared: SharedClients,
    admin: AIOKafkaAdminClient,
    producer: AIOKafkaProducer,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Asked for many at a time, by partition or whatever they have: each is somewhere else, some in one partition only."""
    await create(admin, name, {0: [1, 2], 1: [2, 1], 2: [2, 1]})
    await write(producer, name, {0: 40, 1: 40, 2: 40})
    offsets = {f"{name}-{group}": {at: group + at for at in range(group % 3, 3)} for group in range(60)}
    await commit_many(kafkas, name, offsets)
    told = await asyncio.to_thread(kafkas.lags)
    told = {at: lag for at, lag in told.items() if at[1] == name}
    asked: list[int] = []

    async def noted(broker: Broker, names: Sequence[str], wanted: Wanted) -> Any:
        asked.append(len(names))
        return await fetch_commits(broker, names, wanted)

    monkeypatch.setattr(group_reading, "fetch_commits", noted)
    by_partition = await once(shared, kafkas.first.port, timeout=TIMEOUT, topics={"include": [name]})
    monkeypatch.setattr(groups, "MAX_ASKED", 0)
    whatever = await once(shared, kafkas.first.port, timeout=TIMEOUT, topics={"include": [name]})
    for outcome in (by_partition, whatever):
        assert dict(outcome.parts) == {"groups": None, "offsets": None}
        assert values(outcome, kafka.LAG) == told
    assert len(told) == 120
    assert max(asked) == 25


async def test_a_member_that_never_commits_is_seen(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer, name: str
) -> None:
    """Kafka's tool shows its partitions without a lag; so does the probe, which counts them."""
    await create(admin, name, {0: [1], 1: [2]})
    await write(producer, name, {0: 5, 1: 5})
    async with member(kafkas, name, name):
        outcome = await once(shared, kafkas.first.port, timeout=TIMEOUT)
        told = await asyncio.to_thread(kafkas.lags)
    assert {at: lag for at, lag in told.items() if at[0] == name} == {(name, name, "0"): None, (name, name, "1"): None}
    assert values(outcome, kafka.UNCOMMITTED)[name, name] == 2
    assert values(outcome, kafka.MEMBERS)[name,] == 1
    assert values(outcome, kafka.STATE)[name, "stable"] == 1
    assert not [at for at in values(outcome, kafka.LAG) if at[0] == name]


@pytest.mark.parametrize(("committed", "elsewhere", "expected"), [
    (3, False, "stalled"), (None, False, "stalled"), (3, True, "poisoned"), (None, True, "poisoned"),
])  # fmt: skip
async def test_a_record_that_cannot_be_read_is_told_until_it_is_passed(
    kafkas: KafkaCluster,
    shared: SharedClients,
    admin: AIOKafkaAdminClient,
    producer: AIOKafkaProducer,
    name: str,
    committed: int | None,
    elsewhere: bool,
    expected: str,
) -> None:
    """The member lives, messages come in, and a commit stands or never was, alone or while others move. Then it goes on."""
    await create(admin, name, {0: [1], 1: [2]})
    await write(producer, name, {0: 10, 1: 1})
    probe = probe_of(shared, kafkas.first.port, window=1)
    bad, good = TopicPartition(name, 0), TopicPartition(name, 1)
    async with member(kafkas, name, name) as consumer:
        await consumer.commit({good: 1} if committed is None else {good: 1, bad: committed})
        await run_probe(probe, TIMEOUT)
        for number in range(3):
            await write(producer, name, {0: 5, 1: int(elsewhere)})
            await consumer.commit({good: 1 + elsewhere * (1 + number)})
            await asyncio.sleep(0.6)
            stuck = await run_probe(probe, TIMEOUT)
        await consumer.commit({bad: 25})
        mended = await run_probe(probe, TIMEOUT)
    await probe.close()
    assert verdict_of(stuck, name) == expected
    assert values(stuck, kafka.STANDING)[name, name] == 1
    assert values(mended, kafka.LAG)[name, name, "0"] == 0
    assert verdict_of(mended, name) == "ok"


async def test_a_group_that_everybody_left_is_stopped_and_without_lag_it_is_empty(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer, name: str
) -> None:
    """Nobody in it: with messages unread and coming in it has stopped, at the end it is empty."""
    await create(admin, name, {0: [1], 1: [1]})
    await write(producer, name, {0: 10, 1: 4})
    await commit(kafkas, f"{name}-stopped", name, {0: 3})
    await commit(kafkas, f"{name}-empty", name, {1: 4})
    probe = probe_of(shared, kafkas.first.port, window=1)
    await run_probe(probe, TIMEOUT)
    for _ in range(3):
        await write(producer, name, {0: 5})
        await asyncio.sleep(0.6)
        outcome = await run_probe(probe, TIMEOUT)
    await probe.close()
    assert verdict_of(outcome, f"{name}-stopped") == "stopped"
    assert verdict_of(outcome, f"{name}-empty") == "empty"


async def test_a_topic_that_is_deleted_is_gone_and_one_made_anew_is_read_anew(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer, name: str
) -> None:
    """Without an error, though the broker would make it at the first wrong question; and nothing of before is left."""
    await create(admin, name, {0: [1]})
    await write(producer, name, {0: 20})
    await commit(kafkas, name, name, {0: 5})
    probe = probe_of(shared, kafkas.first.port)
    before = await run_probe(probe, TIMEOUT)
    await admin.delete_topics([name])
    gone = await run_probe(probe, TIMEOUT)
    again = await run_probe(probe, TIMEOUT)
    assert name not in await admin.list_topics()
    await create(admin, name, {0: [2]})
    anew = await run_probe(probe, TIMEOUT)
    await probe.close()
    assert values(before, kafka.LAG)[name, name, "0"] == 15
    for outcome in (gone, again):
        assert dict(outcome.parts) == {"groups": None, "offsets": None}
        assert (name, "0") not in values(outcome, kafka.END_OFFSET)
        assert (name, name, "0") not in values(outcome, kafka.LAG)
    assert values(anew, kafka.END_OFFSET)[name, "0"] == 0
    assert (name, name, "0") not in values(anew, kafka.LAG)


async def test_names_that_are_odd_are_read_and_those_that_make_no_label_are_told(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer, name: str
) -> None:
    """A broker takes any name for a group; topics have letters, digits and three marks."""
    await create(admin, name, {0: [1]})
    await write(producer, name, {0: 9})
    alike = [f"{name}-\x1b", f"{name}-\\x1b", f"{name}-\\x5cx1b"]
    odd = [f'{name}-"{{}}\\,=\n\x00\x1b[31m\r\u2028', f"{name}-ünï☃😀", f"{name}-" + "a" * 240, *alike]
    long = f"{name}-" + "b" * 300
    await commit_many(kafkas, name, {group: {0: 4} for group in (*odd, long)})
    only = {"include": [f"(?s){name}-.*"]}
    told = await once(shared, kafkas.first.port, timeout=20.0, groups=only)
    without = await once(shared, kafkas.first.port, timeout=20.0, groups=only | {"exclude": [".{256,}"]})
    await delete_groups(kafkas, [*odd, long])
    assert part(told, "groups") == (Stage.CHECK, Reason.TOO_LARGE)
    assert "1 groups" in str(told.parts["groups"])
    assert without.parts["groups"] is None
    for outcome in (told, without):
        assert values(outcome, kafka.LAG) == {(group, name, "0"): 5 for group in odd}
        store = Store()
        store.owner({}).publish(outcome.samples)
        lags = samples_of(store.render(), kafka.LAG.name)
        assert {dict(labels)["group"] for labels in lags} == {told_apart(group, keep="\n") for group in odd}
        assert len(lags) == len(odd)

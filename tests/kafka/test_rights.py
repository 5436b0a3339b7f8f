"""What a user may not see, by the authorizer of Apache Kafka: it is told, never silent."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from exporter.kafka import families as kafka
from exporter.probing.probe import SharedClients
from exporter.probing.runner import Outcome, run_probe
from exporter.verdict import Reason, Stage, Verdict
from tests.clients.kafka.asking import once, part, probe_of, values
from tests.fixtures.kafkas import PASSWORD, USER, KafkaCluster
from tests.kafka.doing import commit, commit_many, create, member, write
from tests.waiting import eventually

LOGIN = {"protocol": "SASL_PLAINTEXT", "mechanism": "PLAIN", "user": USER, "password": PASSWORD}


async def test_each_right_that_is_missing_is_told(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer, name: str
) -> None:
    """First none, then one group and its topic, then the cluster, then all groups; only with all of them all is well."""

    async def look(**settings: Any) -> Outcome:
        return await once(shared, kafkas.first.sasl_port, timeout=20.0, security=LOGIN, **settings)

    async def allow(*what: str) -> None:
        await asyncio.to_thread(kafkas.allow, *what)

    await create(admin, name, {0: [1]})
    await write(producer, name, {0: 9})
    for group in (name, f"{name}-hidden"):
        await commit(kafkas, group, name, {0: 2})

    nothing = await look()
    assert nothing.verdict is Verdict.UP
    assert part(nothing, "groups") == part(nothing, "offsets") == (Stage.CHECK, Reason.AUTH)
    assert not values(nothing, kafka.LAG)

    await allow("--operation", "Describe", "--group", name, "--topic", name)
    some = await look()
    assert part(some, "groups") == (Stage.CHECK, Reason.AUTH)
    assert values(some, kafka.LAG) == {(name, name, "0"): 7}
    expecting = await look(expected_groups=[name], expected_topics=[name])
    assert dict(expecting.parts) == {"groups": None, "offsets": None}
    missed = await look(expected_groups=[name, f"{name}-hidden"])
    assert part(missed, "groups") == (Stage.CHECK, Reason.AUTH)
    assert f"{name}-hidden" in str(missed.parts["groups"])

    await allow("--operation", "Describe", "--cluster")
    listed = await look()
    assert part(listed, "groups") is not None
    assert f"{name}-hidden" in str(listed.parts["groups"]) or "GROUP_AUTHORIZATION" in str(listed.parts["groups"])
    assert values(listed, kafka.LAG)[name, name, "0"] == 7

    await allow("--operation", "Describe", "--group", "*", "--topic", "*")
    everything = await look()
    assert dict(everything.parts) == {"groups": None, "offsets": None}
    assert values(everything, kafka.LAG)[f"{name}-hidden", name, "0"] == 7


async def test_a_right_that_is_missing_for_some_of_many_groups_costs_those_alone(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer, name: str
) -> None:
    """They are asked for beside the others, and told by name."""
    await create(admin, name, {0: [1]})
    await write(producer, name, {0: 50})
    names = [f"{name}-{number}" for number in range(30)]
    await commit_many(kafkas, name, {group: {0: number} for number, group in enumerate(names)})
    hidden = {names[3], names[28]}
    rights = ("--operation", "Describe", "--topic", name, *(word for each in names for word in ("--group", each)))
    await asyncio.to_thread(kafkas.allow, *rights)
    for group in hidden:
        await asyncio.to_thread(kafkas.deny, "--operation", "Describe", "--group", group)
    await asyncio.to_thread(kafkas.allow, "--operation", "Describe", "--cluster")
    only = {"include": [f"{name}-.*"]}
    outcome = await once(shared, kafkas.first.sasl_port, timeout=20.0, security=LOGIN, groups=only)
    assert part(outcome, "groups") == (Stage.CHECK, Reason.AUTH)
    assert "(and 3 more)" in str(outcome.parts["groups"])  # two cannot be described, and two not be asked for commits
    assert values(outcome, kafka.LAG) == {
        (group, name, "0"): 50.0 - number for number, group in enumerate(names) if group not in hidden
    }
    for group in hidden:
        await asyncio.to_thread(kafkas.take_back, "--group", group)


async def test_a_topic_that_may_no_longer_be_described_is_told_until_it_may(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer, name: str
) -> None:
    """A broker leaves it out, and what groups have committed for it: who has only that to read would have nothing to do."""
    other = f"{name}-other"
    for topic in (name, other):
        await create(admin, topic, {0: [1]})
        await write(producer, topic, {0: 9})
    await commit(kafkas, name, name, {0: 2})
    await commit(kafkas, f"{name}-both", name, {0: 5})
    await commit(kafkas, f"{name}-both", other, {0: 4})
    await asyncio.to_thread(kafkas.allow, "--operation", "Describe", "--cluster", "--group", "*", "--topic", "*")
    only = {"include": [f"{name}.*"]}
    probe = probe_of(shared, kafkas.first.sasl_port, security=LOGIN, groups=only, topics=only)

    async def look() -> Outcome:
        return await run_probe(probe, 20.0)

    async def told(reason: Reason | None) -> Outcome | None:
        outcome = await look()
        return outcome if {each and each.reason for each in outcome.parts.values()} == {reason} else None

    await eventually(lambda: told(None), 5, "all rights")
    await asyncio.to_thread(kafkas.deny, "--operation", "Describe", "--topic", name)
    await eventually(lambda: told(Reason.AUTH), 5, "what is missing")
    for _ in range(2):  # and it stays so
        hidden = await look()
        assert hidden.verdict is Verdict.UP
        assert part(hidden, "groups") == part(hidden, "offsets") == (Stage.CHECK, Reason.AUTH)
        assert name in str(hidden.parts["offsets"])
        assert "2 groups" in str(hidden.parts["groups"])
        assert values(hidden, kafka.LAG) == {(f"{name}-both", other, "0"): 5}
        assert values(hidden, kafka.PARTITION_ERROR) == {(name, "0", "not_authorized"): 1}
        assert set(values(hidden, kafka.VERDICT)) == {(name, "unknown"), (f"{name}-both", "stopped")}
    await asyncio.to_thread(kafkas.take_back, "--topic", name)
    back = await eventually(lambda: told(None), 5, "the right again")
    assert back is not None
    assert values(back, kafka.LAG)[name, name, "0"] == 7
    assert not values(back, kafka.PARTITION_ERROR)
    await admin.delete_topics([other])  # that is no failure
    gone = await eventually(lambda: told(None), 5, "a topic that is gone")
    await probe.close()
    assert gone is not None


async def test_a_topic_that_is_deleted_with_the_right_to_it_is_told_until_one_of_what_the_documentation_says(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer, name: str
) -> None:
    """A broker says the same of it as of one that is there; with the right, for one reading, it says that it is gone."""
    await create(admin, name, {0: [1]})
    await write(producer, name, {0: 9})
    await commit(kafkas, name, name, {0: 2})
    await asyncio.to_thread(kafkas.allow, "--operation", "Describe", "--cluster", "--group", "*", "--topic", name)
    settings: dict[str, Any] = {"security": LOGIN, "groups": {"include": [name]}}
    probe = probe_of(shared, kafkas.first.sasl_port, topics={"include": [name]}, **settings)

    async def told(reason: Reason | None, topics: int) -> Outcome | None:
        """Ask; of groups nothing is looked at: the broker has dropped what they had committed, and perhaps them."""
        outcome = await run_probe(probe, 20.0)
        why = outcome.parts["offsets"]
        return outcome if (why and why.reason, len(values(outcome, kafka.END_OFFSET))) == (reason, topics) else None

    async def anew(**topics: list[str]) -> set[Any]:
        return set((await once(shared, kafkas.first.sasl_port, timeout=20.0, topics=topics, **settings)).parts.values())

    await eventually(lambda: told(None, 1), 5, "all rights")
    await admin.delete_topics([name])
    await asyncio.to_thread(kafkas.take_back, "--topic", name)
    await asyncio.to_thread(kafkas.allow, "--operation", "Describe", "--topic", f"{name}-another")
    await create(admin, f"{name}-another", {0: [1]})
    await asyncio.sleep(1)  # a broker that knew the right still would say that the topic is gone, and that be the end of it
    hidden = await eventually(lambda: told(Reason.AUTH, 0), 10, "that nobody knows")
    assert name in str(hidden and hidden.parts["offsets"])
    assert await anew(include=[f"{name}.*"]) == {None}  # a restart
    assert await anew(exclude=[name]) == {None}
    await asyncio.to_thread(kafkas.allow, "--operation", "Describe", "--topic", name)
    await eventually(lambda: told(None, 0), 5, "that it is gone")
    for topic in (name, f"{name}-another"):
        await asyncio.to_thread(kafkas.take_back, "--topic", topic)
    assert await told(None, 0) is not None  # and it stays so
    await probe.close()


async def test_a_topic_that_was_never_to_be_described_is_told_where_somebody_reads_it(
    kafkas: KafkaCluster, shared: SharedClients, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer, name: str
) -> None:
    """As after a restart of the exporter: what the members of a group have been given is the only trace of it."""
    await create(admin, name, {0: [1], 1: [2]})
    await write(producer, name, {0: 9})
    await asyncio.to_thread(kafkas.allow, "--operation", "Describe", "--cluster", "--group", "*", "--topic", "*")
    await asyncio.to_thread(kafkas.deny, "--operation", "Describe", "--topic", name)
    probe = probe_of(shared, kafkas.first.sasl_port, security=LOGIN, groups={"include": [name]}, topics={"include": [name]})

    async def told() -> Outcome | None:
        outcome = await run_probe(probe, 20.0)
        return outcome if part(outcome, "offsets") == part(outcome, "groups") == (Stage.CHECK, Reason.AUTH) else None

    settings: dict[str, Any] = {"security": LOGIN, "topics": {"exclude": [".*"]}}
    expecting = await once(shared, kafkas.first.sasl_port, timeout=20.0, expected_topics=[name], **settings)
    assert part(expecting, "offsets") == (Stage.CHECK, Reason.AUTH)
    assert "TOPIC_AUTHORIZATION_FAILED" in str(expecting.parts["offsets"])
    missing = await once(shared, kafkas.first.sasl_port, timeout=20.0, expected_topics=[f"{name}-none"], **settings)
    assert part(missing, "offsets") == (Stage.CHECK, Reason.QUERY_FAILED)
    flown = await once(shared, kafkas.first.sasl_port, timeout=20.0, canary={"topic": name}, **settings)
    assert part(flown, "canary") == (Stage.CHECK, Reason.AUTH)
    async with member(kafkas, name, name) as consumer:
        outcome = await eventually(told, 10, "what is not seen")
        assert outcome is not None
        assert values(outcome, kafka.PARTITION_ERROR) == {(name, at, "not_authorized"): 1 for at in "01"}
        assert set(values(outcome, kafka.VERDICT)) == {(name, "unknown")}
        await consumer.commit({TopicPartition(name, 0): 4})
        elsewhere = await once(shared, kafkas.first.sasl_port, timeout=20.0, security=LOGIN, topics={"exclude": [name]})
        assert elsewhere.parts["offsets"] is None
        await asyncio.to_thread(kafkas.take_back, "--topic", name)

        async def seen() -> Outcome | None:
            outcome = await run_probe(probe, 20.0)
            return outcome if set(outcome.parts.values()) == {None} else None

        back = await eventually(seen, 10, "the right again")
    await probe.close()
    assert back is not None
    assert values(back, kafka.LAG) == {(name, name, "0"): 5}


async def test_a_wrong_password_is_told(kafkas: KafkaCluster, shared: SharedClients) -> None:
    """Nothing is known then, and it is no fault of the cluster's."""
    outcome = await once(shared, kafkas.first.sasl_port, timeout=20.0, security=LOGIN | {"password": "other"})
    assert outcome.verdict is Verdict.UNKNOWN
    assert outcome.failure is not None
    assert (outcome.failure.stage, outcome.failure.reason) == (Stage.AUTH, Reason.AUTH)
    assert "other" not in str(outcome.failure)

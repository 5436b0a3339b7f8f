"""What a user may not see, by the authorizer of Apache Kafka: it is told, never silent."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from exporter.kafka import families as kafka
from exporter.probing.probe import SharedClients
from exporter.probing.runner import Outcome
from exporter.verdict import Reason, Stage, Verdict
from tests.clients.kafka.asking import once, part, values
from tests.fixtures.kafkas import PASSWORD, USER, KafkaCluster
from tests.kafka.doing import commit, commit_many, create, write

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


async def test_a_wrong_password_is_told(kafkas: KafkaCluster, shared: SharedClients) -> None:
    """Nothing is known then, and it is no fault of the cluster's."""
    outcome = await once(shared, kafkas.first.sasl_port, timeout=20.0, security=LOGIN | {"password": "other"})
    assert outcome.verdict is Verdict.UNKNOWN
    assert outcome.failure is not None
    assert (outcome.failure.stage, outcome.failure.reason) == (Stage.AUTH, Reason.AUTH)
    assert "other" not in str(outcome.failure)

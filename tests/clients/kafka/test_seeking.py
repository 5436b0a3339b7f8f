"""Groups that no broker lists any more: gone, or kept by a coordinator that is moving; and those that go meanwhile."""

from __future__ import annotations

import time

import pytest

from exporter.clients.kafka import group_reading
from exporter.probing.probe import SharedClients
from exporter.verdict import Reason
from tests.clients.kafka.brokers import API, FakeCluster, FakeGroup, FakePartition
from tests.clients.kafka.test_cluster import cluster_at, read

KINDS = ("Classic", "Consumer", "Share")


def fleet(count: int = 2) -> FakeCluster:
    """Groups of each kind, of two brokers in turn."""
    groups = {
        f"{kind}-{number}": FakeGroup({("orders", 0): 90}, coordinator=1 + number % 2, type=kind)
        for kind in KINDS
        for number in range(count)
    }
    return FakeCluster(topics={"orders": {0: FakePartition(100), 1: FakePartition(200, leader=2)}}, groups=groups)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("code", "reason"), [(14, Reason.STARTING), (15, Reason.NO_LEADER), (16, Reason.NO_LEADER), (30, Reason.AUTH)]
)
async def test_a_group_that_nobody_lists_and_that_is_not_gone_is_told_until_it_is_back(
    shared: SharedClients, code: int, reason: Reason, kind: str
) -> None:
    """The coordinators of some move; all others are read as ever, and each reading says that some are missing."""
    brokers = fleet()
    async with brokers.running(nodes=2), cluster_at(shared, brokers.port()) as cluster:
        assert (await read(cluster)).failures["groups"] is None
        brokers.away = {f"{kind}-0": code}
        for _ in range(3):
            reading = await read(cluster)
            failure = reading.failures["groups"]
            assert isinstance(failure, Exception)
            assert f"group {kind}-0, which no broker lists any more" in str(failure)
            assert getattr(failure, "reason", None) is reason
            assert set(reading.groups) == set(brokers.groups) - {f"{kind}-0"}
        brokers.away.clear()
        reading = await read(cluster)
    assert reading.failures["groups"] is None
    assert set(reading.groups) == set(brokers.groups)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_group_is_gone_where_its_coordinator_says_so(shared: SharedClients, kind: str) -> None:
    brokers = fleet()
    async with brokers.running(nodes=2), cluster_at(shared, brokers.port()) as cluster:
        await read(cluster)
        brokers.coordinators = {f"{kind}-1": 2}
        del brokers.groups[f"{kind}-1"]
        brokers.asked.clear()
        reading = await read(cluster)
        assert reading.failures["groups"] is None
        assert set(reading.groups) == set(brokers.groups)
        once = dict(brokers.asked)
        brokers.asked.clear()
        assert (await read(cluster)).failures["groups"] is None
        described = {key: number for key, number in once.items() if number > brokers.asked[key]}
    assert sum(described.values()) - sum(brokers.asked[key] for key in described) == 1  # it alone, and once
    assert {node for node, _ in described} == {2}


@pytest.mark.parametrize("kind", KINDS)
async def test_another_broker_that_calls_a_group_gone_is_believed_the_second_time(shared: SharedClients, kind: str) -> None:
    """It has taken over what it may have read in part; meanwhile the group may come back."""
    brokers = fleet()
    async with brokers.running(nodes=2), cluster_at(shared, brokers.port()) as cluster:
        await read(cluster)
        for back in (True, False):
            group = brokers.groups.pop(f"{kind}-1")
            brokers.coordinators = {f"{kind}-1": 1}
            assert f"group {kind}-1" in str((await read(cluster)).failures["groups"])
            if back:
                brokers.groups[f"{kind}-1"] = group
                assert f"{kind}-1" in (reading := await read(cluster)).groups
                assert reading.failures["groups"] is None
        assert (await read(cluster)).failures["groups"] is None


@pytest.mark.parametrize("kind", KINDS)
async def test_a_group_that_was_taken_over_since_it_was_not_listed_is_read(shared: SharedClients, kind: str) -> None:
    brokers = fleet()
    async with brokers.running(nodes=2), cluster_at(shared, brokers.port()) as cluster:
        await read(cluster)
        brokers.groups[f"{kind}-1"].coordinator = 1
        brokers.away = {f"{kind}-1": 0}  # not listed, and there once it is asked for
        reading = await read(cluster)
    assert reading.failures["groups"] is None
    found = reading.groups[f"{kind}-1"]
    assert (found.coordinator, found.state, found.commits) == (1, "stable", {"orders": {0: 90}})


async def test_a_group_of_which_nothing_is_there_but_its_name_is_gone(shared: SharedClients) -> None:
    """Of a broker that calls whatever it is asked for an empty group, as the demo's does."""
    brokers = fleet()
    async with brokers.running(nodes=2), cluster_at(shared, brokers.port()) as cluster:
        await read(cluster)
        brokers.away = {"Classic-1": 0}
        brokers.groups["Classic-1"] = FakeGroup(coordinator=2, state="Empty", members=0)
        for _ in range(2):
            brokers.asked.clear()
            reading = await read(cluster)
            assert reading.failures["groups"] is None
            assert "Classic-1" not in reading.groups
        assert brokers.asked[2, API.DESCRIBE] == 0  # it is not asked for again


@pytest.mark.parametrize("kind", KINDS)
async def test_a_group_that_is_deleted_while_it_is_read_is_gone_and_no_failure(shared: SharedClients, kind: str) -> None:
    """Listed a moment before: of each kind the coordinator says it otherwise."""
    brokers = fleet()
    async with brokers.running(nodes=2), cluster_at(shared, brokers.port()) as cluster:
        brokers.deleted = {f"{kind}-0", f"{kind}-1"}
        for name in brokers.deleted:
            brokers.groups[name].commits.clear()
        for _ in range(2):
            reading = await read(cluster)
            assert reading.failures["groups"] is None
            assert set(reading.groups) == set(brokers.groups) - brokers.deleted


async def test_while_a_broker_does_not_list_its_groups_none_is_looked_for_and_none_forgotten(shared: SharedClients) -> None:
    brokers = fleet()
    async with brokers.running(nodes=2), cluster_at(shared, brokers.port()) as cluster:
        await read(cluster)
        brokers.errors = {(2, API.LIST): 14}
        brokers.away = {"Classic-0": 16}
        brokers.asked.clear()
        assert "list of groups" in str((await read(cluster)).failures["groups"])
        assert brokers.asked[2, API.DESCRIBE] == 0
        brokers.errors.clear()
        brokers.nodes.pop(2)  # and it is gone for good: nobody has said that its groups are
        reading = await read(cluster)
        assert set(reading.groups) == {"Consumer-0", "Share-0"}
        assert "(and 3 more)" in str(reading.failures["groups"])


async def test_two_thousand_groups_that_are_gone_cost_forty_requests_once(shared: SharedClients) -> None:
    brokers = FakeCluster(
        topics={"orders": {0: FakePartition(100)}},
        groups={f"g-{number}": FakeGroup({("orders", 0): 90}) for number in range(2000)},
    )
    async with brokers.running(nodes=3), cluster_at(shared, brokers.port()) as cluster:
        assert len((await read(cluster)).groups) == 2000
        brokers.coordinators = dict.fromkeys(brokers.groups, 1)
        brokers.groups.clear()
        brokers.asked.clear()
        began = time.thread_time()
        reading = await read(cluster)
        took = time.thread_time() - began
        assert (reading.groups, reading.failures["groups"]) == ({}, None)
        assert {at: number for at, number in brokers.asked.items() if at[1] == API.DESCRIBE} == {(1, API.DESCRIBE): 40}
        assert (await read(cluster)).failures["groups"] is None
        assert brokers.asked[1, API.DESCRIBE] == 40
    assert took < 2


async def test_what_is_kept_of_groups_is_bounded(shared: SharedClients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_reading, "_MOST_KEPT", 4)
    brokers = fleet()
    async with brokers.running(nodes=2), cluster_at(shared, brokers.port()) as cluster:
        await read(cluster)
        brokers.away = dict.fromkeys(brokers.groups, 16)
        assert "(and 3 more)" in str((await read(cluster)).failures["groups"])


async def test_groups_whose_coordinator_nobody_is_are_told_of_from_the_first_reading_on(shared: SharedClients) -> None:
    brokers = fleet()
    brokers.topics["__consumer_offsets"] = {number: FakePartition(leader=1 if number else -1) for number in range(3)}
    async with brokers.running(nodes=2), cluster_at(shared, brokers.port()) as cluster:
        failure = (await read(cluster)).failures["groups"]
        assert "1 partitions of __consumer_offsets have no leader" in str(failure)
        assert getattr(failure, "reason", None) is Reason.NO_LEADER
        brokers.topics["__consumer_offsets"][0].leader = 2
        assert (await read(cluster)).failures["groups"] is None

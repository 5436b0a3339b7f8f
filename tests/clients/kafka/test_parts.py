"""Groups and offsets of scripted brokers: one error never takes more with it than it must, and is always told."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from exporter.clients.kafka import cluster as cluster_module
from exporter.clients.kafka import connection, groups
from exporter.clients.kafka.requests import CLUSTER_DESCRIBE
from exporter.demo.processes import free_port
from exporter.kafka import families as kafka
from exporter.probing.probe import SharedClients
from exporter.probing.runner import run_probe
from exporter.verdict import Reason, Stage, Verdict
from tests.clients.kafka.asking import once, part, probe_of, values
from tests.clients.kafka.brokers import API, FakeCluster, FakeGroup, FakePartition


def two_brokers() -> FakeCluster:
    """Orders on both brokers, a group on each, one dead letter."""
    return FakeCluster(
        topics={
            "orders": {0: FakePartition(100), 1: FakePartition(200, leader=2)},
            "mail": {0: FakePartition(50, leader=1)},
            "orders-dlt": {0: FakePartition(9, beginning=2)},
        },
        groups={
            "billing": FakeGroup({("orders", 0): 90, ("orders", 1): 150}),
            "mailer": FakeGroup({("mail", 0): 50}, coordinator=2, members=3),
        },
    )


async def test_lag_is_end_minus_commit_by_partition_and_topic(shared: SharedClients) -> None:
    """Over both leaders and both coordinators; a group without lag has zero, one without commits has nothing."""
    cluster = two_brokers()
    cluster.groups["fresh"] = FakeGroup(state="Empty", members=0)
    async with cluster.running(nodes=2):
        outcome = await once(shared, cluster.port())
    assert outcome.verdict is Verdict.UP
    assert dict(outcome.parts) == {"groups": None, "offsets": None}
    assert values(outcome, kafka.BROKERS) == {(): 2}
    assert values(outcome, kafka.LAG) == {
        ("billing", "orders", "0"): 10,
        ("billing", "orders", "1"): 50,
        ("mailer", "mail", "0"): 0,
    }
    assert values(outcome, kafka.TOPIC_LAG) == {("billing", "orders"): 60, ("mailer", "mail"): 0}
    assert values(outcome, kafka.MEMBERS) == {("billing",): 1, ("mailer",): 3, ("fresh",): 0}
    assert values(outcome, kafka.DLQ_MESSAGES) == {("orders-dlt",): 7}
    assert values(outcome, kafka.END_OFFSET)["orders", "1"] == 200
    assert not values(outcome, kafka.PARTITION_ERROR)


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("Stable", "stable"),
        ("Empty", "empty"),
        ("PreparingRebalance", "preparing_rebalance"),
        ("CompletingRebalance", "completing_rebalance"),
        ("Reconciling", "reconciling"),
        ("Assigning", "assigning"),
        ("Anew", "unknown"),
        ("", "unknown"),
    ],
)
async def test_states_are_of_a_closed_list(shared: SharedClients, said: str, state: str) -> None:
    """Whatever the broker says, one series with one of six states."""
    cluster = FakeCluster(groups={"g": FakeGroup(state=said)})
    async with cluster.running():
        outcome = await once(shared, cluster.port())
    assert values(outcome, kafka.STATE) == {("g", state): 1}


async def test_a_dead_group_has_no_members_and_one_with_commits_is_not_dead(shared: SharedClients) -> None:
    """Groups of the new protocol look dead to the old request, where the broker does not tell kinds; saying zero members of
    them would be a lie.
    """
    cluster = two_brokers()
    cluster.versions[API.LIST] = (0, 4)
    cluster.groups = {
        "gone": FakeGroup(state="Dead", members=0),
        "new-protocol": FakeGroup({("orders", 0): 99}, state="Dead", members=0),
    }
    async with cluster.running(nodes=2):
        outcome = await once(shared, cluster.port())
    assert values(outcome, kafka.STATE) == {("gone", "dead"): 1, ("new-protocol", "unknown"): 1}
    assert not values(outcome, kafka.MEMBERS)
    assert values(outcome, kafka.TOPIC_LAG) == {("new-protocol", "orders"): 1}


@pytest.mark.parametrize(
    ("code", "reason"),
    [(14, Reason.STARTING), (15, Reason.NO_LEADER), (16, Reason.NO_LEADER), (30, Reason.AUTH), (25, Reason.QUERY_FAILED)],
)
async def test_a_groups_error_leaves_the_other_groups(shared: SharedClients, code: int, reason: Reason) -> None:
    """Its series are withheld rather than zero, the part tells, and the verdict stands."""
    cluster = two_brokers()
    cluster.groups["mailer"].fetch_error = cluster.groups["mailer"].describe_error = code
    async with cluster.running(nodes=2):
        outcome = await once(shared, cluster.port())
    assert outcome.verdict is Verdict.UP
    assert part(outcome, "groups") == (Stage.CHECK, reason)
    assert part(outcome, "offsets") is None
    assert values(outcome, kafka.TOPIC_LAG) == {("billing", "orders"): 60}
    assert values(outcome, kafka.MEMBERS) == {("billing",): 1}
    failure = outcome.parts["groups"]
    assert failure is not None
    assert "group mailer" in failure.detail
    assert "(and 1 more)" in failure.detail


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (FakePartition(leader=-1, metadata_error=5), "no_leader"),
        (FakePartition(leader=7), "no_leader"),
        (FakePartition(leader=2, error=6), "not_leader"),
        (FakePartition(leader=2, error=3), "unknown_topic"),
        (FakePartition(leader=2, error=29), "not_authorized"),
        (FakePartition(leader=2, error=56), "storage"),
        (FakePartition(leader=2, error=78), "not_available"),
        (FakePartition(leader=2, error=999), "other"),
        (FakePartition(leader=2, end=-1), "other"),
    ],
)
async def test_a_partitions_error_leaves_the_other_partitions(
    shared: SharedClients, change: FakePartition, reason: str
) -> None:
    """The topic's sum is withheld, since it would be too small; the partitions that are known stay."""
    cluster = two_brokers()
    cluster.topics["orders"][1] = change
    async with cluster.running(nodes=2):
        outcome = await once(shared, cluster.port())
    assert outcome.verdict is Verdict.UP
    assert outcome.parts["groups"] is None
    assert values(outcome, kafka.PARTITION_ERROR) == {("orders", "1", reason): 1}
    assert values(outcome, kafka.LAG) == {("billing", "orders", "0"): 10, ("mailer", "mail", "0"): 0}
    assert values(outcome, kafka.TOPIC_LAG) == {("mailer", "mail"): 0}
    assert ("orders", "1") not in values(outcome, kafka.END_OFFSET)
    failure = outcome.parts["offsets"]
    assert failure is not None
    assert failure.detail.startswith(f"1 of 4 partitions, such as orders/1: {reason}")


async def test_a_partition_missing_from_the_answer_is_an_error(shared: SharedClients) -> None:
    """Silence is not zero."""
    cluster = two_brokers()
    cluster.omits.add(("orders", 1))
    async with cluster.running(nodes=2):
        outcome = await once(shared, cluster.port())
    assert values(outcome, kafka.PARTITION_ERROR) == {("orders", "1", "other"): 1}
    assert part(outcome, "offsets") == (Stage.CHECK, Reason.QUERY_FAILED)
    assert values(outcome, kafka.TOPIC_LAG) == {("mailer", "mail"): 0}


async def test_what_was_not_asked_for_makes_no_series(shared: SharedClients) -> None:
    """Label values come from names that were looked for, however much a broker tells."""
    cluster = two_brokers()
    cluster.strays = True
    async with cluster.running(nodes=2):
        outcome = await once(shared, cluster.port())
    assert not any("stray" in labels for samples in outcome.samples.values() for labels in samples)
    assert not values(outcome, kafka.STATE)


async def test_two_brokers_that_list_one_group_do_not_wipe_it(shared: SharedClients) -> None:
    """As while a group moves: one of the two answers, and what it said stays."""
    cluster = two_brokers()
    async with cluster.running(nodes=2):
        cluster.nodes[3] = cluster.nodes[1]
        outcome = await once(shared, cluster.port())
    assert values(outcome, kafka.TOPIC_LAG) == {("billing", "orders"): 60, ("mailer", "mail"): 0}


async def test_a_commit_that_cannot_be_read_withholds_the_sum(shared: SharedClients) -> None:
    """The partition is named, the group's other partitions stay."""
    cluster = two_brokers()
    cluster.groups["billing"].faults["orders", 1] = 29
    async with cluster.running(nodes=2):
        outcome = await once(shared, cluster.port())
    assert values(outcome, kafka.PARTITION_ERROR) == {("orders", "1", "not_authorized"): 1}
    assert values(outcome, kafka.TOPIC_LAG) == {("mailer", "mail"): 0}
    assert values(outcome, kafka.LAG)["billing", "orders", "0"] == 10
    assert part(outcome, "groups") == (Stage.CHECK, Reason.AUTH)


async def test_a_commit_beyond_the_end_is_told_and_makes_up_for_nothing(shared: SharedClients) -> None:
    """A topic that was deleted and made anew has less than was committed: messages that come now are skipped."""
    cluster = two_brokers()
    cluster.groups["billing"].commits["orders", 0] = 5000
    async with cluster.running(nodes=2):
        probe = probe_of(shared, cluster.port())
        first, second = [await run_probe(probe, 5.0) for _ in range(2)]
        await probe.close()
    for outcome in (first, second):
        assert values(outcome, kafka.LAG)["billing", "orders", "0"] == -4900
        assert values(outcome, kafka.TOPIC_LAG)["billing", "orders"] == 50
    assert ("billing", "ahead") in values(second, kafka.VERDICT)


async def test_what_a_group_does_is_told_with_what_its_sums_are_of(shared: SharedClients) -> None:
    """One verdict for each group; of how many partitions the lag is; who shares out the partitions, and where."""
    cluster = two_brokers()
    cluster.groups["half"] = FakeGroup({("orders", 0): 100}, assigned={"orders": [0, 1], "other": [7]})
    cluster.groups["fresh"] = FakeGroup(state="Empty", members=0)
    cluster.groups["odd"] = FakeGroup({("mail", 0): 50}, assignment=b"no assignment")
    async with cluster.running(nodes=2):
        outcome = await once(shared, cluster.port())
    assert set(values(outcome, kafka.VERDICT)) == {
        ("billing", "unknown"), ("mailer", "ok"), ("half", "ok"), ("fresh", "empty"), ("odd", "ok")
    }  # fmt: skip
    assert values(outcome, kafka.COMMITTED) == {
        ("billing", "orders"): 2, ("mailer", "mail"): 1, ("half", "orders"): 1, ("odd", "mail"): 1
    }  # fmt: skip
    assert values(outcome, kafka.UNCOMMITTED)["half", "orders"] == 1
    assert set(values(outcome, kafka.COORDINATOR)) == {
        ("billing", "1", "range"), ("mailer", "2", "range"), ("half", "1", "range"), ("fresh", "1", "range"),
        ("odd", "1", "range"),
    }  # fmt: skip


@pytest.mark.parametrize(("kind", "key"), [("Consumer", API.DESCRIBE_CONSUMER), ("Share", API.DESCRIBE_SHARE)])
async def test_groups_of_the_new_protocols_have_state_members_and_assignments(
    shared: SharedClients, kind: str, key: int
) -> None:
    """To the old request they look dead; each kind is asked in its own, and the broker's error is told."""
    cluster = two_brokers()
    cluster.groups["new"] = FakeGroup(
        {("orders", 0): 100}, type=kind, members=2, state="Reconciling", assigned={"orders": [0, 1], "stray": [0]}
    )
    cluster.groups["refused"] = FakeGroup(type=kind, describe_error=30)
    async with cluster.running(nodes=2):
        outcome = await once(shared, cluster.port())
        assert (cluster.asked[1, key], cluster.asked[1, API.DESCRIBE]) == (1, 1)
    assert values(outcome, kafka.STATE)["new", "reconciling"] == 1
    assert values(outcome, kafka.MEMBERS)["new",] == 2
    assert values(outcome, kafka.UNCOMMITTED)["new", "orders"] == 1
    assert ("new", "1", "uniform") in values(outcome, kafka.COORDINATOR)
    assert part(outcome, "groups") == (Stage.CHECK, Reason.AUTH)
    assert ("refused",) not in values(outcome, kafka.MEMBERS)


NO_GROUPS = (Stage.CHECK, Reason.AUTH)
GONE = (Stage.CHECK, Reason.QUERY_FAILED)


@pytest.mark.parametrize(
    ("allowed", "expected", "failure"),
    [
        (CLUSTER_DESCRIBE, [], None),
        (CLUSTER_DESCRIBE, ["billing", "mailer"], None),
        (CLUSTER_DESCRIBE, ["billing", "gone"], GONE),
        (0, [], NO_GROUPS),
        (0, ["billing", "mailer"], None),
        (0, ["billing", "hidden"], NO_GROUPS),
        (-(1 << 31), [], None),
        (-(1 << 31), ["gone"], GONE),
    ],
)
async def test_nothing_and_not_allowed_to_see_are_not_the_same(
    shared: SharedClients, allowed: int, expected: list[str], failure: tuple[Stage, Reason] | None
) -> None:
    """A broker leaves out what may not be described: that it does so is told, unless all that is wanted was named."""
    cluster = two_brokers()
    cluster.allowed = allowed
    async with cluster.running(nodes=2):
        outcome = await once(shared, cluster.port(), expected_groups=expected)
    assert outcome.verdict is Verdict.UP
    assert part(outcome, "groups") == failure
    assert set(values(outcome, kafka.MEMBERS)) == {("billing",), ("mailer",)}


@pytest.mark.parametrize(
    ("allowed", "topics", "expected", "failure"),
    [
        (0, True, [], None),
        (0, False, [], NO_GROUPS),
        (CLUSTER_DESCRIBE, False, [], None),
        (0, True, ["orders"], None),
        (0, True, ["orders", "hidden"], NO_GROUPS),
        (CLUSTER_DESCRIBE, True, ["gone"], GONE),
    ],
)
async def test_topics_that_are_not_seen_are_told(
    shared: SharedClients, allowed: int, topics: bool, expected: list[str], failure: tuple[Stage, Reason] | None
) -> None:
    """As of groups."""
    cluster = two_brokers()
    cluster.allowed = allowed
    if not topics:
        cluster.topics.clear()
    async with cluster.running(nodes=2):
        outcome = await once(shared, cluster.port(), expected_topics=expected, expected_groups=["billing"])
    assert part(outcome, "offsets") == failure


async def test_sums_can_be_all_that_is_exported(shared: SharedClients) -> None:
    """For clusters with more partitions than anyone looks at."""
    cluster = two_brokers()
    async with cluster.running(nodes=2):
        outcome = await once(shared, cluster.port(), per_partition=False)
    assert values(outcome, kafka.TOPIC_LAG) == {("billing", "orders"): 60, ("mailer", "mail"): 0}
    assert not values(outcome, kafka.LAG)
    assert not values(outcome, kafka.END_OFFSET)


async def test_brokers_are_told_one_by_one_and_partitions_that_are_not_whole(shared: SharedClients) -> None:
    """One that answers, one that does not, one that only its replicas know of; over internal topics too."""
    cluster = two_brokers()
    cluster.topics["__consumer_offsets"] = {
        0: FakePartition(5, replicas=[1, 2, 7], in_sync=[1]), 1: FakePartition(5, leader=-1)
    }  # fmt: skip
    async with cluster.running(nodes=2):
        cluster.hangs.add((2, API.LIST))
        outcome = await once(shared, cluster.port(), timeout=2)
    assert values(outcome, kafka.BROKER_UP) == {("1",): 1, ("2",): 0, ("7",): 0}
    assert set(values(outcome, kafka.BROKER_SECONDS)) == {("1",)}
    assert set(values(outcome, kafka.BROKER_ADDRESS)) == {
        (str(node), f"127.0.0.1:{cluster.port(node)}", "") for node in (1, 2)
    }
    whole = {kafka.PARTITIONS: 6, kafka.UNDER_REPLICATED: 1, kafka.OFFLINE: 1}
    assert {family: values(outcome, family)[()] for family in whole} == whole


async def test_a_dead_letter_topic_is_withheld_unless_all_of_it_is_known(shared: SharedClients) -> None:
    """A depth over half of the partitions would be too small."""
    cluster = two_brokers()
    cluster.topics["orders-dlt"][1] = FakePartition(5, error=6)
    async with cluster.running(nodes=2):
        outcome = await once(shared, cluster.port())
    assert not values(outcome, kafka.DLQ_MESSAGES)
    assert values(outcome, kafka.PARTITION_ERROR) == {("orders-dlt", "1", "not_leader"): 1}


async def test_a_topic_that_is_refused_is_told(shared: SharedClients) -> None:
    """It has no partitions to blame."""
    cluster = two_brokers()
    cluster.topics["secret"] = {}
    cluster.topic_errors["secret"] = 29
    async with cluster.running(nodes=2):
        outcome = await once(shared, cluster.port())
    failure = outcome.parts["offsets"]
    assert failure is not None
    assert failure.detail == "1 topics, such as secret: TOPIC_AUTHORIZATION_FAILED"
    assert values(outcome, kafka.TOPIC_LAG)["billing", "orders"] == 60


@pytest.mark.looptime
@pytest.mark.parametrize("key", [API.LIST, API.DESCRIBE, API.COMMITS])
async def test_a_broker_that_hangs_in_groups_costs_its_groups_and_partitions_only(shared: SharedClients, key: int) -> None:
    """It is given up in time, not asked again, and the others' series stay."""
    cluster = two_brokers()
    cluster.hangs.add((2, key))
    async with cluster.running(nodes=2):
        probe = probe_of(shared, cluster.port())
        outcome = await run_probe(probe, 1.0)
        await probe.close()
        assert cluster.asked[2, API.OFFSETS] == 0
    assert outcome.verdict is Verdict.UP
    assert part(outcome, "groups") == (Stage.QUERY, Reason.TIMEOUT)
    assert part(outcome, "offsets") == (Stage.QUERY, Reason.TIMEOUT)
    assert values(outcome, kafka.PARTITION_ERROR) == {("orders", "1", "timeout"): 1}
    assert values(outcome, kafka.LAG) == {("billing", "orders", "0"): 10}
    assert values(outcome, kafka.MEMBERS)["billing",] == 1


async def test_a_leader_that_hangs_costs_its_partitions_only(shared: SharedClients) -> None:
    """What the other leaders said is recorded before the deadline."""
    cluster = two_brokers()
    cluster.hangs.add((2, API.OFFSETS))
    async with cluster.running(nodes=2):
        outcome = await once(shared, cluster.port(), timeout=1.0)
    assert outcome.verdict is Verdict.UP
    assert outcome.parts["groups"] is None
    assert part(outcome, "offsets") == (Stage.QUERY, Reason.TIMEOUT)
    assert values(outcome, kafka.TOPIC_LAG) == {("mailer", "mail"): 0}
    assert values(outcome, kafka.PARTITION_ERROR) == {("orders", "1", "timeout"): 1}


async def test_a_broker_that_is_not_there_costs_its_groups_and_partitions_only(shared: SharedClients) -> None:
    """Metadata still lists it; it refuses."""
    cluster = two_brokers()
    async with cluster.running():
        gone = free_port()
        cluster.nodes[2] = ("127.0.0.1", gone)
        outcome = await once(shared, cluster.port())
    assert outcome.verdict is Verdict.UP
    assert part(outcome, "groups") == (Stage.CONNECT, Reason.CONNECT_REFUSED)
    assert part(outcome, "offsets") == (Stage.CONNECT, Reason.CONNECT_REFUSED)
    assert values(outcome, kafka.PARTITION_ERROR) == {("orders", "1", "unreachable"): 1}
    assert values(outcome, kafka.BROKERS) == {(): 2}
    failure = outcome.parts["groups"]
    assert failure is not None
    assert failure.detail.startswith(f"broker 2 at 127.0.0.1:{gone}: ")


async def test_a_list_that_is_refused_leaves_the_offsets(shared: SharedClients) -> None:
    """The connection is sound, so its partitions are still asked for."""
    cluster = two_brokers()
    cluster.errors[2, API.LIST] = 31
    async with cluster.running(nodes=2):
        outcome = await once(shared, cluster.port())
    assert part(outcome, "groups") == (Stage.CHECK, Reason.AUTH)
    assert outcome.parts["offsets"] is None
    assert values(outcome, kafka.TOPIC_LAG) == {("billing", "orders"): 60}


@pytest.mark.parametrize(("key", "name"), [(API.LIST, "groups"), (API.OFFSETS, "offsets")])
async def test_a_request_that_the_broker_does_not_speak_fails_its_part(shared: SharedClients, key: int, name: str) -> None:
    """Too new, or not there at all; the verdict and the other part stand."""
    for span in ({key: (20, 30)}, {}):
        cluster = two_brokers()
        cluster.versions = {api: versions for api, versions in cluster.versions.items() if api != key} | span
        async with cluster.running(nodes=2):
            outcome = await once(shared, cluster.port())
        assert outcome.verdict is Verdict.UP
        assert part(outcome, name) == (Stage.QUERY, Reason.PROTOCOL)
        assert [found for found in outcome.parts if outcome.parts[found] is None] == list({"groups", "offsets"} - {name})


async def test_old_versions_are_spoken(shared: SharedClients) -> None:
    """The oldest that carry what is needed."""
    cluster = two_brokers()
    cluster.versions |= {2: (0, 1), 3: (0, 1), 9: (0, 1), 15: (0, 0), 16: (0, 0)}
    async with cluster.running(nodes=2):
        outcome = await once(shared, cluster.port())
    assert dict(outcome.parts) == {"groups": None, "offsets": None}
    assert values(outcome, kafka.TOPIC_LAG) == {("billing", "orders"): 60, ("mailer", "mail"): 0}


async def test_filters_say_which_groups_and_topics_are_looked_at(shared: SharedClients) -> None:
    """Patterns match whole names, exclusion wins, internal topics and groups that do not consume never count."""
    cluster = two_brokers()
    cluster.topics |= {"__consumer_offsets": {0: FakePartition(1)}, "orders2": {0: FakePartition(1)}}
    cluster.groups |= {
        "connect-cluster": FakeGroup(kind="connect"),
        "test-1": FakeGroup({("orders", 0): 1}),
        "": FakeGroup(),
    }
    async with cluster.running(nodes=2):
        everything = await once(shared, cluster.port())
        outcome = await once(
            shared, cluster.port(), groups={"exclude": ["test-.*", "mailer"]}, topics={"include": ["orders", "mail"]}
        )
    assert not any("__consumer_offsets" in labels for labels in values(everything, kafka.END_OFFSET))
    assert {group for group, _ in values(everything, kafka.STATE)} == {"billing", "mailer", "test-1"}
    assert {topic for topic, _ in values(outcome, kafka.END_OFFSET)} == {"orders", "mail"}
    assert {group for group, _ in values(outcome, kafka.STATE)} == {"billing"}


async def test_more_partitions_than_are_read_fail_the_part_and_record_no_half(shared: SharedClients) -> None:
    """States and members are still told."""
    cluster = two_brokers()
    async with cluster.running(nodes=2):
        outcome = await once(shared, cluster.port(), max_partitions=3)
        assert cluster.asked[1, API.COMMITS] == cluster.asked[1, API.OFFSETS] == 0
    assert outcome.verdict is Verdict.UP
    assert outcome.parts["groups"] is None
    assert part(outcome, "offsets") == (Stage.CHECK, Reason.TOO_LARGE)
    assert len(values(outcome, kafka.STATE)) == 2
    assert not values(outcome, kafka.END_OFFSET)


async def test_more_groups_than_are_read_fail_the_part(shared: SharedClients, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups come from whoever may commit; their number is bounded, and so is what is kept of them."""
    monkeypatch.setattr(groups, "MAX_GROUPS", 20)
    monkeypatch.setattr(groups, "MAX_COMMITS", 10)
    cluster = two_brokers()
    cluster.groups = {f"g{number}": FakeGroup({("orders", 0): 1}) for number in range(30)}
    async with cluster.running(nodes=2):
        outcome = await once(shared, cluster.port())
    assert part(outcome, "groups") == (Stage.CHECK, Reason.TOO_LARGE)
    assert len(values(outcome, kafka.STATE)) == 20
    assert len(values(outcome, kafka.TOPIC_LAG)) == 10


async def test_more_groups_described_than_were_asked_for_are_not_looked_through(
    shared: SharedClients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer may tell of a hundred thousand."""
    monkeypatch.setattr(groups, "_STRAYS", -1)  # so one is as many too many
    cluster = two_brokers()
    async with cluster.running(nodes=2):
        outcome = await once(shared, cluster.port())
    assert outcome.verdict is Verdict.UP
    assert part(outcome, "groups") == (Stage.CHECK, Reason.MALFORMED)
    assert not values(outcome, kafka.STATE)


@pytest.mark.parametrize(("many", "in_thread"), [(1, False), (3, True)])
async def test_many_topics_without_partitions_are_looked_through_in_a_thread(
    shared: SharedClients, monkeypatch: pytest.MonkeyPatch, many: int, in_thread: bool
) -> None:
    """An answer has room for four hundred thousand: a second's matching of patterns."""
    threads: list[int] = []
    look_through = cluster_module._look_through

    def noted(*of: Any) -> Any:
        threads.append(threading.get_ident())
        return look_through(*of)

    monkeypatch.setattr(cluster_module, "_LARGE", 2)
    monkeypatch.setattr(cluster_module, "_look_through", noted)
    cluster = FakeCluster(topics={f"t{number}": {} for number in range(many)})
    async with cluster.running():
        assert (await once(shared, cluster.port())).verdict is Verdict.UP
    assert [each != threading.get_ident() for each in threads] == [in_thread]


@pytest.mark.parametrize("speaks", [True, False])
async def test_past_a_bound_groups_are_asked_for_whatever_they_have(
    shared: SharedClients, monkeypatch: pytest.MonkeyPatch, speaks: bool
) -> None:
    """Groups times partitions would be more than anyone reads; what is there is little. What is not selected is left out."""
    monkeypatch.setattr(groups, "MAX_ASKED", 40)
    cluster = two_brokers()
    cluster.serves_all = True
    if not speaks:
        cluster.versions[API.COMMITS] = (1, 1)
    cluster.groups = {f"g{number}": FakeGroup({("orders", 0): 1, ("mail", 0): 2}) for number in range(30)}
    async with cluster.running(nodes=2):
        outcome = await once(shared, cluster.port(), topics={"exclude": ["mail"]})
    assert len(values(outcome, kafka.STATE)) == 30
    if speaks:
        assert outcome.parts["groups"] is None
        assert values(outcome, kafka.TOPIC_LAG) == {(f"g{number}", "orders"): 99.0 for number in range(30)}
    else:
        assert part(outcome, "groups") == (Stage.CHECK, Reason.TOO_LARGE)
        assert not values(outcome, kafka.TOPIC_LAG)


def many_groups(count: int = 60) -> FakeCluster:
    """Groups on two coordinators, each somewhere else in orders."""
    cluster = two_brokers()
    cluster.groups = {
        f"g{number}": FakeGroup({("orders", 0): number, ("orders", 1): 100}, coordinator=1 + number % 2)
        for number in range(count)
    }
    return cluster


@pytest.mark.parametrize(("version", "together"), [(8, [5, 5, 25, 25]), (7, [])])
async def test_many_groups_are_asked_for_in_one_request_where_the_broker_offers_it(
    shared: SharedClients, version: int, together: list[int]
) -> None:
    """And one by one where it does not; what is read is the same."""
    cluster = many_groups()
    cluster.versions[API.COMMITS] = (1, version)
    async with cluster.running(nodes=2):
        outcome = await once(shared, cluster.port())
    assert sorted(cluster.together) == together
    assert cluster.asked[1, API.COMMITS] + cluster.asked[2, API.COMMITS] == (len(together) or 60)
    assert dict(outcome.parts) == {"groups": None, "offsets": None}
    assert values(outcome, kafka.TOPIC_LAG) == {(f"g{number}", "orders"): 200.0 - number for number in range(60)}


@pytest.mark.parametrize("version", [8, 3])
@pytest.mark.parametrize("code", [14, 15, 16, 30])
async def test_each_of_many_groups_has_its_own_error(shared: SharedClients, code: int, version: int) -> None:
    """Some may not be seen, are still being loaded, or have just moved: told by name, and the rest is read."""
    cluster = many_groups()
    cluster.versions[API.COMMITS] = (1, version)
    for number in (4, 20, 41):
        cluster.groups[f"g{number}"].fetch_error = code
    cluster.groups["g7"].faults["orders", 1] = 29
    async with cluster.running(nodes=2):
        outcome = await once(shared, cluster.port())
    failure = outcome.parts["groups"]
    assert failure is not None
    assert failure.reason is {14: Reason.STARTING, 30: Reason.AUTH}.get(code, Reason.NO_LEADER)
    assert "commits of group g4: " in failure.detail
    assert "(and 3 more)" in failure.detail
    told = set(range(60)) - {4, 20, 41}
    assert set(values(outcome, kafka.LAG)) == {
        (f"g{number}", "orders", at) for number in told for at in "01" if (number, at) != (7, "1")
    }


async def test_a_group_that_is_missing_from_the_answer_is_told(shared: SharedClients) -> None:
    """Rather than taken for one that has no commits: the answer speaks of somebody else."""
    cluster = many_groups(2)
    async with cluster.running(nodes=2):
        probe = probe_of(shared, cluster.port())
        await run_probe(probe, 5.0)
        cluster.strays = True
        outcome = await run_probe(probe, 5.0)
        await probe.close()
    failure = outcome.parts["groups"]
    assert failure is not None
    assert failure.reason is Reason.MALFORMED
    assert "commits of group g0: missing from the answer" in failure.detail
    assert not values(outcome, kafka.LAG)


async def test_an_answer_that_is_too_large_is_asked_for_in_halves(
    shared: SharedClients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What groups write beside their commits is not known beforehand. One that is too large alone costs itself alone."""
    monkeypatch.setattr(connection, "MAX_ANSWER_BYTES", 20_000)
    cluster = many_groups(50)
    for group in cluster.groups.values():
        group.metadata = "m" * 1000  # 25 groups have some 50 kB
    cluster.groups["g11"].metadata = "m" * 15_000
    async with cluster.running(nodes=2):
        outcome = await once(shared, cluster.port())
    failure = outcome.parts["groups"]
    assert failure is not None
    assert failure.reason is Reason.TOO_LARGE
    assert "commits of group g11: an answer of 60" in failure.detail
    assert "more)" not in failure.detail
    assert outcome.parts["offsets"] is None
    assert values(outcome, kafka.TOPIC_LAG) == {
        (f"g{number}", "orders"): 200.0 - number for number in range(50) if number != 11
    }
    assert [cluster.connections(node) for node in (1, 2)] == [1, 1]


@pytest.mark.measures
async def test_a_thousand_partitions_cost_little(shared: SharedClients) -> None:
    """Two brokers, five groups: the attempt's own computing stays far below the interval."""
    cluster = FakeCluster(
        topics={f"t{n}": {p: FakePartition(10, leader=1 + p % 2) for p in range(100)} for n in range(10)},
        groups={f"g{n}": FakeGroup({("t1", p): 4 for p in range(100)}, coordinator=1 + n % 2) for n in range(5)},
    )
    async with cluster.running(nodes=2):
        probe = probe_of(shared, cluster.port())
        await run_probe(probe, 5.0)
        started = time.process_time()
        outcome = await run_probe(probe, 5.0)
        spent = time.process_time() - started  # the scripted brokers' share, several times the probe's, included
        await probe.close()
    assert dict(outcome.parts) == {"groups": None, "offsets": None}
    assert len(values(outcome, kafka.END_OFFSET)) == 1000
    assert len(values(outcome, kafka.LAG)) == 500
    assert spent < 1.0


async def test_long_answers_are_read_whole(shared: SharedClients) -> None:
    """Decoded beside the loop, with nothing lost."""
    cluster = FakeCluster(topics={"wide": {number: FakePartition(3) for number in range(6000)}})
    async with cluster.running():
        outcome = await once(shared, cluster.port(), max_partitions=6000, timeout=10.0)
    assert dict(outcome.parts) == {"groups": None, "offsets": None}
    assert len(values(outcome, kafka.END_OFFSET)) == 6000


async def test_what_retention_took_and_what_a_transaction_holds_back(shared: SharedClients) -> None:
    """Below the beginning of the log messages are lost; beyond an open transaction they are there and cannot be read."""
    now = int(time.time() * 1000)
    times = [now - 5_000_000] * 50 + [now - 800_000] * 30 + [now - 300_000] * 20
    topics = {
        "orders": {0: FakePartition(100, beginning=50, times=times), 1: FakePartition(100, times=times, stable=80)},
        "quiet": {0: FakePartition(100, beginning=100, times=times)},
    }
    commits = {("orders", 0): 20, ("orders", 1): 60, ("quiet", 0): 100}
    cluster = FakeCluster(topics=topics, groups={"billing": FakeGroup(commits)})
    async with cluster.running(nodes=1):
        probe = probe_of(shared, cluster.port())
        for _ in range(3):  # a reading asks by timestamp so many times only
            outcome = await run_probe(probe, 5.0)
        await probe.close()
    assert dict(outcome.parts) == {"groups": None, "offsets": None}
    assert values(outcome, kafka.LOST) == {("billing", "orders"): 30, ("billing", "quiet"): 0}
    assert values(outcome, kafka.MARGIN) == {("billing", "orders"): 0}
    assert values(outcome, kafka.OPEN_MESSAGES) == {("orders", "1"): 20}
    assert values(outcome, kafka.OPEN_SECONDS) == {("orders", "1"): pytest.approx(300, rel=0.3)}
    assert values(outcome, kafka.LAG_SECONDS)["billing", "orders", "0"] == pytest.approx(800, rel=0.3)
    ages = values(outcome, kafka.TOPIC_LAG_SECONDS)
    assert ages == {("billing", "orders"): pytest.approx(800, rel=0.3), ("billing", "quiet"): 0}


async def test_an_age_that_no_timestamp_tells_is_left_out(shared: SharedClients) -> None:
    topics = {"orders": {0: FakePartition(100)}}  # answers -1 to all times
    cluster = FakeCluster(topics=topics, groups={"billing": FakeGroup({("orders", 0): 20})})
    async with cluster.running(nodes=1):
        outcome = await once(shared, cluster.port())
    assert values(outcome, kafka.TOPIC_LAG) == {("billing", "orders"): 80}
    assert values(outcome, kafka.TOPIC_LAG_SECONDS) == values(outcome, kafka.LAG_SECONDS) == {}


@pytest.mark.parametrize("counts", [True, False])
async def test_a_share_group_is_as_far_behind_as_its_start_offset_unless_the_broker_counts(
    shared: SharedClients, counts: bool
) -> None:
    """Without members it has stopped, where something is left; a partition's error withholds the sum."""
    cluster = two_brokers()
    cluster.versions[API.SHARED] = (0, int(counts))
    starts = {("orders", 0): 90, ("orders", 1): 200}
    cluster.groups["new"] = FakeGroup(starts, left={("orders", 0): 4, ("orders", 1): 0}, type="Share", members=0)
    cluster.groups["half"] = FakeGroup(starts, type="Share", faults={("orders", 1): 3})
    cluster.groups["unbegun"] = FakeGroup({("orders", 0): -1}, type="Share")
    async with cluster.running(nodes=2):
        outcome = await once(shared, cluster.port())
        assert cluster.asked[1, API.SHARED] == 1
    lag = 4 if counts else 10
    lags = values(outcome, kafka.LAG)
    assert {at: lags[at] for at in lags if at[0] == "new"} == {("new", "orders", "0"): lag, ("new", "orders", "1"): 0}
    assert values(outcome, kafka.TOPIC_LAG)["new", "orders"] == lag
    assert values(outcome, kafka.SHARE_START) == {
        ("new", "orders", "0"): 90, ("new", "orders", "1"): 200, ("half", "orders", "0"): 90
    }  # fmt: skip
    assert ("new", "stopped") in values(outcome, kafka.VERDICT)
    assert ("half", "orders") not in values(outcome, kafka.TOPIC_LAG)
    assert not [at for at in lags if at[0] == "unbegun"]
    assert values(outcome, kafka.PARTITION_ERROR) == {("orders", "1", "unknown_topic"): 1}
    assert part(outcome, "groups") == (Stage.CHECK, Reason.QUERY_FAILED)


async def test_partitions_under_their_topics_minimum_are_counted_and_none_where_it_may_not_be_known(
    shared: SharedClients,
) -> None:
    """Brokers want no more replicas than there are, so a whole partition is never under it, whoever may see that."""
    cluster = two_brokers()
    whole, lacking = FakePartition(replicas=[1, 2], in_sync=[1, 2]), FakePartition(replicas=[1, 2], in_sync=[1])
    cluster.topics["paid"] = {0: whole, 1: lacking}
    cluster.topics["logs"] = {0: lacking, 1: FakePartition(leader=-1, replicas=[1, 2], in_sync=[])}
    cluster.minimums = {"orders": 3, "paid": 5, "logs": 1}
    cluster.configs_refused = {"mail"}
    async with cluster.running(nodes=2):
        probe = probe_of(shared, cluster.port())
        outcome = await run_probe(probe, 5.0)
        again = await run_probe(probe, 5.0)
        assert cluster.asked[1, API.CONFIGS] + cluster.asked[2, API.CONFIGS] == 1  # rarely
        cluster.topics["secret"] = {0: lacking}
        cluster.configs_refused.add("secret")
        hidden = await run_probe(probe, 5.0)
        assert cluster.asked[1, API.CONFIGS] + cluster.asked[2, API.CONFIGS] == 2
        await probe.close()
    for seen in (outcome, again):
        assert values(seen, kafka.UNDER_REPLICATED) == {(): 3}
        assert values(seen, kafka.UNDER_MIN_ISR) == {(): 1}
        assert values(seen, kafka.UNKNOWN_MIN_ISR) == {(): 1}
        assert seen.parts["groups"] is None
    assert values(hidden, kafka.UNDER_MIN_ISR) == {}
    assert values(hidden, kafka.UNKNOWN_MIN_ISR) == {(): 2}


async def test_a_broker_that_does_not_tell_configurations_costs_that_alone(shared: SharedClients) -> None:
    """It does not know the request, hangs at it, or closes the connection."""
    for how in ("unknown", "hangs", "closes"):
        cluster = two_brokers()
        cluster.topics["orders"][0].replicas = [1, 2]
        if how == "unknown":
            del cluster.versions[API.CONFIGS]
        else:
            {"hangs": cluster.hangs, "closes": cluster.closes}[how].update({(1, API.CONFIGS), (2, API.CONFIGS)})
        async with cluster.running(nodes=2):
            outcome = await once(shared, cluster.port(), timeout=2.0)
        assert dict(outcome.parts) == {"groups": None, "offsets": None}
        assert values(outcome, kafka.TOPIC_LAG)["billing", "orders"] == 60
        assert values(outcome, kafka.UNDER_MIN_ISR) == {}
        assert values(outcome, kafka.UNKNOWN_MIN_ISR) == {(): 3}


@pytest.mark.looptime
async def test_a_slow_broker_that_goes_on_answering_has_the_time_that_the_others_do_not_need(shared: SharedClients) -> None:
    """All of its groups are read, and then the offsets."""
    cluster = two_brokers()
    names = [f"group-{number}" for number in range(60)]
    cluster.groups |= {name: FakeGroup({("mail", 0): 40}, coordinator=2) for name in names}
    cluster.delays[2, API.COMMITS] = 0.1  # over 6 of 10 s
    async with cluster.running(nodes=2):
        probe = probe_of(shared, cluster.port())
        outcome = await run_probe(probe, 10.0)
        await probe.close()
    assert dict(outcome.parts) == {"groups": None, "offsets": None}
    assert {values(outcome, kafka.TOPIC_LAG)[name, "mail"] for name in names} == {10}


@pytest.mark.parametrize("ahead", [3600, 10**9])
async def test_a_timestamp_of_the_future_tells_no_age(shared: SharedClients, ahead: int) -> None:
    """By a clock that is ahead, or by another unit: what hides behind such a record is left out rather than young."""
    now = int(time.time())
    honest = [(now - 86400 + 60 * number) * 1000 for number in range(100)]
    wrong = [*honest[:20], (now + ahead) * 1000, *honest[21:]]
    topics = {"orders": {0: FakePartition(100, times=wrong)}, "mail": {0: FakePartition(100, times=honest)}}
    group = FakeGroup({("orders", 0): 50, ("mail", 0): 50})
    async with FakeCluster(topics=topics, groups={"billing": group}).running() as cluster:
        probe = probe_of(shared, cluster.port())
        await run_probe(probe, 5.0)
        outcome = await run_probe(probe, 5.0)
        topics["orders"][0].end = 110  # what comes from now on is seen to come
        group.commits["orders", 0] = 105
        await run_probe(probe, 5.0)
        seen = await run_probe(probe, 5.0)
        await probe.close()
    assert set(values(outcome, kafka.TOPIC_LAG_SECONDS)) == {("billing", "mail")}
    assert values(outcome, kafka.TOPIC_LAG_SECONDS)["billing", "mail"] > 60_000
    assert 0 <= values(seen, kafka.TOPIC_LAG_SECONDS)["billing", "orders"] < 60


DEAD = "orders-dlt"
DAYS = 2 * 86400.0


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ({}, DAYS),
        ({"sweeper": {(DEAD, 0): 3}}, DAYS),  # the other partition was never read
        ({"sweeper": {(DEAD, 0): 3, (DEAD, 1): 2}}, 0),
        ({"sweeper": {(DEAD, 0): 2, (DEAD, 1): 2}}, 600),
        ({"sweeper": {(DEAD, 0): 2, (DEAD, 1): 2}, "looked": {(DEAD, 0): 1, (DEAD, 1): 0}}, 600),
        ({"billing": {("orders", 0): 5}}, DAYS),
    ],
    ids=["none", "one partition", "all", "but the newest", "the one that has read most", "another topic's"],
)
async def test_dead_letters_that_nobody_has_read_are_as_old_as_the_oldest_of_them(
    groups: dict[str, dict[tuple[str, int], int]], expected: float, shared: SharedClients
) -> None:
    now = time.time() * 1000
    old, late = int(now - 1000 * DAYS), int(now - 600_000)
    cluster = FakeCluster(
        topics={
            "orders": {0: FakePartition(9)},
            DEAD: {0: FakePartition(3, times=[old, old, late]), 1: FakePartition(2, times=[old, old])},
        },
        groups={name: FakeGroup(commits) for name, commits in groups.items()},
    )
    async with cluster.running():
        probe = probe_of(shared, cluster.port())
        for _ in range(3):  # a reading asks so often for times, and no more
            outcome = await run_probe(probe, 5.0)
        await probe.close()
    assert values(outcome, kafka.DLQ_SECONDS)[DEAD,] == pytest.approx(DAYS, rel=0.3)
    assert values(outcome, kafka.DLQ_UNREAD_SECONDS)[DEAD,] == pytest.approx(expected, rel=0.3)


async def test_whose_commits_are_not_known_may_have_read_all_dead_letters(shared: SharedClients) -> None:
    cluster = two_brokers()
    cluster.groups["sweeper"] = FakeGroup(faults={(DEAD, 0): 88})
    async with cluster.running(nodes=2):
        outcome = await once(shared, cluster.port())
    assert part(outcome, "groups") is not None
    assert kafka.DLQ_UNREAD_SECONDS not in outcome.samples


async def test_groups_whose_names_make_no_label_are_told_unless_they_are_excluded(shared: SharedClients) -> None:
    """Old clients commit for a group without a name."""
    cluster = two_brokers()
    cluster.groups |= {"": FakeGroup({("orders", 0): 1}), "n" * 256: FakeGroup({("orders", 0): 1}, coordinator=2)}
    async with cluster.running(nodes=2):
        told = await once(shared, cluster.port())
        without = await once(shared, cluster.port(), groups={"exclude": ["^$", "n{256,}"]})
    assert part(told, "groups") == (Stage.CHECK, Reason.TOO_LARGE)
    assert part(without, "groups") is None
    for outcome in (told, without):
        assert {group for group, *_ in values(outcome, kafka.LAG)} == {"billing", "mailer"}


async def test_a_broker_that_might_make_a_topic_that_is_asked_for_is_not_asked(shared: SharedClients) -> None:
    """One that is listed no more is taken to be gone there."""
    cluster = two_brokers()
    cluster.versions[API.METADATA] = (0, 3)
    async with cluster.running(nodes=2):
        probe = probe_of(shared, cluster.port())
        before = await run_probe(probe, 5.0)
        del cluster.topics["mail"]
        asked = sum(cluster.asked[node, API.METADATA] for node in (1, 2))
        after = [await run_probe(probe, 5.0) for _ in range(2)]
        await probe.close()
    assert ("mailer", "mail", "0") in values(before, kafka.LAG)
    assert sum(cluster.asked[node, API.METADATA] for node in (1, 2)) == asked + 2
    assert [dict(each.parts) for each in after] == [{"groups": None, "offsets": None}] * 2


@pytest.mark.parametrize("versions", [(1, 8), (1, 3)])
async def test_a_broker_that_ends_connections_is_not_logged_in_to_for_each_group(
    shared: SharedClients, versions: tuple[int, int]
) -> None:
    """As one that cannot answer, or a proxy that would not; a password that is rotated just then would lock the user out."""
    cluster = FakeCluster(
        topics={"orders": {0: FakePartition(100)}}, groups={f"g{n}": FakeGroup({("orders", 0): 90}) for n in range(300)}
    )
    cluster.versions[API.COMMITS] = versions
    cluster.users = {"monitor": "before"}
    login = {"protocol": "SASL_PLAINTEXT", "mechanism": "PLAIN", "user": "monitor", "password": "before"}
    async with cluster.running():
        probe = probe_of(shared, cluster.port(), security=login)
        whole = await run_probe(probe, 5.0)
        assert (dict(whole.parts), cluster.connections()) == ({"groups": None, "offsets": None}, 1)

        cluster.closes.add((1, API.COMMITS))
        ended = await run_probe(probe, 5.0)
        assert part(ended, "groups") == (Stage.QUERY, Reason.CONNECTION_CLOSED)
        assert cluster.connections() <= 5

        cluster.closes.clear()
        assert (await run_probe(probe, 5.0)).parts["groups"] is None
        before = cluster.asked[1, API.LOGIN]
        cluster.closes.add((1, API.COMMITS))
        cluster.rotates = (API.COMMITS, {"monitor": "after"})
        refused = await run_probe(probe, 5.0)
        assert part(refused, "groups") == (Stage.QUERY, Reason.CONNECTION_CLOSED)
        assert cluster.users == {"monitor": "after"}
        assert cluster.asked[1, API.LOGIN] - before <= 2
        assert (await run_probe(probe, 5.0)).verdict is Verdict.UNKNOWN
        await probe.close()

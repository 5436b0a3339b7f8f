"""What a Redis says of itself of why it is down."""

from __future__ import annotations

import pytest

from exporter.diagnosis.model import Confidence, Member
from exporter.verdict import Reason
from tests.diagnosis.snapshots import DOWN, UP, causes, dependency, facts, first, found, seen, service

BROKEN = facts(cluster_ok=0, slots={"ok": 10923, "fail": 5461}, failed={"fail": 1, "pfail": 0})
FULL = facts(used=9, memory=8, policy={"noeviction": 1})
UNSAVED = facts(saved={"rdb_save": 0, "aof_write": 1})


def redis(reason: Reason, **more: object) -> Member:
    return dependency("redis", "redis", DOWN, reason, **more)


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        (redis(Reason.REPORTED_DOWN, facts=BROKEN), ["cluster_down"]),
        (redis(Reason.REPORTED_DOWN, facts=facts(cluster_ok=1)), ["reported_down"]),
        (redis(Reason.QUERY_FAILED, facts=UNSAVED), ["save_failing"]),
        (redis(Reason.QUERY_FAILED, facts=facts(saved={"rdb_save": 1})), ["query_failed"]),
        (redis(Reason.QUERY_FAILED, facts=FULL), ["memory_limit"]),
        (redis(Reason.TIMEOUT, facts=FULL), ["timeout"]),
        (redis(Reason.QUERY_FAILED, facts=facts(used=9, memory=8, policy={"allkeys-lru": 1})), ["query_failed"]),
        (redis(Reason.QUERY_FAILED, facts=facts(used=9, memory=0, policy={"noeviction": 1})), ["query_failed"]),
        (redis(Reason.CONNECT_REFUSED, facts=UNSAVED), ["connect_refused"]),
        (redis(Reason.QUERY_FAILED, facts=BROKEN | UNSAVED), ["cluster_down", "save_failing"]),
    ],
)
def test_causes(member: Member, expected: list[str]) -> None:
    assert causes(member)["redis"] == [(name, "") for name in expected]


def test_evidence_of_a_cluster_and_of_a_save() -> None:
    cluster = first("redis", redis(Reason.REPORTED_DOWN, facts=BROKEN))
    assert cluster.confidence is Confidence.HIGH
    assert seen(cluster) == {
        "slots not served": 5461, "nodes of the cluster that failed": 1, "cluster_state, where 0 is fail": 0
    }  # fmt: skip
    saving = first("redis", redis(Reason.QUERY_FAILED, facts=UNSAVED))
    assert seen(saving) == {"the last rdb save worked": 0}


def test_what_needs_it_is_down_because_of_it_and_what_is_up_has_no_cause() -> None:
    member = redis(Reason.REPORTED_DOWN, facts=BROKEN)
    assert causes(service("case", DOWN, "redis"), member)["case"] == [("dependency_down", "redis")]
    assert found(dependency("redis", "redis", UP, facts=BROKEN)) == {}

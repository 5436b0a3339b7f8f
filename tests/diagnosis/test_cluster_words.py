"""Why a service is down or slow by Kubernetes' words: tables. A snapshot is of the time 1000."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.diagnosis.model import Confidence, Member
from exporter.verdict import Reason
from tests.diagnosis.snapshots import DOWN, UP, causes, dependency, facts, first, found, seen, service

LOOPING = {"CrashLoopBackOff": 2}
GONE = {("case-service", "desired"): 0}
REFUSED = {"reason": Reason.CONNECT_REFUSED}


def down(
    *needs: str, ready: float = 0, reason: Reason = Reason.CONNECT_REFUSED, remembered: Any = None, **more: Any
) -> Member:
    return service("case", DOWN, *needs, reason=reason, facts=facts(ready=ready, **more), remembered=remembered or {})


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        # nothing that Kubernetes knows of: the reason of the targets
        ([down()], ["connect_refused"]),
        # what it says in its own words
        ([down(waiting=LOOPING)], ["crash_looping"]),
        ([down(waiting={"ContainerCreating": 1})], ["connect_refused"]),
        ([down(waiting={"ImagePullBackOff": 1})], ["image_pull"]),
        ([down(waiting={"CreateContainerConfigError": 1})], ["container_not_created"]),
        ([down(unschedulable={"memory": 3})], ["unschedulable"]),
        ([down(refused={("case-service", "quota"): 1})], ["quota_exceeded"]),
        ([down(refused={("case-service", "forbidden"): 1})], ["pods_refused"]),
        ([down(replicas=GONE)], ["scaled_to_zero"]),
        ([down(replicas=GONE, refused={("case-service", "quota"): 1})], ["scaled_to_zero"]),
        ([down(replicas={**GONE, ("case-canary", "desired"): 1})], ["connect_refused"]),
        ([down(stuck={"case-service": 1})], ["rollout_stuck"]),
        ([down(stuck={"case-service": 0})], ["connect_refused"]),
        ([down(node={("n1", "memory_pressure"): 1})], ["node_unwell"]),
        ([down(node={("n1", "cordoned"): 1})], ["connect_refused"]),
        # killed for its memory: while it loops, or lately; long ago it says nothing
        ([down(waiting=LOOPING, ended={"OOMKilled": 2})], ["oom_killed"]),
        ([down(ended={"OOMKilled": 1}, ended_at={"OOMKilled": 500})], ["oom_killed"]),
        ([down(ended={"OOMKilled": 1}, ended_at={"OOMKilled": 50})], ["connect_refused"]),
        ([down(ended={"Error": 1}, ended_at={"Error": 900})], ["connect_refused"]),
        # a rollout is stuck because of something: that is it
        ([down(waiting=LOOPING, stuck={"case-service": 1})], ["crash_looping"]),
        ([down(unschedulable={"cpu": 1}, stuck={"case-service": 1})], ["unschedulable"]),
        # restarts that were seen say less
        ([down(waiting=LOOPING, remembered={"restarts": 3})], ["crash_looping"]),
        ([down(remembered={"restarts": 3})], ["restarting"]),
        # what it needs is down: its processes end of that
        ([down("postgres", waiting=LOOPING), dependency("postgres", "postgres", DOWN)], ["dependency_down"]),
        ([down("keycloak", waiting=LOOPING), dependency("keycloak", "tls", DOWN)], ["dependency_down"]),
        ([down("postgres", waiting=LOOPING), dependency("postgres", "postgres", UP)], ["crash_looping"]),
        # but not that they are killed, or have no image
        (
            [down("postgres", waiting=LOOPING, ended={"OOMKilled": 1}), dependency("postgres", "postgres", DOWN)],
            ["dependency_down", "oom_killed"],
        ),
        (
            [down("postgres", waiting={"ErrImagePull": 1}), dependency("postgres", "postgres", DOWN)],
            ["dependency_down", "image_pull"],
        ),
    ],
)
def test_down(members: list[Member], expected: list[str]) -> None:
    assert [name for name, _ in causes(*members)["case"]] == expected


def test_the_database_is_the_root_of_a_crash_loop_and_takes_the_service_down_with_it() -> None:
    members = [down("postgres", waiting=LOOPING), dependency("postgres", "postgres", DOWN)]
    diagnoses = found(*members)
    assert diagnoses["postgres"][0].takes_down == ("case",)
    assert [each.dependency for each in diagnoses["case"][0].causes] == ["postgres"]


@pytest.mark.parametrize(("ready", "confidence"), [(0, Confidence.HIGH), (1, Confidence.MEDIUM)])
def test_it_is_sure_where_no_pod_is_ready(ready: float, confidence: Confidence) -> None:
    assert first("case", down(ready=ready, waiting=LOOPING)).confidence is confidence


def test_while_the_cluster_cannot_be_seen_nothing_is_said_of_it() -> None:
    blind = service("case", DOWN, reason=Reason.TIMEOUT, facts=facts(waiting=LOOPING))
    assert causes(blind)["case"] == [("timeout", "")]


def test_evidence() -> None:
    looping = first("case", down(waiting=LOOPING, exit={("app", "Error"): 1, ("init", "Completed"): 0}))
    assert seen(looping) == {"containers in CrashLoopBackOff": 2, "exit code of app (Error)": 1}
    assert looping.evidence[0].series == ('probe_kubernetes_containers_waiting{service="case",reason="CrashLoopBackOff"}')
    killed = first("case", down(waiting=LOOPING, ended={"OOMKilled": 2}, limit={"app": 2**29}))
    assert seen(killed) == {
        "containers killed for their memory": 2,
        "memory limit of app in bytes": 2**29,
        "containers in CrashLoopBackOff": 2,
    }
    assert seen(first("case", down(unschedulable={"node_selector": 3}))) == {"pods that no node takes: node selector": 3}
    pressed = down(node={("n2", "not_ready"): 1, ("n1", "disk_pressure"): 1})
    assert seen(first("case", pressed)) == {"node n1: disk pressure": 1, "node n2: not ready": 1}


SLOW = {"own": 0.9}
LIMITED = {"hpa": 1}
MOST = {("hpa", "max"): 5}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"at_limit": LIMITED, "autoscaler": MOST}, ["autoscaler_at_limit"]),
        ({"at_limit": {"hpa": 0}, "autoscaler": MOST}, ["unknown"]),
        ({"unable": {("hpa", "FailedGetResourceMetric"): 1}}, ["autoscaler_unable"]),
        ({"at_limit": LIMITED, "pool": {"H": 1}}, ["pool_exhausted", "autoscaler_at_limit"]),
    ],
)
def test_slow(said: dict[str, Any], expected: list[str]) -> None:
    member = service("case", UP, facts=facts(p99=SLOW, ready=5, **said))
    assert [name for name, _ in causes(member)["case"]] == expected


def test_evidence_of_too_few_replicas() -> None:
    limited = first("case", service("case", UP, facts=facts(p99=SLOW, at_limit=LIMITED, autoscaler=MOST)))
    assert seen(limited) == {"autoscaler hpa at its limit": 1, "most replicas of hpa": 5}

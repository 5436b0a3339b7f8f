"""What is kept of the objects that tell how workloads are: true to the fields, and of anything that is none, skipped."""

from __future__ import annotations

import base64
import hashlib
import ssl
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from exporter.clients.kubernetes.objects.autoscalers import Autoscaler
from exporter.clients.kubernetes.objects.nodes import Node
from exporter.clients.kubernetes.objects.pods import Pod, Workload
from exporter.clients.kubernetes.objects.policies import DisruptionBudget, Quota, Use
from exporter.clients.kubernetes.objects.quantity import quantity
from exporter.clients.kubernetes.objects.reading import Malformed
from exporter.clients.kubernetes.objects.secrets import TlsSecret
from exporter.clients.kubernetes.objects.uses import ContainerUse, PodUse
from exporter.clients.kubernetes.objects.workloads import Deployment, StatefulSet
from tests.clients.kubernetes.raw import container, deployment, meta, pod, statefulset, terminated, tls_secret, waiting

KINDS = (Pod, Deployment, StatefulSet, Autoscaler, Quota, DisruptionBudget, Node, TlsSecret, PodUse)
Reduce = Callable[[Mapping[str, Any]], Any]


def test_a_container_that_crash_loops_tells_why_it_ended() -> None:
    state = waiting("CrashLoopBackOff", "back-off 5m0s restarting failed container")
    last = terminated("Error", 1, "Connection to postgres:5432 refused\nDB_PASSWORD=hunter2 postgres://u:hunter2@db/x")
    found = Pod.of(pod("a", container(restarts=7, state=state, lastState=last), ready=False)).containers[0]
    assert (found.waiting, found.restarts, found.ready) == ("CrashLoopBackOff", 7, False)
    assert found.ended is not None
    assert (found.ended.reason, found.ended.exit_code, found.ended.finished) == ("Error", 1, 1767225900.0)
    assert found.ended.message.startswith("Connection to postgres:5432 refused DB_PASSWORD=***")
    assert "hunter2" not in repr(found)


def test_a_container_that_has_just_ended_is_told_by_its_state_and_not_by_the_end_before() -> None:
    raw = container(state=terminated("OOMKilled", 137), lastState=terminated("Error", 1))
    ended = Pod.of(pod("a", raw)).containers[0].ended
    assert ended is not None
    assert (ended.reason, ended.exit_code) == ("OOMKilled", 137)


def test_a_message_is_one_short_line_without_control_characters() -> None:
    noise = "x" * 9_000 + "\x1b[31m\n the end"
    ended = Pod.of(pod("a", container(lastState=terminated("Error", message=noise)))).containers[0].ended
    assert ended is not None
    assert len(ended.message) == 200
    assert ended.message.endswith("[31m the end")
    assert ended.message.isprintable()


def test_containers_of_one_template_share_what_they_are_given() -> None:
    resources = {"requests": {"memory": "256Mi", "cpu": "250m"}, "limits": {"memory": "1Gi"}}
    first, second = (Pod.of(pod(name, resources=resources)).containers[0].resources for name in "ab")
    assert first is second
    assert first == (256 * 2**20, 2**30, 0.25, None)


@pytest.mark.parametrize(
    ("said", "reasons"),
    [
        (
            "0/3 nodes are available: 1 node(s) had untolerated taint {a: b}, 2 Insufficient memory. preemption: 0/3 "
            "nodes are available: 3 No preemption victims found for incoming pod.",
            ("memory", "taint"),
        ),
        ("0/1 nodes are available: 1 Insufficient cpu.", ("cpu",)),
        ("0/4 nodes are available: 4 node(s) didn't match Pod's node affinity/selector.", ("node_selector",)),
        ("0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules.", ("pod_affinity",)),
        ("0/2 nodes are available: 2 node(s) were unschedulable.", ("cordoned",)),
        ("0/2 nodes are available: 2 Insufficient nvidia.com/gpu.", ("other_resource",)),
        ("0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims.", ("volume",)),
        ("no nodes available to schedule pods", ("no_nodes",)),
        ("0/1 nodes are available: 1 something new.", ("other",)),
        ("", ("other",)),
    ],
)
def test_why_no_node_takes_a_pod_is_of_a_closed_list(said: str, reasons: tuple[str, ...]) -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": said}
    found = Pod.of(pod("a", phase="Pending", node="", conditions=(condition,))).unschedulable
    assert found is not None
    assert found.reasons == reasons


def test_a_pod_that_a_gate_holds_back_is_not_unschedulable() -> None:
    gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": "gate"}
    assert Pod.of(pod("a", conditions=(gated,))).unschedulable is None


def test_a_deployment_that_has_rolled_out() -> None:
    found = Deployment.of(deployment())
    assert found.replicas == (2, 2, 2, 2, 2)
    assert (found.rolled_out, found.stuck, found.paused, found.revision) == (True, False, False, 3)
    assert found.changed == 1767225660.0
    assert found.failure is None


@pytest.mark.parametrize(
    "changes",
    [{"updatedReplicas": 1}, {"availableReplicas": 1}, {"replicas": 3}, {"observedGeneration": 4}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_rollout_is_under_way_until_all_pods_are_new_and_available(changes: dict[str, Any]) -> None:
    assert not Deployment.of(deployment(**changes)).rolled_out


def test_a_rollout_is_stuck_by_its_deadline_and_pods_that_cannot_be_created_are_told_apart() -> None:
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    quota = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: compute"}
    found = Deployment.of(deployment(conditions=(late, quota)))
    assert found.stuck
    assert found.failure is not None
    assert found.failure.message == "exceeded quota: compute"
    paused = {"type": "Progressing", "status": "Unknown", "reason": "DeploymentPaused"}
    assert not Deployment.of(deployment(conditions=(paused,), paused=True)).stuck


def test_a_stateful_set_rolls_while_its_revisions_differ() -> None:
    assert StatefulSet.of(statefulset()).rolled_out
    rolling = StatefulSet.of(statefulset(updateRevision="r2", updatedReplicas=1))
    assert (rolling.rolled_out, rolling.replicas.updated) == (False, 1)
    assert not StatefulSet.of(statefulset(readyReplicas=1)).rolled_out


def autoscaler(*conditions: tuple[str, str, str]) -> Autoscaler:
    return Autoscaler.of({
        "metadata": meta("identity-hpa"),
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "identity-service"}, "maxReplicas": 5},
        "status": {
            "currentReplicas": 5,
            "desiredReplicas": 5,
            "conditions": [{"type": t, "status": s, "reason": r} for t, s, r in conditions],
        },
    })  # fmt: skip


def test_an_autoscaler_at_its_limit_wants_more_than_it_may() -> None:
    found = autoscaler(("ScalingLimited", "True", "TooManyReplicas"))
    assert (found.scales, found.current, found.desired, found.least, found.most) == (
        Workload("Deployment", "identity-service"), 5, 5, 1, 5,
    )  # fmt: skip
    assert found.at_limit
    assert not autoscaler(("ScalingLimited", "True", "TooFewReplicas")).at_limit
    assert not autoscaler(("ScalingLimited", "False", "DesiredWithinRange")).at_limit


def test_an_autoscaler_that_was_switched_off_by_a_scale_of_zero_is_not_unable() -> None:
    unable = autoscaler(("AbleToScale", "True", "ok"), ("ScalingActive", "False", "FailedGetResourceMetric")).unable
    assert unable is not None
    assert unable.reason == "FailedGetResourceMetric"
    assert autoscaler(("ScalingActive", "False", "ScalingDisabled")).unable is None


def test_a_quota_and_a_budget() -> None:
    status = {
        "hard": {"pods": "10", "requests.memory": "1Gi", "odd": "x"},
        "used": {"pods": "10", "requests.memory": "512Mi"},
    }
    quota = Quota.of({"metadata": meta("compute"), "status": status})
    assert quota.resources == {"pods": Use(10, 10), "requests.memory": Use(2**29, 2**30)}
    budget = DisruptionBudget.of({
        "metadata": meta("identity-pdb"),
        "spec": {"selector": {"matchLabels": {"app": "identity-service"}}},
        "status": {"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 2, "expectedPods": 3},
    })  # fmt: skip
    assert (budget.allowed, budget.healthy, budget.needed, budget.expected) == (0, 1, 2, 3)
    assert budget.selector is not None
    assert budget.selector.fits({"app": "identity-service"})
    assert not budget.selector.fits({"app": "vault-service"})


def test_a_node_tells_what_is_wrong_with_it() -> None:
    def node(*conditions: tuple[str, str], **spec: bool) -> Node:
        stated = [{"type": name, "status": status} for name, status in conditions]
        return Node.of({"metadata": meta("n1"), "spec": spec, "status": {"conditions": stated}})

    assert node(("Ready", "True"), ("MemoryPressure", "False")).troubles == ()
    assert node(("Ready", "Unknown"), ("MemoryPressure", "True")).troubles == ("not_ready", "memory_pressure")
    assert node(("Ready", "True"), ("DiskPressure", "True"), ("PIDPressure", "True")).troubles == (
        "disk_pressure", "pid_pressure",
    )  # fmt: skip
    assert node(("Ready", "True"), unschedulable=True).unschedulable


def test_a_secret_is_its_certificates_fingerprint_and_dates_and_never_its_key() -> None:
    issued = trustme.CA().issue_cert("identity.hafnium.svc")
    found = TlsSecret.of(tls_secret("identity-tls", issued))
    der = ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())
    assert found.fingerprint == hashlib.sha256(der).hexdigest()
    assert found.names == ("identity.hafnium.svc",)
    assert found.not_after > 1767225600
    assert "PRIVATE" not in repr(found)


def test_a_secret_with_a_certificate_of_a_version_that_there_is_not_is_malformed() -> None:
    der = ssl.PEM_cert_to_DER_cert(trustme.CA().issue_cert("x").cert_chain_pems[0].bytes().decode())
    pem = ssl.DER_cert_to_PEM_cert(der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x06", 1))
    with pytest.raises(Malformed):
        TlsSecret.of({"metadata": meta("x"), "data": {"tls.crt": base64.b64encode(pem.encode()).decode()}})


@pytest.mark.parametrize("data", [{}, {"tls.crt": "!"}, {"tls.crt": "QUJD"}, {"tls.crt": 5}, {"tls.crt": "A" * 300_000}])
def test_a_secret_without_a_certificate_is_malformed(data: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        TlsSecret.of({"metadata": meta("x"), "data": data})


def test_use_of_metrics_server() -> None:
    usage = {"cpu": "1500000n", "memory": "128974848"}
    found = PodUse.of({"metadata": meta("a"), "containers": [{"name": "app", "usage": usage}, {"name": "odd"}]})
    assert found.containers == (ContainerUse("app", 128974848.0, 0.0015),)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("0.5", 0.5), (".5", 0.5), ("250m", 0.25), ("1Ki", 1024), ("1k", 1000), ("2e3", 2000), ("1E", 1e18),
        ("100n", 1e-7), (3, 3.0), (None, None), ("", None), ("1 Mi", None), ("Mi", None), (True, None), ("9" * 100, None),
    ],
)  # fmt: skip
def test_a_quantity(text: Any, value: float | None) -> None:
    assert quantity(text) == (value if value is None else pytest.approx(value))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_object_without_a_name_is_malformed(kind: Any) -> None:
    with pytest.raises(Malformed):
        kind.of({"metadata": {"uid": "u"}})


WHOLE: tuple[tuple[Reduce, dict[str, Any]], ...] = (
    (Pod.of, pod("a", container(state=waiting("X"), lastState=terminated("Error")), resources={"limits": {"cpu": "1"}})),
    (Deployment.of, deployment(conditions=({"type": "Available", "status": "True"},))),
    (StatefulSet.of, statefulset()),
    (Node.of, {"metadata": meta("n"), "spec": {}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
    (Quota.of, {"metadata": meta("q"), "status": {"hard": {"pods": "1"}, "used": {"pods": "1"}}}),
    (DisruptionBudget.of, {"metadata": meta("b"), "spec": {"selector": {"matchExpressions": [{"key": "a"}]}}, "status": {}}),
    (Autoscaler.of, {"metadata": meta("h"), "spec": {"scaleTargetRef": {}}, "status": {"conditions": []}}),
    (PodUse.of, {"metadata": meta("u"), "containers": [{"name": "a", "usage": {"cpu": "1", "memory": "1"}}]}),
)
JUNK = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.just([]), st.just([None]), st.just({}))


@given(st.sampled_from(WHOLE), st.data())
def test_whatever_stands_in_a_field_is_read_or_malformed(kind: tuple[Reduce, dict[str, Any]], data: st.DataObject) -> None:
    """One field of an object, at any depth, replaced by anything."""
    reduce, raw = kind

    def spoilt(value: Any, path: int) -> Any:
        keys: list[Any] = (
            list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
        )
        if not keys or path == 0:
            return data.draw(JUNK)
        key = data.draw(st.sampled_from(keys))
        copied: Any = dict(value) if isinstance(value, dict) else list(value)
        copied[key] = spoilt(value[key], path - 1)
        return copied

    try:
        found = reduce(spoilt(raw, data.draw(st.integers(0, 6))))
    except Malformed:
        return
    assert isinstance(found.name, str)
    assert found.name

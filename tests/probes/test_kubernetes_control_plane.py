"""The kubernetes probe against a real control plane: what its controllers and scheduler write is read as it is meant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from exporter.demo.controlplane.access import Access, Identity, Rule
from exporter.probes.kubernetes import KubernetesProbe, KubernetesSettings
from exporter.probing.probe import SharedClients, Target
from exporter.probing.runner import Outcome
from exporter.verdict import Reason, Verdict
from exporter.workloads import families as f
from tests.probes.doing import attempt, value

WATCHED = {
    "": ["pods", "resourcequotas"],
    "apps": ["deployments", "statefulsets"],
    "discovery.k8s.io": ["endpointslices"],
    "autoscaling": ["horizontalpodautoscalers"],
    "policy": ["poddisruptionbudgets"],
}
RIGHTS: list[Rule] = [
    *({"apiGroups": [group], "resources": names, "verbs": ["list", "watch"]} for group, names in WATCHED.items()),
    {"apiGroups": ["metrics.k8s.io"], "resources": ["pods"], "verbs": ["list"]},
]
"""What docs/probes/kubernetes.md asks for, without nodes, which are of the whole cluster."""

LABELS = {"app": "identity-service"}
CONTAINER = {"name": "app", "image": "identity:1", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}


def deployment(replicas: int, **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [CONTAINER], "nodeSelector": {"no": "such"}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "identity-service"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": LABELS}, "template": template, **spec},
    }


@pytest.fixture
async def identity(control_plane: Access, namespace: str) -> Identity:
    return await control_plane.as_user("exporter", RIGHTS, namespace)


@pytest.fixture
async def probe(identity: Identity, namespace: str, shared: SharedClients) -> AsyncIterator[KubernetesProbe]:
    settings = KubernetesSettings(kubeconfig=identity.config, namespace=namespace, skip=("nodes",))
    made = KubernetesProbe(Target("identity", "kubernetes", "identity", ()), settings, shared)
    yield made
    await made.close()


async def until(probe: KubernetesProbe, reached: Callable[[Outcome], bool]) -> Outcome:
    async with asyncio.timeout(60):
        while not reached(outcome := await attempt(probe)):
            await asyncio.sleep(0.2)
    return outcome


async def test_a_deployment_from_a_quota_and_no_node_to_a_stuck_rollout_and_zero(
    control_plane: Access, namespace: str, probe: KubernetesProbe
) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "compute"}, "spec": {"hard": {"pods": "1"}}}
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "identity"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": LABELS}},
    }
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "identity"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "identity-service"},
            "minReplicas": 1, "maxReplicas": 3,
        },
    }  # fmt: skip
    await control_plane.apply([quota], namespace)
    await until(probe, lambda outcome: f.QUOTA_USED in outcome.samples)  # it holds from when its controller has seen it
    await control_plane.apply([budget, autoscaler, deployment(2, progressDeadlineSeconds=2)], namespace)
    outcome = await until(
        probe,
        lambda outcome: (
            all(each in outcome.samples for each in (f.REPLICA_FAILURE, f.UNSCHEDULABLE, f.UNABLE))
            and value(outcome, f.STUCK, "identity-service") == 1
        ),
    )
    assert outcome.verdict is Verdict.DOWN
    assert outcome.parts == dict.fromkeys(("workloads", "endpoints", "autoscalers", "quotas", "budgets", "use"))
    assert outcome.samples[f.REPLICA_FAILURE] == {("identity-service", "quota"): 1}
    assert set(outcome.samples[f.UNSCHEDULABLE]) <= {("no_nodes",), ("node_selector",), ("taint",), ("cordoned",)}
    assert outcome.samples[f.QUOTA_USED] == {("compute", "pods"): 1}
    assert outcome.samples[f.UNABLE] == {("identity", "FailedGetResourceMetric"): 1}
    assert value(outcome, f.REPLICAS, "identity-service", "desired") == 2
    assert value(outcome, f.REVISION, "identity-service") == 1
    assert value(outcome, f.DISRUPTIONS, "identity") == 0
    assert outcome.failure is not None
    assert outcome.failure.detail.startswith("0 of 1 pods ready: 1x Unschedulable; identity-service-")
    await control_plane.apply([deployment(0, progressDeadlineSeconds=2)], namespace)
    outcome = await until(
        probe,
        lambda outcome: not value(outcome, f.PODS, "pending") and not value(outcome, f.STUCK, "identity-service"),
    )
    assert outcome.failure is not None
    assert outcome.failure.detail == "no pod: identity-service is scaled to zero"


async def test_each_right_is_needed_for_its_own_part_alone(
    control_plane: Access, namespace: str, identity: Identity, shared: SharedClients
) -> None:
    parts = {
        "deployments": "workloads", "endpointslices": "endpoints", "horizontalpodautoscalers": "autoscalers",
        "resourcequotas": "quotas", "poddisruptionbudgets": "budgets",
    }  # fmt: skip
    for resource, part in parts.items():
        rights = [{**rule, "resources": [name for name in rule["resources"] if name != resource]} for rule in RIGHTS]
        other = await control_plane.as_user(f"without-{part}", [rule for rule in rights if rule["resources"]], namespace)
        settings = KubernetesSettings(kubeconfig=other.config, namespace=namespace, skip=("nodes",))
        probe = KubernetesProbe(Target("identity", "kubernetes", "identity", ()), settings, shared)
        outcome = await attempt(probe, 60.0)  # half of it for the first lists, of which none comes late where all have come
        await probe.close()
        assert outcome.failure is None or outcome.failure.reason is not Reason.NOT_YET_PROBED
        failed = {name: failure.reason.value for name, failure in outcome.parts.items() if failure is not None}
        assert failed == {part: "auth"}

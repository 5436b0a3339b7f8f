"""The kubernetes probe against a server that speaks list and watch: what a cluster is recorded and judged as."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from exporter.clients.kubernetes import cluster as clusters
from exporter.clients.kubernetes.access import ClusterAccess
from exporter.clients.kubernetes.api import Api
from exporter.clients.kubernetes.cluster import Cluster
from exporter.clients.kubernetes.objects.pods import Pod
from exporter.probes.kubernetes import KubernetesProbe, KubernetesSettings
from exporter.probing.probe import SharedClients, Target
from exporter.probing.runner import Outcome
from exporter.values import Address
from exporter.verdict import Verdict
from exporter.workloads import families as f
from exporter.workloads import restarts as restarts_module
from exporter.workloads.restarts import Restarts
from tests.clients.kubernetes.fake import FakeApi, Fixed, api_server, status
from tests.clients.kubernetes.raw import container, deployment, meta, pod, statefulset, terminated, waiting
from tests.probes.doing import attempt, reason, value

NAMESPACE = "/namespaces/hafnium/"
DEPLOYMENTS = f"/apis/apps/v1{NAMESPACE}deployments"
STATEFUL_SETS = f"/apis/apps/v1{NAMESPACE}statefulsets"
SLICES = f"/apis/discovery.k8s.io/v1{NAMESPACE}endpointslices"
AUTOSCALERS = f"/apis/autoscaling/v2{NAMESPACE}horizontalpodautoscalers"
QUOTAS = f"/api/v1{NAMESPACE}resourcequotas"
BUDGETS = f"/apis/policy/v1{NAMESPACE}poddisruptionbudgets"
NODES = "/api/v1/nodes"
USES = f"/apis/metrics.k8s.io/v1beta1{NAMESPACE}pods"
PARTS = {"workloads", "endpoints", "autoscalers", "quotas", "budgets", "nodes", "use"}

UNSCHEDULABLE = {
    "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient memory.",
}  # fmt: skip

Make = Callable[..., KubernetesProbe]
Override = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def server() -> AsyncIterator[FakeApi]:
    async with api_server() as fake:
        fake.override = refusing(fake, {USES: 404})
        yield fake


@pytest.fixture
async def make(server: FakeApi, shared: SharedClients, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    """Make probes of one shared cluster, which is reached without a file."""
    monkeypatch.setattr(clusters, "_connection", lambda _: Fixed(server.url))
    made: list[KubernetesProbe] = []

    def one(service: str = "identity", **settings: Any) -> KubernetesProbe:
        target = Target(service, "kubernetes", service, (Address("10.0.0.1", 8081),))
        made.append(KubernetesProbe(target, KubernetesSettings(namespace="hafnium", **settings), shared))
        return made[-1]

    yield one
    for probe in made:
        await probe.close()


def refusing(fake: FakeApi, codes: dict[str, int]) -> Override:
    """Answer some paths with a status, and the others as ever."""

    async def answer(request: web.Request) -> web.StreamResponse:
        code = codes.get(request.path)
        if code is not None:
            return status(code, "Forbidden" if code == 403 else "NotFound", f"{request.path} is refused")
        return await (fake._watch(request) if "watch" in request.query else fake._list(request))

    return answer


async def seen(probe: KubernetesProbe, until: Callable[[Outcome], bool]) -> Outcome:
    """Attempt until the watch has brought what was changed."""
    async with asyncio.timeout(10):
        while not until(outcome := await attempt(probe)):
            await asyncio.sleep(0.02)
    return outcome


async def test_a_service_whose_pods_are_ready_is_up_and_all_parts_are_read(server: FakeApi, make: Make) -> None:
    for name in ("a", "b"):
        server.put(pod(name, resources={"requests": {"memory": "256Mi"}, "limits": {"memory": "512Mi", "cpu": "1"}}))
    server.put(pod("other", owner="vault-service"))
    server.put(deployment(), DEPLOYMENTS)
    outcome = await attempt(make())
    assert (outcome.verdict, outcome.failure) == (Verdict.UP, None)
    assert outcome.parts == dict.fromkeys(PARTS)
    assert {labels[0]: count for labels, count in outcome.samples[f.PODS].items()} == {
        "running": 2, "pending": 0, "failed": 0, "succeeded": 0, "unknown": 0, "terminating": 0,
    }  # fmt: skip
    assert value(outcome, f.PODS_READY) == 2
    assert value(outcome, f.REPLICAS, "identity-service", "desired") == 2
    assert value(outcome, f.PROGRESSING, "identity-service") == 0
    assert value(outcome, f.STUCK, "identity-service") == 0
    assert value(outcome, f.PAUSED, "identity-service") == 0
    assert value(outcome, f.REVISION, "identity-service") == 3
    assert value(outcome, f.CHANGED, "identity-service") == 1767225660
    assert value(outcome, f.MEMORY_LIMIT, "app") == 512 * 2**20
    assert value(outcome, f.MEMORY_REQUEST, "app") == 256 * 2**20
    assert value(outcome, f.CPU_LIMIT, "app") == 1
    assert f.CPU_REQUEST not in outcome.samples
    assert value(outcome, f.OOM_KILLS, "app") == 0
    assert f.POD_PROBLEM not in outcome.samples


CRASHED = container(
    restarts=5,
    state=waiting("CrashLoopBackOff", "back-off 5m0s"),
    lastState=terminated("Error", 1, "org.postgresql.util.PSQLException: password=hunter2 refused"),
)


@pytest.mark.parametrize(
    ("raw", "found", "detail"),
    [
        (
            pod("a", CRASHED, ready=False), ("check", "reported_down"),
            "0 of 1 pods ready: 1x CrashLoopBackOff; a: app ended: Error, exit code 1: "
            "org.postgresql.util.PSQLException: password=*** refused",
        ),
        (
            pod("a", container(state=waiting("ImagePullBackOff", 'Back-off pulling image "x:2"')), ready=False),
            ("check", "reported_down"), '0 of 1 pods ready: 1x ImagePullBackOff; a: app: Back-off pulling image "x:2"',
        ),
        (
            pod("a", phase="Pending", node="", ready=False, conditions=(UNSCHEDULABLE,)), ("check", "reported_down"),
            "0 of 1 pods ready: 1x Unschedulable; a: 0/3 nodes are available: 3 Insufficient memory.",
        ),
        (
            pod("a", container(state=waiting("ContainerCreating")), phase="Pending", ready=False), ("check", "starting"),
            "0 of 1 pods ready",
        ),
        (pod("a", phase="Failed", ready=False), ("check", "no_instances"), "no pod"),
        (pod("a", deletionTimestamp="2026-01-01T00:00:00Z"), ("check", "no_instances"), "no pod"),
    ],
)  # fmt: skip
async def test_a_service_without_a_ready_pod_is_down_and_says_why(
    server: FakeApi, make: Make, raw: dict[str, Any], found: tuple[str, str], detail: str
) -> None:
    server.put(raw)
    outcome = await attempt(make())
    assert outcome.failure is not None
    assert outcome.verdict is Verdict.DOWN
    assert (reason(outcome), outcome.failure.detail) == (found, detail)
    assert f.PODS in outcome.samples


async def test_a_service_that_is_scaled_to_zero_or_that_a_quota_keeps_out_says_so(server: FakeApi, make: Make) -> None:
    server.put(deployment(desired=0), DEPLOYMENTS)
    outcome = await attempt(make())
    assert outcome.failure is not None
    assert (reason(outcome), outcome.failure.detail) == (
        ("check", "no_instances"), "no pod: identity-service is scaled to zero",
    )  # fmt: skip
    refused = 'pods "identity-service-abc-" is forbidden: exceeded quota: compute, requested: pods=1'
    failed = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": refused}
    server.put(deployment("vault-service", 1, (failed,), replicas=0, availableReplicas=0), DEPLOYMENTS)
    outcome = await seen(make("vault"), lambda outcome: f.REPLICA_FAILURE in outcome.samples)
    assert outcome.samples[f.REPLICA_FAILURE] == {("vault-service", "quota"): 1}
    assert outcome.failure is not None
    assert outcome.failure.detail == f"no pod: {refused}"


async def test_what_is_wrong_beside_a_ready_pod_is_told_and_the_service_up(server: FakeApi, make: Make) -> None:
    server.put(pod("a"))
    server.put(pod("b", CRASHED, ready=False))
    server.put(pod("c", container("sidecar", state=waiting("SomethingNew")), ready=False))
    server.put(pod("d", phase="Pending", node="", ready=False, conditions=(UNSCHEDULABLE,)))
    outcome = await attempt(make())
    assert outcome.verdict is Verdict.UP
    assert outcome.samples[f.WAITING] == {("CrashLoopBackOff",): 1, ("other",): 1}
    assert outcome.samples[f.POD_PROBLEM] == {("b", "CrashLoopBackOff"): 1, ("c", "other"): 1, ("d", "Unschedulable"): 1}
    assert outcome.samples[f.UNSCHEDULABLE] == {("memory",): 1}
    assert outcome.samples[f.TERMINATED] == {("Error",): 1}
    assert outcome.samples[f.EXIT_CODE] == {("app", "Error"): 1}
    assert value(outcome, f.TERMINATED_AT, "Error") == 1767225900
    assert value(outcome, f.RESTARTS, "app") == 0  # it counts from now on


async def test_an_oom_kill_between_two_attempts_is_counted(server: FakeApi, make: Make) -> None:
    """The container runs again by the next attempt, and its last end is another one."""
    server.put(pod("a"))
    probe = make()
    assert value(await attempt(probe), f.OOM_KILLS, "app") == 0
    killed = terminated("OOMKilled", 137, at="2026-01-01T00:05:00Z", containerID="c1")
    server.put(pod("a", container(restarts=0, state=killed)))
    exited = terminated("Error", 1, at="2026-01-01T00:06:00Z", containerID="c2")
    server.put(pod("a", container(restarts=2, ready=True, lastState=exited)))
    outcome = await seen(probe, lambda outcome: value(outcome, f.RESTARTS, "app") == 2)
    assert value(outcome, f.OOM_KILLS, "app") == 1
    assert outcome.samples[f.TERMINATED] == {("Error",): 1}


async def test_a_rollout_that_is_stuck_or_paused(server: FakeApi, make: Make) -> None:
    server.put(pod("a"))
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    server.put(deployment(conditions=(late,), paused=True, updatedReplicas=1, availableReplicas=1), DEPLOYMENTS)
    outcome = await attempt(make())
    assert [value(outcome, family, "identity-service") for family in (f.PROGRESSING, f.STUCK, f.PAUSED)] == [1, 1, 1]
    assert value(outcome, f.REPLICAS, "identity-service", "updated") == 1


async def test_a_stateful_set_has_replicas_and_no_conditions(server: FakeApi, make: Make) -> None:
    server.put(statefulset(), STATEFUL_SETS)
    outcome = await attempt(make("case"))
    assert value(outcome, f.REPLICAS, "case-service", "ready") == 2
    assert f.STUCK not in outcome.samples


async def test_what_stands_around_the_pods(server: FakeApi, make: Make) -> None:
    for name in ("a", "b"):
        server.put(pod(name, node="n1"))
    server.put(deployment(), DEPLOYMENTS)
    server.put(slice_of({"uid-a": True, "uid-b": False, "uid-other": True}), SLICES)
    conditions = [
        {"type": "ScalingLimited", "status": "True", "reason": "TooManyReplicas"},
        {"type": "ScalingActive", "status": "False", "reason": "FailedGetResourceMetric"},
    ]
    server.put(hpa("identity-hpa", "identity-service", conditions), AUTOSCALERS)
    server.put(hpa("other-hpa", "vault-service", conditions), AUTOSCALERS)
    quota = {"hard": {"pods": "4", "requests.cpu": "0"}, "used": {"pods": "3", "requests.cpu": "0"}}
    server.put({"metadata": meta("compute"), "status": quota}, QUOTAS)
    for name, app in (("identity-pdb", "identity-service"), ("other-pdb", "vault-service")):
        server.put({
            "metadata": meta(name),
            "spec": {"selector": {"matchLabels": {"app": app}}},
            "status": {"disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 2, "expectedPods": 2},
        }, BUDGETS)  # fmt: skip
    pressed = [{"type": "Ready", "status": "True"}, {"type": "MemoryPressure", "status": "True"}]
    for name in ("n1", "n2"):
        server.put({"metadata": meta(name), "spec": {"unschedulable": True}, "status": {"conditions": pressed}}, NODES)
    outcome = await attempt(make())
    assert outcome.parts == dict.fromkeys(PARTS)
    assert outcome.samples[f.ENDPOINTS] == {("ready",): 1, ("not_ready",): 1, ("terminating",): 0}
    assert outcome.samples[f.AUTOSCALER] == {
        ("identity-hpa", state): count for state, count in (("current", 5), ("desired", 5), ("min", 2), ("max", 5))
    }  # fmt: skip
    assert outcome.samples[f.AT_LIMIT] == {("identity-hpa",): 1}
    assert outcome.samples[f.UNABLE] == {("identity-hpa", "FailedGetResourceMetric"): 1}
    assert outcome.samples[f.QUOTA_USED] == {("compute", "pods"): 0.75, ("compute", "requests.cpu"): 1}
    assert outcome.samples[f.DISRUPTIONS] == {("identity-pdb",): 0}
    assert outcome.samples[f.BUDGET_HEALTHY][("identity-pdb", "expected")] == 2
    assert value(outcome, f.NODES) == 1
    assert outcome.samples[f.NODE_TROUBLE] == {("n1", "memory_pressure"): 1, ("n1", "cordoned"): 1}


def hpa(name: str, scales: str, conditions: list[dict[str, str]]) -> dict[str, Any]:
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": scales}, "minReplicas": 2, "maxReplicas": 5}
    return {
        "metadata": meta(name), "spec": spec,
        "status": {"currentReplicas": 5, "desiredReplicas": 5, "conditions": conditions},
    }  # fmt: skip


def slice_of(ready: dict[str, bool]) -> dict[str, Any]:
    endpoints = [
        {"addresses": ["10.0.0.1"], "conditions": {"ready": is_ready}, "targetRef": {"kind": "Pod", "name": uid, "uid": uid}}
        for uid, is_ready in ready.items()
    ]
    return {"metadata": meta("identity-x"), "endpoints": endpoints}


async def test_use_is_read_where_there_is_a_metrics_api_and_missed_where_not(server: FakeApi, make: Make) -> None:
    server.put(pod("a"))
    server.put(pod("b"))
    probe = make(selector="app=identity-service")
    asked = []

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path != USES:
            return await refusing(server, {})(request)
        asked.append(request.query["labelSelector"])
        usage = {"cpu": "250m", "memory": "100Mi"}
        more = {"cpu": "100m", "memory": "200Mi"}
        listed = [("a", usage), ("b", more), ("gone", {"cpu": "9", "memory": "9Gi"}), ("", usage)]
        items = [{"metadata": {"name": n}, "containers": [{"name": "app", "usage": u}]} for n, u in listed]
        return web.json_response({"items": items})

    server.override = answer
    outcome = await attempt(probe)
    assert (value(outcome, f.MEMORY_USED, "app"), value(outcome, f.CPU_USED, "app")) == (200 * 2**20, 0.25)
    assert asked == ["app=identity-service"]
    server.override = refusing(server, {USES: 404})
    outcome = await attempt(probe)
    assert outcome.parts["use"] is None
    assert f.MEMORY_USED not in outcome.samples
    server.override = answer
    await attempt(probe)
    assert len(asked) == 1  # what is not there is not asked for at every attempt


@pytest.mark.parametrize(
    ("path", "part"),
    [
        (DEPLOYMENTS, "workloads"), (STATEFUL_SETS, "workloads"), (SLICES, "endpoints"), (AUTOSCALERS, "autoscalers"),
        (QUOTAS, "quotas"), (BUDGETS, "budgets"), (NODES, "nodes"), (USES, "use"),
    ],
)  # fmt: skip
async def test_what_is_forbidden_fails_its_part_and_blinds_nothing_else(
    server: FakeApi, make: Make, path: str, part: str
) -> None:
    server.put(pod("a"))
    server.override = refusing(server, {path: 403, USES: 404} | ({USES: 403} if path == USES else {}))
    outcome = await attempt(make())
    assert outcome.verdict is Verdict.UP
    assert value(outcome, f.PODS_READY) == 1
    failed = {name: failure for name, failure in outcome.parts.items() if failure is not None}
    assert set(failed) == {part}
    assert failed[part].reason.value == "auth"


async def test_a_part_that_is_skipped_is_not_asked_for(server: FakeApi, make: Make) -> None:
    server.put(pod("a"))
    outcome = await attempt(make(skip=("nodes", "autoscalers", "use")))
    assert set(outcome.parts) == PARTS - {"nodes", "autoscalers", "use"}
    assert not server.lists[NODES]
    assert not server.lists[AUTOSCALERS]


@pytest.mark.parametrize(("code", "why"), [(403, "auth"), (500, "api_unreachable")])
async def test_who_may_not_or_cannot_see_pods_says_nothing_of_the_service(
    server: FakeApi, make: Make, code: int, why: str
) -> None:
    server.put(pod("a"))
    server.override = refusing(server, {f"/api/v1{NAMESPACE}pods": code})
    outcome = await attempt(make())
    assert outcome.verdict is Verdict.UNKNOWN
    assert outcome.failure is not None
    assert outcome.failure.reason.value == why
    assert outcome.samples == {}


async def test_an_api_server_that_goes_away_withdraws_what_is_known_and_its_return_brings_it_back(
    server: FakeApi, make: Make
) -> None:
    server.put(pod("a"))
    probe = make()
    assert (await attempt(probe)).verdict is Verdict.UP

    async def gone(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    known, server.override = server.override, gone
    server.disconnect()
    outcome = await seen(probe, lambda outcome: outcome.verdict is not Verdict.UP)
    assert outcome.verdict is Verdict.UNKNOWN
    assert outcome.failure is not None
    assert outcome.failure.reason.value == "api_unreachable"
    assert outcome.samples == {}
    server.override = known
    assert (await seen(probe, lambda outcome: outcome.verdict is Verdict.UP)).failure is None


async def test_services_share_one_watch_of_each_kind_which_ends_with_the_last(
    server: FakeApi, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "LINGER", 0.05)
    server.put(pod("a"))
    server.put(pod("v", owner="vault-service"))
    one, other = make(), make("vault")
    assert [(await attempt(probe)).verdict for probe in (one, other)] == [Verdict.UP, Verdict.UP]
    assert server.lists[f"/api/v1{NAMESPACE}pods"] == 1
    await one.close()
    assert (await attempt(other)).verdict is Verdict.UP
    await other.close()
    await asyncio.sleep(0.2)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("watch ")]


async def test_labels_stay_few_whatever_a_cluster_holds(server: FakeApi, make: Make) -> None:
    """Hundreds of pods, each with a container of its own name that waits for a reason of its own."""
    for n in range(300):
        stuck = container(f"c{n}", n, state=waiting(f"Reason{n}"), lastState=terminated(f"End{n}"))
        given = {"limits": {"cpu": "1"}}
        server.put(pod(f"p{n}", stuck, ready=False, resources=given, node=f"n{n}"))
        server.put({"metadata": meta(f"n{n}"), "spec": {}, "status": {}}, NODES)
        server.put(hpa(f"h{n}", "identity-service", []), AUTOSCALERS)
        server.put({"metadata": meta(f"q{n}"), "status": {"hard": {"pods": "1"}, "used": {"pods": "1"}}}, QUOTAS)
    outcome = await attempt(make(), 10)
    assert outcome.verdict is Verdict.DOWN
    sizes = {family.name: len(samples) for family, samples in outcome.samples.items()}
    assert max(sizes.values()) <= 40, sizes
    assert value(outcome, f.WAITING, "other") == 300
    assert value(outcome, f.TERMINATED, "other") == 300


async def test_a_selector_finds_the_workload_by_its_template(server: FakeApi, make: Make) -> None:
    server.put(deployment(desired=0), DEPLOYMENTS)
    server.put(deployment("vault-service"), DEPLOYMENTS)
    outcome = await attempt(make(selector="app=identity-service,tier in (backend)"))
    assert {labels[0] for labels in outcome.samples[f.REPLICAS]} == {"identity-service"}


async def test_the_clusters_view_is_that_of_the_settings(shared: SharedClients) -> None:
    settings = KubernetesSettings(namespace="other", context="c")
    target = Target("identity", "kubernetes", "identity", ())
    probe = KubernetesProbe(target, settings, shared)
    assert probe._cluster is shared.clusters.of(ClusterAccess(context="c"), "other")
    assert isinstance(probe._cluster, Cluster)
    assert isinstance(probe._cluster.api, Api)
    assert probe.retarget(Target("identity", "kubernetes", "identity", (Address("h", 1),)))
    await probe.close()


def test_restarts_are_counted_over_pods_that_go() -> None:
    restarts = Restarts()
    first, second = (Pod.of(pod(name, container(restarts=count))) for name, count in (("a", 3), ("b", 1)))
    assert restarts.take([first, second]) == {"app": 0}
    assert restarts.take([second]) == {"app": 0}
    assert restarts.take([Pod.of(pod("b", container(restarts=2))), Pod.of(pod("c", container(restarts=1)))]) == {"app": 2}
    assert restarts.take([first]) == {"app": 2}  # it is there again, as one that was relabelled there and back


def test_another_exporter_that_begins_to_look_does_not_look_like_restarts() -> None:
    """A counter that falls to another number counts as that many: it has to begin at zero."""
    first, second = (Pod.of(pod(name, container(restarts=count))) for name, count in (("a", 30), ("b", 60)))
    assert Restarts().take([first, second]) == Restarts().take([second]) == {"app": 0}


def test_counts_of_pods_that_are_gone_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarts_module, "MOST_GONE", 10)
    restarts = Restarts()
    for number in range(50):
        restarts.take([Pod.of(pod(f"p{number}", container(restarts=1)))])
    assert restarts._seen is not None
    assert len(restarts._seen) == 11


@pytest.mark.parametrize("settings", [{"selector": "app in"}, {"selector": ""}, {"namespace": "A"}, {"skip": ("pods",)}])
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        KubernetesSettings(**settings)

"""Everything on a real API server: applied by the letter and for true, its pods admitted, its permissions the least."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.clients.kubernetes.access import ClusterAccess
from exporter.clients.kubernetes.cluster import Clusters
from exporter.clients.kubernetes.permissions import LEASE, OF_KIND, PERMISSIONS, Permission, Purpose
from exporter.clients.kubernetes.resources import RESOURCES, Kind
from exporter.demo.controlplane.access import Access, Identity, KubectlError
from exporter.demo.controlplane.client import ApiError
from exporter.deployment.roles import rules
from exporter.ownership.lease import Leadership
from exporter.ownership.settings import LeaseSettings
from exporter.probing.probe import SharedClients
from exporter.verdict import Failure, Reason, Stage
from tests.deploy.rendering import Objects, chart, kustomized, of_kind, pods
from tests.fixtures.deployers import Deployers
from tests.waiting import eventually

SETTLED = 5.0
"""Seconds after its list in which a watch that is refused says so, on a busy machine too."""


@pytest.fixture
async def operator(control_plane: Access, deployers: Deployers) -> None:
    """The Prometheus operator's kinds are known to the API server."""
    files = [f"--filename={file}" for file in deployers.definitions]
    await control_plane.kubectl("apply", "--server-side", *files)  # too large for an annotation

    async def established() -> bool:  # not by `kubectl wait`: it fails on an object without conditions yet
        kinds = [condition for kind in (await control_plane.get(*files))["items"] for condition in _conditions(kind)]
        return kinds.count(("Established", "True")) == len(files)

    await eventually(established, 20, "the operator's kinds are there")


def _conditions(kind: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["type"], one["status"]) for one in kind.get("status", {}).get("conditions") or []]


@pytest.fixture
async def place(control_plane: Access, namespace: str) -> str:
    """A namespace that takes only pods of the restricted standard."""
    await control_plane.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    return namespace


async def apply(control_plane: Access, objects: Objects, *options: str) -> list[str]:
    """Apply objects, held strictly to their schema; return what was said of each."""
    text = yaml.safe_dump_all(objects.values())
    told = await control_plane.kubectl("apply", "--validate=strict", "-f", "-", *options, stdin=text)
    return told.splitlines()


def in_namespace(objects: Objects, namespace: str) -> Objects:
    """Return objects of another namespace than hafnium."""
    text = json.dumps(list(objects.values()))
    moved: list[dict[str, Any]] = json.loads(text.replace('"namespace": "hafnium"', f'"namespace": "{namespace}"'))
    return {(item["kind"], item["metadata"]["name"]): item for item in moved}


WAYS: dict[str, Callable[[Deployers, Path, str], Objects]] = {
    "base": lambda tools, folder, _: kustomized(tools, folder),
    "leader": lambda tools, folder, _: kustomized(tools, folder, "leader", "nodes", "certificates"),
    "shards": lambda tools, folder, _: kustomized(tools, folder, "shards"),
    "chart": lambda tools, _, namespace: chart(tools, namespace=namespace),
    "chart-leader": lambda tools, _, namespace: chart(
        tools, "--set=mode=leader", "--set=kubernetes.nodes=true", "--set=kubernetes.certificates=true", namespace=namespace
    ),
    "chart-shards": lambda tools, _, namespace: chart(tools, "--set=mode=shards", "--set=replicas=3", namespace=namespace),
}


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize("way", WAYS)
async def test_it_is_applied_without_a_warning_and_its_pods_are_admitted(
    control_plane: Access, deployers: Deployers, place: str, tmp_path: Path, way: str
) -> None:
    objects = in_namespace(WAYS[way](deployers, tmp_path, place), place)
    dry = await apply(control_plane, objects, "--dry-run=server")
    assert len(dry) == len(objects)
    assert all(line.endswith("(server dry run)") for line in dry)
    done = await apply(control_plane, objects)
    assert len(done) == len(objects)
    (workload,) = of_kind(objects, "Deployment") + of_kind(objects, "StatefulSet")
    async with asyncio.timeout(60):
        while len(made := await made_pods(control_plane, place)) < workload["spec"]["replicas"]:
            await asyncio.sleep(0.2)
    spec = made[0]["spec"]
    assert spec["securityContext"]["runAsUser"] == 65532
    assert len(spec["containers"]) == 1
    again = await apply(control_plane, objects)
    assert all(line.endswith("unchanged") or "configured" in line for line in again)
    for kind in ("clusterrole", "clusterrolebinding"):
        for key in [key for key in objects if key[0].lower() == kind]:
            await control_plane.kubectl("delete", kind, key[1])


async def made_pods(control_plane: Access, namespace: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await control_plane.get("pods", "-n", namespace, "-l", "app=hafnium-exporter"))["items"]
    return found


@pytest.mark.usefixtures("operator")
async def test_a_misspelt_field_would_be_found(
    control_plane: Access, deployers: Deployers, place: str, tmp_path: Path
) -> None:
    objects = in_namespace(kustomized(deployers, tmp_path), place)
    pods(objects)[0]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(KubectlError, match="readynessProbe"):
        await apply(control_plane, objects, "--dry-run=server")


async def test_a_pod_of_less_care_would_be_refused(
    control_plane: Access, deployers: Deployers, place: str, tmp_path: Path
) -> None:
    (spec,) = pods(kustomized(deployers, tmp_path))
    del spec["containers"][0]["securityContext"]["capabilities"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "careless"}, "spec": spec}
    with pytest.raises((ApiError, KubectlError), match="restricted"):
        await control_plane.apply([pod], place)


# ── Permissions ──────────────────────────────────────────────────────────────────────────────────────────────────────────


Cases = list[tuple[Permission, str]]
EACH: Cases = [(permission, verb) for permission in PERMISSIONS for verb in permission.verbs]
"""Every verb of every permission: one is taken away, and who needs it says so."""


def without(permission: Permission | None, verb: str) -> list[dict[str, list[str]]]:
    """Return all rules but for one verb of one permission."""
    found = [rule for purpose in Purpose for rule in rules(purpose)]
    if permission is not None:
        at = found.index(permission.rule)
        found[at] = {**found[at], "verbs": [other for other in found[at]["verbs"] if other != verb]}
    return [rule for rule in found if rule["verbs"]]


@pytest.fixture
async def clusters() -> AsyncIterator[Clusters]:
    """The exporter's own client."""
    shared = SharedClients.open()
    found = Clusters(shared.resolver)
    yield found
    await found.close()
    await shared.close()


async def refusal_of(kind: Kind, clusters: Clusters, who: Identity, namespace: str) -> Failure | None:
    """Follow a kind until it is listed and watched; return what is refused."""
    cluster = clusters.of(ClusterAccess.model_validate({"kubeconfig": who.config}), namespace)
    with cluster.use(kind):
        listed: float | None = None
        async with asyncio.timeout(60):
            while True:
                failure, now = cluster.failure(kind), asyncio.get_running_loop().time()
                if failure is not None and failure.reason is not Reason.NOT_YET_PROBED:
                    return failure
                if failure is None:
                    listed = listed or now
                    if now - listed > SETTLED:
                        return None
                await asyncio.sleep(0.02)


async def refusals(clusters: Clusters, who: Identity, namespace: str) -> dict[str, Failure]:
    """Do everything that the exporter does; return what is refused, by resource."""
    found: dict[str, Failure] = {}

    async def kept(name: str, asked: Awaitable[Failure | None]) -> None:
        failure = await asked
        if failure is not None:
            found[name] = failure

    await asyncio.gather(*(kept(kind.value, refusal_of(kind, clusters, who, namespace)) for kind in RESOURCES))
    await kept("leases", lease_refusal(clusters, who, namespace))
    return found


async def lease_refusal(clusters: Clusters, who: Identity, namespace: str) -> Failure | None:
    """Take part in an election from an unmade Lease to its renewal; return what is refused."""
    api = clusters.of(ClusterAccess.model_validate({"kubeconfig": who.config}), namespace).api
    leadership = Leadership(api, LeaseSettings.model_validate({"duration": 3.0}), namespace, f"{who.name}_1", lambda: None)
    began = asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() - began < 15.0:
        await leadership.look()
        if leadership.failure is not None or leadership.leads:
            return leadership.failure
        await asyncio.sleep(0.2)
    pytest.fail("the lease is neither held nor refused")


def followed(cases: Iterable[tuple[Permission, str]]) -> Cases:
    """Return the cases of what the client follows already, and of the Lease."""
    kinds = {OF_KIND[kind] for kind in RESOURCES}
    return [case for case in cases if case[0] in kinds or case[0].purpose is Purpose.LEADER]


async def test_with_all_of_them_nothing_is_refused(control_plane: Access, clusters: Clusters, namespace: str) -> None:
    who = await control_plane.as_user("everything", without(None, ""), namespace, cluster=True)
    assert await refusals(clusters, who, namespace) == {}


@pytest.mark.parametrize(
    ("permission", "verb"), followed(EACH), ids=lambda value: value.resource if isinstance(value, Permission) else value
)
async def test_without_one_verb_what_needs_it_is_refused_and_nothing_else(
    control_plane: Access, clusters: Clusters, namespace: str, permission: Permission, verb: str
) -> None:
    who = await control_plane.as_user(f"no-{permission.resource}-{verb}", without(permission, verb), namespace, cluster=True)
    found = await refusals(clusters, who, namespace)
    assert found.keys() == {permission.resource}
    failure = found[permission.resource]
    assert (failure.stage, failure.reason) == (Stage.AUTH, Reason.AUTH)


@pytest.mark.parametrize("permission", PERMISSIONS, ids=lambda permission: f"{permission.group}/{permission.resource}")
async def test_the_api_server_agrees(control_plane: Access, namespace: str, permission: Permission) -> None:
    who = await control_plane.as_user("all", without(None, ""), namespace, cluster=permission.purpose is Purpose.NODES)

    async def allowed(verb: str) -> bool:
        asked = {"group": permission.group, "resource": permission.resource, "verb": verb, "namespace": namespace}
        if permission.names:
            asked["name"] = LEASE
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": f"system:serviceaccount:{namespace}:{who.name}", "resourceAttributes": asked},
        }
        async with control_plane.client() as client:
            answer = await client.send("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return bool(answer["status"]["allowed"])

    verbs = ("get", "list", "watch", "create", "update", "patch", "delete")
    wanted = {verb for other in PERMISSIONS if same(other, permission) for verb in other.verbs}
    assert {verb for verb in verbs if await allowed(verb)} == wanted


def same(one: Permission, other: Permission) -> bool:
    """Say whether one rule says something of what the other is about: one that names no object is about all of them."""
    return (one.group, one.resource) == (other.group, other.resource) and one.names in ((), other.names)

"""List and watch against a real API server: rights withdrawn, restarts, compaction, tokens that expire."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from exporter.clients.kubernetes import kubeconfig, watch
from exporter.clients.kubernetes.access import ClusterAccess
from exporter.clients.kubernetes.answers import ApiFailure, Conflict
from exporter.clients.kubernetes.cluster import Cluster, Clusters, Kind
from exporter.demo.controlplane.access import Access
from exporter.demo.controlplane.plane import ControlPlane
from exporter.net.resolver import Resolver
from exporter.verdict import Failure, Reason

READ = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]


def pod(name: str, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "identity-service", **labels}},
        "spec": {
            "containers": [{"name": "app", "image": "identity", "ports": [{"name": "management", "containerPort": 8081}]}],
            "nodeSelector": {"nobody": "has-this"},  # it stays as it is
        },
    }


@asynccontextmanager
async def seen(config: Path, namespace: str) -> AsyncIterator[Cluster]:
    resolver = Resolver()
    clusters = Clusters(resolver)
    cluster = clusters.of(ClusterAccess(kubeconfig=config), namespace)
    with cluster.use(Kind.PODS):
        yield cluster
    await clusters.close()
    await resolver.close()


async def until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        await asyncio.sleep(0.02)


def names(cluster: Cluster) -> list[str]:
    return sorted(each.name for each in cluster.objects(Kind.PODS).values())


def known(cluster: Cluster) -> bool:
    return cluster.failure(Kind.PODS) is None


def failure_of(cluster: Cluster) -> Failure | None:
    failure = cluster.failure(Kind.PODS)
    return None if failure is None or failure.reason is Reason.NOT_YET_PROBED else failure


async def test_pods_are_listed_and_watched_with_the_least_rights(control_plane: Access, namespace: str) -> None:
    reader = await control_plane.as_user("reader", READ, namespace)
    await control_plane.apply([pod(f"identity-{number}", tier="backend") for number in range(3)], namespace)
    async with seen(reader.config, namespace) as cluster:
        await until(lambda: known(cluster), "listed")
        assert names(cluster) == ["identity-0", "identity-1", "identity-2"]
        (one, *_) = cluster.objects(Kind.PODS).values()
        assert one.labels == {"app": "identity-service", "tier": "backend"}
        assert (one.ports, one.phase, one.ip, one.ready) == ({"management": 8081}, "Pending", "", False)
        assert abs(one.created - time.time()) < 120
        await control_plane.apply([pod("identity-3")], namespace)
        await until(lambda: "identity-3" in names(cluster), "an event")
        await control_plane.delete("pod", "identity-0", namespace)
        await until(lambda: "identity-0" not in names(cluster), "an end")
        assert cluster.skipped(Kind.PODS) == 0


async def test_a_list_of_many_pages_is_whole(control_plane: Access, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PAGE", 4)
    await control_plane.apply([pod(f"identity-{number}") for number in range(10)], namespace)
    async with seen(control_plane.admin.config, namespace) as cluster:
        await until(lambda: known(cluster), "listed")
        assert len(names(cluster)) == 10


async def test_rights_that_are_withdrawn_in_mid_watch_are_named_and_their_return_is_seen(
    control_plane: Access, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "WATCH_SECONDS", (3.0, 4.0))
    monkeypatch.setattr(watch, "LONGEST_WAIT", 1.0)
    reader = await control_plane.as_user("reader", READ, namespace)
    await control_plane.apply([pod("identity-0")], namespace)
    async with seen(reader.config, namespace) as cluster:
        await until(lambda: known(cluster), "listed")
        await control_plane.withdraw(reader)
        await until(lambda: failure_of(cluster), "the failure")
        assert str(failure_of(cluster)) == f"auth: auth: forbidden: pods in {namespace}: needs list, watch"
        assert names(cluster) == ["identity-0"]
        await control_plane.grant(reader, READ)
        await until(lambda: known(cluster), "granted again")
        await control_plane.apply([pod("identity-1")], namespace)
        await until(lambda: "identity-1" in names(cluster), "an event")


async def test_the_right_to_list_alone_leaves_pods_unknown(
    control_plane: Access, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LONGEST_WAIT", 0.3)
    lister = await control_plane.as_user("lister", [{**READ[0], "verbs": ["list"]}], namespace)
    await control_plane.apply([pod("identity-0")], namespace)
    told: list[bool] = []
    async with seen(lister.config, namespace) as cluster:
        await until(lambda: failure_of(cluster), "the failure")
        cluster.subscribe(Kind.PODS, lambda: told.append(known(cluster)))
        assert str(failure_of(cluster)) == f"auth: auth: forbidden: pods in {namespace}: needs list, watch"
        await control_plane.apply([pod("identity-1")], namespace)
        await until(lambda: "identity-1" in names(cluster), "listed again")
        await asyncio.sleep(0.5)
        assert not any(told)
        assert failure_of(cluster)


async def test_a_watch_that_ends_in_time_goes_on_without_a_failure(
    control_plane: Access, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "WATCH_SECONDS", (2.0, 3.0))
    failures: list[Failure] = []
    async with seen(control_plane.admin.config, namespace) as cluster:
        await until(lambda: known(cluster), "listed")
        cluster.subscribe(Kind.PODS, lambda: failures.extend(filter(None, [failure_of(cluster)])))
        for number in range(8):
            await control_plane.apply([pod(f"identity-{number}")], namespace)
            await asyncio.sleep(1.0)
        await until(lambda: len(names(cluster)) == 8, "all events")
    assert not failures


async def test_a_token_that_expires_is_read_anew(
    control_plane: Access, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "WATCH_SECONDS", (3.0, 4.0))
    monkeypatch.setattr(watch, "LONGEST_WAIT", 1.0)
    monkeypatch.setattr(kubeconfig, "HOLD", 0.5)
    await control_plane.as_user("reader", READ, namespace)
    token = await control_plane.short_token("reader", namespace, 15)
    config = control_plane.kubeconfig("reader", token, namespace)
    async with seen(config, namespace) as cluster:
        await until(lambda: known(cluster), "listed")
        await until(lambda: failure_of(cluster), "the token has expired", 90)
        failure = failure_of(cluster)
        assert failure is not None
        assert failure.reason is Reason.AUTH
        assert token not in str(failure)
        control_plane.kubeconfig("reader", await control_plane.request_token("reader", namespace), namespace)
        await until(lambda: known(cluster), "the new token")


async def test_changes_are_refused_by_their_names(control_plane: Access, namespace: str) -> None:
    async with seen(control_plane.admin.config, namespace) as cluster:
        path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": "one"},
            "spec": {"holderIdentity": "a"},
        }
        made = await cluster.api.send("POST", path, lease)
        with pytest.raises(Conflict) as caught:
            await cluster.api.send("POST", path, lease)
        assert caught.value.cause == "AlreadyExists"
        await cluster.api.send("PUT", f"{path}/one", {**made, "spec": {"holderIdentity": "b"}})
        with pytest.raises(Conflict) as caught:
            await cluster.api.send("PUT", f"{path}/one", {**made, "spec": {"holderIdentity": "c"}})
        assert caught.value.cause == "Conflict"
        with pytest.raises(ApiFailure) as missing:
            await cluster.api.get(f"{path}/none")
        assert missing.value.status == 404


async def test_an_api_server_that_is_killed_takes_nothing_away(own_control_plane: ControlPlane) -> None:
    plane = own_control_plane
    namespace = await plane.namespace()
    await plane.apply([pod("identity-0"), pod("identity-1")], namespace)
    gone: list[str] = []
    async with seen(plane.admin.config, namespace) as cluster:
        await until(lambda: known(cluster), "listed")
        cluster.follow(Kind.PODS, lambda uid, _before, now: gone.append(uid) if now is None else None)
        await plane.stop_api_server(kill=True)
        await until(lambda: failure_of(cluster), "noticed")
        failure = failure_of(cluster)
        assert failure is not None
        assert failure.reason in (Reason.CONNECT_REFUSED, Reason.CONNECTION_CLOSED)
        assert names(cluster) == ["identity-0", "identity-1"]
        await plane.start_api_server()
        await until(lambda: known(cluster), "back")
        assert names(cluster) == ["identity-0", "identity-1"]
        assert not gone
        await plane.apply([pod("identity-2")], namespace)
        await until(lambda: "identity-2" in names(cluster), "an event")
        # Every version that is known is too old now: 410, and all is listed again.
        await plane.delete("pod", "identity-0", namespace)
        await until(lambda: len(names(cluster)) == 2, "an end")
        gone.clear()
        await plane.expire()
        await plane.apply([pod("identity-3")], namespace)
        await until(lambda: known(cluster) and "identity-3" in names(cluster), "listed again")
        assert names(cluster) == ["identity-1", "identity-2", "identity-3"]
        assert not gone

"""Instances from a cluster, against a server that speaks the list and watch protocol."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from exporter.clients.kubernetes.api import Api
from exporter.clients.kubernetes.cluster import Cluster
from exporter.config.kubernetes import KubernetesInstances
from exporter.discovery import kubernetes as discovery
from exporter.discovery.kubernetes import source_in
from exporter.discovery.source import Discovered
from exporter.net.resolver import Resolver
from exporter.values import Address
from exporter.verdict import Reason
from tests.clients.kubernetes.fake import FakeApi, Fixed, api_server, pod, status

SLICES = "/apis/discovery.k8s.io/v1/namespaces/hafnium/endpointslices"
NODES = "/api/v1/nodes"
DEPLOYMENTS = "/apis/apps/v1/namespaces/hafnium/deployments"


class Running:
    """A source that runs, and what it has reported."""

    def __init__(self, server: FakeApi) -> None:
        self.server = server
        self.reports: list[Discovered] = []

    @property
    def last(self) -> Discovered:
        return self.reports[-1]

    @property
    def names(self) -> list[str]:
        return [instance.name for instance in self.last.instances]

    async def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + 20
        while not (self.reports and condition()):
            assert time.monotonic() < deadline, f"not in time: {what}; reported: {self.reports[-1:]}"
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(server: FakeApi, **settings: Any) -> AsyncIterator[Running]:
    resolver = Resolver()
    api = Api(Fixed(server.url), resolver)
    cluster = Cluster(api, "hafnium")
    found = Running(server)
    wanted = KubernetesInstances.model_validate({"selector": "app=identity-service", "port": 8081, **settings})
    task = asyncio.create_task(source_in(cluster, wanted).run(found.reports.append))
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await cluster.close()
        await api.close()
        await resolver.close()
    assert task.cancelled()


@pytest.fixture
async def server() -> AsyncIterator[FakeApi]:
    async with api_server() as fake:
        yield fake


async def test_pods_are_selected_by_their_labels_and_come_and_go(server: FakeApi) -> None:
    server.put(pod("identity-1", uid="one", ip="10.0.0.1"))
    server.put(pod("case-1", app="case", ip="10.0.0.2"))
    async with running(server) as source:
        await source.until(lambda: source.names == ["identity-1"], "the first")
        (only,) = source.last.instances
        assert (only.address, only.uid, only.ready, only.terminating) == (Address("10.0.0.1", 8081), "one", True, False)
        assert source.last.complete
        server.put(pod("identity-2", uid="two", ip="10.0.0.3", ready=False))
        await source.until(lambda: source.names == ["identity-1", "identity-2"], "another")
        assert not source.last.instances[1].ready
        server.put(pod("identity-1", uid="one", ip="10.0.0.1", terminating=True))
        await source.until(lambda: source.last.instances[0].terminating, "terminating")
        server.delete("one")
        await source.until(lambda: source.names == ["identity-2"], "gone")
        server.delete("two")
        await source.until(lambda: source.names == [], "none")
        assert source.last.complete


async def test_a_pod_without_an_address_and_one_that_has_ended_are_no_instances(server: FakeApi) -> None:
    server.put(pod("pending", ip="", phase="Pending"))
    server.put(pod("done", phase="Succeeded"))
    server.put(pod("evicted", phase="Failed"))
    server.put(pod("runs", uid="runs"))
    async with running(server) as source:
        await source.until(lambda: source.names == ["runs"], "the one that runs")
        server.put(pod("runs", uid="runs", phase="Succeeded"))
        await source.until(lambda: source.names == [], "it has ended")


async def test_a_reused_name_is_another_instance(server: FakeApi) -> None:
    server.put(pod("identity-0", uid="old"))
    async with running(server) as source:
        await source.until(lambda: source.names == ["identity-0"], "the first")
        server.delete("old")
        server.put(pod("identity-0", uid="new"))
        await source.until(lambda: source.last.instances[0].uid == "new", "the next")


async def test_a_named_port_is_that_of_each_pod(server: FakeApi) -> None:
    server.put(pod("identity-1", ports={"http": 8080, "management": 9001}))
    server.put(pod("identity-2", ports={"management": 9002}))
    server.put(pod("identity-3", ports={}))
    async with running(server, port="management") as source:
        await source.until(lambda: len(source.names) == 2, "those that have it")
        assert [instance.address.port for instance in source.last.instances] == [9001, 9002]


async def test_a_port_that_no_pod_has_makes_no_service_seem_to_be_gone(server: FakeApi) -> None:
    server.put(pod("identity-1"))
    async with running(server, port="metrics") as source:
        await source.until(lambda: source.reports, "a report")
        assert not source.last.complete
        assert str(source.last.failure) == "check: not_built: what is selected has no port named metrics"


async def test_labels_are_those_that_are_wanted(server: FakeApi) -> None:
    node = {"metadata": {"name": "node-1", "uid": "n1", "labels": {"topology.kubernetes.io/zone": "a"}}}
    server.put(node, NODES)
    server.put(pod("identity-1", owner="identity"))
    async with running(server, labels=["pod", "node", "zone", "revision"]) as source:
        await source.until(lambda: source.names, "the pod")
        expected = {"pod": "identity-1", "node": "node-1", "zone": "a", "revision": "7d9f8c"}
        assert source.last.instances[0].labels == expected
        assert len(source.reports) == 1  # it has waited for the nodes
    async with running(server) as source:
        await source.until(lambda: source.names, "the pod")
        assert source.last.instances[0].labels == {}
        assert server.watches[NODES] == 1


async def test_without_rights_on_nodes_there_is_no_zone_and_all_else(server: FakeApi) -> None:
    async def some(request: web.Request) -> web.StreamResponse:
        if request.path == NODES:
            return status(403, "Forbidden", "nodes is forbidden")
        server.override = None
        try:
            return await server.handle(request)
        finally:
            server.override = some

    server.put(pod("identity-1"))
    server.override = some
    async with running(server, labels=["node", "zone"]) as source:
        await source.until(lambda: source.names == ["identity-1"], "the pod")
        assert source.last.instances[0].labels == {"node": "node-1"}
        assert source.last.complete


async def test_while_the_api_server_is_away_what_was_known_stays_and_the_failure_is_told(server: FakeApi) -> None:
    async def away(_: web.Request) -> web.Response:
        return status(503, "ServiceUnavailable", "etcd is not there")

    server.put(pod("identity-1"))
    async with running(server) as source:
        await source.until(lambda: source.names, "the pod")
        server.override = away
        server.disconnect()
        await source.until(lambda: not source.last.complete, "the failure")
        assert source.names == ["identity-1"]
        assert source.last.failure is not None
        assert source.last.failure.reason is Reason.API_UNREACHABLE
        assert source.last.failure.detail.startswith("http_status: ")
        server.override = None
        await source.until(lambda: source.last.complete, "back")
        assert source.names == ["identity-1"]


async def test_a_cluster_that_never_answers_is_told_soon(server: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "PATIENCE", 0.3)

    async def hanging(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        raise AssertionError

    server.override = hanging
    async with running(server) as source:
        await source.until(lambda: source.reports, "a report")
        assert not source.last.complete
        assert source.last.failure is not None
        assert source.last.failure.reason is Reason.NOT_YET_PROBED


async def test_no_pods_at_all_is_an_answer(server: FakeApi) -> None:
    async with running(server) as source:
        await source.until(lambda: source.reports, "a report")
        assert source.last == Discovered(())


async def test_what_does_not_concern_the_instances_is_not_reported(server: FakeApi) -> None:
    server.put(pod("identity-1", uid="one"))
    async with running(server) as source:
        await source.until(lambda: source.names, "the pod")
        count = len(source.reports)
        server.put(pod("identity-1", uid="one", containers=[{"name": "app", "restartCount": 1, "state": {}}]))
        server.put(pod("case-1", app="case"))
        await asyncio.sleep(1.5)
        assert len(source.reports) == count


async def test_a_burst_is_a_few_reports(server: FakeApi) -> None:
    async with running(server) as source:
        await source.until(lambda: source.reports, "a report")
        for number in range(60):
            server.put(pod(f"identity-{number:02}"))
            await asyncio.sleep(0.01)
        await source.until(lambda: len(source.names) == 60, "all")
        assert len(source.reports) <= 6


async def test_that_nothing_has_changed_is_told_again(server: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "REFRESH", 0.2)
    monkeypatch.setattr(discovery, "GAP", 0.05)
    async with running(server) as source:
        await source.until(lambda: len(source.reports) >= 3, "reports")


async def test_too_many_are_cut_and_that_is_told(server: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "MOST_INSTANCES", 2)
    for number in range(3):
        server.put(pod(f"identity-{number}"))
    async with running(server) as source:
        await source.until(lambda: source.reports, "a report")
        assert source.names == ["identity-0", "identity-1"]
        assert source.last.failure is not None
        assert source.last.failure.reason is Reason.TOO_LARGE


# How many there should be.


def deployment(name: str, replicas: int, app: str = "identity") -> dict[str, Any]:
    labels = {"app": f"{app}-service", "tier": "backend"}
    template = {"metadata": {"labels": labels}}
    return {"metadata": {"name": name, "uid": f"d-{name}"}, "spec": {"replicas": replicas, "template": template}}


async def test_what_the_workloads_want_is_told_where_it_is_needed(server: FakeApi) -> None:
    server.put(deployment("identity", 3), DEPLOYMENTS)
    server.put(deployment("identity-canary", 1), DEPLOYMENTS)
    server.put(deployment("case", 5, app="case"), DEPLOYMENTS)
    server.put(pod("identity-1"))
    async with running(server, desired=True) as source:
        await source.until(lambda: source.names, "the pod")
        assert (source.last.wanted, source.last.desired) == (4, 4)
        server.put(deployment("identity", 0), DEPLOYMENTS)
        await source.until(lambda: source.last.wanted == 1, "scaled")
        server.delete("d-identity", DEPLOYMENTS)
        server.delete("d-identity-canary", DEPLOYMENTS)
        await source.until(lambda: source.last.wanted is None, "no workload")
        assert source.last.desired == 1  # as many as there are
        assert source.last.unsized is not None
        assert "no Deployment" in source.last.unsized.detail
        assert source.last.complete


async def test_without_rights_on_workloads_it_is_told_that_nobody_knows_how_many_there_should_be(server: FakeApi) -> None:
    refused = True

    async def some(request: web.Request) -> web.StreamResponse:
        if refused and request.path == DEPLOYMENTS:
            return status(403, "Forbidden", "deployments is forbidden")
        server.override = None
        try:
            return await server.handle(request)
        finally:
            server.override = some

    server.put(deployment("identity", 3), DEPLOYMENTS)
    server.put(pod("identity-1"))
    server.override = some
    async with running(server, desired=True) as source:
        await source.until(lambda: source.last.unsized, "the refusal")
        assert source.last.unsized is not None
        assert source.last.unsized.reason is Reason.AUTH
        assert (source.names, source.last.complete, source.last.wanted, source.last.desired) == (
            ["identity-1"],
            True,
            None,
            1,
        )
        refused = False
        await source.until(lambda: source.last.wanted == 3, "allowed")
        assert source.last.unsized is None


async def test_workloads_are_not_asked_for_where_nothing_needs_them(server: FakeApi) -> None:
    server.put(pod("identity-1"))
    async with running(server) as source:
        await source.until(lambda: source.names, "the pod")
        assert set(server.lists) == {"/api/v1/namespaces/hafnium/pods"}


# EndpointSlices.


def endpoint(name: str, ip: str, *, uid: str = "", **conditions: bool) -> dict[str, Any]:
    target = {"kind": "Pod", "name": name, "uid": uid or f"uid-{name}"}
    return {"addresses": [ip], "conditions": conditions, "targetRef": target, "nodeName": "node-1", "zone": "a"}


def endpoint_slice(name: str, *endpoints: dict[str, Any], **ports: int) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "uid": f"s-{name}",
            "labels": {"app": "identity-service", "kubernetes.io/service-name": "identity"},
        },
        "ports": [{"name": port, "port": number} for port, number in (ports or {"management": 8081}).items()],
        "endpoints": list(endpoints),
    }


async def test_endpoints_of_a_service_are_instances(server: FakeApi) -> None:
    first = endpoint_slice(
        "identity-a",
        endpoint("identity-1", "10.0.0.1", ready=True),
        endpoint("identity-2", "10.0.0.2", ready=False),
        endpoint("identity-3", "10.0.0.3", ready=False, serving=True, terminating=True),
    )
    server.put(first, SLICES)
    settings = {"source": "endpointslices", "port": "management", "labels": ["pod", "node", "zone"]}
    async with running(server, **settings) as source:
        await source.until(lambda: len(source.names) == 3, "the endpoints")
        one, two, three = source.last.instances
        assert (one.address, one.uid, one.ready) == (Address("10.0.0.1", 8081), "uid-identity-1", True)
        assert one.labels == {"pod": "identity-1", "node": "node-1", "zone": "a"}
        assert not two.ready
        assert three.terminating
        server.put(endpoint_slice("identity-b", endpoint("identity-1", "fd00::1", ready=True)), SLICES)
        server.put(endpoint_slice("identity-c", endpoint("identity-4", "10.0.0.4", ready=True)), SLICES)
        await source.until(lambda: len(source.names) == 4, "another slice")
        assert str(source.last.instances[0].address) == "10.0.0.1:8081"  # of two families, one
        server.delete("s-identity-a", SLICES)
        await source.until(lambda: source.names == ["identity-1", "identity-4"], "a slice is gone")
        assert str(source.last.instances[0].address) == "[fd00::1]:8081"


async def test_an_endpoint_that_is_no_pod_is_named_by_its_address(server: FakeApi) -> None:
    bare = {"addresses": ["192.0.2.7"], "conditions": {}}
    server.put(endpoint_slice("identity-a", bare, {"addresses": []}, {"addresses": [5]}), SLICES)
    async with running(server, source="endpointslices") as source:
        await source.until(lambda: source.names, "the endpoint")
        (only,) = source.last.instances
        assert (only.name, only.uid, only.ready) == ("192.0.2.7:8081", "", True)


async def test_an_endpoint_that_moves_to_another_slice_is_never_gone(server: FakeApi) -> None:
    """The controller writes the one slice, and then the other: in between it is in neither."""
    first, second = endpoint("i-1", "10.0.0.1", ready=True), endpoint("i-2", "10.0.0.2", ready=True)
    server.put(endpoint_slice("a", first, second), SLICES)
    server.put(endpoint_slice("b"), SLICES)
    async with running(server, source="endpointslices") as source:
        await source.until(lambda: len(source.names) == 2, "both")
        for _ in range(10):
            await asyncio.sleep(discovery.GAP + 0.5)  # nothing else is due
            source.reports.clear()
            began = asyncio.get_running_loop().time()
            server.put(endpoint_slice("a", first), SLICES)
            await asyncio.sleep(0.03)
            server.put(endpoint_slice("b", second), SLICES)
            if asyncio.get_running_loop().time() - began < discovery.SETTLE / 4:  # on a busy machine it may take longer
                break
            server.put(endpoint_slice("a", first, second), SLICES)
            server.put(endpoint_slice("b"), SLICES)
        await asyncio.sleep(discovery.SETTLE + 1.5)
        assert [len(report.instances) for report in source.reports if len(report.instances) == 1] == []

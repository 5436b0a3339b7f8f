"""What is of one service in a cluster: its pods, its workloads, and what stands around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from exporter.clients.kubernetes.cluster import Cluster, Kind
from exporter.clients.kubernetes.followers import marks_of, owned_by
from exporter.clients.kubernetes.objects.autoscalers import Autoscaler
from exporter.clients.kubernetes.objects.nodes import Node
from exporter.clients.kubernetes.objects.pods import Pod, Workload
from exporter.clients.kubernetes.objects.policies import DisruptionBudget
from exporter.clients.kubernetes.objects.selector import Selector
from exporter.clients.kubernetes.objects.slices import Endpoint
from exporter.clients.kubernetes.objects.workloads import Deployment, StatefulSet

__all__ = ["Scaled", "Scope"]

MOST_WORKLOADS = 10
"""Workloads of one service: its Deployment, and perhaps a canary."""

Scaled = Deployment | StatefulSet

_KINDS = {"Deployment": Kind.DEPLOYMENTS, "StatefulSet": Kind.STATEFUL_SETS}


class Scope:
    """Selects from a cluster what is of one service. Its pods are followed, so that asking for them costs what they are, and
    not what the cluster has.

    Args:
        cluster: Where.
        workload: Name of its Deployment or StatefulSet; None: those that make pods which the selector selects.
        selector: Selects its pods; None: those of the workload.
    """

    def __init__(self, cluster: Cluster, workload: str | None, selector: Selector | None) -> None:
        self.cluster = cluster
        self.workload = workload
        self.selector = selector
        self._pods: dict[str, Pod] = {}
        self._end: Callable[[], None] | None = None

    def begin(self) -> None:
        """Follow its pods; they must be watched as long."""
        marks = marks_of(self.selector) if self.selector is not None else owned_by(self.workload or "")
        self._end = self.cluster.follow(Kind.PODS, self._take, marks)
        for uid, pod in self.cluster.objects(Kind.PODS).items():
            self._take(uid, None, pod)

    def end(self) -> None:
        """Follow them no more; a second time changes nothing."""
        if self._end is not None:
            self._end()
            self._end = None
        self._pods.clear()

    def pods(self) -> list[Pod]:
        """Return its pods, in the order of their names: at once, without a pause."""
        return sorted(self._pods.values(), key=lambda pod: pod.name)

    def workloads(self) -> list[Scaled]:
        """Return its workloads, in the order of their names: those that are known as they are now."""
        known = (kind for kind in _KINDS.values() if self.cluster.failure(kind) is None)
        found = [each for kind in known for each in self.cluster.objects(kind).values() if self._makes_its(each)]
        found.sort(key=lambda each: (each.name, each.kind))
        return found[:MOST_WORKLOADS]

    def owners(self, pods: list[Pod], workloads: list[Scaled]) -> set[Workload]:
        """Return what owns its pods, or would."""
        named = {Workload(kind, self.workload) for kind in _KINDS} if self.workload is not None else set()
        return {pod.owner for pod in pods if pod.owner} | {Workload(each.kind, each.name) for each in workloads} | named

    def endpoints(self, pods: list[Pod]) -> Iterator[Endpoint]:
        """Yield the endpoints that are its pods, each once for each Service."""
        uids = {pod.uid for pod in pods}
        for each in self.cluster.objects(Kind.ENDPOINT_SLICES).values():
            yield from (endpoint for endpoint in each.endpoints if endpoint.uid in uids)

    def autoscalers(self, owners: set[Workload]) -> list[Autoscaler]:
        """Return what scales its workloads."""
        found = [each for each in self.cluster.objects(Kind.AUTOSCALERS).values() if each.scales in owners]
        return sorted(found, key=lambda each: each.name)

    def budgets(self, pods: list[Pod], workloads: list[Scaled]) -> list[DisruptionBudget]:
        """Return the disruption budgets that protect its pods."""
        labels = list({tuple(pod.labels.items()): pod.labels for pod in pods}.values())  # thousands have the same
        labels = labels or [each.template for each in workloads]
        found = [
            each
            for each in self.cluster.objects(Kind.DISRUPTION_BUDGETS).values()
            if each.selector is not None and any(map(each.selector.fits, labels))
        ]
        return sorted(found, key=lambda each: each.name)

    def nodes(self, pods: list[Pod]) -> list[Node]:
        """Return the nodes that its pods run on."""
        names = {pod.node for pod in pods}
        found = [each for each in self.cluster.objects(Kind.NODES).values() if each.name in names]
        return sorted(found, key=lambda each: each.name)

    def _take(self, uid: str, _before: Any, now: Pod | None) -> None:
        if now is not None and self._is_its(now):
            self._pods[uid] = now
        else:
            self._pods.pop(uid, None)

    def _is_its(self, pod: Pod) -> bool:
        if self.selector is not None:
            return self.selector.fits(pod.labels)
        return pod.owner is not None and pod.owner.name == self.workload

    def _makes_its(self, each: Scaled) -> bool:
        if self.workload is not None:
            return each.name == self.workload
        return self.selector is not None and self.selector.fits(each.template)

"""Where each kind is found in the API, and what it is reduced by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from exporter.clients.kubernetes.objects.autoscalers import Autoscaler
from exporter.clients.kubernetes.objects.nodes import Node
from exporter.clients.kubernetes.objects.pods import Pod
from exporter.clients.kubernetes.objects.policies import DisruptionBudget, Quota
from exporter.clients.kubernetes.objects.slices import EndpointSlice
from exporter.clients.kubernetes.objects.workloads import Deployment, StatefulSet

__all__ = ["RESOURCES", "Kind", "Resource"]


class Kind(StrEnum):
    """What can be watched."""

    PODS = "pods"
    ENDPOINT_SLICES = "endpointslices"
    DEPLOYMENTS = "deployments"
    STATEFUL_SETS = "statefulsets"
    AUTOSCALERS = "horizontalpodautoscalers"
    QUOTAS = "resourcequotas"
    DISRUPTION_BUDGETS = "poddisruptionbudgets"
    NODES = "nodes"


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind as the API has it.

    Attributes:
        api: The group and version as they stand in paths, `api/v1` or `apis/apps/v1`.
        name: The plural, as in paths and in roles.
        reduce: Makes of a raw object what is kept; raises `Malformed`.
        namespaced: Whether its objects are in namespaces.
        field_selector: Which of them are asked for.
    """

    api: str
    name: str
    reduce: Callable[[Mapping[str, Any]], Any]
    namespaced: bool = True
    field_selector: str = ""

    def path(self, namespace: str) -> str:
        """Return the path of the objects of a namespace."""
        return f"/{self.api}/namespaces/{namespace}/{self.name}" if self.namespaced else f"/{self.api}/{self.name}"


RESOURCES: Mapping[Kind, Resource] = {
    Kind.PODS: Resource("api/v1", "pods", Pod.of),
    Kind.ENDPOINT_SLICES: Resource("apis/discovery.k8s.io/v1", "endpointslices", EndpointSlice.of),
    Kind.DEPLOYMENTS: Resource("apis/apps/v1", "deployments", Deployment.of),
    Kind.STATEFUL_SETS: Resource("apis/apps/v1", "statefulsets", StatefulSet.of),
    Kind.AUTOSCALERS: Resource("apis/autoscaling/v2", "horizontalpodautoscalers", Autoscaler.of),
    Kind.QUOTAS: Resource("api/v1", "resourcequotas", Quota.of),
    Kind.DISRUPTION_BUDGETS: Resource("apis/policy/v1", "poddisruptionbudgets", DisruptionBudget.of),
    Kind.NODES: Resource("api/v1", "nodes", Node.of, namespaced=False),
}

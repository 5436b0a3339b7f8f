"""What the exporter asks the API server for: the one list that roles, chart and documentation are made from.

It is the least that does: each verb is in it for a request that the exporter makes, and no request needs another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from exporter.clients.kubernetes.resources import Kind

__all__ = ["LEASE", "OF_KIND", "PERMISSIONS", "Permission", "Purpose"]

LEASE = "hafnium-exporter"
"""Name of the Lease by which several exporters agree on who leads, unless the configuration names another."""

_FOLLOWED = ("list", "watch")


class Purpose(StrEnum):
    """What a permission is for; each is a role of its own, so that nobody has to grant what is not wanted."""

    STATE = "state"
    """Instances from pods and EndpointSlices, and what the probe `kubernetes` tells of them."""
    NODES = "nodes"
    """Pressure of the nodes that the fleet's pods run on: nodes are in no namespace, so this is a ClusterRole."""
    CERTIFICATES = "certificates"
    """Certificates as they are stored, held against those that are served."""
    LEADER = "leader"
    """One of several exporters leads."""


@dataclass(frozen=True, slots=True)
class Permission:
    """One rule.

    Attributes:
        purpose: The role that it belongs to.
        group: API group; empty is the core.
        resource: Plural, as in paths.
        verbs: What is done with it.
        reason: What it is for, in words.
        names: Objects that it is limited to; empty is all of the namespace.
    """

    purpose: Purpose
    group: str
    resource: str
    verbs: tuple[str, ...]
    reason: str
    names: tuple[str, ...] = ()

    @property
    def rule(self) -> dict[str, list[str]]:
        """The rule as RBAC has it."""
        made = {"apiGroups": [self.group], "resources": [self.resource]}
        if self.names:
            made["resourceNames"] = list(self.names)
        return made | {"verbs": list(self.verbs)}


OF_KIND: Mapping[Kind, Permission] = {
    kind: Permission(purpose, group, kind.value, _FOLLOWED, reason)
    for kind, purpose, group, reason in (
        (Kind.PODS, Purpose.STATE, "", "instances; phases, restarts, why containers wait or ended"),
        (Kind.ENDPOINT_SLICES, Purpose.STATE, "discovery.k8s.io", "instances; endpoints that are ready"),
        (Kind.DEPLOYMENTS, Purpose.STATE, "apps", "desired replicas; whether a rollout goes on, is stuck or paused"),
        (Kind.STATEFUL_SETS, Purpose.STATE, "apps", "the same of StatefulSets"),
        (Kind.AUTOSCALERS, Purpose.STATE, "autoscaling", "whether a workload is at the limit of its autoscaler"),
        (Kind.QUOTAS, Purpose.STATE, "", "quotas that block a rollout"),
        (Kind.DISRUPTION_BUDGETS, Purpose.STATE, "policy", "budgets that block the draining of a node"),
        (Kind.NODES, Purpose.NODES, "", "pressure and readiness of the nodes under the fleet's pods"),
    )
}
"""What is needed to follow each kind of object."""

PERMISSIONS: tuple[Permission, ...] = (
    *OF_KIND.values(),
    Permission(Purpose.STATE, "metrics.k8s.io", "pods", ("list",), "memory and CPU in use, where metrics-server runs"),
    Permission(Purpose.CERTIFICATES, "", "secrets", ("get",), "when a stored certificate ends, beside the served one"),
    Permission(Purpose.LEADER, "coordination.k8s.io", "leases", ("create",), "make the Lease: RBAC knows no names there"),
    Permission(Purpose.LEADER, "coordination.k8s.io", "leases", ("get", "update"), "read, claim and renew it", (LEASE,)),
)
"""Every permission there is."""

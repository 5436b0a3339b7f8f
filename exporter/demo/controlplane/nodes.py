"""Nodes as their kubelets present them."""

from __future__ import annotations

from datetime import UTC, datetime

from exporter.demo.controlplane.behaviour import PLAYED
from exporter.demo.controlplane.client import Raw
from exporter.demo.controlplane.status import now

__all__ = ["condition", "heartbeat", "node", "ready_status"]

LEASE_SECONDS = 40
_SIZE = {"cpu": "256", "memory": "1024Gi", "pods": "5000", "ephemeral-storage": "1024Gi"}
"""Enough for every test: what does not fit is asked for on purpose."""

_PRESSURES = ("MemoryPressure", "DiskPressure", "PIDPressure")


def node(name: str, zone: str) -> Raw:
    """Return a node that is played."""
    labels = {
        PLAYED: "true", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
        "topology.kubernetes.io/zone": zone, "topology.kubernetes.io/region": zone.partition("-")[0],
    }  # fmt: skip
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}


def ready_status(name: str, address: str) -> Raw:
    """Return the status of a node that is ready and under no pressure."""
    return {
        "conditions": [condition("Ready", true=True), *(condition(kind, true=False) for kind in _PRESSURES)],
        "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
        "capacity": _SIZE, "allocatable": _SIZE,
    }  # fmt: skip


def condition(kind: str, *, true: bool) -> Raw:
    """Return a condition of a node."""
    reason = f"Kubelet{'' if true else 'Not'}Ready" if kind == "Ready" else f"KubeletHas{'' if true else 'No'}{kind}"
    return {
        "type": kind, "status": "True" if true else "False", "reason": reason, "message": f"played: {reason}",
        "lastHeartbeatTime": now(), "lastTransitionTime": now(),
    }  # fmt: skip


def heartbeat(name: str) -> Raw:
    """Return a node's lease, renewed now."""
    renewed = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": renewed},
    }

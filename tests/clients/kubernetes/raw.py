"""Raw objects in short, as an API server writes them."""

from __future__ import annotations

import base64
from typing import Any

import trustme

__all__ = ["container", "deployment", "meta", "pod", "statefulset", "terminated", "tls_secret", "waiting"]


def meta(name: str, **more: Any) -> dict[str, Any]:
    """Make metadata."""
    return {"name": name, "uid": f"uid-{name}", "namespace": "hafnium", "creationTimestamp": "2026-01-01T00:00:00Z", **more}


def container(name: str = "app", restarts: int = 0, ready: bool = False, **states: Any) -> dict[str, Any]:
    """Make a container's status: `state` and `lastState` are handed on."""
    state = states.pop("state", {"running": {"startedAt": "2026-01-01T00:00:10Z"}})
    return {"name": name, "restartCount": restarts, "ready": ready, "state": state, **states}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    """Make a state of waiting."""
    return {"waiting": {"reason": reason, "message": message}}


def terminated(
    reason: str, code: int = 1, message: str = "", at: str = "2026-01-01T00:05:00Z", **more: Any
) -> dict[str, Any]:
    """Make a state of having ended."""
    return {"terminated": {"reason": reason, "exitCode": code, "message": message, "finishedAt": at, **more}}


def pod(
    name: str,
    *statuses: dict[str, Any],
    owner: str = "identity-service",
    phase: str = "Running",
    ready: bool = True,
    conditions: tuple[dict[str, Any], ...] = (),
    resources: dict[str, Any] | None = None,
    node: str = "n1",
    labels: dict[str, str] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Make a pod of a Deployment."""
    own = {"app": owner, "tier": "backend", "pod-template-hash": "abc", **(labels or {})}
    references = [{"kind": "ReplicaSet", "name": f"{owner}-abc", "controller": True}] if owner else []
    names = [status["name"] for status in statuses] or ["app"]
    return {
        "metadata": meta(name, labels=own, ownerReferences=references, **more),
        "spec": {
            **({"nodeName": node} if node else {}),
            "containers": [{"name": each, "resources": resources or {}} for each in names],
        },
        "status": {
            "phase": phase,
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": str(ready)}, *conditions],
            "containerStatuses": list(statuses or (container(ready=ready),)),
        },
    }


def deployment(
    name: str = "identity-service",
    desired: int = 2,
    conditions: tuple[dict[str, Any], ...] = (),
    *,
    paused: bool = False,
    revision: str = "3",
    **status: int,
) -> dict[str, Any]:
    """Make a Deployment that has all that it wants, but for what is said."""
    full = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), desired)
    done = {
        "type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable",
        "lastUpdateTime": "2026-01-01T00:01:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    types = {condition["type"] for condition in conditions}
    return {
        "metadata": meta(name, generation=5, annotations={"deployment.kubernetes.io/revision": revision}),
        "spec": {
            "replicas": desired,
            "paused": paused,
            "template": {"metadata": {"labels": {"app": name, "tier": "backend"}}},
        },
        "status": {
            "observedGeneration": 5,
            **full,
            **status,
            "conditions": [*([] if "Progressing" in types else [done]), *conditions],
        },
    }


def statefulset(name: str = "case-service", desired: int = 2, **status: Any) -> dict[str, Any]:
    """Make a StatefulSet that has all that it wants, but for what is said."""
    return {
        "metadata": meta(name, generation=1),
        "spec": {"replicas": desired, "template": {"metadata": {"labels": {"app": name}}}},
        "status": {
            "observedGeneration": 1,
            "replicas": desired,
            "readyReplicas": desired,
            "availableReplicas": desired,
            "currentRevision": "r1",
            "updateRevision": "r1",
            **status,
        },
    }


def tls_secret(name: str, issued: trustme.LeafCert) -> dict[str, Any]:
    """Make a TLS Secret of a certificate and its key."""
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    data = {"tls.crt": chain, "tls.key": issued.private_key_pem.bytes()}
    return {
        "metadata": meta(name),
        "type": "kubernetes.io/tls",
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }

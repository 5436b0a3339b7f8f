"""Where objects of each kind are found at the API server."""

from __future__ import annotations

from typing import Any

__all__ = ["path_of"]

_CLUSTER = frozenset({
    "Namespace", "Node", "ClusterRole", "ClusterRoleBinding", "APIService", "CustomResourceDefinition", "PriorityClass",
})  # fmt: skip
"""Kinds that are in no namespace."""


def path_of(item: dict[str, Any], namespace: str) -> str:
    """Return the path of an object; `namespace` is of one that names none."""
    version, kind, meta = item["apiVersion"], item["kind"], item["metadata"]
    base = f"/apis/{version}" if "/" in version else f"/api/{version}"
    where = "" if kind in _CLUSTER else f"/namespaces/{meta.get('namespace', namespace)}"
    return f"{base}{where}/{_plural(kind.lower())}/{meta['name']}"


def _plural(kind: str) -> str:
    if kind == "endpoints":
        return kind
    if kind.endswith("y"):
        return f"{kind[:-1]}ies"
    return f"{kind}es" if kind.endswith("s") else f"{kind}s"

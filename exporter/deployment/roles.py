"""Roles from the list of permissions, for Kustomize, for the chart and for people."""

from __future__ import annotations

from typing import Any

from exporter.clients.kubernetes.permissions import PERMISSIONS, Permission, Purpose

__all__ = ["NAME", "role", "role_name", "rules", "table"]

NAME = "hafnium-exporter"
"""Name of all objects, unless a release of the chart has another; the others begin with it."""

_WHERE = {
    Purpose.STATE: "base; `kubernetes.enabled`, true by default",
    Purpose.NODES: "component `nodes`; `kubernetes.nodes`",
    Purpose.CERTIFICATES: "component `certificates`; `kubernetes.certificates`",
    Purpose.LEADER: "component `leader`; `mode: leader`",
}


def of(purpose: Purpose) -> list[Permission]:
    """Return the permissions of one role."""
    return [permission for permission in PERMISSIONS if permission.purpose is purpose]


def rules(purpose: Purpose) -> list[dict[str, list[str]]]:
    """Return the rules of one role."""
    return [permission.rule for permission in of(purpose)]


def role_name(purpose: Purpose) -> str:
    """Return the name of a role."""
    return NAME if purpose is Purpose.STATE else f"{NAME}-{purpose.value}"


def role(purpose: Purpose) -> dict[str, Any]:
    """Return a role as an object: a ClusterRole where what it is about is in no namespace."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole" if purpose is Purpose.NODES else "Role",
        "metadata": {"name": role_name(purpose)},
        "rules": rules(purpose),
    }


def table() -> str:
    """Return the permissions as a Markdown table."""
    lines = ["| group | resource | verbs | what for | granted by |", "|---|---|---|---|---|"]
    for purpose in Purpose:
        for permission in of(purpose):
            names = f" named {', '.join(f'`{name}`' for name in permission.names)}" if permission.names else ""
            lines.append(
                f"| {f'`{permission.group}`' if permission.group else 'core'} | `{permission.resource}`{names} "
                f"| {', '.join(permission.verbs)} | {permission.reason} | {_WHERE[purpose]} |"
            )
    return "\n".join(lines) + "\n"

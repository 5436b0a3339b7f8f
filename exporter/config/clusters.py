"""The section `kubernetes`, put into all that is asked of a cluster, so that the settings of each are whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from exporter.clients.kubernetes.access import ClusterAccess, own_namespace
from exporter.config.document import Location
from exporter.config.models import Config

__all__ = ["cluster_defaults", "cluster_origin", "clusterless", "with_cluster"]

_SECRET = ("probes", "tls", "secret")
_WHICH = "which cluster? name it in the section kubernetes; an empty one is the cluster this runs in"

_KEYS = ("kubeconfig", "context", "namespace")


def cluster_defaults(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what the section says, its namespace found out; None without a section, or with one that is none. Blocking."""
    section = document.get("kubernetes")
    if section is None and "kubernetes" in document:
        section = {}
    if not isinstance(section, dict):
        return None
    found = {key: section[key] for key in _KEYS if section.get(key) is not None}
    texts = {key: value for key, value in found.items() if isinstance(value, str)}
    if "namespace" not in found:
        kubeconfig = texts.get("kubeconfig")
        access = ClusterAccess.model_construct(
            kubeconfig=Path(kubeconfig) if kubeconfig else None, context=texts.get("context")
        )
        found["namespace"] = own_namespace(access) or "default"
    return found


def with_cluster(member: Any, cluster: Mapping[str, Any] | None) -> Any:
    """Return a service or dependency as it is written, with the cluster where it says nothing."""
    if not isinstance(member, dict):
        return member
    filled = dict(member)
    instances = member.get("instances")
    if isinstance(instances, dict) and isinstance(instances.get("kubernetes"), dict):
        own = _filled(instances["kubernetes"], cluster)
        if isinstance(member.get("min_ready"), str):
            own.setdefault("desired", True)
        filled["instances"] = {**instances, "kubernetes": own}
    probes = member.get("probes")
    if isinstance(probes, dict) and isinstance(probes.get("tls"), dict) and (secret := probes["tls"].get("secret")):
        named = {"name": secret} if isinstance(secret, str) else secret
        if isinstance(named, dict):
            probes = {**probes, "tls": {**probes["tls"], "secret": _filled(named, cluster)}}
            filled["probes"] = probes
    if isinstance(probes, dict) and isinstance(probes.get("kubernetes"), dict):
        own = _filled(probes["kubernetes"], cluster)
        selected = instances.get("kubernetes") if isinstance(instances, dict) else None
        if isinstance(selected, dict) and "selector" in selected and selected.get("source", "pods") == "pods":
            own.setdefault("selector", selected["selector"])
        filled["probes"] = {**probes, "kubernetes": own}
    return filled


def _filled(own: Mapping[str, Any], cluster: Mapping[str, Any] | None) -> dict[str, Any]:
    """Put the cluster beneath; one that is named by a kubeconfig of its own has nothing of it but the namespace."""
    if cluster is None:
        return dict(own)
    keys = ("namespace",) if own.get("kubeconfig") is not None else _KEYS
    return {**{key: cluster[key] for key in keys if key in cluster}, **own}


def cluster_origin(location: Location) -> Location | None:
    """Return where a value that was filled in was written, if it may be one."""
    filled = location[2:4] in (("instances", "kubernetes"), ("probes", "kubernetes")) or location[2:5] == _SECRET
    if filled and location[-1] in _KEYS:
        return ("kubernetes", location[-1])
    return None


def clusterless(config: Config) -> Iterator[tuple[Location, str]]:
    """Find what is asked of a cluster that nothing names."""
    if config.kubernetes is not None:
        return
    if config.sharing is not None and config.sharing.lease is not None:
        yield ("sharing", "lease"), _WHICH
    for group in ("dependencies", "services"):
        for name, member in getattr(config, group).items():
            wanted = member.instances.kubernetes
            if wanted is not None and wanted.kubeconfig is None:
                where = (group, name, "instances", "kubernetes")
                yield where, _WHICH

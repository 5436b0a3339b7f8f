"""Pods: identity, address, and how far they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from exporter.clients.kubernetes.objects.containers import Container, containers_of
from exporter.clients.kubernetes.objects.reading import (
    flag,
    integer,
    items,
    labels,
    mapping,
    required,
    text,
    timestamp,
)
from exporter.clients.kubernetes.objects.scheduling import Unschedulable, unschedulable

__all__ = ["Ended", "Pod", "Workload"]

TEMPLATE_HASH = "pod-template-hash"
"""Label of a Deployment's pods: which ReplicaSet they are of."""

REVISION_HASH = "controller-revision-hash"
"""Label of the pods of a StatefulSet or DaemonSet: by which revision they were made."""


class Workload(NamedTuple):
    """What owns a pod, as people know it: the Deployment, and not its ReplicaSet."""

    kind: str
    name: str


class Ended(NamedTuple):
    """One end of a container's process.

    Attributes:
        container: Name of the container.
        identity: What tells one end from another: ID of the dead container, or else when it ended; empty for one of which
            only the number is known.
        number: How many processes of the container had ended with it.
        oom: Whether the kernel killed it for its memory.
    """

    container: str
    identity: str
    number: int
    oom: bool


@dataclass(frozen=True, slots=True)
class Pod:
    """What is kept of a pod.

    Attributes:
        uid: Its identity: another pod of the same name has another.
        name: Its name, unique among the pods of its namespace that exist at one time.
        ip: Its address; empty before it has one.
        ports: Numbers of its containers' named ports.
        labels: Its labels.
        owner: The Deployment, StatefulSet … that it is of; None for a bare pod.
        node: Where it runs; empty while it is not scheduled.
        phase: Pending, Running, Succeeded, Failed or Unknown.
        ready: Whether it is ready to serve, as its readiness probes and gates have it.
        terminating: Whether it was told to end.
        created: When, Unix seconds.
        ended: The ends of its containers' processes that its status still tells of, oldest first for each container.
        containers: Its containers, init containers first.
        unschedulable: Why the scheduler finds no node for it; None where it has one, or was not looked at yet.
    """

    uid: str
    name: str
    ip: str
    ports: Mapping[str, int]
    labels: Mapping[str, str]
    owner: Workload | None
    node: str
    phase: str
    ready: bool
    terminating: bool
    created: float | None
    ended: tuple[Ended, ...]
    containers: tuple[Container, ...] = ()
    unschedulable: Unschedulable | None = None

    @property
    def completed(self) -> bool:
        """Whether it has run to its end, and will not run again."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def revision(self) -> str:
        """Hash of the template that it was made by; empty for a pod of no workload."""
        return self.labels.get(TEMPLATE_HASH) or self.labels.get(REVISION_HASH, "")

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Pod:
        """Reduce a pod.

        Raises:
            Malformed: It has no name or no uid.
        """
        metadata, spec, status = mapping(raw, "metadata"), mapping(raw, "spec"), mapping(raw, "status")
        own = labels(metadata, "labels")
        return cls(
            uid=required(metadata, "uid"),
            name=required(metadata, "name"),
            ip=text(status, "podIP"),
            ports=_ports(spec),
            labels=own,
            owner=_owner(metadata, own),
            node=text(spec, "nodeName"),
            phase=text(status, "phase"),
            ready=_is_ready(status),
            terminating="deletionTimestamp" in metadata,
            created=timestamp(metadata, "creationTimestamp"),
            ended=tuple(_ends(status)),
            containers=tuple(containers_of(spec, status)),
            unschedulable=unschedulable(status),
        )


def _is_ready(status: Mapping[str, Any]) -> bool:
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in items(status, "conditions"))


def _ports(spec: Mapping[str, Any]) -> Mapping[str, int]:
    found = {}
    for container in items(spec, "containers"):
        for port in items(container, "ports"):
            name, number = text(port, "name"), integer(port, "containerPort")
            if name and 0 < number < 65536:
                found[name] = number
    return found


def _owner(metadata: Mapping[str, Any], own: Mapping[str, str]) -> Workload | None:
    for reference in items(metadata, "ownerReferences"):
        if flag(reference, "controller"):
            kind, name = text(reference, "kind"), text(reference, "name")
            template = own.get(TEMPLATE_HASH)
            if kind == "ReplicaSet" and template and name.endswith(f"-{template}"):
                return Workload("Deployment", name.removesuffix(f"-{template}"))  # how a Deployment names its ReplicaSets
            return Workload(kind, name)
    return None


def _ends(status: Mapping[str, Any]) -> Iterable[Ended]:
    for key in ("initContainerStatuses", "containerStatuses"):
        for container in items(status, key):
            name, restarts = text(container, "name"), integer(container, "restartCount")
            state = mapping(container, "state")
            now, before = mapping(state, "terminated"), mapping(container, "lastState", "terminated")
            if not (restarts or now or before):
                continue
            # `restartCount` rises when the next process starts: one that waits for that has ended once more than it says.
            waits = not now and "running" not in state
            for terminated, number in ((before, restarts + waits), (now, restarts + 1)):
                identity = text(terminated, "containerID") or text(terminated, "finishedAt")
                if identity:
                    yield Ended(name, identity, number, text(terminated, "reason") == "OOMKilled")
            if restarts and not before and not now:
                yield Ended(name, "", restarts, oom=False)

"""Nodes: whether they are well, and take pods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exporter.clients.kubernetes.objects.reading import flag, labels, mapping, required
from exporter.clients.kubernetes.objects.workloads import conditions_of

__all__ = ["PRESSURES", "ZONE", "Node"]

ZONE = "topology.kubernetes.io/zone"

PRESSURES = {
    "MemoryPressure": "memory_pressure",
    "DiskPressure": "disk_pressure",
    "PIDPressure": "pid_pressure",
    "NetworkUnavailable": "network_unavailable",
}
"""Conditions that are bad when they hold, and their names here."""


@dataclass(frozen=True, slots=True)
class Node:
    """What is kept of a node.

    Attributes:
        uid: Its identity.
        name: Its name.
        zone: Its zone; empty where it is not told.
        troubles: What is wrong with it: not_ready, memory_pressure, disk_pressure, pid_pressure, network_unavailable.
        unschedulable: It is cordoned: it takes no new pods.
    """

    uid: str
    name: str
    zone: str
    troubles: tuple[str, ...]
    unschedulable: bool

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Node:
        """Reduce a node.

        Raises:
            Malformed: It has no name or no uid.
        """
        metadata = mapping(raw, "metadata")
        conditions = conditions_of(mapping(raw, "status"))
        ready = conditions.get("Ready")
        troubles = [] if ready is not None and ready.status else ["not_ready"]
        troubles += [
            ours for theirs, ours in PRESSURES.items() if (found := conditions.get(theirs)) is not None and found.status
        ]
        return cls(
            uid=required(metadata, "uid"),
            name=required(metadata, "name"),
            zone=labels(metadata, "labels").get(ZONE, ""),
            troubles=tuple(troubles),
            unschedulable=flag(mapping(raw, "spec"), "unschedulable"),
        )

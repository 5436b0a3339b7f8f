"""Why the scheduler finds no node for a pod, in words of a closed list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from exporter.clients.kubernetes.objects.containers import message
from exporter.clients.kubernetes.objects.reading import items

__all__ = ["UNSCHEDULABLE_REASONS", "Unschedulable", "unschedulable"]

_LONGEST = 10_000

_WORDS = (
    ("insufficient memory", "memory"),
    ("insufficient cpu", "cpu"),
    ("insufficient ", "other_resource"),
    ("too many pods", "pods_of_node"),
    ("untolerated taint", "taint"),
    ("were unschedulable", "cordoned"),
    ("node affinity", "node_selector"),
    ("node selector", "node_selector"),
    ("affinity", "pod_affinity"),
    ("topology spread", "pod_affinity"),
    ("volume", "volume"),
    ("persistentvolumeclaim", "volume"),
    ("free ports", "host_port"),
    ("no nodes available", "no_nodes"),
)
"""What the scheduler's messages say, and what it is called here; within one part of a message the first one counts."""

UNSCHEDULABLE_REASONS = (*dict.fromkeys(name for _, name in _WORDS), "other")


class Unschedulable(NamedTuple):
    """A pod that has no node.

    Attributes:
        reasons: Of `UNSCHEDULABLE_REASONS`, those of the most nodes first.
        message: The scheduler's words: cut.
    """

    reasons: tuple[str, ...]
    message: str


def unschedulable(status: Mapping[str, Any]) -> Unschedulable | None:
    """Return why a pod has no node; None where it has one, was not looked at yet, or is held back on purpose by a gate."""
    for each in items(status, "conditions"):
        if each.get("type") != "PodScheduled":
            continue
        if each.get("status") == "False" and each.get("reason") == "Unschedulable":
            said = each.get("message")
            return Unschedulable(_reasons(said if isinstance(said, str) else ""), message(said))
    return None


def _reasons(said: str) -> tuple[str, ...]:
    """Read `0/3 nodes are available: 1 node(s) had untolerated taint {…}, 2 Insufficient memory. preemption: …`."""
    main = said[:_LONGEST].partition("preemption:")[0].lower()
    counted: dict[str, int] = {}
    for part in main.partition(" available: ")[2].split(",") if " available: " in main else [main]:
        name = next((name for word, name in _WORDS if word in part), None)
        if name is not None:
            number = part.split(maxsplit=1)[0]
            counted[name] = counted.get(name, 0) + (
                int(number) if number.isascii() and number.isdigit() and len(number) < 9 else 1
            )
    return tuple(sorted(counted, key=lambda name: -counted[name])) or ("other",)

"""What holds pods back: ResourceQuotas, and PodDisruptionBudgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from exporter.clients.kubernetes.objects.quantity import quantity
from exporter.clients.kubernetes.objects.reading import integer, labels, mapping, required
from exporter.clients.kubernetes.objects.selector import Selector

__all__ = ["DisruptionBudget", "Quota", "Use"]

MAX_RESOURCES = 100
"""Resources of one quota that are kept."""


class Use(NamedTuple):
    """How much of a resource is used, and may be; in the resource's base unit."""

    used: float
    hard: float


@dataclass(frozen=True, slots=True)
class Quota:
    """What is kept of a ResourceQuota.

    Attributes:
        uid: Its identity.
        name: Its name.
        resources: By resource: pods, requests.memory, limits.cpu …
    """

    uid: str
    name: str
    resources: Mapping[str, Use]

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Quota:
        """Reduce a quota.

        Raises:
            Malformed: It has no name or no uid.
        """
        metadata, status = mapping(raw, "metadata"), mapping(raw, "status")
        used = labels(status, "used")
        found = {}
        for name, hard in list(labels(status, "hard").items())[:MAX_RESOURCES]:
            most, now = quantity(hard), quantity(used.get(name))
            if most is not None and now is not None:
                found[name] = Use(now, most)
        return cls(required(metadata, "uid"), required(metadata, "name"), found)


@dataclass(frozen=True, slots=True)
class DisruptionBudget:
    """What is kept of a PodDisruptionBudget.

    Attributes:
        uid: Its identity.
        name: Its name.
        selector: Whose pods it protects; None where it cannot be read, and it is then of nobody's.
        allowed: Pods that may be evicted now.
        healthy: Pods that are healthy.
        needed: Pods that must be.
        expected: Pods that it counts.
    """

    uid: str
    name: str
    selector: Selector | None
    allowed: int
    healthy: int
    needed: int
    expected: int

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> DisruptionBudget:
        """Reduce a budget.

        Raises:
            Malformed: It has no name or no uid.
        """
        metadata, status = mapping(raw, "metadata"), mapping(raw, "status")
        return cls(
            uid=required(metadata, "uid"),
            name=required(metadata, "name"),
            selector=Selector.of(mapping(raw, "spec", "selector")),
            allowed=integer(status, "disruptionsAllowed"),
            healthy=integer(status, "currentHealthy"),
            needed=integer(status, "desiredHealthy"),
            expected=integer(status, "expectedPods"),
        )

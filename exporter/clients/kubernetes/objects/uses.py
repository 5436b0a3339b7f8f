"""What pods use, as metrics.k8s.io has it: the mean of the last minute or so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from exporter.clients.kubernetes.objects.containers import MAX_CONTAINERS
from exporter.clients.kubernetes.objects.quantity import quantity
from exporter.clients.kubernetes.objects.reading import items, mapping, required, text

__all__ = ["ContainerUse", "PodUse"]


class ContainerUse(NamedTuple):
    """What one container uses: bytes, and cores."""

    container: str
    memory: float
    cpu: float


@dataclass(frozen=True, slots=True)
class PodUse:
    """What a pod uses.

    Attributes:
        name: Name of the pod.
        containers: Each of its containers of which it is known.
    """

    name: str
    containers: tuple[ContainerUse, ...]

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> PodUse:
        """Reduce a PodMetrics.

        Raises:
            Malformed: It has no name.
        """
        found: list[ContainerUse] = []
        for each in items(raw, "containers"):
            memory, cpu = (quantity(mapping(each, "usage").get(name)) for name in ("memory", "cpu"))
            if memory is not None and cpu is not None and len(found) < MAX_CONTAINERS:
                found.append(ContainerUse(text(each, "name"), memory, cpu))
        return cls(required(mapping(raw, "metadata"), "name"), tuple(found))

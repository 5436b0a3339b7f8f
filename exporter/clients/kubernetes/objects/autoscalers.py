"""HorizontalPodAutoscalers, autoscaling/v2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exporter.clients.kubernetes.objects.pods import Workload
from exporter.clients.kubernetes.objects.reading import integer, mapping, required, text
from exporter.clients.kubernetes.objects.workloads import Condition, conditions_of

__all__ = ["Autoscaler"]


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """What is kept of an autoscaler.

    Attributes:
        uid: Its identity.
        name: Its name.
        scales: What it scales.
        current: Replicas that it has seen.
        desired: Replicas that it wants.
        least: Replicas below which it does not go.
        most: Replicas above which it does not go.
        conditions: By type: AbleToScale, ScalingActive, ScalingLimited.
    """

    uid: str
    name: str
    scales: Workload
    current: int
    desired: int
    least: int
    most: int
    conditions: Mapping[str, Condition]

    @property
    def at_limit(self) -> bool:
        """Whether it wants more replicas than it may have."""
        limited = self.conditions.get("ScalingLimited")
        return limited is not None and limited.status is True and limited.reason == "TooManyReplicas"

    @property
    def unable(self) -> Condition | None:
        """Why it cannot scale; None while it can, or was told not to by a scale of zero."""
        for name in ("AbleToScale", "ScalingActive"):
            found = self.conditions.get(name)
            if found is not None and found.status is False and found.reason != "ScalingDisabled":
                return found
        return None

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Autoscaler:
        """Reduce an autoscaler.

        Raises:
            Malformed: It has no name, no uid, or no highest number.
        """
        metadata, spec, status = mapping(raw, "metadata"), mapping(raw, "spec"), mapping(raw, "status")
        scales = mapping(spec, "scaleTargetRef")
        return cls(
            uid=required(metadata, "uid"),
            name=required(metadata, "name"),
            scales=Workload(text(scales, "kind"), text(scales, "name")),
            current=integer(status, "currentReplicas"),
            desired=integer(status, "desiredReplicas"),
            least=integer(spec, "minReplicas", 1),
            most=integer(spec, "maxReplicas"),
            conditions=conditions_of(status),
        )

"""What a health answer is recorded as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.clients.spring import health
from exporter.metrics.family import Family, gauge
from exporter.metrics.store import LabelValues
from exporter.verdict import Failure

__all__ = ["METRICS", "HealthSamples"]

STATUS = gauge("probe_actuator_status", "1 for the status that the application reports for itself.", "status")
COMPONENT_UP = gauge(
    "probe_actuator_component_up", "1 if a health component is up, 0 if down; nested ones joined by /.", "component"
)
COMPONENT_STATUS = gauge(
    "probe_actuator_component_status", "1 for the status that a health component reports.", "component", "status"
)
METRICS = (STATUS, COMPONENT_UP, COMPONENT_STATUS)


@dataclass(frozen=True, slots=True)
class HealthSamples:
    """What one health answer is recorded as; made anew only when the answer says something else.

    An application's components rarely change, and this is the path that every attempt takes.

    Attributes:
        tree: What was read.
        failure: Why it is down; None where it is up.
        samples: What is recorded.
    """

    tree: health.Health
    failure: Failure | None
    samples: Mapping[Family, dict[LabelValues, float]]

    @classmethod
    def of(cls, code: int, found: health.Health, down_statuses: tuple[str, ...]) -> HealthSamples:
        down = found.down(code, down_statuses)
        ups: dict[LabelValues, float] = {
            (item.path,): float(health.canonical(item.status) not in down) for item in found.components
        }
        statuses: dict[LabelValues, float] = {(item.path, item.status): 1.0 for item in found.components}
        samples: dict[Family, dict[LabelValues, float]] = {
            STATUS: {(found.status,): 1.0},
            COMPONENT_UP: ups,
            COMPONENT_STATUS: statuses,
        }
        return cls(found, health.judge(code, found, down_statuses), samples)

    @property
    def down(self) -> bool:
        """Whether it says that the application is down."""
        return self.failure is not None

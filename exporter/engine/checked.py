"""What probing the fleet once came to: targets, services, the whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from exporter.diagnosis.model import Diagnosis
from exporter.engine.rollup import State, state_of
from exporter.limits.judge import judged_once
from exporter.limits.model import Over
from exporter.limits.words import sentence
from exporter.probing.probe import Target
from exporter.probing.runner import Outcome
from exporter.verdict import Failure, Verdict

__all__ = ["EXIT_CODES", "CheckResult", "ServiceResult", "TargetResult"]

_HEAVIEST_FIRST = (State.DOWN, State.DEGRADED, State.UNKNOWN, State.UP)
EXIT_CODES = {State.UP: 0, State.DEGRADED: 1, State.DOWN: 2, State.UNKNOWN: 3}


@dataclass(frozen=True, slots=True)
class TargetResult:
    """One target's outcome."""

    target: Target
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class ServiceResult:
    """What a service came to.

    Attributes:
        name: Its name.
        is_service: Whether it is a service of the fleet, and not a dependency of it.
        verdict: Its verdict.
        targets: What its targets came to.
        instances: Its instances by verdict, each by the worst of the probes that decide.
        undiscovered: Why it is not known which instances there are; None where it is.
        unsized: Why it is not known how many there should be; None where it is, or was not asked for.
        limits: Its thresholds, by name.
    """

    name: str
    is_service: bool
    verdict: Verdict
    targets: tuple[TargetResult, ...]
    instances: Mapping[Verdict, int] = field(default_factory=dict)
    undiscovered: Failure | None = None
    unsized: Failure | None = None
    limits: Mapping[str, float] = field(default_factory=dict)

    @property
    def up(self) -> int:
        """Instances that are up."""
        return self.instances.get(Verdict.UP, 0)

    @property
    def total(self) -> int:
        """Instances there are."""
        return sum(self.instances.values())

    @property
    def duration(self) -> float | None:
        """Seconds that its slowest target took; None without any."""
        return max((item.outcome.duration for item in self.targets), default=None)

    @property
    def notes(self) -> list[str]:
        """What is wrong, in words."""
        notes = ["no instances"] if not self.targets else []
        if self.undiscovered is not None:
            notes = [f"instances not known: {self.undiscovered}"]
        elif self.unsized is not None:
            notes.append(f"how many instances there should be is not known: {self.unsized}")
        for item in self.targets:
            if item.outcome.failure is not None:
                notes.append(f"{item.target.probe} {item.target.name}: {item.outcome.failure}")
            notes += [f"{item.target.probe} {part}: {failure}" for part, failure in item.outcome.parts.items() if failure]
            notes += [f"{item.target.probe} {item.target.name}: {sentence(each)}" for each in self.over(item)]
        return notes

    def over(self, item: TargetResult) -> list[Over]:
        """Return what is over its limit at a target."""
        return judged_once(item.target.probe, item.outcome, self.limits)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What the fleet came to.

    Attributes:
        services: Services and dependencies, in the order in which they were asked for.
        seconds: How long it took.
        diagnoses: What is wrong with each of them that is in trouble, and why, by name.
        incidents: Of each that is down, the incident that its page would belong to: the name of the root.
    """

    services: tuple[ServiceResult, ...]
    seconds: float
    diagnoses: Mapping[str, tuple[Diagnosis, ...]] = field(default_factory=dict)
    incidents: Mapping[str, str] = field(default_factory=dict)

    def state(self, service: ServiceResult) -> State:
        """Say how a service is: one that is up with something wrong is degraded."""
        return state_of(service.verdict, troubled=bool(service.notes or self.diagnoses.get(service.name)))

    @property
    def verdict(self) -> Verdict:
        """Down if a service or dependency is down, else unknown if one is unknown, else up."""
        found = {service.verdict for service in self.services}
        return next((v for v in (Verdict.DOWN, Verdict.UNKNOWN) if v in found), Verdict.UP)

    @property
    def overall(self) -> State:
        """The verdict, or degraded: everything is up, and something is wrong."""
        degraded = any(self.state(service) is State.DEGRADED for service in self.services)
        return state_of(self.verdict, troubled=degraded)

    @property
    def exit_code(self) -> int:
        """0 ok, 1 degraded, 2 down, 3 unknown."""
        return EXIT_CODES[self.overall]

    @property
    def summary(self) -> str:
        """One line."""
        bad = [service.name for service in self.causes_first() if self.state(service) is not State.UP]
        roots = [name for name in bad if self.root_of(name) is None]
        return f"{len(self.services) - len(bad)} of {len(self.services)} ok" + (
            f"; look at {', '.join(roots)}" if bad else ""
        )

    def root_of(self, name: str) -> str | None:
        """Name what takes a service down, where that is another one, and was probed too and is down."""
        root = self.incidents.get(name, name)
        return root if root != name and root in self.incidents else None

    def takes_down(self, name: str) -> list[str]:
        """Name what a service takes down, in the order of the services."""
        if name not in self.incidents:
            return []
        return [each.name for each in self.services if self.root_of(each.name) == name]

    def causes_first(self) -> Sequence[ServiceResult]:
        """Return the services with what is wrong first, and each cause before what it takes down."""

        taken = Counter(self.root_of(service.name) for service in self.services)

        def place(service: ServiceResult) -> tuple[int, int, str, bool]:
            root = self.root_of(service.name)
            incident = root or service.name
            heavy = _HEAVIEST_FIRST.index(self.state(service))
            return (heavy, -taken[incident], incident if taken[incident] else "", root is not None)

        return sorted(self.services, key=place)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "verdict": self.verdict.value,
            "state": self.overall.value,
            "exit_code": self.exit_code,
            "seconds": round(self.seconds, 3),
            "services": [self._service_dict(service) for service in self.services],
        }

    def _service_dict(self, service: ServiceResult) -> dict[str, Any]:
        state = self.state(service)
        return {
            "name": service.name,
            "kind": "service" if service.is_service else "dependency",
            "verdict": service.verdict.value,
            "state": state.value,
            "degraded": state is State.DEGRADED,
            "incident": self.incidents.get(service.name),
            "takes_down": self.takes_down(service.name),
            "instances": {verdict.value: count for verdict, count in service.instances.items()},
            "notes": service.notes,
            "targets": [_target_dict(item, service.over(item)) for item in service.targets],
        }


def _target_dict(item: TargetResult, over: Sequence[Over]) -> dict[str, Any]:
    failure = item.outcome.failure
    return {
        "probe": item.target.probe,
        "target": item.target.name,
        "verdict": item.outcome.verdict.value,
        "stage": failure.stage.value if failure else None,
        "reason": failure.reason.value if failure else None,
        "detail": failure.detail if failure else "",
        "duration_seconds": round(item.outcome.duration, 6),
        "over": [
            {
                "limit": each.limit.threshold,
                "what": each.what,
                "value": each.value,
                "threshold": each.threshold,
                "alert": each.alert,
            }
            for each in over
        ],
    }

"""What a diagnosis is made of: a frozen snapshot goes in, suspicions with their evidence come out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import isnan
from types import MappingProxyType
from typing import NamedTuple

from exporter.metrics.family import Family
from exporter.verdict import Reason, Verdict

__all__ = [
    "EXPLAIN",
    "Cause",
    "Confidence",
    "Diagnosis",
    "Evidence",
    "Member",
    "Reading",
    "Snapshot",
    "Step",
    "Suspicion",
    "Symptom",
]

EXPLAIN = "hafnium-exporter explain {dependency}"
"""The step that leads on to the dependency in which a cause lies."""

Step = str | tuple[str, ...]
"""What to do; of several ways to say it, the first of which every name is known. The last needs none; empty: say nothing."""

_Values = tuple[str | None, ...]
"""Values of labels; None where a reading does not have one."""

_NAME = re.compile(r"\{([a-z]+)\}")


class Symptom(StrEnum):
    """What is wrong with a service or dependency, as people meet it."""

    DOWN = "down"
    SLOW = "slow"
    LAGGING = "lagging"
    UNGUARDED = "unguarded"
    """A Sentinel is well, and what it watches is not."""


class Confidence(StrEnum):
    """How far a suspicion goes."""

    HIGH = "high"
    """Seen directly: the dependency's own probe, the service's own words."""
    MEDIUM = "medium"
    """Concluded from what several services say, or from one fact that fits."""
    LOW = "low"
    """Nothing speaks for anything else."""

    @property
    def words(self) -> str:
        """What people are told of it."""
        return {"high": "seen directly", "medium": "concluded", "low": "nothing speaks for anything else"}[self.value]


@dataclass(frozen=True, slots=True)
class Cause:
    """One entry of the closed list of causes.

    Attributes:
        name: Value of the label `cause`.
        meaning: What it says to people; `{service}` is filled in, and `{dependency}` where it lies in one.
        section: Anchor in docs/runbook.md.
        steps: What the runbook says to do, one line each; the same is filled in, and what kubectl calls the service, where
            it is in a cluster: `{kubectl}`, `{namespace}`, `{selector}`, `{slices}`, `{balancer}`, `{workload}`,
            `{autoscaler}`; and `{ask}`, the command by which a person asks it what its probe asks, and `{handshake}`, the
            one that shows its certificate.
        symptoms: What it explains.
        confidence: How far a suspicion of it goes, where nothing more is said.
    """

    name: str
    meaning: str
    section: str
    steps: tuple[Step, ...] = ()
    symptoms: tuple[Symptom, ...] = (Symptom.DOWN,)
    confidence: Confidence = Confidence.HIGH


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for a cause.

    Attributes:
        text: For people, a short noun phrase without the value: `threads waiting for a connection of HikariPool-1`.
        value: The value.
        series: The series that it was read from, as PromQL selects it.
    """

    text: str
    value: float
    series: str


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A likely cause.

    Attributes:
        cause: Which.
        dependency: What it lies in; empty where that is the service itself.
        confidence: How far it goes.
        evidence: What speaks for it, the strongest first; never more than five.
        probed: The dependency has probes of its own; false where it is known only by what services say of it.
    """

    cause: Cause
    dependency: str = ""
    confidence: Confidence = Confidence.HIGH
    evidence: tuple[Evidence, ...] = ()
    probed: bool = True

    def meaning(self, service: str) -> str:
        """Say to people what it means for a service."""
        return self._filled(self.cause.meaning, {"service": service, "dependency": self.dependency or service})

    def steps(self, service: str, names: Mapping[str, str] = MappingProxyType({})) -> tuple[str, ...]:
        """Return what to do about it, one line each; nothing can be asked of a dependency that is not configured.

        Args:
            service: Of which it is suspected.
            names: What kubectl calls that, and how it is asked by hand, by placeholder; a step that needs another name is
                told in words.
        """
        steps = self.cause.steps if self.probed else (step for step in self.cause.steps if step != EXPLAIN)
        known = {**names, "service": service, "dependency": self.dependency or service}
        return tuple(self._filled(way, known) for step in steps if (way := _way(step, known)))

    @staticmethod
    def _filled(text: str, names: Mapping[str, str]) -> str:
        # Not str.format: a step may hold braces of its own.
        return _NAME.sub(lambda found: names.get(found[1], found[0]), text)


def _way(step: Step, names: Mapping[str, str]) -> str:
    ways = (step,) if isinstance(step, str) else step
    return next((way for way in ways if names.keys() >= set(_NAME.findall(way))), ways[-1])


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is likely wrong with one service or dependency.

    Attributes:
        service: Its name.
        symptom: What is wrong.
        causes: Why, the likeliest first; never empty: a cause that is not known is the cause `unknown`.
        takes_down: What else that is down has its cause in it, sorted by name.
        group: The consumer group that lags; empty of other symptoms.
        names: What of the service the cluster names, by placeholder of steps: its workload, its autoscaler.
    """

    service: str
    symptom: Symptom
    causes: tuple[Suspicion, ...]
    takes_down: tuple[str, ...] = ()
    group: str = ""
    names: Mapping[str, str] = field(default_factory=dict)


class Reading(NamedTuple):
    """A fact that a target's last attempt published."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Member:
    """A service or dependency in a snapshot.

    Attributes:
        name: Its name.
        verdict: Its confirmed verdict.
        since: When that changed last, Unix seconds.
        down_from: From when on it has been down, short recoveries not counted; of the same clock as `well`.
        well: When it was last well: from then until then.
        needs: What it needs, by name; names that are not in the snapshot do not matter.
        kinds: The kinds of its probes.
        reasons: Why those of its targets are not up that decide, and how many.
        facts: What the last attempts on its targets published, by family; `service` is left out of the labels, `target` is
            in them. Of a service with thousands of instances not all.
        remembered: The highest of what was measured within the last minutes, by the names of `facts.LEVELS`: a process that
            has died says nothing any more.
        instances: Its instances by verdict, of the probes that decide.
        limits: Its thresholds by the name of the field of `config.thresholds.Thresholds`.
    """

    name: str
    verdict: Verdict
    since: float
    down_from: float = 0.0
    well: tuple[float, float] = (0.0, 0.0)
    needs: tuple[str, ...] = ()
    kinds: frozenset[str] = frozenset()
    reasons: Mapping[Reason, int] = field(default_factory=dict)
    facts: Mapping[Family, tuple[Reading, ...]] = field(default_factory=dict)
    remembered: Mapping[str, float] = field(default_factory=dict)
    instances: Mapping[Verdict, int] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    _found: dict[tuple[Family, tuple[str, ...]], Mapping[_Values, Sequence[Reading]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def readings(self, family: Family, **labels: str) -> Sequence[Reading]:
        """Return the readings of a family that have these labels."""
        if not labels:
            return self.facts.get(family, ())
        return self._by_labels(family, tuple(labels)).get(tuple(labels.values()), ())

    def _by_labels(self, family: Family, names: tuple[str, ...]) -> Mapping[_Values, Sequence[Reading]]:
        """Return the readings of a family by the values of some labels: of a cluster each of many groups is looked up."""
        known = self._found.get((family, names))
        if known is not None:
            return known
        found: dict[_Values, list[Reading]] = {}
        for reading in self.facts.get(family, ()):
            found.setdefault(tuple(map(reading.labels.get, names)), []).append(reading)
        return self._found.setdefault((family, names), found)

    def highest(self, family: Family, **labels: str) -> Reading | None:
        """Return the reading of a family that is highest, or None where there is none that is a number."""
        found = (reading for reading in self.readings(family, **labels) if not isnan(reading.value))
        return max(found, key=lambda reading: reading.value, default=None)

    def lowest(self, family: Family, **labels: str) -> Reading | None:
        """Return the reading of a family that is lowest, or None where there is none that is a number."""
        found = (reading for reading in self.readings(family, **labels) if not isnan(reading.value))
        return min(found, key=lambda reading: reading.value, default=None)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that is known at a moment.

    Attributes:
        at: When, Unix seconds.
        members: Services and dependencies by name.
    """

    at: float
    members: Mapping[str, Member]

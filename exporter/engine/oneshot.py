"""The whole fleet probed once, for a person at a terminal: no daemon, no store."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

from exporter.config.models import Config, MemberSettings, ServiceSettings
from exporter.diagnosis.diagnose import examine_whole
from exporter.diagnosis.facts import FACTS
from exporter.diagnosis.graph import Surroundings
from exporter.diagnosis.incidents import Condition, incidents_of, step
from exporter.diagnosis.model import Diagnosis, Member, Reading, Snapshot
from exporter.discovery import source_of
from exporter.discovery.source import Discovered, Source
from exporter.engine.quorum import count_instances, deciding_kinds, service_verdict
from exporter.engine.targets import Wanted, build, wanted_targets
from exporter.limits.judge import judged_once
from exporter.limits.words import sentence
from exporter.metrics.core import DURATION
from exporter.metrics.family import Family
from exporter.metrics.store import LabelValues
from exporter.probing.probe import SharedClients, Target
from exporter.probing.runner import Outcome, run_probe
from exporter.verdict import Failure, Reason, Stage, Verdict

__all__ = ["CheckResult", "FleetDiagnosis", "ServiceResult", "TargetResult", "check_fleet", "diagnose_fleet"]

_RECHECK_AFTER = 0.2


@dataclass(frozen=True, slots=True)
class TargetResult:
    """One target's outcome."""

    target: Target
    outcome: Outcome
    vital: bool


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
    def degraded(self) -> bool:
        """Up as a whole, with something wrong."""
        return self.verdict is Verdict.UP and bool(self.notes)

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
            over = judged_once(item.target.probe, item.outcome, self.limits)
            notes += [f"{item.target.probe} {item.target.name}: {sentence(each)}" for each in over]
        return notes


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What the fleet came to."""

    services: tuple[ServiceResult, ...]
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """Down if a service or dependency is down, else unknown if one is unknown, else up."""
        found = {service.verdict for service in self.services}
        return next((v for v in (Verdict.DOWN, Verdict.UNKNOWN) if v in found), Verdict.UP)

    @property
    def exit_code(self) -> int:
        """0 ok, 1 degraded, 2 down, 3 unknown."""
        if self.verdict is Verdict.UP:
            return int(any(service.degraded for service in self.services))
        return 2 if self.verdict is Verdict.DOWN else 3

    @property
    def summary(self) -> str:
        """One line."""
        bad = [s.name for s in self.services if s.verdict is not Verdict.UP or s.degraded]
        return f"{len(self.services) - len(bad)} of {len(self.services)} ok" + (f"; look at {', '.join(bad)}" if bad else "")

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "verdict": self.verdict.value,
            "exit_code": self.exit_code,
            "seconds": round(self.seconds, 3),
            "services": [
                {
                    "name": service.name,
                    "kind": "service" if service.is_service else "dependency",
                    "verdict": service.verdict.value,
                    "degraded": service.degraded,
                    "notes": service.notes,
                    "targets": [_target_dict(item) for item in service.targets],
                }
                for service in self.services
            ],
        }


def _target_dict(item: TargetResult) -> dict[str, Any]:
    failure = item.outcome.failure
    return {
        "probe": item.target.probe,
        "target": item.target.name,
        "verdict": item.outcome.verdict.value,
        "stage": failure.stage.value if failure else None,
        "reason": failure.reason.value if failure else None,
        "detail": failure.detail if failure else "",
        "duration_seconds": round(item.outcome.duration, 6),
    }


async def check_fleet(config: Config, only: Collection[str], timeout: float) -> CheckResult:
    """Probe every target once, and those that are down once more.

    Args:
        config: What to probe.
        only: Names to restrict it to; empty means all.
        timeout: Seconds for a target, its second attempt included; an attempt also keeps to its configured deadline.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    shared = SharedClients.open()
    slots = asyncio.Semaphore(config.limits.max_in_flight)
    names = [name for name in (*config.services, *config.dependencies) if not only or name in only]
    try:
        tasks = (_check_service(name, config.everything[name], shared, timeout, slots) for name in names)
        services = await asyncio.gather(*tasks)
    finally:
        await shared.close()
    return CheckResult(tuple(services), loop.time() - started)


@dataclass(frozen=True, slots=True)
class FleetDiagnosis:
    """What is wrong with a service, as far as probing it and its surroundings once tells.

    Attributes:
        service: Its name.
        result: What it, all that needs it, and all that any of these needs came to, over any number of steps.
        diagnoses: What is wrong with each of them that is in trouble, and why, by name.
        incident: The incident that the service's page would belong to; None while it is not down.
    """

    service: str
    result: CheckResult
    diagnoses: Mapping[str, tuple[Diagnosis, ...]]
    incident: str | None


async def diagnose_fleet(config: Config, service: str, timeout: float) -> FleetDiagnosis:
    """Probe a service, all that needs it and all that any of these needs, once as `check_fleet` does, and diagnose them.

    Args:
        config: What to probe.
        service: Name of a service or dependency of it.
        timeout: Seconds for a target, its second attempt included.

    Raises:
        KeyError: There is none of that name.
    """
    everything = config.everything
    around = Surroundings({name: settings.needs for name, settings in everything.items()})
    dependents = {service, *around.needed_by(service)}
    names = dependents.union(*(around.needs(each) for each in dependents)) & everything.keys()
    everything[service]
    result = await check_fleet(config, names, timeout)
    now = time.time()
    members = {each.name: _member(each, everything[each.name], now) for each in result.services}
    findings = examine_whole(Snapshot(now, members))
    conditions = {name: Condition(member.verdict, since=-inf) for name, member in members.items()}
    chosen = step(0.0, {}, conditions, findings.roots, around)
    return FleetDiagnosis(service, result, findings.diagnoses, incidents_of(chosen, conditions).get(service))


def _member(result: ServiceResult, settings: MemberSettings, now: float) -> Member:
    deciding = set(deciding_kinds(settings))
    reasons: Counter[Reason] = Counter()
    facts: dict[Family, list[Reading]] = {}
    for item in result.targets:
        outcome = item.outcome
        if item.target.probe in deciding and outcome.failure is not None and outcome.verdict is Verdict.DOWN:
            reasons[outcome.failure.reason] += 1
        samples: dict[Family, Mapping[LabelValues, float]] = {**outcome.samples, DURATION: {(): outcome.duration}}
        for family, values in samples.items():
            if family in FACTS:
                for labels, value in values.items():
                    named = dict(zip(family.labels, labels, strict=True))
                    facts.setdefault(family, []).append(Reading({**named, "target": item.target.name}, value))
    return Member(
        result.name,
        result.verdict,
        now,
        needs=settings.needs,
        kinds=frozenset(settings.probe_settings),
        reasons=(dict(reasons) or {Reason.NO_INSTANCES: 1}) if result.verdict is Verdict.DOWN else {},
        facts={family: tuple(readings) for family, readings in facts.items()},
        instances=result.instances,
        limits=settings.limits,
    )


async def _check_service(
    name: str, settings: MemberSettings, shared: SharedClients, timeout: float, slots: asyncio.Semaphore
) -> ServiceResult:
    source = source_of(settings.instances, shared)
    await shared.clusters.prepare()
    found = await _discover(source, timeout)
    wanted = wanted_targets(name, settings, found.instances)
    results = await asyncio.gather(*(_check_target(item, shared, timeout, slots) for item in wanted))
    tallies: dict[str, Counter[Verdict]] = {}
    for item in results:
        tallies.setdefault(item.target.probe, Counter())[item.outcome.verdict] += 1
    verdict = service_verdict(settings, tallies, complete=found.complete, desired=found.desired) or Verdict.UNKNOWN
    instances = count_instances(settings, ((each.target.probe, each.target.name, each.outcome.verdict) for each in results))
    is_service = isinstance(settings, ServiceSettings)
    return ServiceResult(name, is_service, verdict, tuple(results), instances, found.failure, found.unsized, settings.limits)


async def _discover(source: Source, timeout: float) -> Discovered:
    """Wait for the first report of a service's source."""
    first: asyncio.Future[Discovered] = asyncio.get_running_loop().create_future()

    async def run() -> None:
        def report(found: Discovered) -> None:
            if not first.done():
                first.set_result(found)

        await source.run(report)

    try:
        async with asyncio.timeout(timeout), asyncio.TaskGroup() as group:
            running = group.create_task(run())
            found = await first
            running.cancel()
    except TimeoutError:
        return Discovered((), Failure(Stage.RESOLVE, Reason.PROBER_DNS, f"no instances within {timeout:g} s"))
    return found


async def _check_target(wanted: Wanted, shared: SharedClients, timeout: float, slots: asyncio.Semaphore) -> TargetResult:
    target, settings = wanted
    probe = await asyncio.to_thread(build, wanted, shared)
    await shared.clusters.prepare()
    loop = asyncio.get_running_loop()
    try:
        async with slots:
            deadline = loop.time() + timeout
            outcome = await run_probe(probe, min(timeout, settings.timeout))
            left = deadline - loop.time() - _RECHECK_AFTER
            if outcome.verdict is Verdict.DOWN and left > _RECHECK_AFTER:  # one that timed out has had its time
                await asyncio.sleep(_RECHECK_AFTER)
                outcome = await run_probe(probe, min(left, settings.timeout))
    finally:
        await probe.close()
    return TargetResult(target, outcome, probe.vital)

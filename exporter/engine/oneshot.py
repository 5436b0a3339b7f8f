"""The whole fleet probed once, for a person at a terminal: no daemon, no store."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Protocol, TypeVar

from exporter.config.errors import ConfigError
from exporter.config.models import Config, MemberSettings, ServiceSettings
from exporter.diagnosis.diagnose import examine_whole
from exporter.diagnosis.facts import FACTS
from exporter.diagnosis.graph import Surroundings
from exporter.diagnosis.incidents import Condition, incidents_of, step
from exporter.diagnosis.model import Diagnosis, Member, Reading, Snapshot
from exporter.discovery import source_of
from exporter.discovery.source import Discovered, Source
from exporter.engine.checked import CheckResult, ServiceResult, TargetResult
from exporter.engine.quorum import count_instances, deciding_kinds, service_verdict
from exporter.engine.targets import Wanted, build, wanted_targets
from exporter.metrics.core import DURATION
from exporter.metrics.family import Family
from exporter.metrics.store import LabelValues
from exporter.probing.probe import Probe, SharedClients
from exporter.probing.runner import Outcome, run_probe
from exporter.verdict import Failure, Reason, Stage, Verdict

__all__ = ["FleetDiagnosis", "Progress", "check_fleet", "diagnose_fleet", "restricted"]

M = TypeVar("M", bound=MemberSettings)

_RECHECK_AFTER = 0.2


class Progress(Protocol):
    """Is told how far a check has come."""

    def __call__(self, done: int, known: int) -> None:
        """Take in that so many targets are done, of so many that are known by now."""


def restricted(config: Config, names: Collection[str], kinds: Collection[str] = ()) -> Config:
    """Return a configuration of fewer services, dependencies and probes; what has no probe left is not in it.

    Args:
        config: The whole.
        names: Those wanted; empty means all.
        kinds: The kinds of probes wanted; empty means all.
    """

    def fewer(members: Mapping[str, M]) -> dict[str, M]:
        found = {name: member for name, member in members.items() if not names or name in names}
        return {name: _with_kinds(member, kinds) for name, member in found.items() if _has(member, kinds)}

    return config.model_copy(update={"services": fewer(config.services), "dependencies": fewer(config.dependencies)})


def _has(member: MemberSettings, kinds: Collection[str]) -> bool:
    return not kinds or any(kind in kinds for kind in member.probe_settings)


def _with_kinds(member: M, kinds: Collection[str]) -> M:
    unwanted = {kind: None for kind in member.probe_settings if kinds and kind not in kinds}
    return member.model_copy(update={"probes": member.probes.model_copy(update=unwanted)}) if unwanted else member


async def check_fleet(
    config: Config, only: Collection[str], timeout: float, progress: Progress = lambda done, known: None
) -> CheckResult:
    """Probe every target once, and those that are down once more; say what takes what down.

    Args:
        config: What to probe.
        only: Names to restrict it to; empty means all.
        timeout: Seconds for a target, its second attempt included; an attempt also keeps to its configured deadline.
        progress: Is told how far it has come.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    shared = SharedClients.open()
    check = _Check(shared, timeout, asyncio.Semaphore(config.limits.max_in_flight), progress)
    names = [name for name in (*config.services, *config.dependencies) if not only or name in only]
    try:
        services = await asyncio.gather(*(check.service(name, config.everything[name]) for name in names))
    finally:
        await shared.close()
    return _diagnosed(config, CheckResult(tuple(services), loop.time() - started))


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


async def diagnose_fleet(
    config: Config, service: str, timeout: float, progress: Progress = lambda done, known: None
) -> FleetDiagnosis:
    """Probe a service, all that needs it and all that any of these needs, once as `check_fleet` does, and diagnose them.

    Args:
        config: What to probe.
        service: Name of a service or dependency of it.
        timeout: Seconds for a target, its second attempt included.
        progress: Is told how far it has come.

    Raises:
        KeyError: There is none of that name.
    """
    everything = config.everything
    around = _around(config)
    dependents = {service, *around.needed_by(service)}
    names = dependents.union(*(around.needs(each) for each in dependents)) & everything.keys()
    everything[service]
    result = await check_fleet(config, names, timeout, progress)
    return FleetDiagnosis(service, result, result.diagnoses, result.incidents.get(service))


def _around(config: Config) -> Surroundings:
    return Surroundings({name: settings.needs for name, settings in config.everything.items()})


def _diagnosed(config: Config, result: CheckResult) -> CheckResult:
    now = time.time()
    members = {each.name: _member(each, config.everything[each.name], now) for each in result.services}
    findings = examine_whole(Snapshot(now, members))
    conditions = {name: Condition(member.verdict, since=-inf) for name, member in members.items()}
    incidents = incidents_of(step(0.0, {}, conditions, findings.roots, _around(config)), conditions)
    return replace(result, diagnoses=findings.diagnoses, incidents=incidents)


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


class _Check:
    """One check under way.

    Args:
        shared: What probes share.
        timeout: Seconds for a target.
        slots: What may be in flight at once.
        progress: Is told how far it has come.
    """

    def __init__(self, shared: SharedClients, timeout: float, slots: asyncio.Semaphore, progress: Progress) -> None:
        self._shared = shared
        self._timeout = timeout
        self._slots = slots
        self._progress = progress
        self._done = self._known = 0

    async def service(self, name: str, settings: MemberSettings) -> ServiceResult:
        """Probe the targets of a service."""
        source = source_of(settings.instances, self._shared)
        await self._shared.clusters.prepare()
        found = await _discover(source, self._timeout)
        wanted = list(wanted_targets(name, settings, found.instances))
        self._told(known=len(wanted))
        results = await asyncio.gather(*map(self._target, wanted))
        tallies: dict[str, Counter[Verdict]] = {}
        for item in results:
            tallies.setdefault(item.target.probe, Counter())[item.outcome.verdict] += 1
        verdict = service_verdict(settings, tallies, complete=found.complete, desired=found.desired) or Verdict.UNKNOWN
        instances = count_instances(
            settings, ((each.target.probe, each.target.name, each.outcome.verdict) for each in results)
        )
        is_service = isinstance(settings, ServiceSettings)
        limits = settings.limits
        return ServiceResult(name, is_service, verdict, tuple(results), instances, found.failure, found.unsized, limits)

    async def _target(self, wanted: Wanted) -> TargetResult:
        try:
            probe = await asyncio.to_thread(build, wanted, self._shared)
        except ConfigError as error:  # a file that the settings name: the others can be probed
            self._told(done=1)
            return TargetResult(wanted.target, _not_built(error))
        await self._shared.clusters.prepare()
        try:
            async with self._slots:
                outcome = await self._twice(probe, wanted.settings.timeout)
        finally:
            await probe.close()
        self._told(done=1)
        return TargetResult(wanted.target, outcome)

    async def _twice(self, probe: Probe[Any], patience: float) -> Outcome:
        """Run a probe, and once more where it came out down."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        outcome = await run_probe(probe, min(self._timeout, patience))
        left = deadline - loop.time() - _RECHECK_AFTER
        if outcome.verdict is Verdict.DOWN and left > _RECHECK_AFTER:  # one that timed out has had its time
            await asyncio.sleep(_RECHECK_AFTER)
            outcome = await run_probe(probe, min(left, patience))
        return outcome

    def _told(self, *, done: int = 0, known: int = 0) -> None:
        self._done += done
        self._known += known
        self._progress(self._done, self._known)


def _not_built(error: ConfigError) -> Outcome:
    failure = Failure(Stage.INTERNAL, Reason.NOT_BUILT, "; ".join(problem.message for problem in error.problems))
    return Outcome(failure.verdict, failure, time.time(), 0.0)


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

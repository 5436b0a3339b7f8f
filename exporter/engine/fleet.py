"""The fleet: from configuration and discovery to scheduled targets, and back to what people see."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from exporter.config.errors import ConfigError, Problem
from exporter.config.models import Config, MemberSettings, ServiceSettings
from exporter.engine import metrics as m
from exporter.engine.diagnosis import Cause, causes
from exporter.engine.discovery import Found, discover
from exporter.engine.lag import LoopLag
from exporter.engine.scheduler import Scheduler
from exporter.engine.service import Floor, service_verdict
from exporter.engine.slices import TimeSlices
from exporter.engine.target import ProbeSeries, TargetState
from exporter.engine.views import ServiceView
from exporter.metrics.store import Owner, Store
from exporter.probes import probe_types
from exporter.probing.probe import Probe, ProbeSettings, Scope, SharedClients, Target
from exporter.verdict import Reason, Verdict

__all__ = ["Fleet", "make_probe", "targets_of"]

log = logging.getLogger(__name__)

Key = tuple[str, str, str]


def targets_of(name: str, settings: MemberSettings, found: Found) -> Iterator[tuple[Target, ProbeSettings]]:
    """List the targets of a service: one for each instance, or one for the whole, as each kind of probe wants it."""
    for kind, probe_settings in settings.probe_settings.items():
        probe = probe_types()[kind]
        labels = {**settings.labels, **probe_settings.labels}
        if probe.planned is not None:
            continue
        if probe.scope is Scope.INSTANCE:
            for address in found.addresses:
                yield Target(name, kind, str(address), (address,), labels), probe_settings
        elif found.addresses:
            yield Target(name, kind, name, found.addresses, labels), probe_settings


def make_probe(target: Target, settings: ProbeSettings, shared: SharedClients) -> Probe[Any]:
    """Build a probe. Blocking: it may read certificates.

    Raises:
        ConfigError: A file that the settings name cannot be used.
    """
    try:
        return probe_types()[target.probe](target, settings, shared)
    except (OSError, ssl.SSLError, ValueError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error)
        name = getattr(error, "filename", None)
        raise ConfigError([Problem(str(target), 0, 0, "", f"{name}: {reason}" if name else str(reason))]) from error


class _Service:
    """One service or dependency at run time."""

    def __init__(self, name: str, settings: MemberSettings, store: Store) -> None:
        self.name = name
        self.settings = settings
        self.found: Found | None = None
        self.targets: dict[Key, TargetState] = {}
        self.owner: Owner = store.owner({"service": name, **settings.labels})
        self.blamed: frozenset[Cause] = frozenset()

    @property
    def vital_kinds(self) -> list[str]:
        kinds = (kind for kind in self.settings.probe_settings if probe_types()[kind].planned is None)
        return [kind for kind in kinds if probe_types()[kind].vital]

    def floors(self) -> list[Floor]:
        """Count the verdicts of each vital probe."""
        complete = self.found is not None and self.found.complete
        floors = []
        for kind in self.vital_kinds:
            verdicts = [state.confirmed.verdict for state in self.targets.values() if state.target.probe == kind]
            needed = self.settings.min_ready if probe_types()[kind].scope is Scope.INSTANCE else 1
            floors.append(Floor.of(verdicts, needed, complete=complete))
        return floors

    @property
    def verdict(self) -> Verdict | None:
        """What its vital probes add up to; None without one."""
        return service_verdict(self.floors())

    @property
    def shown_verdict(self) -> Verdict:
        """The same for people, who want to see one where only a certificate is probed: then every target must be up."""
        states = [state.confirmed.verdict for state in self.targets.values()]
        return self.verdict or Floor.of(states, max(1, len(states))).verdict

    def instances(self) -> dict[str, int]:
        """Count the instances by verdict, each by the worst of its vital probes."""
        worst: dict[str, Verdict] = {}
        rank = [Verdict.UP, Verdict.UNKNOWN, Verdict.DOWN]
        for state in self.targets.values():
            if state.probe.vital or not self.vital_kinds:
                seen, now = worst.get(state.target.name, Verdict.UP), state.confirmed.verdict
                worst[state.target.name] = max(seen, now, key=rank.index)
        counts = Counter(worst.values())
        return {verdict.value: counts.get(verdict, 0) for verdict in Verdict}

    def reasons(self) -> set[str]:
        """Return why its vital targets that are down failed last; without any target, that there is none."""
        down = [state for state in self.targets.values() if state.probe.vital and state.confirmed.verdict is Verdict.DOWN]
        return {state.last_reason for state in down if state.last_reason is not None} or {Reason.NO_INSTANCES}

    def blame(self, found: frozenset[Cause]) -> None:
        """Publish the likely causes; none withdraws them."""
        if found != self.blamed:
            self.blamed = found
            self.owner.put(m.SUSPECTED_CAUSE, dict.fromkeys(found, 1.0))

    def publish(self) -> None:
        """Publish the service's verdict; unknown withdraws it."""
        verdict = self.verdict
        known = verdict in (Verdict.UP, Verdict.DOWN)
        self.owner.put(m.SERVICE_UP, {(): float(verdict is Verdict.UP)} if known else {})
        if self.vital_kinds:
            self.owner.put(m.SERVICE_INSTANCES, {(name,): float(n) for name, n in self.instances().items()})


class Fleet:
    """All services, their targets and their schedule.

    Args:
        store: Where everything is published.
        shared: What probes share.
        scheduler: Runs the targets.
        lag: The loop's stalls.
    """

    def __init__(self, store: Store, shared: SharedClients, scheduler: Scheduler, lag: LoopLag) -> None:
        self._store = store
        self._shared = shared
        self._scheduler = scheduler
        self._lag = lag
        self._services: dict[str, _Service] = {}
        self._kinds: dict[tuple[str, str, tuple[tuple[str, str], ...]], ProbeSeries] = {}
        self._own = store.owner({})
        self._changing = asyncio.Lock()

    async def apply(self, config: Config) -> None:
        """Make the fleet what a configuration says. Targets whose settings are the same keep their state.

        Everything new is built before anything old is touched: when this raises, nothing has changed.

        Raises:
            ConfigError: A probe cannot be built.
        """
        async with self._changing:
            names = config.everything
            last = {name: service.found for name, service in self._services.items()}
            found = dict(zip(names, await self._discover_all(names, last), strict=True))
            fresh = await self._build_new(names, found)
            for name in [name for name in self._services if name not in names]:
                await self._drop_service(self._services.pop(name))
            for name, settings in names.items():
                service = self._services.get(name)
                if service is None or service.settings.labels != settings.labels:
                    if service is not None:
                        await self._drop_service(service)
                    service = self._services[name] = _Service(name, settings, self._store)
                service.settings, service.found = settings, found[name]
                await self._reconcile(service, fresh)
            self._services = {name: self._services[name] for name in names}

    async def rediscover(self) -> None:
        """Keep DNS-discovered instances current, for ever."""
        while True:
            await asyncio.sleep(1.0)
            now = asyncio.get_running_loop().time()
            for service in list(self._services.values()):
                instances, found = service.settings.instances, service.found
                if instances.dns is not None and found is not None and now - found.asked_at >= instances.refresh:
                    await self._refresh(service)

    async def sweep(self) -> None:
        """Withdraw what has become stale, for ever."""
        while True:
            await asyncio.sleep(1.0)
            now = asyncio.get_running_loop().time()
            for state in self._states():
                state.sweep(now)
            self._diagnose()

    def _diagnose(self) -> None:
        """Publish the likely causes of what is down."""
        down = {name for name, service in self._services.items() if service.verdict is Verdict.DOWN}
        for name, service in self._services.items():
            found: frozenset[Cause] = frozenset()
            if name in down:
                needs = service.settings.depends_on if isinstance(service.settings, ServiceSettings) else ()
                found = causes(needs, down, service.reasons())
            service.blame(found)

    @property
    def unprobed(self) -> int:
        """Targets that have not completed an attempt."""
        return sum(1 for state in self._states() if not state.attempted)

    def find(self, service: str, probe: str, target: str | None = None) -> list[TargetState]:
        """Find configured targets."""
        found = self._services.get(service)
        states = found.targets.values() if found else ()
        return [s for s in states if s.target.probe == probe and target in (None, s.target.name)]

    async def run_apart(self, state: TargetState) -> bytes:
        """Run a target's probe now, within the caps, without changing its verdict; return its exposition."""
        async with self._scheduler.slot(state.host):
            return await state.run_apart()

    def known(self) -> list[tuple[str, str]]:
        """List the configured pairs of service and probe."""
        return sorted({(state.target.service, state.target.probe) for state in self._states()})

    async def views(self) -> list[ServiceView]:
        """Return what people see, services first. Other tasks have their turn in between: thousands of targets take long."""
        slices = TimeSlices()
        return [await self._view(service, slices) for service in sorted(self._services.values(), key=_services_first)]

    async def close(self) -> None:
        """Close every probe."""
        for service in list(self._services.values()):
            await self._drop_service(service)
        self._services.clear()

    async def _discover_all(self, services: Mapping[str, MemberSettings], last: Mapping[str, Found | None]) -> list[Found]:
        tasks = (discover(item.instances, self._shared.resolver, last.get(name)) for name, item in services.items())
        return list(await asyncio.gather(*tasks))

    async def _build_new(self, services: Mapping[str, MemberSettings], found: Mapping[str, Found]) -> dict[Key, Probe[Any]]:
        """Build the probes of targets that are new or changed; close them again if one cannot be built."""
        wanted = [
            (target, settings)
            for name, service in services.items()
            for target, settings in targets_of(name, service, found[name])
            if not self._unchanged(target, settings)
        ]
        return await self._build(wanted)

    async def _build(self, wanted: Iterable[tuple[Target, ProbeSettings]]) -> dict[Key, Probe[Any]]:
        built: dict[Key, Probe[Any]] = {}
        problems: list[Problem] = []
        for target, settings in wanted:
            try:
                built[target.key] = await asyncio.to_thread(make_probe, target, settings, self._shared)
            except ConfigError as error:
                problems += error.problems
        if problems:
            for probe in built.values():
                await probe.close()
            raise ConfigError(problems)
        return built

    def _unchanged(self, target: Target, settings: ProbeSettings) -> bool:
        service = self._services.get(target.service)
        state = service.targets.get(target.key) if service else None
        return state is not None and state.target == target and state.probe.settings == settings

    async def _reconcile(self, service: _Service, fresh: Mapping[Key, Probe[Any]]) -> None:
        """Remove targets that are gone or changed, and schedule new ones."""
        assert service.found is not None  # noqa: S101 - set by both callers
        wanted = {target.key for target, _ in targets_of(service.name, service.settings, service.found)}
        for key in [key for key in service.targets if key not in wanted or key in fresh]:
            await self._drop_target(service.targets.pop(key))
        for key in wanted - service.targets.keys():
            service.targets[key] = self._add_target(fresh[key], service)
        service.publish()
        self._own.put(m.TARGETS, {(): float(len(self._scheduler))})

    async def _refresh(self, service: _Service) -> None:
        found = await discover(service.settings.instances, self._shared.resolver, service.found)
        async with self._changing:
            if self._services.get(service.name) is not service:
                return
            wanted = targets_of(service.name, service.settings, found)
            try:
                fresh = await self._build([pair for pair in wanted if not self._unchanged(*pair)])
            except ConfigError as error:  # a certificate file that has gone since the start: keep what runs
                log.error("%s: new instances cannot be probed: %s", service.name, error)  # noqa: TRY400 - no traceback for an operator's error
                return
            if service.found is not None and service.found.addresses != found.addresses:
                log.info("%s: instances are now %s", service.name, ", ".join(map(str, found.addresses)) or "none")
            service.found = found
            await self._reconcile(service, fresh)

    def _add_target(self, probe: Probe[Any], service: _Service) -> TargetState:
        target = probe.target
        key = (target.service, target.probe, tuple(target.labels.items()))
        kind = self._kinds.setdefault(key, ProbeSeries(self._store, target))
        kind.users += 1
        state = TargetState(probe, self._store, kind, self._lag.since, lambda _: service.publish())
        self._scheduler.add(state)
        return state

    async def _drop_target(self, state: TargetState) -> None:
        await self._scheduler.remove(state.key)
        state.kind.users -= 1
        if not state.kind.users:
            state.kind.close()
            self._kinds = {key: kind for key, kind in self._kinds.items() if kind is not state.kind}
        await state.close()

    async def _drop_service(self, service: _Service) -> None:
        for state in service.targets.values():
            await self._drop_target(state)
        service.targets.clear()
        service.owner.close()

    def _states(self) -> Iterator[TargetState]:
        for service in self._services.values():
            yield from service.targets.values()

    async def _view(self, service: _Service, slices: TimeSlices) -> ServiceView:
        settings, loop = service.settings, asyncio.get_running_loop()
        offset = time.time() - loop.time()
        targets = []
        for state in list(service.targets.values()):
            due = self._scheduler.next_run(state.key)
            targets.append(state.view(due + offset if due is not None else None))
            await slices.turn()
        return ServiceView(
            name=service.name,
            kind="service" if isinstance(settings, ServiceSettings) else "dependency",
            verdict=service.shown_verdict,
            depends_on=list(settings.depends_on) if isinstance(settings, ServiceSettings) else [],
            min_ready=settings.min_ready,
            instances=service.instances(),
            targets=targets,
        )


def _services_first(service: _Service) -> bool:
    return not isinstance(service.settings, ServiceSettings)

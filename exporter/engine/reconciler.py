"""The one writer: configuration, instances and ownership become targets, service by service. Nothing else adds, removes or
replaces a target.

Whoever learns a fact sets it and marks the services that it concerns; one task takes them up, so that nothing that was
learnt late can undo what was learnt later, and a burst of changes of one service is one piece of work.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from exporter.config.errors import ConfigError, Problem
from exporter.config.models import Config
from exporter.discovery.source import Discovered
from exporter.engine.discovery import Discovery
from exporter.engine.ownership import Everything, Ownership
from exporter.engine.scheduler import FIRST_WITHIN, Scheduler
from exporter.engine.service import Key, ServiceState
from exporter.engine.target import Engineering, Standing, TargetState
from exporter.engine.target_series import ProbeSeries
from exporter.engine.targets import Wanted, trials, wanted_targets
from exporter.engine.time_slices import TimeSlices
from exporter.metrics import core as m
from exporter.metrics.store import Store
from exporter.probing.probe import Probe, Target
from exporter.unforeseen import Where

__all__ = ["Reconciler"]

log = logging.getLogger(__name__)

MakeProbe = Callable[[Wanted], Probe[Any]]

COALESCE = 0.05
"""Seconds that the writer waits for more to come before it takes up what has changed."""

RETRY = 30.0
"""Seconds after which a service whose targets could not be made is tried again."""

_BATCH = 32
"""Probes that are built in a thread in one go, and targets that are closed side by side."""


class Reconciler:
    """Keeps the targets what configuration, instances and ownership ask for.

    Args:
        make_probe: Builds the probe of a target; blocking, since it may read files.
        scheduler: Runs the targets.
        engine: What targets are handed.
        discovery: Knows the instances.
        changed: Called with a service whose verdict or reasons may have changed.
        completed: Called with a service and a target of it at which an attempt has ended.

    Attributes:
        services: Services and dependencies by name, in the order of the configuration.
    """

    def __init__(
        self,
        make_probe: MakeProbe,
        scheduler: Scheduler,
        engine: Engineering,
        discovery: Discovery,
        changed: Callable[[ServiceState], None],
        completed: Callable[[ServiceState, TargetState], None],
    ) -> None:
        self.services: dict[str, ServiceState] = {}
        self._make_probe = make_probe
        self._scheduler = scheduler
        self._engine = engine
        self._discovery = discovery
        self._changed = changed
        self._completed = completed
        self._config = Config()
        self._ownership: Ownership = Everything()
        self._dirty: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self._retries: dict[str, asyncio.TimerHandle] = {}
        self._probe_series: dict[tuple[str, str, tuple[tuple[str, str], ...]], ProbeSeries] = {}
        self._own = engine.store.owner({})
        self._unexported = Store()
        """What is probed only to find causes is published here, where diagnosis reads it and no scrape does."""
        self._first_within = FIRST_WITHIN
        self._untold: set[str] = set()
        self._ready = False
        self._own.put(m.READY, {(): 0.0})

    # The facts, each set by whoever learns it.

    async def check(self, config: Config) -> None:
        """Find out whether the probes that a configuration asks for can be built. Nothing is changed.

        Raises:
            ConfigError: One or more cannot.
        """
        before = self._config.everything
        problems: list[Problem] = []
        wanted = (
            trial for name, settings in config.everything.items() for trial in trials(name, settings, before.get(name))
        )
        for batch in _batches(wanted):
            for built in await self._build(batch):
                if isinstance(built, ConfigError):
                    problems += built.problems
                else:
                    await built.close()
        if problems:
            raise ConfigError(problems)

    def configure(self, config: Config) -> None:
        """Set the configuration."""
        before, self._config = self._config.everything, config
        self._publish_ready(ready=False)
        self._follow_instances()
        self._mark(name for name, settings in config.everything.items() if before.get(name) != settings)
        self._mark(name for name in before if name not in config.everything)
        self._note_ready()

    def own(self, ownership: Ownership, first_within: float = FIRST_WITHIN) -> None:
        """Set whose the services are.

        Args:
            ownership: Says it; to be set anew whenever it says something else.
            first_within: Seconds within which targets that come from now on are probed for the first time.
        """
        self._ownership, self._first_within = ownership, first_within
        self._publish_ready(ready=False)
        self._follow_instances()
        self._mark(self._config.everything)
        self._note_ready()

    def found(self, name: str) -> None:
        """Take note that a service's source has spoken."""
        service, known = self.services.get(name), self._discovery.known(name)
        if service is not None and _same(service.discovered, known.discovered):
            service.publish_discovery(known.last_success)
        else:
            self._mark((name,))

    # The writer.

    async def run(self) -> None:
        """Bring about what is asked for, for ever."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(COALESCE)
            self._wake.clear()
            while self._dirty:
                name = next(iter(self._dirty))
                del self._dirty[name]
                await self._reconcile(name)
            self._own.put(m.TARGETS, {(): float(len(self._scheduler))})
            self._order()
            if not self._dirty:
                self._settled.set()
                self._note_ready()

    @property
    def behind(self) -> int:
        """Services that have not been brought about yet."""
        return 0 if self._settled.is_set() else max(1, len(self._dirty))

    @property
    def _all_told(self) -> bool:
        """Whether all that is asked for has a verdict, or a reason for having none, among what is exported."""
        return (
            all(name in self.services for name in self._config.everything if self._ownership.owns(name)) and not self._untold
        )

    def _note_ready(self) -> None:
        self._publish_ready(ready=self._settled.is_set() and self._all_told)

    def _publish_ready(self, *, ready: bool) -> None:
        if ready is not self._ready:
            self._ready = ready
            self._own.put(m.READY, {(): float(ready)})

    async def settled(self) -> None:
        """Wait until all that was known has been brought about."""
        await self._settled.wait()

    async def close(self) -> None:
        """Let go of everything."""
        for handle in self._retries.values():
            handle.cancel()
        for service in self.services.values():
            await self._drop(service, list(service.targets))
            service.close()
        self.services.clear()

    def _follow_instances(self) -> None:
        needed = {name: each.instances for name, each in self._config.everything.items() if self._ownership.needs(name)}
        self._discovery.configure(needed)

    def _mark(self, names: Iterable[str]) -> None:
        self._dirty.update(dict.fromkeys(names))
        if self._dirty:
            self._settled.clear()
            self._wake.set()

    async def _reconcile(self, name: str) -> None:
        """Bring about one service. What goes wrong is that service's: the others go on."""
        retry = self._retries.pop(name, None)
        if retry is not None:
            retry.cancel()
        try:
            current = await self._bring_about(name)
        except Exception as error:
            self._engine.defects.note(Where.RECONCILE, f"the targets of {name} could not be brought about", error)
            current = False
        service = self.services.get(name)
        if service is None:
            return
        service.publish_current(current)
        if not current:
            self._retries[name] = asyncio.get_running_loop().call_later(RETRY, self._mark, (name,))

    async def _bring_about(self, name: str) -> bool:
        settings = self._config.everything.get(name)
        service = self.services.get(name)
        if settings is None or not self._ownership.needs(name):
            if service is not None:
                await self._drop(service, list(service.targets))
                service.close()
                del self.services[name]
                self._untold.discard(name)
            return True
        store = self._engine.store if self._ownership.owns(name) else self._unexported
        if service is None:
            service = self.services[name] = ServiceState(name, settings, store)
            service.history = self._engine.kept.pop((name, "", ""), service.history)
        else:
            service.configure(settings)
            service.move(store)
        known = self._discovery.known(name)
        _log_change(service, known.discovered)
        service.discovered = known.discovered
        service.publish_discovery(known.last_success)
        current = False
        try:
            current = await self._bring_about_targets(service)
        finally:
            service.current = current
            self._publish(service)
        return current

    async def _bring_about_targets(self, service: ServiceState) -> bool:
        """Add targets, replace the probes of those that changed, remove those that are gone; say whether all could be.

        In this order: while it is under way, a service that is given other instances must not look as if it had too few.
        """
        instances = service.discovered.instances if service.discovered is not None else ()
        wanted = {item.target.key: item for item in wanted_targets(service.name, service.settings, instances)}
        changed = [item for key, item in wanted.items() if _differs(service.targets.get(key), item)]
        whole = True
        slices = TimeSlices()
        for batch in _batches(changed):
            for item, built in zip(batch, await self._build(batch), strict=True):
                if isinstance(built, ConfigError):
                    whole = False
                    log.error("%s cannot be probed: %s", item.target, built)
                else:
                    await self._put(service, built)
                    await slices.turn()
        await self._drop(service, [key for key in service.targets if key not in wanted])
        return whole

    async def _put(self, service: ServiceState, probe: Probe[Any]) -> None:
        """Put a probe in its place: that of a new target, or beneath one that is there."""
        state = service.targets.get(probe.target.key)
        if state is not None and state.target.uid != probe.target.uid:
            await self._drop(service, [state.key])  # another of the same name: what was believed of the old one is not its
            state = None
        series = self._series_of(probe.target, service.store)
        if state is None:

            def changed(state: TargetState, _before: Standing) -> None:
                service.changed(state)
                self._publish(service)

            def completed(state: TargetState) -> None:
                service.completed(state)
                self._completed(service, state)

            state = TargetState(probe, self._engine._replace(store=service.store), series, changed, completed)
            service.add(state)
            self._scheduler.add(state, self._first_within)
            return
        interval = state.interval
        self._release(state.shared_series)
        superseded = state.adopt(probe, series)
        if state.interval != interval:
            self._scheduler.reschedule(state.key)
        if superseded is not None:
            await superseded.close()

    async def _drop(self, service: ServiceState, keys: list[Key]) -> None:
        for start in range(0, len(keys), _BATCH):
            batch = (self._drop_target(service.remove(key)) for key in keys[start : start + _BATCH])
            await asyncio.gather(*batch)

    async def _drop_target(self, state: TargetState) -> None:
        state.withdraw()  # before anything that may take long
        try:
            await self._scheduler.remove(state.key)
        finally:
            self._release(state.shared_series)
            await state.close()

    async def _build(self, batch: list[Wanted]) -> list[Probe[Any] | ConfigError]:
        """Build probes in a thread; return each, or why it cannot be built."""
        return await asyncio.to_thread(lambda: [_built(self._make_probe, item) for item in batch])

    def _publish(self, service: ServiceState) -> None:
        try:
            service.publish()
            if service.name in self._untold:
                self._untold.discard(service.name)
                self._note_ready()
            self._changed(service)
        except Exception as error:
            self._engine.defects.note(Where.SERVICE, f"the verdict on {service.name} could not be published", error)
            self._untold.add(service.name)
            self._note_ready()
            service.withdraw()

    def _series_of(self, target: Target, store: Store) -> ProbeSeries:
        key = (target.service, target.probe, tuple(sorted(target.labels.items())))  # in whatever order they are written
        series = self._probe_series.get(key)
        if series is None:
            series = self._probe_series[key] = ProbeSeries(store, target)
        series.users += 1
        return series

    def _release(self, series: ProbeSeries) -> None:
        series.users -= 1
        if not series.users:
            series.close()
            self._probe_series = {key: each for key, each in self._probe_series.items() if each is not series}

    def _order(self) -> None:
        """Keep the services in the order of the configuration, which people know."""
        names = self._config.everything
        if list(self.services) != [name for name in names if name in self.services]:
            self.services = {name: self.services[name] for name in names if name in self.services}


def _built(make_probe: MakeProbe, wanted: Wanted) -> Probe[Any] | ConfigError:
    try:
        return make_probe(wanted)
    except ConfigError as error:
        return error


def _batches(wanted: Iterable[Wanted]) -> Iterator[list[Wanted]]:
    items = iter(wanted)
    while batch := list(islice(items, _BATCH)):
        yield batch


def _differs(state: TargetState | None, wanted: Wanted) -> bool:
    return state is None or state.target != wanted.target or state.settings != wanted.settings


def _same(before: Discovered | None, now: Discovered | None) -> bool:
    if before is None or now is None:
        return before is now
    return (before.instances, before.complete, before.wanted, before.unsized is None) == (
        now.instances,
        now.complete,
        now.wanted,
        now.unsized is None,
    )


def _log_change(service: ServiceState, now: Discovered | None) -> None:
    before = service.discovered
    if now is not None and now.unsized is not None and (before is None or before.unsized is None):
        log.warning("%s: how many instances there should be cannot be told: %s", service.name, now.unsized)
    if before is None or now is None:
        return
    if before.complete and now.failure is not None:
        log.warning("%s: its instances cannot be told any more: %s", service.name, now.failure)
    if before.instances != now.instances:
        old, new = ({instance.name for instance in found.instances} for found in (before, now))
        total = len(now.instances)
        log.info("%s: %d instances now; new: %s; gone: %s", service.name, total, _listed(new - old), _listed(old - new))


def _listed(names: set[str]) -> str:
    some = sorted(names)[:5]
    return (", ".join(some) + (f" and {len(names) - 5} more" if len(names) > 5 else "")) or "none"

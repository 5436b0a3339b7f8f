"""The engine put together: facts go in, targets are probed, and whoever asks is told what is believed."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine, Hashable, Iterator, Mapping
from functools import partial
from math import inf
from typing import Any

from exporter.config.models import Config, Instances, Limits
from exporter.diagnosis.model import Diagnosis
from exporter.discovery import source_of
from exporter.discovery.source import Source
from exporter.engine.asked import Asked
from exporter.engine.defects import Defects
from exporter.engine.diagnosis_views import IncidentView, incident_view
from exporter.engine.diagnostician import Diagnostician
from exporter.engine.discovery import Discovery
from exporter.engine.history import WINDOWS, Failed, History
from exporter.engine.lag import LoopLag
from exporter.engine.ownership import Ownership
from exporter.engine.prober import ProberView, prober_view
from exporter.engine.reconciler import Reconciler
from exporter.engine.rollup import Key, State
from exporter.engine.scheduler import FIRST_WITHIN, Scheduler
from exporter.engine.service import ServiceState
from exporter.engine.slots import Slots
from exporter.engine.target import Engineering, TargetState
from exporter.engine.targets import Wanted, build
from exporter.engine.time_slices import TimeSlices
from exporter.engine.views import (
    Due,
    Neighbours,
    ServiceSummary,
    ServiceView,
    Suspected,
    TargetView,
    service_summary,
    service_view,
    target_view,
)
from exporter.metrics.store import Store
from exporter.probing.probe import Probe, SharedClients
from exporter.probing.runner import Outcome, run_probe
from exporter.unforeseen import Where
from exporter.verdict import Failure, Reason, Stage, Verdict

__all__ = ["Engine"]

MakeProbe = Callable[[Wanted, SharedClients], Probe[Any]]
MakeSource = Callable[[Instances, SharedClients], Source]

SWEEP = 1.0, 5.0
"""Least and most seconds between looks for targets that have become stale: a tenth of what the most pressing is allowed."""

CALM_AFTER = 900.0
"""Seconds since anything was down, after which what a cache hits is its own doing again: as RedisHitRateLow has it."""

_WORTH_SPARING = 0.02
"""Share by which the targets that were attempted must have grown."""


class Engine:
    """All services, their targets and their schedule.

    Args:
        store: Where everything is published.
        shared: What probes share.
        limits: How many attempts may be under way.
        make_probe: Builds the probe of a target; blocking.
        make_source: Makes the source of a service's instances.

    Attributes:
        changes: Counts the changes of verdicts, reasons, failed parts and diagnoses: what was made before is out of date.
    """

    def __init__(
        self,
        store: Store,
        shared: SharedClients,
        limits: Limits,
        *,
        make_probe: MakeProbe = build,
        make_source: MakeSource = source_of,
    ) -> None:
        self.lag = LoopLag()
        self.defects = Defects(store)
        self._make_probe: Callable[[Wanted], Probe[Any]] = lambda wanted: make_probe(wanted, shared)
        self._descriptors = shared.http.descriptors
        self._slots = Slots(*self._bounds(limits))
        self._scheduler = Scheduler(self._slots, self._run_failed)
        self._discovery = Discovery(lambda settings: make_source(settings, shared), self._found, self.defects)
        self._kept: dict[Key, History] = {}
        handed = Engineering(store, self.defects, self.lag, self._calm, self._kept)
        self._reconciler = Reconciler(
            self._make_probe, self._scheduler, handed, self._discovery, self._changed, self._completed
        )
        self._diagnostician = Diagnostician(
            lambda: self._reconciler.services, self._scheduler.hasten, self.defects, self._note_change
        )
        self._asked = Asked()
        self._spared = 0
        self._troubled_at = -inf
        self.changes = 0

    def _bounds(self, limits: Limits) -> tuple[int, int]:
        """Bound the attempts under way by the descriptors too: each takes one, and a few take a second."""
        return min(limits.max_in_flight, max(1, self._descriptors.usable * 3 // 4)), limits.max_in_flight_per_host

    # Facts in.

    async def check(self, config: Config) -> None:
        """Find out whether a configuration can be put to use; nothing is changed.

        Raises:
            ConfigError: It cannot.
        """
        await self._reconciler.check(config)

    def configure(self, config: Config) -> None:
        """Put a configuration to use; `settled` tells when it is. Targets keep what is believed of them."""
        self._slots.resize(*self._bounds(config.limits))
        self._reconciler.configure(config)
        self._diagnostician.configure(config)

    def own(self, ownership: Ownership, first_within: float = FIRST_WITHIN) -> None:
        """Set which services are this exporter's; see `Reconciler.own`."""
        self._reconciler.own(ownership, first_within)

    async def settled(self) -> None:
        """Wait until every fact that is known has been brought about."""
        await self._reconciler.settled()

    def restore(self, kept: Mapping[Key, History]) -> None:
        """Give targets and services what was remembered of them. It is asked for as they are made: before `configure`."""
        self._kept.update(kept)

    async def dump(self) -> list[tuple[Key, tuple[list[tuple[int, bytes, bytes]], list[Failed]]]]:
        """Return what is remembered of all targets and services, to be kept in a file."""
        slices, found = TimeSlices(), []
        for service in list(self._reconciler.services.values()):
            found.append(((service.name, "", ""), service.history.dump()))
            for state in list(service.targets.values()):
                found.append((state.key, state.history.dump()))
                await slices.turn()
        week, now = WINDOWS[-1], time.time()  # of what is not there, or not found yet, no more is known than was
        return found + [(key, each.dump()) for key, each in self._kept.items() if each.sum(week, now).covered]

    # Work.

    def tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Return what must run for ever, by name."""
        return {
            "loop lag": self.lag.run(),
            "scheduler": self._scheduler.run(),
            "reconciler": self._reconciler.run(),
            "staleness sweep": self._sweep(),
            "diagnosis": self._diagnostician.run(),
        }

    async def drain(self, timeout: float) -> int:
        """Start nothing more and let runs end; return how many had to be cancelled."""
        return await self._scheduler.drain(timeout)

    async def close(self) -> None:
        """End every source and close every probe."""
        await self._discovery.close()
        await self._reconciler.close()

    def _found(self, service: str) -> None:
        self._reconciler.found(service)

    def _changed(self, service: ServiceState) -> None:
        self._note_change()
        try:
            self._diagnostician.changed(service)
        except Exception as error:  # the verdict stands, whatever is made of it
            self.defects.note(Where.DIAGNOSIS, f"a change of {service.name} could not be taken in", error)

    def _completed(self, service: ServiceState, state: TargetState) -> None:
        try:
            self._diagnostician.completed(service, state)
        except Exception as error:
            self.defects.note(Where.DIAGNOSIS, f"an attempt on {state.target} could not be taken in", error)

    def _calm(self) -> bool:
        """Tell whether nothing has been down for a while."""
        now = asyncio.get_running_loop().time()
        if self._diagnostician.incidents:
            self._troubled_at = now
        return now - self._troubled_at >= CALM_AFTER

    def _note_change(self) -> None:
        self.changes += 1

    def _run_failed(self, key: Hashable, error: Exception) -> None:
        self.defects.note(Where.TARGET, f"a run of {key} raised", error)

    async def _sweep(self) -> None:
        """Withdraw what has become stale, for ever."""
        least, most = SWEEP
        pause = least
        while True:
            await asyncio.sleep(pause)
            pause = max(least, min(most, await self._sweep_once() / 10))

    async def _sweep_once(self) -> float:
        """Do it, and return the shortest time, in seconds, that a target may go on without a completed attempt."""
        loop, slices, shortest = asyncio.get_running_loop(), TimeSlices(), inf
        states = list(self._targets())
        self._spare_the_collector(sum(state.attempted for state in states))
        for state in states:
            shortest = min(shortest, state.stale_after)
            try:
                state.sweep(loop.time())
            except Exception as error:
                self.defects.note(Where.TARGET, f"{state.target} could not be swept", error)
            await slices.turn()
        return shortest

    def _spare_the_collector(self, attempted: int) -> None:
        """Take what new targets have come to hold out of the garbage collector's sight: walking it would hold the loop up.

        Only while targets are added: what is garbage in that moment stays, and so may not be frozen again and again.
        """
        if attempted > self._spared * (1 + _WORTH_SPARING):
            gc.freeze()
            self._spared = attempted

    # What is asked.

    @property
    def unprobed(self) -> int:
        """Targets that have not completed an attempt, and services that have none yet or whose source has not spoken."""
        services = self._reconciler.services.values()
        silent = sum(service.discovered is None for service in services)
        return self._reconciler.behind + silent + sum(not state.attempted for state in self._targets())

    def find(self, service: str, probe: str, target: str | None = None) -> list[TargetState]:
        """Return the targets of a probe of a service."""
        known = self._reconciler.services.get(service)
        states = known.targets.values() if known is not None else ()
        return [state for state in states if state.target.probe == probe and target in (None, state.target.name)]

    def known(self) -> list[tuple[str, str]]:
        """List the configured pairs of service and probe."""
        return sorted({(state.target.service, state.target.probe) for state in self._targets()})

    async def run_on_demand(self, state: TargetState) -> bytes:
        """Probe a target now, and return its exposition. It changes nothing: the probe is one of its own."""
        outcome = await self.attempt_on_demand(state)
        try:
            return state.exposition(outcome)
        except Exception as error:
            self.defects.note(Where.TARGET, f"an attempt on demand on {state.target} could not be told", error)
            failure = Failure(Stage.INTERNAL, Reason.INTERNAL, "a defect of the exporter; its log says more")
            return state.exposition(Outcome(failure.verdict, failure, outcome.finished_at, outcome.duration))

    async def attempt_on_demand(self, state: TargetState) -> Outcome:
        """Probe a target now, and return what it came to; likewise. It waits for its turn: see `Asked`."""
        return await self._asked.attempt(state.key, partial(self._attempt_on_demand, state))

    async def _attempt_on_demand(self, state: TargetState) -> Outcome:
        wanted = Wanted(state.target, state.settings)
        probe = await asyncio.to_thread(self._make_probe, wanted)
        try:
            return await run_probe(probe, state.timeout, self.lag.since, partial(self.defects.note, Where.PROBE))
        finally:
            await probe.close()

    def prober(self) -> ProberView:
        """Return whether what is seen may be the prober's own doing."""
        descriptors = self._descriptors
        return prober_view(self._reconciler.services.values(), self.lag.recent(), descriptors.kept, descriptors.limit)

    @property
    def names(self) -> list[str]:
        """Names of the services and dependencies, services first, each in the order of the configuration."""
        services = self._reconciler.services
        return sorted(services, key=lambda name: not services[name].is_service)

    def kinds(self, name: str | None = None) -> list[str]:
        """Return the kinds of the probes that a service has, or that there are."""
        services = self._reconciler.services
        some = services.values() if name is None else filter(None, (services.get(name),))
        return sorted({kind for service in some for kind in service.rollup.probes})

    async def views(self) -> list[ServiceSummary]:
        """Return what people see first of all services. It costs what is shown, not what there is."""
        due, slices, found = self._due(), TimeSlices(), []
        for name in self.names:
            service = self._reconciler.services.get(name)
            if service is not None:  # it may go while others have their turn
                found.append(service_summary(service, due, self._suspected(name)))
            await slices.turn()
        return found

    async def view(self, name: str, most: int | None = None) -> ServiceView | None:
        """Return what people see of one service, or None where there is none of that name.

        Args:
            name: Of the service or dependency.
            most: How many of its targets are wanted, the worst; all where it is not said.
        """
        service = self._reconciler.services.get(name)
        if service is None:
            return None
        slices, targets = TimeSlices(), []
        for target in self._views_of(service, most):
            targets.append(target)
            await slices.turn()
        return service_view(service, self._due(), self._suspected(name), targets)

    def target_views(self, service: str | None, probe: str | None, verdict: Verdict | None) -> Iterator[TargetView]:
        """Make the views of the targets that are asked for, one by one: whoever takes them decides how many at a time."""
        for name in self.names:
            state = self._reconciler.services.get(name)
            if state is not None and service in (None, name):
                yield from self._views_of(state, None, probe, verdict)

    def neighbours(self, name: str) -> Neighbours:
        """Return what a service needs, what needs it, and how each is."""
        services = self._reconciler.services
        needs = services[name].depends_on if name in services else ()
        return Neighbours(
            {other: services[other].state if other in services else State.UNKNOWN for other in needs},
            {other.name: other.state for other in services.values() if name in other.depends_on},
        )

    def incident_views(self) -> list[IncidentView]:
        """Return every incident as people see it, the oldest first."""
        known, diagnoses = self._reconciler.services, self.diagnoses()
        since = {name: service.since for name, service in known.items()}
        settings = {name: service.settings for name, service in known.items()}
        found = [incident_view(name, those, since, diagnoses, settings) for name, those in self.incidents().items()]
        return sorted(found, key=lambda each: (each.since, each.name))

    def _suspected(self, name: str) -> Suspected:
        return Suspected(self.incident(name), self.diagnoses().get(name, ()))

    def diagnoses(self) -> Mapping[str, tuple[Diagnosis, ...]]:
        """Return what is wrong with each service or dependency that is in trouble, and why; of the others nothing."""
        return self._diagnostician.diagnoses

    def incident(self, name: str) -> str | None:
        """Return the incident that a service's page belongs to; None while it is not down, or none is chosen yet."""
        return self._diagnostician.incidents.get(name)

    def incidents(self) -> Mapping[str, tuple[str, ...]]:
        """Return the services and dependencies of each incident, both sorted by name."""
        found: dict[str, list[str]] = {}
        for name, incident in sorted(self._diagnostician.incidents.items()):
            found.setdefault(incident, []).append(name)
        return {incident: tuple(found[incident]) for incident in sorted(found)}

    def _views_of(
        self, service: ServiceState, most: int | None, probe: str | None = None, verdict: Verdict | None = None
    ) -> Iterator[TargetView]:
        due = self._due()
        for key in service.rollup.worst(most):
            state = service.targets.get(key)
            if state is None or probe not in (None, state.target.probe) or verdict not in (None, state.standing.verdict):
                continue
            yield target_view(state, due(key))

    def _due(self) -> Due:
        offset = time.time() - asyncio.get_running_loop().time()

        def due(key: Key) -> float | None:
            next_run = self._scheduler.next_run(key)
            return next_run + offset if next_run is not None else None

        return due

    def _targets(self) -> Iterator[TargetState]:
        for service in self._reconciler.services.values():
            yield from service.targets.values()

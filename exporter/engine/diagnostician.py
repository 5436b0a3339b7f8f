"""The diagnosis at work: what is suspected of each service, and to which incident its page belongs, as things change.

It is told of every change and of every attempt that has ended, and decides by what it keeps (`watched.py`) whether anything
is to be asked at once, and when to look anew. A round takes a frozen snapshot, has it examined, and publishes what has
changed, all of it in slices. While nothing is wrong there is no round.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf

from exporter.config.models import Config
from exporter.diagnosis.diagnose import Findings, examine
from exporter.diagnosis.graph import Surroundings
from exporter.diagnosis.incidents import Chosen, Condition, due, incidents_of, step
from exporter.diagnosis.model import Diagnosis, Member, Snapshot
from exporter.engine.defects import Defects
from exporter.engine.rollup import Key
from exporter.engine.service import ServiceState
from exporter.engine.target import TargetState
from exporter.engine.time_slices import TimeSlices
from exporter.engine.watched import Watched
from exporter.unforeseen import Where
from exporter.verdict import Verdict

__all__ = ["Diagnostician"]

SETTLE = 0.1
"""Seconds that a round waits for more to change."""

FACTS_SETTLE = 1.0
"""The same where only facts may have changed, and nothing waits for them."""

AGAIN = 1.0
"""Seconds until the next round after one that failed."""

_NOW = 0.001
"""Seconds that are not waited for."""

_LONG = 0.01
"""Seconds from which on a round is followed by a pause."""

_PAUSE = 4.0
"""How many times as long as a long round the pause after it is: in an outage of thousands something always changes."""


class Diagnostician:
    """Knows what is suspected.

    Args:
        services: Returns the services and dependencies by name, as they are now.
        hasten: Has a target probed at once.
        defects: Where unexpected exceptions go.
        published: Called when what is suspected, or an incident, has changed.

    Attributes:
        diagnoses: What is wrong with each service or dependency that is in trouble, and why; of others nothing.
        incidents: The incident of each service or dependency that is down, once it is chosen.
    """

    def __init__(
        self,
        services: Callable[[], Mapping[str, ServiceState]],
        hasten: Callable[[Key], None],
        defects: Defects,
        published: Callable[[], None],
    ) -> None:
        self.diagnoses: Mapping[str, tuple[Diagnosis, ...]] = {}
        self.incidents: Mapping[str, str] = {}
        self._services = services
        self._hasten = hasten
        self._defects = defects
        self._published = published
        self._around = Surroundings({})
        self._watched: dict[str, Watched] = {}
        self._chosen: dict[str, Chosen] = {}
        self._concerned: frozenset[str] = frozenset()
        self._undecided = False
        self._asked: set[str] = set()
        self._due = inf
        self._wake = asyncio.Event()

    # What it is told.

    def configure(self, config: Config) -> None:
        """Take in what needs what."""
        self._around = Surroundings({name: settings.needs for name, settings in config.everything.items()})
        self._look(SETTLE)

    def changed(self, service: ServiceState) -> None:
        """Take in that the verdict or the reasons of a service may have changed."""
        now = asyncio.get_running_loop().time()
        watched = self._watch(service, now)
        if watched.changed(now):
            self._ask_witnesses(watched)
            self._ask(self._around.needs(service.name))  # a second time: what has failed once is confirmed, or taken back
            self._ask(self._around.needed_by(service.name))
        self._look(SETTLE)

    def completed(self, service: ServiceState, state: TargetState) -> None:
        """Take in that an attempt on a target of a service has ended."""
        now = asyncio.get_running_loop().time()
        watched = self._watch(service, now)
        if watched.completed(state, now):
            self._ask(self._around.needs(service.name))
            self._ask_witnesses(watched)
        if self._undecided:
            self._look(SETTLE)
        elif watched.troubled or service.name in self._concerned:
            self._look(FACTS_SETTLE)

    def _watch(self, service: ServiceState, now: float) -> Watched:
        watched = self._watched.get(service.name)
        if watched is None or watched.service is not service:
            watched = self._watched[service.name] = Watched(service, now)
        return watched

    def _ask_witnesses(self, watched: Watched) -> None:
        """Have what tells why something fails probed at once, though it decides nothing."""
        for key in watched.witnesses():
            self._hasten(key)

    def _ask(self, names: Iterable[str]) -> None:
        """Have a few targets of each of these probed at once, unless it is known to be down."""
        for name in names:
            watched = self._watched.get(name)
            if watched is not None and watched.verdict is not Verdict.DOWN:
                for key in watched.to_ask():
                    self._hasten(key)

    # Its work.

    async def run(self) -> None:
        """Publish what is suspected whenever that has changed, for ever."""
        while True:
            await self._until_due()
            began = time.perf_counter()
            try:
                await self._round()
            except Exception as error:
                self._defects.note(Where.DIAGNOSIS, "the likely causes could not be worked out", error)
                await self._withdraw_recovered()
                self._look(AGAIN)
            took = time.perf_counter() - began
            if took > _LONG:
                await asyncio.sleep(_PAUSE * took)

    async def _withdraw_recovered(self) -> None:
        """Take back what was said of what is not down any more: a round that fails must leave nothing frozen."""
        down = {name for name, watched in self._watched.items() if watched.verdict is Verdict.DOWN}
        diagnoses = {name: each for name, each in self.diagnoses.items() if name in down}
        incidents = {name: each for name, each in self.incidents.items() if name in down}
        try:
            await self._publish(diagnoses, incidents, TimeSlices())
        except Exception as error:
            self._defects.note(Where.DIAGNOSIS, "what is no longer true of likely causes could not be withdrawn", error)

    def _look(self, within: float) -> None:
        at = asyncio.get_running_loop().time() + within
        if at < self._due:
            self._due = at
            self._wake.set()

    async def _until_due(self) -> None:
        loop = asyncio.get_running_loop()
        while (left := self._due - loop.time()) > _NOW:
            self._wake.clear()
            alarm = loop.call_later(left, self._wake.set) if left < inf else None
            try:
                await self._wake.wait()
            finally:
                if alarm is not None:
                    alarm.cancel()
        self._due = inf

    async def _round(self) -> None:
        services, now = self._services(), asyncio.get_running_loop().time()
        self._watched = {name: each for name, each in self._watched.items() if services.get(name) is each.service}
        troubled = [name for name, watched in self._watched.items() if watched.troubled]
        if not (troubled or self.diagnoses or self._chosen):
            self._concerned = frozenset()
            return
        slices = TimeSlices()
        wanted = {name for each in troubled for name in (each, *self._watched[each].service.depends_on)}
        members: dict[str, Member] = {}
        conditions: dict[str, Condition] = {}
        for name, watched in list(self._watched.items()):  # both at the same moment: what is down there is down here
            members[name] = watched.member(now, facts=name in wanted)
            conditions[name] = watched.condition()
            await slices.turn()
        findings = await self._examined(Snapshot(time.time(), members), slices)
        now = asyncio.get_running_loop().time()
        peers = self._peers(findings.alone, conditions)
        self._chosen = step(now, self._chosen, conditions, findings.roots, self._around, peers, findings.words)
        self._undecided = any(each.verdict is Verdict.DOWN and name not in self._chosen for name, each in conditions.items())
        self._concerned = frozenset(wanted)
        await self._publish(findings.diagnoses, incidents_of(self._chosen, conditions), slices)
        at = due(self._chosen, conditions)
        if at is not None:
            self._look(max(SETTLE, at - asyncio.get_running_loop().time()))

    def _peers(self, alone: frozenset[str], conditions: Mapping[str, Condition]) -> dict[str, frozenset[str]]:
        """Ask those at once that may say the same as a service that blames something alone, and return them."""
        new = {name for name in alone if name not in self._chosen}
        self._asked &= new
        if not new:
            return {}
        able = frozenset(
            name for name, each in self._watched.items() if name in conditions and "actuator" in each.service.deciding
        )
        if new - self._asked:
            self._asked |= new
            self._ask(able - new)
        return {name: able - {name} for name in new}

    async def _examined(self, snapshot: Snapshot, slices: TimeSlices) -> Findings:
        steps = examine(snapshot)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                findings: Findings = end.value
                return findings
            await slices.turn()

    async def _publish(
        self, diagnoses: Mapping[str, tuple[Diagnosis, ...]], incidents: Mapping[str, str], slices: TimeSlices
    ) -> None:
        changed = self.diagnoses != diagnoses or self.incidents != incidents
        before = {*self.diagnoses, *self.incidents}
        self.diagnoses, self.incidents = diagnoses, incidents
        for name, watched in self._named({*before, *diagnoses, *incidents}):
            watched.service.publish_diagnosis(diagnoses.get(name, ()), incidents.get(name))
            await slices.turn()
        if changed:
            self._published()

    def _named(self, names: set[str]) -> Iterator[tuple[str, Watched]]:
        return iter([(name, watched) for name, watched in self._watched.items() if name in names])

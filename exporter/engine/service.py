"""A service or dependency at run time: its targets, counted as they change, and the verdict that they add up to."""

from __future__ import annotations

import time
from collections import Counter
from typing import TypeVar

from exporter.config.floor import needed
from exporter.config.models import MemberSettings, ServiceSettings
from exporter.config.thresholds import THRESHOLDS
from exporter.diagnosis.model import Diagnosis
from exporter.discovery.source import Discovered
from exporter.engine.history import History
from exporter.engine.quorum import counting_kinds, deciding_kinds, service_verdict, worst
from exporter.engine.rollup import Key, Rollup, State, state_of
from exporter.engine.target import Standing, TargetState
from exporter.limits.model import Over
from exporter.limits.pool import Pool
from exporter.metrics import core as m
from exporter.metrics.store import LabelValues, Store
from exporter.verdict import Reason, Verdict

__all__ = ["Key", "ServiceState"]

T = TypeVar("T")


class ServiceState:
    """One service: what is believed of it costs the same to keep, whether it has one instance or thousands.

    Attributes:
        name: Its name.
        settings: Its configuration as it is now.
        discovered: Its instances; None while its source has not spoken yet.
        targets: Its targets by key. Only the reconciler adds and removes.
        current: Whether they are those that configuration and instances ask for; None before they were brought about.
        rollup: The same, sorted by how they are.
        since: When its verdict last changed, Unix seconds.
        history: Its verdict over time, as often as one of its targets is probed that decide.
        told: Its verdict as it was published last.
        deciding: The kinds of probe that decide it.
        limits: Its thresholds, of those that its probes have a use for.

    Args:
        name: Its name.
        settings: Its configuration.
        store: Where to publish; kept as where it is published at present.
    """

    def __init__(self, name: str, settings: MemberSettings, store: Store) -> None:
        self.name = name
        self.store = store
        self.settings = settings
        self.discovered: Discovered | None = None
        self.targets: dict[Key, TargetState] = {}
        self.current: bool | None = None
        self.rollup = Rollup()
        self.since = time.time()
        self.history = History()
        self.told = Verdict.UNKNOWN
        self.deciding = deciding_kinds(settings)
        self.limits = settings.limits
        self._pool = Pool()
        self._counting = counting_kinds(settings)
        self._diagnoses: tuple[Diagnosis, ...] = ()
        self._incident: str | None = None
        self._standings: dict[Key, Standing] = {}
        self._tallies: dict[str, Counter[Verdict]] = {}
        self._doubted: dict[Key, Verdict] = {}
        self._doubts: dict[str, Counter[Verdict]] = {}
        self._reasons: dict[Verdict, Counter[Reason]] = {Verdict.DOWN: Counter(), Verdict.UNKNOWN: Counter()}
        self._by_instance: dict[str, dict[str, Verdict]] = {}
        self._instances: Counter[Verdict] = Counter()
        self._owner = store.owner(self._labels)
        self._publish_limits()

    @property
    def is_service(self) -> bool:
        """Whether it is a service of the fleet, and not a dependency of it."""
        return isinstance(self.settings, ServiceSettings)

    @property
    def depends_on(self) -> tuple[str, ...]:
        """What it needs."""
        return self.settings.needs

    @property
    def desired(self) -> int:
        """How many instances are wanted."""
        return self.discovered.desired if self.discovered is not None else 0

    @property
    def min_ready(self) -> int:
        """How many instances must be up."""
        return needed(self.settings.min_ready, self.desired)

    @property
    def verdict(self) -> Verdict:
        """What its targets add up to."""
        return (
            service_verdict(self.settings, self._tallies, complete=self._complete, desired=self.desired) or Verdict.UNKNOWN
        )

    def doubts(self, key: Key) -> bool:
        """Whether a target is in doubt."""
        return key in self._doubted

    def doubt(self, key: Key, *, doubted: bool) -> None:
        """Take in whether a target, of which something else is believed, may be down. What is removed is forgotten."""
        standing = self._standings.get(key) if doubted else None
        self._count_doubt(key, standing.verdict if standing is not None else None)

    def settle_doubts(self) -> None:
        """Have no target in doubt."""
        self._doubted.clear()
        self._doubts.clear()

    @property
    def verdict_in_doubt(self) -> Verdict:
        """What the verdict would be, were the targets down that are in doubt. It costs the same however many they are."""
        tallies = dict(self._tallies)
        for kind, doubts in self._doubts.items():
            tally = Counter(tallies.get(kind, {}))
            tally.subtract(doubts)
            tally[Verdict.DOWN] += doubts.total()
            tallies[kind] = tally
        return service_verdict(self.settings, tallies, complete=self._complete, desired=self.desired) or Verdict.UNKNOWN

    @property
    def state(self) -> State:
        """How it is, for people: up with anything wrong is degraded."""
        return state_of(self.verdict, troubled=self.rollup.troubled or bool(self.over))

    @property
    def over(self) -> tuple[Over, ...]:
        """What of it as a whole is over a limit; `TargetState.over` has what of a target is."""
        return self._pool.over

    @property
    def instances(self) -> dict[str, int]:
        """Its instances by verdict, each by the worst of the probes that decide; what covers the whole is none."""
        return {verdict.value: self._instances[verdict] for verdict in Verdict}

    @property
    def reasons_down(self) -> dict[Reason, int]:
        """Why its targets are down that decide, and how many; that there is no instance, where there is none."""
        return dict(self._reasons[Verdict.DOWN]) or {Reason.NO_INSTANCES: 1}

    @property
    def reasons_unknown(self) -> dict[Reason, int]:
        """Why its targets are unknown that decide, and how many."""
        return dict(self._reasons[Verdict.UNKNOWN])

    @property
    def unknown_reason(self) -> Reason:
        """Why it cannot be told how it is: its instances were never known, why most of its targets are unknown, or why it is
        not known any more which instances there are, or that not all can be probed.
        """
        failure = self.discovered.failure if self.discovered is not None else None
        if self.discovered is None or (failure is not None and not self.targets):
            return Reason.NOT_DISCOVERED
        reasons = self._reasons[Verdict.UNKNOWN]
        otherwise = failure.reason if failure is not None else Reason.NOT_YET_PROBED
        if self.current is False:
            otherwise = Reason.NOT_BUILT
        return max(sorted(reasons), key=reasons.__getitem__, default=otherwise)

    def configure(self, settings: MemberSettings) -> None:
        """Take in other settings."""
        before, self.settings = self.settings, settings
        deciding = deciding_kinds(settings)
        if deciding != self.deciding:
            self.deciding, self._counting = deciding, counting_kinds(settings)
            self._recount()
        if before.labels != settings.labels:
            self._owner.relabel(self._labels)
        self.limits = settings.limits
        for state in self.targets.values():
            state.thresholds = self.limits
        self._publish_limits()

    def move(self, store: Store) -> None:
        """Publish in another store from now on, with all targets."""
        self.store = store
        self._owner.move(store)
        for state in self.targets.values():
            state.move(store)

    def add(self, state: TargetState) -> None:
        """Take in a target, and count it."""
        self.targets[state.key] = state
        state.thresholds = self.limits
        self.changed(state)

    def remove(self, key: Key) -> TargetState:
        """Let go of a target, and count it no more."""
        self._count(key, None)
        self.rollup.remove(key)
        self._pool.put(key, {})
        return self.targets.pop(key)

    def changed(self, state: TargetState) -> None:
        """Take in that the standing of a target, or the number of its failed parts, has changed."""
        if self.targets.get(state.key) is state:
            self._count(state.key, state.standing)
            self.rollup.put(state.key, state.standing, state.failed_parts, len(state.over))

    def completed(self, state: TargetState) -> None:
        """Take in that an attempt on a target has ended."""
        if state.last is not None and self.targets.get(state.key) is state:
            self.rollup.completed(state.key, state.last.recent.duration)
            if not state.last.recent.recheck and state.key[1] in self.deciding:
                self.history.count(state.last.recent.finished_at, self.told, state.last.recent.duration)
            self._pool.put(state.key, state.pooled)
            self._pool.judge(state.last.recent.finished_at, self.limits)

    def publish(self) -> Verdict:
        """Publish the verdict, and what it stands on; return it."""
        verdict, owner = self.verdict, self._owner
        if verdict is not self.told:
            self.told, self.since = verdict, time.time()
        known = verdict is not Verdict.UNKNOWN
        owner.put(m.SERVICE_SINCE, {(): self.since})
        owner.put(m.SERVICE_UP, {(): float(verdict is Verdict.UP)} if known else {})
        owner.put(m.SERVICE_UNKNOWN, {} if known else {(self.unknown_reason.value,): 1.0})
        owner.put(m.SERVICE_INSTANCES, {(name,): float(count) for name, count in self.instances.items()})
        if verdict is not Verdict.DOWN:
            self._publish_incident(None)
        return verdict

    def publish_current(self, current: bool) -> None:
        """Publish whether its targets are those that are asked for."""
        self._owner.put(m.SERVICE_CURRENT, {(): float(current)})

    def publish_discovery(self, last_success: float | None) -> None:
        """Publish how its source does.

        Args:
            last_success: Unix time of its last answer.
        """
        found = self.discovered
        self._owner.put(m.DISCOVERY_SUCCESS, {(): float(found.complete)} if found is not None else {})
        self._owner.put(m.DISCOVERY_TIME, {(): last_success} if last_success is not None else {})
        self._owner.put(m.DISCOVERY_INSTANCES, {(): float(len(found.instances))} if found is not None else {})

    def publish_diagnosis(self, diagnoses: tuple[Diagnosis, ...], incident: str | None) -> None:
        """Publish what is suspected, what speaks for it, and the incident; what is not there any more is withdrawn."""
        self._publish_incident(incident if self.told is Verdict.DOWN else None)
        if diagnoses == self._diagnoses:
            return
        self._diagnoses = diagnoses
        suspected: dict[LabelValues, float] = {}
        evidence: dict[LabelValues, float] = {}
        lagging: dict[LabelValues, float] = {}
        for diagnosis in diagnoses:
            for each in diagnosis.causes:
                if diagnosis.group:
                    lagging[diagnosis.group, each.cause.name] = 1.0
                    continue
                suspected[each.cause.name, each.dependency] = 1.0
                for seen in each.evidence:
                    evidence[each.cause.name, each.dependency, seen.text] = seen.value
        self._owner.put(m.SUSPECTED_CAUSE, suspected)
        self._owner.put(m.CAUSE_EVIDENCE, evidence)
        self._owner.put(m.LAG_CAUSE, lagging)

    def _publish_incident(self, incident: str | None) -> None:
        if incident != self._incident:
            self._incident = incident
            self._owner.put(m.INCIDENT, {(incident,): 1.0} if incident is not None else {})

    def withdraw(self) -> None:
        """Withdraw the verdict: when it could not be published."""
        for family in (m.SERVICE_UP, m.SERVICE_SINCE, m.SERVICE_UNKNOWN, m.SERVICE_INSTANCES):
            self._owner.drop(family)
        self._publish_incident(None)

    def close(self) -> None:
        """Withdraw its series."""
        self._owner.close()

    def _publish_limits(self) -> None:
        limits = self.limits
        for name, (family, _) in THRESHOLDS.items():
            self._owner.put(family, {(): limits[name]} if name in limits else {})

    @property
    def _complete(self) -> bool:
        return self.current is True and self.discovered is not None and self.discovered.complete

    @property
    def _labels(self) -> dict[str, str]:
        return {"service": self.name, **self.settings.labels}

    def _recount(self) -> None:
        for key in list(self._standings):
            self._count(key, None)
        for state in self.targets.values():
            self._count(state.key, state.standing)

    def _count(self, key: Key, now: Standing | None) -> None:
        """Replace what a target counted for."""
        before = self._standings.pop(key, None)
        _, kind, name = key
        if before is not None:
            _take(self._tallies[kind], before.verdict)
            if kind in self.deciding and before.reason is not None and before.verdict in self._reasons:
                _take(self._reasons[before.verdict], before.reason)
        if now is not None:
            self._standings[key] = now
            self._tallies.setdefault(kind, Counter())[now.verdict] += 1
            if kind in self.deciding and now.reason is not None and now.verdict in self._reasons:
                self._reasons[now.verdict][now.reason] += 1
        if key in self._doubted:
            self._count_doubt(key, now.verdict if now is not None else None)
        if kind in self._counting or name in self._by_instance:
            self._count_instance(kind, name, now.verdict if now is not None and kind in self._counting else None)

    def _count_doubt(self, key: Key, now: Verdict | None) -> None:
        before = self._doubted.pop(key, None)
        if before is not None:
            _take(self._doubts[key[1]], before)
        if now is not None:
            self._doubted[key] = now
            self._doubts.setdefault(key[1], Counter())[now] += 1

    def _count_instance(self, kind: str, name: str, verdict: Verdict | None) -> None:
        kinds = self._by_instance.setdefault(name, {})
        if kinds:
            self._instances[worst(kinds.values())] -= 1
        if verdict is None:
            kinds.pop(kind, None)
        else:
            kinds[kind] = verdict
        if kinds:
            self._instances[worst(kinds.values())] += 1
        else:
            del self._by_instance[name]


def _take(counter: Counter[T], item: T) -> None:
    counter[item] -= 1
    if not counter[item]:
        del counter[item]

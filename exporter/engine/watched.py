"""What the diagnosis keeps of one service between its rounds: what it cannot read from the service as it is now."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from math import inf

from exporter.diagnosis.facts import FACTS
from exporter.diagnosis.incidents import RECOVERED_FOR, Condition
from exporter.diagnosis.model import Member, Reading
from exporter.engine.rollup import Key
from exporter.engine.scheduler import HASTE_GAP
from exporter.engine.service import ServiceState
from exporter.engine.target import TargetState
from exporter.metrics.family import Family
from exporter.verdict import Verdict

__all__ = ["MOST_ASKED", "Watched"]

MOST_ASKED = 4
"""Targets of a service that are asked at once when something that has to do with it fails."""

SHOWN = 12
"""Targets of a service whose facts a diagnosis reads."""

RESTARTS_FOR = 600.0
"""Seconds that a restart speaks for another one."""

LEVELS_FOR = 300.0
"""Seconds that the heap and its like are remembered of a process that says nothing any more."""

_FRESH_LEVEL = 60.0
"""Seconds after which a lower level takes the place of a higher one."""

_REMEMBERED = ("heap_ratio", "gc_ratio")


class Watched:
    """One service or dependency as the diagnosis sees it.

    Attributes:
        service: It.
        verdict: Its verdict as it was published last.
        since: When that changed, loop time.
        troubled_at: When the attempt ended with which its present trouble began, loop time.
        endangered: So many attempts have failed that it would be down, were the targets called down.
        down_from: From when on it has been down, recoveries of less than `RECOVERED_FOR` not counted, loop time.
        well: When it was last well, from and until: up to the beginning of the last attempt that found it so, loop time.

    Args:
        service: It.
        now: Loop time.
    """

    def __init__(self, service: ServiceState, now: float) -> None:
        self.service = service
        self.verdict = Verdict.UNKNOWN
        self.since = now
        self.troubled_at = -inf
        self.endangered = False
        self.down_from = -inf
        self.well = (-inf, -inf)
        self._over: dict[Key, None] = {}
        self._levels: dict[str, tuple[float, float]] = {}
        self._counted: dict[Key, float] = {}
        self._restarts: deque[float] = deque(maxlen=100)
        self._member: tuple[Member, bool] | None = None

    @property
    def troubled(self) -> bool:
        """Whether there is anything to diagnose."""
        return self.verdict is Verdict.DOWN or bool(self._over)

    def changed(self, now: float) -> bool:
        """Take in that verdict or reasons may have changed; return whether it has come down."""
        self._member = None
        self.endangered = self.endangered and self._in_danger()  # what was in doubt may be gone
        verdict = self.service.told
        if verdict is self.verdict:
            return False
        self.verdict, self.since = verdict, now
        if verdict is Verdict.UP:
            self.well = (now, now)
        if verdict is not Verdict.DOWN:
            return False
        if not self.endangered:  # down at a stroke: its instances are gone, or one failure is enough
            self.troubled_at = now
        if self.down_from == -inf or self.well[1] - max(self.well[0], self.down_from) >= RECOVERED_FOR:
            self.down_from = now
        self.endangered = False
        self.service.settle_doubts()
        return True

    def completed(self, state: TargetState, now: float) -> bool:
        """Take in that an attempt on a target has ended; return whether the service may be coming down with it."""
        self._member = None
        self._take_levels(state, now)
        if state.key[1] not in self.service.deciding:
            return False
        doubted, believed = self.service.doubts(state.key), state.confirmed.believed
        failing = doubted if believed is Verdict.DOWN else state.confirmed.unsettled  # once it is down, that is told next
        if not failing and not doubted:
            if self.verdict is Verdict.UP and state.last is not None:
                self.well = (self.well[0], max(self.well[1], state.last.began))
            return False
        self.service.doubt(state.key, doubted=failing)
        before, self.endangered = self.endangered, self._in_danger()
        if self.endangered and not before and now - self.troubled_at >= HASTE_GAP:
            self.troubled_at = now
            return True
        return False

    def to_ask(self) -> list[Key]:
        """Return the targets that tell most of how it is."""
        return [key for kind in self.service.deciding for key in self.service.rollup.best(kind, self._share)]

    def witnesses(self) -> list[Key]:
        """Return the targets that tell why it fails and decide nothing: those of the service as a whole."""
        return [key for key in self._whole() if key[1] not in self.service.deciding]

    def condition(self) -> Condition:
        """Return what decides over its incident."""
        doubtful = self.endangered and self.verdict is not Verdict.DOWN
        return Condition(self.verdict, self.since, self.troubled_at, self._asked_at(), doubtful)

    def member(self, now: float, *, facts: bool) -> Member:
        """Return it as a diagnosis wants it.

        Args:
            now: Loop time.
            facts: Whether its facts are wanted.
        """
        if self._member is None or (facts and not self._member[1]):
            self._member = self._made(now, facts=facts), facts
        return self._member[0]

    def _made(self, now: float, *, facts: bool) -> Member:
        service = self.service
        self._over = {key: None for key in self._over if key in service.targets}
        down = self.verdict is Verdict.DOWN
        return Member(
            service.name,
            self.verdict,
            service.since,
            self.down_from,
            self.well,
            needs=service.depends_on,
            kinds=frozenset(service.settings.probe_settings),
            reasons=service.reasons_down if down else {},
            facts=self._facts() if facts else {},
            remembered=self._remembered(now) if facts else {},
            instances={Verdict(name): count for name, count in service.instances.items()},
            limits=service.limits,
        )

    def _facts(self) -> dict[Family, tuple[Reading, ...]]:
        """Read the facts of the targets that want to be seen: those over a threshold, and the worst."""
        service = self.service
        keys = dict.fromkeys([*self._whole(), *list(self._over)[: SHOWN // 2], *service.rollup.worst(SHOWN)])
        found: dict[Family, list[Reading]] = {}
        for key in list(keys)[:SHOWN]:
            state = service.targets.get(key)
            if state is None:
                continue
            for family, labels, value in state.facts_of(FACTS):
                named = dict(zip(family.labels, labels, strict=True))
                named["target"] = key[2]
                found.setdefault(family, []).append(Reading(named, value))
        return {family: tuple(readings) for family, readings in found.items()}

    def _whole(self) -> list[Key]:
        """Return the targets that cover the service as a whole, of which there are few, and which say most."""
        name = self.service.name
        return [key for kind in self.service.settings.probe_settings if (key := (name, kind, name)) in self.service.targets]

    def _remembered(self, now: float) -> dict[str, float]:
        found = {name: value for name, (value, at) in self._levels.items() if now - at <= LEVELS_FOR}
        restarts = sum(now - at <= RESTARTS_FOR for at in self._restarts)
        return found | ({"restarts": float(restarts)} if restarts else {})

    def _take_levels(self, state: TargetState, now: float) -> None:
        found = state.last.levels if state.last is not None else {}
        if found or self._over:
            self._take_threshold(state.key, found)
        for name in _REMEMBERED:
            value = found.get(name)
            if value is not None:
                before, at = self._levels.get(name, (-inf, -inf))
                if value >= before or now - at > _FRESH_LEVEL:
                    self._levels[name] = (value, now)
        restarts = found.get("restarts", 0.0)
        if restarts:
            if restarts > self._counted.get(state.key, 0.0):
                self._restarts.append(now)
            self._counted[state.key] = restarts
            if len(self._counted) > len(self.service.targets):
                self._counted = {key: each for key, each in self._counted.items() if key in self.service.targets}

    def _take_threshold(self, key: Key, found: Mapping[str, float]) -> None:
        thresholds = self.service.settings.thresholds
        over = (
            found.get("latency_p99", 0.0) > thresholds.latency_p99
            or found.get("consumer_lag", 0.0) > thresholds.consumer_lag
            or found.get("consumer_lag_seconds", 0.0) > thresholds.consumer_lag_seconds
            or found.get("lost_messages", 0.0) > 0
            or "idle_groups" in found
            or "stuck_groups" in found
            or "unguarded" in found
        )
        if over:
            self._over[key] = None
        else:
            self._over.pop(key, None)

    @property
    def _share(self) -> int:
        return max(1, MOST_ASKED // max(1, len(self.service.deciding)))

    def _in_danger(self) -> bool:
        return self.verdict is not Verdict.DOWN and self.service.verdict_in_doubt is Verdict.DOWN

    def _asked_at(self) -> float:
        """Return when the attempts began that tell most of how it is now; it has been asked by then."""
        rollup, times = self.service.rollup, []
        for kind in self.service.deciding:
            latest = rollup.latest(kind, self._share)
            if len(latest) < min(rollup.size(kind), self._share):
                return -inf
            times += [last.began for key in latest if (last := self.service.targets[key].last) is not None]
        return min(times, default=inf)

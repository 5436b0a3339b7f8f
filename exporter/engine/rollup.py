"""What the targets of a service add up to for people: how each is, which want to be seen first, how fast and how fresh they
are. It is kept as they change, so that reading it costs what is read, and not what there is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from enum import StrEnum
from itertools import islice

from exporter.engine.target import Standing
from exporter.verdict import Reason, Verdict

__all__ = ["Key", "Rollup", "State", "state_of"]

Key = tuple[str, str, str]
"""Service, kind of probe, name of the target."""


class State(StrEnum):
    """How something is, for people: a verdict, or up with something wrong. The heaviest first."""

    DOWN = "down"
    DEGRADED = "degraded"
    UNKNOWN = "unknown"
    UP = "up"


_STATES = {Verdict.DOWN: State.DOWN, Verdict.UNKNOWN: State.UNKNOWN, Verdict.UP: State.UP}
_TROUBLE = (State.DOWN, State.DEGRADED, State.UNKNOWN)
_PENDING = None
"""The group of targets that have not been probed yet: unknown, but nothing is wrong with them."""

_Group = State | None
_WORST_FIRST: tuple[_Group, ...] = (*_TROUBLE, _PENDING, State.UP)


def state_of(verdict: Verdict, *, troubled: bool) -> State:
    """Say how something is: up with something wrong is degraded."""
    return State.DEGRADED if verdict is Verdict.UP and troubled else _STATES[verdict]


class Rollup:
    """The targets of one service, sorted by how they are. All that changes it costs the same, however many there are.

    Attributes:
        failed_parts: Optional parts that failed, of targets that are up.
        over_limits: What is over a limit, of targets that are up.
    """

    def __init__(self) -> None:
        self.failed_parts = 0
        self.over_limits = 0
        self._kinds: dict[str, _Kind] = {}
        self._places: dict[Key, tuple[_Group, int, int]] = {}

    def put(self, key: Key, standing: Standing, failed_parts: int, over_limits: int = 0) -> None:
        """Take in a target, or that it has changed. Within a group, those that have been in it for longest come first."""
        group = _group(standing, failed_parts + over_limits)
        parts, over = (failed_parts, over_limits) if group is State.DEGRADED else (0, 0)
        before, parts_before, over_before = self._places.get(key, (group, 0, 0))
        kind = self._kinds.setdefault(key[1], _Kind())
        if before is not group:
            del kind.groups[before][key]
        kind.groups[group].setdefault(key)
        self.failed_parts += parts - parts_before
        self.over_limits += over - over_before
        self._places[key] = group, parts, over

    def completed(self, key: Key, seconds: float) -> None:
        """Take in that an attempt on a target has ended, and how long it took. Of a target that is none of its, nothing."""
        if key in self._places:
            self._kinds[key[1]].completed(key, seconds)

    def remove(self, key: Key) -> None:
        """Let go of a target."""
        group, parts, over = self._places.pop(key)
        self.failed_parts -= parts
        self.over_limits -= over
        kind = self._kinds[key[1]]
        del kind.groups[group][key]
        kind.forget(key)
        if not kind.size:
            del self._kinds[key[1]]

    @property
    def states(self) -> dict[str, int]:
        """How many targets are in which state; those that were not probed yet are unknown."""
        counts = {state: sum(len(kind.groups[state]) for kind in self._kinds.values()) for state in State}
        counts[State.UNKNOWN] += self.pending
        return {state.value: count for state, count in counts.items()}

    @property
    def pending(self) -> int:
        """How many targets have not been probed yet."""
        return sum(len(kind.groups[_PENDING]) for kind in self._kinds.values())

    @property
    def troubled(self) -> bool:
        """Whether anything is wrong with any target."""
        return any(kind.groups[state] for kind in self._kinds.values() for state in _TROUBLE)

    @property
    def probes(self) -> Mapping[str, State]:
        """How each kind of probe finds its targets; those that were not probed yet say nothing."""
        return {name: self._kinds[name].state for name in sorted(self._kinds)}

    def worst(self, most: int | None = None) -> list[Key]:
        """Return the targets that want most to be seen; all of them where no number is given."""
        return list(islice(self._worst_first(), most))

    def best(self, kind: str, most: int) -> list[Key]:
        """Return targets of a kind that nothing is known against, then the others: those of which there is most to learn."""
        found = self._kinds.get(kind)
        groups = (found.groups[group] for group in reversed(_WORST_FIRST)) if found is not None else ()
        return list(islice((key for group in groups for key in group), most))

    def latest(self, kind: str, most: int) -> list[Key]:
        """Return the targets of a kind whose last attempts ended last."""
        found = self._kinds.get(kind)
        return list(islice(reversed(found.durations), most)) if found is not None else []

    def size(self, kind: str) -> int:
        """How many targets of a kind there are."""
        return self._kinds[kind].size if kind in self._kinds else 0

    @property
    def slowest(self) -> float | None:
        """Seconds that the slowest of the last attempts took."""
        return max((kind.slowest for kind in self._kinds.values() if kind.durations), default=None)

    @property
    def stalest(self) -> list[Key]:
        """Of each kind of probe, the target whose last attempt ended longest ago: what is due next, usually."""
        return [next(iter(kind.durations)) for kind in self._kinds.values() if kind.durations]

    def _worst_first(self) -> Iterator[Key]:
        for group in _WORST_FIRST:
            for name in sorted(self._kinds):
                yield from self._kinds[name].groups[group]


class _Kind:
    """The targets of one kind of probe: their groups, and the durations of their last attempts, the earliest first."""

    def __init__(self) -> None:
        self.groups: dict[_Group, dict[Key, None]] = {group: {} for group in _WORST_FIRST}
        self.durations: OrderedDict[Key, float] = OrderedDict()
        self._slowest: float | None = None

    @property
    def size(self) -> int:
        return sum(map(len, self.groups.values()))

    @property
    def state(self) -> State:
        present = [state for state in State if self.groups[state]]
        worst = present[0] if present else State.UNKNOWN
        return State.DEGRADED if worst is not State.UP and State.UP in present else worst

    @property
    def slowest(self) -> float:
        """The longest duration; sought anew only after the slowest target itself has become faster, or is gone."""
        if self._slowest is None:
            self._slowest = max(self.durations.values())
        return self._slowest

    def completed(self, key: Key, seconds: float) -> None:
        self.forget(key)
        self.durations[key] = seconds
        if self._slowest is not None:
            self._slowest = max(self._slowest, seconds)

    def forget(self, key: Key) -> None:
        if self.durations.pop(key, None) == self._slowest:
            self._slowest = None


def _group(standing: Standing, troubles: int) -> _Group:
    if standing.reason is Reason.NOT_YET_PROBED:
        return _PENDING
    return state_of(standing.verdict, troubled=troubles > 0)

"""What the pages say of the fleet: its state in a sentence, what is wrong in order of weight, a row for each service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from exporter.engine.views import FleetView, ServiceView, TargetView
from exporter.verdict import Reason, Verdict
from exporter.web.charts import Segment, Strip, segments, strip
from exporter.web.format import listing

__all__ = ["Fault", "Link", "Part", "Row", "State", "Summary", "state_of_target", "summarise", "worst_first"]

_PIPS = 24


class State(StrEnum):
    """What people are shown: a verdict, or up with something wrong. The heaviest first."""

    DOWN = "down"
    DEGRADED = "degraded"
    UNKNOWN = "unknown"
    UP = "up"


_STATES = {Verdict.DOWN: State.DOWN, Verdict.UNKNOWN: State.UNKNOWN, Verdict.UP: State.UP}
_WEIGHT = {state: weight for weight, state in enumerate(State)}


@dataclass(frozen=True, slots=True)
class Link:
    """A service, a dependency or a kind of probe, and how it is."""

    name: str
    state: State


@dataclass(frozen=True, slots=True)
class Part:
    """An optional part of a target that did not work."""

    target: TargetView
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Fault:
    """A target that is not up."""

    target: TargetView
    state: State


@dataclass(frozen=True, slots=True)
class Row:
    """One service or dependency with all that is shown of it."""

    view: ServiceView
    state: State
    since: float | None
    duration: float | None
    last_run: float | None
    next_run: float | None
    probes: list[Link]
    pips: list[str]
    strip: Strip
    needs: list[Link]
    needed_by: list[Link]
    faults: list[Fault]
    parts: list[Part]
    pending: int

    @property
    def broken_needs(self) -> list[Link]:
        """What it needs that is not up."""
        return [link for link in self.needs if link.state in (State.DOWN, State.UNKNOWN)]

    @property
    def total(self) -> int:
        """Instances that are known."""
        return sum(self.view.instances.values())

    @property
    def waiting(self) -> bool:
        """Whether it is unknown only because its first attempts have not ended."""
        return self.state is State.UNKNOWN and not self.faults and self.pending > 0


@dataclass(frozen=True, slots=True)
class Summary:
    """The fleet, as the status page shows it."""

    state: State
    title: str
    counts: Mapping[str, int]
    segments: list[Segment]
    targets: int
    pending: int
    problems: list[Row]
    services: list[Row]
    dependencies: list[Row]


def summarise(fleet: FleetView) -> Summary:
    """Put the fleet into words and order."""
    rows = _rows(fleet)
    # What is shared comes first among equals: it may be why the others are down.
    ordered_rows = sorted(rows, key=lambda row: (_WEIGHT[row.state], row.view.kind == "service", row.view.name))
    counts = Counter(row.state for row in rows)
    ordered = [(state.value, counts.get(state, 0)) for state in (State.UP, State.DEGRADED, State.UNKNOWN, State.DOWN)]
    troubled = [row for row in ordered_rows if row.state is not State.UP and not row.waiting]
    pending = sum(row.pending for row in rows)
    return Summary(
        state=_overall(rows),
        title=_title(ordered_rows, pending),
        counts=dict(ordered),
        segments=segments(ordered),
        targets=sum(len(row.view.targets) for row in rows),
        pending=pending,
        problems=troubled,
        services=[row for row in rows if row.view.kind == "service"],
        dependencies=[row for row in rows if row.view.kind == "dependency"],
    )


def state_of_target(target: TargetView) -> State:
    """Say how a target is: up with a part that failed is degraded."""
    state = _STATES[target.verdict]
    return State.DEGRADED if state is State.UP and any(target.parts.values()) else state


def worst_first(targets: Iterable[TargetView]) -> list[TargetView]:
    """Order targets by how much they want to be seen."""
    return sorted(targets, key=lambda target: (_WEIGHT[state_of_target(target)], target.probe, target.target))


def _rows(fleet: FleetView) -> list[Row]:
    states = {service.name: _state(service) for service in fleet.services}
    needed_by: dict[str, list[Link]] = {}
    for service in fleet.services:
        for name in service.depends_on:
            needed_by.setdefault(name, []).append(Link(service.name, states[service.name]))
    return [_row(service, states, needed_by.get(service.name, [])) for service in fleet.services]


def _row(service: ServiceView, states: Mapping[str, State], needed_by: list[Link]) -> Row:
    targets = worst_first(service.targets)
    runs = [target.last_run for target in targets if target.last_run is not None]
    return Row(
        view=service,
        state=states[service.name],
        since=_since(service),
        duration=max((target.duration for target in targets if target.duration is not None), default=None),
        last_run=min(runs, default=None),
        next_run=min((target.next_run for target in targets if target.next_run is not None), default=None),
        probes=_probes(targets),
        pips=_pips(service.instances),
        strip=strip(next((target.recents for target in targets if target.recents), ())),
        needs=[Link(name, states.get(name, State.UNKNOWN)) for name in service.depends_on],
        needed_by=needed_by,
        faults=[Fault(target, _STATES[target.verdict]) for target in targets if _is_wrong(target)],
        parts=[
            Part(target, name, text)
            for target in targets
            if target.verdict is Verdict.UP
            for name, text in target.parts.items()
            if text
        ],
        pending=sum(target.reason == Reason.NOT_YET_PROBED for target in targets),
    )


def _probes(targets: Iterable[TargetView]) -> list[Link]:
    """Say of each kind of probe how it finds its targets; those that were not probed yet say nothing."""
    found: dict[str, set[State]] = {}
    for target in targets:
        states = found.setdefault(target.probe, set())
        if target.reason != Reason.NOT_YET_PROBED:
            states.add(state_of_target(target))
    return [Link(kind, _together(states)) for kind, states in sorted(found.items())]


def _together(states: set[State]) -> State:
    worst = min(states, key=_WEIGHT.__getitem__, default=State.UNKNOWN)
    return State.DEGRADED if worst is not State.UP and State.UP in states else worst


def _is_wrong(target: TargetView) -> bool:
    return target.verdict is not Verdict.UP and target.reason != Reason.NOT_YET_PROBED


def _state(service: ServiceView) -> State:
    state = _STATES[service.verdict]
    if state is State.UP and any(_is_wrong(target) or any(target.parts.values()) for target in service.targets):
        return State.DEGRADED
    return state


def _since(service: ServiceView) -> float | None:
    """Say since when: up since the first instance of these was, down since the last one was."""
    times = [t.confirmed_since for t in service.targets if t.verdict is service.verdict and t.confirmed_since is not None]
    choose = min if service.verdict is Verdict.UP else max
    return choose(times, default=None)


def _pips(instances: Mapping[str, int]) -> list[str]:
    """One mark for each instance, if they are few enough to count at a glance."""
    if sum(instances.values()) > _PIPS:
        return []
    return [
        verdict.value for verdict in (Verdict.UP, Verdict.UNKNOWN, Verdict.DOWN) for _ in range(instances.get(verdict, 0))
    ]


def _overall(rows: list[Row]) -> State:
    return min((row.state for row in rows), key=_WEIGHT.__getitem__, default=State.UNKNOWN)


def _title(rows: list[Row], pending: int) -> str:
    if not rows:
        return "Nothing is configured"
    for state, what in ((State.DOWN, "down"), (State.UNKNOWN, "unknown")):
        names = [row.view.name for row in rows if row.state is state]
        if state is State.UNKNOWN and names and all(row.waiting for row in rows if row.state is state):
            return f"Waiting for the first results of {pending} {'target' if pending == 1 else 'targets'}"
        if 0 < len(names) <= 3:
            return f"{listing(names)} {'is' if len(names) == 1 else 'are'} {what}"
        if names:
            return f"{len(names)} of {len(rows)} are {what}"
    degraded = sum(row.state is State.DEGRADED for row in rows)
    return f"Everything is up, {degraded} with problems" if degraded else "Everything is up"

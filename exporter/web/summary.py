"""What the pages say of the fleet: its state in a sentence, what is wrong in order of weight, a row for each service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from exporter.engine.rollup import State
from exporter.engine.views import FleetView, Neighbours, ServiceSummary, ServiceView, TargetSummary
from exporter.verdict import Reason, Verdict
from exporter.web.charts import Segment, Strip, segments, strip
from exporter.web.format import listing

__all__ = ["FailedPart", "Link", "Row", "Summary", "TroubledTarget", "row_of", "summarise"]

_PIPS = 24

_WEIGHT = {state: weight for weight, state in enumerate(State)}


@dataclass(frozen=True, slots=True)
class Link:
    """A service, a dependency or a kind of probe, and how it is."""

    name: str
    state: State


@dataclass(frozen=True, slots=True)
class FailedPart:
    """An optional part of a target that did not work."""

    target: TargetSummary
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class TroubledTarget:
    """A target that is not up."""

    target: TargetSummary
    state: State


@dataclass(frozen=True, slots=True)
class Row:
    """One service or dependency with all that is shown of it.

    Attributes:
        troubled: Those of its targets that are not up and are among the worst; `troubled_count` says how many there are.
        parts: Parts that failed of the worst targets that are up; `view.failed_parts` says how many there are.
    """

    view: ServiceSummary | ServiceView
    probes: list[Link]
    pips: list[str]
    strip: Strip
    needs: list[Link]
    needed_by: list[Link]
    troubled: list[TroubledTarget]
    parts: list[FailedPart]

    @property
    def state(self) -> State:
        """How it is."""
        return self.view.state

    @property
    def troubled_count(self) -> int:
        """Targets that are not up, but for those that were not probed yet."""
        return self.view.states[State.DOWN] + self.view.states[State.UNKNOWN] - self.view.pending

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
        return self.state is State.UNKNOWN and not self.troubled_count and self.view.pending > 0


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
    pending = sum(row.view.pending for row in rows)
    return Summary(
        state=_overall(rows),
        title=_title(ordered_rows, pending),
        counts=dict(ordered),
        segments=segments(ordered),
        targets=sum(row.view.target_count for row in rows),
        pending=pending,
        problems=[row for row in ordered_rows if row.state is not State.UP and not row.waiting],
        services=[row for row in rows if row.view.kind == "service"],
        dependencies=[row for row in rows if row.view.kind == "dependency"],
    )


def row_of(view: ServiceSummary | ServiceView, neighbours: Neighbours) -> Row:
    """Return what is shown of a service."""
    targets: Iterable[TargetSummary] = view.targets
    return Row(
        view=view,
        probes=_links(view.probes),
        pips=_pips(view.instances),
        strip=strip(view.recents),
        needs=_links(neighbours.needs),
        needed_by=_links(neighbours.needed_by),
        troubled=[TroubledTarget(target, target.state) for target in targets if _is_troubled(target)],
        parts=[
            FailedPart(target, name, text)
            for target in targets
            if target.verdict is Verdict.UP
            for name, text in target.parts.items()
            if text is not None
        ],
    )


def _rows(fleet: FleetView) -> list[Row]:
    states = {service.name: service.state for service in fleet.services}
    needed_by: dict[str, dict[str, State]] = {}
    for service in fleet.services:
        for name in service.depends_on:
            needed_by.setdefault(name, {})[service.name] = service.state
    return [
        row_of(
            service,
            Neighbours(
                {name: states.get(name, State.UNKNOWN) for name in service.depends_on}, needed_by.get(service.name, {})
            ),
        )
        for service in fleet.services
    ]


def _links(states: Mapping[str, State]) -> list[Link]:
    return [Link(name, state) for name, state in states.items()]


def _is_troubled(target: TargetSummary) -> bool:
    return target.verdict is not Verdict.UP and target.reason != Reason.NOT_YET_PROBED


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

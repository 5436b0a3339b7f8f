"""What the pages say of the fleet: its state in a sentence, what is wrong in order of weight, a row for each service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from exporter.diagnosis.model import Symptom
from exporter.engine.diagnosis_views import DiagnosisView
from exporter.engine.rollup import State
from exporter.engine.views import FleetView, Neighbours, ServiceSummary, ServiceView, TargetSummary
from exporter.verdict import Reason, Verdict
from exporter.web.charts import Segment, Strip, segments, strip
from exporter.web.format import listing

__all__ = ["FailedPart", "Link", "Problem", "Row", "Summary", "TroubledTarget", "row_of", "summarise"]

_PIPS = 24

_FEW = 3
"""So many are named in the headline."""

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
        view: All that is known of it.
        needs: What it needs.
        needed_by: What needs it.
    """

    view: ServiceSummary | ServiceView
    needs: list[Link]
    needed_by: list[Link]

    @property
    def probes(self) -> list[Link]:
        """How each kind of its probes finds its targets."""
        return _links(self.view.probes)

    @property
    def pips(self) -> list[str]:
        """A mark for each instance, where they are few."""
        return _pips(self.view.instances)

    @property
    def strip(self) -> Strip:
        """Recent attempts at its worst target, drawn."""
        return strip(self.view.recents)

    @property
    def troubled(self) -> list[TroubledTarget]:
        """Those of its targets that are not up and are among the worst; `troubled_count` says how many there are."""
        return [TroubledTarget(target, target.state) for target in self._targets if _is_troubled(target)]

    @property
    def parts(self) -> list[FailedPart]:
        """Parts that failed of the worst targets that are up; `view.failed_parts` says how many there are."""
        return [
            FailedPart(target, name, text)
            for target in self._targets
            if target.verdict is Verdict.UP
            for name, text in target.parts.items()
            if text is not None
        ]

    @property
    def _targets(self) -> Iterable[TargetSummary]:
        return self.view.targets

    @property
    def state(self) -> State:
        """How it is."""
        return self.view.state

    @property
    def since(self) -> float | None:
        """Since when it is as it is, Unix seconds; None where that is not known of one that is degraded."""
        if self.state is not State.DEGRADED:
            return self.view.since
        return min((over.since for over in self.view.over), default=None)

    @property
    def symptom(self) -> str:
        """What the diagnosis finds wrong with it while it is up, in a few words; nothing where it finds nothing."""
        symptoms = {diagnosis.symptom for diagnosis in self.view.diagnoses}
        if Symptom.SLOW in symptoms:
            return "slow"
        if Symptom.LAGGING in symptoms:
            return "consumers are behind"
        return "what it watches is not well" if Symptom.UNGUARDED in symptoms else ""

    @property
    def trouble(self) -> str:
        """What is wrong with it while it is up, in a few words."""
        if self.symptom:
            return self.symptom
        over = self.view.over
        if over:
            more = f" and {self.view.over_limits - 1} more" if self.view.over_limits > 1 else ""
            return f"{over[0].what} {over[0].said}{more}"
        if self.view.failed_parts:
            return f"part {self.parts[0].name} failed" if self.parts else "a part failed"
        return "with problems"

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
class Problem:
    """What is wrong for one cause: an incident with all that is down for it, or one service in trouble.

    Attributes:
        name: What the incident is named after, or the service.
        row: That service or dependency; None where nothing of that name is configured, as with a component that services
            report and no probe watches.
        folded: What else is down for it, by name.
    """

    name: str
    row: Row | None
    folded: list[Row]

    @property
    def rows(self) -> list[Row]:
        """All that is of it."""
        return [*filter(None, (self.row,)), *self.folded]

    @property
    def state(self) -> State:
        """The worst of it."""
        return min((row.state for row in self.rows), key=_WEIGHT.__getitem__)

    @property
    def over(self) -> bool:
        """Whether the root has recovered and what went down with it has not."""
        return self.row is not None and self.row.view.verdict is Verdict.UP and bool(self.folded)

    @property
    def since(self) -> float:
        """When the first of it went down, Unix seconds."""
        return min(row.view.since for row in self.rows if row.view.verdict is not Verdict.UP)

    @property
    def diagnoses(self) -> list[DiagnosisView]:
        """What is wrong with the root; where it is not probed itself, what the first of the others says of it."""
        found = self.row or self.folded[0]
        return found.view.diagnoses

    @property
    def sentence(self) -> str:
        """What is wrong, in a few words."""
        count = len(self.folded)
        those = self.folded[0].view.name if count == 1 else f"{count} services"
        if self.over:
            return f"{those} {'is' if count == 1 else 'are'} down since {self.name} was"
        return f"{self.name} is down" + (f", and {those} with it" if count else "")


@dataclass(frozen=True, slots=True)
class Summary:
    """The fleet, as the status page shows it.

    Attributes:
        state: The worst of it.
        title: What is to be said first.
        counts: Services and dependencies by state.
        segments: The same, drawn.
        targets: How many there are.
        pending: How many of them were not probed yet.
        problems: What is wrong, the weightiest first.
        troubled: How many services and dependencies are not well.
        rows: All of them, the worst first, else in the order of the configuration.
        kinds: The kinds of probes that there are.
        services: How many services there are.
        dependencies: How many dependencies.
    """

    state: State
    title: str
    counts: Mapping[str, int]
    segments: list[Segment]
    targets: int
    pending: int
    problems: list[Problem]
    troubled: int
    rows: list[Row]
    kinds: list[str]
    services: int
    dependencies: int


def summarise(fleet: FleetView) -> Summary:
    """Put the fleet into words and order."""
    rows = _rows(fleet)
    troubled = [row for row in rows if row.state is not State.UP and not row.waiting]
    problems = _problems(rows, troubled)
    counts = Counter(row.state for row in rows)
    ordered = [(state.value, counts.get(state, 0)) for state in (State.UP, State.DEGRADED, State.UNKNOWN, State.DOWN)]
    pending = sum(row.view.pending for row in rows)
    return Summary(
        state=_overall(rows),
        title=_title(rows, problems, pending) if rows or not _follows(fleet) else "Another exporter watches the fleet",
        counts=dict(ordered),
        segments=segments(ordered),
        targets=sum(row.view.target_count for row in rows),
        pending=pending,
        problems=problems,
        troubled=len(troubled),
        rows=sorted(rows, key=lambda row: _WEIGHT[row.state]),
        kinds=sorted({kind for row in rows for kind in row.view.probes}),
        services=sum(row.view.kind == "service" for row in rows),
        dependencies=sum(row.view.kind == "dependency" for row in rows),
    )


def row_of(view: ServiceSummary | ServiceView, neighbours: Neighbours) -> Row:
    """Return what is shown of a service."""
    return Row(view, _links(neighbours.needs), _links(neighbours.needed_by))


def _problems(rows: list[Row], troubled: list[Row]) -> list[Problem]:
    """Put what is down for one cause together; the weightiest first, and of equals what is shared."""
    by_name = {row.view.name: row for row in rows}
    members: dict[str, list[Row]] = {}
    for row in sorted(troubled, key=lambda row: row.view.name):
        incident = row.view.incident if row.state is State.DOWN else None
        members.setdefault(incident or row.view.name, []).append(row)
    problems = [
        Problem(name, by_name.get(name), [row for row in found if row.view.name != name]) for name, found in members.items()
    ]
    return sorted(problems, key=_weight)


def _weight(problem: Problem) -> tuple[int, int, bool, str]:
    service = problem.row is not None and problem.row.view.kind == "service"
    return _WEIGHT[problem.state], -len(problem.folded), service, problem.name


def _rows(fleet: FleetView) -> list[Row]:
    states = {service.name: service.state for service in fleet.services}
    needed_by: dict[str, dict[str, State]] = {}
    for service in fleet.services:
        for name in service.depends_on:
            needed_by.setdefault(name, {})[service.name] = states[service.name]
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


def _follows(fleet: FleetView) -> bool:
    return fleet.sharing is not None and fleet.sharing.role == "following"


def _overall(rows: list[Row]) -> State:
    return min((row.state for row in rows), key=_WEIGHT.__getitem__, default=State.UNKNOWN)


def _title(rows: list[Row], problems: list[Problem], pending: int) -> str:
    if not rows:
        return "Nothing is configured"
    down = [problem for problem in problems if problem.state is State.DOWN]
    if down:
        return _down(down, len(rows))
    unknown = [row for row in rows if row.state is State.UNKNOWN]
    if unknown and all(row.waiting for row in unknown):
        return f"Waiting for the first results of {pending} {'target' if pending == 1 else 'targets'}"
    if unknown:
        return _are([row.view.name for row in unknown], "unknown", len(rows))
    degraded = [row.view.name for row in rows if row.state is State.DEGRADED]
    return _are(degraded, "degraded", len(rows)) if degraded else "Everything is up"


def _down(problems: list[Problem], of: int) -> str:
    """Say what is down: by cause where that takes few words."""
    together = [problem for problem in problems if problem.folded]
    if together and len(problems) <= _FEW:
        alone = [problem.name for problem in problems if not problem.folded]
        return "; ".join([problem.sentence for problem in together] + ([_are(alone, "down", of)] if alone else []))
    names = [row.view.name for problem in problems for row in problem.rows if row.state is State.DOWN]
    return _are(names, "down", of) + (f", for {len(problems)} causes" if together else "")


def _are(names: list[str], what: str, of: int) -> str:
    if len(names) <= _FEW:
        return f"{listing(names)} {'is' if len(names) == 1 else 'are'} {what}"
    return f"{len(names)} of {of} are {what}"

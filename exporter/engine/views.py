"""What people and programs see of the fleet: plain, frozen data behind the JSON API and the pages."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from pydantic import Field

from exporter.diagnosis.model import Diagnosis
from exporter.engine.diagnosis_views import DiagnosisView, diagnosis_views
from exporter.engine.history_views import HistoryView, history_view
from exporter.engine.limit_views import OverView, over_view
from exporter.engine.prober import ProberView
from exporter.engine.rollup import Key, State, state_of
from exporter.engine.service import ServiceState
from exporter.engine.target import Recent, TargetState
from exporter.engine.view import View
from exporter.verdict import Verdict

__all__ = [
    "About",
    "AttemptView",
    "Due",
    "FleetView",
    "Neighbours",
    "ServiceSummary",
    "ServiceView",
    "Suspected",
    "TargetSummary",
    "TargetView",
    "View",
    "service_summary",
    "service_view",
    "target_summary",
    "target_view",
]

MOST_FACTS = 200
"""Facts of a target that people are shown."""

MOST_WORST = 12
"""Targets of a service that come with its summary."""


class AttemptView(View):
    """One attempt that ended."""

    finished_at: float = Field(description="When it ended, Unix seconds.")
    verdict: Verdict = Field(description="Of this attempt alone, before confirmation.")
    stage: str | None = Field(description="How far it got, where it did not come out up.")
    reason: str | None = Field(description="Why it did not come out up.")
    detail: str = Field(description="The same for people.")
    duration: float = Field(description="Seconds, all phases together.")
    recheck: bool = Field(description="Whether it was made between grid attempts, because the one before failed.")


class TargetSummary(View):
    """One target and how it is."""

    service: str = Field(description="Name of the service or dependency.")
    probe: str = Field(description="Kind of the probe.")
    target: str = Field(description="host:port, or the service's name where the probe covers it as a whole.")
    verdict: Verdict = Field(description="The confirmed verdict.")
    state: State = Field(
        description="The verdict, or degraded: up, but a part of the last attempt failed, or something is over its limit."
    )
    confirmed_since: float | None = Field(description="When the verdict last changed, Unix seconds.")
    stage: str | None = Field(description="Stage of the last attempt's failure.")
    reason: str | None = Field(description="Reason of the last attempt's failure, or why the verdict is unknown.")
    detail: str = Field(description="The last attempt's failure for people.")
    interval: float = Field(description="Seconds between grid attempts.")
    last_run: float | None = Field(description="When the last attempt ended, Unix seconds.")
    last_success: float | None = Field(description="When the last attempt that came out up ended, Unix seconds.")
    next_run: float | None = Field(description="When the next attempt is due, Unix seconds.")
    duration: float | None = Field(description="Seconds the last attempt took.")
    parts: dict[str, str | None] = Field(description="Optional parts of the last attempt: null, or how it failed.")
    parts_asked: dict[str, float] = Field(
        description="When those parts were asked that the last attempt did not ask: what is told of them is of then. Unix "
        "seconds."
    )
    over: list[OverView] = Field(description="What is over its limit.")


class TargetView(TargetSummary):
    """One target, its last attempt and what that learnt."""

    phases: dict[str, float] = Field(description="Seconds by phase of the last attempt.")
    facts: dict[str, float] = Field(description="What the last attempt learnt, by metric.")
    recents: list[AttemptView] = Field(description="The most recent attempts, oldest first.")
    history: HistoryView = Field(description="What is remembered of earlier ones: an hour, a day, a week, and failures.")


class _Service(View):
    """What is told of a service or dependency however much of its targets is."""

    name: str = Field(description="Its name.")
    kind: Literal["service", "dependency"] = Field(description="Whether it is of the fleet, or shared by it.")
    verdict: Verdict = Field(description="The verdict over all its instances.")
    state: State = Field(
        description="The verdict, or degraded: up, but something is wrong with a target, or it is slow or behind."
    )
    reason: str | None = Field(description="Why the verdict is unknown, where it is.")
    since: float = Field(description="When the verdict last changed, Unix seconds.")
    incident: str | None = Field(
        description="The incident that its page belongs to, named after the root cause; null while it is not down, or none "
        "is chosen yet."
    )
    diagnoses: list[DiagnosisView] = Field(description="What is wrong with it, and why; empty while nothing is.")
    depends_on: list[str] = Field(description="What it needs.")
    min_ready: int = Field(description="Instances that must be up.")
    instances: dict[str, int] = Field(description="Instances by verdict.")
    states: dict[str, int] = Field(description="Targets by state.")
    pending: int = Field(description="Targets that have not been probed yet; their state is unknown.")
    failed_parts: int = Field(description="Optional parts that failed, of targets that are up.")
    over_limits: int = Field(description="How much is over a limit, of targets that are up and of the service as a whole.")
    over: list[OverView] = Field(description="What is over its limit, of the service as a whole and of its worst targets.")
    probes: dict[str, State] = Field(description="How each kind of probe finds its targets.")
    duration: float | None = Field(description="Seconds that the slowest of the targets' last attempts took.")
    last_run: float | None = Field(description="When the target was probed whose last attempt is the oldest, Unix seconds.")
    next_run: float | None = Field(description="When one of its targets is due next, Unix seconds.")
    recents: list[AttemptView] = Field(description="The most recent attempts at its worst target, oldest first.")

    @property
    def target_count(self) -> int:
        """How many targets it has."""
        return sum(self.states.values())


class ServiceSummary(_Service):
    """A service or dependency over all its instances, with its worst targets."""

    targets: list[TargetSummary] = Field(description=f"The targets that are worst, at the most {MOST_WORST}.")


class ServiceView(_Service):
    """A service or dependency over all its instances, with its targets."""

    history: HistoryView = Field(description="Its verdict over time, whenever a target was probed that decides it.")
    targets: list[TargetView] = Field(description="Its targets, the worst first.")


class SharingView(View):
    """What this exporter is to the others that it shares the work with."""

    kind: Literal["lease", "shards"] = Field(description="How the work is shared.")
    role: Literal["leading", "lapsed", "following"] | None = Field(description="With a lease, what it is at present.")
    leader: str | None = Field(description="Who holds the lease, where that is known.")
    shard: int | None = Field(description="Which shard it is, from 0 on.")
    shards: int | None = Field(description="How many shards there are.")
    text: str = Field(description="The same in a sentence.")


class About(View):
    """What is told of the exporter itself beside the fleet."""

    generated_at: float = Field(description="When this was made, Unix seconds.")
    version: str = Field(description="Version of the exporter.")
    config_loaded_at: float = Field(description="When the running configuration was loaded, Unix seconds.")
    config_error: str | None = Field(description="Why the last reload was refused, if it was.")
    runbook: str | None = Field(description="Address of the runbook, where one is configured.")
    dashboard: str | None = Field(description="Address of the fleet dashboard, where one is configured.")
    sharing: SharingView | None = Field(description="What this exporter is to others; null where it works alone.")
    prober: ProberView = Field(description="Whether what is seen may be the exporter's own doing.")


class FleetView(About):
    """Everything, as far as it wants to be seen."""

    services: list[ServiceSummary] = Field(
        description="Services first, then dependencies, each in the order of the configuration."
    )


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What a service needs, and what needs it, and how each is. A name that is not configured is unknown."""

    needs: Mapping[str, State]
    needed_by: Mapping[str, State]


Due = Callable[[Key], float | None]
"""Tells when a target is due next, Unix seconds."""


@dataclass(frozen=True, slots=True)
class Suspected:
    """What is suspected of a service: its incident, if it is down and one is chosen, and what is wrong with it."""

    incident: str | None = None
    diagnoses: tuple[Diagnosis, ...] = ()


def target_summary(state: TargetState, next_run: float | None) -> TargetSummary:
    """Return how a target is.

    Args:
        state: The target.
        next_run: When the next attempt is due, Unix seconds.
    """
    return TargetSummary(**_summary_fields(state, next_run))


def target_view(state: TargetState, next_run: float | None) -> TargetView:
    """Return a target as people see it: the same, and its last attempts and what is known of it."""
    last = state.last
    return TargetView(
        **_summary_fields(state, next_run),
        phases=last.phases if last else {},
        facts=_facts(state),
        recents=_attempt_views(state),
        history=history_view(state.history, time.time()),
    )


def service_summary(service: ServiceState, due: Due, suspected: Suspected) -> ServiceSummary:
    """Return a service with its worst targets. It costs what is shown, however many targets there are."""
    targets = [target_summary(state, due(state.key)) for state in _worst(service)]
    return ServiceSummary(**_service_fields(service, due, suspected), targets=targets)


def service_view(service: ServiceState, due: Due, suspected: Suspected, targets: list[TargetView]) -> ServiceView:
    """Return a service with those of its targets that are given."""
    history = history_view(service.history, time.time())
    return ServiceView(**_service_fields(service, due, suspected), history=history, targets=targets)


def _summary_fields(state: TargetState, next_run: float | None) -> dict[str, Any]:
    last = state.last
    recent = last.recent if last is not None else None
    verdict, reason = state.standing
    return {
        "service": state.target.service,
        "probe": state.target.probe,
        "target": state.target.name,
        "verdict": verdict,
        "state": state_of(verdict, troubled=state.failed_parts > 0),
        "confirmed_since": state.since if state.attempted else None,
        "stage": recent.stage if recent else None,
        "reason": reason or (recent.reason if recent else None),
        "detail": recent.detail if recent else "",
        "interval": state.interval,
        "last_run": recent.finished_at if recent else None,
        "last_success": state.last_success,
        "next_run": next_run,
        "duration": recent.duration if recent else None,
        "parts": last.parts if last else {},
        "parts_asked": dict(last.asked) if last else {},
        "over": _overs(state),
    }


def _service_fields(service: ServiceState, due: Due, suspected: Suspected) -> dict[str, Any]:
    rollup, verdict = service.rollup, service.verdict
    worst = _worst(service)
    stalest = [service.targets[key] for key in rollup.stalest]
    return {
        "name": service.name,
        "kind": "service" if service.is_service else "dependency",
        "verdict": verdict,
        "state": State.DEGRADED if service.state is State.UP and suspected.diagnoses else service.state,
        "reason": service.unknown_reason if verdict is Verdict.UNKNOWN else None,
        "since": service.since,
        "incident": suspected.incident,
        "diagnoses": diagnosis_views(service.name, suspected.diagnoses, service.settings),
        "depends_on": list(service.depends_on),
        "min_ready": service.min_ready,
        "instances": service.instances,
        "states": rollup.states,
        "pending": rollup.pending,
        "failed_parts": rollup.failed_parts,
        "over_limits": rollup.over_limits + len(service.over),
        "over": [*map(over_view, service.over), *(view for state in worst for view in _overs(state))],
        "probes": rollup.probes,
        "duration": rollup.slowest,
        "last_run": min((state.last.recent.finished_at for state in stalest if state.last), default=None),
        "next_run": min(filter(None, (due(state.key) for state in (*stalest, *worst))), default=None),
        "recents": next((_attempt_views(state) for state in worst if state.recents), []),
    }


def _overs(state: TargetState) -> list[OverView]:
    return [over_view(over, state.target.probe, state.target.name) for over in state.over]


def _worst(service: ServiceState) -> list[TargetState]:
    return [service.targets[key] for key in service.rollup.worst(MOST_WORST)]


def _attempt_views(state: TargetState) -> list[AttemptView]:
    return [_attempt_view(each) for each in state.recents]


def _attempt_view(recent: Recent) -> AttemptView:
    return AttemptView(**recent._asdict())


def _facts(state: TargetState) -> dict[str, float]:
    """Flatten what was learnt to `MOST_FACTS` facts."""
    facts: dict[str, float] = {}
    for family, labels, value in islice(state.facts(), MOST_FACTS):
        own = ",".join(f"{name}={text}" for name, text in zip(family.labels, labels, strict=True))
        facts[f"{family.name}{{{own}}}" if own else family.name] = value
    return facts

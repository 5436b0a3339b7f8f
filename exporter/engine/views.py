"""What people and programs see of the fleet: plain, frozen data behind the JSON API, the status page and `check`."""

from __future__ import annotations

from itertools import islice
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from exporter.engine.target import Recent, TargetState
from exporter.verdict import Verdict

__all__ = ["AttemptView", "FleetView", "ServiceView", "TargetView", "target_view"]

MOST_FACTS = 200
"""Facts of a target that people are shown."""


class View(BaseModel):
    """Base of all views: frozen; times are Unix seconds, durations are seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AttemptView(View):
    """One attempt that ended."""

    finished_at: float = Field(description="When it ended, Unix seconds.")
    verdict: Verdict = Field(description="Of this attempt alone, before confirmation.")
    stage: str | None = Field(description="How far it got, where it did not come out up.")
    reason: str | None = Field(description="Why it did not come out up.")
    detail: str = Field(description="The same for people.")
    duration: float = Field(description="Seconds, all phases together.")
    recheck: bool = Field(description="Whether it was made between grid attempts, because the one before failed.")


class TargetView(View):
    """One target and its last attempt."""

    service: str = Field(description="Name of the service or dependency.")
    probe: str = Field(description="Kind of the probe.")
    target: str = Field(description="host:port, or the service's name where the probe covers it as a whole.")
    verdict: Verdict = Field(description="The confirmed verdict.")
    confirmed_since: float | None = Field(description="When the verdict last changed, Unix seconds.")
    stage: str | None = Field(description="Stage of the last attempt's failure.")
    reason: str | None = Field(description="Reason of the last attempt's failure, or why the verdict is unknown.")
    detail: str = Field(description="The last attempt's failure for people.")
    interval: float = Field(description="Seconds between grid attempts.")
    last_run: float | None = Field(description="When the last attempt ended, Unix seconds.")
    last_success: float | None = Field(description="When the last attempt that came out up ended, Unix seconds.")
    next_run: float | None = Field(description="When the next attempt is due, Unix seconds.")
    duration: float | None = Field(description="Seconds the last attempt took.")
    phases: dict[str, float] = Field(description="Seconds by phase of the last attempt.")
    parts: dict[str, str | None] = Field(description="Optional parts of the last attempt: null, or how it failed.")
    facts: dict[str, float] = Field(description="What the last attempt learnt, by metric.")
    recents: list[AttemptView] = Field(description="The most recent attempts, oldest first.")


class ServiceView(View):
    """A service or dependency over all its instances."""

    name: str = Field(description="Its name.")
    kind: Literal["service", "dependency"] = Field(description="Whether it is of the fleet, or shared by it.")
    verdict: Verdict = Field(description="The verdict over all its instances.")
    depends_on: list[str] = Field(description="What it needs.")
    min_ready: int = Field(description="Instances that must be up.")
    instances: dict[str, int] = Field(description="Instances by verdict.")
    targets: list[TargetView] = Field(description="Its targets.")


class FleetView(View):
    """Everything."""

    generated_at: float = Field(description="When this was made, Unix seconds.")
    version: str = Field(description="Version of the exporter.")
    config_loaded_at: float = Field(description="When the running configuration was loaded, Unix seconds.")
    config_error: str | None = Field(description="Why the last reload was refused, if it was.")
    services: list[ServiceView] = Field(
        description="Services first, then dependencies, each in the order of the configuration."
    )


def target_view(state: TargetState, next_run: float | None) -> TargetView:
    """Return a target as people see it.

    Args:
        state: The target.
        next_run: When the next attempt is due, Unix seconds.
    """
    last = state.last
    recent = last.recent if last is not None else None
    return TargetView(
        service=state.target.service,
        probe=state.target.probe,
        target=state.target.name,
        verdict=state.confirmed.verdict,
        confirmed_since=state.since if state.attempted else None,
        stage=recent.stage if recent else None,
        reason=state.confirmed.reason or (recent.reason if recent else None),
        detail=recent.detail if recent else "",
        interval=state.interval,
        last_run=recent.finished_at if recent else None,
        last_success=state.last_success,
        next_run=next_run,
        duration=recent.duration if recent else None,
        phases=last.phases if last else {},
        parts=last.parts if last else {},
        facts=_facts(state),
        recents=[_attempt_view(each) for each in state.recents],
    )


def _attempt_view(recent: Recent) -> AttemptView:
    return AttemptView(**recent._asdict())


def _facts(state: TargetState) -> dict[str, float]:
    """Flatten what was learnt to `MOST_FACTS` facts."""
    facts: dict[str, float] = {}
    for family, labels, value in islice(state.facts(), MOST_FACTS):
        own = ",".join(f"{name}={text}" for name, text in zip(family.labels, labels, strict=True))
        facts[f"{family.name}{{{own}}}" if own else family.name] = value
    return facts

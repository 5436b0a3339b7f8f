"""What people see of an attempt that they have asked for."""

from __future__ import annotations

from pydantic import Field

from exporter.engine.limit_views import OverView, over_view
from exporter.engine.target import TargetState
from exporter.engine.view import View
from exporter.limits.judge import judged_once
from exporter.probing.runner import Outcome
from exporter.verdict import Verdict

__all__ = ["ProbedView", "probed_view"]


class ProbedView(View):
    """One attempt, apart from the schedule: nothing that is remembered has changed by it."""

    service: str = Field(description="Name of the service or dependency.")
    probe: str = Field(description="Kind of the probe.")
    target: str = Field(description="The target.")
    finished_at: float = Field(description="When it ended, Unix seconds.")
    verdict: Verdict = Field(description="How it came out.")
    stage: str | None = Field(description="How far it got, where it did not come out up.")
    reason: str | None = Field(description="Why it did not come out up.")
    detail: str = Field(description="The same for people.")
    duration: float = Field(description="Seconds, all phases together.")
    phases: dict[str, float] = Field(description="Seconds by phase.")
    parts: dict[str, str | None] = Field(description="Optional parts: null, or how it failed.")
    over: list[OverView] = Field(description="What is over its limit, as far as one attempt tells.")


def probed_view(state: TargetState, outcome: Outcome) -> ProbedView:
    """Return an attempt at a target as people see it."""
    target, failure = state.target, outcome.failure
    over = judged_once(target.probe, outcome, state.thresholds)
    return ProbedView(
        service=target.service,
        probe=target.probe,
        target=target.name,
        finished_at=outcome.finished_at,
        verdict=outcome.verdict,
        stage=failure.stage if failure else None,
        reason=failure.reason if failure else None,
        detail=failure.detail if failure else "",
        duration=outcome.duration,
        phases={stage.value: seconds for stage, seconds in outcome.phases.items()},
        parts={name: str(found) if found else None for name, found in outcome.parts.items()},
        over=[over_view(each, target.probe, target.name) for each in over],
    )

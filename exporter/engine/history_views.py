"""What people and programs see of a history."""

from __future__ import annotations

from pydantic import Field

from exporter.engine.history import WINDOWS, History, Window
from exporter.engine.view import View
from exporter.verdict import Verdict

__all__ = ["FailedView", "HistoryView", "WindowView", "history_view"]


class WindowView(View):
    """Attempts of a stretch of time up to now, rechecks left out."""

    name: str = Field(description="What people call it.")
    seconds: int = Field(description="How long it is.")
    up: int = Field(description="Attempts that came out up.")
    down: int = Field(description="Attempts that came out down.")
    unknown: int = Field(description="Attempts that told nothing.")
    availability: float | None = Field(description="Share of up among up and down; null where there is neither.")
    latency_mean: float | None = Field(description="Seconds that those that were up took, in the mean.")
    latency_longest: float | None = Field(description="Seconds that the longest of them took.")
    covered: float = Field(description="Share of the time of which anything is remembered; less than 1 after a start.")
    line: str = Field(
        description="A letter a bucket, the oldest first: u up, d partly down, D down, ? nothing but unknown, . nothing."
    )


class FailedView(View):
    """Failures that were alike and followed one another."""

    first: float = Field(description="When the first of them ended, Unix seconds.")
    last: float = Field(description="When the last did, Unix seconds.")
    times: int = Field(description="How many there were, rechecks included.")
    verdict: Verdict = Field(description="How each came out.")
    stage: str | None = Field(description="How far they got.")
    reason: str | None = Field(description="Why.")
    detail: str = Field(description="Of the first, for people.")


class HistoryView(View):
    """What is remembered of attempts."""

    windows: list[WindowView] = Field(description="An hour, a day and a week.")
    failures: list[FailedView] = Field(description="The last failures, the latest first.")


def history_view(history: History, now: float) -> HistoryView:
    """Return a history as it is told."""
    return HistoryView(
        windows=[_window_view(history, window, now) for window in WINDOWS],
        failures=[FailedView(**failed._asdict()) for failed in reversed(history.failures)],
    )


def _window_view(history: History, window: Window, now: float) -> WindowView:
    found = history.sum(window, now)
    return WindowView(
        name=window.name,
        seconds=window.seconds,
        up=found.up,
        down=found.down,
        unknown=found.unknown,
        availability=found.availability,
        latency_mean=found.mean,
        latency_longest=found.longest if found.up else None,
        covered=found.covered,
        line=history.line(window, now),
    )

"""What people and programs see of a value that is over its limit."""

from __future__ import annotations

from pydantic import Field

from exporter.boards import Board
from exporter.engine.view import View
from exporter.limits.model import Over, Unit
from exporter.limits.words import said, sentence

__all__ = ["OverView", "over_view"]


class OverView(View):
    """A value that is over its limit: what alerts once it holds for as long as the rule says."""

    limit: str = Field(description="The limit, by its name among the thresholds of the configuration.")
    what: str = Field(description="What was measured, for people.")
    text: str = Field(description="The same with value and limit.")
    value: float = Field(description="What it is.")
    said: str = Field(description="The same for people.")
    threshold: float = Field(
        description="The limit; of some, such as the time that a certificate holds, low values are over it."
    )
    threshold_said: str = Field(description="The same for people.")
    unit: Unit = Field(description="What both are in; a ratio of 1 is 100 %.")
    since: float = Field(description="When it was first found over the limit, and ever since; Unix seconds.")
    measured_at: float = Field(description="When it was measured, Unix seconds.")
    alert: str = Field(description="The alert that is about it.")
    section: str = Field(description="Anchor of that alert in the runbook.")
    board: Board = Field(description="Dashboard that shows it.")
    panel: int = Field(description="Panel of that dashboard.")
    action: str = Field(description="What the runbook says to do.")
    probe: str | None = Field(description="Kind of the probe; null where it is about the service as a whole.")
    target: str | None = Field(description="The target; null where it is about the service as a whole.")


def over_view(over: Over, probe: str | None = None, target: str | None = None) -> OverView:
    """Return it as it is told.

    Args:
        over: It.
        probe: Kind of the probe that measured it.
        target: Name of its target.
    """
    limit = over.limit
    spent = limit.spent and over.value < 0
    return OverView(
        limit=limit.threshold,
        what=over.what,
        text=sentence(over),
        value=over.value,
        said="none left" if spent else said(over.value, limit.unit),
        threshold=over.threshold,
        threshold_said=said(over.threshold, limit.unit),
        unit=limit.unit,
        since=over.since,
        measured_at=over.at,
        alert=over.alert,
        section=over.section,
        board=limit.panel.board,
        panel=limit.panel.number,
        action=limit.action,
        probe=probe,
        target=target,
    )

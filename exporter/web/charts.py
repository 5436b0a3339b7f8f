"""Small charts as geometry: the templates only place it. Styles come from classes, since the pages allow no inline ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from exporter.engine.views import AttemptView
from exporter.verdict import Stage, Verdict
from exporter.web.format import span

__all__ = ["Bar", "Segment", "Strip", "bars", "line_label", "line_paths", "segments", "strip"]

STRIP_BARS, STRIP_HEIGHT = 12, 20
_BAR, _STEP = 5, 7

_LETTERS = {"u": "up", "d": "degraded", "D": "down", "?": "unknown"}

_ORDER = {stage.value: index for index, stage in enumerate(Stage)}


class Strip(NamedTuple):
    """Recent attempts as bars, one path for each verdict; the label says it in words."""

    paths: Mapping[str, str]
    label: str
    width: int
    height: int


class Bar(NamedTuple):
    """One phase of an attempt: where it begins and how long it takes, in percent of the whole."""

    name: str
    seconds: float
    start: float
    width: float


class Segment(NamedTuple):
    """One share of a whole, in percent."""

    name: str
    start: float
    width: float


def strip(recents: Sequence[AttemptView]) -> Strip:
    """Draw attempts, oldest first, as high as they took long; those that failed are of full height."""
    shown = recents[-STRIP_BARS:]
    longest = max((attempt.duration for attempt in shown if attempt.verdict is Verdict.UP), default=0.0)
    paths: dict[str, str] = {}
    offset = STRIP_BARS - len(shown)
    for index, attempt in enumerate(shown, offset):
        share = attempt.duration / longest if longest and attempt.verdict is Verdict.UP else 1.0
        height = max(3.0, round(share * STRIP_HEIGHT, 1))
        bar = f"M{index * _STEP} {STRIP_HEIGHT - height:g}h{_BAR}v{height:g}h-{_BAR}z"
        paths[attempt.verdict.value] = paths.get(attempt.verdict.value, "") + bar
    return Strip(paths, _strip_label(shown), STRIP_BARS * _STEP - (_STEP - _BAR), STRIP_HEIGHT)


def line_paths(line: str) -> dict[str, str]:
    """Draw a history's line: a mark for each bucket, one path for each state."""
    paths: dict[str, str] = {}
    for at, letter in enumerate(line):
        state = _LETTERS.get(letter)
        if state is not None:
            height = 10 if letter != "u" else 6
            paths[state] = paths.get(state, "") + f"M{at} {10 - height}h.8v{height}h-.8z"
    return paths


def line_label(line: str) -> str:
    """Say a history's line in words."""
    known = [letter for letter in line if letter != "."]
    failed = sum(letter in "dD" for letter in known)
    if not known:
        return "nothing is remembered"
    return f"{len(known)} of {len(line)} stretches known, {failed or 'none'} with failures"


def bars(phases: Mapping[str, float]) -> list[Bar]:
    """Lay phases out one after the other, in the order in which they happen."""
    ordered = sorted(phases.items(), key=lambda item: _ORDER.get(item[0], len(_ORDER)))
    whole = sum(seconds for _, seconds in ordered) or 1.0
    found, start = [], 0.0
    for name, seconds in ordered:
        width = max(100 * seconds / whole, 0.6)
        found.append(Bar(name, seconds, round(min(start, 100 - width), 2), round(width, 2)))
        start += 100 * seconds / whole
    return found


def segments(counts: Iterable[tuple[str, int]]) -> list[Segment]:
    """Share a whole out among counts; none is too thin to see."""
    present = [(name, count) for name, count in counts if count]
    whole = sum(count for _, count in present)
    widths = [max(100 * count / whole, 1.5) for _, count in present]
    scale, start, found = 100 / (sum(widths) or 1), 0.0, []
    for (name, _), width in zip(present, widths, strict=True):
        found.append(Segment(name, round(start, 2), round(width * scale, 2)))
        start += width * scale
    return found


def _strip_label(shown: Sequence[AttemptView]) -> str:
    if not shown:
        return "no attempts yet"
    failed = sum(attempt.verdict is not Verdict.UP for attempt in shown)
    attempts = "1 attempt" if len(shown) == 1 else f"{len(shown)} attempts"
    return f"last {attempts}: {failed or 'none'} failed; the latest took {span(shown[-1].duration)}"

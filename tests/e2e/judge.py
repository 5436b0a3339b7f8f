"""What came of a row, held against what was owed. Pure, but for what the stand-in for PagerDuty keeps."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

from exporter.demo.servers.pagerduty import Incident
from tests.e2e.row import ON_CALL, Owed, filled
from tests.e2e.scene import Scene, alerts_of, is_of, name_of

__all__ = ["Result", "judge"]

HURRIED_SLACK = 10.0
"""Seconds by which a page may be later where all is hurried: processes start and answer no faster there."""


@dataclass
class Result:
    """A row of the table.

    Attributes:
        row: Its name.
        fault: What happened.
        owed: The alerts that were owed.
        fired: The alerts that fired.
        seconds: From the fault to each page or incident that was owed.
        pages: How many times a person was woken up.
        low: How many incidents of low urgency there were.
        not_owed: Titles of what was not owed.
        titles: What the pages said.
        cause: Whether the first event of each named the cause; None where there is nothing to name.
        resolves: Seconds from the mending to the resolve of each.
        problems: Why it is not right.
    """

    row: str
    fault: str
    owed: list[str]
    fired: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    pages: int = 0
    low: int = 0
    not_owed: list[str] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)
    cause: bool | None = None
    resolves: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def json(self) -> str:
        """Return it as it is kept."""
        return json.dumps(asdict(self), indent=1)


def judge(scene: Scene, others: Sequence[Scene] = ()) -> Result:
    """Hold what came of a row against what is owed.

    Args:
        scene: The row, over.
        others: Rows that went on beside it in its stack: what is named after a part of one of them is its matter.
    """
    row = scene.row
    result = Result(row.name, filled(row.fault, scene.services), [o.alert for o in row.owed])
    incidents = [i for i in _during(scene) if _concerns(i, scene, others)]
    for owed in row.owed:
        _hold(scene, owed, [i for i in incidents if is_of(i, owed, filled(owed.incident, scene.services))], result)
    wanted = [i for o in row.owed for i in scene.incidents(o)]
    for incident in incidents:
        result.pages += incident.receiver == ON_CALL
        result.low += incident.receiver != ON_CALL
        if not any(incident is other for other in wanted) and not _may(incident, row.may):
            title = f"{incident.receiver}: {_title(incident)}"
            result.not_owed.append(title)
            result.problems.append(f"not owed: {title} ({', '.join(sorted(alerts_of(incident)))})")
    result.fired = sorted({f.labels["alertname"] for f in scene.stack.fired if scene.began <= f.since <= scene.ended and (
        not others or f.labels.get("service", "") in names(scene) or f.labels.get("incident", "") in names(scene)
    )})  # fmt: skip
    pagerduty = scene.stack.fleet.pagerduty
    result.problems += [f"PagerDuty refused: {'; '.join(wrong)}" for wrong in pagerduty.refused]
    pagerduty.refused.clear()
    if not pagerduty.beats:
        result.problems.append("the Watchdog has not reached the dead man's switch")
    if scene.error:
        result.problems.append(f"the story broke off: {scene.error}")
    return result


def names(scene: Scene) -> set[str]:
    """Return what incidents of a row may be named after."""
    return {*scene.services, *scene.row.parts, *(filled(owed.incident, scene.services) for owed in scene.row.owed)}


def _during(scene: Scene) -> list[Incident]:
    return [i for i in scene.stack.fleet.pagerduty.incidents if scene.began <= i.opened <= scene.ended]


def _concerns(incident: Incident, scene: Scene, others: Sequence[Scene]) -> bool:
    name = name_of(incident)
    return name in names(scene) or not any(name in names(other) for other in others)


def _may(incident: Incident, allowed: frozenset[str]) -> bool:
    return incident.receiver != ON_CALL and alerts_of(incident) <= allowed


def _hold(scene: Scene, owed: Owed, found: Sequence[Incident], result: Result) -> None:
    what = f"{owed.alert} of {filled(owed.incident, scene.services)}"
    least, most = owed.times
    if not least <= len(found) <= most:
        result.problems.append(f"{what}: opened {len(found)} times, owed {least if least == most else f'{least} to {most}'}")
    if not found:
        if least and (owed.cause or owed.title):
            result.cause = False
        return
    result.titles += [_title(incident) for incident in found]
    result.problems += [f"{what}: {problem}" for problem in _problems(scene, owed, found, result)]


def _problems(scene: Scene, owed: Owed, found: Sequence[Incident], result: Result) -> Iterator[str]:
    since = scene.since(owed)
    if since is not None:
        # A fault that comes twice is answered by the second incident.
        starts = [b.since for b in scene.broken if not owed.since and b.fault == scene.broken[0].fault] or [since]
        for number, incident in enumerate(found):
            seconds = incident.opened - starts[min(number, len(starts) - 1)]
            result.seconds.append(round(seconds, 1))
            hurry = scene.stack.hurry
            if seconds > (owed.within if hurry == 1 else owed.within / hurry + HURRIED_SLACK):
                yield f"paged after {seconds:.0f} s, owed within {owed.within:.0f} s at the shipped intervals"
    title, cause = (filled(text, scene.services) for text in (owed.title, owed.cause))
    for incident in found:
        named = True
        if title and not re.search(title, _title(incident), re.IGNORECASE):
            named = False
            yield f"its title is {_title(incident)!r}, expected {title!r}"
        if cause and not re.search(cause, _text(incident), re.IGNORECASE):
            named = False
            yield f"its first event does not say {cause!r}: {_text(incident)!r}"
        if title or cause:
            result.cause = named and result.cause is not False
    yield from _resolves(scene, owed, found, result)


def _resolves(scene: Scene, owed: Owed, found: Sequence[Incident], result: Result) -> Iterator[str]:
    faults = owed.while_broken
    lasting = [b for b in scene.broken if faults is None or b.fault.partition(":")[0] in faults]
    for incident in found:
        if incident.resolved is None:
            yield "was not resolved"
            continue
        for broken in lasting:
            until = broken.until or scene.ended
            if max(incident.opened, broken.since) < incident.resolved < until:
                yield f"was resolved {until - incident.resolved:.0f} s before {broken.fault} was mended"
        mended = [b.until for b in lasting if b.until is not None and b.until <= incident.resolved]
        if mended:
            result.resolves.append(round(incident.resolved - max(mended), 1))


def _title(incident: Incident) -> str:
    """Return what it is called in the end."""
    return str(incident.triggers[-1]["payload"]["summary"])


def _text(incident: Incident) -> str:
    """Return what the person is told first: title and details."""
    payload = incident.triggers[0]["payload"]
    details = payload.get("custom_details") or {}
    return "\n".join([payload["summary"], *(f"{name}: {text}".strip() for name, text in details.items() if text)])

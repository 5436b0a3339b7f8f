"""What `explain` says: a diagnosis in words, and as plain data; of what was probed now, or of what a daemon knows."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import click

from exporter.config.models import MemberSettings
from exporter.diagnosis.model import Symptom
from exporter.engine.checked import EXIT_CODES
from exporter.engine.diagnosis_views import CauseView, DiagnosisView, diagnosis_views
from exporter.engine.oneshot import FleetDiagnosis
from exporter.engine.rollup import State, state_of
from exporter.verdict import Verdict
from exporter.web.format import age, fact, listing

__all__ = ["Explanation"]

_PAGE = "docs/runbook.md"
_COLOURS = {State.UP: "green", State.DEGRADED: "yellow", State.DOWN: "red", State.UNKNOWN: "magenta"}
_SYMPTOMS = {
    Symptom.DOWN: "Likely cause",
    Symptom.SLOW: "It is slow. Likely cause",
    Symptom.LAGGING: "Consumers are behind",
    Symptom.UNGUARDED: "What it watches is not well",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is told of one service.

    Attributes:
        service: Its name.
        kind: `service` or `dependency`.
        verdict: Its verdict.
        state: The verdict, or degraded.
        notes: What is wrong, in words.
        incident: The incident that its page belongs to; None while it is not down.
        own: What is wrong with it, and why.
        roots: The same of what its causes lie in and is in trouble itself, by name.
        verdicts: Of each that is known, its verdict.
        runbook: Address of the runbook.
        since: When the verdict changed last, Unix seconds, where that is known.
        seconds: How long probing took; None where a daemon told.
    """

    service: str
    kind: str
    verdict: Verdict
    state: State
    notes: tuple[str, ...]
    incident: str | None
    own: tuple[DiagnosisView, ...]
    roots: Mapping[str, tuple[DiagnosisView, ...]]
    verdicts: Mapping[str, str]
    runbook: str
    since: float | None = None
    seconds: float | None = None

    @classmethod
    def of_check(
        cls, found: FleetDiagnosis, runbook: str | None, settings: Mapping[str, MemberSettings] = MappingProxyType({})
    ) -> Explanation:
        """Make it of what probing came to.

        Args:
            found: What it came to.
            runbook: Address of the runbook, where one is configured.
            settings: What is configured of each, as far as that matters.
        """
        results = {result.name: result for result in found.result.services}
        service = results[found.service]
        views = {
            name: tuple(diagnosis_views(name, diagnoses, settings.get(name))) for name, diagnoses in found.diagnoses.items()
        }
        own = views.get(found.service, ())
        return cls(
            service=service.name,
            kind="service" if service.is_service else "dependency",
            verdict=service.verdict,
            state=state_of(service.verdict, troubled=bool(own) or found.result.state(service) is State.DEGRADED),
            notes=tuple(service.notes),
            incident=found.incident,
            own=own,
            roots=_roots(service.name, own, views),
            verdicts={name: result.verdict.value for name, result in results.items()},
            runbook=runbook or _PAGE,
            seconds=found.result.seconds,
        )

    @classmethod
    def of_daemon(cls, name: str, fleet: Mapping[str, Any]) -> Explanation:
        """Make it of what a daemon answers on /api/v1/services.

        Raises:
            KeyError: It has no service of that name.
            AttributeError, TypeError, ValueError: It is another answer.
        """
        services = {each["name"]: each for each in fleet["services"]}
        service = services[name]
        views = {
            each: tuple(map(DiagnosisView.model_validate, told["diagnoses"]))
            for each, told in services.items()
            if told["diagnoses"]
        }
        if not all(view.causes for told in views.values() for view in told):
            raise ValueError("a diagnosis without a cause")
        own = views.get(name, ())
        return cls(
            service=name,
            kind=_text(service["kind"]) or "service",
            verdict=Verdict(service["verdict"]),
            state=State(service["state"]),
            notes=tuple(_notes(service)),
            incident=_text(service["incident"]),
            own=own,
            roots=_roots(name, own, views),
            verdicts={each: told["verdict"] for each, told in services.items()},
            runbook=_text(fleet.get("runbook")) or _PAGE,
            since=_moment(service["since"]),
        )

    @property
    def exit_code(self) -> int:
        """As `check` has it, of the service itself; one that is up and slow or behind is degraded."""
        return EXIT_CODES[self.state]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "service": self.service,
            "kind": self.kind,
            "verdict": self.verdict.value,
            "state": self.state.value,
            "exit_code": self.exit_code,
            "since": self.since,
            "notes": list(self.notes),
            "incident": self.incident,
            "diagnoses": [view.model_dump(mode="json") for view in self.own],
            "roots": {name: [view.model_dump(mode="json") for view in views] for name, views in self.roots.items()},
            "takes_down": self._takes_down,
            "runbook": self.runbook,
            "seconds": round(self.seconds, 3) if self.seconds is not None else None,
        }

    def lines(self) -> Iterator[str]:
        """Yield what people read, line by line."""
        of_verdict = self.state is State(self.verdict.value)  # one that is degraded has been up since then
        since = f", for {age(time.time() - self.since)}" if self.since is not None and self.exit_code and of_verdict else ""
        yield click.style(f"{self.service} is {self.state}{since}", fg=_COLOURS[self.state], bold=True)
        if self.incident not in (None, self.service):
            yield f"It belongs to the incident {self.incident}."
        yield from (f"  {note}" for note in self.notes)
        yield from self._why(self.own)
        for name, views in self.roots.items():
            yield ""
            yield click.style(f"{name} is {self.verdicts.get(name, 'not probed itself')}", bold=True)
            yield from self._why(views)
        if self._takes_down:
            yield ""
            yield f"It takes down {listing(self._takes_down)}."
        if self.exit_code == 0:
            yield "Nothing is wrong with it."

    def _why(self, views: tuple[DiagnosisView, ...]) -> Iterator[str]:
        for view in views:
            first, *others = view.causes
            yield ""
            yield f"{_SYMPTOMS[view.symptom]}: {_cause(first)}"
            yield from _evidence(first)
            for cause in others:
                yield f"Or: {_cause(cause)}"
                yield from _evidence(cause)
            yield f"What to do ({self.runbook}#{first.section}):"
            yield from (f"  {number}. {step}" for number, step in enumerate(first.steps, 1))

    @property
    def _takes_down(self) -> list[str]:
        return sorted({name for view in self.own for name in view.takes_down})


def _text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _moment(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError("not a moment")
    return float(value)


def _cause(cause: CauseView) -> str:
    return f"{cause.meaning} [{cause.cause}, {cause.confidence.words}]"


def _evidence(cause: CauseView) -> Iterator[str]:
    for item in cause.evidence:
        value = fact(item.series, item.value, time.time()) if item.value is not None else "–"
        yield f"  {item.text}: {value}   {item.series}"


def _roots(
    name: str, own: tuple[DiagnosisView, ...], views: Mapping[str, tuple[DiagnosisView, ...]]
) -> dict[str, tuple[DiagnosisView, ...]]:
    """Return what causes lie in and is in trouble itself."""
    named = dict.fromkeys(cause.dependency for view in own for cause in view.causes)
    return {each: views[each] for each in named if each in views and each != name}


def _notes(service: Mapping[str, Any]) -> Iterator[str]:
    """Say what is wrong with the targets that a daemon tells of."""
    for target in service["targets"]:
        if target["stage"] is not None:
            detail = f": {target['detail']}" if target["detail"] else ""
            yield f"{target['probe']} {target['target']}: {target['stage']}: {target['reason']}{detail}"
        yield from (f"{target['probe']} {part}: {failure}" for part, failure in target["parts"].items() if failure)

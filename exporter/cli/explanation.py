"""What `explain` says: a diagnosis in words, and as plain data."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import click

from exporter.config.models import MemberSettings
from exporter.diagnosis.model import Symptom
from exporter.engine.diagnosis_views import CauseView, DiagnosisView, diagnosis_views
from exporter.engine.oneshot import CheckResult, FleetDiagnosis, ServiceResult
from exporter.verdict import Verdict
from exporter.web.format import fact, listing

__all__ = ["Explanation"]

_PAGE = "docs/runbook.md"
_COLOURS = {Verdict.UP: "green", Verdict.DOWN: "red", Verdict.UNKNOWN: "yellow"}
_SYMPTOMS = {Symptom.DOWN: "Likely cause", Symptom.SLOW: "It is slow. Likely cause", Symptom.LAGGING: "Consumers are behind"}


class Explanation:
    """What is told of one service.

    Args:
        found: What probing it and its surroundings came to.
        runbook: Address of the runbook, where one is configured.
        settings: What is configured of each, as far as that matters.
    """

    def __init__(
        self, found: FleetDiagnosis, runbook: str | None, settings: Mapping[str, MemberSettings] = MappingProxyType({})
    ) -> None:
        self._found = found
        self._runbook = runbook or _PAGE
        self._results = {result.name: result for result in found.result.services}
        self._views = {
            name: diagnosis_views(name, diagnoses, settings.get(name)) for name, diagnoses in found.diagnoses.items()
        }

    @property
    def exit_code(self) -> int:
        """As `check` has it, of the service itself; one that is up and slow or behind is degraded."""
        return CheckResult((self._service,), 0.0).exit_code or int(bool(self._own))

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        service = self._service
        return {
            "service": service.name,
            "kind": "service" if service.is_service else "dependency",
            "verdict": service.verdict.value,
            "exit_code": self.exit_code,
            "notes": service.notes,
            "incident": self._found.incident,
            "diagnoses": [view.model_dump(mode="json") for view in self._own],
            "roots": {name: [view.model_dump(mode="json") for view in self._views[name]] for name in self._roots},
            "takes_down": self._takes_down,
            "runbook": self._runbook,
            "seconds": round(self._found.result.seconds, 3),
        }

    def lines(self) -> Iterator[str]:
        """Yield what people read, line by line."""
        service = self._service
        what = service.verdict.value + (" and needs attention" if self.exit_code == 1 else "")
        yield click.style(f"{service.name} is {what}", fg=_COLOURS[service.verdict], bold=True)
        if self._found.incident not in (None, service.name):
            yield f"It belongs to the incident {self._found.incident}."
        yield from (f"  {note}" for note in service.notes)
        yield from self._why(self._own)
        for name in self._roots:
            yield ""
            yield click.style(f"{name} is {self._verdict_of(name)}", bold=True)
            yield from self._why(self._views[name])
        if self._takes_down:
            yield ""
            yield f"It takes down {listing(self._takes_down)}."
        if self.exit_code == 0:
            yield "Nothing is wrong with it."

    def _why(self, views: list[DiagnosisView]) -> Iterator[str]:
        for view in views:
            first, *others = view.causes
            yield ""
            yield f"{_SYMPTOMS[view.symptom]}: {self._cause(first)}"
            yield from self._evidence(first)
            for cause in others:
                yield f"Or: {self._cause(cause)}"
                yield from self._evidence(cause)
            yield f"What to do ({self._runbook}#{first.section}):"
            yield from (f"  {number}. {step}" for number, step in enumerate(first.steps, 1))

    def _cause(self, cause: CauseView) -> str:
        return f"{cause.meaning} [{cause.cause}, {cause.confidence.words}]"

    def _evidence(self, cause: CauseView) -> Iterator[str]:
        for item in cause.evidence:
            value = fact(item.series, item.value, time.time()) if item.value is not None else "–"
            yield f"  {item.text}: {value}   {item.series}"

    def _verdict_of(self, name: str) -> str:
        return self._results[name].verdict.value if name in self._results else "not probed itself"

    @property
    def _service(self) -> ServiceResult:
        return self._results[self._found.service]

    @property
    def _own(self) -> list[DiagnosisView]:
        return self._views.get(self._found.service, [])

    @property
    def _roots(self) -> list[str]:
        """What its causes lie in and is in trouble itself."""
        names = dict.fromkeys(cause.dependency for view in self._own for cause in view.causes)
        return [name for name in names if name in self._views and name != self._found.service]

    @property
    def _takes_down(self) -> list[str]:
        return sorted({name for view in self._own for name in view.takes_down})

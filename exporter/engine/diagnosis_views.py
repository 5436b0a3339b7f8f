"""What people and programs see of a diagnosis: what is wrong, why, what speaks for it, and what to do."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from pydantic import Field

from exporter.config.models import MemberSettings
from exporter.diagnosis.model import Confidence, Diagnosis, Suspicion, Symptom
from exporter.diagnosis.places import names_of
from exporter.engine.view import View

__all__ = ["CauseView", "DiagnosisView", "EvidenceView", "IncidentView", "diagnosis_views", "incident_view"]


class EvidenceView(View):
    """What speaks for a cause."""

    text: str = Field(description="What was seen, for people.")
    value: float | None = Field(description="The value that was seen.")
    series: str = Field(description="The series it was read from, as PromQL selects it.")


class CauseView(View):
    """A likely cause."""

    cause: str = Field(description="Its name, as in probe_suspected_cause.")
    dependency: str = Field(description="What it lies in; empty where that is the service itself.")
    meaning: str = Field(description="What it says, for people.")
    confidence: Confidence = Field(description="How far the suspicion goes.")
    evidence: list[EvidenceView] = Field(description="What speaks for it, the strongest first.")
    section: str = Field(description="Anchor of its section in the runbook.")
    steps: list[str] = Field(description="What the runbook says to do, in order.")


class DiagnosisView(View):
    """What is wrong with a service or dependency, and why."""

    symptom: Symptom = Field(description="What is wrong.")
    causes: list[CauseView] = Field(description="Why, the likeliest first; a cause that is not known is `unknown`.")
    takes_down: list[str] = Field(description="What else that is down has its cause in it.")


class IncidentView(View):
    """What is down for one cause: one page."""

    name: str = Field(description="Name of the root cause: a service, a dependency, or a component that services report.")
    since: float = Field(description="When the first of it went down, Unix seconds.")
    services: list[str] = Field(description="Services and dependencies that are down for it, sorted by name.")
    causes: list[CauseView] = Field(description="Why the root is down; why the others are, where it is not probed itself.")


def diagnosis_views(
    service: str, diagnoses: Iterable[Diagnosis], settings: MemberSettings | None = None
) -> list[DiagnosisView]:
    """Return what is wrong with a service, as it is told.

    Args:
        service: Its name.
        diagnoses: What is wrong with it.
        settings: Its configuration, which says what kubectl calls it and how it is asked; None: that is not known.
    """
    return [
        DiagnosisView(
            symptom=each.symptom,
            causes=[_cause_view(each, suspicion, settings) for suspicion in each.causes],
            takes_down=list(each.takes_down),
        )
        for each in diagnoses
    ]


def incident_view(
    name: str,
    services: Sequence[str],
    since: Mapping[str, float],
    diagnoses: Mapping[str, Iterable[Diagnosis]],
    settings: Mapping[str, MemberSettings] = MappingProxyType({}),
) -> IncidentView:
    """Return an incident, as it is told.

    Args:
        name: Its name.
        services: What is down for it.
        since: When the verdict of each service changed last, Unix seconds.
        diagnoses: What is wrong with each that is in trouble.
        settings: The configuration of each, as far as it is known.
    """
    root = [name] if name in diagnoses else services
    down = ((each, found) for each in root for found in diagnoses.get(each, ()) if found.symptom is Symptom.DOWN)
    causes: dict[tuple[str, str], CauseView] = {}
    for each, found in down:
        for suspicion in found.causes:
            if name in (each, suspicion.dependency):
                causes.setdefault(
                    (suspicion.cause.name, suspicion.dependency), _cause_view(found, suspicion, settings.get(each))
                )
    return IncidentView(
        name=name,
        since=min((since[each] for each in services if each in since), default=time.time()),
        services=list(services),
        causes=list(causes.values()),
    )


def _cause_view(diagnosis: Diagnosis, suspicion: Suspicion, settings: MemberSettings | None) -> CauseView:
    service, places = diagnosis.service, names_of(settings) if settings is not None else {}
    return CauseView(
        cause=suspicion.cause.name,
        dependency=suspicion.dependency,
        meaning=suspicion.meaning(service),
        confidence=suspicion.confidence,
        evidence=[EvidenceView(text=item.text, value=item.value, series=item.series) for item in suspicion.evidence],
        section=suspicion.cause.section,
        steps=list(suspicion.steps(service, {**places, **diagnosis.names})),
    )

"""Deployments and StatefulSets: how many replicas there are and should be, and how far a rollout is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from exporter.clients.kubernetes.objects.containers import message
from exporter.clients.kubernetes.objects.reading import flag, integer, items, labels, mapping, required, text, timestamp

__all__ = ["Condition", "Deployment", "Replicas", "StatefulSet", "conditions_of"]

REVISION = "deployment.kubernetes.io/revision"
"""Annotation of a Deployment: the number that `kubectl rollout history` shows."""


class Condition(NamedTuple):
    """One condition of an object.

    Attributes:
        status: True or False; None where it is neither.
        reason: One word.
        message: For people: cut, with credentials masked.
        updated: When it was last said, Unix seconds; where that is not told, when it last changed.
    """

    status: bool | None
    reason: str
    message: str
    updated: float | None


class Replicas(NamedTuple):
    """Numbers of pods.

    Attributes:
        desired: As many as there should be.
        current: As many as there are.
        updated: Of the newest template.
        ready: Ready to serve.
        available: Ready for as long as the workload wants them to be.
    """

    desired: int
    current: int
    updated: int
    ready: int
    available: int


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is kept of a Deployment.

    Attributes:
        uid: Its identity.
        name: Its name.
        template: Labels of the pods that it makes.
        replicas: Numbers of its pods.
        observed: Its controller has seen what it should be now.
        paused: Rollouts are paused.
        revision: Number of its newest revision; None before its first.
        conditions: By type: Available, Progressing, ReplicaFailure.
    """

    uid: str
    name: str
    template: Mapping[str, str]
    replicas: Replicas
    observed: bool
    paused: bool
    revision: int | None
    conditions: Mapping[str, Condition]

    kind = "Deployment"

    @property
    def rolled_out(self) -> bool:
        """Whether its pods are all of the newest template and available, as `kubectl rollout status` has it."""
        desired, current, updated, _, available = self.replicas
        return self.observed and updated >= desired and current <= updated and available >= updated

    @property
    def stuck(self) -> bool:
        """Whether its rollout has made no progress for `progressDeadlineSeconds`."""
        progressing = self.conditions.get("Progressing")
        return progressing is not None and progressing.status is False and progressing.reason == "ProgressDeadlineExceeded"

    @property
    def changed(self) -> float | None:
        """When its rollout last made progress, Unix seconds: of one that is done, when that was."""
        progressing = self.conditions.get("Progressing")
        return progressing.updated if progressing is not None else None

    @property
    def failure(self) -> Condition | None:
        """Why pods cannot be created; None while they can."""
        failure = self.conditions.get("ReplicaFailure")
        return failure if failure is not None and failure.status else None

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Deployment:
        """Reduce a Deployment.

        Raises:
            Malformed: It has no name or no uid.
        """
        metadata, spec, status = mapping(raw, "metadata"), mapping(raw, "spec"), mapping(raw, "status")
        revision = text(mapping(metadata, "annotations"), REVISION)
        return cls(
            uid=required(metadata, "uid"),
            name=required(metadata, "name"),
            template=labels(spec, "template", "metadata", "labels"),
            replicas=Replicas(
                integer(spec, "replicas", 1),
                integer(status, "replicas"),
                integer(status, "updatedReplicas"),
                integer(status, "readyReplicas"),
                integer(status, "availableReplicas"),
            ),
            observed=_observed(metadata, status),
            paused=flag(spec, "paused"),
            revision=int(revision) if revision.isascii() and revision.isdigit() and len(revision) < 16 else None,
            conditions=conditions_of(status),
        )


@dataclass(frozen=True, slots=True)
class StatefulSet:
    """What is kept of a StatefulSet. It has no conditions: that its rollout is stuck is not said by it.

    Attributes:
        uid: Its identity.
        name: Its name.
        template: Labels of the pods that it makes.
        replicas: Numbers of its pods.
        observed: Its controller has seen what it should be now.
        rolling: It has pods of another revision than its newest.
    """

    uid: str
    name: str
    template: Mapping[str, str]
    replicas: Replicas
    observed: bool
    rolling: bool

    kind = "StatefulSet"

    @property
    def rolled_out(self) -> bool:
        """Whether its pods are all of the newest template and ready."""
        return self.observed and not self.rolling and self.replicas.ready >= self.replicas.desired

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> StatefulSet:
        """Reduce a StatefulSet.

        Raises:
            Malformed: It has no name or no uid.
        """
        metadata, spec, status = mapping(raw, "metadata"), mapping(raw, "spec"), mapping(raw, "status")
        desired, ready = integer(spec, "replicas", 1), integer(status, "readyReplicas")
        newest = text(status, "updateRevision")
        rolling = bool(newest) and newest != text(status, "currentRevision")
        # Once a rollout is done, `currentRevision` is the newest and `updatedReplicas` is no longer told.
        updated = integer(status, "updatedReplicas") if rolling else integer(status, "replicas")
        return cls(
            uid=required(metadata, "uid"),
            name=required(metadata, "name"),
            template=labels(spec, "template", "metadata", "labels"),
            replicas=Replicas(
                desired, integer(status, "replicas"), updated, ready, integer(status, "availableReplicas", ready)
            ),
            observed=_observed(metadata, status),
            rolling=rolling,
        )


def conditions_of(status: Mapping[str, Any]) -> Mapping[str, Condition]:
    """Return the conditions in a status by their type."""
    found = {}
    for each in items(status, "conditions"):
        said = {"True": True, "False": False}.get(text(each, "status"))
        updated = timestamp(each, "lastUpdateTime") or timestamp(each, "lastTransitionTime")
        found[text(each, "type")] = Condition(said, text(each, "reason"), message(each.get("message")), updated)
    return found


def _observed(metadata: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    return integer(status, "observedGeneration") >= integer(metadata, "generation")

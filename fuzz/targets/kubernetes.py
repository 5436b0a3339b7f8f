"""What Kubernetes' API server answers: objects, events, refusals, leases."""

from __future__ import annotations

import json
from typing import Any, cast

from exporter.clients.kubernetes.answers import failure_of_status
from exporter.clients.kubernetes.api import Api, _decoded
from exporter.clients.kubernetes.objects.quantity import quantity
from exporter.clients.kubernetes.objects.reading import Malformed
from exporter.clients.kubernetes.objects.secrets import TlsSecret
from exporter.clients.kubernetes.objects.selector import Selector
from exporter.clients.kubernetes.objects.uses import PodUse
from exporter.clients.kubernetes.resources import RESOURCES, Kind
from exporter.clients.kubernetes.watch import ListWatch, Question
from exporter.ownership.lease import _record
from exporter.verdict import Failure
from fuzz.model import Finding, Target

__all__ = ["REDUCED", "TARGETS"]

REDUCED = (*(resource.reduce for resource in RESOURCES.values()), TlsSecret.of, PodUse.of)
"""How objects are reduced: the first byte of an input says by which."""


def _objects(data: bytes) -> object:
    if not data:
        return None
    return REDUCED[data[0] % len(REDUCED)](_decoded(data[1:]))


def _answers(data: bytes) -> object:
    """Read it as a Status, a Lease and a selector."""
    found = _decoded(data)
    refusal = failure_of_status(int(found.get("code", 500)) if isinstance(found.get("code"), int) else 500, found)
    selector = Selector.of(found)
    matches = selector.fits({"app": "identity"}) if selector is not None else None
    return str(refusal), refusal.retry_after, matches, _record(found)


class _Sink:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.told = 0
        self.bad = 0

    def replaced(self, objects: dict[str, Any]) -> None:
        self.told += len(objects)

    def changed(self, uid: str, found: Any) -> None:
        self.told += 1
        if not isinstance(uid, str):
            raise Finding(f"an object under {uid!r}")

    def gone(self, uid: str) -> None:
        self.told += 1

    def failed(self, failure: Failure) -> None:
        raise Finding("an event is no failure of the watch")

    def alive(self) -> None:
        """Nothing is asked."""

    def malformed(self) -> None:
        self.bad += 1


def _event(data: bytes) -> object:
    """Read it as one line of a watch of pods."""
    resource = RESOURCES[Kind.PODS]
    watch = ListWatch(cast(Api, None), Question(resource.path("hafnium"), "pods", {}), resource.reduce)
    sink = _Sink()
    watch._take_event(data, sink)
    return sink.told, sink.bad


def _quantity(data: bytes) -> object:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = data.decode("utf-8", "replace")
    return quantity(value)


_MODULE = "exporter.clients.kubernetes."
_OBJECTS = (
    "autoscalers", "containers", "nodes", "pods", "policies", "quantity", "reading", "scheduling", "secrets", "slices",
    "uses", "workloads",
)  # fmt: skip

TARGETS = (
    Target("kubernetes-objects", _objects, tuple(f"{_MODULE}objects.{name}" for name in _OBJECTS), (Failure, Malformed)),
    Target(
        "kubernetes-answers",
        _answers,
        (f"{_MODULE}answers", f"{_MODULE}api", f"{_MODULE}objects.selector", "exporter.ownership.lease"),
    ),
    Target("kubernetes-events", _event, (f"{_MODULE}watch",)),
    Target("quantity", _quantity, (f"{_MODULE}objects.quantity",), ()),
)

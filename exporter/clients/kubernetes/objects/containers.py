"""Containers of a pod: what they wait for, how they ended, and what they may use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from exporter.clients.kubernetes.objects.quantity import quantity
from exporter.clients.kubernetes.objects.reading import flag, integer, items, mapping, text, timestamp
from exporter.masking import cut, mask

__all__ = ["MAX_CONTAINERS", "MAX_MESSAGE", "Container", "Resources", "Termination", "containers_of"]

MAX_CONTAINERS = 50
"""Containers of one pod that are kept."""

MAX_MESSAGE = 200
"""Characters that are kept of a message for people."""

_LONGEST = 8_192
"""Characters that are looked at: twice what a kubelet lets through, so that no credential is cut before it is masked."""

_WRITTEN = (str, int, float)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class Termination(NamedTuple):
    """One end of a container's process.

    Attributes:
        reason: OOMKilled, Error, Completed …, as Kubernetes writes it.
        exit_code: Of the process.
        finished: When, Unix seconds; None where it is not said.
        message: The end of its termination message: one line, cut, with credentials masked.
    """

    reason: str
    exit_code: int
    finished: float | None
    message: str


class Resources(NamedTuple):
    """What a container is given, in bytes and cores; None where nothing is said."""

    memory_request: float | None = None
    memory_limit: float | None = None
    cpu_request: float | None = None
    cpu_limit: float | None = None


_NOTHING = Resources()


class Container(NamedTuple):
    """What is kept of a container.

    Attributes:
        name: Its name, unique in the pod.
        waiting: Why it waits: CrashLoopBackOff, ImagePullBackOff …; empty where it does not.
        waiting_message: What is said of that, for people: cut, with credentials masked.
        restarts: How often it was restarted.
        ready: Whether it is ready.
        ended: How it ended last, also where it runs again; None where it never has, or as an init container that did its
            work.
        resources: What it is given.
    """

    name: str
    waiting: str
    waiting_message: str
    restarts: int
    ready: bool
    ended: Termination | None
    resources: Resources


def containers_of(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Iterator[Container]:
    """Yield the containers of a pod, init containers first. Before the kubelet has spoken there are none."""
    given = {text(each, "name"): _resources(each) for key in ("initContainers", "containers") for each in items(spec, key)}
    count = 0
    for key in ("initContainerStatuses", "containerStatuses"):
        for each in items(status, key):
            name = text(each, "name")
            if not name or count >= MAX_CONTAINERS:
                continue
            count += 1
            state = mapping(each, "state")
            waiting = mapping(state, "waiting")
            ended = _termination(mapping(state, "terminated")) or _termination(mapping(each, "lastState", "terminated"))
            if key == "initContainerStatuses" and ended is not None and ended.exit_code == 0:
                ended = None
            yield Container(
                name=name,
                waiting=text(waiting, "reason"),
                waiting_message=message(waiting.get("message")),
                restarts=max(0, integer(each, "restartCount")),
                ready=flag(each, "ready"),
                ended=ended,
                resources=given.get(name, _NOTHING),
            )


def message(value: Any, *, end: bool = False) -> str:
    """Return a message for people: one line, cut, with credentials masked.

    Args:
        value: What was said.
        end: Of a long one, keep the end, as of a log.
    """
    if not isinstance(value, str) or not value:
        return ""
    line = " ".join(_CONTROL.sub(" ", mask(cut(value, _LONGEST, end=end))).split())
    if len(line) <= MAX_MESSAGE:
        return line
    return f"…{line[1 - MAX_MESSAGE :]}" if end else f"{line[: MAX_MESSAGE - 1]}…"


def _termination(raw: Mapping[str, Any]) -> Termination | None:
    if not raw:
        return None
    said = message(raw.get("message"), end=True)
    return Termination(text(raw, "reason"), integer(raw, "exitCode"), timestamp(raw, "finishedAt"), said)


def _resources(raw: Mapping[str, Any]) -> Resources:
    given = mapping(raw, "resources")
    requests, limits = mapping(given, "requests"), mapping(given, "limits")
    written = (requests.get("memory"), limits.get("memory"), requests.get("cpu"), limits.get("cpu"))
    return _shared(*[value if isinstance(value, _WRITTEN) else None for value in written])


@lru_cache(maxsize=1000)
def _shared(*written: str | float | None) -> Resources:
    """Return one object for all containers of a template."""
    return Resources(*map(quantity, written))

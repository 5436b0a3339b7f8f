"""What the player of kubelets is to do with a pod: said by labels or annotations of the pod, so that anyone can say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["PLAYED", "PREFIX", "Behaviour", "State", "annotations_of", "behaviour_of"]

PREFIX = "kubelets.demo/"
"""How the names of such labels and annotations begin."""

PLAYED = f"{PREFIX}played"
"""Label of the nodes whose kubelet is played; its value is `true`."""


class State(StrEnum):
    """What becomes of a pod's containers."""

    RUNNING = "running"
    """They run and are ready."""
    NOT_READY = "not-ready"
    """They run and are not ready."""
    CREATING = "creating"
    """They are being created, and it never ends."""
    CRASH_LOOP = "crash-loop"
    """One ends with an error, is held back, is started again, and so on: CrashLoopBackOff."""
    OOM_LOOP = "oom-loop"
    """The same, killed for want of memory."""
    IMAGE_PULL = "image-pull"
    """The image of one cannot be pulled: ErrImagePull, then ImagePullBackOff."""
    CONFIG_ERROR = "config-error"
    """One needs something that is not there: CreateContainerConfigError."""
    SUCCEEDED = "succeeded"
    """They end well: the pod is completed."""
    FAILED = "failed"
    """They end with an error and are not started again."""
    EVICTED = "evicted"
    """The kubelet throws the pod out for want of memory."""

    @property
    def listens(self) -> bool:
        """Whether what runs gets so far as to listen: what ends as soon as it starts does not."""
        return self not in {State.CRASH_LOOP, State.OOM_LOOP}


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What to do with a pod. Times in seconds.

    Attributes:
        state: What becomes of it.
        container: Which container it is about; the first by default. The others run and are ready.
        ready_after: From running to ready.
        lives: From running to the next crash of a loop.
        backoff: How long a loop holds a container back.
        exit_code: Of a container that ends with an error.
        message: Its termination message, or why a container waits.
        oom_kills: How often it has been killed for want of memory, each over before anyone looks: raise it for another.
        terminating: From the wish to delete the pod to its end.
        cpu: What each container uses of the CPU, for metrics.k8s.io.
        memory: What each container uses of the memory.
        address: Its IP; `loopback`: one below 127.64.0.0/10, where a server could listen, and which no EndpointSlice takes.
    """

    state: State = State.RUNNING
    container: str = ""
    ready_after: float = 0.0
    lives: float = 0.5
    backoff: float = 2.0
    exit_code: int = 1
    message: str = ""
    oom_kills: int = 0
    terminating: float = 0.0
    cpu: str = "50m"
    memory: str = "200Mi"
    address: str = ""


_TYPES: Mapping[str, type[State | str | int | float]] = {
    "state": State, "container": str, "ready_after": float, "lives": float, "backoff": float, "exit_code": int,
    "message": str, "oom_kills": int, "terminating": float, "cpu": str, "memory": str, "address": str,
}  # fmt: skip


def behaviour_of(metadata: Mapping[str, Any]) -> Behaviour:
    """Read it from a pod's metadata; what is not understood counts as not said."""
    said = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
    found: dict[str, Any] = {}
    for name, kind in _TYPES.items():
        text = said.get(_key(name))
        if text is not None:
            try:
                found[name] = kind(text)
            except ValueError:
                continue
    return Behaviour(**found)


def annotations_of(**settings: str | float) -> dict[str, str]:
    """Return annotations that say it: `annotations_of(state="crash-loop", exit_code=3)`.

    Raises:
        ValueError: There is no such setting, or no such state.
    """
    for name, value in settings.items():
        if name not in _TYPES:
            raise ValueError(f"no setting {name!r}; there are {', '.join(_TYPES)}")
        _TYPES[name](str(value))
    return {_key(name): str(value) for name, value in settings.items()}


def _key(name: str) -> str:
    return PREFIX + name.replace("_", "-")

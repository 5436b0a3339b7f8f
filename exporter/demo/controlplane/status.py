"""The status of a pod, as a kubelet would write it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from exporter.demo.controlplane.client import Raw

__all__ = ["Container", "PodStatus", "now"]


def now() -> str:
    """Return the time as Kubernetes writes it: whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(slots=True)
class Container:
    """A container of a pod.

    Attributes:
        pod: Uid of its pod.
        name: As in the pod's specification.
        image: What it runs.
        state: `running`, `waiting` or `terminated`, with what belongs to it.
        last: How the one before it ended, as `terminated` with what belongs to it.
        restarts: How often it was started again.
        ready: Whether it may get traffic.
        started: How often it was started.
    """

    pod: str
    name: str
    image: str
    state: dict[str, Raw] = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last: dict[str, Raw] = field(default_factory=dict)
    restarts: int = 0
    ready: bool = False
    started: int = 0

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return "running" in self.state

    def run(self, *, ready: bool) -> None:
        """Run; once more where it ran before."""
        if not self.running:
            if "terminated" in self.state:
                self.last = self.state
            self.restarts += bool(self.started)
            self.started += 1
            self.state = {"running": {"startedAt": now()}}
        self.ready = ready

    def wait(self, reason: str, message: str) -> None:
        """Wait for something; how it ended is kept if it has."""
        if "terminated" in self.state:
            self.last = self.state
        self.state, self.ready = {"waiting": {"reason": reason, "message": message}}, False

    def end(self, reason: str, code: int, message: str) -> None:
        """End, for a reason such as Completed, Error or OOMKilled."""
        began = self.state.get("running", {}).get("startedAt") or now()
        told = {
            "reason": reason, "exitCode": code, "startedAt": began, "finishedAt": now(), "containerID": self.identity,
        } | ({"message": message} if message else {})  # fmt: skip
        self.state, self.ready = {"terminated": told}, False

    def restart_at_once(self, reason: str, code: int, message: str) -> None:
        """End and run again in the same breath."""
        ready = self.ready
        self.end(reason, code, message)
        self.last = self.state
        self.run(ready=ready)

    @property
    def identity(self) -> str:
        """Its id: another each time it is started; none before."""
        return f"played://{self.pod}-{self.name}-{self.started}" if self.started else ""

    def raw(self) -> Raw:
        """Return its status."""
        return {
            "name": self.name, "image": self.image, "imageID": "", "ready": self.ready, "started": self.running,
            "restartCount": self.restarts, "state": self.state, "lastState": self.last, "containerID": self.identity,
        }  # fmt: skip


class PodStatus:
    """The status of one pod, going on from what it has.

    Args:
        raw: The pod, as the API server has it.
    """

    def __init__(self, raw: Raw) -> None:
        self.uid = str(raw["metadata"]["uid"])
        self.reason: str | None = None
        self.message: str | None = None
        status = raw.get("status", {})
        self.phase = str(status.get("phase", "Pending"))
        self.ip = str(status.get("podIP", ""))
        self.began = str(status.get("startTime", now()))
        had = {one["name"]: one for one in status.get("containerStatuses", ())}
        self.fresh = not had
        self.containers = [_adopted(self.uid, spec, had.get(spec["name"])) for spec in raw["spec"]["containers"]]
        self._initial = [_completed(spec) for spec in raw["spec"].get("initContainers", ())]
        self._scheduled = [one for one in status.get("conditions", ()) if one["type"] == "PodScheduled"]
        self._conditions = {one["type"]: one for one in status.get("conditions", ())}

    @property
    def running(self) -> bool:
        """Whether any container runs."""
        return any(container.running for container in self.containers)

    @property
    def ready(self) -> bool:
        """Whether it may get traffic."""
        return bool(self.containers) and all(container.ready for container in self.containers)

    def raw(self, host: str) -> Raw:
        """Return it as a merge patch of the pod."""
        unready = [container.name for container in self.containers if not container.ready]
        why = {"reason": "ContainersNotReady", "message": f"containers with unready status: [{' '.join(unready)}]"}
        conditions = [
            *self._scheduled,
            self._condition("PodReadyToStartContainers", good=True),
            self._condition("Initialized", good=True),
            self._condition("ContainersReady", good=not unready, why=why),
            self._condition("Ready", good=not unready, why=why),
        ]
        status: dict[str, Any] = {
            "phase": self.phase, "conditions": conditions, "hostIP": host, "hostIPs": [{"ip": host}], "podIP": self.ip,
            "podIPs": [{"ip": self.ip}], "startTime": self.began, "reason": self.reason, "message": self.message,
            "containerStatuses": [container.raw() for container in self.containers],
        }  # fmt: skip
        if self._initial:
            status["initContainerStatuses"] = self._initial
        return {"metadata": {"uid": self.uid}, "status": status}

    def _condition(self, kind: str, *, good: bool, why: Raw | None = None) -> Raw:
        before, value = self._conditions.get(kind, {}), "True" if good else "False"
        changed = before.get("lastTransitionTime") if before.get("status") == value else None
        condition = {"type": kind, "status": value, "lastTransitionTime": changed or now()}
        self._conditions[kind] = condition
        return condition if good else condition | (why or {})


def _adopted(pod: str, spec: Raw, status: Raw | None) -> Container:
    if status is None:
        return Container(pod, spec["name"], spec["image"])
    restarts = int(status.get("restartCount", 0))
    return Container(
        pod, spec["name"], spec["image"], dict(status["state"]), dict(status.get("lastState") or {}), restarts,
        bool(status.get("ready")), restarts + 1 if status.get("containerID") else 0,
    )  # fmt: skip


def _completed(spec: Raw) -> Raw:
    ended = {"reason": "Completed", "exitCode": 0, "startedAt": now(), "finishedAt": now()}
    return {
        "name": spec["name"], "image": spec["image"], "imageID": "", "ready": True, "restartCount": 0,
        "state": {"terminated": ended}, "lastState": {},
    }  # fmt: skip

"""Containers that the kernel killed for their memory, counted from the events of their pods.

A pod's status tells only of the last end of each container: the reason never clears, and of two kills in a row one is seen.
So each end is counted when it is first told of, and those in between are concluded from how often the container was started.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import NamedTuple

from exporter.clients.kubernetes.objects.pods import Ended, Pod

__all__ = ["OomCounter", "OomKills"]

MOST_KINDS = 2_000
"""Workloads and containers that are counted apart: Jobs have a new name each time. The oldest is forgotten."""


class OomKills(NamedTuple):
    """What is counted apart: the containers of one name of one workload.

    Attributes:
        workload: Name of the Deployment, StatefulSet …; of the pod, for a bare one.
        container: Name of the container.
    """

    workload: str
    container: str


class OomCounter:
    """Counts each kill once, from the first list of pods on; what happened before that is not counted."""

    def __init__(self) -> None:
        self.counts: dict[OomKills, int] = {}
        self._last: dict[str, dict[str, Ended]] = {}
        self._newest = -inf
        self._listed = False

    def replaced(self, pods: Mapping[str, Pod]) -> None:
        """Take in a list of all pods. Those that are new in a later list count if they began while nobody watched: one that
        is older than what was seen before was lost for a while, or is of another cluster.
        """
        for uid in self._last.keys() - pods.keys():
            del self._last[uid]
        newest = self._newest
        for pod in pods.values():
            told = pod.uid in self._last or _created(pod) > newest
            self._take(pod, counts=self._listed and told)
        self._listed = True

    def changed(self, pod: Pod) -> None:
        """Take in a pod as it is now."""
        self._take(pod, counts=True)

    def gone(self, uid: str) -> None:
        """Forget a pod."""
        self._last.pop(uid, None)

    def _take(self, pod: Pod, *, counts: bool) -> None:
        seen = pod.uid in self._last
        self._newest = max(self._newest, _created(pod))
        known = self._last.setdefault(pod.uid, {})
        for ended in pod.ended:
            last = known.get(ended.container)
            if last is not None and (ended.identity == last.identity or ended.number < last.number):
                continue
            known[ended.container] = ended
            if ended.oom and counts:
                before = last.number if last is not None else 0 if seen else ended.number - 1
                # What ended unseen in between is held to have ended as the next did, unless the one before did not.
                unseen = max(0, ended.number - before - 1) if last is None or last.oom else 0
                self._count(pod, ended.container, 1 + unseen)

    def _count(self, pod: Pod, container: str, kills: int) -> None:
        key = OomKills(pod.owner.name if pod.owner is not None else pod.name, container)
        if key not in self.counts and len(self.counts) >= MOST_KINDS:
            del self.counts[next(iter(self.counts))]
        self.counts[key] = self.counts.get(key, 0) + kills


def _created(pod: Pod) -> float:
    return pod.created if pod.created is not None else -inf

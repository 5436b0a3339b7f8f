"""Counts restarts of containers over pods that come and go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from exporter.clients.kubernetes.objects.pods import Pod

__all__ = ["Restarts"]

MOST_NAMES = 20
"""Names of containers of one service that are counted."""


class Restarts:
    """A counter for each container of a workload that never falls: a sum over the pods there are would, when one goes."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], int] = {}
        self._totals: Counter[str] = Counter()

    def take(self, pods: Iterable[Pod]) -> Mapping[str, int]:
        """Take in the pods as they are now; return how often each container was restarted, by its name."""
        now = {(pod.uid, each.name): each.restarts for pod in pods for each in pod.containers}
        for (uid, name), count in now.items():
            self._totals[name] += max(0, count - self._seen.get((uid, name), 0))
        self._seen = now
        for name in [name for _, name in now] if len(self._totals) > MOST_NAMES else ():
            self._totals[name] = self._totals.pop(name)  # those that there are come last: the others are forgotten first
        for name in list(self._totals)[: max(0, len(self._totals) - MOST_NAMES)]:
            del self._totals[name]
        return self._totals

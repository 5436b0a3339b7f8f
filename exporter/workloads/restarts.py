"""Counts restarts of containers over pods that come and go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from exporter.clients.kubernetes.objects.pods import Pod

__all__ = ["Restarts"]

MOST_NAMES = 20
"""Names of containers of one service that are counted."""


MOST_GONE = 1000
"""Containers of pods that are not there any more whose counts are kept: one that is there again is not counted anew."""


class Restarts:
    """A counter for each container of a workload that never falls: a sum over the pods there are would, when one goes.

    It begins at zero: what was before is not known of pods that are gone, and a sum over the others would look like
    restarts to whoever saw the counter of a process before.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], int] | None = None
        self._totals: Counter[str] = Counter()

    def take(self, pods: Iterable[Pod]) -> Mapping[str, int]:
        """Take in the pods as they are now; return how often each container was restarted, by its name."""
        now = {(pod.uid, each.name): each.restarts for pod in pods for each in pod.containers}
        seen = now if self._seen is None else self._seen
        for key, count in now.items():
            self._totals[key[1]] += max(0, count - seen.get(key, 0))
        gone = [key for key in seen if key not in now][-MOST_GONE:]
        self._seen = {key: seen[key] for key in gone} | now
        for name in [name for _, name in now] if len(self._totals) > MOST_NAMES else ():
            self._totals[name] = self._totals.pop(name)  # those that there are come last: the others are forgotten first
        for name in list(self._totals)[: max(0, len(self._totals) - MOST_NAMES)]:
            del self._totals[name]
        return self._totals

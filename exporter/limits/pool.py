"""Limits that are about a service over all its targets: what each has measured is added up as it changes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from exporter.limits.entries import LIMITS
from exporter.limits.measures import Share
from exporter.limits.model import Over

__all__ = ["Pool"]

_POOLED = {limit.threshold: (limit, limit.measure) for limit in LIMITS if limit.pooled and isinstance(limit.measure, Share)}


class Pool:
    """The targets of one service, added up. To change it costs the same, however many they are.

    Attributes:
        over: What is over its limit.
    """

    __slots__ = ("_parts", "_sums", "over")

    def __init__(self) -> None:
        self.over: tuple[Over, ...] = ()
        self._parts: dict[Hashable, Mapping[str, tuple[float, float]]] = {}
        self._sums: dict[str, tuple[float, float]] = {}

    def put(self, key: Hashable, parts: Mapping[str, tuple[float, float]]) -> None:
        """Take in what a target has measured, in place of what it had: a part and a whole, by threshold."""
        for threshold, (part, whole) in self._parts.pop(key, {}).items():
            self._add(threshold, -part, -whole)
        if parts:
            self._parts[key] = parts
            for threshold, (part, whole) in parts.items():
                self._add(threshold, part, whole)

    def judge(self, at: float, thresholds: Mapping[str, float]) -> None:
        """Hold the sums against the limits.

        Args:
            at: Unix seconds.
            thresholds: By name.
        """
        if not self._parts and not self.over:
            return
        since = {over.limit.threshold: over.since for over in self.over}
        found = []
        for name, (limit, share) in _POOLED.items():
            value = share.of(*self._sums.get(name, (0.0, 0.0)))
            if value is not None and name in thresholds and limit.test(thresholds[name])(value):
                found.append(Over(limit, (), value, thresholds[name], since.get(name, at), at))
        self.over = tuple(found)

    def _add(self, threshold: str, part: float, whole: float) -> None:
        parts, wholes = self._sums.get(threshold, (0.0, 0.0))
        self._sums[threshold] = parts + part, wholes + whole

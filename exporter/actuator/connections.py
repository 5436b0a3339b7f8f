"""Warm and cold: exchanges over a kept-alive connection, and now and then one over a new connection."""

from __future__ import annotations

from exporter.metrics.family import gauge
from exporter.probing.attempt import Attempt
from exporter.verdict import Stage

__all__ = ["METRICS", "Connections", "Turns"]

EXCHANGE_SECONDS = gauge(
    "probe_http_exchange_seconds",
    "Time of the last health exchange that worked, over a kept-alive connection (warm) and over a new one, connecting "
    "included (cold).",
    "connection",
)
CONNECT_SECONDS = gauge(
    "probe_http_connect_seconds", "Time that the last new connection took to make: resolve, connect and TLS handshake."
)
METRICS = (EXCHANGE_SECONDS, CONNECT_SECONDS)


class Turns:
    """Tells when a new connection is due: after so many exchanges over a kept one; 0: never.

    A kept connection says nothing of whether the application still takes new ones. An exchange over a new one that fails is
    followed by others, until one works: else a kept one would hide it.
    """

    def __init__(self, cold_every: int) -> None:
        self._every = cold_every
        self._warm_in_a_row = 0

    @property
    def fresh(self) -> bool:
        """Whether the next exchange is to make a new connection."""
        return 0 < self._every <= self._warm_in_a_row

    def worked(self, reused: bool) -> None:
        """Take in an exchange that worked."""
        self._warm_in_a_row = self._warm_in_a_row + 1 if reused else 0


class Connections:
    """Takes turns between kept and new connections, and keeps what exchanges over both took."""

    def __init__(self, cold_every: int) -> None:
        self._turns = Turns(cold_every)
        self._seconds: dict[str, float] = {}
        self._connect: float | None = None

    @property
    def fresh(self) -> bool:
        """Whether the next exchange is to make a new connection."""
        return self._turns.fresh

    def took(self, reused: bool, attempt: Attempt) -> None:
        """Take in an exchange that worked, and record the last of both kinds."""
        if not reused and not self.fresh:
            self._seconds.pop("warm", None)  # no connection is kept any more, or none yet: what one took may be long ago
        self._turns.worked(reused)
        phases = attempt.phases
        self._seconds["warm" if reused else "cold"] = sum(phases.values())
        if not reused:
            self._connect = sum(phases.get(stage, 0.0) for stage in (Stage.RESOLVE, Stage.CONNECT, Stage.TLS))
        for connection, seconds in self._seconds.items():
            attempt.record(EXCHANGE_SECONDS, seconds, connection)
        if self._connect is not None:
            attempt.record(CONNECT_SECONDS, self._connect)

    def failed(self, *, fresh: bool) -> None:
        """Forget what a failed exchange would have replaced."""
        self._seconds.pop("cold" if fresh else "warm", None)
        if fresh:
            self._connect = None

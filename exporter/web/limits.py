"""How much of the exporter a client may use: its endpoints are open to a whole network, so everything is bounded."""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["ServerLimits"]

_ENOUGH = 6000
"""Descriptors that probes of some thousand targets, and all else but clients, have enough of."""

_SEAT = 294_912
"""Bytes of data that a connection may take: uvloop sets 256 KiB aside for each that speaks TLS, used or not."""

_USED = 65_536
"""Bytes of memory that one uses of them."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds of the server; times are seconds, sizes are bytes.

    Attributes:
        connections: Open at once, so that strangers cannot take the probes' descriptors; one more takes the place of one
            that is idle, or whose client does not read, and is closed where there is none.
        health: The same of the listener for health.
        requests: Answers being made at once, but for those that are made once for all who ask or cost nothing; more get 503.
        heads: Bytes of requests that are not answered yet, of all connections; beyond it, whoever sends more than a little
            has one closed, of the client that sent the most, so that thousands who never end theirs do not take the memory.
        held: Bytes of large answers in memory; beyond it, those that nobody reads on are given up.
        probes: Runs on demand at once; more get 503.
        events: Pages that are told of changes at once; more load themselves anew.
        idle: How long a connection may take to send a whole request head, the first or the next.
            Above the usual scrape intervals, so that a scraper's connection is kept.
        send: How long a client may take to read an answer.
        probe: How long a run on demand may take, waiting for its slot included.
        shutdown: How long requests under way may take to end, and as long again to be cancelled.
        line: Longest request line and longest header.
        headers: Most headers of a request.
        body: Longest body of a request; `/probe/now` alone reads one.
        forms: Forms that are being read at once; more get 503.
        form: How long the body of one may take to come.
    """

    connections: int = 3072
    health: int = 64
    requests: int = 64
    heads: int = 8_388_608
    held: int = 67_108_864
    probes: int = 16
    events: int = 64
    idle: float = 75.0
    send: float = 30.0
    probe: float = 60.0
    shutdown: float = 0.6
    line: int = 8190
    headers: int = 100
    body: int = 65_536
    forms: int = 16
    form: float = 3.0

    def within(self, descriptors: int, data: int | None = None, memory: int | None = None) -> ServerLimits:
        """Return the same for a process that may have so many descriptors: clients may take a tenth of few, of very few a
        quarter, and a third of those beyond what the largest fleet's probes open, so that idle ones keep neither scrapers
        nor probes out; and what lasts, an eighth of that each.

        Args:
            descriptors: Most that the process may have open.
            data: Most bytes of data that it may set aside, of which connections may take a quarter; None: no limit.
            memory: Most bytes of memory that it may use; likewise.
        """
        share = min(max(64, descriptors // 10, (descriptors - _ENOUGH) // 3), descriptors // 4)
        rooms = [limit // 4 // each for limit, each in ((data, _SEAT), (memory, _USED)) if limit is not None]
        seats = max(4, min(self.connections, share * 2 // 3, *rooms))
        lasting = {name: min(getattr(self, name), max(1, seats // 8)) for name in ("requests", "probes", "events", "forms")}
        return replace(self, connections=seats, health=min(self.health, max(2, share // 6)), **lasting)

"""How much of the exporter a client may use: its endpoints are open to a whole network, so everything is bounded."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ServerLimits"]


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds of the server; times are seconds, sizes are bytes.

    Attributes:
        connections: Open at once, so that strangers cannot take the probes' descriptors; one more takes the place of one
            that is idle, or whose client does not read, and is closed where there is none.
        health: The same of the listener for health.
        requests: Answers being made at once, but for those that are made once for all who ask or cost nothing; more get 503.
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
        body: Longest body of a request; no endpoint reads one.
    """

    connections: int = 512
    health: int = 64
    requests: int = 64
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

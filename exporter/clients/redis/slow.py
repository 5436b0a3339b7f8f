"""SLOWLOG and LATENCY: what a server itself found slow."""

from __future__ import annotations

import re
from dataclasses import dataclass

from exporter.clients.redis.connection import Connection
from exporter.clients.redis.resp import Answer
from exporter.verdict import Failure, Reason, Stage

__all__ = ["LatencyEvent", "read_latency_events", "read_slow_log_length"]

MAX_EVENTS = 40
"""Kinds of events that are read; servers know some twenty."""

_EVENT = re.compile(r"[a-z0-9_-]{1,40}", re.ASCII)


@dataclass(frozen=True, slots=True)
class LatencyEvent:
    """The latest event of a kind that took longer than latency-monitor-threshold.

    Attributes:
        name: Its kind: `command`, `fork`, `aof-write` …
        at: When, Unix seconds.
        took: Seconds that it took.
        longest: Seconds that the longest of its kind took.
    """

    name: str
    at: float
    took: float
    longest: float


async def read_slow_log_length(connection: Connection) -> float:
    """Return how many commands the slow log holds: those that took longer than slowlog-log-slower-than.

    Raises:
        Failure, OSError: As for `Connection.ask`; `malformed` where it is not a number.
    """
    answer = await connection.ask("SLOWLOG", "LEN")
    if not isinstance(answer, int):
        raise Failure(Stage.CHECK, Reason.MALFORMED, "the answer to SLOWLOG LEN is not a number")
    return float(answer)


async def read_latency_events(connection: Connection) -> list[LatencyEvent]:
    """Return the latest event of each kind; none where latency-monitor-threshold is 0, as it is unless set.

    Raises:
        Failure, OSError: As for `Connection.ask`; `malformed` where it cannot be read.
    """
    answer = await connection.ask("LATENCY", "LATEST")
    if not isinstance(answer, list):
        raise Failure(Stage.CHECK, Reason.MALFORMED, "the answer to LATENCY LATEST is not an array")
    return [_event(each) for each in answer[:MAX_EVENTS]]


def _event(answer: Answer) -> LatencyEvent:
    match answer:  # later versions add to them
        case [bytes(name), int(at), int(took), int(longest), *_]:
            text = name.decode("ascii", "replace")
            if _EVENT.fullmatch(text) is not None:
                return LatencyEvent(text, float(at), took / 1000, longest / 1000)
    raise Failure(Stage.CHECK, Reason.MALFORMED, "LATENCY LATEST: an event that is none")

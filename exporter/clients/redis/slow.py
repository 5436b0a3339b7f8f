"""SLOWLOG and LATENCY: what a server itself found slow."""

from __future__ import annotations

import re
from dataclasses import dataclass

from exporter.clients.redis.connection import Connection
from exporter.clients.redis.resp import Answer
from exporter.verdict import Failure, Reason, Stage

__all__ = ["LatencyEvent", "SlowLog", "SlowLogCounter", "read_latency_events", "read_slow_log"]

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


@dataclass(frozen=True, slots=True)
class SlowLog:
    """The commands that took longer than slowlog-log-slower-than.

    Attributes:
        length: How many it holds.
        newest: The number of the newest; None where it is empty. They are numbered from 0 from the server's start on, also
            over SLOWLOG RESET.
    """

    length: int
    newest: int | None


class SlowLogCounter:
    """Counts what comes into a slow log, from the first reading on."""

    def __init__(self) -> None:
        self._total = 0
        self._run: str | None = None
        self._looked = False
        self._next: int | None = None
        """The number that the next command will have; None where nothing has told, in a log that was found empty."""

    def added(self, run: str | None, log: SlowLog) -> int:
        """Take a reading in, and return how many commands there were since the first.

        Args:
            run: The run of the server that tells it, which numbers from 0; None where it is not known.
            log: The reading.
        """
        if run is not None:
            if self._run is not None and run != self._run:
                self._next = 0
            self._run = run
        following = log.newest + 1 if log.newest is not None else self._next
        if self._looked and following is not None:
            self._total += log.length if self._next is None else _since(self._next, following)
        self._looked, self._next = True, following
        return self._total


def _since(before: int, following: int) -> int:
    """Return how many numbers were given; lower ones are of a server that began anew, where nothing else tells of it."""
    return following - before if following >= before else following


async def read_slow_log(connection: Connection) -> SlowLog:
    """Ask for it. Of its entries one is read, and of that nothing but its number: the rest may hold what clients sent.

    Raises:
        Failure, OSError: As for `Connection.ask`; `malformed` where it cannot be read.
    """
    length, newest = await connection.ask("SLOWLOG", "LEN"), await connection.ask("SLOWLOG", "GET", "1")
    match length, newest:
        case int(), []:
            return SlowLog(0, None)
        case int(), [[int(number), *_]] if number >= 0:
            return SlowLog(length, number)
    raise Failure(Stage.CHECK, Reason.MALFORMED, "the answers to SLOWLOG LEN and SLOWLOG GET are not those of a log")


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

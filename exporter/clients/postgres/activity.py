"""Who is connected to a server, and what they are doing: pg_stat_activity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from exporter.clients.postgres.session import Session, reading
from exporter.clients.postgres.wire import Row
from exporter.verdict import Failure, Reason, Stage

__all__ = ["STATES", "Activity", "read_activity"]

STATES = (
    "active",
    "idle",
    "idle in transaction",
    "idle in transaction (aborted)",
    "fastpath function call",
    "disabled",
    "starting",
    "other",
    "hidden",
)
"""States of sessions: PostgreSQL's own words; `other` for words that it may learn, and `hidden`."""

_LIMIT = "SELECT current_setting('max_connections')"
_ACTIVITY = """
SELECT coalesce(state, 'hidden') AS state, count(*) AS sessions,
  count(*) FILTER (WHERE state = 'idle' AND query_start < now() - interval '1 hour') AS idle,
  coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 AS transaction,
  coalesce(max(extract(epoch FROM clock_timestamp() - query_start)) FILTER (WHERE state = 'active'), 0)::float8 AS query
FROM pg_stat_activity
WHERE coalesce(backend_type, 'client backend') = 'client backend' AND (datid IS NOT NULL OR state = 'starting')
  AND pid <> pg_backend_pid()
GROUP BY 1"""
_MAX_STATES = 100


@dataclass(frozen=True, slots=True)
class Activity:
    """The sessions of a server, this one left out.

    Attributes:
        max_connections: Most sessions that it takes.
        sessions: How many in each of `STATES`.
        idle: Idle for over an hour.
        transaction: Age of the oldest open transaction, in seconds; 0 without one.
        query: Age of the longest running query, in seconds; 0 without one.
    """

    max_connections: int
    sessions: Mapping[str, int]
    idle: int
    transaction: float
    query: float

    @property
    def hidden(self) -> bool:
        """Whether there are sessions whose state the role may not see: then the ages say too little."""
        return self.sessions["hidden"] > 0


async def read_activity(session: Session, seconds: float) -> Activity:
    """Read it, within so many seconds for each statement.

    Raises:
        Failure, OSError, TimeoutError: As for `reading`; `malformed` for an answer that is not what was asked for.
    """
    async with reading(session, seconds):
        limits = await session.query(_LIMIT)
        rows = await session.query(_ACTIVITY, _MAX_STATES)
    try:
        return _activity(limits, rows)
    except (ValueError, TypeError):
        raise Failure(Stage.QUERY, Reason.MALFORMED, "the server's answer cannot be read") from None


def _activity(limits: list[Row], rows: list[Row]) -> Activity:
    ((limit,),) = limits
    sessions = dict.fromkeys(STATES, 0)
    idle, transaction, query = 0, 0.0, 0.0
    for state, count, idling, oldest, longest in rows:
        sessions[state if state in sessions else "other"] += int(_number(count))
        idle += int(_number(idling))
        transaction = max(transaction, _number(oldest))
        query = max(query, _number(longest))
    return Activity(int(_number(limit)), sessions, idle, transaction, query)


def _number(text: str | None) -> float:
    number = float(text or "")
    if not isfinite(number):
        raise ValueError(text)
    return number

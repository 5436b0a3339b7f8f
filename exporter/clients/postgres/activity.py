"""Who is connected to a server, and what they are doing: pg_stat_activity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporter.clients.postgres.numbers import number
from exporter.clients.postgres.session import Session
from exporter.clients.postgres.wire import Row
from exporter.verdict import Failure, Reason, Stage

__all__ = ["CLIENTS", "IDLE_AFTER", "MAX_CLIENTS", "STATES", "Activity", "Holder", "read_activity"]

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

IDLE_AFTER = 3600.0
"""Seconds in state `idle` after which a session counts as left behind: the runbook's hour."""

MAX_CLIENTS = 20
"""Users with their applications that are told apart, those with the most sessions; the rest are one."""

CLIENTS = """\
coalesce(backend_type, 'client backend') = 'client backend' AND (datid IS NOT NULL OR state = 'starting')
  AND pid <> pg_backend_pid()"""
"""Which rows of pg_stat_activity are sessions of clients, this one left out."""

_LIMITS = """
SELECT current_setting('max_connections'), current_setting('max_connections')::int
  - current_setting('superuser_reserved_connections')::int
  - coalesce(current_setting('reserved_connections', true)::int, 0)"""
_ACTIVITY = """
SELECT coalesce(state, 'hidden'), count(*),
  coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8,
  coalesce(max(extract(epoch FROM clock_timestamp() - query_start)) FILTER (WHERE state = 'active'), 0)::float8,
  coalesce(max(extract(epoch FROM clock_timestamp() - state_change)) FILTER (WHERE state LIKE 'idle in %'), 0)::float8
FROM pg_stat_activity WHERE {clients} GROUP BY 1"""
_HOLDERS = """
WITH sessions AS (
  SELECT coalesce(usename::text, usesysid::text, '') AS client, coalesce(application_name, '') AS application,
    coalesce(state, 'hidden') AS state,
    state = 'idle' AND state_change < clock_timestamp() - make_interval(secs => {idle}) AS idle
  FROM pg_stat_activity WHERE datname = current_database() AND {clients}
), places AS (
  SELECT client, application, row_number() OVER (ORDER BY count(*) DESC, client, application) <= {most} AS named
  FROM sessions GROUP BY 1, 2
)
SELECT CASE WHEN named THEN client END, CASE WHEN named THEN application END, state, count(*), count(*) FILTER (WHERE idle)
FROM sessions JOIN places USING (client, application) GROUP BY 1, 2, 3"""
_MAX_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Holder:
    """Sessions of one user and application in one state, in the database of this session.

    Attributes:
        user: The role; None for all that are not told apart.
        application: What they call themselves, `application_name`; None for all that are not told apart.
        state: One of `STATES`.
        sessions: How many.
        idle: How many of them have been idle for over an hour.
    """

    user: str | None
    application: str | None
    state: str
    sessions: int
    idle: int


@dataclass(frozen=True, slots=True)
class Activity:
    """The sessions of a server, this one left out.

    Attributes:
        max_connections: Most sessions that it takes.
        usable: Most sessions at which it still takes those of ordinary roles.
        sessions: How many in each of `STATES`.
        holders: Whose those of this database are.
        transaction: Age of the oldest open transaction, in seconds; 0 without one.
        query: Age of the longest running query, in seconds; 0 without one.
        forgotten: How long the longest has been idle in its transaction, in seconds; 0 without one.
    """

    max_connections: int
    usable: int
    sessions: Mapping[str, int]
    holders: Sequence[Holder]
    transaction: float
    query: float
    forgotten: float

    @property
    def hidden(self) -> bool:
        """Whether there are sessions whose state the role may not see: then the ages say too little."""
        return self.sessions["hidden"] > 0

    @property
    def idle(self) -> int:
        """Sessions of this database that have been idle for over an hour."""
        return sum(holder.idle for holder in self.holders)


async def read_activity(session: Session, seconds: float, idle_after: float = IDLE_AFTER) -> Activity:
    """Read it.

    Args:
        session: With the server.
        seconds: For each statement.
        idle_after: Seconds from which on a session counts as idle for long.

    Raises:
        Failure, OSError, TimeoutError: As for `Session.read`; `malformed` for an answer that is not what was asked for.
    """
    states = _ACTIVITY.format(clients=CLIENTS)
    holders = _HOLDERS.format(clients=CLIENTS, most=MAX_CLIENTS, idle=float(idle_after))
    tables = await session.read(seconds, f"{_LIMITS}; {states}; {holders}", _MAX_ROWS)
    try:
        return _activity(*tables)
    except (ValueError, TypeError):
        raise Failure(Stage.QUERY, Reason.MALFORMED, "the server's answer cannot be read") from None


def _activity(limits: list[Row], states: list[Row], holders: list[Row]) -> Activity:
    ((most, usable),) = limits
    sessions = dict.fromkeys(STATES, 0)
    transaction, query, forgotten = 0.0, 0.0, 0.0
    for state, count, oldest, longest, idle in states:
        sessions[_known(state)] += int(number(count))
        transaction = max(transaction, number(oldest))
        query = max(query, number(longest))
        forgotten = max(forgotten, number(idle))
    found = [
        Holder(user, application, _known(state), int(number(count)), int(number(idle)))
        for user, application, state, count, idle in holders
    ]
    return Activity(int(number(most)), int(number(usable)), sessions, found, transaction, query, forgotten)


def _known(state: str | None) -> str:
    return state if state is not None and state in STATES else "other"

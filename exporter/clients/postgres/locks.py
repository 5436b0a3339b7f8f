"""Who waits for locks, and for whom: pg_locks and pg_blocking_pids, which every role may ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporter.clients.postgres.numbers import number, number_or_none
from exporter.clients.postgres.session import Session
from exporter.clients.postgres.wire import Row
from exporter.verdict import Failure, Reason, Stage

__all__ = ["MAX_WAITERS", "Blocker", "Waits", "chain_length", "read_waits", "roots_of"]

MAX_WAITERS = 200
"""Sessions that are asked for whom they wait, those that have waited longest; all of them are counted."""

_WAITS = """
WITH waits AS (
  SELECT l.pid, coalesce(min((to_jsonb(l) ->> 'waitstart')::timestamptz), min(a.query_start)) AS since
  FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
  WHERE NOT l.granted AND l.pid <> pg_backend_pid() GROUP BY l.pid
), edges AS (
  SELECT pid, pg_blocking_pids(pid) AS blockers FROM waits ORDER BY since, pid LIMIT {most}
), holders AS (
  SELECT DISTINCT unnest(blockers) AS pid FROM edges EXCEPT SELECT pid FROM edges LIMIT {most}
)
SELECT 'all', count(*)::text, extract(epoch FROM clock_timestamp() - min(since))::float8::text, NULL, NULL, NULL FROM waits
UNION ALL SELECT 'waits', pid::text, array_to_string(blockers, ' '), NULL, NULL, NULL FROM edges
UNION ALL SELECT 'holds', h.pid::text,
  extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.state_change))::float8::text,
  coalesce(a.usename::text, ''), coalesce(nullif(a.application_name, ''), a.backend_type, ''),
  CASE WHEN h.pid = 0 THEN 'prepared transaction' ELSE coalesce(a.state, 'hidden') END
FROM holders h LEFT JOIN pg_stat_activity a ON a.pid = h.pid"""
"""`waitstart` is of version 14; before, a session has waited since its query began, at most. Process 0 is a prepared
transaction, which is nobody's session."""


@dataclass(frozen=True, slots=True)
class Blocker:
    """A session that waits for nobody, and for which others wait: the root of a chain.

    Attributes:
        user: Its role.
        application: Its `application_name`, or what kind of process it is.
        state: What it does: a state of pg_stat_activity, `prepared transaction`, or `hidden`.
        seconds: Age of its transaction, or for how long it has been in its state without one; None where that is hidden.
        waiting: Sessions that wait for it, directly or behind others.
    """

    user: str
    application: str
    state: str
    seconds: float | None
    waiting: int


@dataclass(frozen=True, slots=True)
class Waits:
    """The sessions of a server that wait for locks.

    Attributes:
        sessions: How many.
        seconds: For how long the first of them has waited; 0 without any, None where that is hidden.
        chain: Sessions in the longest chain of those that wait for one another.
        blockers: The roots, the one that most wait for first.
    """

    sessions: int
    seconds: float | None
    chain: int
    blockers: Sequence[Blocker]


async def read_waits(session: Session, seconds: float) -> Waits:
    """Read it, within so many seconds.

    Raises:
        Failure, OSError, TimeoutError: As for `Session.read`; `malformed` for an answer that is not what was asked for.
    """
    tables = await session.read(seconds, _WAITS.format(most=MAX_WAITERS), 2 * MAX_WAITERS + 1)
    try:
        (rows,) = tables
        return _waits(rows)
    except (ValueError, TypeError):
        raise Failure(Stage.QUERY, Reason.MALFORMED, "the server's answer cannot be read") from None


def _waits(rows: list[Row]) -> Waits:
    ((_, sessions, longest, *_),) = [row for row in rows if row[0] == "all"]
    edges = {int(number(row[1])): _processes(row[2]) for row in rows if row[0] == "waits"}
    behind = roots_of(edges)
    blockers = [
        Blocker(user or "", application or "", state or "", number_or_none(seconds), behind.get(int(number(pid)), 0))
        for kind, pid, seconds, user, application, state in rows
        if kind == "holds"
    ]
    blockers.sort(key=lambda blocker: (-blocker.waiting, -(blocker.seconds or 0.0), blocker.user, blocker.application))
    count = int(number(sessions))
    seconds = number_or_none(longest) if count else 0.0
    if seconds is not None:
        seconds = max(0.0, seconds)  # less than none since the server's clock was set back
    return Waits(count, seconds, chain_length(edges), blockers)


def _processes(text: str | None) -> tuple[int, ...]:
    return tuple(map(int, (text or "").split(maxsplit=MAX_WAITERS)[:MAX_WAITERS]))


def chain_length(edges: Mapping[int, Sequence[int]]) -> int:
    """Return how many sessions are in the longest chain in which each waits for the next; a circle is gone through once.

    Args:
        edges: By process that waits, those that it waits for.
    """
    lengths: dict[int, int] = {}

    def length(pid: int) -> int:
        if pid in lengths or pid not in edges:
            return lengths.get(pid, 0)
        lengths[pid] = 0  # while it is under way: deadlocks are circles
        lengths[pid] = 1 + max(map(length, edges[pid]), default=0)
        return lengths[pid]

    return max(map(length, edges), default=0)


def roots_of(edges: Mapping[int, Sequence[int]]) -> dict[int, int]:
    """Return of each process that waits for nobody how many wait for it, directly or behind others.

    Args:
        edges: By process that waits, those that it waits for.
    """
    found: dict[int, frozenset[int]] = {}

    def roots(pid: int) -> frozenset[int]:
        if pid not in edges:
            return frozenset((pid,))
        if pid not in found:
            found[pid] = frozenset()  # while it is under way
            found[pid] = frozenset().union(*map(roots, edges[pid]))
        return found[pid]

    counts: dict[int, int] = {}
    for pid in edges:
        for root in roots(pid):
            counts[root] = counts.get(root, 0) + 1
    return counts

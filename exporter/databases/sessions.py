"""Sessions of a database: how many, whose, what they do, and who waits for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.metrics.family import gauge
from exporter.metrics.store import LabelValues
from exporter.probing.attempt import Attempt

if TYPE_CHECKING:
    from exporter.clients.postgres.activity import Activity, Holder
    from exporter.clients.postgres.locks import Waits

__all__ = ["ACTIVITY", "LOCKS", "record_activity", "record_waits"]

CONNECTIONS = gauge(
    "probe_postgres_connections",
    "Client sessions by state, this probe's own left out; hidden are those whose state the role may not see.",
    "state",
)
MAX_CONNECTIONS = gauge("probe_postgres_max_connections", "Most sessions that the server takes: max_connections.")
USABLE_CONNECTIONS = gauge(
    "probe_postgres_usable_connections",
    "Sessions up to which ordinary roles are let in: max_connections without those that are reserved.",
)
CLIENT_CONNECTIONS = gauge(
    "probe_postgres_client_connections",
    "Client sessions in the database by user, application_name and state: of the 20 with the most, the rest as (others).",
    "user", "application", "state",
)  # fmt: skip
IDLE = gauge(
    "probe_postgres_idle_connections_over_1h",
    "Client sessions in the database that have been in state idle for over an hour; absent while some are hidden.",
)
CLIENT_IDLE = gauge(
    "probe_postgres_client_idle_connections_over_1h",
    "Those that have been idle for over an hour, by user and application_name; the rest as (others).",
    "user", "application",
)  # fmt: skip
LONGEST_TRANSACTION = gauge(
    "probe_postgres_longest_transaction_seconds",
    "Age of the oldest open transaction of a client; 0 without one, absent while sessions are hidden.",
)
LONGEST_QUERY = gauge(
    "probe_postgres_longest_query_seconds",
    "Age of the longest query that a client is running; 0 without one, absent while sessions are hidden.",
)
LONGEST_IDLE_IN_TRANSACTION = gauge(
    "probe_postgres_longest_idle_in_transaction_seconds",
    "For how long the client that has been idle in its transaction for longest has; 0 without one, absent while hidden.",
)
LOCK_WAITING = gauge("probe_postgres_lock_waiting_sessions", "Sessions that wait for a lock that another one holds.")
LONGEST_LOCK_WAIT = gauge(
    "probe_postgres_longest_lock_wait_seconds",
    "Longest time that a session under way has waited for a lock; 0 without one, absent where that is hidden.",
)
LOCK_CHAIN = gauge(
    "probe_postgres_lock_chain_sessions", "Sessions in the longest chain of those that wait for one another; 0 without one."
)
BLOCKED = gauge(
    "probe_postgres_blocked_sessions",
    "Sessions that wait, directly or behind others, for those of a user, application_name and state that wait for nobody.",
    "user", "application", "state",
)  # fmt: skip
BLOCKING = gauge(
    "probe_postgres_blocking_transaction_seconds",
    "Age of the oldest transaction that others wait for, of those of a user, application_name and state.",
    "user", "application", "state",
)  # fmt: skip

ACTIVITY = (
    CONNECTIONS, MAX_CONNECTIONS, USABLE_CONNECTIONS, CLIENT_CONNECTIONS, IDLE, CLIENT_IDLE,
    LONGEST_TRANSACTION, LONGEST_QUERY, LONGEST_IDLE_IN_TRANSACTION,
)  # fmt: skip
LOCKS = (LOCK_WAITING, LONGEST_LOCK_WAIT, LOCK_CHAIN, BLOCKED, BLOCKING)

MAX_BLOCKERS = 5
"""Users with their applications and states that are told apart among those that others wait for."""

OTHERS = "(others)"
"""User and application of sessions that are not told apart."""


def record_activity(part: Attempt, activity: Activity) -> None:
    """Record who is connected."""
    part.record(MAX_CONNECTIONS, activity.max_connections)
    part.record(USABLE_CONNECTIONS, activity.usable)
    for state, count in activity.sessions.items():
        part.record(CONNECTIONS, count, state)
    held: dict[LabelValues, float] = {}
    idle: dict[LabelValues, float] = {}
    for holder in activity.holders:
        who = _names(holder)  # several may have the same labels: in unknown states, or who is called as the rest is
        held[*who, holder.state] = held.get((*who, holder.state), 0) + holder.sessions
        if holder.idle:
            idle[who] = idle.get(who, 0) + holder.idle
    part.record_all({CLIENT_CONNECTIONS: held})
    if activity.hidden:
        return  # what their times are is not known, and the others' say too little
    part.record(IDLE, activity.idle)
    part.record_all({CLIENT_IDLE: idle})
    part.record(LONGEST_TRANSACTION, activity.transaction)
    part.record(LONGEST_QUERY, activity.query)
    part.record(LONGEST_IDLE_IN_TRANSACTION, activity.forgotten)


def _names(holder: Holder) -> tuple[str, str]:
    return (OTHERS if holder.user is None else holder.user, OTHERS if holder.application is None else holder.application)


def record_waits(part: Attempt, waits: Waits) -> None:
    """Record who waits for locks."""
    part.record(LOCK_WAITING, waits.sessions)
    part.record(LOCK_CHAIN, waits.chain)
    if waits.seconds is not None:
        part.record(LONGEST_LOCK_WAIT, waits.seconds)
    waiting: dict[LabelValues, float] = {}
    oldest: dict[LabelValues, float] = {}
    for blocker in waits.blockers:
        who = (blocker.user, blocker.application, blocker.state)
        if who not in waiting and len(waiting) >= MAX_BLOCKERS:
            who = (OTHERS, OTHERS, OTHERS)
        waiting[who] = waiting.get(who, 0) + blocker.waiting
        if blocker.seconds is not None:
            oldest[who] = max(oldest.get(who, 0.0), blocker.seconds)
    part.record_all({BLOCKED: waiting, BLOCKING: oldest})

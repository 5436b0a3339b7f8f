"""What a pgbouncer says of itself: its console, which is a database of its own that knows no SQL, only SHOW.

Columns are taken by their names: versions add some in between. https://www.pgbouncer.org/usage.html#admin-console
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporter.clients.postgres.numbers import number
from exporter.clients.postgres.session import Session
from exporter.verdict import Failure, Reason, Stage

__all__ = ["CONSOLE", "Database", "Pool", "Pooler", "Traffic", "ask_version", "read_pools", "read_traffic"]

CONSOLE = "pgbouncer"
"""The database that is its console; its own pool and traffic are left out."""

MAX_ROWS = 5000
"""Pools, or databases; each user has a pool for each database."""

_SERVERS = {
    "active": ("sv_active",),
    "idle": ("sv_idle",),
    "used": ("sv_used",),
    "tested": ("sv_tested",),
    "login": ("sv_login",),
    "cancelling": ("sv_active_cancel", "sv_being_canceled"),
}
_LATER = frozenset({"sv_active_cancel", "sv_being_canceled"})
"""Columns of version 1.18 and later."""


@dataclass(frozen=True, slots=True)
class Pool:
    """The pool of one user of one database.

    Attributes:
        database: As clients call it.
        user: Who logs in to the server.
        active: Clients that have a server connection, or none of it to do.
        waiting: Clients that have sent a query and have no server connection for it.
        wait: For how long the first of them has waited, in seconds; 0 without one.
        servers: Server connections by what they do.
    """

    database: str
    user: str
    active: float
    waiting: float
    wait: float
    servers: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Database:
    """A database that is pooled.

    Attributes:
        name: As clients call it.
        pool_size: Most server connections of each of its pools.
        connections: Server connections to it.
        max_connections: Most of them, of all pools together; 0 where only pools have a size.
        paused: It was told to PAUSE: every client waits.
        disabled: It was told to DISABLE: no new client is let in.
    """

    name: str
    pool_size: float
    connections: float
    max_connections: float
    paused: bool
    disabled: bool


@dataclass(frozen=True, slots=True)
class Pooler:
    """A pgbouncer.

    Attributes:
        pools: Its pools.
        databases: Its databases.
        clients: Clients that are connected, this one included.
        max_clients: Most that are let in.
    """

    pools: Sequence[Pool]
    databases: Sequence[Database]
    clients: float
    max_clients: float


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a database has counted since the pgbouncer was started.

    Attributes:
        transactions: Transactions.
        queries: Queries.
        received: Bytes from clients.
        sent: Bytes to clients.
        in_transaction: Seconds that clients were in transactions with the server.
        in_query: Seconds that the server took for queries.
        waited: Seconds that clients waited for a server connection.
    """

    transactions: float
    queries: float
    received: float
    sent: float
    in_transaction: float
    in_query: float
    waited: float


async def ask_version(session: Session) -> None:
    """Ask for what every version answers.

    Raises:
        Failure, OSError: As for `Session.show`.
    """
    await session.show("SHOW VERSION")


async def read_pools(session: Session) -> Pooler:
    """Read pools, databases and limits.

    Raises:
        Failure, OSError: As for `Session.show`; `malformed` for an answer that is not what was asked for.
    """
    answers = await session.show("SHOW POOLS", "SHOW DATABASES", "SHOW LISTS", "SHOW CONFIG", most=MAX_ROWS)
    pools, databases, lists, settings = answers
    try:
        counts = {row["list"]: row["items"] for row in lists}
        limits = {row["key"]: row["value"] for row in settings}
        return Pooler(
            [_pool(row) for row in pools if row["database"] != CONSOLE],
            [_database(row) for row in databases if row["name"] != CONSOLE],
            number(counts["used_clients"]),
            number(limits["max_client_conn"]),
        )
    except (KeyError, ValueError):
        raise _unreadable() from None


def _pool(row: Mapping[str, str | None]) -> Pool:
    return Pool(
        row["database"] or "",
        row["user"] or "",
        number(row["cl_active"]),
        number(row["cl_waiting"]),
        number(row["maxwait"]) + number(row["maxwait_us"]) / 1e6,
        {
            state: sum(number(row[name]) for name in names if name in row or name not in _LATER)
            for state, names in _SERVERS.items()
        },
    )


def _database(row: Mapping[str, str | None]) -> Database:
    return Database(
        row["name"] or "",
        number(row["pool_size"]),
        number(row["current_connections"]),
        number(row["max_connections"]),
        row["paused"] == "1",
        row["disabled"] == "1",
    )


async def read_traffic(session: Session) -> Mapping[str, Traffic]:
    """Read what each database has counted, by its name.

    Raises:
        Failure, OSError: As for `Session.show`; `malformed` for an answer that is not what was asked for.
    """
    (rows,) = await session.show("SHOW STATS", most=MAX_ROWS)
    try:
        return {row["database"] or "": _traffic(row) for row in rows if row["database"] != CONSOLE}
    except (KeyError, ValueError):
        raise _unreadable() from None


def _traffic(row: Mapping[str, str | None]) -> Traffic:
    return Traffic(
        number(row["total_xact_count"]),
        number(row["total_query_count"]),
        number(row["total_received"]),
        number(row["total_sent"]),
        number(row["total_xact_time"]) / 1e6,
        number(row["total_query_time"]) / 1e6,
        number(row["total_wait_time"]) / 1e6,
    )


def _unreadable() -> Failure:
    return Failure(Stage.QUERY, Reason.MALFORMED, "pgbouncer's answer cannot be read")

"""A pgbouncer: who has a connection of its pools, who waits for one, and what passes through it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple
from operator import add
from typing import TYPE_CHECKING

from exporter.metrics.family import counter, gauge
from exporter.metrics.store import LabelValues
from exporter.probing.attempt import Attempt

if TYPE_CHECKING:
    from exporter.clients.postgres.pgbouncer import Database, Pool, Pooler, Traffic

__all__ = ["LONGEST_WAIT", "MAX_TOLD_APART", "PGBOUNCER", "TrafficCounters", "record_pools"]

MAX_TOLD_APART = 50
"""Pools, and databases, that are told apart."""

OTHERS = "(others)"

CLIENTS = gauge(
    "probe_pgbouncer_clients", "Clients of a pool: active, or waiting for a server connection.", "database", "user", "state"
)
LONGEST_WAIT = gauge(
    "probe_pgbouncer_longest_wait_seconds",
    "For how long the client of a pool that waits for a server connection for longest has waited; 0 without one.",
    "database", "user",
)  # fmt: skip
SERVERS = gauge(
    "probe_pgbouncer_servers",
    "Server connections of a pool: active, idle, used, tested, login or cancelling.",
    "database", "user", "state",
)  # fmt: skip
POOL_SIZE = gauge("probe_pgbouncer_pool_size", "Most server connections of each pool of a database.", "database")
CONNECTIONS = gauge(
    "probe_pgbouncer_database_connections", "Server connections to a database, of all its pools.", "database"
)
MAX_CONNECTIONS = gauge(
    "probe_pgbouncer_database_max_connections",
    "Most server connections to a database, of all its pools; absent where only pools have a size.",
    "database",
)
PAUSED = gauge("probe_pgbouncer_database_paused", "1 while a database is paused: all its clients wait.", "database")
DISABLED = gauge("probe_pgbouncer_database_disabled", "1 while a database lets no new client in.", "database")
CLIENT_CONNECTIONS = gauge("probe_pgbouncer_client_connections", "Clients that are connected, this probe included.")
MAX_CLIENT_CONNECTIONS = gauge("probe_pgbouncer_max_client_connections", "Most clients that are let in: max_client_conn.")
TRANSACTIONS = counter("probe_pgbouncer_transactions_total", "Transactions of a database that passed through.", "database")
QUERIES = counter("probe_pgbouncer_queries_total", "Queries of a database that passed through.", "database")
RECEIVED = counter("probe_pgbouncer_received_bytes_total", "Bytes that clients of a database sent.", "database")
SENT = counter("probe_pgbouncer_sent_bytes_total", "Bytes that clients of a database were sent.", "database")
IN_TRANSACTION = counter(
    "probe_pgbouncer_transaction_seconds_total",
    "Time that server connections of a database were in transactions.",
    "database",
)
IN_QUERY = counter("probe_pgbouncer_query_seconds_total", "Time that the server took for queries of a database.", "database")
WAITED = counter(
    "probe_pgbouncer_wait_seconds_total", "Time that clients of a database waited for a server connection.", "database"
)
_COUNTED = (TRANSACTIONS, QUERIES, RECEIVED, SENT, IN_TRANSACTION, IN_QUERY, WAITED)
PGBOUNCER = (
    CLIENTS, LONGEST_WAIT, SERVERS, POOL_SIZE, CONNECTIONS, MAX_CONNECTIONS, PAUSED, DISABLED, CLIENT_CONNECTIONS,
    MAX_CLIENT_CONNECTIONS, *_COUNTED,
)  # fmt: skip


def record_pools(part: Attempt, found: Pooler) -> None:
    """Record pools, databases and limits."""
    part.record(CLIENT_CONNECTIONS, found.clients)
    part.record(MAX_CLIENT_CONNECTIONS, found.max_clients)
    _record_pools(part, found.pools)
    _record_databases(part, found.databases)


def _record_pools(part: Attempt, pools: Iterable[Pool]) -> None:
    """Record them, those with clients that wait first; those that are not told apart have theirs together."""
    clients: dict[LabelValues, float] = {}
    servers: dict[LabelValues, float] = {}
    waits: dict[LabelValues, float] = {}
    for pool in sorted(pools, key=lambda pool: (-pool.waiting, -pool.active, pool.database, pool.user)):
        who = (pool.database, pool.user) if len(waits) < MAX_TOLD_APART else (OTHERS, OTHERS)
        waits[who] = max(waits.get(who, 0.0), pool.wait)
        for state, count in (("active", pool.active), ("waiting", pool.waiting)):
            clients[*who, state] = clients.get((*who, state), 0.0) + count
        for state, count in pool.servers.items():
            servers[*who, state] = servers.get((*who, state), 0.0) + count
    part.record_all({CLIENTS: clients, LONGEST_WAIT: waits, SERVERS: servers})


def _record_databases(part: Attempt, databases: Iterable[Database]) -> None:
    """Record the first of them by their names, and all that are paused or disabled."""
    told = sorted(databases, key=lambda database: (not (database.paused or database.disabled), database.name))
    for database in told[:MAX_TOLD_APART]:
        part.record(POOL_SIZE, database.pool_size, database.name)
        part.record(CONNECTIONS, database.connections, database.name)
        part.record(PAUSED, database.paused, database.name)
        part.record(DISABLED, database.disabled, database.name)
        if database.max_connections:
            part.record(MAX_CONNECTIONS, database.max_connections, database.name)


class TrafficCounters:
    """What databases have counted, by their names as far as they are told apart, and of the rest together.

    Counters must not fall, and must not jump by what was counted before. So a database that is told stays so as long as it
    is there, whatever comes; and the rest has what each of them has counted since the first attempt, whether or not it is
    gone. It begins at 0 with the exporter: what is gone by then would else be missing from it, as if all had begun anew.
    """

    def __init__(self) -> None:
        self._told: tuple[str, ...] = ()
        self._before: Mapping[str, tuple[float, ...]] | None = None
        self._others: tuple[float, ...] | None = None

    def record(self, part: Attempt, found: Mapping[str, Traffic]) -> None:
        """Record them, having taken in what was found."""
        now: dict[str, tuple[float, ...]] = {name: astuple(traffic) for name, traffic in found.items()}
        stay = tuple(name for name in self._told if name in now)
        come = sorted(now.keys() - {*stay, OTHERS})  # one that calls itself so is one of them
        self._told = (*stay, *come[: MAX_TOLD_APART - len(stay)])
        for name in (*come[MAX_TOLD_APART - len(stay) :], *(now.keys() & {OTHERS})):
            grown = _grown(now[name] if self._before is None else self._before.get(name), now[name])
            self._others = grown if self._others is None else tuple(map(add, self._others, grown))
        self._before = now
        for name in self._told:
            _record_counted(part, name, now[name])
        if self._others is not None:
            _record_counted(part, OTHERS, self._others)


def _grown(before: tuple[float, ...] | None, now: tuple[float, ...]) -> tuple[float, ...]:
    """Return by how much counters have grown: since they began, where they were not there or have begun anew."""
    if before is None:
        return now
    return tuple(new - old if new >= old else new for old, new in zip(before, now, strict=True))


def _record_counted(part: Attempt, name: str, figures: Iterable[float]) -> None:
    for family, value in zip(_COUNTED, figures, strict=True):
        part.record(family, value, name)

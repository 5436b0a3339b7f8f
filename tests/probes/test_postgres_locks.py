"""Sessions that wait for locks, and whom they wait for: chains that real sessions form."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest

from exporter.clients.postgres.locks import MAX_WAITERS, chain_length, roots_of
from exporter.databases import sessions
from exporter.demo.servers.postgres import PostgresServer
from exporter.probing.probe import SharedClients
from tests.probes.databases import connect, probe_of, superuser
from tests.probes.doing import attempt, value
from tests.waiting import eventually

WAITING = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"


@asynccontextmanager
async def row(server: PostgresServer) -> AsyncIterator[asyncpg.Connection]:
    """Make a table with one row, and hold a session of the superuser that can count."""
    async with superuser(server) as admin:
        await admin.execute("CREATE TABLE held (n int); INSERT INTO held VALUES (1); GRANT ALL ON held TO hafnium")
        try:
            yield admin
        finally:
            await admin.execute("DROP TABLE held")


@asynccontextmanager
async def holding(server: PostgresServer, application: str = "forgetful") -> AsyncIterator[asyncpg.Connection]:
    """Hold the row in a transaction that is not gone on with."""
    holder = await connect(server, "hafnium", application=application)
    await holder.execute("BEGIN; UPDATE held SET n = 2")
    try:
        yield holder
    finally:
        holder.terminate()


@asynccontextmanager
async def waiters(server: PostgresServer, admin: asyncpg.Connection, count: int) -> AsyncIterator[None]:
    """Have so many sessions wait for the row, one behind the other."""
    sessions = [await connect(server, "hafnium", application="patient") for _ in range(count)]
    tasks: list[asyncio.Task[None]] = []

    async def wait(session: asyncpg.Connection) -> None:
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await session.execute("UPDATE held SET n = 3")

    async def are_waiting() -> bool:
        return bool(await admin.fetchval(WAITING) == len(tasks))

    try:
        for session in sessions:
            tasks.append(asyncio.create_task(wait(session)))
            await eventually(are_waiting, 5, "they wait")
        yield
    finally:
        for session in sessions:
            session.terminate()
        await asyncio.gather(*tasks)


async def test_nobody_waits(postgres_server: PostgresServer, shared: SharedClients) -> None:
    outcome = await attempt(probe_of(postgres_server, shared))
    assert outcome.parts["locks"] is None
    assert [
        value(outcome, family) for family in (sessions.LOCK_WAITING, sessions.LOCK_CHAIN, sessions.LONGEST_LOCK_WAIT)
    ] == [0, 0, 0]
    assert outcome.samples.get(sessions.BLOCKED, {}) == {}


async def test_a_chain_is_told_with_its_length_and_its_root(own_postgres: PostgresServer, shared: SharedClients) -> None:
    async with row(own_postgres) as admin, holding(own_postgres), waiters(own_postgres, admin, 3):
        await asyncio.sleep(0.5)
        outcome = await attempt(probe_of(own_postgres, shared))
    root = ("hafnium", "forgetful", "idle in transaction")
    assert value(outcome, sessions.LOCK_WAITING) == 3
    assert value(outcome, sessions.LOCK_CHAIN) == 3
    assert outcome.samples[sessions.BLOCKED] == {root: 3}
    assert value(outcome, sessions.BLOCKING, *root) >= value(outcome, sessions.LONGEST_LOCK_WAIT) >= 0.5


async def test_without_pg_monitor_that_they_wait_is_told_and_the_roots_age_is_left_out(
    own_postgres: PostgresServer, shared: SharedClients
) -> None:
    async with row(own_postgres) as admin:
        await admin.execute("CREATE ROLE plain LOGIN PASSWORD 'plain'")
        async with holding(own_postgres), waiters(own_postgres, admin, 2):
            plain = {"user": "plain", "password": "plain", "password_file": None}
            outcome = await attempt(probe_of(own_postgres, shared, **plain))
    assert value(outcome, sessions.LOCK_WAITING) == 2
    assert value(outcome, sessions.LONGEST_LOCK_WAIT) > 0  # pg_locks says it to everybody
    assert outcome.samples[sessions.BLOCKED] == {("hafnium", "forgetful", "hidden"): 2}
    assert outcome.samples.get(sessions.BLOCKING, {}) == {}


async def test_a_prepared_transaction_that_holds_is_nobodys_session(
    own_postgres: PostgresServer, shared: SharedClients
) -> None:
    async with superuser(own_postgres) as admin:
        await admin.execute("ALTER SYSTEM SET max_prepared_transactions = 2")
    await asyncio.to_thread(own_postgres.stop)
    await asyncio.to_thread(own_postgres.start)
    async with row(own_postgres) as admin:
        await admin.execute("BEGIN; UPDATE held SET n = 2; PREPARE TRANSACTION 'lost'")
        try:
            async with waiters(own_postgres, admin, 1):
                outcome = await attempt(probe_of(own_postgres, shared))
        finally:
            await admin.execute("ROLLBACK PREPARED 'lost'")
    assert outcome.samples[sessions.BLOCKED] == {("", "", "prepared transaction"): 1}


async def test_roots_that_are_not_told_apart_are_one(own_postgres: PostgresServer, shared: SharedClients) -> None:
    async with superuser(own_postgres) as admin:
        names = [f"one-{number}" for number in range(sessions.MAX_BLOCKERS + 2)]
        holders = [await connect(own_postgres, "hafnium", application=name) for name in names]
        for holder in holders:
            await holder.execute("BEGIN; SELECT pg_advisory_xact_lock_shared(7)")
        last = await connect(own_postgres, "hafnium")
        task = asyncio.create_task(last.execute("SELECT pg_advisory_xact_lock(7)"))

        async def waits() -> bool:
            return bool(await admin.fetchval(WAITING) == 1)

        await eventually(waits, 5, "it waits")
        outcome = await attempt(probe_of(own_postgres, shared))
        for connection in (*holders, last):
            connection.terminate()
        await asyncio.gather(task, return_exceptions=True)
    blocked = outcome.samples[sessions.BLOCKED]
    assert len(blocked) == sessions.MAX_BLOCKERS + 1
    assert blocked[sessions.OTHERS, sessions.OTHERS, sessions.OTHERS] == 2
    assert value(outcome, sessions.LOCK_CHAIN) == 1


@pytest.mark.parametrize(
    ("edges", "length", "roots"),
    [
        ({}, 0, {}),
        ({2: (1,)}, 1, {1: 1}),
        ({2: (1,), 3: (2,), 4: (3, 2)}, 3, {1: 3}),
        ({2: (1,), 3: (9,)}, 1, {1: 1, 9: 1}),
        ({3: (1, 2)}, 1, {1: 1, 2: 1}),
        ({1: (2,), 2: (1,)}, 2, {}),  # a deadlock, before it is found
        ({1: (1,)}, 1, {}),
    ],
)
def test_a_chain_comes_to(edges: dict[int, tuple[int, ...]], length: int, roots: dict[int, int]) -> None:
    assert chain_length(edges) == length
    assert roots_of(edges) == roots


def test_a_queue_as_long_as_is_read_is_no_trouble() -> None:
    queue = {pid: tuple(range(pid)) for pid in range(1, MAX_WAITERS + 1)}
    assert chain_length(queue) == MAX_WAITERS
    assert roots_of(queue) == {0: MAX_WAITERS}

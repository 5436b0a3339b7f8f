"""Whose sessions fill a server up, and how many ordinary roles may have: against the server's own counts."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from exporter.clients.postgres.activity import MAX_CLIENTS, Activity, read_activity
from exporter.clients.postgres.login import Login
from exporter.clients.postgres.session import open_session
from exporter.databases import sessions
from exporter.demo.servers.postgres import PostgresServer
from exporter.metrics.store import Store
from exporter.net.phases import NoPhases
from exporter.probing.probe import SharedClients
from exporter.values import Address
from exporter.verdict import Verdict
from tests.probes.databases import connect, probe_of, superuser
from tests.probes.doing import attempt, value
from tests.scraped import samples_of


async def read(server: PostgresServer, shared: SharedClients, idle_after: float) -> Activity:
    """Read what the probe reads, with another idea of how long is long."""

    async def password() -> str:
        return server.password

    login = Login(server.user, server.database, password)
    session = await open_session(Address(server.host, server.port), login, shared.resolver, NoPhases())
    try:
        return await read_activity(session, 5, idle_after)
    finally:
        session.abort()


async def test_idle_is_who_has_been_so_in_this_database_since_the_state_changed(
    postgres_server: PostgresServer, shared: SharedClients
) -> None:
    late = await connect(postgres_server, "hafnium", application="late")
    never = await connect(postgres_server, "hafnium", application="never")  # it runs no query
    elsewhere = await connect(postgres_server, "hafnium", application="elsewhere", database="postgres")
    await late.execute("SELECT pg_sleep(1.5)")  # began long ago, and is idle for a moment
    activity = await read(postgres_server, shared, 1.4)
    found = {holder.application: holder.idle for holder in activity.holders if holder.state == "idle"}
    assert found["late"] == 0
    assert found["never"] == 1
    assert "elsewhere" not in found
    assert activity.idle == sum(found.values())
    for connection in (late, never, elsewhere):
        connection.terminate()


async def test_sessions_are_told_by_who_holds_them(postgres_server: PostgresServer, shared: SharedClients) -> None:
    names = ["vault", "vault", "ledger"]
    held = [await connect(postgres_server, "hafnium", application=name) for name in names]
    await held[0].execute("BEGIN; SELECT 1")
    outcome = await attempt(probe_of(postgres_server, shared))
    assert value(outcome, sessions.CLIENT_CONNECTIONS, "hafnium", "vault", "idle in transaction") == 1
    assert value(outcome, sessions.CLIENT_CONNECTIONS, "hafnium", "vault", "idle") == 1
    assert value(outcome, sessions.CLIENT_CONNECTIONS, "hafnium", "ledger", "idle") == 1
    assert sessions.CLIENT_IDLE not in outcome.samples  # none has been idle for an hour, which IDLE says
    assert value(outcome, sessions.IDLE) == 0
    for connection in held:
        connection.terminate()


async def test_however_many_call_themselves_something_else_the_rest_is_one(
    own_postgres: PostgresServer, shared: SharedClients
) -> None:
    held = [await connect(own_postgres, "hafnium", application="most") for _ in range(2)]
    held += [await connect(own_postgres, "hafnium", application=f"one-{number:02}") for number in range(MAX_CLIENTS + 4)]
    outcome = await attempt(probe_of(own_postgres, shared))
    clients = {labels[:2]: count for labels, count in outcome.samples[sessions.CLIENT_CONNECTIONS].items()}
    assert len(clients) == MAX_CLIENTS + 1
    assert clients["hafnium", "most"] == 2
    assert clients[sessions.OTHERS, sessions.OTHERS] == 5
    assert sum(clients.values()) == len(held)
    for connection in held:
        connection.terminate()


async def test_ordinary_roles_are_refused_at_the_number_that_is_called_usable(
    own_postgres: PostgresServer, shared: SharedClients
) -> None:
    async with superuser(own_postgres) as admin:
        await admin.execute("ALTER SYSTEM SET reserved_connections = 5")
        await admin.execute("ALTER SYSTEM SET superuser_reserved_connections = 4")
    await asyncio.to_thread(own_postgres.stop)
    await asyncio.to_thread(own_postgres.start)
    outcome = await attempt(probe_of(own_postgres, shared))
    assert outcome.verdict is Verdict.UP
    taken: list[asyncpg.Connection] = []
    with pytest.raises(asyncpg.TooManyConnectionsError):
        while True:
            taken.append(await connect(own_postgres, "hafnium"))
    assert value(outcome, sessions.USABLE_CONNECTIONS) == len(taken) == 60 - 4 - 5
    assert value(outcome, sessions.MAX_CONNECTIONS) == 60
    for connection in taken:
        connection.terminate()


async def test_who_calls_himself_as_the_rest_is_called_is_counted_with_it(
    own_postgres: PostgresServer, shared: SharedClients
) -> None:
    """One series may not hide another."""
    async with superuser(own_postgres) as admin:
        await admin.execute(f"CREATE ROLE \"{sessions.OTHERS}\" SUPERUSER LOGIN PASSWORD '{own_postgres.password}'")
    held = [await connect(own_postgres, sessions.OTHERS, application=sessions.OTHERS) for _ in range(3)]
    held += [await connect(own_postgres, "hafnium", application=f"one-{number:02}") for number in range(MAX_CLIENTS + 4)]
    outcome = await attempt(probe_of(own_postgres, shared))
    clients = outcome.samples[sessions.CLIENT_CONNECTIONS]
    assert sum(clients.values()) == len(held)
    assert clients[sessions.OTHERS, sessions.OTHERS, "idle"] == 3 + 5
    for connection in held:
        connection.terminate()


async def test_applications_that_look_alike_are_two_series(postgres_server: PostgresServer, shared: SharedClients) -> None:
    names = ["a\\x1b", "a\x1b", "a\\x5cx1b"]  # the server itself puts something in the place of what is not ASCII
    held = [await connect(postgres_server, "hafnium", application=name) for name in names]
    outcome = await attempt(probe_of(postgres_server, shared))
    store = Store()
    store.owner({}).publish({sessions.CLIENT_CONNECTIONS: outcome.samples[sessions.CLIENT_CONNECTIONS]})
    told = samples_of(store.render(), sessions.CLIENT_CONNECTIONS.name, user="hafnium", state="idle")
    assert sum(told.values()) == len(names)
    for connection in held:
        connection.terminate()

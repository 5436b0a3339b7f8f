"""What changes beneath the postgres probe: poolers that restart, servers that go, failovers, passwords, limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from exporter.clients.postgres.wire import server_error
from exporter.databases import pgbouncer as p
from exporter.databases import servers, statements
from exporter.databases.upkeep import AGAIN
from exporter.demo.servers.postgres import PostgresServer
from exporter.probing.probe import Probe, SharedClients
from exporter.probing.runner import Outcome
from exporter.verdict import Reason, Stage, Verdict
from tests.fixtures.servers import StandbyServer
from tests.probes.databases import connect, probe_of, superuser
from tests.probes.doing import attempt, make, reason, value
from tests.probes.test_postgres_leaks import descriptors
from tests.probes.test_postgres_pgbouncer import Pooler
from tests.waiting import eventually

AT_ONCE = 3
MOST = 5.0
"""Seconds that an attempt may take."""


@asynccontextmanager
async def attempts(probe: Probe[Any], timeout: float = MOST) -> AsyncIterator[list[Outcome]]:
    """Make attempts one after the other, several at once, as long as the block lasts; they are all there after it."""
    found: list[Outcome] = []
    ended = asyncio.Event()

    async def go_on() -> None:
        while not ended.is_set():
            found.append(await attempt(probe, timeout))
            await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(go_on())
        try:
            yield found
        finally:
            ended.set()


async def until(condition: Callable[[], bool], what: str) -> None:
    async def holds() -> bool:
        return condition()

    await eventually(holds, 20, what)


def reasons(outcomes: list[Outcome]) -> set[str]:
    """Return why attempts failed."""
    return {each.failure.reason.value for each in outcomes if each.failure is not None}


def told(outcome: Outcome) -> set[str]:
    """Return why parts failed."""
    return {failure.reason.value for failure in outcome.parts.values() if failure is not None}


@pytest.mark.parametrize("console", [False, True])
@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_a_pooler_that_restarts_is_down_for_as_long_as_it_is(
    postgres_server: PostgresServer, shared: SharedClients, tmp_path: Path, mode: str, console: bool
) -> None:
    server = postgres_server
    with Pooler(tmp_path / "pgbouncer", server, mode) as pooler:
        behind = {"user": server.user, "password_file": server.password_file, "database": server.database}
        probe = make("postgres", shared, pooler.host, pooler.port, **(pooler.login() if console else behind))
        async with attempts(probe) as outcomes:
            await until(lambda: len(outcomes) > AT_ONCE, "it answers")
            for _ in range(3):
                await asyncio.to_thread(pooler.stop)
                since = len(outcomes)
                await until(lambda at=since: "connect_refused" in reasons(outcomes[at:]), "it is gone")  # type: ignore[misc]
                await asyncio.to_thread(pooler.start)
                since = len(outcomes)
                await until(lambda at=since: {None} == {each.failure for each in outcomes[at:][-AT_ONCE:]}, "it is back")  # type: ignore[misc]
        assert {each.verdict for each in outcomes} == {Verdict.UP, Verdict.DOWN}
        assert reasons(outcomes) <= {"connect_refused", "connection_closed"}
        assert set[str]().union(*map(told, outcomes)) <= {"connection_closed"}
        assert max(each.duration for each in outcomes) < MOST
        after = await attempt(probe)
        assert (after.verdict, told(after)) == (Verdict.UP, set())
        if console:
            assert value(after, p.CLIENT_CONNECTIONS) == 1
            (own,) = [row for row in await pooler.tell("SHOW POOLS") if row["database"] == "pgbouncer"]
            assert int(own["cl_active"]) == 1  # psql itself: of the attempts that were cut off none is left


async def test_a_server_that_goes_behind_a_pooler_is_told_in_words_that_are_not_the_protocols(
    own_postgres: PostgresServer, shared: SharedClients, tmp_path: Path
) -> None:
    server = own_postgres
    with Pooler(tmp_path / "pgbouncer", server, "transaction") as pooler:
        login = {"user": server.user, "password_file": server.password_file, "database": server.database}
        probe = make("postgres", shared, pooler.host, pooler.port, **login)
        async with attempts(probe, 1.0) as outcomes:
            await until(lambda: len(outcomes) > AT_ONCE, "it answers")
            await asyncio.to_thread(server.stop)
            await until(lambda: "query_failed" in reasons(outcomes), "the pooler says that its server is gone")
    assert {each.verdict for each in outcomes} == {Verdict.UP, Verdict.DOWN}
    assert reasons(outcomes) <= {"query_failed", "connection_closed", "starting", "timeout"}


@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_what_a_pooler_keeps_of_clients_that_have_left_ends_by_its_own_limit(
    own_postgres: PostgresServer, shared: SharedClients, tmp_path: Path, mode: str
) -> None:
    """Its server hangs: it reads nothing of who waits for a login, and so does not see that they have hung up."""
    server = own_postgres
    with Pooler(tmp_path / "pgbouncer", server, mode, "query_wait_timeout = 3") as pooler:
        login = {"user": server.user, "password_file": server.password_file, "database": server.database}
        probe = make("postgres", shared, pooler.host, pooler.port, **login)
        await until_pooled(probe)
        console = make("postgres", shared, pooler.host, pooler.port, **pooler.login())

        async def clients(most: int) -> bool:
            return value(await attempt(console), p.CLIENT_CONNECTIONS) <= most

        server.pause()
        before = descriptors()
        for _ in range(4):
            assert reason(await attempt(probe, 0.3)) == ("query", "timeout")
        await until(lambda: descriptors() == before, "all that the probe had is closed")
        await eventually(lambda: clients(2), 20, "it lets go of those that waited")  # one has asked its server something
        server.resume()
        await eventually(lambda: clients(1), 20, "and of who had asked")


async def until_pooled(probe: Probe[Any]) -> None:
    """Have the pooler know its server: before that, logins wait for another reason."""

    async def is_up() -> bool:
        return (await attempt(probe)).verdict is Verdict.UP

    await eventually(is_up, 10, "the pooler's server")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("server login has been failing, try again later (server_login_retry)", Reason.QUERY_FAILED),
        ("pgbouncer cannot connect to server", Reason.QUERY_FAILED),
        ("server conn crashed?", Reason.CONNECTION_CLOSED),
        ("query_wait_timeout", Reason.TIMEOUT),
        ("the database system is shutting down", Reason.STARTING),
        ("sorry, too many clients already", Reason.TOO_MANY_CONNECTIONS),
        ("remaining connection slots are reserved for roles with the SUPERUSER attribute", Reason.TOO_MANY_CONNECTIONS),
        ('too many connections for database "orders"', Reason.TOO_MANY_CONNECTIONS),
        ('too many connections for role "hafnium"', Reason.AUTH),
        ("invalid frontend message type 1", Reason.PROTOCOL),
    ],
)
def test_what_a_pooler_says_of_its_server(words: str, meant: Reason) -> None:
    for stage in (Stage.AUTH, Stage.QUERY):
        assert server_error(f"SFATAL\0C08P01\0M{words}\0\0".encode(), stage).reason is meant


async def test_a_server_that_is_full_is_told_through_a_pooler_too(
    own_postgres: PostgresServer, shared: SharedClients, tmp_path: Path
) -> None:
    server = own_postgres
    with Pooler(tmp_path / "pgbouncer", server, "transaction") as pooler:
        login = {"user": server.user, "password_file": server.password_file, "database": server.database}
        taken: list[asyncpg.Connection] = []
        with pytest.raises(asyncpg.TooManyConnectionsError):
            while True:
                taken.append(await connect(server))
        outcome = await attempt(make("postgres", shared, pooler.host, pooler.port, **login))
        for connection in taken:
            connection.terminate()
    assert (outcome.verdict, reason(outcome)) == (Verdict.DOWN, ("auth", "too_many_connections"))


async def test_a_role_at_its_own_limit_is_no_word_of_the_database_but_the_databases_limit_is(
    own_postgres: PostgresServer, shared: SharedClients
) -> None:
    probe = probe_of(own_postgres, shared)
    async with superuser(own_postgres) as admin:
        await admin.execute("CREATE ROLE other LOGIN PASSWORD 'other'; ALTER ROLE hafnium CONNECTION LIMIT 1")
        held = await connect(own_postgres, "hafnium")
        outcome = await attempt(probe)
        assert (outcome.verdict, reason(outcome)) == (Verdict.UNKNOWN, ("auth", "auth"))
        assert outcome.failure is not None
        assert outcome.failure.detail == '53300 too many connections for role "hafnium"'
        let_in = await asyncpg.connect(
            host=own_postgres.host, port=own_postgres.port, user="other", password="other", database="hafnium"
        )
        let_in.terminate()
        held.terminate()
        await admin.execute("ALTER ROLE hafnium CONNECTION LIMIT -1; ALTER DATABASE hafnium CONNECTION LIMIT 0")
        outcome = await attempt(probe)
        assert (outcome.verdict, reason(outcome)) == (Verdict.DOWN, ("auth", "too_many_connections"))


async def test_a_password_that_is_rotated_under_way_is_nobodys_outage(
    own_postgres: PostgresServer, shared: SharedClients, tmp_path: Path
) -> None:
    """The old one is revoked before the file is replaced, while sessions are open and attempts under way."""
    file, new = tmp_path / "password", tmp_path / "password.new"
    file.write_text(own_postgres.password)
    open_session = await connect(own_postgres, "hafnium")
    async with attempts(probe_of(own_postgres, shared, password_file=file)) as outcomes:
        await until(lambda: len(outcomes) > AT_ONCE, "it is let in")
        async with superuser(own_postgres) as admin:
            await admin.execute("ALTER ROLE hafnium PASSWORD 'the new one'")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await connect(own_postgres, "hafnium")
        await until(lambda: "auth" in reasons(outcomes), "it is refused")
        new.write_text("the new one")
        new.replace(file)
        since = len(outcomes) + AT_ONCE  # those under way have read the old one
        await until(lambda: len(outcomes) > since + AT_ONCE, "it goes on")
    assert {each.verdict for each in outcomes} == {Verdict.UP, Verdict.UNKNOWN}
    assert reasons(outcomes) == {"auth"}
    assert {each.verdict for each in outcomes[since:]} == {Verdict.UP}
    assert await open_session.fetchval("SELECT 1") == 1
    await open_session.close()


async def test_figures_follow_a_failover_at_once(
    own_postgres: PostgresServer, shared: SharedClients, tmp_path: Path
) -> None:
    old = own_postgres
    with StandbyServer(tmp_path / "standby", old) as standby:
        of_old, of_standby = probe_of(old, shared), probe_of(standby, shared)

        async def streams() -> bool:
            return value(await attempt(of_old), servers.REPLICAS, "streaming") == 1

        await eventually(streams, 10, "it streams")
        before = await attempt(of_standby)
        assert [value(before, family) for family in (servers.STANDBY, servers.LINK_UP)] == [1, 1]
        assert servers.LAG_BYTES in before.samples
        await asyncio.to_thread(old.stop)
        async with superuser(standby) as admin:
            assert await admin.fetchval("SELECT pg_promote()")
            await admin.execute("SELECT pg_create_physical_replication_slot('next', true)")
            await admin.execute("CREATE TABLE grown AS SELECT generate_series(1, 50000) AS n; CHECKPOINT")
            promoted = await attempt(of_standby)
            size = await admin.fetchval("SELECT pg_database_size('hafnium')")
            assert await admin.fetchval("SELECT pg_is_in_recovery()") is False
        assert (promoted.verdict, told(promoted)) == (Verdict.UP, set())
        assert value(promoted, servers.STANDBY) == 0
        assert promoted.samples.keys().isdisjoint({servers.LINK_UP, servers.LAG_BYTES, servers.LAG_SECONDS})
        assert promoted.samples[servers.SLOT_ACTIVE] == {("next", "physical"): 0}
        assert "upkeep" not in promoted.asked  # asked anew, and not what it said as a standby
        assert value(promoted, servers.SIZE) == pytest.approx(size, rel=0.02)
        assert value(promoted, servers.SIZE) > value(before, servers.SIZE) + 1_000_000
        gone = await attempt(of_old)
        assert (gone.verdict, reason(gone)) == (Verdict.DOWN, ("connect", "connect_refused"))
        assert not gone.samples
        assert "upkeep" in (await attempt(of_standby)).asked  # once is enough


async def test_figures_follow_a_database_that_is_made_anew_at_once(
    own_postgres: PostgresServer, shared: SharedClients
) -> None:
    """What holds between attempts is of the one that is no more; the server goes on."""
    server, probe = own_postgres, probe_of(own_postgres, shared)
    async with superuser(server) as admin:
        await admin.execute("CREATE TABLE grown AS SELECT generate_series(1, 200000) AS n")
    before = await attempt(probe)
    assert "upkeep" in (await attempt(probe)).asked
    async with other_database(server) as admin:
        await admin.execute("DROP DATABASE hafnium (FORCE)")
        missing = await attempt(probe)
        assert (missing.verdict, reason(missing)) == (Verdict.DOWN, ("auth", "query_failed"))
        assert not missing.samples
        await admin.execute("CREATE DATABASE hafnium OWNER hafnium")
        size = await admin.fetchval("SELECT pg_database_size('hafnium')")
    anew = await attempt(probe)
    assert anew.verdict is Verdict.UP
    assert anew.asked.keys().isdisjoint({"upkeep", "statements"})
    assert value(anew, servers.SIZE) == pytest.approx(size, rel=0.1)
    assert value(anew, servers.SIZE) < value(before, servers.SIZE) - 5_000_000
    assert anew.samples[statements.STATE] == {("not_installed",): 1}  # it went with the database
    assert "upkeep" in (await attempt(probe)).asked  # once is enough


async def test_what_failed_once_is_asked_again_soon(own_postgres: PostgresServer, shared: SharedClients) -> None:
    """What is asked now and then would else fail for as long as it holds: a moment would look like minutes."""
    probe = probe_of(own_postgres, shared)
    async with superuser(own_postgres) as admin:
        await admin.execute("BEGIN; LOCK TABLE pg_tablespace")  # its size cannot be summed up
        stuck = await attempt(probe)
        await admin.execute("ROLLBACK")
    assert stuck.verdict is Verdict.UP
    assert told(stuck) == {"timeout"}
    after = [await attempt(probe) for _ in range(AGAIN)]
    assert [each.parts["upkeep"] is None for each in after] == [*[False] * (AGAIN - 1), True]
    assert told(after[-1]) == set()
    assert servers.SIZE in (await attempt(probe)).samples  # from then on it holds


@asynccontextmanager
async def other_database(server: PostgresServer) -> AsyncIterator[asyncpg.Connection]:
    """Open a session of the superuser that stays where `hafnium` goes."""
    connection = await connect(server, database="postgres")
    try:
        yield connection
    finally:
        connection.terminate()

"""The postgres probe against a real server, and against peers that are none."""

from __future__ import annotations

import asyncio
import re
import ssl
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from time import process_time
from typing import Any

import asyncpg
import pytest
import trustme
from pydantic import ValidationError

from exporter.clients.postgres.activity import STATES
from exporter.clients.postgres.flyway import Migration, summed_up
from exporter.databases import flyway, sessions
from exporter.demo.servers.postgres import PostgresServer
from exporter.probes.postgres import PostgresSettings
from exporter.probing.probe import Probe, SharedClients
from exporter.verdict import Stage, Verdict
from tests.probes.databases import HISTORY, connect, probe_of
from tests.probes.doing import Handler, attempt, flood, hang_up, make, on_uvloop, reason, saying, serving, silence, value

PARTS = ("activity", "locks", "replication", "counters", "upkeep", "flyway", "statements")


@pytest.fixture(params=["wheel", "debian"])
def postgres_server(request: pytest.FixtureRequest) -> PostgresServer:
    """Both versions at hand, the wheel's and Debian's."""
    found = request.getfixturevalue("postgres_server" if request.param == "wheel" else "debian_postgres")
    assert isinstance(found, PostgresServer)
    return found


def stub(port: int, shared: SharedClients, **settings: Any) -> Probe[Any]:
    return make("postgres", shared, "127.0.0.1", port, user="u", password="p", database="d", **settings)


@pytest.fixture
async def admin(postgres_server: PostgresServer) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(postgres_server)
    yield connection
    await connection.close()


async def test_a_database_that_answers_is_up_with_every_phase_timed(
    postgres_server: PostgresServer, shared: SharedClients
) -> None:
    outcome = await attempt(probe_of(postgres_server, shared))
    assert (outcome.verdict, outcome.failure) == (Verdict.UP, None)
    assert set(outcome.phases) == {Stage.CONNECT, Stage.AUTH, Stage.QUERY}
    assert all(seconds > 0 for seconds in outcome.phases.values())
    assert outcome.phases[Stage.AUTH] > outcome.phases[Stage.CONNECT]  # scram takes both sides thousands of hashes
    assert sum(outcome.phases.values()) <= outcome.duration
    assert outcome.parts == dict.fromkeys(PARTS)


async def test_sessions_are_what_pg_stat_activity_says(
    postgres_server: PostgresServer, shared: SharedClients, admin: asyncpg.Connection
) -> None:
    idle, busy, transaction = [await connect(postgres_server, "hafnium") for _ in range(3)]
    await transaction.execute("BEGIN; SELECT 1")
    query = asyncio.create_task(busy.execute("SELECT pg_sleep(3)"))
    await asyncio.sleep(0.3)
    outcome = await attempt(probe_of(postgres_server, shared))
    rows = await admin.fetch(
        "SELECT state, count(*) AS n FROM pg_stat_activity "
        "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() GROUP BY 1"
    )
    expected = {row["state"]: row["n"] for row in rows}
    expected["idle"] += 1  # this session, as the probe saw it
    found = {labels[0]: n for labels, n in outcome.samples[sessions.CONNECTIONS].items()}
    assert {state: n for state, n in found.items() if n} == expected
    assert set(found) == set(STATES)
    assert value(outcome, sessions.MAX_CONNECTIONS) == 60
    assert value(outcome, sessions.LONGEST_TRANSACTION) >= 0.3
    assert 0.3 <= value(outcome, sessions.LONGEST_IDLE_IN_TRANSACTION) <= value(outcome, sessions.LONGEST_TRANSACTION)
    assert 0.3 <= value(outcome, sessions.LONGEST_QUERY) < 3
    assert value(outcome, sessions.IDLE) == 0
    query.cancel()
    await asyncio.wait([query])
    for connection in (idle, busy, transaction):
        connection.terminate()


async def test_an_attempt_leaves_no_session(
    postgres_server: PostgresServer, shared: SharedClients, admin: asyncpg.Connection
) -> None:
    for _ in range(5):
        await attempt(probe_of(postgres_server, shared))
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hafnium-exporter'"
    async with asyncio.timeout(5):
        while await admin.fetchval(count):
            await asyncio.sleep(0.01)


async def test_sessions_of_others_are_hidden_from_a_role_without_pg_monitor(
    postgres_server: PostgresServer, shared: SharedClients, admin: asyncpg.Connection
) -> None:
    await admin.execute("CREATE ROLE plain LOGIN PASSWORD 'plain'")
    try:
        outcome = await attempt(probe_of(postgres_server, shared, user="plain", password="plain", password_file=None))
        assert outcome.verdict is Verdict.UP
        assert value(outcome, sessions.CONNECTIONS, "hidden") >= 1
        assert (
            set(outcome.samples) & {sessions.IDLE, sessions.LONGEST_TRANSACTION, sessions.LONGEST_QUERY} == set()
        )  # not known is not 0
        assert sessions.MAX_CONNECTIONS in outcome.samples
    finally:
        await admin.execute("DROP ROLE plain")


async def test_flyway_history_is_read_in_every_schema(
    postgres_server: PostgresServer, shared: SharedClients, admin: asyncpg.Connection
) -> None:
    rows = "(1,'9.1','a','SQL','V9_1',true),(2,'10.2','b','SQL','V10_2',true),(3,NULL,'r','SQL','R__r',true),"
    await admin.execute(HISTORY.format("ledger", rows + "(4,'11','c','SQL','V11',false)"))
    await admin.execute(HISTORY.format('"odd ""name"', "(1,'1','a','SQL','V1',true)"))
    await admin.execute('GRANT USAGE ON SCHEMA ledger, "odd ""name" TO hafnium')
    await admin.execute("GRANT SELECT ON ledger.flyway_schema_history TO hafnium")
    await admin.execute('GRANT SELECT ON "odd ""name".flyway_schema_history TO hafnium')
    try:
        outcome = await attempt(probe_of(postgres_server, shared))
        assert outcome.parts["flyway"] is None
        assert value(outcome, flyway.FLYWAY_VERSION, "ledger", "10.2") == 1
        assert value(outcome, flyway.FLYWAY_MIGRATIONS, "ledger") == 3
        assert value(outcome, flyway.FLYWAY_FAILED, "ledger") == 1
        assert value(outcome, flyway.FLYWAY_VERSION, 'odd "name', "1") == 1
        await admin.execute("REVOKE SELECT ON ledger.flyway_schema_history FROM hafnium")
        outcome = await attempt(probe_of(postgres_server, shared))
        assert outcome.verdict is Verdict.UP
        assert outcome.parts["flyway"] is not None
        assert outcome.parts["flyway"].reason.value == "auth"
        assert value(outcome, flyway.FLYWAY_VERSION, 'odd "name', "1") == 1  # what may be read still is
        assert ("ledger",) not in outcome.samples[flyway.FLYWAY_MIGRATIONS]
        outcome = await attempt(probe_of(postgres_server, shared, flyway_table=None))
        assert "flyway" not in outcome.parts
    finally:
        await admin.execute('DROP SCHEMA ledger CASCADE; DROP SCHEMA "odd ""name" CASCADE')


async def test_a_login_under_way_takes_a_session_and_is_counted(
    postgres_server: PostgresServer, shared: SharedClients, admin: asyncpg.Connection
) -> None:
    """Before version 18 a server does not show it."""
    expected = int(await admin.fetchval("SELECT current_setting('server_version_num')::int >= 180000"))
    _, writer = await asyncio.open_connection(postgres_server.host, postgres_server.port)
    body = struct.pack("!i", 196608) + b"user\0hafnium\0database\0hafnium\0\0"
    writer.write(struct.pack("!i", len(body) + 4) + body)
    probe = probe_of(postgres_server, shared)
    async with asyncio.timeout(5):
        while value(outcome := await attempt(probe), sessions.CONNECTIONS, "starting") != expected:
            await asyncio.sleep(0.01)
    assert value(outcome, sessions.CONNECTIONS, "hidden") == 0
    writer.close()
    await writer.wait_closed()


async def test_a_table_that_is_not_flyways_does_not_hide_the_others(
    postgres_server: PostgresServer, shared: SharedClients, admin: asyncpg.Connection
) -> None:
    await admin.execute("CREATE SCHEMA alien CREATE TABLE flyway_schema_history (x int)")
    await admin.execute(HISTORY.format("own", "(1,'1','a','SQL','V1',true)"))
    await admin.execute("GRANT USAGE ON SCHEMA alien, own TO hafnium")
    await admin.execute("GRANT SELECT ON alien.flyway_schema_history, own.flyway_schema_history TO hafnium")
    try:
        outcome = await attempt(probe_of(postgres_server, shared))
        assert outcome.parts["flyway"] is not None
        assert "not Flyway's" in outcome.parts["flyway"].detail
        assert value(outcome, flyway.FLYWAY_MIGRATIONS, "own") == 1
        assert ("alien",) not in outcome.samples[flyway.FLYWAY_MIGRATIONS]
        outcome = await attempt(probe_of(postgres_server, shared, flyway_schemas=["own"]))
        assert outcome.parts["flyway"] is None
        assert outcome.samples[flyway.FLYWAY_VERSION] == {("own", "1"): 1}
        outcome = await attempt(probe_of(postgres_server, shared, flyway_schemas=["own", "gone"]))
        assert outcome.parts["flyway"] is not None
        assert outcome.parts["flyway"].detail == "no table flyway_schema_history in gone"
        assert outcome.samples[flyway.FLYWAY_VERSION] == {("own", "1"): 1}
    finally:
        await admin.execute("DROP SCHEMA alien CASCADE; DROP SCHEMA own CASCADE")


def freezing(server: PostgresServer, word: bytes) -> Handler:
    """Relay to a server until the client says a word, and nothing from then on."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, to_behind = await asyncio.open_connection(server.host, server.port)

        async def there() -> None:
            while (data := await reader.read(65536)) and word not in data:
                to_behind.write(data)

        async def back() -> None:
            while data := await behind.read(65536):
                writer.write(data)

        answering = asyncio.create_task(back())
        try:
            await there()
            answering.cancel()
            await silence(reader, writer)
        finally:
            answering.cancel()
            to_behind.transport.abort()

    return handler


@pytest.mark.parametrize(
    ("word", "failed"),
    [
        (b"BEGIN", set(PARTS)),
        (b"pg_stat_activity", set(PARTS)),
        (b"pg_blocking_pids", set(PARTS[1:])),
        (b"pg_stat_wal_receiver", set(PARTS[2:])),
        (b"xact_commit", set(PARTS[3:])),
        (b"pg_database_size", set(PARTS[4:])),
        (b"relname", set(PARTS[5:])),
        (b"pg_extension", {"statements"}),
        (b"X\0\0", set()),
    ],
    ids=["begin", "activity", "locks", "replication", "counters", "upkeep", "flyway", "statements", "goodbye"],
)
async def test_a_server_that_freezes_after_its_answer_is_up_in_time(
    word: bytes, failed: set[str], postgres_server: PostgresServer, shared: SharedClients
) -> None:
    login = {"user": "hafnium", "password": postgres_server.password, "database": "hafnium"}
    async with serving(freezing(postgres_server, word)) as port:
        outcome = await attempt(make("postgres", shared, "127.0.0.1", port, **login), timeout=0.6)
    assert (outcome.verdict, outcome.failure) == (Verdict.UP, None)
    assert outcome.duration < 0.6
    assert {name for name, failure in outcome.parts.items() if failure is not None} == failed
    assert {failure.reason.value for failure in outcome.parts.values() if failure is not None} <= {"timeout"}


@pytest.mark.parametrize(
    "variables",
    [{"PGTARGETSESSIONATTRS": "standby"}, {"PGSSLNEGOTIATION": "direct"}, {"PGGSSLIB": "x"}, {"PGSSLMODE": "require"}],
)
async def test_the_environment_is_not_looked_at(
    variables: dict[str, str], postgres_server: PostgresServer, shared: SharedClients, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, setting in variables.items():
        monkeypatch.setenv(name, setting)
    assert (await attempt(probe_of(postgres_server, shared))).failure is None


async def test_a_locked_history_fails_its_part_in_time_and_not_the_verdict(
    postgres_server: PostgresServer, shared: SharedClients, admin: asyncpg.Connection
) -> None:
    await admin.execute(HISTORY.format("locked", "(1,'1','a','SQL','V1',true)"))
    await admin.execute("GRANT USAGE ON SCHEMA locked TO hafnium; GRANT SELECT ON locked.flyway_schema_history TO hafnium")
    try:
        async with admin.transaction():
            await admin.execute("LOCK TABLE locked.flyway_schema_history IN ACCESS EXCLUSIVE MODE")
            outcome = await attempt(probe_of(postgres_server, shared), timeout=1.0)
        assert outcome.verdict is Verdict.UP
        assert outcome.parts["activity"] is None
        assert outcome.parts["flyway"] is not None
        assert outcome.parts["flyway"].reason.value == "timeout"
        assert outcome.duration < 1.0
    finally:
        await admin.execute("DROP SCHEMA locked CASCADE")


@pytest.mark.parametrize("settings", [{"password": "wrong", "password_file": None}, {"user": "nobody-known"}])
async def test_refused_credentials_are_the_probers_own(
    settings: dict[str, Any], postgres_server: PostgresServer, shared: SharedClients
) -> None:
    outcome = await attempt(probe_of(postgres_server, shared, **settings))
    assert (outcome.verdict, reason(outcome)) == (Verdict.UNKNOWN, ("auth", "auth"))
    assert outcome.failure is not None
    assert "wrong" not in outcome.failure.detail


async def test_a_password_file_that_cannot_be_read_is_the_probers_own(
    postgres_server: PostgresServer, shared: SharedClients, tmp_path: Path
) -> None:
    outcome = await attempt(probe_of(postgres_server, shared, password_file=tmp_path / "missing"))
    assert (outcome.verdict, reason(outcome)) == (Verdict.UNKNOWN, ("auth", "credentials"))


async def test_a_rotated_password_is_read_at_the_next_login(
    postgres_server: PostgresServer, shared: SharedClients, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("old\n")
    probe = probe_of(postgres_server, shared, password_file=file)
    assert reason(await attempt(probe)) == ("auth", "auth")
    file.write_text(f"{postgres_server.password}\n")
    assert (await attempt(probe)).verdict is Verdict.UP


async def test_a_database_that_is_gone_is_down(postgres_server: PostgresServer, shared: SharedClients) -> None:
    outcome = await attempt(probe_of(postgres_server, shared, database="gone"))
    assert (outcome.verdict, reason(outcome)) == (Verdict.DOWN, ("auth", "query_failed"))
    assert outcome.failure is not None
    assert "3D000" in outcome.failure.detail


async def test_without_a_connection_left_it_is_down_and_says_so(own_postgres: PostgresServer, shared: SharedClients) -> None:
    taken: list[asyncpg.Connection] = []
    with pytest.raises(asyncpg.TooManyConnectionsError):
        while True:
            taken.append(await connect(own_postgres))
    outcome = await attempt(probe_of(own_postgres, shared))
    assert (outcome.verdict, reason(outcome)) == (Verdict.DOWN, ("auth", "too_many_connections"))
    for connection in taken:
        connection.terminate()


async def test_a_server_that_stops_hangs_and_comes_back_is_told_as_it_is(
    own_postgres: PostgresServer, shared: SharedClients
) -> None:
    probe = probe_of(own_postgres, shared)
    assert (await attempt(probe)).verdict is Verdict.UP
    own_postgres.pause()
    hung = await attempt(probe, timeout=0.5)
    assert (hung.verdict, reason(hung)) == (Verdict.DOWN, ("auth", "timeout"))
    assert Stage.CONNECT in hung.phases
    assert hung.duration < 1
    own_postgres.resume()
    await asyncio.to_thread(own_postgres.stop)
    assert reason(await attempt(probe)) == ("connect", "connect_refused")
    await asyncio.to_thread(own_postgres.start)
    assert (await attempt(probe)).verdict is Verdict.UP


async def test_a_session_that_is_ended_by_the_server_does_not_hang(
    own_postgres: PostgresServer, shared: SharedClients
) -> None:
    admin, other = await connect(own_postgres), await connect(own_postgres)
    await admin.execute(HISTORY.format("locked", "(1,'1','a','SQL','V1',true)"))
    await admin.execute("GRANT USAGE ON SCHEMA locked TO hafnium; GRANT SELECT ON locked.flyway_schema_history TO hafnium")
    async with admin.transaction():
        await admin.execute("LOCK TABLE locked.flyway_schema_history IN ACCESS EXCLUSIVE MODE")
        task = asyncio.create_task(attempt(probe_of(own_postgres, shared)))
        ended = 0
        async with asyncio.timeout(4):
            while not ended:
                ended = await other.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                    "WHERE application_name = 'hafnium-exporter' AND wait_event_type = 'Lock'"
                )
        outcome = await task
    assert outcome.verdict is Verdict.UP  # SELECT 1 was answered before
    assert outcome.parts["flyway"] is not None
    assert outcome.parts["flyway"].reason.value in {"starting", "connection_closed"}
    await admin.close()
    await other.close()


def tls_in_front(server: PostgresServer, context: ssl.SSLContext) -> Handler:
    """Speak TLS as a PostgreSQL does that was built with it, which the one at hand was not; it answers all the rest."""

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(8) == struct.pack("!ii", 8, 80877103)
        writer.write(b"S")
        await writer.start_tls(context)
        behind, to_behind = await asyncio.open_connection(server.host, server.port)
        await asyncio.gather(pipe(reader, to_behind), pipe(behind, writer))

    return handler


async def test_tls_is_spoken_verified_and_timed(
    postgres_server: PostgresServer, shared: SharedClients, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("db.internal").configure_cert(context)
    login = {"user": "hafnium", "password": postgres_server.password, "database": "hafnium"}
    tls = {"ca_file": str(tmp_path / "ca.pem"), "server_name": "db.internal"}
    async with serving(tls_in_front(postgres_server, context)) as port:
        outcome = await attempt(make("postgres", shared, "127.0.0.1", port, **login, tls=tls))
        other = await attempt(
            make("postgres", shared, "127.0.0.1", port, **login, tls={**tls, "server_name": "other.internal"})
        )
        unknown = await attempt(make("postgres", shared, "127.0.0.1", port, **login, tls={"server_name": "db.internal"}))
    assert (outcome.verdict, outcome.failure) == (Verdict.UP, None)
    assert outcome.phases[Stage.TLS] > 0
    assert outcome.parts == dict.fromkeys(PARTS)
    assert reason(other) == ("tls", "tls_name_mismatch")
    assert reason(unknown) == ("tls", "tls_untrusted")


async def test_a_server_that_hangs_behind_tls_leaves_no_socket(shared: SharedClients, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("db.internal").configure_cert(context)
    hanging = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"S")
        await writer.start_tls(context)
        writer.transport.pause_reading()  # type: ignore[attr-defined] # it is a reading transport
        await hanging.wait()

    tls = {"ca_file": str(tmp_path / "ca.pem"), "server_name": "db.internal."}
    async with serving(handler) as port:
        outcome = await attempt(stub(port, shared, tls=tls), timeout=0.3)
        assert reason(outcome) == ("auth", "timeout")
        async with asyncio.timeout(2):
            while established_to(port):
                await asyncio.sleep(0.01)
        silent = await attempt(stub(port, shared, tls={**tls, "verify": False}), timeout=0.3)
        assert reason(silent) == ("auth", "timeout")


def established_to(port: int) -> int:
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(1 for row in rows if int(row[2].split(":")[1], 16) == port and row[3] == "01")


async def test_a_server_that_does_not_say_whether_it_speaks_tls_hangs_in_that_stage(shared: SharedClients) -> None:
    async with serving(silence) as port:
        outcome = await attempt(stub(port, shared, tls={}), timeout=0.3)
    assert reason(outcome) == ("tls", "timeout")
    assert set(outcome.phases) == {Stage.CONNECT, Stage.TLS}


async def test_what_a_server_sends_behind_tls_is_bounded_too(shared: SharedClients, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("db.internal").configure_cert(context)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"S")
        await writer.start_tls(context)
        await flood(reader, writer, AUTH_OK + b"D" + struct.pack("!i", 2**30))

    tls = {"ca_file": str(tmp_path / "ca.pem"), "server_name": "db.internal"}
    async with serving(handler) as port:
        outcome = await attempt(stub(port, shared, tls=tls), timeout=2)
    assert reason(outcome) == ("receive", "too_large")


def test_it_does_the_same_on_the_loop_that_the_exporter_runs_on(postgres_server: PostgresServer, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("db.internal").configure_cert(context)
    login = {"user": "hafnium", "password": postgres_server.password, "database": "hafnium"}

    async def steps(shared: SharedClients) -> None:
        outcome = await attempt(make("postgres", shared, "localhost", postgres_server.port, **login))
        assert outcome.failure is None
        assert set(outcome.phases) == {Stage.RESOLVE, Stage.CONNECT, Stage.AUTH, Stage.QUERY}
        tls = {"ca_file": str(tmp_path / "ca.pem"), "server_name": "db.internal"}
        async with serving(tls_in_front(postgres_server, context)) as port:
            outcome = await attempt(make("postgres", shared, "127.0.0.1", port, **login, tls=tls))
        assert outcome.failure is None
        assert set(outcome.phases) == {Stage.CONNECT, Stage.TLS, Stage.AUTH, Stage.QUERY}
        async with serving(silence) as port:
            assert reason(await attempt(stub(port, shared), timeout=0.2)) == ("auth", "timeout")

    on_uvloop(steps)


async def test_answers_that_were_garbled_on_the_way_are_never_taken_for_the_probers_defect(
    postgres_server: PostgresServer, shared: SharedClients
) -> None:
    random = Random(1)
    login = {"user": "hafnium", "password": postgres_server.password, "database": "hafnium"}

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, to_behind = await asyncio.open_connection(postgres_server.host, postgres_server.port)

        async def there() -> None:
            while data := await reader.read(65536):
                to_behind.write(data)

        going = asyncio.create_task(there())
        try:
            while data := bytearray(await behind.read(65536)):
                if random.random() < 0.4:
                    data[random.randrange(len(data))] = random.randrange(256)
                writer.write(data)
        finally:
            going.cancel()
            to_behind.transport.abort()

    async with serving(handler) as port:
        for _ in range(6):
            made = [attempt(make("postgres", shared, "127.0.0.1", port, **login), timeout=0.4) for _ in range(8)]
            for outcome in await asyncio.gather(*made):
                failures = [outcome.failure, *outcome.parts.values()]
                assert "internal" not in {failure.reason.value for failure in failures if failure is not None}
                assert outcome.duration < 1


async def test_of_a_server_that_is_too_old_the_verdict_is_told_and_that_it_is(
    postgres_server: PostgresServer, shared: SharedClients
) -> None:
    """A newer one, whose version is changed under way: what is asked of it would be answered."""
    login = {"user": "hafnium", "password": postgres_server.password, "database": "hafnium"}
    asked = bytearray()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, to_behind = await asyncio.open_connection(postgres_server.host, postgres_server.port)

        async def there() -> None:
            while data := await reader.read(65536):
                asked.extend(data)
                to_behind.write(data)

        going = asyncio.create_task(there())
        try:
            while data := await behind.read(65536):
                writer.write(re.sub(rb"(server_version\0)1\d", rb"\g<1>9.", data))
        finally:
            going.cancel()
            to_behind.transport.abort()

    async with serving(handler) as port:
        outcome = await attempt(make("postgres", shared, "127.0.0.1", port, **login))
    assert (outcome.verdict, outcome.samples) == (Verdict.UP, {})
    assert set(outcome.parts) == {"activity", "locks", "replication", "counters", "upkeep"}
    for why in outcome.parts.values():
        assert why is not None
        assert (why.stage, why.reason) == ("check", "protocol")
        assert "before 10" in why.detail
    assert b"SELECT 1" in asked
    assert b"pg_stat" not in asked


async def test_a_server_without_tls_is_refused_where_tls_is_wanted(
    postgres_server: PostgresServer, shared: SharedClients
) -> None:
    outcome = await attempt(probe_of(postgres_server, shared, tls={}))
    assert reason(outcome) == ("tls", "tls_failed")


VERSION = b"server_version\x00" + b"16.1\x00"
AUTH_OK = b"R" + struct.pack("!ii", 8, 0) + b"S" + struct.pack("!i", len(VERSION) + 4) + VERSION
SASL_ASKED = b"R" + struct.pack("!ii", 23, 10) + b"SCRAM-SHA-256\0\0"
SASL = SASL_ASKED + b"R" + struct.pack("!ii", 42, 11) + b"r=nonce,s=c2FsdA==,i=2147483647____"
READY = b"K" + struct.pack("!iii", 12, 1, 1) + b"Z" + struct.pack("!i", 5) + b"I"
STARTING = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"
ERROR_STARTING = b"E" + struct.pack("!i", len(STARTING) + 4) + STARTING


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (silence, ("auth", "timeout")),
        (hang_up, ("auth", "connection_closed")),
        (saying(ERROR_STARTING), ("auth", "starting")),
        (saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"), ("auth", "protocol")),  # reads as a message of 1.4 GB
        (saying(SASL), ("auth", "protocol")),
        (saying(AUTH_OK + b"C" + struct.pack("!i", -5) + READY), ("receive", "protocol")),
        (saying(AUTH_OK + READY), ("query", "timeout")),
        (saying(AUTH_OK[:9] + READY), ("auth", "protocol")),
        (lambda r, w: flood(r, w, AUTH_OK + b"D" + struct.pack("!i", 2**30)), ("receive", "too_large")),
    ],
    ids=[
        "silent",
        "hangs-up",
        "starting",
        "not-postgres",
        "hash-for-ever",
        "backwards",
        "silent-after-login",
        "no-version",
        "flood",
    ],
)
async def test_peers_that_misbehave_are_named_in_time(
    handler: Any, expected: tuple[str, str], shared: SharedClients
) -> None:
    async with serving(handler) as port:
        outcome = await attempt(stub(port, shared), timeout=0.5)
    assert (outcome.verdict, reason(outcome)) == (Verdict.DOWN, expected)
    assert outcome.duration < 1.5


async def test_no_task_outlives_an_attempt(shared: SharedClients) -> None:
    before = asyncio.all_tasks()
    async with serving(saying(AUTH_OK + READY)) as port:
        await attempt(stub(port, shared), timeout=0.2)
        async with asyncio.timeout(2):
            while len({task for task in asyncio.all_tasks() - before if "serving" not in repr(task)}) > 0:
                await asyncio.sleep(0.01)


async def test_cancelling_an_attempt_is_let_through(shared: SharedClients) -> None:
    async with serving(silence) as port:
        task = asyncio.create_task(attempt(stub(port, shared)))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def row(version: str | None, kind: str = "SQL", *, success: bool = True, script: str = "") -> Migration:
    return Migration(version, kind, success, script or f"V{version}")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], (None, 0, 0)),
        ([row(None, "SCHEMA"), row("1")], ("1", 1, 0)),
        ([row("9.1"), row("10"), row("9.10")], ("10", 3, 0)),
        ([row("1_2"), row("1.1")], ("1_2", 2, 0)),
        ([row(None, script="R__a"), row(None, script="R__a")], (None, 1, 0)),
        ([row("1"), row("2"), row("2", "UNDO_SQL")], ("1", 1, 0)),
        ([row("1"), row("2"), row("2", "DELETE")], ("1", 1, 0)),
        ([row("1"), row("2", success=False)], ("1", 1, 1)),
        ([row("1"), row("2", success=False), row("2")], ("2", 2, 0)),
        ([row("1", "BASELINE"), row("2", "JDBC")], ("2", 2, 0)),
    ],
)
def test_a_history_comes_to(rows: list[Migration], expected: tuple[str | None, int, int]) -> None:
    history = summed_up(rows)
    assert (history.version, history.migrations, history.failed) == expected


def test_a_long_history_that_is_undone_costs_what_its_rows_do() -> None:
    """The event loop has it: with a look at all that is left for each row, ten thousand rows take a minute."""

    def seconds(many: int) -> float:
        up = [row(str(number)) for number in range(many)]
        down = [row(str(number), "UNDO_SQL") for number in reversed(range(1, many))]
        began = process_time()
        history = summed_up([*up, *down])
        assert (history.version, history.migrations) == ("0", 1)
        return process_time() - began

    few, many = (min(seconds(rows) for _ in range(3)) for rows in (400, 4000))
    assert many < 40 * max(few, 0.001)


def test_two_passwords_are_refused() -> None:
    with pytest.raises(ValidationError, match="not both"):
        PostgresSettings(user="u", database="d", password="x", password_file=Path("y"))

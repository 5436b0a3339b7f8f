"""Every figure of the postgres probe beside what psql tells a person before and after the attempt, by plain statements."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from exporter.clients.postgres.flyway import lock_key
from exporter.databases import flyway as f
from exporter.databases import pgbouncer
from exporter.databases import servers as v
from exporter.databases import sessions as s
from exporter.databases import statements as q
from exporter.demo.servers.postgres import PostgresServer
from exporter.metrics.family import Family
from exporter.probes.postgres import PostgresProbe
from exporter.probing.probe import SharedClients
from tests.fixtures.postgres_versions import MAJORS, VersionedPostgres
from tests.fixtures.servers import StandbyServer
from tests.probes.databases import HISTORY, connect, major_of, probe_of, superuser
from tests.probes.doing import attempt, value
from tests.waiting import eventually

Samples = Mapping[tuple[str, ...], float]

CLIENTS = "backend_type = 'client backend' AND pid <> pg_backend_pid()"
HERE = "datname = 'hafnium' AND " + CLIENTS
AGE = "SELECT coalesce(extract(epoch FROM clock_timestamp() - min({})), 0) FROM pg_stat_activity WHERE {}"
WAITING = "SELECT pid, unnest(pg_blocking_pids(pid)) AS blocker FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
ROOTS = f"(SELECT blocker FROM ({WAITING}) w WHERE blocker NOT IN (SELECT pid FROM ({WAITING}) w))"
DONE = "svc.flyway_schema_history WHERE success AND type <> 'SCHEMA'"
VERSION = "string_to_array(version, '.')::int[]"
FLYWAY_LOCK = "FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND l.classid = 18028"
COUNTED = "SELECT {} FROM pg_stat_database WHERE datname = 'hafnium'"
END = "CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END"
BEHIND = "pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())"
ARCHIVER = "SELECT {} FROM pg_stat_archiver WHERE current_setting('archive_mode') = 'on' AND NOT pg_is_in_recovery()"
STATEMENTS = (
    "SELECT rolname, datname, queryid, sum({}) FROM pg_stat_statements s JOIN pg_roles r ON r.oid = userid "
    "JOIN pg_database d ON d.oid = dbid GROUP BY 1, 2, 3"
)

FIGURES: Mapping[Family, str] = {
    s.CONNECTIONS: f"SELECT state, count(*) FROM pg_stat_activity WHERE {CLIENTS} GROUP BY 1",
    s.MAX_CONNECTIONS: "SELECT setting FROM pg_settings WHERE name = 'max_connections'",
    s.USABLE_CONNECTIONS: "SELECT sum(CASE name WHEN 'max_connections' THEN 1 ELSE -1 END * setting::int) FROM pg_settings "
    "WHERE name IN ('max_connections', 'superuser_reserved_connections', 'reserved_connections')",
    s.CLIENT_CONNECTIONS: "SELECT usename, application_name, state, count(*) FROM pg_stat_activity "
    f"WHERE {HERE} GROUP BY 1, 2, 3",
    s.IDLE: "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle' AND state_change < now() - interval '1 hour'",
    s.LONGEST_TRANSACTION: AGE.format("xact_start", CLIENTS),
    s.LONGEST_QUERY: AGE.format("query_start", f"state = 'active' AND {CLIENTS}"),
    s.LONGEST_IDLE_IN_TRANSACTION: AGE.format("state_change", "state = 'idle in transaction'"),
    s.LOCK_WAITING: "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
    s.LONGEST_LOCK_WAIT: "SELECT coalesce(extract(epoch FROM clock_timestamp() - min(waitstart)), 0) FROM pg_locks",
    s.LOCK_CHAIN: f"WITH RECURSIVE w AS ({WAITING}), c AS (SELECT pid, 1 AS n FROM w UNION ALL "
    "SELECT w.pid, n + 1 FROM c JOIN w ON w.blocker = c.pid) SELECT coalesce(max(n), 0) FROM c",
    s.BLOCKED: "SELECT usename, application_name, state, (SELECT count(*) FROM pg_stat_activity "
    f"WHERE wait_event_type = 'Lock') FROM pg_stat_activity WHERE pid IN {ROOTS}",
    s.BLOCKING: "SELECT usename, application_name, state, extract(epoch FROM clock_timestamp() - xact_start) "
    f"FROM pg_stat_activity WHERE pid IN {ROOTS}",
    f.FLYWAY_HISTORY: "SELECT schemaname, 'read', 1 FROM pg_tables WHERE tablename = 'flyway_schema_history'",
    f.FLYWAY_VERSION: f"SELECT 'svc', version, 1 FROM {DONE} AND version IS NOT NULL ORDER BY {VERSION} DESC LIMIT 1",
    f.FLYWAY_EXPECTED: "SELECT 'svc', '3', 1",
    f.FLYWAY_MIGRATIONS: f"SELECT 'svc', count(DISTINCT script) FROM {DONE}",
    f.FLYWAY_REPEATABLE: f"SELECT 'svc', count(DISTINCT script) FROM {DONE} AND version IS NULL",
    f.FLYWAY_FAILED: "SELECT 'svc', count(*) FROM svc.flyway_schema_history WHERE NOT success",
    f.FLYWAY_OUT_OF_ORDER: "SELECT 'svc', count(*) FROM (SELECT v, max(v) OVER (ORDER BY installed_rank) AS highest "
    f"FROM (SELECT installed_rank, {VERSION} AS v FROM {DONE} AND version IS NOT NULL) a) b WHERE v < highest",
    f.FLYWAY_BEHIND: f"SELECT 'svc', (max({VERSION}) < ARRAY[3])::int FROM {DONE}",
    f.FLYWAY_PENDING: "SELECT 'svc', count(*) FROM (VALUES ('2'), ('3')) k (v) WHERE v NOT IN "
    f"(SELECT coalesce(version, '') FROM {DONE})",
    f.FLYWAY_FUTURE: f"SELECT 'svc', count(*) FROM {DONE} AND {VERSION} > ARRAY[3]",
    f.FLYWAY_LOCK: f"SELECT 'svc', usename, application_name, state, 1 {FLYWAY_LOCK}",
    f.FLYWAY_LOCK_SECONDS: f"SELECT 'svc', extract(epoch FROM clock_timestamp() - xact_start) {FLYWAY_LOCK}",
    v.STANDBY: "SELECT pg_is_in_recovery()::int",
    v.LINK_UP: "SELECT (status = 'streaming')::int FROM pg_stat_wal_receiver",
    v.LAG_BYTES: f"SELECT {BEHIND} WHERE pg_is_in_recovery()",
    v.LAG_SECONDS: f"SELECT CASE {BEHIND} WHEN 0 THEN 0 ELSE "
    "extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END WHERE pg_is_in_recovery()",
    v.REPLICAS: "SELECT state, count(*) FROM pg_stat_replication GROUP BY 1",
    v.REPLICA_LAG_BYTES: "SELECT application_name, host(client_addr), pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) "
    "FROM pg_stat_replication",
    v.REPLICA_LAG_SECONDS: "SELECT application_name, host(client_addr), coalesce(extract(epoch FROM replay_lag), 0) "
    "FROM pg_stat_replication",
    v.SLOT_ACTIVE: "SELECT slot_name, slot_type, active::int FROM pg_replication_slots",
    v.SLOT_KEPT: f"SELECT slot_name, slot_type, pg_wal_lsn_diff({END}, restart_lsn) FROM pg_replication_slots "
    "WHERE restart_lsn IS NOT NULL",
    v.TRANSACTIONS: " UNION ALL ".join(
        COUNTED.format(f"'{name}', {column}")
        for name, column in (("committed", "xact_commit"), ("rolled_back", "xact_rollback"))
    ),
    v.DEADLOCKS: COUNTED.format("deadlocks"),
    v.BLOCKS_HIT: COUNTED.format("blks_hit"),
    v.BLOCKS_READ: COUNTED.format("blks_read"),
    v.TEMP_FILES: COUNTED.format("temp_files"),
    v.TEMP_BYTES: COUNTED.format("temp_bytes"),
    v.CHECKSUM_FAILURES: "SELECT sum(checksum_failures) FROM pg_stat_database HAVING sum(checksum_failures) IS NOT NULL",
    v.ROWS: " UNION ALL ".join(
        COUNTED.format(f"'{what}', tup_{what}") for what in ("returned", "fetched", "inserted", "updated", "deleted")
    ),
    v.CONFLICTS: COUNTED.format("conflicts"),
    v.SESSIONS_ENDED: " UNION ALL ".join(
        COUNTED.format(f"'{how}', sessions_{how}") for how in ("abandoned", "fatal", "killed")
    ),
    v.VERSION: "SELECT split_part(current_setting('server_version'), ' ', 1), 1",
    v.UPTIME: "SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())",
    v.ARCHIVED: ARCHIVER.format("archived_count"),
    v.ARCHIVE_FAILURES: ARCHIVER.format("failed_count"),
    v.ARCHIVE_FAILING: ARCHIVER.format("(last_failed_time > coalesce(last_archived_time, '-infinity'))::int"),
    v.SIZE: "SELECT pg_database_size('hafnium')",
    v.TRANSACTION_AGE: "SELECT max(age(datfrozenxid)) FROM pg_database",
    v.MULTIXACT_AGE: "SELECT max(mxid_age(datminmxid)) FROM pg_database",
    v.OVERDUE: "SELECT count(*) FROM pg_stat_user_tables JOIN pg_class ON oid = relid "
    "WHERE n_dead_tup > 2 * (50 + 0.2 * greatest(reltuples, 0))",
    v.HELD: "SELECT 'transactions', coalesce(max(age(backend_xmin)), 0) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
    "AND backend_type NOT IN ('autovacuum worker', 'walsender') "
    "UNION ALL SELECT 'replicas', coalesce(max(age(backend_xmin)), 0) FROM pg_stat_replication "
    "UNION ALL SELECT 'prepared', coalesce(max(age(transaction)), 0) FROM pg_prepared_xacts "
    "UNION ALL SELECT 'slots', coalesce(max(age(xmin)), 0) FROM pg_replication_slots",
    q.STATE: "SELECT 'read', count(*) FROM pg_extension WHERE extname = 'pg_stat_statements'",
    q.TEXT: "SELECT rolname, datname, queryid, 1 FROM pg_stat_statements JOIN pg_roles r ON r.oid = userid "
    "JOIN pg_database d ON d.oid = dbid",
    q.SECONDS: STATEMENTS.format("total_exec_time / 1000"),
    q.CALLS: STATEMENTS.format("calls"),
    q.ROWS: STATEMENTS.format("rows"),
}
BEFORE: Mapping[int, Mapping[Family, str]] = {
    14: {
        s.LONGEST_LOCK_WAIT: AGE.format("query_start", "wait_event_type = 'Lock'"),
        v.SESSIONS_ENDED: "SELECT 'killed', 0 WHERE false",
    },
    13: {q.SECONDS: STATEMENTS.format("total_time / 1000")},
    12: {v.CHECKSUM_FAILURES: "SELECT 0 WHERE false"},
}
"""What versions before one ask otherwise."""
ELSEWHERE = {
    s.CLIENT_IDLE: "an hour is not waited for: test_postgres_activity.py, with another idea of how long is long",
    **dict.fromkeys(pgbouncer.PGBOUNCER, "of a pgbouncer: test_postgres_pgbouncer.py holds each against its console"),
}
WITH_ZEROS = {s.CONNECTIONS, v.REPLICAS}
"""What has a series for each state, whether or not there is one in it."""
FEW = {q.TEXT, q.SECONDS, q.CALLS, q.ROWS}
"""What is told of a few of what the server has."""


def test_every_family_is_compared() -> None:
    assert FIGURES.keys() | ELSEWHERE.keys() == set(PostgresProbe.metrics)
    assert not FIGURES.keys() & ELSEWHERE.keys()


def figures(server: PostgresServer) -> Mapping[Family, str]:
    """Return how psql tells each figure of a server of its version."""
    found = dict(FIGURES)
    for version, others in BEFORE.items():
        if major_of(server) < version:
            found |= others
    return found


async def ask(server: PostgresServer) -> Mapping[Family, Samples]:
    """Ask psql for all of them."""
    script = "".join(f"\\echo @{family.name}\n{sql};\n" for family, sql in figures(server).items())
    process = await asyncio.create_subprocess_exec(
        server.bin / "psql", "-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-h", server.host,
        "-p", str(server.port), "-U", "postgres", "-d", server.database,
        env={"PGPASSWORD": server.superuser_password, "PGAPPNAME": "psql"},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate(script.encode())
    assert process.returncode == 0, err.decode()
    by_name = {family.name: family for family in FIGURES}
    found: dict[Family, dict[tuple[str, ...], float]] = {}
    for line in out.decode().splitlines():
        if line.startswith("@"):
            rows = found.setdefault(by_name[line[1:]], {})
        else:
            *labels, value = line.split("\t")
            rows[tuple(labels)] = float(value)
    return found


async def compare(server: PostgresServer, shared: SharedClients) -> set[Family]:
    """Compare every figure of a server; return the families that it had."""
    async with superuser(server) as looking:

        async def gone() -> bool:
            return not await looking.fetchval("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'psql'")

        before = await ask(server)
        await eventually(gone, 5, "psql has left, which it alone does not count")
        outcome = await attempt(probe_of(server, shared, flyway_expected={"svc": ["2", "3"]}), 20.0)
        after = await ask(server)
    assert all(why is None for why in outcome.parts.values()), outcome.parts
    for family in FIGURES:
        samples = dict(outcome.samples.get(family, {}))
        if family in WITH_ZEROS:
            samples = {labels: value for labels, value in samples.items() if value}
        if family is q.TEXT:
            samples = {labels[:-1]: value for labels, value in samples.items()}
        low, high = before[family], after[family]
        assert (samples.keys() <= high.keys()) if family in FEW else (samples.keys() == high.keys()), family.name
        for labels, seen in samples.items():
            least, most = sorted((low.get(labels, 0.0), high[labels]))
            assert least * (1 - 1e-9) - 1e-6 <= seen <= most * (1 + 1e-9) + 1e-6, (family.name, labels)
    assert outcome.samples.keys() <= FIGURES.keys()
    return {family for family, values in outcome.samples.items() if values}


@asynccontextmanager
async def busy(server: PostgresServer) -> AsyncIterator[None]:
    """Give a server something of everything to tell of."""
    key = lock_key("svc", "flyway_schema_history")
    assert key >> 32 == 18028
    rows = "(1,NULL,'s','SCHEMA','svc',true),(2,'1','a','SQL','V1',true),(3,'5.1','b','SQL','V5_1',true),"
    rows += "(4,'4','c','SQL','V4',true),(5,NULL,'r','SQL','R__r',true),(6,NULL,'r','SQL','R__r',true),"
    async with superuser(server) as admin:
        await admin.execute(HISTORY.format("svc", rows + "(7,'6','d','SQL','V6',false)"))
        await admin.execute("GRANT USAGE ON SCHEMA svc TO hafnium; GRANT SELECT ON svc.flyway_schema_history TO hafnium")
        await admin.execute(
            "CREATE TABLE t (n int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 5000); DELETE FROM t"
        )
        await admin.execute("SET work_mem = '64kB'; SELECT n FROM generate_series(1, 50000) n ORDER BY random()")
        await admin.execute("SELECT pg_create_physical_replication_slot('left', true)")
        if major_of(server) >= 15:  # before, it is told every half second
            await admin.execute("SELECT pg_stat_force_next_flush()")
    names = ("holder", "waiter", "second", "idle")
    holder, *waiters, idle = [await connect(server, "hafnium", application=name) for name in names]
    async with superuser(server) as admin:
        await admin.execute("GRANT ALL ON t TO hafnium")
    await holder.execute(f"BEGIN; SELECT pg_advisory_xact_lock({key}); LOCK TABLE t")
    waits = []
    for number, waiter in enumerate(waiters, 1):
        waits.append(asyncio.create_task(waiter.execute("BEGIN; LOCK TABLE t")))

        async def waiting(number: int = number) -> bool:
            async with superuser(server) as admin:
                found = await admin.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            return bool(found == number)

        await eventually(waiting, 10, f"{number} wait")
    await asyncio.sleep(1.2)  # what a session has counted is told within a second
    try:
        yield
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)
        for connection in (holder, *waiters, idle):
            connection.terminate()


@pytest.fixture(params=["wheel", "debian", *MAJORS])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PostgresServer]:
    """A server of the wheel's version, of Debian's, and of every major version before."""
    if isinstance(request.param, int):
        with VersionedPostgres(tmp_path / "versioned", request.param) as found:
            yield found
    else:
        yield request.getfixturevalue("own_postgres" if request.param == "wheel" else "own_debian_postgres")


async def test_wal_that_nothing_says_how_to_archive_is_kept_and_told(server: PostgresServer, shared: SharedClients) -> None:
    """No try is made, so none fails; the server keeps all WAL in the expectation that it will be told how."""
    server.settings = {**server.settings, "archive_mode": "on"}
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)
    async with superuser(server) as admin:
        await admin.execute("SELECT pg_switch_wal()")
        outcome = await attempt(probe_of(server, shared))
        assert value(outcome, v.ARCHIVE_FAILURES) == 0
        assert value(outcome, v.ARCHIVE_FAILING) == 1
        await admin.execute("ALTER SYSTEM SET archive_command = 'true'")
        await admin.execute("SELECT pg_reload_conf()")

        async def told() -> bool:
            return value(await attempt(probe_of(server, shared)), v.ARCHIVE_FAILING) == 0

        await eventually(told, 5, "archiving works")


async def test_every_figure_is_what_psql_tells(server: PostgresServer, shared: SharedClients, tmp_path: Path) -> None:
    server.settings = {**server.settings, "archive_mode": "on", "archive_command": "false"}
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)
    with StandbyServer(tmp_path / "standby", server) as standby:
        async with busy(server):

            async def caught_up() -> bool:
                replicas = await ask(server)
                return set(replicas[v.REPLICA_LAG_BYTES].values()) == {0.0}

            await eventually(caught_up, 10, "the standby has replayed all")

            async def archiving_failed() -> bool:
                return (await ask(server))[v.ARCHIVE_FAILING] == {(): 1.0}

            async with superuser(server) as admin:
                await admin.execute("SELECT pg_switch_wal()")
            await eventually(archiving_failed, 20, "archiving fails")
            await eventually(caught_up, 10, "the standby has replayed all")
            async with superuser(standby) as admin:  # so that lags do not come and go
                await admin.execute("SELECT pg_wal_replay_pause()")
            async with superuser(server) as admin:
                await admin.execute("CREATE TABLE grown AS SELECT generate_series(1, 20000) AS n")

            async def lags() -> bool:
                return (await ask(standby))[v.LAG_BYTES][()] > 500_000

            await eventually(lags, 10, "the standby lags")
            seen = await compare(server, shared)
            seen |= await compare(standby, shared)
    later = {v.CHECKSUM_FAILURES: 18, v.SESSIONS_ENDED: 14}  # initdb has checksums on from 18 on
    had = {family for family in FIGURES if major_of(server) >= later.get(family, 0)}
    assert {family.name for family in seen} == {family.name for family in had}

"""A primary and its standby, slots, and what a database has counted: against the servers' own figures."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from exporter.databases import servers
from exporter.databases.upkeep import RUNS
from exporter.demo.servers.postgres import PostgresServer
from exporter.probing.probe import SharedClients
from exporter.probing.runner import Outcome
from exporter.verdict import Verdict
from tests.fixtures.servers import StandbyServer
from tests.probes.databases import connect, probe_of, superuser
from tests.probes.doing import attempt, value
from tests.waiting import eventually

PHYSICAL = ("standby", "physical")


async def asked(server: PostgresServer, shared: SharedClients) -> Outcome:
    outcome = await attempt(probe_of(server, shared))
    assert outcome.parts["replication"] is None
    return outcome


async def test_a_primary_alone_has_no_lag_and_no_replicas(postgres_server: PostgresServer, shared: SharedClients) -> None:
    outcome = await asked(postgres_server, shared)
    assert value(outcome, servers.STANDBY) == 0
    assert outcome.samples.keys().isdisjoint({servers.LINK_UP, servers.LAG_BYTES, servers.LAG_SECONDS})
    assert set(outcome.samples[servers.REPLICAS].values()) == {0}
    assert not outcome.samples.get(servers.SLOT_ACTIVE)


async def test_a_standby_is_told_from_its_primary_and_each_sees_when_the_other_is_gone(
    own_postgres: PostgresServer, shared: SharedClients, tmp_path: Path
) -> None:
    with StandbyServer(tmp_path / "standby", own_postgres) as standby:

        async def streams() -> bool:
            return value(await asked(own_postgres, shared), servers.REPLICAS, "streaming") == 1

        await eventually(streams, 10, "it streams")

        async def caught_up() -> Outcome | None:  # a primary writes now and then by itself: it may lag again in a moment
            outcome = await asked(standby, shared)
            none = outcome.samples.get(servers.LAG_SECONDS) == outcome.samples.get(servers.LAG_BYTES) == {(): 0}
            return outcome if none else None

        level = await eventually(caught_up, 10, "it has replayed all")
        assert level is not None
        assert level.verdict is Verdict.UP
        assert [value(level, family) for family in (servers.STANDBY, servers.LINK_UP)] == [1, 1]
        ahead = await asked(own_postgres, shared)
        assert ahead.samples[servers.SLOT_ACTIVE] == {PHYSICAL: 1}
        assert list(ahead.samples[servers.REPLICA_LAG_BYTES]) == [("walreceiver", "127.0.0.1")]

        async with superuser(own_postgres) as admin:
            await admin.execute("CREATE TABLE first (n int)")
        async with superuser(standby) as admin:  # it holds back what it receives from then on
            await eventually(lambda: admin.fetchval("SELECT to_regclass('first') IS NOT NULL"), 10, "it has the table")
            await admin.execute("SELECT pg_wal_replay_pause()")
        async with superuser(own_postgres) as admin:
            await admin.execute("CREATE TABLE grown AS SELECT generate_series(1, 20000) AS n")

        async def lags() -> bool:
            return value(await asked(standby, shared), servers.LAG_BYTES) > 500_000

        await eventually(lags, 10, "it lags")
        behind, ahead = await asked(standby, shared), await asked(own_postgres, shared)
        assert value(behind, servers.LAG_SECONDS) > 0
        assert value(ahead, servers.REPLICA_LAG_BYTES, "walreceiver", "127.0.0.1") > 500_000
        async with superuser(standby) as admin:
            await admin.execute("SELECT pg_wal_replay_resume()")
        await eventually(caught_up, 10, "it has replayed all again")

        own_postgres.pause()
        standby_alone = await asked(standby, shared)
        assert value(standby_alone, servers.STANDBY) == 1
        own_postgres.resume()
        await asyncio.to_thread(own_postgres.stop)

        async def unlinked() -> bool:
            return value(await asked(standby, shared), servers.LINK_UP) == 0

        await eventually(unlinked, 10, "its link is down")
        assert value(await asked(standby, shared), servers.LAG_SECONDS) > 0  # nobody knows what was written since
        await asyncio.to_thread(own_postgres.start)
        await eventually(streams, 30, "it streams again")
    lost = await asked(own_postgres, shared)
    assert value(lost, servers.REPLICAS, "streaming") == 0
    assert lost.samples[servers.SLOT_ACTIVE] == {PHYSICAL: 0}
    assert lost.samples[servers.SLOT_KEPT][PHYSICAL] >= 0


async def test_a_slot_that_nobody_reads_keeps_what_is_written(own_postgres: PostgresServer, shared: SharedClients) -> None:
    async with superuser(own_postgres) as admin:
        await admin.execute("SELECT pg_create_physical_replication_slot('left', true)")
        await admin.execute("SELECT pg_create_physical_replication_slot('unused')")  # it has claimed nothing yet
        await admin.execute("CREATE TABLE grown AS SELECT generate_series(1, 20000) AS n")
        outcome = await asked(own_postgres, shared)
        kept = await admin.fetchval(
            "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) FROM pg_replication_slots WHERE slot_name = 'left'"
        )
    assert outcome.samples[servers.SLOT_ACTIVE] == {("left", "physical"): 0, ("unused", "physical"): 0}
    assert 500_000 < value(outcome, servers.SLOT_KEPT, "left", "physical") <= kept
    assert ("unused", "physical") not in outcome.samples[servers.SLOT_KEPT]


async def test_without_pg_monitor_what_is_hidden_of_replicas_is_left_out(
    own_postgres: PostgresServer, shared: SharedClients, tmp_path: Path
) -> None:
    async with superuser(own_postgres) as admin:
        await admin.execute("CREATE ROLE plain LOGIN PASSWORD 'plain'")
    plain = {"user": "plain", "password": "plain", "password_file": None}
    with StandbyServer(tmp_path / "standby", own_postgres) as standby:

        async def hidden() -> bool:
            return value(await attempt(probe_of(own_postgres, shared, **plain)), servers.REPLICAS, "hidden") == 1

        await eventually(hidden, 10, "there is one")
        ahead = await attempt(probe_of(own_postgres, shared, **plain))
        behind = await attempt(probe_of(standby, shared, **plain))
    assert not ahead.samples.get(servers.REPLICA_LAG_BYTES)
    assert value(behind, servers.STANDBY) == 1
    assert servers.LINK_UP not in behind.samples


async def test_what_is_counted_is_what_happened(own_postgres: PostgresServer, shared: SharedClients) -> None:
    before = await attempt(probe_of(own_postgres, shared))
    async with superuser(own_postgres) as admin:
        await admin.execute("CREATE TABLE t (n int PRIMARY KEY); INSERT INTO t VALUES (1), (2)")
        await admin.execute("SET work_mem = '64kB'; SET temp_file_limit = -1")
        await admin.fetch("SELECT n FROM generate_series(1, 50000) n ORDER BY random()")
    one, two = await connect(own_postgres), await connect(own_postgres)
    await one.execute("SET deadlock_timeout = '50ms'; BEGIN; UPDATE t SET n = 11 WHERE n = 1")
    await two.execute("SET deadlock_timeout = '50ms'; BEGIN; UPDATE t SET n = 22 WHERE n = 2")
    updates = (one.execute("UPDATE t SET n = 3 WHERE n = 2"), two.execute("UPDATE t SET n = 4 WHERE n = 1"))
    ends = await asyncio.gather(*updates, return_exceptions=True)
    assert sum(isinstance(end, asyncpg.DeadlockDetectedError) for end in ends) == 1
    for connection in (one, two):
        await connection.execute("ROLLBACK")
        await connection.close()

    counting: list[tuple[Any, ...]] = [
        (servers.DEADLOCKS,),
        (servers.TEMP_FILES,),
        (servers.TEMP_BYTES,),
        (servers.BLOCKS_HIT,),
    ]
    counting += [(servers.TRANSACTIONS, how) for how in ("committed", "rolled_back")]

    async def grew() -> bool:
        after = await attempt(probe_of(own_postgres, shared))
        return all(value(after, *which) > value(before, *which) for which in counting)

    await eventually(grew, 10, "all is counted")
    assert value(before, servers.CHECKSUM_FAILURES) == 0  # initdb of 18 has checksums on


async def test_upkeep_is_looked_at_now_and_then(own_postgres: PostgresServer, shared: SharedClients) -> None:
    probe = probe_of(own_postgres, shared)
    before = await attempt(probe)
    async with superuser(own_postgres) as admin:
        await admin.execute("CREATE TABLE grown AS SELECT generate_series(1, 20000) AS n; DELETE FROM grown")
        size = await admin.fetchval("SELECT pg_database_size(current_database())")
        age = await admin.fetchval("SELECT max(age(datfrozenxid)) FROM pg_database")
    assert value(before, servers.OVERDUE) == 0
    assert value(await attempt(probe), servers.SIZE) == value(before, servers.SIZE) < size  # as it was
    for _ in range(RUNS - 2):
        await attempt(probe)
    after = await attempt(probe)
    assert value(after, servers.SIZE) == pytest.approx(size, rel=0.01)
    assert value(after, servers.OVERDUE) == 1  # its server has autovacuum off
    assert 0 < value(after, servers.TRANSACTION_AGE) == pytest.approx(age, abs=50)
    assert value(after, servers.MULTIXACT_AGE) >= 0


async def test_what_holds_between_attempts_is_asked_anew_of_a_server_that_was_started(
    own_postgres: PostgresServer, shared: SharedClients
) -> None:
    """As of one that has taken another's place: what holds is of the other."""
    probe = probe_of(own_postgres, shared)
    held = {"upkeep", "statements"}
    assert not held & (await attempt(probe)).asked.keys()
    before = await attempt(probe)
    assert before.asked.keys() >= held
    async with superuser(own_postgres) as admin:
        await admin.execute("CREATE TABLE grown AS SELECT generate_series(1, 20000) AS n")
    await asyncio.to_thread(own_postgres.stop)
    await asyncio.to_thread(own_postgres.start)
    after = await attempt(probe)
    assert not held & after.asked.keys()
    assert value(after, servers.SIZE) > value(before, servers.SIZE)
    assert (await attempt(probe)).asked.keys() >= held


async def test_overdue_is_what_autovacuum_would_come_to(own_postgres: PostgresServer, shared: SharedClients) -> None:
    """Not a session's temporary table, nor one that is to be left alone; and from version 18 on there is a most."""
    options = {
        "capped": "autovacuum_vacuum_threshold = 1000000, autovacuum_vacuum_max_threshold = 100",
        "capped_too": "autovacuum_vacuum_threshold = 1000000, autovacuum_vacuum_max_threshold = 0",
        "uncapped": "autovacuum_vacuum_threshold = 1000000, autovacuum_vacuum_max_threshold = -1",
        "spared": "autovacuum_enabled = 'of', toast.autovacuum_enabled = off",
    }
    async with superuser(own_postgres) as admin:
        for name, option in options.items():
            await admin.execute(f"CREATE TABLE {name} (n int, t text) WITH ({option})")
        await admin.execute("CREATE TEMPORARY TABLE scratch (n int, t text)")
        for name in (*options, "scratch"):
            await admin.execute(f"INSERT INTO {name} SELECT generate_series(1, 5000); DELETE FROM {name}")
        await admin.execute("SELECT pg_stat_force_next_flush()")
        dead = await admin.fetch("SELECT relname FROM pg_stat_user_tables WHERE n_dead_tup > 4000")
        assert {name for (name,) in dead} == {*options, "scratch"}
        assert value(await attempt(probe_of(own_postgres, shared)), servers.OVERDUE) == 2


async def test_for_whom_dead_rows_are_kept_is_told(own_postgres: PostgresServer, shared: SharedClients) -> None:
    async with superuser(own_postgres) as admin:
        await admin.execute("ALTER SYSTEM SET max_prepared_transactions = 2")
        await admin.execute("CREATE ROLE plain LOGIN PASSWORD 'plain'")
    await asyncio.to_thread(own_postgres.stop)
    await asyncio.to_thread(own_postgres.start)
    reader, coordinator = await connect(own_postgres, "hafnium"), await connect(own_postgres)
    await coordinator.execute("CREATE TABLE t (n int)")
    for statement in ("BEGIN", "INSERT INTO t VALUES (1)", "PREPARE TRANSACTION 'left'"):
        await coordinator.execute(statement)
    for _ in range(10):
        await coordinator.execute("INSERT INTO t VALUES (2)")
    await reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
    for _ in range(10):
        await coordinator.execute("INSERT INTO t VALUES (2)")
    held = (await attempt(probe_of(own_postgres, shared))).samples[servers.HELD]
    plain = {"user": "plain", "password": "plain", "password_file": None}
    seen_by_plain = (await attempt(probe_of(own_postgres, shared, **plain))).samples[servers.HELD]
    for connection in (reader, coordinator):
        connection.terminate()
    assert held["prepared",] >= 20
    assert 10 <= held["transactions",] <= held["prepared",]
    assert (held["slots",], held["replicas",]) == (0, 0)
    assert set(seen_by_plain) == {("prepared",), ("slots",)}  # of others' it may not know


async def test_a_damaged_block_is_counted(own_postgres: PostgresServer, shared: SharedClients) -> None:
    async with superuser(own_postgres) as admin:
        await admin.execute("CREATE TABLE t AS SELECT generate_series(1, 5000) AS n; CHECKPOINT")
        path = await admin.fetchval("SELECT pg_relation_filepath('t')")
    await asyncio.to_thread(own_postgres.stop)
    with (own_postgres.directory / "data" / path).open("r+b") as file:
        file.seek(8192 + 4000)
        file.write(b"damaged!")
    await asyncio.to_thread(own_postgres.start)
    assert value(await attempt(probe_of(own_postgres, shared)), servers.CHECKSUM_FAILURES) == 0
    async with superuser(own_postgres) as admin:
        with pytest.raises(asyncpg.DataCorruptedError):
            await admin.fetch("SELECT count(*) FROM t")

    async def counted() -> bool:
        return value(await attempt(probe_of(own_postgres, shared)), servers.CHECKSUM_FAILURES) >= 1

    await eventually(counted, 10, "it is counted")

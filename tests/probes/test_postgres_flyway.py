"""Flyway's tables among which some are locked, closed to the role, or somebody else's."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import ValidationError

from exporter.clients.postgres.flyway import lock_key
from exporter.clients.postgres.wire import ServerError
from exporter.databases import flyway
from exporter.databases.histories import MigrationHistories
from exporter.demo.servers.postgres import PostgresServer
from exporter.probes.postgres import PostgresSettings
from exporter.probing.attempt import Attempt
from exporter.probing.probe import SharedClients
from exporter.verdict import Stage, Verdict
from tests.probes.databases import connect, histories, probe_of, superuser
from tests.probes.doing import attempt, value


async def test_tables_that_are_locked_cost_the_others_nothing(
    postgres_server: PostgresServer, shared: SharedClients
) -> None:
    async with histories(postgres_server, "a_locked", "b_free", "c_locked", "d_free", "e_free"):
        holder = await connect(postgres_server)
        await holder.execute("BEGIN")
        for schema in ("a_locked", "c_locked"):
            await holder.execute(f"LOCK TABLE {schema}.flyway_schema_history IN ACCESS EXCLUSIVE MODE")
        outcome = await attempt(probe_of(postgres_server, shared), timeout=10.0)
        holder.terminate()
    assert outcome.verdict is Verdict.UP
    failure = outcome.parts["flyway"]
    assert failure is not None
    assert failure.reason.value == "timeout"
    read = {schema for (schema,) in outcome.samples[flyway.FLYWAY_MIGRATIONS]}  # others' schemas may be there too
    assert read & {"a_locked", "b_free", "c_locked", "d_free", "e_free"} == {"b_free", "d_free", "e_free"}
    assert outcome.duration < 5  # of 10: what is locked is not waited for until the end


async def test_what_the_role_may_not_read_is_told_and_leaves_no_error_in_the_servers_log(
    own_postgres: PostgresServer, shared: SharedClients
) -> None:
    async with histories(own_postgres, "no_usage", "no_select", "some_rows", "not_flyways", "free"):
        async with superuser(own_postgres) as admin:
            await admin.execute("REVOKE USAGE ON SCHEMA no_usage FROM hafnium")
            await admin.execute("REVOKE SELECT ON no_select.flyway_schema_history FROM hafnium")
            await admin.execute("ALTER TABLE some_rows.flyway_schema_history ENABLE ROW LEVEL SECURITY")
            await admin.execute("ALTER TABLE not_flyways.flyway_schema_history DROP COLUMN success")
        found = {}
        for schema in ("no_usage", "no_select", "some_rows", "not_flyways", "gone"):
            outcome = await attempt(probe_of(own_postgres, shared, flyway_schemas=[schema, "free"]))
            failure = outcome.parts["flyway"]
            assert failure is not None
            found[schema] = (failure.reason.value, failure.detail)
            assert set(outcome.samples[flyway.FLYWAY_MIGRATIONS]) == {("free",)}
    table = "flyway_schema_history"
    assert found == {
        "no_usage": ("auth", "no USAGE on schema no_usage"),
        "no_select": ("auth", f"no SELECT on no_select.{table}"),
        "some_rows": ("auth", f"row level security hides rows of some_rows.{table}"),
        "not_flyways": ("query_failed", f"not_flyways.{table} is not Flyway's: it lacks its columns"),
        "gone": ("query_failed", f"no table {table} in gone"),
    }
    log = (own_postgres.directory / "postgres.log").read_text()
    assert log  # it is this one
    assert "ERROR" not in log


@pytest.mark.parametrize(
    ("rows", "out_of_order", "repeatable"),
    [
        ("(1,'1','a','SQL','V1',true),(2,'5','b','SQL','V5',true),(3,'3','c','SQL','V3',true)", 1, 0),
        ("(1,'1','a','SQL','V1',true),(2,'5','b','SQL','V5',false),(3,'3','c','SQL','V3',true)", 0, 0),
        ("(1,'5','a','SQL','V5',true),(2,'5','b','UNDO_SQL','U5',true),(3,'3','c','SQL','V3',true)", 0, 0),
        ("(1,NULL,'r','SQL','R__a',true),(2,'1','b','SQL','V1',true),(3,NULL,'r','SQL','R__a',true)", 0, 1),
    ],
)
async def test_what_came_after_a_higher_version_and_what_is_repeatable_is_counted_apart(
    rows: str, out_of_order: int, repeatable: int, postgres_server: PostgresServer, shared: SharedClients
) -> None:
    async with histories(postgres_server, "svc"), superuser(postgres_server) as admin:
        await admin.execute("TRUNCATE svc.flyway_schema_history")
        columns = "(installed_rank, version, description, type, script, success)"
        await admin.execute(f"INSERT INTO svc.flyway_schema_history {columns} VALUES {rows}")
        outcome = await attempt(probe_of(postgres_server, shared))
    assert value(outcome, flyway.FLYWAY_OUT_OF_ORDER, "svc") == out_of_order
    assert value(outcome, flyway.FLYWAY_REPEATABLE, "svc") == repeatable


async def test_a_schema_is_behind_as_expected_or_newer(postgres_server: PostgresServer, shared: SharedClients) -> None:
    async with histories(postgres_server, "svc", "other"), superuser(postgres_server) as admin:
        columns = "(installed_rank, version, description, type, script, success)"
        more = "(2,'2.1','b','SQL','V2_1',true),(3,'2.10','c','SQL','V2_10',true),(4,'3','d','SQL','V3',false)"
        await admin.execute(f"INSERT INTO svc.flyway_schema_history {columns} VALUES {more}")
        found = {}
        for expected in ("2.10", "2.11", "2_10_0", "2.9", "1", "3"):
            outcome = await attempt(probe_of(postgres_server, shared, flyway_expected={"svc": expected}))
            assert outcome.parts["flyway"] is None
            assert outcome.samples[flyway.FLYWAY_EXPECTED] == {("svc", expected): 1}
            assert ("other",) not in outcome.samples[flyway.FLYWAY_BEHIND]  # nothing is expected of it
            found[expected] = [value(outcome, family, "svc") for family in (flyway.FLYWAY_BEHIND, flyway.FLYWAY_FUTURE)]
    assert found == {"2.10": [0, 0], "2.11": [1, 0], "2_10_0": [0, 0], "2.9": [0, 1], "1": [0, 2], "3": [1, 0]}


async def test_what_is_pending_is_counted_where_the_list_is_known(
    postgres_server: PostgresServer, shared: SharedClients
) -> None:
    async with histories(postgres_server, "svc", "other"), superuser(postgres_server) as admin:
        columns = "(installed_rank, version, description, type, script, success)"
        more = "(2,'2.1','b','SQL','V2_1',true),(3,'3','c','SQL','V3',false)"
        await admin.execute(f"INSERT INTO svc.flyway_schema_history {columns} VALUES {more}")
        expected = {"svc": ["1.0", "2_1", "2.2", "3", "4"], "other": "9", "gone": ["1", "2"]}
        outcome = await attempt(probe_of(postgres_server, shared, flyway_expected=expected))
        assert outcome.samples[flyway.FLYWAY_PENDING] == {("svc",): 3, ("gone",): 2}
        assert outcome.samples[flyway.FLYWAY_EXPECTED] == {("svc", "4"): 1, ("other", "9"): 1, ("gone", "2"): 1}
        assert outcome.samples[flyway.FLYWAY_BEHIND] == {("svc",): 1, ("other",): 1, ("gone",): 1}
        await admin.execute("UPDATE svc.flyway_schema_history SET type = 'BASELINE' WHERE version = '2.1'")
        outcome = await attempt(probe_of(postgres_server, shared, flyway_expected={"svc": ["1", "1.5", "2.1", "4"]}))
        assert outcome.samples[flyway.FLYWAY_PENDING] == {("svc",): 1}
        await admin.execute("REVOKE USAGE ON SCHEMA svc FROM hafnium")
        outcome = await attempt(probe_of(postgres_server, shared, flyway_expected=expected))
        assert ("svc",) not in outcome.samples[flyway.FLYWAY_PENDING]


async def test_a_table_that_is_missing_is_told_from_one_that_is_closed_and_from_silence(
    own_postgres: PostgresServer, shared: SharedClients
) -> None:
    expected = {"gone": "1", "closed": "1", "free": "1"}
    async with histories(own_postgres, "closed", "free"), superuser(own_postgres) as admin:
        await admin.execute("REVOKE USAGE ON SCHEMA closed FROM hafnium")
        outcome = await attempt(probe_of(own_postgres, shared, flyway_expected=expected))
        assert set(outcome.samples[flyway.FLYWAY_HISTORY]) == {
            ("gone", "missing"),
            ("closed", "forbidden"),
            ("free", "read"),
        }
        assert outcome.samples[flyway.FLYWAY_BEHIND] == {("gone",): 1, ("free",): 0}  # of what is closed nothing is known
        assert outcome.samples[flyway.FLYWAY_FUTURE] == {("gone",): 0, ("free",): 0}
        await asyncio.to_thread(own_postgres.stop)
        outcome = await attempt(probe_of(own_postgres, shared, flyway_expected=expected))
        assert outcome.samples == {}
        await asyncio.to_thread(own_postgres.start)


LOCK = (18028 << 32) + 2_547_727_194
"""The key that Flyway 12.4 takes for schema svc, as pg_locks showed it."""


def test_the_lock_is_the_one_that_flyway_takes() -> None:
    table = "flyway_schema_history"
    assert lock_key("svc", table) == LOCK
    assert lock_key('o"dd', table) == (18028 << 32) + 1_906_773_611
    assert lock_key("ledger", table) == (18028 << 32) + 1_857_960_685  # 11.7
    keys = [lock_key(f"s{number}", table) for number in range(200)]
    assert {key >> 32 for key in keys} == {18027, 18028}


async def test_who_holds_flyways_lock_is_told_with_the_schema(own_postgres: PostgresServer, shared: SharedClients) -> None:
    async with histories(own_postgres, "svc"):
        outcome = await attempt(probe_of(own_postgres, shared))
        assert outcome.samples.keys().isdisjoint({flyway.FLYWAY_LOCK, flyway.FLYWAY_LOCK_SECONDS})
        holder = await connect(own_postgres, "hafnium", application="svc-service")
        await holder.execute(f"BEGIN; SELECT pg_advisory_xact_lock({LOCK}), pg_advisory_lock(7), pg_advisory_lock(18028, 7)")
        elsewhere = await connect(own_postgres, database="postgres")
        await elsewhere.execute(f"SELECT pg_advisory_lock({LOCK})")  # of another database: another lock
        await asyncio.sleep(0.3)
        outcome = await attempt(probe_of(own_postgres, shared))
        plain = {"user": "plain", "password": "plain", "password_file": None}
        async with superuser(own_postgres) as admin:
            await admin.execute("CREATE ROLE plain LOGIN PASSWORD 'plain'")
        hidden = await attempt(probe_of(own_postgres, shared, **plain))
        for connection in (holder, elsewhere):
            connection.terminate()
    assert outcome.samples[flyway.FLYWAY_LOCK] == {("svc", "hafnium", "svc-service", "idle in transaction"): 1}
    assert value(outcome, flyway.FLYWAY_LOCK_SECONDS, "svc") >= 0.3
    assert hidden.samples[flyway.FLYWAY_LOCK] == {("svc", "hafnium", "svc-service", "hidden"): 1}
    assert flyway.FLYWAY_LOCK_SECONDS not in hidden.samples


def test_versions_are_expected_where_it_looks_and_are_versions() -> None:
    login = {"user": "u", "database": "d"}
    with pytest.raises(ValidationError, match="'b', which is not in flyway_schemas"):
        PostgresSettings(**login, flyway_schemas=("a",), flyway_expected={"b": "1"})
    with pytest.raises(ValidationError, match="needs a flyway_table"):
        PostgresSettings(**login, flyway_table=None, flyway_expected={"b": "1"})
    for version in ("", "latest", "1.", "1-2", "9" * 51, [], ["1", "latest"]):
        with pytest.raises(ValidationError):
            PostgresSettings(**login, flyway_expected={"b": version})


class SlowHistories:
    """A session of a server whose histories take as long as they may, and which then ends them."""

    closed = False

    def __init__(self, *schemas: str) -> None:
        self._schemas = schemas
        self._asked = False

    async def read(self, seconds: float, *_: object, **__: object) -> list[list[tuple[str | None, ...]]]:
        if not self._asked:
            self._asked = True
            return [[(schema, None) for schema in self._schemas], []]
        await asyncio.sleep(seconds)
        raise ServerError(Stage.QUERY, "57014", "canceling statement due to statement timeout")


@pytest.mark.looptime
@pytest.mark.parametrize("schemas", [["one"], ["one", "two", "three"]])
async def test_histories_that_are_slow_leave_time_for_what_is_asked_after_them(schemas: list[str]) -> None:
    """The last one too: else the session is over with it, and statements are not asked for."""
    part = Attempt(4.0, lambda error, stage: pytest.fail(f"classified {error!r}"))
    with pytest.raises(ServerError):
        await MigrationHistories("t", None, {}).check(part, SlowHistories(*schemas))  # type: ignore[arg-type]
    assert part.remaining >= 0.9
    assert len(part.samples[flyway.FLYWAY_HISTORY]) == len(schemas)

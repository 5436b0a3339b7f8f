"""Flyway's tables among which some are locked, closed to the role, or somebody else's."""

from __future__ import annotations

from exporter.demo.servers.postgres import PostgresServer
from exporter.probes import postgres as p
from exporter.probing.probe import SharedClients
from exporter.verdict import Verdict
from tests.probes.databases import connect, histories, probe_of, superuser
from tests.probes.doing import attempt


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
    assert set(outcome.samples[p.FLYWAY_MIGRATIONS]) == {("b_free",), ("d_free",), ("e_free",)}
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
            assert set(outcome.samples[p.FLYWAY_MIGRATIONS]) == {("free",)}
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

"""The role of docs/probes/postgres.md: with its grants all is told; without one, that is said, and nothing is 0 for it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from exporter.clients.postgres.flyway import lock_key
from exporter.databases import flyway, sessions, statements
from exporter.demo.servers.postgres import PostgresServer
from exporter.metrics.family import Family
from exporter.probing.probe import SharedClients
from exporter.probing.runner import Outcome
from exporter.verdict import Verdict
from tests.probes.databases import HISTORY, connect, probe_of, superuser
from tests.probes.doing import attempt, reason
from tests.waiting import eventually

PAGE = Path(__file__).parents[2] / "docs" / "probes" / "postgres.md"
ROLE = "hafnium_monitor"
LOGIN: Mapping[str, Any] = {"user": ROLE, "password": "the role's", "password_file": None}
FLYWAY = frozenset(
    {
        flyway.FLYWAY_VERSION, flyway.FLYWAY_MIGRATIONS, flyway.FLYWAY_REPEATABLE, flyway.FLYWAY_FAILED,
        flyway.FLYWAY_OUT_OF_ORDER,
    }
)  # fmt: skip
STATEMENTS = frozenset({statements.TEXT, statements.SECONDS, statements.CALLS, statements.ROWS})


@dataclass(frozen=True, slots=True)
class Said:
    """What is said without a right.

    Attributes:
        missing: Families that are left out.
        may: Families of which those of others are left out, and there may be no other.
        part: The part that fails, and its words.
        states: Series that say so.
    """

    missing: frozenset[Family] = frozenset()
    may: frozenset[Family] = frozenset()
    part: tuple[str, str] | None = None
    states: Mapping[Family, str] = field(default_factory=dict)


FORBIDDEN = {flyway.FLYWAY_HISTORY: "forbidden"}
WITHOUT: Mapping[str, Said | None] = {
    "GRANT CONNECT ON DATABASE hafnium": None,
    "GRANT pg_monitor": Said(
        frozenset(
            {
                sessions.IDLE, sessions.LONGEST_TRANSACTION, sessions.LONGEST_QUERY, sessions.LONGEST_IDLE_IN_TRANSACTION,
                sessions.BLOCKING, flyway.FLYWAY_LOCK_SECONDS,
            }
        ),
        STATEMENTS,
        states={sessions.CONNECTIONS: "hidden", statements.STATE: "hidden"},
    ),
    "GRANT USAGE ON SCHEMA identity": Said(FLYWAY, part=("flyway", "no USAGE on schema identity"), states=FORBIDDEN),
    "GRANT SELECT ON identity.flyway_schema_history": Said(
        FLYWAY, part=("flyway", "no SELECT on identity.flyway_schema_history"), states=FORBIDDEN
    ),
    "GRANT USAGE ON SCHEMA public": Said(
        STATEMENTS,
        part=("statements", "no USAGE on schema public, which has pg_stat_statements"),
        states={statements.STATE: "forbidden"},
    ),
    "GRANT EXECUTE ON FUNCTION public.pg_stat_statements(boolean)": Said(
        STATEMENTS,
        part=("statements", "no EXECUTE on public.pg_stat_statements(boolean)"),
        states={statements.STATE: "forbidden"},
    ),
}  # fmt: skip
"""By the beginning of a grant; None where the server does not let the role in."""


def lines_of_the_page() -> list[str]:
    """Return the statements of the page."""
    (block,) = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [line.replace("…", str(LOGIN["password"]).replace("'", "''")) for line in block.splitlines()]


def test_what_is_said_without_it_is_known_of_every_grant_of_the_page() -> None:
    first, *grants = lines_of_the_page()
    assert first.startswith(f"CREATE ROLE {ROLE} LOGIN ")
    assert [grant.partition(" TO ")[0] for grant in grants] == list(WITHOUT)


@pytest.fixture(params=["own_postgres", "own_debian_postgres"])
def server(request: pytest.FixtureRequest) -> PostgresServer:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, PostgresServer)
    return found


@asynccontextmanager
async def busy(server: PostgresServer) -> AsyncIterator[None]:
    """Something of everything that a role may be kept from seeing: a lock that is waited for, a migration, statements."""
    key = lock_key("identity", "flyway_schema_history")
    async with superuser(server) as admin:
        await admin.execute("REVOKE ALL ON DATABASE hafnium FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC")
        await admin.execute("REVOKE ALL ON FUNCTION public.pg_stat_statements(boolean) FROM PUBLIC")
        await admin.execute(HISTORY.format("identity", "(1,'1','a','SQL','V1',true)"))
        await admin.execute("CREATE TABLE t AS SELECT 1 AS n; SELECT pg_sleep(0.1)")
        holder = await connect(server, application="holder")
        waiter = await connect(server, application="waiter")
        await holder.execute(f"BEGIN; SELECT pg_advisory_xact_lock({key}); LOCK TABLE t")
        waits = asyncio.create_task(waiter.execute("BEGIN; LOCK TABLE t"))
        try:
            yield
        finally:
            waits.cancel()
            await asyncio.wait([waits])
            for connection in (holder, waiter):
                connection.terminate()


async def look(server: PostgresServer, shared: SharedClients) -> Outcome:
    return await attempt(probe_of(server, shared, **LOGIN, flyway_schemas=["identity"]), 20.0)


def states_of(outcome: Outcome, family: Family) -> set[str]:
    """Return the last label of the series of a family that are not 0."""
    return {labels[-1] for labels, value in outcome.samples[family].items() if value}


async def test_without_a_grant_that_is_said_and_nothing_else_is_lost(server: PostgresServer, shared: SharedClients) -> None:
    create, *grants = lines_of_the_page()
    async with busy(server), superuser(server) as admin:
        for line in (create, *grants):
            await admin.execute(line)

        async def waits() -> bool:
            return bool(sessions.BLOCKING in (await look(server, shared)).samples)

        await eventually(waits, 10, "somebody waits")
        whole = await look(server, shared)
        assert (whole.verdict, set(whole.parts.values())) == (Verdict.UP, {None})
        for said in filter(None, WITHOUT.values()):
            assert said.missing <= whole.samples.keys()
            assert all(state not in states_of(whole, family) for family, state in said.states.items())
        for grant in grants:
            await admin.execute(grant.replace("GRANT ", "REVOKE ", 1).replace(" TO ", " FROM "))
            outcome = await look(server, shared)
            await admin.execute(grant)
            expected = WITHOUT[grant.partition(" TO ")[0]]
            if expected is None:
                assert (outcome.verdict, reason(outcome)) == (Verdict.UNKNOWN, ("auth", "auth"))
                assert outcome.samples == {}
                continue
            assert outcome.verdict is Verdict.UP, grant
            missing = {family for family in whole.samples if not outcome.samples.get(family)} - expected.may
            assert {family.name for family in missing} == {family.name for family in expected.missing}, grant
            failed = {name: why.detail for name, why in outcome.parts.items() if why is not None}
            assert failed == dict([expected.part] if expected.part else [])
            assert all(state in states_of(outcome, family) for family, state in expected.states.items())
        await admin.execute(f"ALTER ROLE {ROLE} NOLOGIN")
        outcome = await look(server, shared)
        assert (outcome.verdict, reason(outcome), outcome.samples) == (Verdict.UNKNOWN, ("auth", "auth"), {})


async def test_of_pg_monitor_the_statistics_are_enough(server: PostgresServer, shared: SharedClients) -> None:
    async with busy(server), superuser(server) as admin:
        for line in lines_of_the_page():
            await admin.execute(line.replace("GRANT pg_monitor", "GRANT pg_read_all_stats"))
        outcome = await look(server, shared)
    assert (outcome.verdict, set(outcome.parts.values())) == (Verdict.UP, {None})
    assert "hidden" not in states_of(outcome, sessions.CONNECTIONS) | states_of(outcome, statements.STATE)
    assert {sessions.LONGEST_TRANSACTION, sessions.IDLE, flyway.FLYWAY_LOCK_SECONDS} <= outcome.samples.keys()

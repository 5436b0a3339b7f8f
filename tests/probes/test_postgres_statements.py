"""Statements that take time, as pg_stat_statements counts them: by both servers, and by every version of the extension."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from time import process_time
from typing import Any

import asyncpg
import pytest

from exporter.clients.postgres.statements import (
    MAX_STATEMENTS,
    Cost,
    Installed,
    StatementsState,
    read_costs,
    read_statements,
)
from exporter.databases import statements
from exporter.databases.statements import READINGS, Ranking
from exporter.demo.servers.postgres import PostgresServer
from exporter.metrics.family import Family
from exporter.probing.probe import Probe, SharedClients
from exporter.probing.runner import Outcome
from exporter.verdict import Failure, Reason, Verdict
from tests.probes.databases import connect, probe_of, superuser
from tests.probes.doing import attempt

SLOW = "SELECT pg_sleep($1)"
FIGURES = (statements.SECONDS, statements.CALLS, statements.ROWS)


@pytest.fixture(params=["own_postgres", "own_debian_postgres"])
def server(request: pytest.FixtureRequest) -> PostgresServer:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, PostgresServer)
    return found


async def read_anew(probe: Probe[Any]) -> Outcome:
    """Make attempts until one has read."""
    for _ in range(READINGS):
        outcome = await attempt(probe)
    return outcome


def state_of(outcome: Outcome) -> str:
    ((state,),) = outcome.samples[statements.STATE]
    return state


def texts(outcome: Outcome) -> dict[str, tuple[str, ...]]:
    return {labels[-1]: labels[:-1] for labels in outcome.samples.get(statements.TEXT, {})}


def figure(outcome: Outcome, family: Family, text: str) -> float:
    return outcome.samples[family][texts(outcome)[text]]


@asynccontextmanager
async def session(server: PostgresServer) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(server, "hafnium")
    try:
        yield connection
    finally:
        connection.terminate()


async def test_what_statements_cost_is_what_the_server_counts(server: PostgresServer, shared: SharedClients) -> None:
    async with session(server) as user, superuser(server) as admin:
        await user.fetch("SELECT pg_sleep(0.2)")
        await user.fetch("SELECT n, 'a secret' FROM generate_series(1, 3) n, pg_sleep(0.15) /* another secret */")
        await admin.execute("CREATE ROLE guest PASSWORD 'a third secret'")
        await admin.execute("DO $$ BEGIN PERFORM pg_sleep(0.12); END $$ /* a fourth secret */")
        probe = probe_of(server, shared)
        outcome = await attempt(probe)
        assert (outcome.verdict, outcome.parts["statements"], state_of(outcome)) == (Verdict.UP, None, "read")
        rows = await admin.fetch(
            "SELECT queryid::text AS id, calls, total_exec_time / 1000 AS seconds, rows FROM pg_stat_statements "
            "WHERE query LIKE 'SELECT pg_sleep%' AND userid = 'hafnium'::regrole"
        )
        (row,) = rows
        who = ("hafnium", "hafnium", row["id"])
        assert texts(outcome)[SLOW] == who
        assert outcome.samples[statements.CALLS][who] == row["calls"] == 1
        assert outcome.samples[statements.ROWS][who] == row["rows"] == 1
        assert outcome.samples[statements.SECONDS][who] == pytest.approx(row["seconds"])
        assert figure(outcome, statements.ROWS, "SELECT n, $1 FROM generate_series($2, $3) n, pg_sleep($4)") == 3
        assert "DO …" in texts(outcome)
        await user.fetch("SELECT pg_sleep(0.1)")
        held = await attempt(probe)
        assert held.samples[statements.CALLS][who] == 1  # it is not asked each time
        again = await read_anew(probe)
        assert again.samples[statements.CALLS][who] == 2
        assert "secret" not in repr([outcome.samples, held.samples, again.samples])


async def test_a_text_that_the_server_has_kept_with_its_values_is_told_without(
    own_postgres: PostgresServer, shared: SharedClients
) -> None:
    """What was planned before a reset comes back as it was written."""
    async with session(own_postgres) as user, superuser(own_postgres) as admin:
        await user.execute("PREPARE p AS SELECT 'a secret', pg_sleep(0.2); EXECUTE p")
        await admin.execute("SELECT pg_stat_statements_reset()")
        await user.execute("EXECUTE p")
        kept = await admin.fetchval("SELECT query FROM pg_stat_statements WHERE query LIKE '%pg_sleep(%'")
        assert "secret" in kept
        outcome = await attempt(probe_of(own_postgres, shared))
    assert outcome.samples[statements.TEXT]
    assert "secret" not in repr(outcome.samples)


SLOW_TEXTS = """
ALTER FUNCTION pg_stat_statements(boolean) RENAME TO counted;
CREATE FUNCTION pg_stat_statements(showtext boolean, OUT userid oid, OUT dbid oid, OUT queryid bigint, OUT calls bigint,
  OUT total_exec_time float8, OUT rows bigint, OUT query text) RETURNS SETOF record LANGUAGE plpgsql AS $$
BEGIN
  IF showtext THEN PERFORM pg_sleep(60); END IF;
  RETURN QUERY SELECT s.userid, s.dbid, s.queryid, s.calls, s.total_exec_time, s.rows, s.query FROM counted(showtext) s;
END $$"""
"""As where texts fill a file of many megabytes, which the server reads as a whole."""


async def test_texts_that_take_too_long_are_given_up_by_the_server_and_not_asked_for_each_time(
    own_postgres: PostgresServer, shared: SharedClients
) -> None:
    """What is known already is told on, and the session stays."""
    async with session(own_postgres) as user, superuser(own_postgres) as admin:
        await user.fetch("SELECT pg_sleep(0.2)")
        probe = probe_of(own_postgres, shared)
        await read_anew(probe)
        await admin.execute(SLOW_TEXTS)
        await user.fetch("SELECT pg_sleep(0.3), 1")
        outcomes = [await attempt(probe, 2.0) for _ in range(READINGS)]
    late = [outcome for outcome in outcomes if outcome.duration > 0.5]
    assert len(late) == 1
    for outcome in outcomes[outcomes.index(late[0]) :]:
        failure = outcome.parts["statements"]
        assert outcome.verdict is Verdict.UP
        assert failure is not None
        assert "57014" in failure.detail
        assert (SLOW in texts(outcome), "SELECT pg_sleep($1), $2" in texts(outcome)) == (True, False)
    assert "connection to client lost" not in (own_postgres.directory / "postgres.log").read_text()


async def test_a_statement_of_another_encoding_takes_the_texts_of_the_others_and_no_more(
    own_postgres: PostgresServer, shared: SharedClients
) -> None:
    """The server itself tells none then; each is told again once that statement is gone."""
    async with superuser(own_postgres) as admin, session(own_postgres) as user:
        await admin.execute("CREATE DATABASE other TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
        await user.fetch("SELECT pg_sleep(0.2)")
        other = await connect(own_postgres, database="other")
        await other.execute("SET pg_stat_statements.track = 'all'")
        await other.execute("DO $$ BEGIN EXECUTE 'SELECT pg_sleep(0.3) AS x' || chr(200); END $$")
        other.terminate()
        with pytest.raises(asyncpg.CharacterNotInRepertoireError):
            await admin.fetch("SELECT query FROM pg_stat_statements")
        probe = probe_of(own_postgres, shared)
        outcome = await attempt(probe)
        await admin.execute("SELECT pg_stat_statements_reset(0, oid) FROM pg_database WHERE datname = 'other'")
        again = await read_anew(probe)
        again = await attempt(probe)
    assert (outcome.parts["statements"], state_of(outcome)) == (None, "read")
    assert set(texts(outcome)) == {"…"}
    assert "other" in {database for _, database, _ in outcome.samples[statements.SECONDS]}
    assert sum(seconds >= 0.2 for seconds in outcome.samples[statements.SECONDS].values()) >= 2
    assert SLOW in texts(again)


async def test_a_role_whose_name_is_of_another_encoding_is_told_as_far_as_it_can_be_read(
    own_postgres: PostgresServer, shared: SharedClients
) -> None:
    """Roles are of the whole server, and their names of the encoding of the database that they were made in."""
    async with superuser(own_postgres) as admin:
        await admin.execute("CREATE DATABASE other TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    other = await connect(own_postgres, database="other")
    await other.execute('CREATE ROLE "josé"')
    await other.execute('SET SESSION AUTHORIZATION "josé"')
    await other.fetch("SELECT pg_sleep(0.2)")
    outcome = await attempt(probe_of(own_postgres, shared))
    other.terminate()
    assert set(outcome.parts.values()) == {None}
    assert ("jos\ufffde9", "other") in {(user, database) for user, database, _ in outcome.samples[statements.SECONDS]}


@pytest.mark.parametrize("version", ["1.4", "1.5", "1.6", "1.7", "1.8", "1.9", "1.10", "1.11", "1.12"])
async def test_every_version_of_the_extension_is_read(
    version: str, own_postgres: PostgresServer, shared: SharedClients
) -> None:
    async with session(own_postgres) as user, superuser(own_postgres) as admin:
        await admin.execute(f"DROP EXTENSION pg_stat_statements; CREATE EXTENSION pg_stat_statements VERSION '{version}'")
        await user.fetch("SELECT pg_sleep(0.2)")
        outcome = await attempt(probe_of(own_postgres, shared))
    assert (outcome.parts["statements"], state_of(outcome)) == (None, "read")
    assert 0.2 <= figure(outcome, statements.SECONDS, SLOW) < 2
    assert [figure(outcome, family, SLOW) for family in (statements.CALLS, statements.ROWS)] == [1, 1]


async def test_what_is_not_there_is_told_from_what_may_not_be_seen(
    own_postgres: PostgresServer, shared: SharedClients
) -> None:
    found: dict[str, tuple[str, str | None]] = {}

    async def look(what: str, **login: object) -> None:
        outcome = await attempt(probe_of(own_postgres, shared, **login))
        failure = outcome.parts["statements"]
        assert outcome.verdict is Verdict.UP
        assert all(part is None for name, part in outcome.parts.items() if name != "statements")
        found[what] = (state_of(outcome), failure.detail if failure else None)
        assert what in ("all", "others'") or not any(outcome.samples.get(family) for family in FIGURES)

    async with superuser(own_postgres) as admin:
        await admin.execute("SELECT pg_sleep(0.2)")
        await admin.execute("CREATE ROLE plain LOGIN PASSWORD 'plain'")
        await look("all")
        await look("others'", user="plain", password="plain", password_file=None)
        await look("elsewhere", database="postgres")
        await admin.execute("REVOKE EXECUTE ON FUNCTION pg_stat_statements(boolean) FROM PUBLIC, pg_read_all_stats")
        await look("function")
        await admin.execute('CREATE SCHEMA "Odd one"; ALTER EXTENSION pg_stat_statements SET SCHEMA "Odd one"')
        await look("schema")
        await admin.execute('GRANT USAGE ON SCHEMA "Odd one" TO PUBLIC')
        await admin.execute('GRANT EXECUTE ON FUNCTION "Odd one".pg_stat_statements(boolean) TO PUBLIC')
        await look("all")
        await admin.execute("ALTER SYSTEM SET shared_preload_libraries = ''")
    own_postgres.settings = {**own_postgres.settings, "shared_preload_libraries": ""}
    await asyncio.to_thread(own_postgres.stop)
    await asyncio.to_thread(own_postgres.start)
    await look("library")
    assert found == {
        "all": ("read", None),
        "others'": ("hidden", None),
        "elsewhere": ("not_installed", None),
        "function": ("forbidden", "no EXECUTE on public.pg_stat_statements(boolean)"),
        "schema": ("forbidden", 'no USAGE on schema "Odd one", which has pg_stat_statements'),
        "library": ("not_loaded", "pg_stat_statements is not in shared_preload_libraries"),
    }
    assert {state for state, _ in found.values()} == set(StatementsState)
    assert "ERROR" not in (own_postgres.directory / "postgres.log").read_text()
    outcome = await attempt(probe_of(own_postgres, shared, statements=0))
    assert "statements" not in outcome.parts
    assert statements.STATE not in outcome.samples


async def test_many_statements_are_a_few_series(own_postgres: PostgresServer, shared: SharedClients) -> None:
    async with session(own_postgres) as user:
        for number in range(12):
            await user.fetch(f"SELECT pg_sleep(0.11){', 1' * number}")
    outcome = await attempt(probe_of(own_postgres, shared, statements=5))
    assert [len(outcome.samples[family]) for family in (statements.TEXT, *FIGURES)] == [5, 5, 5, 5]


def costs(**seconds: float) -> dict[str, Cost]:
    return {key: Cost(value, "1:1") for key, value in seconds.items()}


def test_what_takes_time_of_late_is_told_and_stays_until_twice_as_many_take_more() -> None:
    ranking = Ranking(2)
    seen = {"a": 1000.0, "b": 900.0, "c": 50.0, "d": 40.0, "e": 30.0, "f": 20.0}
    assert ranking.take(costs(**seen)) == {"a", "b"}  # nothing is known but what they took ever
    seen["f"] += 5
    assert ranking.take(costs(**seen)) == {"f", "a", "b"}
    for key in "cde":
        seen[key] += 10
    assert ranking.take(costs(**seen)) == {"c", "d", "f"}  # among the first four, where a and b are no longer
    seen["a"] = 1.0  # counted anew
    assert "a" not in ranking.take(costs(**seen))
    seen["g"] = 60.0  # new
    assert "g" in ranking.take(costs(**seen))


def test_however_statements_come_and_go_there_are_never_more_than_twice_as_many() -> None:
    ranking, names, seen, told = Ranking(3), count(), dict[str, float](), set[str]()
    for _ in range(200):
        seen[f"s{next(names)}"] = 5.0
        told = set(ranking.take(costs(**seen)))
        assert len(told) <= 6
    assert len(told) >= 3


class Answer:
    """A session that answers with one row."""

    def __init__(self, *row: str) -> None:
        self.row = row

    async def read(self, *_: object) -> list[list[tuple[str, ...]]]:
        return [[self.row]]


@pytest.mark.parametrize(
    "lines",
    ["1 2 3:x:1:1", "1 2 3", ",", "1 2 3:1:1:1," * MAX_STATEMENTS + "1 2 3:1:1:1", "1 2 3:1:" + "9" * 10**6],
    ids=["no-number", "no-figures", "empty", "too-many", "too-long"],
)
async def test_costs_that_cannot_be_read_are_refused(lines: str) -> None:
    with pytest.raises(Failure) as caught:
        await read_costs(Answer("0", lines), 1.0, Installed("public", "total_exec_time"))  # type: ignore[arg-type]
    assert caught.value.reason is Reason.MALFORMED


async def test_keys_that_are_none_are_not_asked_for() -> None:
    with pytest.raises(Failure):
        await read_statements(Answer(), 1.0, Installed("public", "x"), {"1 2 3); DROP TABLE t"})  # type: ignore[arg-type]


async def test_thousands_of_statements_cost_the_loop_little() -> None:
    """The most that are looked at: read, ranked, and kept for the next time."""

    lines = (f"16384 16385 {number * 7919}:{number / 7:.6f}:{number}:{number}" for number in range(MAX_STATEMENTS))
    answer = Answer("0", ",".join(lines))
    ranking = Ranking(10)
    spent = []
    for _ in range(5):
        began = process_time()
        found = await read_costs(answer, 1.0, Installed("public", "total_exec_time"))  # type: ignore[arg-type]
        middle = process_time()
        ranking.take(found.by_key)
        spent.append((middle - began, process_time() - middle))
    assert len(found.by_key) == MAX_STATEMENTS
    assert min(max(pair) for pair in spent) < 0.02

"""The postgres probe through a real pgbouncer, in both of its modes, and beside what others leave in its sessions."""

from __future__ import annotations

import asyncio
import csv
import os
import shutil
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import asyncpg
import pytest
from pydantic import ValidationError

from exporter.clients.postgres.login import APPLICATION
from exporter.clients.postgres.pgbouncer import Database, Pool, Traffic
from exporter.clients.postgres.pgbouncer import Pooler as Found
from exporter.databases import pgbouncer as p
from exporter.demo.servers.base import Server
from exporter.demo.servers.postgres import PostgresServer
from exporter.metrics.family import Family
from exporter.probes.postgres import PostgresSettings
from exporter.probing.probe import SharedClients
from exporter.probing.runner import Outcome
from exporter.verdict import Verdict
from tests.probes.databases import histories, superuser
from tests.probes.doing import attempt, make, reason, value
from tests.waiting import eventually

ATTEMPTS = 10
MAX_CLIENTS = 20
ADMIN = "the admin's"


class Pooler(Server):
    """A pgbouncer before a server, with two sessions of its own there.

    Args:
        directory: Where it keeps its settings and its log.
        behind: The server.
        mode: `session` or `transaction`.
        more: Further lines of its settings.
    """

    name: ClassVar[str] = "pgbouncer"
    as_nobody: ClassVar[bool] = True

    def __init__(self, directory: Path, behind: PostgresServer, mode: str, more: str = "") -> None:
        super().__init__(directory)
        self.behind = behind
        self.mode = mode
        self.more = more

    def prepare(self) -> None:
        """Write its settings."""
        users = self.directory / "users.txt"
        known = {self.behind.user: self.behind.password, "admin": ADMIN, "guest": ADMIN}
        users.write_text("".join(f'"{user}" "{password}"\n' for user, password in known.items()))
        (self.directory / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={self.behind.host} port={self.behind.port}\n"
            f"[pgbouncer]\nlisten_addr = {self.host}\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {users}\npool_mode = {self.mode}\ndefault_pool_size = 2\n"
            f"admin_users = admin\nstats_users = {self.behind.user}\nmax_client_conn = {MAX_CLIENTS}\n"
            f"{self.more}\n"
        )

    def command(self) -> Iterable[str | Path]:
        """Return its command line."""
        return [shutil.which("pgbouncer") or "pgbouncer", self.directory / "pgbouncer.ini"]

    def login(self, **other: Any) -> dict[str, Any]:
        """Return settings of a probe of its console."""
        found = {"user": self.behind.user, "password": self.behind.password, "database": "pgbouncer", "pgbouncer": True}
        return {**found, **other}

    async def tell(self, command: str) -> list[dict[str, str]]:
        """Give its console a command, as psql does; return the rows of the answer."""
        arguments = ("-X", "--csv", "-h", self.host, "-p", str(self.port), "-U", "admin", "-c", command, "pgbouncer")
        process = await asyncio.create_subprocess_exec(
            "psql", *arguments, env={**os.environ, "PGPASSWORD": ADMIN}, stdout=asyncio.subprocess.PIPE
        )
        answer, _ = await process.communicate()
        assert process.returncode == 0
        return list(csv.DictReader(answer.decode().splitlines()))


@pytest.fixture(params=["session", "transaction"])
def pooler(request: pytest.FixtureRequest, tmp_path: Path, postgres_server: PostgresServer) -> Iterator[Pooler]:
    with Pooler(tmp_path / "pgbouncer", postgres_server, request.param) as server:
        yield server


@asynccontextmanager
async def clients(pooler: Pooler, number: int) -> AsyncIterator[list[asyncpg.Connection]]:
    """Open sessions through the pooler, each in a transaction as far as the pool goes."""
    server = pooler.behind
    login = {"user": server.user, "password": server.password, "database": server.database}
    opening = [asyncpg.connect(host=pooler.host, port=pooler.port, statement_cache_size=0, **login) for _ in range(number)]
    found: list[asyncpg.Connection] = await asyncio.gather(*opening)
    try:
        yield found
    finally:
        for connection in found:
            connection.terminate()


async def test_every_part_is_told_through_a_pooler_by_many_at_once(pooler: Pooler, shared: SharedClients) -> None:
    server = pooler.behind
    login = {"user": server.user, "password_file": server.password_file, "database": server.database}
    probes = [make("postgres", shared, pooler.host, pooler.port, **login) for _ in range(4)]
    async with histories(server, "pooled"):
        for _ in range(ATTEMPTS):
            for outcome in await asyncio.gather(*(attempt(probe, 20.0) for probe in probes)):
                assert (outcome.verdict, reason(outcome)) == (Verdict.UP, None)
                assert set(outcome.parts.values()) == {None}
        async with superuser(server) as admin:
            left = await admin.fetch(
                "SELECT state FROM pg_stat_activity WHERE usename = $1 AND application_name = $2", server.user, APPLICATION
            )
            assert {row["state"] for row in left} <= {"idle"}  # the pooler's own; none in a transaction
            assert len(left) <= 2


POOL = ("hafnium", "hafnium")


async def one_query(pooler: Pooler) -> Any:
    async with clients(pooler, 1) as (one,):
        return await one.fetchval("SELECT 1")


async def test_a_client_that_waits_for_the_pool_is_seen_and_so_is_who_has_it(pooler: Pooler, shared: SharedClients) -> None:
    probe = make("postgres", shared, pooler.host, pooler.port, **pooler.login())
    outcome = await attempt(probe)
    assert (outcome.verdict, outcome.failure) == (Verdict.UP, None)
    assert outcome.parts == {"pools": None, "traffic": None}
    assert value(outcome, p.MAX_CLIENT_CONNECTIONS) == MAX_CLIENTS
    assert value(outcome, p.CLIENT_CONNECTIONS) == 1
    assert p.CLIENTS not in outcome.samples  # its own console is no pool
    async with clients(pooler, 2) as (one, two):
        for holder in (one, two):
            await holder.execute("BEGIN; SELECT 1")
        waits = asyncio.create_task(one_query(pooler))

        async def waiting() -> Outcome | None:
            found = await attempt(probe)
            return found if value(found, p.LONGEST_WAIT, *POOL) >= 1 else None

        seen = await eventually(waiting, 10, "a client waits")
        assert seen is not None
        assert value(seen, p.CLIENTS, *POOL, "waiting") == 1
        assert value(seen, p.CLIENTS, *POOL, "active") == 2
        assert value(seen, p.SERVERS, *POOL, "active") == 2
        assert value(seen, p.SERVERS, *POOL, "idle") == 0
        assert value(seen, p.POOL_SIZE, "hafnium") == value(seen, p.CONNECTIONS, "hafnium") == 2
        assert p.MAX_CONNECTIONS not in seen.samples  # no limit is set
        await one.execute("COMMIT")
        await one.close()
        assert await waits == 1
        assert value(await attempt(probe), p.LONGEST_WAIT, *POOL) == 0


async def test_what_pgbouncer_says_is_what_its_console_says(pooler: Pooler, shared: SharedClients) -> None:
    """Every figure, against psql in the same moment."""
    probe = make("postgres", shared, pooler.host, pooler.port, **pooler.login())
    async with clients(pooler, 2) as (one, two):
        await one.execute("BEGIN; SELECT 1")
        await two.execute("SELECT 2")
        outcome = await attempt(probe)
        (pool,) = [row for row in await pooler.tell("SHOW POOLS") if row["database"] == "hafnium"]
        (counted,) = [row for row in await pooler.tell("SHOW STATS_TOTALS") if row["database"] == "hafnium"]
        (database,) = [row for row in await pooler.tell("SHOW DATABASES") if row["name"] == "hafnium"]
    told = {family: dict(outcome.samples.get(family, {})) for family in p.PGBOUNCER}
    states = {"cancelling": "being_canceled", **{name: name for name in ("active", "idle", "used", "tested", "login")}}
    assert told == {
        p.CLIENTS: {(*POOL, state): float(pool[f"cl_{state}"]) for state in ("active", "waiting")},
        p.LONGEST_WAIT: {POOL: float(pool["maxwait"])},
        p.SERVERS: {(*POOL, state): float(pool[f"sv_{column}"]) for state, column in states.items()},
        p.POOL_SIZE: {("hafnium",): float(database["pool_size"])},
        p.CONNECTIONS: {("hafnium",): float(database["current_connections"])},
        p.MAX_CONNECTIONS: {},
        p.PAUSED: {("hafnium",): 0},
        p.DISABLED: {("hafnium",): 0},
        p.CLIENT_CONNECTIONS: {(): 3},
        p.MAX_CLIENT_CONNECTIONS: {(): MAX_CLIENTS},
        p.TRANSACTIONS: {("hafnium",): float(counted["xact_count"])},
        p.QUERIES: {("hafnium",): float(counted["query_count"])},
        p.RECEIVED: {("hafnium",): float(counted["bytes_received"])},
        p.SENT: {("hafnium",): float(counted["bytes_sent"])},
        p.IN_TRANSACTION: {("hafnium",): pytest.approx(float(counted["xact_time"]) / 1e6)},
        p.IN_QUERY: {("hafnium",): pytest.approx(float(counted["query_time"]) / 1e6)},
        p.WAITED: {("hafnium",): pytest.approx(float(counted["wait_time"]) / 1e6)},
    }
    assert value(outcome, p.QUERIES, "hafnium") >= 2


async def test_what_is_paused_or_disabled_is_told(pooler: Pooler, shared: SharedClients) -> None:
    probe = make("postgres", shared, pooler.host, pooler.port, **pooler.login())
    async with clients(pooler, 1) as (one,):
        await one.execute("SELECT 1")
    await pooler.tell("PAUSE hafnium")
    outcome = await attempt(probe)
    assert [value(outcome, family, "hafnium") for family in (p.PAUSED, p.DISABLED)] == [1, 0]
    await pooler.tell("RESUME hafnium")
    await pooler.tell("DISABLE hafnium")
    outcome = await attempt(probe)
    assert [value(outcome, family, "hafnium") for family in (p.PAUSED, p.DISABLED)] == [0, 1]


async def test_who_is_not_let_in_is_told_from_a_pooler_that_is_full(pooler: Pooler, shared: SharedClients) -> None:
    """pgbouncer has one SQLSTATE for all of it, 08P01."""

    async def tried(**other: Any) -> tuple[Verdict, tuple[str, str] | None]:
        outcome = await attempt(make("postgres", shared, pooler.host, pooler.port, **pooler.login(**other)))
        return outcome.verdict, reason(outcome)

    behind = {"database": "hafnium", "pgbouncer": False}
    assert await tried(password="wrong") == (Verdict.UNKNOWN, ("auth", "auth"))
    assert await tried(password="wrong", **behind) == (Verdict.UNKNOWN, ("auth", "auth"))
    assert await tried(user="nobody", **behind) == (Verdict.UNKNOWN, ("auth", "auth"))
    assert await tried(user="guest", password=ADMIN) == (Verdict.UNKNOWN, ("auth", "auth"))  # no stats_users
    assert await tried(database="gone", pgbouncer=False) == (Verdict.DOWN, ("auth", "query_failed"))
    await pooler.tell("SET max_client_conn = 2")
    async with clients(pooler, 2):
        assert await tried(**behind) == (Verdict.DOWN, ("auth", "too_many_connections"))


async def test_a_pooler_whose_server_is_gone_still_tells_its_figures(
    own_postgres: PostgresServer, shared: SharedClients, tmp_path: Path
) -> None:
    with Pooler(tmp_path / "pgbouncer", own_postgres, "transaction") as pooler:
        async with clients(pooler, 1) as (one,):
            await one.execute("SELECT 1")
            await asyncio.to_thread(own_postgres.stop)
            waits = asyncio.create_task(one.execute("SELECT 1"))
            probe = make("postgres", shared, pooler.host, pooler.port, **pooler.login())

            async def waiting() -> bool:
                outcome = await attempt(probe)
                assert outcome.verdict is Verdict.UP
                return value(outcome, p.CLIENTS, *POOL, "waiting") == 1

            await eventually(waiting, 10, "the client waits")
            waits.cancel()
            await asyncio.wait([waits])
    gone = await attempt(probe)
    assert (gone.verdict, reason(gone)) == (Verdict.DOWN, ("connect", "connect_refused"))


async def test_databases_beyond_those_that_are_told_keep_theirs_in_one_counter(
    postgres_server: PostgresServer, shared: SharedClients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real one with three databases, of which one is told, and one is gone and comes again."""
    monkeypatch.setattr(p, "MAX_TOLD_APART", 1)
    with Pooler(tmp_path / "pgbouncer", postgres_server, "transaction") as pooler:
        settings = tmp_path / "pgbouncer" / "pgbouncer.ini"
        whole = settings.read_text()
        named = "".join(f"{name} = host={pooler.behind.host} port={pooler.behind.port} dbname=hafnium\n" for name in "abc")
        settings.write_text(whole.replace("[databases]\n", f"[databases]\n{named}"))
        await pooler.tell("RELOAD")
        probe = make("postgres", shared, pooler.host, pooler.port, **pooler.login())
        server = pooler.behind

        async def ask(name: str, times: int) -> None:
            connection = await asyncpg.connect(
                host=pooler.host, port=pooler.port, user=server.user, password=server.password, database=name,
                statement_cache_size=0,
            )  # fmt: skip
            for _ in range(times):
                await connection.execute("SELECT 1")
            await connection.close()

        for name in "bc":
            await ask(name, 20)
        before = await attempt(probe)
        assert set(before.samples[p.QUERIES]) == {("b",), (p.OTHERS,)}
        await ask("a", 5)  # the first by its name
        now = await attempt(probe)
        assert set(now.samples[p.QUERIES]) == {("b",), (p.OTHERS,)}
        assert value(now, p.QUERIES, "b") == value(before, p.QUERIES, "b")
        assert value(now, p.QUERIES, p.OTHERS) == value(before, p.QUERIES, p.OTHERS) + 5
        settings.write_text(whole.replace("[databases]\n", f"[databases]\n{named}".replace("c = ", "d = ")))
        await pooler.tell("RELOAD")
        again = await attempt(probe)
        assert value(again, p.QUERIES, p.OTHERS) >= value(now, p.QUERIES, p.OTHERS)


async def test_what_is_near_max_client_conn_is_told_while_clients_are_still_let_in(
    pooler: Pooler, shared: SharedClients
) -> None:
    """The console itself is open to the probe when nobody else is let in; what is left is as its own lists say."""
    probe = make("postgres", shared, pooler.host, pooler.port, **pooler.login())
    async with clients(pooler, MAX_CLIENTS - 1):
        outcome = await attempt(probe)
        (used,) = [row for row in await pooler.tell("SHOW LISTS") if row["list"] == "used_clients"]
        assert value(outcome, p.CLIENT_CONNECTIONS) == float(used["items"]) == MAX_CLIENTS
        assert value(outcome, p.MAX_CLIENT_CONNECTIONS) == MAX_CLIENTS
        login = {"user": pooler.behind.user, "password": pooler.behind.password, "database": "hafnium", "pgbouncer": False}
        through = make("postgres", shared, pooler.host, pooler.port, **pooler.login(**login))
        async with clients(pooler, 1):
            refused = await attempt(through)
            full = await attempt(probe)
    assert (refused.verdict, reason(refused)) == (Verdict.DOWN, ("auth", "too_many_connections"))
    assert full.verdict is Verdict.UP
    assert value(full, p.CLIENT_CONNECTIONS) == MAX_CLIENTS + 1


def test_a_hundred_pools_are_a_bounded_number_of_series_and_those_that_wait_are_among_them() -> None:
    pools = [Pool("d", f"u{number:03}", 1, 0, 0.0, {"active": 1}) for number in range(100)]
    pools.append(Pool("d", "v", 0, 3, 7.0, {"active": 2}))
    databases = [Database(f"d{number:03}", 2, 1, 0, number == 99, disabled=False) for number in range(100)]
    part = Collected()
    p.record_pools(part, Found(pools, databases, 100, 200))  # type: ignore[arg-type]
    p.TrafficCounters().record(part, {f"d{number:03}": Traffic(1, 2, 3, 4, 5, 6, 7) for number in range(100)})  # type: ignore[arg-type]
    assert part.samples[p.LONGEST_WAIT]["d", "v"] == 7
    assert sum(part.samples[p.SERVERS].values()) == 102
    assert part.samples[p.PAUSED]["d099",] == 1
    assert part.samples[p.QUERIES][p.OTHERS,] == 0
    assert max(map(len, part.samples.values())) <= 2 * (p.MAX_TOLD_APART + 1)


class Collected:
    """What an attempt records into."""

    def __init__(self) -> None:
        self.samples: dict[Family, dict[tuple[str, ...], float]] = {}

    def record(self, family: Family, number: float, *labels: str) -> None:
        self.samples.setdefault(family, {})[labels] = number

    def record_all(self, samples: dict[Family, dict[tuple[str, ...], float]]) -> None:
        for family, found in samples.items():
            self.samples.setdefault(family, {}).update(found)


def test_counters_grow_by_what_is_counted_whatever_databases_come_and_go() -> None:
    """Neither what was counted before somebody looked, nor what is forgotten of a database that is gone, moves them."""
    counters = p.TrafficCounters()

    def told(found: dict[str, int]) -> dict[tuple[str, ...], float]:
        part = Collected()
        counters.record(part, {name: Traffic(0, count, 0, 0, 0, 0, 0) for name, count in found.items()})  # type: ignore[arg-type]
        return part.samples[p.QUERIES]

    found = {f"d{number:03}": 1000 for number in range(1, p.MAX_TOLD_APART + 3)}
    first, last, new = "d001", f"d{p.MAX_TOLD_APART + 2:03}", "d000"
    before = told(found)
    assert before[p.OTHERS,] == 0
    assert (last,) not in before
    now = told({**found, new: 0, last: 1005})  # it would be the first by its name, and is the last that came
    assert now == {**before, (p.OTHERS,): 5}
    found |= {new: 3, last: 1005}
    assert told(found) == {**before, (p.OTHERS,): 8}
    del found[last]
    assert told(found) == {**before, (p.OTHERS,): 8}  # gone, and not uncounted
    del found[first]
    now = told({**found, new: 4})  # there is room for one of the others
    assert now == {**{who: count for who, count in before.items() if who != (first,)}, (new,): 4, (p.OTHERS,): 8}
    found = dict.fromkeys(found, 1)  # it was started anew
    assert told(found)[p.OTHERS,] == 9
    assert told({})[p.OTHERS,] == 9


def test_a_database_that_calls_itself_as_the_rest_is_called_is_one_of_them() -> None:
    """From the beginning, so that it is never put in the place of the others."""
    counters = p.TrafficCounters()
    for count in (1000, 1003):
        part = Collected()
        found = [p.OTHERS, *(f"d{number:03}" for number in range(p.MAX_TOLD_APART + 1))]
        counters.record(part, {name: Traffic(0, count, 0, 0, 0, 0, 0) for name in found})  # type: ignore[arg-type]
    assert part.samples[p.QUERIES][p.OTHERS,] == 2 * 3


def test_a_console_has_its_own_database_and_no_schemas() -> None:
    with pytest.raises(ValidationError, match="needs the database 'pgbouncer'"):
        PostgresSettings(user="u", database="d", pgbouncer=True)
    with pytest.raises(ValidationError, match="has no schemas"):
        PostgresSettings(user="u", database="pgbouncer", pgbouncer=True, flyway_schemas=("a",))

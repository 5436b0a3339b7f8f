"""PostgreSQLs beside the fleet's one: two with a standby each, and some that are spoilt as the fleet's cannot be."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.demo.ports import free_port
from exporter.demo.processes import StartError
from exporter.demo.servers.postgres import PostgresServer
from tests.fixtures.servers import StandbyServer

__all__ = ["Databases", "running_databases"]

OLD = 10_000
"""Transactions from which on the one that is to grow old is held to be near wraparound: 1,000,000,000 are not waited for."""

_GROW_OLD = f"""
DO $$ BEGIN FOR n IN 1..{2 * OLD} LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$
"""
MIXED = 1000
"""The same of multixacts."""

_LOCK_TOGETHER = f"""
DO $$ BEGIN FOR n IN 1..{2 * MIXED} LOOP
    PERFORM FROM shared FOR KEY SHARE;
    BEGIN UPDATE shared SET n = shared.n + 1; EXCEPTION WHEN others THEN RAISE; END;
    COMMIT;
END LOOP; END $$
"""
"""A row that is locked, and changed by a subtransaction: both are noted in a multixact."""

_DAMAGED = """
CREATE TABLE damaged AS SELECT n, repeat('x', 500) AS filler FROM generate_series(1, 80000) AS n
"""
"""More than shared_buffers hold, so that its first block is read from the disk again."""

_BLOCK = 8192


@dataclass(frozen=True, slots=True)
class Databases:
    """Servers that run.

    Attributes:
        cut: A primary and its standby.
        slow: Another.
        old: One whose transactions are to grow old.
        mixed: One whose multixacts are.
        damaged: One with checksums, whose disk is to be damaged.
        open: One that is to ask for passwords in the clear.
    """

    cut: tuple[PostgresServer, StandbyServer]
    slow: tuple[PostgresServer, StandbyServer]
    old: PostgresServer
    mixed: PostgresServer
    damaged: PostgresServer
    open: PostgresServer

    @property
    def dependencies(self) -> dict[str, Any]:
        """The exporter's configuration of them."""
        return {
            "postgres-cut": _probed(*self.cut),
            "postgres-slow": _probed(*self.slow),
            "postgres-old": {**_probed(self.old), "thresholds": {"transaction_age": OLD}},
            "postgres-mixed": {**_probed(self.mixed), "thresholds": {"multixact_age": MIXED}},
            "postgres-damaged": _probed(self.damaged),
            "postgres-open": _probed(self.open),
        }

    def part(self) -> None:
        """Let a standby look for its primary where nobody is."""
        primary, standby = self.cut
        standby.sql(
            f"ALTER SYSTEM SET primary_conninfo = 'host={primary.host} port={free_port()}'", "SELECT pg_reload_conf()"
        )

    def join(self) -> None:
        """Let it follow its primary again."""
        standby = self.cut[1]
        standby.sql(f"ALTER SYSTEM SET primary_conninfo = '{standby.conninfo}'", "SELECT pg_reload_conf()")

    def hold_up(self) -> None:
        """Let a standby receive all that its primary writes, and replay none of it."""
        primary, standby = self.slow
        standby.sql("SELECT pg_wal_replay_pause()")
        primary.sql("CREATE TABLE IF NOT EXISTS written AS SELECT generate_series(1, 20000) AS n")

    def let_go(self) -> None:
        """Let it replay it."""
        self.slow[1].sql("SELECT pg_wal_replay_resume()")

    def grow_old(self) -> None:
        """Take so many transactions that the oldest that is not frozen is over its limit."""
        self.old.sql(_GROW_OLD)

    def lock_together(self) -> None:
        """Take so many multixacts that the oldest that is not frozen is over its limit."""
        self.mixed.sql("CREATE TABLE IF NOT EXISTS shared AS SELECT 0 AS n", _LOCK_TOGETHER)

    @staticmethod
    def freeze(server: PostgresServer) -> None:
        """Freeze all of a server, the database too that nobody may log in to."""
        server.sql("ALTER DATABASE template0 ALLOW_CONNECTIONS true")
        for database in ("template0", "template1", "postgres", "hafnium"):
            _psql(server, "VACUUM (FREEZE)", database)
        server.sql("ALTER DATABASE template0 ALLOW_CONNECTIONS false")

    def damage(self) -> None:
        """Change a byte of a block on the disk, and read it."""
        self.damaged.sql(_DAMAGED, "CHECKPOINT")
        path = self.damaged.directory / "data" / _psql(self.damaged, "SELECT pg_relation_filepath('damaged')")
        with path.open("r+b") as file:
            file.seek(_BLOCK - 100)
            file.write(b"damaged")
        with suppress(StartError):  # it says that the block is not whole
            self.damaged.sql("SELECT n FROM damaged WHERE ctid = '(0,1)'")

    def drop(self) -> None:
        """Drop what is damaged."""
        self.damaged.sql("DROP TABLE damaged")

    def ask_in_the_clear(self, *, on: bool) -> None:
        """Have the server ask for passwords themselves, as after a careless change of pg_hba.conf, or by SCRAM again."""
        hba = self.open.directory / "data" / "pg_hba.conf"
        before, after = ("scram-sha-256", "password") if on else ("password", "scram-sha-256")
        hba.write_text(hba.read_text().replace(f" {before}\n", f" {after}\n"))
        self.open.sql("SELECT pg_reload_conf()")


def _psql(server: PostgresServer, sql: str, database: str = PostgresServer.database) -> str:
    """Ask something of a database, as the superuser."""
    where = ("-h", server.host, "-p", str(server.port), "-U", "postgres", "-d", database)
    done = subprocess.run(
        [server.bin / "psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", *where, "-c", sql],
        capture_output=True, text=True, timeout=60, check=True, env={"PGPASSWORD": server.superuser_password},
    )  # fmt: skip
    return done.stdout.strip()


def _probed(*servers: PostgresServer) -> dict[str, Any]:
    login = {
        "user": servers[0].user,
        "password_file": str(servers[0].password_file),
        "database": servers[0].database,
        "statements": 0,
    }
    return {"instances": [server.address for server in servers], "probes": {"postgres": login}}


@contextmanager
def running_databases(folder: Path) -> Iterator[Databases]:
    """Run them for as long as the block lasts."""
    with ExitStack() as running:

        def run(name: str) -> PostgresServer:
            return running.enter_context(PostgresServer(folder / name))

        def pair(name: str) -> tuple[PostgresServer, StandbyServer]:
            primary = run(name)
            return primary, running.enter_context(StandbyServer(folder / f"{name}-standby", primary))

        yield Databases(pair("cut"), pair("slow"), run("old"), run("mixed"), run("damaged"), run("open"))

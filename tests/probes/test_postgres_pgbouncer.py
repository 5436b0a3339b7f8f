"""The postgres probe through a real pgbouncer, in both of its modes, and beside what others leave in its sessions."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from exporter.clients.postgres.login import APPLICATION
from exporter.demo.servers.base import Server
from exporter.demo.servers.postgres import PostgresServer
from exporter.probing.probe import SharedClients
from exporter.verdict import Verdict
from tests.probes.databases import histories, superuser
from tests.probes.doing import attempt, make, reason

ATTEMPTS = 10


class Pooler(Server):
    """A pgbouncer before a server, with two sessions of its own there.

    Args:
        directory: Where it keeps its settings and its log.
        behind: The server.
        mode: `session` or `transaction`.
    """

    name: ClassVar[str] = "pgbouncer"
    as_nobody: ClassVar[bool] = True

    def __init__(self, directory: Path, behind: PostgresServer, mode: str) -> None:
        super().__init__(directory)
        self.behind = behind
        self.mode = mode

    def prepare(self) -> None:
        """Write its settings."""
        users = self.directory / "users.txt"
        users.write_text(f'"{self.behind.user}" "{self.behind.password}"\n')
        (self.directory / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={self.behind.host} port={self.behind.port}\n"
            f"[pgbouncer]\nlisten_addr = {self.host}\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {users}\npool_mode = {self.mode}\ndefault_pool_size = 2\n"
        )

    def command(self) -> Iterable[str | Path]:
        """Return its command line."""
        return [shutil.which("pgbouncer") or "pgbouncer", self.directory / "pgbouncer.ini"]


@pytest.fixture(params=["session", "transaction"])
def pooler(request: pytest.FixtureRequest, tmp_path: Path, postgres_server: PostgresServer) -> Iterator[Pooler]:
    with Pooler(tmp_path / "pgbouncer", postgres_server, request.param) as server:
        yield server


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

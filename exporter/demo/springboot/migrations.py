"""A service's schema and Flyway's history in it, and what `/actuator/flyway` tells of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

import asyncpg

from exporter.clients.postgres.flyway import lock_key
from exporter.demo.springboot.pool import DATABASE_ERRORS, HikariPool

__all__ = ["LATEST", "VERSIONS", "Migrations", "schema_of"]

_BROUGHT = (("1", "init"), ("2", "add indexes"), ("3.1", "audit columns"))
VERSIONS = tuple(row[0] for row in _BROUGHT)
"""What a service brings."""
LATEST = VERSIONS[-1]
"""The version that a service's database is to have."""

_NEWER = "999"
_RETRY = 1.0


class Migrations:
    """What Flyway does when an application starts.

    Args:
        pool: The service's connections.
        service: Its name; the schema has underscores for dashes.
    """

    def __init__(self, pool: HikariPool, service: str) -> None:
        self._pool = pool
        self.schema = schema_of(service)

    async def apply(self) -> None:
        """Apply what is missing, as soon as there is a database."""
        while True:
            try:
                async with self._pool.connection() as connection, asyncio.timeout(5.0), connection.transaction():
                    await self._write(connection)
            except DATABASE_ERRORS:
                await asyncio.sleep(_RETRY)
            else:
                return

    async def describe(self) -> list[dict[str, Any]]:
        """Return the migrations as Boot describes them; what is null is left out.

        Raises:
            DATABASE_ERRORS: There is no database, or no history yet.
        """
        query = f"SELECT * FROM {self._table} ORDER BY installed_rank"  # noqa: S608 - own name
        async with asyncio.timeout(2.0), self._pool.connection() as connection:
            rows = await connection.fetch(query)
        known = {row["version"] for row in rows}
        pending = [_pending(version, text) for version, text in _BROUGHT if version not in known]
        return [_described(row) for row in rows] + pending

    async def hold(self, why: str) -> None:
        """Take Flyway's lock in a session and keep it: a migration that hangs. The pool's `release` ends it."""
        await self._pool.hold(
            why, 1, f"BEGIN; SELECT pg_advisory_xact_lock({lock_key(self.schema, 'flyway_schema_history')})"
        )

    async def leave_newer(self, *, on: bool) -> None:
        """Have a migration in the history that a newer version of the service brought, as after its rollback; or no more.

        Raises:
            DATABASE_ERRORS: There is no database.
        """
        async with asyncio.timeout(2.0), self._pool.connection() as connection:
            await connection.execute(f"DELETE FROM {self._table} WHERE version = '{_NEWER}'")  # noqa: S608 - own name
            if on:
                text = "of a newer version"
                row = (999, _NEWER, text, "SQL", _script(_NEWER, text), _checksum(_NEWER), 10)
                await connection.execute(self._insertion, *row)

    @property
    def _table(self) -> str:
        return f'"{self.schema}"."flyway_schema_history"'

    @property
    def _insertion(self) -> str:
        return f"""INSERT INTO {self._table}
          (installed_rank, version, description, type, script, checksum, installed_by, execution_time, success)
          VALUES ($1, $2, $3, $4, $5, $6, current_user, $7, true)"""  # noqa: S608 - own name

    async def _write(self, connection: asyncpg.Connection) -> None:
        if await connection.fetchval("SELECT to_regclass($1)", self._table) is not None:
            return
        await connection.execute(f"""
            CREATE SCHEMA IF NOT EXISTS "{self.schema}";
            CREATE TABLE {self._table} (
              "installed_rank" INT NOT NULL, "version" VARCHAR(50), "description" VARCHAR(200) NOT NULL,
              "type" VARCHAR(20) NOT NULL, "script" VARCHAR(1000) NOT NULL, "checksum" INTEGER,
              "installed_by" VARCHAR(100) NOT NULL, "installed_on" TIMESTAMP NOT NULL DEFAULT now(),
              "execution_time" INTEGER NOT NULL, "success" BOOLEAN NOT NULL);
            ALTER TABLE {self._table} ADD CONSTRAINT "flyway_schema_history_pk" PRIMARY KEY ("installed_rank");
            CREATE INDEX "flyway_schema_history_s_idx" ON {self._table} ("success")""")
        rows: list[tuple[Any, ...]] = [(0, None, "<< Flyway Schema Creation >>", "SCHEMA", f'"{self.schema}"', None, 0)]
        for rank, (version, text) in enumerate(_BROUGHT, 1):
            rows.append((rank, version, text, "SQL", _script(version, text), _checksum(version), 10 + rank))
        await connection.executemany(self._insertion, rows)


def schema_of(service: str) -> str:
    """Name a service's schema."""
    return service.replace("-", "_")


def _script(version: str, text: str) -> str:
    return f"V{version.replace('.', '_')}__{text.replace(' ', '_')}.sql"


def _checksum(version: str) -> int:
    return crc32(version.encode()) - 2**31


def _pending(version: str, text: str) -> dict[str, Any]:
    return {
        "type": "SQL", "checksum": _checksum(version), "version": version, "description": text,
        "script": _script(version, text), "state": "PENDING",
    }  # fmt: skip


def _state(row: asyncpg.Record) -> str:
    if not row["success"]:
        return "FAILED"
    return "FUTURE_SUCCESS" if row["version"] == _NEWER else "SUCCESS"


def _described(row: asyncpg.Record) -> dict[str, Any]:
    installed: datetime = row["installed_on"]
    found = {
        "type": row["type"], "checksum": row["checksum"], "version": row["version"], "description": row["description"],
        "script": row["script"], "state": _state(row), "installedBy": row["installed_by"],
        "installedOn": installed.replace(tzinfo=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "installedRank": row["installed_rank"], "executionTime": row["execution_time"],
    }  # fmt: skip
    return {name: value for name, value in found.items() if value is not None}

"""Flyway's schema history: what is applied, and what failed.

A failed transactional migration is rolled back on PostgreSQL and leaves no row, so a count of failures is a lower bound.
What is pending is not in the table at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from exporter.clients.postgres.session import Session, reading
from exporter.verdict import Failure, Reason, Stage

__all__ = ["MAX_ROWS", "MAX_SCHEMAS", "History", "Migration", "find_histories", "read_history", "summed_up"]

MAX_SCHEMAS = 200
MAX_ROWS = 10_000

_NOT_MIGRATIONS = frozenset({"SCHEMA", "DELETE"})
_HISTORIES = """
SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = {table} AND c.relkind IN ('r', 'p') AND NOT pg_is_other_temp_schema(n.oid) {wanted}
ORDER BY 1 LIMIT {most}"""
_HISTORY = "SELECT version, type, success, script FROM {schema}.{table} ORDER BY installed_rank LIMIT {most}"


class Migration(NamedTuple):
    """A row of a history."""

    version: str | None
    type: str
    success: bool
    script: str


@dataclass(frozen=True, slots=True)
class History:
    """What a history table comes to.

    Attributes:
        version: Highest version applied, compared by its numbers; None where there is none.
        migrations: Migrations applied, repeatable ones included.
        failed: Rows that say they failed, and were not repaired.
    """

    version: str | None
    migrations: int
    failed: int


async def find_histories(session: Session, seconds: float, table: str, schemas: Sequence[str] | None) -> list[str]:
    """Return the schemas that have such a table, of these or of all.

    Raises:
        Failure, OSError, TimeoutError: As for `reading`; `too_large` for more than `MAX_SCHEMAS`.
    """
    wanted = f"AND n.nspname IN ({', '.join(map(_literal, schemas))})" if schemas is not None else ""
    sql = _HISTORIES.format(table=_literal(table), wanted=wanted, most=MAX_SCHEMAS + 1)
    async with reading(session, seconds):
        found = [name for (name,) in await session.query(sql, MAX_SCHEMAS + 1) if name is not None]
    if len(found) > MAX_SCHEMAS:
        raise Failure(Stage.CHECK, Reason.TOO_LARGE, f"more than {MAX_SCHEMAS} schemas have a table {table}")
    return found


async def read_history(session: Session, seconds: float, schema: str, table: str) -> History:
    """Read one schema's history.

    Raises:
        Failure, OSError, TimeoutError: As for `reading`; `too_large` for more than `MAX_ROWS`.
    """
    sql = _HISTORY.format(schema=_quoted(schema), table=_quoted(table), most=MAX_ROWS + 1)
    async with reading(session, seconds):
        rows = await session.query(sql, MAX_ROWS + 1)
    if len(rows) > MAX_ROWS:
        raise Failure(Stage.CHECK, Reason.TOO_LARGE, f"{schema}.{table} has more than {MAX_ROWS} rows")
    try:
        return summed_up(Migration(version, kind or "", ok == "t", script or "") for version, kind, ok, script in rows)
    except ValueError:
        raise Failure(Stage.QUERY, Reason.MALFORMED, "the server's answer cannot be read") from None


def summed_up(rows: Iterable[Migration]) -> History:
    """Sum up a history, by installed_rank.

    A repeatable migration has no version and one row for each time it ran; undone and deleted migrations do not count.
    """
    applied: dict[str, str | None] = {}
    failed: set[str] = set()
    for row in rows:
        kind, version = row.type, row.version
        key = f"version {version}" if version is not None else f"script {row.script}"
        if not row.success:
            failed.add(key)
            continue
        failed.discard(key)
        if kind == "DELETE" or kind.startswith("UNDO"):
            applied.pop(key, None)
        elif kind not in _NOT_MIGRATIONS:
            applied[key] = version
    versions = [version for version in applied.values() if version is not None]
    return History(max(versions, key=_numbers, default=None), len(applied), len(failed))


def _numbers(version: str) -> tuple[int, ...]:
    """Split a version as Flyway does: 10.2 is after 9.1."""
    return tuple(int(part) for part in re.split(r"[._]", version) if part.isascii() and part.isdigit())


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: str) -> str:
    """Make a literal that is read the same whatever `standard_conforming_strings` is."""
    return "E'" + value.replace("\\", "\\\\").replace("'", "''") + "'"

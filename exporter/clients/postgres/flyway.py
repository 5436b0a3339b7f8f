"""Flyway's schema history: what is applied, and what failed.

A failed transactional migration is rolled back on PostgreSQL and leaves no row, so a count of failures is a lower bound.
What is pending is not in the table at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from exporter.clients.postgres.session import Session
from exporter.verdict import Failure, Reason, Stage

__all__ = ["MAX_ROWS", "MAX_SCHEMAS", "History", "Migration", "Table", "find_histories", "read_history", "summed_up"]

MAX_SCHEMAS = 200
MAX_ROWS = 10_000

PATIENCE = 0.25
"""Seconds that are waited for a history table that somebody has locked: an attempt that waits looks like a slow server."""

_NOT_MIGRATIONS = frozenset({"SCHEMA", "DELETE"})
_HISTORIES = """
SELECT n.nspname, CASE
    WHEN NOT has_schema_privilege(n.oid, 'USAGE') THEN 'schema'
    WHEN NOT has_any_column_privilege(c.oid, 'SELECT') THEN 'table'
    WHEN row_security_active(c.oid) THEN 'rows'
    WHEN (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped
      AND a.attname IN ('installed_rank', 'version', 'type', 'success', 'script')) < 5 THEN 'other' END
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = {table} AND c.relkind IN ('r', 'p') AND NOT pg_is_other_temp_schema(n.oid) {wanted}
ORDER BY EXISTS (SELECT FROM pg_locks l WHERE l.relation = c.oid AND l.mode = 'AccessExclusiveLock'), 1
LIMIT {most}"""
_HISTORY = "SELECT version, type, success, script FROM {schema}.{table} ORDER BY installed_rank LIMIT {most}"
_UNREADABLE = {
    "schema": (Reason.AUTH, "no USAGE on schema {schema}"),
    "table": (Reason.AUTH, "no SELECT on {schema}.{table}"),
    "rows": (Reason.AUTH, "row level security hides rows of {schema}.{table}"),
    "other": (Reason.QUERY_FAILED, "{schema}.{table} is not Flyway's: it lacks its columns"),
}


@dataclass(frozen=True, slots=True)
class Table:
    """A history table that there is.

    Attributes:
        schema: Its schema.
        unreadable: Why it cannot be read, as is known without trying: what is refused is in the server's log each time.
    """

    schema: str
    unreadable: Failure | None = None


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


async def find_histories(session: Session, seconds: float, table: str, schemas: Sequence[str] | None) -> list[Table]:
    """Return the tables of this name that there are, in these schemas or in all; those that are locked come last.

    Raises:
        Failure, OSError, TimeoutError: As for `Session.read`; `too_large` for more than `MAX_SCHEMAS`.
    """
    wanted = f"AND n.nspname IN ({', '.join(map(_literal, schemas))})" if schemas is not None else ""
    sql = _HISTORIES.format(table=_literal(table), wanted=wanted, most=MAX_SCHEMAS + 1)
    tables = await session.read(seconds, sql, MAX_SCHEMAS + 1)
    try:
        (rows,) = tables
        found = [Table(schema or "", _unreadable(why, schema or "", table)) for schema, why in rows]
    except ValueError:
        raise Failure(Stage.QUERY, Reason.MALFORMED, "the server's answer cannot be read") from None
    if len(found) > MAX_SCHEMAS:
        raise Failure(Stage.CHECK, Reason.TOO_LARGE, f"more than {MAX_SCHEMAS} schemas have a table {table}")
    return found


def _unreadable(why: str | None, schema: str, table: str) -> Failure | None:
    if why is None:
        return None
    reason, text = _UNREADABLE.get(why, (Reason.MALFORMED, "the server's answer cannot be read"))
    return Failure(Stage.QUERY, reason, text.format(schema=schema, table=table))


async def read_history(session: Session, seconds: float, schema: str, table: str) -> History:
    """Read one schema's history, waiting for a lock `PATIENCE` at most.

    Raises:
        Failure, OSError, TimeoutError: As for `Session.read`; `too_large` for more than `MAX_ROWS`.
    """
    sql = _HISTORY.format(schema=_quoted(schema), table=_quoted(table), most=MAX_ROWS + 1)
    tables = await session.read(seconds, sql, MAX_ROWS + 1, wait=PATIENCE)
    rows = [row for rows in tables for row in rows]
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

"""Flyway's schema history: what is applied, and what failed; and the lock under which Flyway migrates.

A failed transactional migration is rolled back on PostgreSQL and leaves no row, so a count of failures is a lower bound.
What is pending is not in the table at all: that takes the version that is expected.
"""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from exporter.clients.postgres.numbers import number, number_or_none
from exporter.clients.postgres.session import Session
from exporter.clients.postgres.wire import Row
from exporter.verdict import Failure, Reason, Stage

__all__ = [
    "MAX_ROWS", "MAX_SCHEMAS", "Histories", "History", "HistoryState", "Migration", "MigrationLock", "Table",
    "find_histories", "lock_key", "numbers_of", "read_history", "summed_up",
]  # fmt: skip

MAX_SCHEMAS = 200
MAX_ROWS = 10_000
MAX_LOCKS = 50
"""Sessions that hold Flyway's locks, of which more are not looked at; each schema has one."""

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
_LOCKS = """
SELECT l.classid, l.objid, coalesce(a.usename::text, ''), coalesce(a.application_name, ''), coalesce(a.state, 'hidden'),
  extract(epoch FROM clock_timestamp() - least(a.xact_start, a.state_change))::float8
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.classid IN (18027, 18028) AND l.objsubid = 1
  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
ORDER BY l.classid, l.objid LIMIT {most}"""
"""The halves of a key of 64 bits are classid and objid. Who else wants the lock asks again and again, and does not show."""
_HISTORY = "SELECT version, type, success, script FROM {schema}.{table} ORDER BY installed_rank LIMIT {most}"
_LOCK_MAGIC = 77_431_708_279_161
"""`LOCK_MAGIC_NUM` of Flyway's PostgreSQLAdvisoryLockTemplate: the letters of its name."""


class HistoryState(StrEnum):
    """What is known of a schema's history table."""

    READ = "read"
    MISSING = "missing"
    """The schema has none, or there is no such schema: nothing was ever applied there."""
    FORBIDDEN = "forbidden"
    """There is one, and the role may not read it, or not all of its rows."""
    FOREIGN = "foreign"
    """A table of that name that lacks Flyway's columns."""
    UNREADABLE = "unreadable"
    """It was asked for, and not answered: locked, or an error that the part tells."""


_REFUSALS = {
    "schema": (HistoryState.FORBIDDEN, Reason.AUTH, "no USAGE on schema {schema}"),
    "table": (HistoryState.FORBIDDEN, Reason.AUTH, "no SELECT on {schema}.{table}"),
    "rows": (HistoryState.FORBIDDEN, Reason.AUTH, "row level security hides rows of {schema}.{table}"),
    "other": (HistoryState.FOREIGN, Reason.QUERY_FAILED, "{schema}.{table} is not Flyway's: it lacks its columns"),
}


@dataclass(frozen=True, slots=True)
class Table:
    """A history table that there is.

    Attributes:
        schema: Its schema.
        refusal: Why it cannot be read, and what that makes of it, as is known without trying: what the server refuses is in
            its log each time. None where it can be tried.
    """

    schema: str
    refusal: tuple[HistoryState, Failure] | None = None


@dataclass(frozen=True, slots=True)
class MigrationLock:
    """Flyway's lock on a schema's history, which some session holds: a migration is under way, or stuck.

    Attributes:
        schema: Of which it is; empty where that cannot be told, as of a table of another name.
        user: The role that holds it.
        application: The `application_name` of the session.
        state: What the session does; `hidden` where the role may not see it.
        seconds: For how long it has held the lock, at least: since its transaction began, or since its state changed without
            one. None where that is hidden.
    """

    schema: str
    user: str
    application: str
    state: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Histories:
    """What there is of Flyway in a database.

    Attributes:
        tables: The tables, those that are locked last.
        locks: The locks that are held.
    """

    tables: Sequence[Table]
    locks: Sequence[MigrationLock]


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
        versions: Versions that are applied, in the order in which they were.
        version: The highest of them, compared by its numbers; None where there is none.
        repeatable: Repeatable migrations that are applied.
        failed: Migrations whose newest row says that they failed, and were not repaired.
        out_of_order: Versions that were applied after a higher one.
        baseline: The version at which Flyway was told to begin; None where it began with nothing.
    """

    versions: Sequence[str] = ()
    version: str | None = None
    repeatable: int = 0
    failed: int = 0
    out_of_order: int = 0
    baseline: str | None = None

    @property
    def migrations(self) -> int:
        """Migrations applied, repeatable ones included."""
        return len(self.versions) + self.repeatable

    def lacks(self, expected: str) -> bool:
        """Say whether the database is behind an expected version."""
        return self.version is None or numbers_of(self.version) < numbers_of(expected)

    def pending(self, known: Iterable[str]) -> int:
        """Count the versions of a program that are not applied, failed ones included; below the baseline none is."""
        least = numbers_of(self.baseline) if self.baseline is not None else ()
        applied = set(map(numbers_of, self.versions))
        return sum(numbers not in applied and numbers > least for numbers in set(map(numbers_of, known)))

    def beyond(self, expected: str) -> int:
        """Count the versions applied that are higher than an expected one: of a newer program than is expected."""
        highest = numbers_of(expected)
        return sum(numbers_of(version) > highest for version in self.versions)


async def find_histories(session: Session, seconds: float, table: str, schemas: Sequence[str] | None) -> Histories:
    """Return the tables of this name that there are, in these schemas or in all, and who holds Flyway's locks.

    Raises:
        Failure, OSError, TimeoutError: As for `Session.read`; `too_large` for more than `MAX_SCHEMAS`.
    """
    wanted = f"AND n.nspname IN ({', '.join(map(_literal, schemas))})" if schemas is not None else ""
    sql = _HISTORIES.format(table=_literal(table), wanted=wanted, most=MAX_SCHEMAS + 1)
    answer = await session.read(seconds, f"{sql}; {_LOCKS.format(most=MAX_LOCKS)}", MAX_SCHEMAS + MAX_LOCKS + 1)
    try:
        rows, held = answer
        tables = [Table(schema or "", _refusal(why, schema or "", table)) for schema, why in rows]
        names = {lock_key(name, table): name for name in {*(found.schema for found in tables), *(schemas or ())}}
        locks = list(_locks(held, names))
    except (ValueError, TypeError):
        raise Failure(Stage.QUERY, Reason.MALFORMED, "the server's answer cannot be read") from None
    if len(tables) > MAX_SCHEMAS:
        raise Failure(Stage.CHECK, Reason.TOO_LARGE, f"more than {MAX_SCHEMAS} schemas have a table {table}")
    return Histories(tables, locks)


def _refusal(why: str | None, schema: str, table: str) -> tuple[HistoryState, Failure] | None:
    if why is None:
        return None
    if why not in _REFUSALS:
        raise ValueError(why)
    state, reason, text = _REFUSALS[why]
    return state, Failure(Stage.QUERY, reason, text.format(schema=schema, table=table))


def _locks(rows: Iterable[Row], schemas: dict[int, str]) -> Iterator[MigrationLock]:
    for high, low, user, application, state, seconds in rows:
        key = (int(number(high)) << 32) + int(number(low))
        yield MigrationLock(schemas.get(key, ""), user or "", application or "", state or "", number_or_none(seconds))


def lock_key(schema: str, table: str) -> int:
    """Return the key of the advisory lock that Flyway takes for a history table: its magic plus Java's hash of the name."""
    name = f"{_quoted(schema)}.{_quoted(table)}".encode("utf-16-le", "replace")
    hashed = 0
    for low, high in zip(name[::2], name[1::2], strict=True):
        hashed = (31 * hashed + (high << 8 | low)) & 0xFFFFFFFF
    return _LOCK_MAGIC + (hashed - 2**32 if hashed >= 2**31 else hashed)


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
    versions: dict[str, bool] = {}  # whether out of order
    ranked: list[tuple[tuple[int, ...], str]] = []  # the same from the lowest: looking for it costs too much of ten thousand
    repeatable: set[str] = set()
    failed: set[tuple[str | None, str]] = set()
    baseline: str | None = None
    for version, kind, success, script in rows:
        key = (version, "" if version is not None else script)
        if not success:
            failed.add(key)
            continue
        failed.discard(key)
        if kind == "DELETE" or kind.startswith("UNDO"):
            repeatable.discard(script)
            if version is not None and versions.pop(version, None) is not None:
                del ranked[bisect_left(ranked, (numbers_of(version), version))]
        elif kind in _NOT_MIGRATIONS:
            continue
        elif version is None:
            repeatable.add(script)
        else:
            numbers = numbers_of(version)
            if version not in versions:
                insort(ranked, (numbers, version))
            versions[version] = numbers < ranked[-1][0]
            baseline = version if kind == "BASELINE" else baseline
    highest = ranked[-1][1] if ranked else None
    return History(tuple(versions), highest, len(repeatable), len(failed), sum(versions.values()), baseline)


def numbers_of(version: str) -> tuple[int, ...]:
    """Split a version as Flyway does: 10.2 is after 9.1, and 1.0 is 1."""
    numbers = [int(part) for part in re.split(r"[._]", version) if part.isascii() and part.isdigit()]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: str) -> str:
    """Make a literal that is read the same whatever `standard_conforming_strings` is."""
    return "E'" + value.replace("\\", "\\\\").replace("'", "''") + "'"

"""Flyway's migrations in the schemas of a database, as `flyway info` would tell of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from exporter.clients.postgres.flyway import (
    Histories,
    History,
    HistoryState,
    MigrationLock,
    find_histories,
    numbers_of,
    read_history,
)
from exporter.clients.postgres.session import Session
from exporter.metrics.family import gauge
from exporter.probing.attempt import Attempt
from exporter.verdict import Failure, Reason, Stage

__all__ = ["METRICS", "MigrationHistories"]

FLYWAY_HISTORY = gauge(
    "probe_postgres_flyway_history_state",
    "1 for what is known of a schema's history table: read, missing, forbidden, foreign (another's table) or unreadable.",
    "schema", "state",
)  # fmt: skip
FLYWAY_VERSION = gauge(
    "probe_postgres_flyway_version", "1 for the highest version that Flyway has applied to a schema.", "schema", "version"
)
FLYWAY_EXPECTED = gauge(
    "probe_postgres_flyway_expected_version", "1 for the version that the configuration expects.", "schema", "version"
)
FLYWAY_MIGRATIONS = gauge(
    "probe_postgres_flyway_migrations", "Migrations that Flyway has applied to a schema, repeatable ones included.", "schema"
)
FLYWAY_REPEATABLE = gauge(
    "probe_postgres_flyway_repeatable_migrations", "Repeatable migrations among those applied to a schema.", "schema"
)
FLYWAY_FAILED = gauge(
    "probe_postgres_flyway_failed_migrations",
    "Migrations in a schema's Flyway history that failed and were not repaired; one that was rolled back leaves no row.",
    "schema",
)
FLYWAY_OUT_OF_ORDER = gauge(
    "probe_postgres_flyway_out_of_order_migrations", "Versions applied to a schema after a higher one.", "schema"
)
FLYWAY_BEHIND = gauge(
    "probe_postgres_flyway_behind",
    "1 if a schema lacks the version that is expected: migrations are pending. Absent where its history is not read.",
    "schema",
)
FLYWAY_PENDING = gauge(
    "probe_postgres_flyway_pending_migrations",
    "Versions of the list that is expected of a schema that are not applied; absent where only the highest is known.",
    "schema",
)
FLYWAY_FUTURE = gauge(
    "probe_postgres_flyway_future_migrations",
    "Versions applied to a schema that are higher than the one that is expected: of a newer program.",
    "schema",
)
FLYWAY_LOCK = gauge(
    "probe_postgres_flyway_lock_held",
    "1 for a session that holds Flyway's lock: it migrates, or is stuck. The schema is empty where it cannot be told.",
    "schema", "user", "application", "state",
)  # fmt: skip
FLYWAY_LOCK_SECONDS = gauge(
    "probe_postgres_flyway_lock_seconds",
    "For how long Flyway's lock has been held, at least; absent without a holder, or where that is hidden.",
    "schema",
)
METRICS = (
    FLYWAY_HISTORY, FLYWAY_VERSION, FLYWAY_EXPECTED, FLYWAY_MIGRATIONS, FLYWAY_REPEATABLE, FLYWAY_FAILED,
    FLYWAY_OUT_OF_ORDER, FLYWAY_BEHIND, FLYWAY_PENDING, FLYWAY_FUTURE, FLYWAY_LOCK, FLYWAY_LOCK_SECONDS,
)  # fmt: skip


class MigrationHistories:
    """Reads and records the histories of one database.

    Args:
        table: What Flyway's table is called.
        wanted: Schemas to look in; None is all that have the table, and those of which a version is expected.
        expected: By schema, the version that is expected, or all versions that are.
    """

    def __init__(self, table: str, wanted: Sequence[str] | None, expected: Mapping[str, str | Sequence[str]]) -> None:
        self._table = table
        self._wanted = wanted
        self._known = {schema: versions for schema, versions in expected.items() if not isinstance(versions, str)}
        self._expected = {
            schema: versions if isinstance(versions, str) else max(versions, key=numbers_of)
            for schema, versions in expected.items()
        }

    async def check(self, part: Attempt, session: Session) -> None:
        """Read them one by one: what keeps one from being read keeps no other.

        Raises:
            Failure, OSError, TimeoutError: How the first of them failed, once all have been tried; or as the session ended.
        """
        found = await find_histories(session, part.remaining / 2, self._table, self._wanted)
        for lock in found.locks:
            _record_lock(part, lock)
        failed = await self._read(part, session, found)
        missing = sorted({*(self._wanted or ()), *self._expected} - {table.schema for table in found.tables})
        for schema in missing:
            self._record_state(part, schema, HistoryState.MISSING)
            self._compare(part, schema, History())
        if failed is not None:
            raise failed
        if missing:
            raise Failure(Stage.CHECK, Reason.QUERY_FAILED, f"no table {self._table} in {', '.join(missing)}")

    async def _read(self, part: Attempt, session: Session, found: Histories) -> Failure | None:
        failed: Failure | None = None
        for number, table in enumerate(found.tables):
            if table.refusal is not None:
                state, why = table.refusal
                self._record_state(part, table.schema, state)
                failed = failed or why
                continue
            # One that hangs takes its own time and not the others', nor that of what is asked after them in this session.
            share = part.remaining / (len(found.tables) - number + 1)
            try:
                history = await read_history(session, share, table.schema, self._table)
            except Failure as failure:
                self._record_state(part, table.schema, HistoryState.UNREADABLE)
                if session.closed:
                    raise
                failed = failed or failure
            else:
                self._record(part, table.schema, history)
        return failed

    def _record(self, part: Attempt, schema: str, history: History) -> None:
        self._record_state(part, schema, HistoryState.READ)
        part.record(FLYWAY_MIGRATIONS, history.migrations, schema)
        part.record(FLYWAY_REPEATABLE, history.repeatable, schema)
        part.record(FLYWAY_FAILED, history.failed, schema)
        part.record(FLYWAY_OUT_OF_ORDER, history.out_of_order, schema)
        if history.version is not None:
            part.record(FLYWAY_VERSION, 1, schema, history.version)
        self._compare(part, schema, history)

    def _compare(self, part: Attempt, schema: str, history: History) -> None:
        expected = self._expected.get(schema)
        if expected is not None:
            part.record(FLYWAY_BEHIND, history.lacks(expected), schema)
            part.record(FLYWAY_FUTURE, history.beyond(expected), schema)
        if schema in self._known:
            part.record(FLYWAY_PENDING, history.pending(self._known[schema]), schema)

    def _record_state(self, part: Attempt, schema: str, state: HistoryState) -> None:
        part.record(FLYWAY_HISTORY, 1, schema, state.value)
        expected = self._expected.get(schema)
        if expected is not None:
            part.record(FLYWAY_EXPECTED, 1, schema, expected)


def _record_lock(part: Attempt, lock: MigrationLock) -> None:
    part.record(FLYWAY_LOCK, 1, lock.schema, lock.user, lock.application, lock.state)
    if lock.seconds is not None:
        longest = part.samples.get(FLYWAY_LOCK_SECONDS, {}).get((lock.schema,), 0.0)
        part.record(FLYWAY_LOCK_SECONDS, max(longest, lock.seconds), lock.schema)

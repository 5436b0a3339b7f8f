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
from exporter.databases import flyway as f
from exporter.probing.attempt import Attempt
from exporter.verdict import Failure, Reason, Stage

__all__ = ["MigrationHistories"]


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
        part.record(f.FLYWAY_MIGRATIONS, history.migrations, schema)
        part.record(f.FLYWAY_REPEATABLE, history.repeatable, schema)
        part.record(f.FLYWAY_FAILED, history.failed, schema)
        part.record(f.FLYWAY_OUT_OF_ORDER, history.out_of_order, schema)
        if history.version is not None:
            part.record(f.FLYWAY_VERSION, 1, schema, history.version)
        self._compare(part, schema, history)

    def _compare(self, part: Attempt, schema: str, history: History) -> None:
        expected = self._expected.get(schema)
        if expected is not None:
            part.record(f.FLYWAY_BEHIND, history.lacks(expected), schema)
            part.record(f.FLYWAY_FUTURE, history.beyond(expected), schema)
        if schema in self._known:
            part.record(f.FLYWAY_PENDING, history.pending(self._known[schema]), schema)

    def _record_state(self, part: Attempt, schema: str, state: HistoryState) -> None:
        part.record(f.FLYWAY_HISTORY, 1, schema, state.value)
        expected = self._expected.get(schema)
        if expected is not None:
            part.record(f.FLYWAY_EXPECTED, 1, schema, expected)


def _record_lock(part: Attempt, lock: MigrationLock) -> None:
    part.record(f.FLYWAY_LOCK, 1, lock.schema, lock.user, lock.application, lock.state)
    if lock.seconds is not None:
        longest = part.samples.get(f.FLYWAY_LOCK_SECONDS, {}).get((lock.schema,), 0.0)
        part.record(f.FLYWAY_LOCK_SECONDS, max(longest, lock.seconds), lock.schema)

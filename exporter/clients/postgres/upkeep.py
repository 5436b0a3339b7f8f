"""How a database keeps: what it has counted, how large it is, and what vacuum owes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.clients.postgres.numbers import number, number_or_none
from exporter.clients.postgres.session import Session
from exporter.clients.postgres.wire import Row
from exporter.verdict import Failure, Reason, Stage

__all__ = ["ENDS", "ROWS", "Counted", "Upkeep", "read_counted", "read_upkeep"]

ROWS = ("returned", "fetched", "inserted", "updated", "deleted")
"""What is counted of rows: those that scans went over, those that indexes led to, and those that were written."""

ENDS = ("abandoned", "fatal", "killed")
"""How sessions end that their clients did not end."""

_COUNTED = """
SELECT xact_commit, xact_rollback, deadlocks, blks_hit, blks_read, temp_files, temp_bytes, conflicts,
  tup_returned, tup_fetched, tup_inserted, tup_updated, tup_deleted,
  to_jsonb(d) ->> 'sessions_abandoned', to_jsonb(d) ->> 'sessions_fatal', to_jsonb(d) ->> 'sessions_killed',
  (SELECT sum((to_jsonb(e) ->> 'checksum_failures')::bigint) FROM pg_stat_database e)
FROM pg_stat_database d WHERE datname = current_database()"""
_UPKEEP = """
SELECT pg_database_size(current_database()),
  (SELECT max(age(datfrozenxid)) FROM pg_database), (SELECT max(mxid_age(datminmxid)) FROM pg_database),
  (SELECT count(*) FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
    LEFT JOIN LATERAL (SELECT
        max(option_value) FILTER (WHERE option_name = 'autovacuum_vacuum_threshold') AS threshold,
        max(option_value) FILTER (WHERE option_name = 'autovacuum_vacuum_scale_factor') AS factor,
        max(option_value) FILTER (WHERE option_name = 'autovacuum_vacuum_max_threshold') AS most,
        max(option_value) FILTER (WHERE option_name = 'autovacuum_enabled') AS enabled
      FROM pg_options_to_table(c.reloptions)) own ON c.reloptions IS NOT NULL
    WHERE s.n_dead_tup > 0 AND c.relpersistence <> 't' AND coalesce(own.enabled::boolean, true)
      AND s.n_dead_tup > 2 * least(
        coalesce(own.threshold, current_setting('autovacuum_vacuum_threshold'))::float8
        + coalesce(own.factor, current_setting('autovacuum_vacuum_scale_factor'))::float8 * greatest(c.reltuples, 0),
        (SELECT m FROM (SELECT coalesce(own.most, current_setting('autovacuum_vacuum_max_threshold', true))::float8) x (m)
          WHERE m >= 0)))"""
"""Temporary tables are their sessions' own: autovacuum never comes. Version 18 has a most, which is none below zero."""
_HELD = """
SELECT 'transactions', CASE WHEN a THEN coalesce(
    (SELECT max(age(backend_xmin)) FROM pg_stat_activity WHERE pid <> pg_backend_pid()
      AND coalesce(backend_type, '') NOT IN ('autovacuum worker', 'walsender')), 0) END
FROM pg_has_role('pg_read_all_stats', 'USAGE') a
UNION ALL SELECT 'replicas', CASE WHEN a THEN coalesce((SELECT max(age(backend_xmin)) FROM pg_stat_replication), 0) END
FROM pg_has_role('pg_read_all_stats', 'USAGE') a
UNION ALL SELECT 'prepared', coalesce(max(age(transaction)), 0) FROM pg_prepared_xacts
UNION ALL SELECT 'slots', coalesce(max(greatest(age(xmin), age(catalog_xmin))), 0) FROM pg_replication_slots"""
"""Rows that one of these may still see are not removed, however often vacuum comes."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What a database has counted since its statistics were last reset.

    Attributes:
        committed: Transactions that were committed.
        rolled_back: Transactions that were rolled back.
        deadlocks: Deadlocks that were found.
        hit: Blocks found in shared buffers.
        read: Blocks asked of the operating system.
        temp_files: Temporary files that queries wrote.
        temp_bytes: Bytes of them.
        conflicts: Queries of a standby that were ended because replay could not wait for them.
        rows: Rows by what was done with them, of `ROWS`.
        checksum_failures: Blocks of all databases whose checksum was wrong; None before version 12, and without checksums.
        ended: Sessions that were not ended by their clients, of `ENDS`; empty before version 14.
    """

    committed: float
    rolled_back: float
    deadlocks: float
    hit: float
    read: float
    temp_files: float
    temp_bytes: float
    conflicts: float
    rows: Mapping[str, float]
    checksum_failures: float | None
    ended: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What changes slowly.

    Attributes:
        size: Bytes of the database.
        transaction_age: Transactions since the oldest that is not frozen, in any database; writes end at about 2^31.
        multixact_age: The same of multixacts.
        overdue: Tables of the database with twice the dead rows at which autovacuum should have come, by the table's own
            settings or the server's; not those that it is told to leave alone, nor temporary ones.
        held: By who may still see rows that are dead, for how many transactions; without those that the role may not see.
    """

    size: float
    transaction_age: float
    multixact_age: float
    overdue: int
    held: Mapping[str, float]


async def read_counted(session: Session, seconds: float) -> Counted:
    """Read it, within so many seconds.

    Raises:
        Failure, OSError, TimeoutError: As for `Session.read`; `malformed` for an answer that is not what was asked for.
    """
    row = await _row(session, seconds, _COUNTED)
    try:
        committed, rolled_back, deadlocks, hit, read, files, size, conflicts, *rows = map(number, row[: 8 + len(ROWS)])
        *ends, checksums = row[8 + len(ROWS) :]
        ended = {how: number(count) for how, count in zip(ENDS, ends, strict=True) if count is not None}
        return Counted(
            committed, rolled_back, deadlocks, hit, read, files, size, conflicts, dict(zip(ROWS, rows, strict=True)),
            number_or_none(checksums), ended,
        )  # fmt: skip
    except (ValueError, TypeError, IndexError):
        raise _unreadable() from None


async def read_upkeep(session: Session, seconds: float) -> Upkeep:
    """Read it, within so many seconds. It looks at each file of the database: not for every attempt.

    Raises:
        Failure, OSError, TimeoutError: As for `Session.read`; `malformed` for an answer that is not what was asked for.
    """
    tables = await session.read(seconds, f"{_UPKEEP}; {_HELD}", 5)
    try:
        (row,), holders = tables
        size, transactions, multixacts, overdue = map(number, row)
        held = {holder or "": number(age) for holder, age in holders if age is not None}
        return Upkeep(size, transactions, multixacts, int(overdue), held)
    except ValueError:
        raise _unreadable() from None


async def _row(session: Session, seconds: float, sql: str) -> Row:
    tables = await session.read(seconds, sql)
    if len(tables) != 1 or len(tables[0]) != 1:
        raise _unreadable()
    return tables[0][0]


def _unreadable() -> Failure:
    return Failure(Stage.QUERY, Reason.MALFORMED, "the server's answer cannot be read")

"""A database server: its part in replication, and how its databases keep."""

from __future__ import annotations

from collections.abc import Iterable

from exporter.clients.postgres.instance import read_instance
from exporter.clients.postgres.replication import Replica, Replication, Slot, read_replication
from exporter.clients.postgres.session import Session
from exporter.clients.postgres.upkeep import Counted, Upkeep, read_counted, read_upkeep
from exporter.metrics.family import counter, gauge
from exporter.metrics.store import LabelValues
from exporter.probing.attempt import Attempt
from exporter.probing.cadence import Every
from exporter.verdict import Failure, Stage

__all__ = [
    "COUNTERS", "INSTANCE", "REPLICATION", "RUNS", "UPKEEP", "UpkeepReader", "check_counters", "check_instance",
    "check_replication",
]  # fmt: skip

RUNS = 20
"""Attempts between two looks at what changes slowly and costs more; what was found holds in between."""

MAX_TOLD_APART = 20
"""Replicas, and slots, that are told apart."""

OTHERS = "(others)"

STANDBY = gauge("probe_postgres_standby", "1 for a server in recovery, a standby; 0 for a primary.")
LINK_UP = gauge(
    "probe_postgres_replication_link_up",
    "1 while a standby receives WAL as it is written; absent on a primary, and where it is hidden.",
)
LAG_BYTES = gauge("probe_postgres_replication_lag_bytes", "WAL that a standby knows of and has not replayed; standbys only.")
LAG_SECONDS = gauge(
    "probe_postgres_replication_lag_seconds",
    "How old what a standby shows may be: 0 if linked and all is replayed, else the age of the last transaction replayed.",
)
REPLICAS = gauge("probe_postgres_replicas", "Replicas and backups that take WAL from the server, by state.", "state")
REPLICA_LAG_BYTES = gauge(
    "probe_postgres_replica_lag_bytes", "WAL that a replica has not replayed, as its source sees it.", "replica", "address"
)
REPLICA_LAG_SECONDS = gauge(
    "probe_postgres_replica_lag_seconds", "What a write would wait for a replica to replay it.", "replica", "address"
)
SLOT_ACTIVE = gauge("probe_postgres_replication_slot_active", "1 while somebody reads from a slot.", "slot", "type")
SLOT_KEPT = gauge("probe_postgres_replication_slot_kept_bytes", "WAL that the server keeps for a slot.", "slot", "type")
REPLICATION = (
    STANDBY, LINK_UP, LAG_BYTES, LAG_SECONDS, REPLICAS, REPLICA_LAG_BYTES, REPLICA_LAG_SECONDS, SLOT_ACTIVE, SLOT_KEPT,
)  # fmt: skip

TRANSACTIONS = counter("probe_postgres_transactions_total", "Transactions of the database, by how they ended.", "outcome")
DEADLOCKS = counter("probe_postgres_deadlocks_total", "Deadlocks found in the database.")
BLOCKS_HIT = counter("probe_postgres_blocks_hit_total", "Blocks of the database found in shared buffers.")
BLOCKS_READ = counter("probe_postgres_blocks_read_total", "Blocks of the database asked of the operating system.")
TEMP_FILES = counter("probe_postgres_temp_files_total", "Temporary files that queries of the database wrote.")
TEMP_BYTES = counter("probe_postgres_temp_bytes_total", "Bytes of the temporary files.")
CHECKSUM_FAILURES = counter(
    "probe_postgres_checksum_failures_total",
    "Blocks of any database whose checksum was wrong; absent without checksums, and before version 12.",
)
ROWS = counter(
    "probe_postgres_rows_total",
    "Rows of the database: returned by scans, fetched by an index, inserted, updated or deleted.",
    "operation",
)
CONFLICTS = counter(
    "probe_postgres_conflicts_total", "Queries of a standby that were ended because replay did not wait for them any longer."
)
SESSIONS_ENDED = counter(
    "probe_postgres_sessions_ended_total",
    "Sessions of the database that ended otherwise than by their client: abandoned, fatal or killed; from version 14 on.",
    "how",
)
COUNTERS = (
    TRANSACTIONS, DEADLOCKS, BLOCKS_HIT, BLOCKS_READ, TEMP_FILES, TEMP_BYTES, CHECKSUM_FAILURES, ROWS, CONFLICTS,
    SESSIONS_ENDED,
)  # fmt: skip

VERSION = gauge("probe_postgres_version", "1 for the version of the server.", "version")
UPTIME = gauge("probe_postgres_uptime_seconds", "Time since the server was started.")
ARCHIVED = counter("probe_postgres_wal_archived_total", "Files of WAL that reached the archive; absent without archiving.")
ARCHIVE_FAILURES = counter("probe_postgres_wal_archive_failures_total", "Tries to archive a file of WAL that failed.")
ARCHIVE_FAILING = gauge(
    "probe_postgres_wal_archive_failing",
    "1 while the last try to archive WAL failed, or archive_command is empty: it is kept until one succeeds.",
)
INSTANCE = (VERSION, UPTIME, ARCHIVED, ARCHIVE_FAILURES, ARCHIVE_FAILING)

SIZE = gauge("probe_postgres_database_size_bytes", "Size of the database.")
TRANSACTION_AGE = gauge(
    "probe_postgres_oldest_transaction_age",
    "Transactions since the oldest that is not frozen, in any database; the server takes no more writes at about 2^31.",
)
MULTIXACT_AGE = gauge(
    "probe_postgres_oldest_multixact_age", "Multixacts since the oldest that is not frozen, in any database."
)
OVERDUE = gauge(
    "probe_postgres_tables_overdue_for_vacuum",
    "Tables of the database with twice the dead rows at which autovacuum should have come, by the server's settings.",
)
HELD = gauge(
    "probe_postgres_vacuum_held_back_transactions",
    "For how many transactions rows are kept that are dead, by for whom: transactions, prepared, replicas or slots.",
    "holder",
)
UPKEEP = (SIZE, TRANSACTION_AGE, MULTIXACT_AGE, OVERDUE, HELD)

STATES = ("streaming", "catchup", "startup", "backup", "stopping", "hidden", "other")


async def check_replication(part: Attempt, session: Session, seconds: float) -> None:
    """Read and record what the server says of replication.

    Raises:
        Failure, OSError, TimeoutError: As for `read_replication`.
    """
    found = await read_replication(session, seconds)
    part.record(STANDBY, found.standby)
    _record_standby(part, found)
    counts: dict[LabelValues, float] = {(state,): 0.0 for state in STATES}
    for replica in found.replicas:
        counts[(replica.state if replica.state in STATES else "other",)] += 1
    part.record_all({REPLICAS: counts})
    _record_replicas(part, found.replicas)
    _record_slots(part, found.slots)


def _record_standby(part: Attempt, found: Replication) -> None:
    if found.linked is not None:
        part.record(LINK_UP, found.linked)
    if found.lag_bytes is not None:
        part.record(LAG_BYTES, found.lag_bytes)
    if found.lag_seconds is not None:
        part.record(LAG_SECONDS, found.lag_seconds)


def _record_replicas(part: Attempt, replicas: Iterable[Replica]) -> None:
    """Record them; several of one name and address are as the furthest behind is, and so are those not told apart."""
    lags: dict[LabelValues, float] = {}
    waits: dict[LabelValues, float] = {}
    for replica in replicas:
        who: LabelValues = (replica.name, replica.address)
        if who not in lags and len(lags) >= MAX_TOLD_APART:
            who = (OTHERS, OTHERS)
        if replica.lag_bytes is not None:
            lags[who] = max(lags.get(who, 0.0), replica.lag_bytes)
        if replica.lag_seconds is not None:
            waits[who] = max(waits.get(who, 0.0), replica.lag_seconds)
    part.record_all({REPLICA_LAG_BYTES: lags, REPLICA_LAG_SECONDS: waits})


def _record_slots(part: Attempt, slots: Iterable[Slot]) -> None:
    """Record them; those not told apart are active if all are, and keep what they keep together."""
    active: dict[LabelValues, float] = {}
    kept: dict[LabelValues, float] = {}
    for slot in slots:
        which: LabelValues = (slot.name, slot.type) if len(active) < MAX_TOLD_APART else (OTHERS, OTHERS)
        active[which] = min(active.get(which, 1.0), float(slot.active))
        if slot.kept_bytes is not None:
            kept[which] = kept.get(which, 0.0) + slot.kept_bytes
    part.record_all({SLOT_ACTIVE: active, SLOT_KEPT: kept})


async def check_counters(part: Attempt, session: Session, seconds: float) -> None:
    """Read and record what the database has counted.

    Raises:
        Failure, OSError, TimeoutError: As for `read_counted`.
    """
    found: Counted = await read_counted(session, seconds)
    part.record(TRANSACTIONS, found.committed, "committed")
    part.record(TRANSACTIONS, found.rolled_back, "rolled_back")
    part.record(DEADLOCKS, found.deadlocks)
    part.record(BLOCKS_HIT, found.hit)
    part.record(BLOCKS_READ, found.read)
    part.record(TEMP_FILES, found.temp_files)
    part.record(TEMP_BYTES, found.temp_bytes)
    part.record(CONFLICTS, found.conflicts)
    part.record_all({ROWS: {(what,): count for what, count in found.rows.items()}})
    part.record_all({SESSIONS_ENDED: {(how,): count for how, count in found.ended.items()}})
    if found.checksum_failures is not None:
        part.record(CHECKSUM_FAILURES, found.checksum_failures)


async def check_instance(part: Attempt, session: Session, seconds: float) -> None:
    """Read and record what the server is, and how archiving goes.

    Raises:
        Failure, OSError, TimeoutError: As for `read_instance`.
    """
    found = await read_instance(session, seconds)
    part.record(VERSION, 1, found.version)
    part.record(UPTIME, found.uptime)
    if found.archive is not None:
        part.record(ARCHIVED, found.archive.archived)
        part.record(ARCHIVE_FAILURES, found.archive.failed)
        part.record(ARCHIVE_FAILING, found.archive.failing)


class UpkeepReader:
    """Asks now and then for what changes slowly; what was found, or why it was not, holds in between."""

    def __init__(self) -> None:
        self._question = Every(RUNS)
        self._found: Upkeep | Failure | None = None

    async def check(self, attempt: Attempt, session: Session) -> None:
        """Record what is known as the part `upkeep`, having asked if it is time to."""
        if self._question.due:
            self._found = await self._ask(attempt, session)
            if not session.closed:  # else it was not the question that failed
                self._question.done()
        else:
            attempt.note_asked("upkeep", self._question.at)
        self._question.passed()
        match self._found:
            case Upkeep() as found:
                async with attempt.part("upkeep") as part:
                    part.record(SIZE, found.size)
                    part.record(TRANSACTION_AGE, found.transaction_age)
                    part.record(MULTIXACT_AGE, found.multixact_age)
                    part.record(OVERDUE, found.overdue)
                    part.record_all({HELD: {(holder,): age for holder, age in found.held.items()}})
            case failure:
                attempt.parts["upkeep"] = failure

    async def _ask(self, attempt: Attempt, session: Session) -> Upkeep | Failure | None:
        async with attempt.part("upkeep") as part:
            part.stage = Stage.QUERY
            return await read_upkeep(session, part.remaining / 2)
        return attempt.parts["upkeep"]

"""The families of a database server: its part in replication, and how its databases keep."""

from __future__ import annotations

from exporter.metrics.family import counter, gauge

__all__ = ["COUNTERS", "INSTANCE", "REPLICATION", "UPKEEP"]

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

"""The families of Flyway's migrations in the schemas of a database."""

from __future__ import annotations

from exporter.metrics.family import gauge

__all__ = ["METRICS"]

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

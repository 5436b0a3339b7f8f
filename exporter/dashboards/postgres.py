"""The PostgreSQL dashboard: connections, sessions, migrations, statements, replication, upkeep, pgbouncer."""

from __future__ import annotations

from exporter.boards import Board
from exporter.dashboards.board import Content, Row
from exporter.dashboards.limits import limit
from exporter.dashboards.panels import Panels, Query, Size, graph, states
from exporter.dashboards.promql import joined, of, rate, ratio, total
from exporter.dashboards.queries import highest, lowest
from exporter.metrics import limits

__all__ = ["board"]


def board() -> Content:
    """Return what it shows."""
    return Content(
        Board.POSTGRES,
        "PostgreSQL and Flyway",
        "Connections and who holds them, sessions that wait, migrations, statements, replication, upkeep, pgbouncer.",
        (
            Row(104, "Connections", _connections()),
            Row(384, "Transactions and locks", _sessions()),
            Row(385, "Flyway migrations", _migrations()),
            Row(386, "Statements", _statements()),
            Row(387, "Replication", _replication()),
            Row(388, "Upkeep", _upkeep()),
            Row(389, "pgbouncer", _pgbouncer()),
        ),
        kinds=frozenset({"postgres"}),
    )


def _connections() -> Panels:
    """Return how many there are, and who holds them."""
    used = joined("service, target", of("probe_postgres_connections"))
    most = f"max by (service, target) ({of('probe_postgres_usable_connections')})"
    return (
        graph(
            85, "PostgreSQL connections in use", "Client sessions, of those that ordinary roles may have.", "percentunit",
            Query(f"max by (service) ({ratio(used, most)})", "{{service}}"), limit(limits.CONNECTIONS_RATIO), top=1,
        ),
        graph(
            31, "PostgreSQL connections", "Connections by state, and how many the server takes.", "short",
            Query(joined("service, state", of("probe_postgres_connections")), "{{service}} {{state}}"),
            highest("probe_postgres_max_connections", "service", says="max"),
        ),
        graph(
            210, "PostgreSQL connections by application", "Connections in the database, by who holds them.", "short",
            Query(
                joined("service, application", of("probe_postgres_client_connections")), "{{service}} {{application}}"
            ),
        ),
        graph(
            33, "Idle connections", "PostgreSQL sessions that have been idle for over an hour.", "short",
            highest("probe_postgres_idle_connections_over_1h", "service"),
            limit(limits.IDLE_CONNECTIONS),
        ),
    )  # fmt: skip


def _sessions() -> Panels:
    """Return what is under way, and what waits."""
    return (
        graph(
            86, "PostgreSQL transactions and queries", "Age of the longest transaction and query under way.", "s",
            highest("probe_postgres_longest_transaction_seconds", "service", says="transaction"),
            limit(limits.LONGEST_TRANSACTION, what="transaction"),
            highest("probe_postgres_longest_idle_in_transaction_seconds", "service", says="idle in transaction"),
            highest("probe_postgres_longest_query_seconds", "service", says="query"),
            limit(limits.LONGEST_QUERY, what="query"),
        ),
        graph(
            211, "PostgreSQL lock waits", "How long the longest wait for a lock has been going on.", "s",
            highest("probe_postgres_longest_lock_wait_seconds", "service"),
            limit(limits.LOCK_WAIT),
        ),
        graph(
            212, "PostgreSQL sessions that wait", "Sessions that wait for locks, and for whom.", "short",
            highest("probe_postgres_lock_waiting_sessions", "service", says="waiting"),
            highest("probe_postgres_lock_chain_sessions", "service", says="longest chain"),
            Query(
                f"max by (service, application, state) ({of('probe_postgres_blocked_sessions')})",
                "{{service}} behind {{application}}, {{state}}",
            ),
        ),
        graph(
            268, "PostgreSQL sessions that did not end well", "Abandoned, ended by an error or killed; conflicts of replay.",
            "ops",
            Query(rate("service, how", of("probe_postgres_sessions_ended_total")), "{{service}} {{how}}"),
            Query(rate("service", of("probe_postgres_conflicts_total")), "{{service}} conflicts"),
        ),
    )  # fmt: skip


def _migrations() -> Panels:
    """Return what Flyway has done, and has not."""
    return (
        graph(
            89, "Migrations behind or failed",
            "Flyway migrations that failed, by the application and by the table, and databases that lack the newest.",
            "short",
            highest("probe_flyway_behind", "service", "flyway", says="behind"),
            Query(
                f"max by (service, flyway) ({of('probe_flyway_migrations', _FAILED)})", "{{service}} {{flyway}} failed"
            ),
            highest("probe_postgres_flyway_failed_migrations", "service", "schema", says="failed"),
            highest("probe_postgres_flyway_behind", "service", "schema", says="behind"),
            highest("probe_postgres_flyway_pending_migrations", "service", "schema", says="pending"),
        ),
        graph(
            213, "Migrations under way", "How long Flyway's lock has been held.", "s",
            highest("probe_postgres_flyway_lock_seconds", "service", "schema"),
            limit(limits.MIGRATION_LOCK),
        ),
        graph(
            214, "Migrations that are not as expected",
            "Versions above the one that is expected, and versions that were applied after a higher one.", "short",
            highest("probe_postgres_flyway_future_migrations", "service", "schema", says="newer"),
            highest("probe_postgres_flyway_out_of_order_migrations", "service", "schema", says="out of order"),
        ),
    )  # fmt: skip


_FAILED = 'state="FAILED"'


def _statements() -> Panels:
    """Of all statements that are told, by their text: one that several users run is one line."""
    what = "service, target, user, database, queryid"
    text = f"max by ({what}, statement) ({of('probe_postgres_statement_text')})"
    seconds, calls = (
        f"sum by (service, statement) ({rate(what, of(f'probe_postgres_statement_{figure}_total'))}"
        f" * on ({what}) group_left (statement) {text})"
        for figure in ("seconds", "calls")
    )
    return (
        graph(
            260, "PostgreSQL statements: time", "Sessions that a statement keeps busy: seconds that it runs in a second.",
            "none", Query(f"topk(10, {seconds})", "{{service}} {{statement}}"),
        ),
        graph(
            261, "PostgreSQL statements: how long each takes", "Mean time of a call, of the statements that cost most.", "s",
            Query(f"topk(10, {seconds} / ({calls} > 0))", "{{service}} {{statement}}"),
        ),
        graph(
            262, "PostgreSQL statements: calls", "How often the statements that cost most run.", "ops",
            Query(f"topk(10, {calls})", "{{service}} {{statement}}"),
        ),
    )  # fmt: skip


def _replication() -> Panels:
    """Return standbys, their lag, and what is kept for them."""
    streaming = 'state="streaming"'
    return (
        graph(
            215, "PostgreSQL replication", "Replicas that stream, by their source, and links of standbys.", "short",
            Query(
                f"max by (service, target) ({of('probe_postgres_replicas', streaming)})", "{{service}} {{target}} replicas"
            ),
            highest("probe_postgres_replication_link_up", "service", "target", says="link"),
        ),
        graph(
            216, "PostgreSQL replication lag", "How old what a standby shows is, as itself and its source see it.", "s",
            highest("probe_postgres_replication_lag_seconds", "service", "target"),
            highest("probe_postgres_replica_lag_seconds", "service", "replica", "address"),
            limit(limits.REPLICATION_LAG),
        ),
        graph(
            217, "PostgreSQL WAL kept", "WAL that is kept for slots, and that standbys have not replayed.", "bytes",
            highest("probe_postgres_replication_slot_kept_bytes", "service", "slot"),
            highest("probe_postgres_replication_lag_bytes", "service", "target", says="lag"),
        ),
        states(
            223, "PostgreSQL slots", "Whether somebody reads from each replication slot.",
            lowest("probe_postgres_replication_slot_active", "service", "slot"),
            texts=("Nobody reads", "Read"), size=Size.THIRD,
        ),
    )  # fmt: skip


def _upkeep() -> Panels:
    """Return what grows, wears out or was damaged."""
    return (
        graph(
            218, "PostgreSQL wraparound", "Age of the oldest transaction and multixact that is not frozen, of 2^31.",
            "short",
            highest("probe_postgres_oldest_transaction_age", "service", says="transactions"),
            limit(limits.TRANSACTION_AGE, what="transactions"),
            highest("probe_postgres_oldest_multixact_age", "service", says="multixacts"),
            limit(limits.MULTIXACT_AGE, what="multixacts"),
        ),
        graph(
            222, "PostgreSQL tables that vacuum owes", "Tables with twice the dead rows at which autovacuum comes.", "short",
            highest("probe_postgres_tables_overdue_for_vacuum", "service"),
            Query(
                f"max by (service, holder) ({of('probe_postgres_vacuum_held_back_transactions')})",
                "{{service}} held back by {{holder}}, transactions",
            ),
        ),
        graph(
            266, "PostgreSQL archive", "1 while archiving fails, and files that reach the archive per second.", "none",
            highest("probe_postgres_wal_archive_failing", "service", says="fails"),
            Query(rate("service", of("probe_postgres_wal_archived_total")), "{{service}} archived"),
        ),
        graph(
            219, "PostgreSQL deadlocks and damage", "Deadlocks, and blocks with a wrong checksum.", "ops",
            Query(rate("service", of("probe_postgres_deadlocks_total")), "{{service}} deadlocks"),
            Query(rate("service", of("probe_postgres_checksum_failures_total")), "{{service}} checksums"),
        ),
        graph(
            220, "PostgreSQL buffers", "Share of blocks found in shared buffers.", "percentunit",
            Query(
                ratio(
                    total("service", of("probe_postgres_blocks_hit_total")),
                    f"({total('service', of('probe_postgres_blocks_hit_total'))}"
                    f" + {total('service', of('probe_postgres_blocks_read_total'))})",
                ),
                "{{service}}",
            ),
            top=1,
        ),
        graph(
            221, "PostgreSQL size and temporary files", "Size of the database, and what queries write beside it per second.",
            "bytes",
            highest("probe_postgres_database_size_bytes", "service"),
            Query(rate("service", of("probe_postgres_temp_bytes_total")), "{{service}} temporary, per second"),
        ),
        graph(
            267, "PostgreSQL rows", "Rows that are read and written, per second.", "ops",
            Query(rate("service, operation", of("probe_postgres_rows_total")), "{{service}} {{operation}}"),
        ),
    )  # fmt: skip


def _pgbouncer() -> Panels:
    """Return clients and servers of its pools."""
    return (
        graph(
            263, "pgbouncer: clients that wait", "How long the longest wait for a server connection has been going on.", "s",
            highest("probe_pgbouncer_longest_wait_seconds", "service", "database"),
            limit(limits.PGBOUNCER_WAIT),
        ),
        graph(
            270, "pgbouncer: clients, of max_client_conn", "Clients that are connected, of those that are let in.",
            "percentunit",
            Query(
                "max by (service) ("
                + ratio(of("probe_pgbouncer_client_connections"), of("probe_pgbouncer_max_client_connections"))
                + ")",
                "{{service}}",
            ),
            limit(limits.PGBOUNCER_CLIENTS_RATIO), top=1,
        ),
        graph(
            264, "pgbouncer: clients", "Clients of the pools, and how many are let in.", "short",
            Query(
                joined("service, database, state", of("probe_pgbouncer_clients")), "{{service}} {{database}} {{state}}"
            ),
            highest("probe_pgbouncer_max_client_connections", "service", says="max"),
        ),
        graph(
            265, "pgbouncer: server connections", "Server connections by what they do, and the size of each pool.", "short",
            Query(
                joined("service, database, state", of("probe_pgbouncer_servers")), "{{service}} {{database}} {{state}}"
            ),
            highest("probe_pgbouncer_pool_size", "service", "database", says="size"),
        ),
    )  # fmt: skip

"""Alerts of what services keep their data in: Kafka, PostgreSQL, Flyway."""

from __future__ import annotations

from exporter.alerts import kafka, lag, migrations, postgres
from exporter.alerts.model import Group, Options

__all__ = ["groups"]


def groups(options: Options) -> tuple[Group, ...]:
    """Return the groups of this file."""
    return (
        Group(
            "kafka",
            (
                lag.lag_high(options),
                lag.consumers_gone(options),
                kafka.consumers_stuck(options),
                kafka.offsets_ahead(options),
                kafka.lag_old(options),
                kafka.messages_lost(options),
                kafka.transaction_hung(options),
                lag.dead_letters(options),
                lag.dead_letters_old(options),
                kafka.partitions_offline(options),
                kafka.under_min_isr(options),
                kafka.writes_failing(options),
                kafka.broker_down(options),
                kafka.under_replicated(options),
                kafka.canary_failing(options),
            ),
        ),
        Group(
            "postgres",
            (
                postgres.connections_high(options),
                postgres.idle_connections(options),
                postgres.transaction_open(options),
                postgres.slow_query(options),
                postgres.lock_wait(options),
                postgres.pgbouncer_waiting(options),
                postgres.pgbouncer_clients_high(options),
                postgres.replication_broken(options),
                postgres.replication_lag(options),
                postgres.slot_inactive(options),
                postgres.archiving_failing(options),
                postgres.wraparound(options),
                postgres.vacuum_overdue(options),
                postgres.checksum_failures(options),
                migrations.migration_failed(options),
                migrations.migration_behind(options),
                migrations.migration_future(options),
                migrations.migration_stuck(options),
            ),
        ),
    )

"""From where on something is wrong: numbers that a person sets once, exported so that rules, dashboards and pages follow."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Annotated

from pydantic import Field

from exporter.metrics import limits
from exporter.metrics.family import Family
from exporter.values import Duration, Settings

__all__ = ["THRESHOLDS", "Thresholds"]

Ratio = Annotated[float, Field(gt=0, le=1)]


class Thresholds(Settings):
    """From where on something is wrong. What a service says itself wins over the defaults."""

    latency_p99: Duration = Field(0.5, description="99th percentile of HTTP request time.")
    error_ratio: Ratio = Field(0.05, description="Share of HTTP requests that end in a server error.")
    availability: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.999, description="Objective: share of HTTP requests over 30 days that do not end in a server error."
    )
    heap_ratio: Ratio = Field(0.9, description="Share of the heap that is in use.")
    pool_ratio: Ratio = Field(0.9, description="Share of a connection pool that is in use.")
    certificate: Duration = Field(14 * 86400.0, description="Time that a certificate is still valid for.")
    connections_ratio: Ratio = Field(
        0.8, description="Share in use of the PostgreSQL sessions that ordinary roles may have."
    )
    idle_connections: int = Field(10, ge=0, description="PostgreSQL sessions that have been idle for over an hour.")
    longest_query: Duration = Field(60.0, description="Age of the longest query that PostgreSQL is running.")
    longest_transaction: Duration = Field(300.0, description="Age of the oldest open transaction of PostgreSQL.")
    lock_wait: Duration = Field(30.0, description="Time that a session of PostgreSQL has waited for a lock.")
    pgbouncer_wait: Duration = Field(5.0, description="Time that a client of pgbouncer has waited for a server connection.")
    pgbouncer_clients_ratio: Ratio = Field(0.8, description="Share of pgbouncer's max_client_conn that is connected.")
    migration_lock: Duration = Field(300.0, description="Time that Flyway's lock on a schema has been held.")
    replication_lag: Duration = Field(60.0, description="Age of what a standby of PostgreSQL shows.")
    transaction_age: int = Field(
        1_000_000_000, ge=0, le=2_000_000_000, description="Transactions of PostgreSQL since the oldest that is not frozen."
    )
    multixact_age: int = Field(
        1_000_000_000, ge=0, le=2_000_000_000, description="Multixacts of PostgreSQL since the oldest that is not frozen."
    )
    hit_ratio: Ratio = Field(0.8, description="Share of lookups of Redis that found their key.")
    redis_memory_ratio: Ratio = Field(0.9, description="Share of Redis' maxmemory that is in use.")
    redis_clients_ratio: Ratio = Field(0.8, description="Share of Redis' maxclients that is connected.")
    redis_replica_lag: Duration = Field(10.0, description="Time since a master of Redis heard of a replica.")
    consumer_lag: int = Field(1000, ge=0, description="Messages of a topic that a consumer group is behind.")
    consumer_lag_seconds: Duration = Field(900.0, description="Age of a topic's oldest message that a group has not read.")
    open_transaction: Duration = Field(
        900.0,
        description="Age of an open transaction of Kafka; brokers end those of producers they know after "
        "transaction.max.timeout.ms, by default as long.",
    )
    dead_letters: int = Field(0, ge=0, description="Messages by which a dead-letter topic may grow within 15 minutes.")
    dead_letter_age: Duration = Field(86400.0, description="Age of the oldest dead letter that nobody has seen to.")


THRESHOLDS: Mapping[str, tuple[Family, Set[str]]] = {
    "latency_p99": (limits.LATENCY_P99, {"actuator"}),
    "error_ratio": (limits.ERROR_RATIO, {"actuator"}),
    "availability": (limits.AVAILABILITY, {"actuator"}),
    "heap_ratio": (limits.HEAP_RATIO, {"actuator"}),
    "pool_ratio": (limits.POOL_RATIO, {"actuator"}),
    "certificate": (limits.CERTIFICATE, {"tls", "actuator", "oidc"}),
    "connections_ratio": (limits.CONNECTIONS_RATIO, {"postgres"}),
    "idle_connections": (limits.IDLE_CONNECTIONS, {"postgres"}),
    "longest_query": (limits.LONGEST_QUERY, {"postgres"}),
    "longest_transaction": (limits.LONGEST_TRANSACTION, {"postgres"}),
    "lock_wait": (limits.LOCK_WAIT, {"postgres"}),
    "pgbouncer_wait": (limits.PGBOUNCER_WAIT, {"postgres"}),
    "pgbouncer_clients_ratio": (limits.PGBOUNCER_CLIENTS_RATIO, {"postgres"}),
    "migration_lock": (limits.MIGRATION_LOCK, {"postgres"}),
    "replication_lag": (limits.REPLICATION_LAG, {"postgres"}),
    "transaction_age": (limits.TRANSACTION_AGE, {"postgres"}),
    "multixact_age": (limits.MULTIXACT_AGE, {"postgres"}),
    "hit_ratio": (limits.HIT_RATIO, {"redis"}),
    "redis_memory_ratio": (limits.REDIS_MEMORY_RATIO, {"redis"}),
    "redis_clients_ratio": (limits.REDIS_CLIENTS_RATIO, {"redis"}),
    "redis_replica_lag": (limits.REDIS_REPLICA_LAG, {"redis"}),
    "consumer_lag": (limits.CONSUMER_LAG, {"kafka"}),
    "consumer_lag_seconds": (limits.CONSUMER_LAG_SECONDS, {"kafka"}),
    "open_transaction": (limits.OPEN_TRANSACTION, {"kafka"}),
    "dead_letters": (limits.DEAD_LETTERS, {"kafka"}),
    "dead_letter_age": (limits.DEAD_LETTER_AGE, {"kafka"}),
}
"""Of each threshold the family that exports it, and the kinds of probes one of which a service must have for it."""

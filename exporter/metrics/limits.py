"""Families that export the thresholds of each service, so that rules, dashboards and pages need no numbers of their own."""

from __future__ import annotations

from exporter.metrics.family import Family, gauge

__all__ = ["LIMITS"]

_SERVICE = ("service",)


def _limit(name: str, meaning: str) -> Family:
    return gauge(name, f"Threshold of the configuration: {meaning}", owner=_SERVICE)


LATENCY_P99 = _limit("probe_http_server_request_p99_seconds_limit", "p99 request time above which a service is slow.")
ERROR_RATIO = _limit("probe_http_server_error_ratio_limit", "share of server errors above which requests fail too often.")
AVAILABILITY = _limit(
    "probe_http_server_availability_ratio_limit", "objective for the share of requests without a server error over 30 days."
)
HEAP_RATIO = _limit("probe_jvm_memory_used_ratio_limit", "share of the heap above which memory is short.")
POOL_RATIO = _limit("probe_hikari_saturation_ratio_limit", "share of a connection pool above which it is exhausted.")
CERTIFICATE = _limit("probe_ssl_cert_validity_seconds_limit", "time left below which a certificate is to be renewed.")
CONNECTIONS_RATIO = _limit("probe_postgres_connections_ratio_limit", "share of usable ones above which they run out.")
IDLE_CONNECTIONS = _limit(
    "probe_postgres_idle_connections_over_1h_limit", "sessions idle for over an hour that are too many."
)
LONGEST_QUERY = _limit("probe_postgres_longest_query_seconds_limit", "age above which a running query is slow.")
LONGEST_TRANSACTION = _limit(
    "probe_postgres_longest_transaction_seconds_limit", "age above which an open transaction is forgotten."
)
LOCK_WAIT = _limit(
    "probe_postgres_longest_lock_wait_seconds_limit", "wait for a lock above which somebody holds one for too long."
)
PGBOUNCER_WAIT = _limit(
    "probe_pgbouncer_longest_wait_seconds_limit", "wait for a connection of pgbouncer above which a pool is exhausted."
)
PGBOUNCER_CLIENTS_RATIO = _limit(
    "probe_pgbouncer_clients_ratio_limit", "share of max_client_conn above which connections run out."
)
MIGRATION_LOCK = _limit(
    "probe_postgres_flyway_lock_seconds_limit", "time that Flyway's lock is held above which a migration is stuck."
)
REPLICATION_LAG = _limit("probe_postgres_replication_lag_seconds_limit", "age of what a standby shows above which it lags.")
TRANSACTION_AGE = _limit(
    "probe_postgres_oldest_transaction_age_limit", "transactions since the oldest not frozen above which wraparound is near."
)
MULTIXACT_AGE = _limit(
    "probe_postgres_oldest_multixact_age_limit", "multixacts since the oldest not frozen above which wraparound is near."
)
HIT_RATIO = _limit("probe_redis_hit_ratio_limit", "share of lookups that find their key below which a cache serves badly.")
REDIS_MEMORY_RATIO = _limit("probe_redis_memory_used_ratio_limit", "share of maxmemory above which it runs out.")
REDIS_CLIENTS_RATIO = _limit("probe_redis_clients_ratio_limit", "share of maxclients above which connections run out.")
REDIS_REPLICA_LAG = _limit("probe_redis_replica_lag_seconds_limit", "silence of a replica above which it lags.")
CONSUMER_LAG = _limit("probe_kafka_consumer_group_topic_lag_limit", "messages above which a consumer group is behind.")
CONSUMER_LAG_SECONDS = _limit(
    "probe_kafka_consumer_group_topic_lag_seconds_limit", "age of the oldest unread message above which a group is behind."
)
OPEN_TRANSACTION = _limit("probe_kafka_open_transaction_seconds_limit", "age above which an open transaction hangs.")
DEAD_LETTERS = _limit("probe_kafka_dlq_messages_increase_limit", "growth of a dead-letter topic in 15 min that is too much.")
DEAD_LETTER_AGE = _limit("probe_kafka_dlq_oldest_seconds_limit", "age above which a dead letter was left lying.")

LIMITS: tuple[Family, ...] = (
    LATENCY_P99, ERROR_RATIO, AVAILABILITY, HEAP_RATIO, POOL_RATIO, CERTIFICATE, CONNECTIONS_RATIO, IDLE_CONNECTIONS,
    LONGEST_QUERY, LONGEST_TRANSACTION, LOCK_WAIT, PGBOUNCER_WAIT, PGBOUNCER_CLIENTS_RATIO, MIGRATION_LOCK, REPLICATION_LAG,
    TRANSACTION_AGE, MULTIXACT_AGE, HIT_RATIO, REDIS_MEMORY_RATIO, REDIS_CLIENTS_RATIO, REDIS_REPLICA_LAG, CONSUMER_LAG,
    CONSUMER_LAG_SECONDS, OPEN_TRANSACTION, DEAD_LETTERS, DEAD_LETTER_AGE,
)  # fmt: skip
"""All of them, in the order of the configuration."""

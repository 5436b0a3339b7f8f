"""The limits: of every threshold of the configuration what is held against it, and which rule says so.

The rules are made from these entries, and pages, API and `check` judge by them. Two things are of the rules alone: for how
long something must hold (`for`), and whether it steps back behind a service that is down.
"""

from __future__ import annotations

from exporter.actuator import recording as app
from exporter.boards import Board, Panel
from exporter.databases import flyway, pgbouncer, servers, sessions
from exporter.kafka import families as kafka
from exporter.limits.measures import Either, Gauge, Grown, Left, Ratio, Risen, Seen, Share, Total
from exporter.limits.model import Limit, Unit
from exporter.metrics.store import LabelValues
from exporter.probing.expiry import EXPIRY
from exporter.redis import families as redis

__all__ = [
    "CERTIFICATE",
    "CONNECTIONS_RATIO",
    "CONSUMER_LAG",
    "CONSUMER_LAG_SECONDS",
    "DEAD_LETTERS",
    "DEAD_LETTER_AGE",
    "ERROR_RATIO",
    "HEAP_RATIO",
    "HIT_RATIO",
    "IDLE_CONNECTIONS",
    "LATENCY_P99",
    "LEAST_REQUESTS",
    "LIMITS",
    "LOCK_WAIT",
    "LONGEST_QUERY",
    "LONGEST_TRANSACTION",
    "MIGRATION_LOCK",
    "MULTIXACT_AGE",
    "OPEN_TRANSACTION",
    "P99_SOURCES",
    "PGBOUNCER_CLIENTS_RATIO",
    "PGBOUNCER_WAIT",
    "POOL_RATIO",
    "REDIS_CLIENTS_RATIO",
    "REDIS_MEMORY_RATIO",
    "REDIS_REPLICA_LAG",
    "REPLICATION_LAG",
    "TRANSACTION_AGE",
]

LEAST_REQUESTS = 10
"""Requests within 5 min below which the slowest is the p99."""

P99_SOURCES = ("histogram", "quantile", "own")
"""Where a p99 comes from, the best first."""

_RATE = 300.0
_QUARTER = 900.0

_REQUESTS = Grown(app.REQUESTS, _RATE)
_HITS, _MISSES = Grown(redis.HITS, _QUARTER), Grown(redis.MISSES, _QUARTER)


def _has_traffic(seen: Seen, _labels: LabelValues) -> bool:
    return _REQUESTS.read(seen).get((), float(LEAST_REQUESTS)) >= LEAST_REQUESTS


def _threads_wait(seen: Seen, labels: LabelValues) -> bool:
    return seen.samples.get(app.CONNECTIONS, {}).get((*labels, "pending"), 0.0) > 0


def _more_than_markers(seen: Seen, labels: LabelValues) -> bool:
    lag, partitions = (seen.samples.get(family, {}).get(labels) for family in (kafka.TOPIC_LAG, kafka.COMMITTED))
    return lag is not None and partitions is not None and lag > partitions


LATENCY_P99 = Limit(
    "latency_p99",
    alert="HighLatencyP99",
    panel=Panel(Board.SERVICE, 12),
    action="Check database, scale up",
    what="p99 of requests",
    unit=Unit.SECONDS,
    measure=Either(tuple(Gauge(app.REQUEST_P99, where=(("source", source),)) for source in P99_SOURCES)),
    only=_has_traffic,
)
ERROR_RATIO = Limit(
    "error_ratio",
    alert="HighErrorRate",
    panel=Panel(Board.SERVICE, 11),
    action="Read the service's log, check what it depends on, roll back a new version",
    what="share of requests that end in a server error",
    unit=Unit.RATIO,
    measure=Share(Grown(app.REQUESTS, _RATE, where=(("outcome", "SERVER_ERROR"),)), (_REQUESTS,), least_part=5),
    pooled=True,
)
HEAP_RATIO = Limit(
    "heap_ratio",
    alert="MemoryPressure",
    panel=Panel(Board.SERVICE, 22),
    action="Check for leaks, scale up",
    what="heap in use",
    unit=Unit.RATIO,
    measure=Ratio(
        Gauge(app.MEMORY_USED, where=(("area", "heap"),)),
        Gauge(app.MEMORY_MAX, where=(("area", "heap"),)),
    ),
)
POOL_RATIO = Limit(
    "pool_ratio",
    alert="ConnectionPoolExhausted",
    panel=Panel(Board.SERVICE, 20),
    action="Check for slow queries and transactions that are left open, then for leaks; raise the pool's size last",
    what="connections of {pool} in use, with threads waiting",
    unit=Unit.RATIO,
    measure=Gauge(app.SATURATION, by=("pool",)),
    comparison=">=",
    only=_threads_wait,
)
CERTIFICATE = Limit(
    "certificate",
    alert="CertificateExpiring",
    panel=Panel(Board.CERTIFICATES, 50),
    action="Renew certificates",
    what="certificate still valid for",
    unit=Unit.SECONDS,
    measure=Left(Gauge(EXPIRY)),
    comparison="<",
    spent="CertificateExpired",
)
CONNECTIONS_RATIO = Limit(
    "connections_ratio",
    alert="DatabaseConnectionsHigh",
    panel=Panel(Board.POSTGRES, 85),
    action="Find out who holds them: pg_stat_activity by application_name; end idle ones, lower pool sizes",
    what="connections in use",
    unit=Unit.RATIO,
    measure=Ratio(Total(sessions.CONNECTIONS), Gauge(sessions.USABLE_CONNECTIONS)),
)
IDLE_CONNECTIONS = Limit(
    "idle_connections",
    alert="DatabaseIdleConnections",
    panel=Panel(Board.POSTGRES, 33),
    action="Kill idle connections, and find the pool that does not end them",
    what="connections idle for over an hour",
    unit=Unit.COUNT,
    measure=Gauge(sessions.IDLE),
)
LONGEST_QUERY = Limit(
    "longest_query",
    alert="DatabaseSlowQuery",
    panel=Panel(Board.POSTGRES, 86),
    action="Check database slow queries: pg_stat_activity by query_start, then its plan and its locks",
    what="age of the longest query",
    unit=Unit.SECONDS,
    measure=Gauge(sessions.LONGEST_QUERY),
)
LONGEST_TRANSACTION = Limit(
    "longest_transaction",
    alert="DatabaseTransactionOpen",
    panel=Panel(Board.POSTGRES, 86),
    action="Look it up in pg_stat_activity by xact_start, and end it with pg_terminate_backend if nobody needs it",
    what="age of the oldest open transaction",
    unit=Unit.SECONDS,
    measure=Gauge(sessions.LONGEST_TRANSACTION),
)
LOCK_WAIT = Limit(
    "lock_wait",
    alert="DatabaseLockWait",
    panel=Panel(Board.POSTGRES, 211),
    action="Find the session that others wait for with pg_blocking_pids, and end it if nobody needs it",
    what="longest wait for a lock",
    unit=Unit.SECONDS,
    measure=Gauge(sessions.LONGEST_LOCK_WAIT),
)
PGBOUNCER_WAIT = Limit(
    "pgbouncer_wait",
    alert="PgBouncerClientsWaiting",
    panel=Panel(Board.POSTGRES, 263),
    action="Find who holds the pool's connections in pg_stat_activity, or RESUME what is paused",
    what="longest wait of {user} for a connection to {database}",
    unit=Unit.SECONDS,
    measure=Gauge(pgbouncer.LONGEST_WAIT, by=("database", "user")),
)
PGBOUNCER_CLIENTS_RATIO = Limit(
    "pgbouncer_clients_ratio",
    alert="PgBouncerClientsHigh",
    panel=Panel(Board.POSTGRES, 270),
    action="Find out who holds them with SHOW CLIENTS; lower the services' pools, or raise max_client_conn",
    what="clients of pgbouncer, of max_client_conn",
    unit=Unit.RATIO,
    measure=Ratio(Gauge(pgbouncer.CLIENT_CONNECTIONS), Gauge(pgbouncer.MAX_CLIENT_CONNECTIONS)),
)
MIGRATION_LOCK = Limit(
    "migration_lock",
    alert="MigrationStuck",
    panel=Panel(Board.POSTGRES, 213),
    action="Find what the migration waits for, and end one of the two sessions",
    what="time that Flyway's lock on schema {schema} has been held",
    unit=Unit.SECONDS,
    measure=Gauge(flyway.FLYWAY_LOCK_SECONDS, by=("schema",), per_target=False),
)
REPLICATION_LAG = Limit(
    "replication_lag",
    alert="DatabaseReplicationLag",
    panel=Panel(Board.POSTGRES, 216),
    action="Find what holds replay up: a conflict with a query, its disk, the network",
    what="age of what a standby shows",
    unit=Unit.SECONDS,
    measure=Either((Gauge(servers.LAG_SECONDS), Gauge(servers.REPLICA_LAG_SECONDS))),
)
TRANSACTION_AGE = Limit(
    "transaction_age",
    alert="DatabaseWraparound",
    panel=Panel(Board.POSTGRES, 218),
    action="End what keeps vacuum from freezing: old transactions, slots, prepared transactions; then VACUUM FREEZE",
    what="transactions since the oldest that is not frozen",
    unit=Unit.COUNT,
    measure=Gauge(servers.TRANSACTION_AGE),
    part="upkeep",
)
MULTIXACT_AGE = Limit(
    "multixact_age",
    alert="DatabaseWraparound",
    panel=Panel(Board.POSTGRES, 218),
    action=TRANSACTION_AGE.action,
    what="multixacts since the oldest that is not frozen",
    unit=Unit.COUNT,
    measure=Gauge(servers.MULTIXACT_AGE),
    part="upkeep",
)
HIT_RATIO = Limit(
    "hit_ratio",
    alert="RedisHitRateLow",
    panel=Panel(Board.REDIS, 35),
    action="Verify Redis cache hit rate: look for evictions, a restart that emptied it, and keys that expire too soon",
    what="share of lookups that found their key",
    unit=Unit.RATIO,
    measure=Share(_HITS, (_HITS, _MISSES), least=100),
    comparison="<",
    in_calm=True,
)
REDIS_MEMORY_RATIO = Limit(
    "redis_memory_ratio",
    alert="RedisMemoryHigh",
    panel=Panel(Board.REDIS, 87),
    action="Find what fills it with redis-cli --bigkeys; raise maxmemory, or let keys expire",
    what="maxmemory in use",
    unit=Unit.RATIO,
    measure=Ratio(Gauge(redis.MEMORY_USED), Gauge(redis.MEMORY_MAX)),
)
REDIS_CLIENTS_RATIO = Limit(
    "redis_clients_ratio",
    alert="RedisClientsHigh",
    panel=Panel(Board.REDIS, 242),
    action="Find out who holds them: CLIENT LIST by address and name; lower pools, end idle ones, raise maxclients",
    what="maxclients connected",
    unit=Unit.RATIO,
    measure=Ratio(Gauge(redis.CLIENTS), Gauge(redis.MAX_CLIENTS)),
)
REDIS_REPLICA_LAG = Limit(
    "redis_replica_lag",
    alert="RedisReplicaLagging",
    panel=Panel(Board.REDIS, 250),
    action="Look at the replica's host: CPU, disk, network; read INFO replication on both",
    what="silence of replica {replica}",
    unit=Unit.SECONDS,
    measure=Gauge(redis.REPLICA_LAG, by=("replica",)),
)
CONSUMER_LAG = Limit(
    "consumer_lag",
    alert="KafkaLagHigh",
    panel=Panel(Board.KAFKA, 37),
    action="Check consumers, DLQ",
    what="messages of {topic} that {group} has not read",
    unit=Unit.COUNT,
    measure=Gauge(kafka.TOPIC_LAG, by=("group", "topic"), per_target=False),
    unless="unless it is drained within 30 min at the present rate",
)
CONSUMER_LAG_SECONDS = Limit(
    "consumer_lag_seconds",
    alert="KafkaLagOld",
    panel=Panel(Board.KAFKA, 148),
    action="Check consumers, add some where there are more partitions than consumers",
    what="age of the oldest message of {topic} that {group} has not read",
    unit=Unit.SECONDS,
    measure=Gauge(kafka.TOPIC_LAG_SECONDS, by=("group", "topic"), per_target=False),
    only=_more_than_markers,
)
OPEN_TRANSACTION = Limit(
    "open_transaction",
    alert="KafkaTransactionHung",
    panel=Panel(Board.KAFKA, 150),
    action="Find the producer, let it end the transaction, or abort it",
    what="age of the oldest open transaction in {topic}",
    unit=Unit.SECONDS,
    measure=Gauge(kafka.OPEN_SECONDS, by=("topic",), per_target=False),
)
DEAD_LETTERS = Limit(
    "dead_letters",
    alert="DeadLettersGrowing",
    panel=Panel(Board.KAFKA, 88),
    action="Read the messages' headers for the exception, mend the consumer, then send them again",
    what="messages more in {topic} within 15 min",
    unit=Unit.COUNT,
    measure=Risen(kafka.DLQ_MESSAGES, _QUARTER, by=("topic",)),
)
DEAD_LETTER_AGE = Limit(
    "dead_letter_age",
    alert="DeadLettersOld",
    panel=Panel(Board.KAFKA, 151),
    action="Send them again, or delete them where nobody needs them",
    what="age of the oldest message of {topic} that nobody has seen to",
    unit=Unit.SECONDS,
    measure=Gauge(kafka.DLQ_UNREAD_SECONDS, by=("topic",), per_target=False),
)

LIMITS: tuple[Limit, ...] = (
    LATENCY_P99, ERROR_RATIO, HEAP_RATIO, POOL_RATIO, CERTIFICATE, CONNECTIONS_RATIO, IDLE_CONNECTIONS, LONGEST_QUERY,
    LONGEST_TRANSACTION, LOCK_WAIT, PGBOUNCER_WAIT, PGBOUNCER_CLIENTS_RATIO, MIGRATION_LOCK, REPLICATION_LAG,
    TRANSACTION_AGE, MULTIXACT_AGE, HIT_RATIO, REDIS_MEMORY_RATIO, REDIS_CLIENTS_RATIO, REDIS_REPLICA_LAG, CONSUMER_LAG,
    CONSUMER_LAG_SECONDS, OPEN_TRANSACTION, DEAD_LETTERS, DEAD_LETTER_AGE,
)  # fmt: skip
"""All of them, of one service those first that a person should see first. `availability` is none: it is about 30 days."""

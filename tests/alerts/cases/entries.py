"""An entry for every rule: what its series are when all is well, and when it must fire.

The service carries a label `tier` of its configuration, which every alert about it must show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tests.alerts.cases.entry import Entry
from tests.alerts.cases.series import STUCK, Ahead, Growing, Rising

__all__ = ["ENTRIES"]

SELF = "hafnium-exporter"
DAY = 86400.0


def of(metric: str, service: str = "vault", **labels: str) -> str:
    """Name a series of a service, as Prometheus keeps it."""
    return own(metric, service=service, tier="core", **labels)


def own(metric: str, **labels: str) -> str:
    """Name a series of the exporter itself."""
    labels |= {"job": SELF, "instance": "x:9818"}
    return f"{metric}{{{','.join(f'{name}={chr(34)}{value}{chr(34)}' for name, value in labels.items())}}}"


def limit(metric: str, value: float, service: str = "vault") -> Mapping[str, float]:
    """Return the series of a threshold."""
    return {of(f"{metric}_limit", service): value}


def labels(severity: str = "warning", team: str = "on-call", service: str = "vault", **others: str) -> dict[str, str]:
    """Return the labels of an alert about a service."""
    return {"severity": severity, "team": team, "service": service, "incident": service, "tier": "core"} | others


def of_exporter(severity: str, **others: str) -> dict[str, str]:
    """Return the labels of an alert about the exporter."""
    return labels(severity, service=SELF, tier="monitoring", **others)


UP = own("up")
READY = own("probe_exporter_ready")
VERDICT, INCIDENT = of("probe_service_up"), of("probe_incident", incident="vault")
CAUSE = {"cause": "pool_exhausted", "dependency": ""}
P99 = "probe_http_server_request_p99_seconds"
HEAP = "probe_jvm_memory"
SERVED = of("probe_http_server_requests_total", target="a:1", outcome="SUCCESS")
BROKEN = of("probe_http_server_requests_total", target="a:1", outcome="SERVER_ERROR")
POOL = {"target": "a:1", "pool": "main"}
AVAILABILITY = "probe_http_server_availability_ratio"

SERVICES: Mapping[str, tuple[Entry, ...]] = {
    "ServiceDown": (
        Entry(
            good={VERDICT: 1},
            bad={
                VERDICT: 0,
                INCIDENT: 1,
                of("probe_service_instances", verdict="down"): 2,
                of("probe_suspected_cause", **CAUSE): 1,
                of("probe_suspected_cause_evidence", **CAUSE, evidence="threads waiting"): 7,
            },
            beside={UP: 1, READY: 1},
            fires=5,
            ends=80,
            held=True,
            labels=labels("critical"),
            heard={"summary": "vault is down: pool exhausted", "cause": "threads waiting 7", "description": "2 down"},
        ),
        Entry(
            variant="without a diagnosis",
            good={VERDICT: 1},
            bad={VERDICT: 0},
            beside={UP: 1, READY: 1},
            fires=30,
            ends=80,
            held=True,
            labels=labels("critical"),
            heard={"summary": "vault is down"},
        ),
    ),
    "HighLatencyP99": (
        Entry(
            good={of(P99, target="a:1", source="own"): 0.5},
            bad={of(P99, target="a:1", source="own"): 0.51},
            beside={**limit(P99, 0.5), SERVED: Growing(1)},
            fires=300,
            labels=labels(target="a:1"),
            heard={"summary": "510ms", "description": "above 500ms"},
        ),
    ),
    "HighErrorRate": (
        Entry(
            good={BROKEN: Growing(0.01)},
            bad={BROKEN: Growing(10)},
            beside={SERVED: Growing(10), **limit("probe_http_server_error_ratio", 0.05), **limit(AVAILABILITY, 0.5)},
            fires=315,
            labels=labels(),
            heard={"description": "above 5%"},
        ),
    ),
    "MemoryPressure": (
        Entry(
            good={of(f"{HEAP}_used_bytes", target="a:1", area="heap"): 90},
            bad={of(f"{HEAP}_used_bytes", target="a:1", area="heap"): 91},
            beside={of(f"{HEAP}_max_bytes", target="a:1", area="heap"): 100, **limit(f"{HEAP}_used_ratio", 0.9)},
            fires=300,
            labels=labels(target="a:1"),
            heard={"summary": "91%", "description": "above 90%"},
        ),
    ),
    "ConnectionPoolExhausted": (
        Entry(
            good={
                of("probe_hikari_saturation_ratio", **POOL): 1,
                of("probe_hikari_connections", **POOL, state="pending"): 0,
            },
            bad={of("probe_hikari_connections", **POOL, state="pending"): 3},
            beside=limit("probe_hikari_saturation_ratio", 0.9),
            fires=120,
            labels=labels(**POOL),
            heard={"cause": "Threads that wait: 3"},
        ),
    ),
    "ServiceFlapping": (
        Entry(
            good={of("probe_outages_total", probe="actuator", target="a:1"): Rising(0.001)},
            bad={of("probe_outages_total", probe="actuator", target="a:1"): Rising(0.01)},
            fires=225,
            settles=1800,
            labels=labels(target="a:1"),
        ),
    ),
    "ServiceRestarting": (
        Entry(
            good={of("probe_process_restarts_total", target="a:1"): Rising(0.0003)},
            bad={of("probe_process_restarts_total", target="a:1"): Rising(0.01)},
            fires=150,
            labels=labels(target="a:1"),
        ),
    ),
    "ErrorBudgetBurn": (
        Entry(
            good={BROKEN: Growing(0.01)},
            bad={BROKEN: Growing(10)},
            beside={SERVED: Growing(100), **limit(AVAILABILITY, 0.999)},
            fires=150,
            settles=600,
            ends=1900,
            labels=labels("critical"),
        ),
    ),
    "ErrorBudgetBurnSlow": (
        Entry(
            good={BROKEN: Growing(0.1), SERVED: Growing(10_000)},
            bad={BROKEN: Growing(5), SERVED: Growing(1_000)},
            beside=limit(AVAILABILITY, 0.999),
            fires=1005,
            settles=60,
            ends=1800,
            labels=labels(),
        ),
    ),
}

CERTIFICATE = of("probe_ssl_earliest_cert_expiry", probe="tls", target="a:443")
CERTIFICATES: Mapping[str, tuple[Entry, ...]] = {
    "CertificateExpiring": (
        Entry(
            good={CERTIFICATE: Ahead(15 * DAY)},
            bad={CERTIFICATE: Ahead(13 * DAY)},
            beside=limit("probe_ssl_cert_validity_seconds", 14 * DAY),
            fires=300,
            settles=120,
            labels=labels(team="secops", target="a:443"),
            heard={"summary": "13d", "description": "less than 14d"},
        ),
    ),
    "CertificateExpired": (
        Entry(
            good={CERTIFICATE: Ahead(60)},
            bad={CERTIFICATE: Ahead(-60)},
            fires=60,
            settles=120,
            labels=labels("critical", "secops", target="a:443"),
            heard={"description": "expired 1m 0s ago"},
        ),
    ),
}

TOPIC = {"group": "case", "topic": "cases"}
LAG = of("probe_kafka_consumer_group_topic_lag", "kafka", **TOPIC)
MEMBERS = of("probe_kafka_consumer_group_members", "kafka", group="case")
END = of("probe_kafka_topic_end_offset", "kafka", topic="cases")
DLQ = of("probe_kafka_dlq_messages", "kafka", topic="cases-dlq")
DLQ_AGE = of("probe_kafka_dlq_unread_seconds", "kafka", topic="cases-dlq")
OPEN, HELD = (
    of(f"probe_kafka_open_transaction_{what}", "kafka", topic="cases", partition="0") for what in ("seconds", "messages")
)
CANARIES = [of("probe_kafka_canary_success", "kafka", partition=number) for number in "01"]
NO_CANARY = of("probe_part_failures_total", "kafka", probe="kafka", part="canary", stage="query", reason="timeout")
WHY_LOST = of("probe_suspected_lag_cause", "kafka", group="case", cause="retention_passed")
LAG_LIMIT = limit("probe_kafka_consumer_group_topic_lag", 1000, "kafka")
OF_GROUP = labels(service="kafka", **TOPIC)
STUCK_GROUP, OK_GROUP = (
    of("probe_kafka_consumer_group_verdict", "kafka", group=group, verdict=verdict)
    for group, verdict in (("case", "stalled"), ("mail", "ok"))
)
STANDING = of("probe_kafka_consumer_group_standing_seconds", "kafka", **TOPIC)
AGE = of("probe_kafka_consumer_group_topic_lag_seconds", "kafka", **TOPIC)
COMMITTED = of("probe_kafka_consumer_group_committed_partitions", "kafka", **TOPIC)
LOST = of("probe_kafka_consumer_group_lost_messages", "kafka", **TOPIC)
OFFLINE = of("probe_kafka_offline_partitions", "kafka")
BROKER = of("probe_kafka_broker_up", "kafka", broker="2")
KAFKA: Mapping[str, tuple[Entry, ...]] = {
    "KafkaLagHigh": (
        Entry(
            variant="high and growing",
            good={LAG: 999.0},
            bad={LAG: Growing(10)},
            beside={MEMBERS: 3, END: Growing(100), **LAG_LIMIT},
            fires=300,
            labels=OF_GROUP,
            heard={"cause": "Members of the group: 3"},
        ),
        Entry(
            variant="steadily rising",
            good={LAG: 150.0},
            bad={LAG: Growing(0.5)},
            beside={MEMBERS: 3, END: Growing(100), **LAG_LIMIT},
            fires=360,
            labels=OF_GROUP,
        ),
        Entry(
            variant="nothing read",
            good={LAG: 50.0},
            bad={LAG: Growing(2)},
            beside={MEMBERS: 3, END: Growing(2), **LAG_LIMIT},
            fires=345,
            labels=OF_GROUP,
        ),
        Entry(
            variant="no members",
            good={LAG: 5.0, MEMBERS: 3},
            bad={LAG: Growing(0.2), MEMBERS: 0},
            beside={END: Growing(2), **LAG_LIMIT},
            fires=180,
            labels=OF_GROUP,
            heard={"cause": "Members of the group: 0"},
        ),
    ),
    "ConsumersGone": (
        Entry(
            good={MEMBERS: 1},
            bad={MEMBERS: 0},
            beside={LAG: 20},
            fires=660,
            labels=labels(service="kafka", group="case"),
            heard={"description": "20 messages"},
        ),
    ),
    "ConsumersStuck": (
        Entry(
            good={STUCK_GROUP: 0},
            bad={STUCK_GROUP: 1},
            beside={STANDING: 400, OK_GROUP: 1},
            fires=60,
            labels=labels(service="kafka", group="case"),
            heard={"description": "no commit for 6m 40s", "cause": "cause unknown. Topics that stand still: cases"},
        ),
        Entry(
            variant="rebalancing",
            good={},
            bad={of("probe_kafka_consumer_group_verdict", "kafka", group="case", verdict="rebalancing"): 1},
            fires=60,
            labels=labels(service="kafka", group="case"),
            heard={"description": "it is rebalancing."},
        ),
    ),
    "ConsumerOffsetsAhead": (
        Entry(
            good={},
            bad={of("probe_kafka_consumer_group_verdict", "kafka", group="case", verdict="ahead"): 1},
            beside={of("probe_kafka_consumer_group_lag", "kafka", group="case", topic="cases", partition="0"): -480},
            fires=120,
            labels=labels(service="kafka", group="case"),
            heard={"description": "by -480"},
        ),
    ),
    "KafkaPartitionsOffline": (
        Entry(
            good={OFFLINE: 0},
            bad={OFFLINE: 3},
            beside={BROKER: 0},
            fires=60,
            labels=labels("critical", service="kafka"),
            heard={"summary": "3 partitions", "cause": "2"},
        ),
    ),
    "KafkaPartitionsUnderMinIsr": (
        Entry(
            good={of("probe_kafka_under_min_isr_partitions", "kafka"): 0},
            bad={of("probe_kafka_under_min_isr_partitions", "kafka"): 4},
            beside={BROKER: 0},
            fires=120,
            labels=labels("critical", service="kafka"),
            heard={"summary": "4 partitions", "cause": "2"},
        ),
    ),
    "KafkaBrokerDown": (
        Entry(
            good={BROKER: 1},
            bad={BROKER: 0},
            beside={of("probe_kafka_under_replicated_partitions", "kafka"): 50},
            fires=180,
            labels=labels(service="kafka", broker="2"),
            heard={"description": "50 partitions"},
        ),
    ),
    "KafkaUnderReplicated": (
        Entry(
            good={of("probe_kafka_under_replicated_partitions", "kafka"): 0},
            bad={of("probe_kafka_under_replicated_partitions", "kafka"): 1},
            beside={BROKER: 1},
            fires=600,
            labels=labels(service="kafka"),
        ),
    ),
    "KafkaWritesFailing": (
        Entry(
            good={CANARIES[0]: 1, CANARIES[1]: 0},
            bad={CANARIES[0]: 0},
            beside={NO_CANARY: Growing(0.1), BROKER: 0},
            fires=120,
            labels=labels("critical", service="kafka"),
            heard={"cause": "timeout in query. Brokers that do not answer: 2"},
        ),
    ),
    "KafkaCanaryFailing": (
        Entry(
            good={CANARIES[0]: 1},
            bad={CANARIES[0]: 0},
            beside={CANARIES[1]: 1, BROKER: 1},
            fires=240,
            labels=labels(service="kafka", partition="0"),
            heard={"summary": "Canary 0 of kafka", "cause": "unknown. Brokers that do not answer: none"},
        ),
    ),
    "KafkaLagOld": (
        Entry(
            good={AGE: 100},
            bad={AGE: 2000},
            beside={LAG: 20, COMMITTED: 3, **limit("probe_kafka_consumer_group_topic_lag_seconds", 900, "kafka")},
            fires=300,
            labels=OF_GROUP,
        ),
    ),
    "KafkaMessagesLost": (
        Entry(
            good={LOST: 0},
            bad={LOST: 95},
            fires=120,
            labels=labels(service="kafka", **TOPIC),
            beside={WHY_LOST: 1},
            heard={"summary": "95 messages", "cause": "retention passed"},
        ),
    ),
    "KafkaTransactionHung": (
        Entry(
            good={OPEN: 600},
            bad={OPEN: 960},
            beside={HELD: 25, LAG: 30, **limit("probe_kafka_open_transaction_seconds", 900, "kafka")},
            fires=120,
            labels=labels(service="kafka", topic="cases"),
            heard={"summary": "16m 0s", "description": "25 messages", "cause": "case (30)"},
        ),
        Entry(
            variant="ended",
            good={},
            bad={OPEN: 960},
            beside=limit("probe_kafka_open_transaction_seconds", 900, "kafka"),
            fires=120,
            labels=labels(service="kafka", topic="cases"),
            heard={"cause": "No group lags"},
        ),
    ),
    "DeadLettersGrowing": (
        Entry(
            good={DLQ: 5},
            bad={DLQ: Growing(0.1)},
            beside={END: Growing(2), **limit("probe_kafka_dlq_messages_increase", 0, "kafka")},
            fires=60,
            labels=labels(service="kafka", topic="cases-dlq"),
        ),
    ),
    "DeadLettersOld": (
        Entry(
            good={DLQ_AGE: 80000},
            bad={DLQ_AGE: 90000},
            beside={DLQ: 5, **limit("probe_kafka_dlq_oldest_seconds", DAY, "kafka")},
            fires=600,
            labels=labels(service="kafka", topic="cases-dlq"),
            heard={"summary": "1d 1h", "cause": "5 in cases-dlq"},
        ),
    ),
}


def database(metric: str, good: float, bad: float, fires: float, **heard: str) -> tuple[Entry, ...]:
    """Describe a gauge of a database that has a threshold."""
    return (
        Entry(
            good={of(metric, "postgres", target="a:1"): good},
            bad={of(metric, "postgres", target="a:1"): bad},
            beside=limit(metric, good, "postgres"),
            fires=fires,
            labels=labels(team="dba", service="postgres", target="a:1"),
            heard=heard,
        ),
    )


def wrapping(counter: str, **heard: str) -> Iterator[Entry]:
    """Describe DatabaseWraparound of one counter, while the other is at its limit."""
    ages = {what: of(f"probe_postgres_oldest_{what}_age", "postgres", target="a:1") for what in ("transaction", "multixact")}
    most = 10**9
    for entry in database(f"probe_postgres_oldest_{counter.rstrip('s')}_age", most, most + 1, 900, **heard):
        limits = {
            **limit("probe_postgres_oldest_transaction_age", most, "postgres"),
            **limit("probe_postgres_oldest_multixact_age", most, "postgres"),
        }
        yield replace(
            entry,
            variant=f"of {counter}",
            labels={**entry.labels, "counter": counter},
            beside={**limits, **{series: float(most) for series in ages.values() if series not in entry.good}},
            heard={**heard, "summary": f"1G {counter} from its last freeze"},
        )


def in_schema(what: str, **labels: str) -> str:
    """Name a series of Flyway's in the schema public."""
    return of(f"probe_postgres_flyway_{what}", "postgres", target="a:1", schema="public", **labels)


FAILED = of("probe_postgres_flyway_failed_migrations", "postgres", schema="public")
BEHIND = of("probe_flyway_behind", target="a:1", flyway="flyway")
POSTGRES: Mapping[str, tuple[Entry, ...]] = {
    "DatabaseConnectionsHigh": (
        Entry(
            good={of("probe_postgres_connections", "postgres", target="a:1", state="idle"): 30},
            bad={of("probe_postgres_connections", "postgres", target="a:1", state="idle"): 31},
            beside={
                of("probe_postgres_connections", "postgres", target="a:1", state="active"): 50,
                of("probe_postgres_usable_connections", "postgres", target="a:1"): 100,
                **limit("probe_postgres_connections_ratio", 0.8, "postgres"),
            },
            fires=300,
            labels=labels(team="dba", service="postgres", target="a:1"),
            heard={"summary": "81%", "cause": "50 active, 31 idle"},
        ),
    ),
    "DatabaseIdleConnections": database("probe_postgres_idle_connections_over_1h", 10, 11, 900, summary="keeps 11"),
    "DatabaseTransactionOpen": database("probe_postgres_longest_transaction_seconds", 300, 301, 60, summary="5m 1s"),
    "DatabaseSlowQuery": database("probe_postgres_longest_query_seconds", 60, 61, 60, summary="1m 1s"),
    "DatabaseLockWait": database("probe_postgres_longest_lock_wait_seconds", 30, 31, 60, summary="for 31s"),
    "PgBouncerClientsWaiting": (
        Entry(
            good={of("probe_pgbouncer_longest_wait_seconds", "postgres", target="a:1", database="d", user="u"): 5},
            bad={of("probe_pgbouncer_longest_wait_seconds", "postgres", target="a:1", database="d", user="u"): 6},
            beside={
                of("probe_pgbouncer_servers", "postgres", target="a:1", database="d", user="u", state="active"): 20,
                of("probe_pgbouncer_database_paused", "postgres", target="a:1", database="e"): 1,
                **limit("probe_pgbouncer_longest_wait_seconds", 5, "postgres"),
            },
            fires=60,
            labels=labels(team="dba", service="postgres", target="a:1", database="d", user="u"),
            heard={"summary": "to d, for 6s", "cause": "20 active; paused: e"},
        ),
    ),
    "PgBouncerClientsHigh": (
        Entry(
            good={of("probe_pgbouncer_client_connections", "postgres", target="a:1"): 80},
            bad={of("probe_pgbouncer_client_connections", "postgres", target="a:1"): 81},
            beside={
                of("probe_pgbouncer_max_client_connections", "postgres", target="a:1"): 100,
                of("probe_pgbouncer_clients", "postgres", target="a:1", database="d", user="u", state="active"): 60,
                of("probe_pgbouncer_clients", "postgres", target="a:1", database="d", user="u", state="waiting"): 5,
                of("probe_pgbouncer_clients", "postgres", target="a:1", database="e", user="u", state="active"): 15,
                **limit("probe_pgbouncer_clients_ratio", 0.8, "postgres"),
            },
            fires=300,
            labels=labels(team="dba", service="postgres", target="a:1"),
            heard={"summary": "81% are taken", "cause": "65 of u in d, 15 of u in e"},
        ),
    ),
    "DatabaseReplicationBroken": (
        Entry(
            good={of("probe_postgres_replication_link_up", "postgres", target="a:1"): 1},
            bad={of("probe_postgres_replication_link_up", "postgres", target="a:1"): 0},
            fires=300,
            labels=labels(team="dba", service="postgres", target="a:1"),
            heard={"description": "receives nothing"},
        ),
        Entry(
            variant="as its primary sees it",
            good={of("probe_postgres_replicas", "postgres", target="a:1", state="streaming"): 2},
            bad={of("probe_postgres_replicas", "postgres", target="a:1", state="streaming"): 1},
            fires=300,
            labels=labels(team="dba", service="postgres", target="a:1"),
            heard={"description": "1 replicas fewer"},
        ),
    ),
    "DatabaseReplicationLag": (
        *database("probe_postgres_replication_lag_seconds", 60, 61, 300, summary="1m 1s"),
        Entry(
            variant="as its primary sees it",
            good={of("probe_postgres_replica_lag_seconds", "postgres", target="a:1", replica="r", address="::1"): 60},
            bad={of("probe_postgres_replica_lag_seconds", "postgres", target="a:1", replica="r", address="::1"): 61},
            beside=limit("probe_postgres_replication_lag_seconds", 60, "postgres"),
            fires=300,
            labels=labels(team="dba", service="postgres", target="a:1"),
        ),
    ),
    "DatabaseSlotInactive": (
        Entry(
            good={of("probe_postgres_replication_slot_active", "postgres", target="a:1", slot="s", type="physical"): 1},
            bad={of("probe_postgres_replication_slot_active", "postgres", target="a:1", slot="s", type="physical"): 0},
            beside={
                of("probe_postgres_replication_slot_kept_bytes", "postgres", target="a:1", slot="s", type="physical"): 2**30
            },
            fires=600,
            labels=labels(team="dba", service="postgres", target="a:1", slot="s"),
            heard={"description": "keeps 1GiB of WAL"},
        ),
    ),
    "DatabaseWraparound": (
        *wrapping("transactions", description="1G transactions old. At about 2.1G the server takes no more writes."),
        *wrapping("multixacts", description="1G multixacts old. At about 2.1G the server takes no row locks of several"),
    ),
    "DatabaseArchivingFailing": (
        Entry(
            good={of("probe_postgres_wal_archive_failing", "postgres", target="a:1"): 0},
            bad={of("probe_postgres_wal_archive_failing", "postgres", target="a:1"): 1},
            fires=900,
            labels=labels(team="dba", service="postgres", target="a:1"),
        ),
    ),
    "DatabaseVacuumOverdue": (
        Entry(
            good={of("probe_postgres_tables_overdue_for_vacuum", "postgres", target="a:1"): 0},
            bad={of("probe_postgres_tables_overdue_for_vacuum", "postgres", target="a:1"): 3},
            beside={
                of("probe_postgres_vacuum_held_back_transactions", "postgres", target="a:1", holder="slots"): 5000,
                of("probe_postgres_vacuum_held_back_transactions", "postgres", target="a:1", holder="prepared"): 0,
            },
            fires=10800,
            labels=labels(team="dba", service="postgres", target="a:1"),
            heard={"summary": "owes 3 tables", "cause": "kept for: slots (5k transactions)"},
        ),
    ),
    "DatabaseChecksumFailures": (
        Entry(
            good={of("probe_postgres_checksum_failures_total", "postgres", target="a:1"): Growing(0)},
            bad={of("probe_postgres_checksum_failures_total", "postgres", target="a:1"): Growing(1)},
            fires=60,
            labels=labels(team="dba", service="postgres", target="a:1"),
        ),
    ),
    "MigrationFailed": (
        Entry(
            good={FAILED: 0}, bad={FAILED: 1}, fires=60,
            labels=labels(team="dba", service="postgres", schema="public", incident="migrations"),
        ),
        Entry(
            variant="by a service",
            good={of("probe_flyway_migrations", target="a:1", flyway="flyway", state="FAILED"): 0},
            bad={of("probe_flyway_migrations", target="a:1", flyway="flyway", state="FAILED"): 1},
            fires=60,
            labels=labels(team="dba", flyway="flyway", incident="migrations"),
        ),
    ),
    "MigrationBehind": (
        Entry(
            good={BEHIND: 0}, bad={BEHIND: 1}, fires=600,
            labels=labels(team="dba", flyway="flyway", incident="migrations"),
        ),
        Entry(
            variant="by the database",
            good={in_schema("behind"): 0}, bad={in_schema("behind"): 1}, fires=600,
            beside={in_schema("version", version="3"): 1, in_schema("expected_version", version="4"): 1},
            labels=labels(team="dba", service="postgres", schema="public", incident="migrations"),
            heard={"description": "expected in schema public: applied 3, expected 4."},
        ),
    ),
    "MigrationFuture": (
        Entry(
            good={in_schema("future_migrations"): 0}, bad={in_schema("future_migrations"): 2}, fires=600,
            beside={in_schema("version", version="6"): 1, in_schema("expected_version", version="4"): 1},
            labels=labels(team="dba", service="postgres", schema="public", incident="migrations"),
            heard={"description": "applied 6, expected 4."},
        ),
    ),
    "MigrationStuck": (
        Entry(
            good={in_schema("lock_seconds"): 300}, bad={in_schema("lock_seconds"): 301}, fires=60,
            beside={
                of("probe_postgres_flyway_lock_held", "postgres", target="a:1", schema="public", user="u",
                   application="vault", state="idle in transaction"): 1,
                **limit("probe_postgres_flyway_lock_seconds", 300, "postgres"),
            },
            labels=labels(team="dba", service="postgres", schema="public", incident="migrations"),
            heard={"cause": "vault (user u, idle in transaction)"},
        ),
    ),
}  # fmt: skip

HITS, MISSES = (of(f"probe_redis_keyspace_{which}_total", "redis", target="a:1") for which in ("hits", "misses"))
LINK = of("probe_redis_master_link_up", "redis", target="a:1")
POLICY = {of("probe_redis_maxmemory_policy", "redis", target="a:1", policy="noeviction"): 1.0}
REFUSALS = of("probe_redis_error_replies_total", "redis", target="a:1", error="OOM")
SAVED = of("probe_redis_persistence_success", "redis", target="a:1", operation="rdb_save")
SLOTS = of("probe_redis_cluster_slots", "redis", target="a:1", state="ok")
SERVES = of("probe_redis_cluster_ok", "redis", target="a:1")
FAILED_NODES = of("probe_redis_cluster_failed_nodes", "redis", target="a:1", state="fail")
LAG_OF_REPLICA = of("probe_redis_replica_lag_seconds", "redis", target="a:1", replica="b:1")
CONNECTED = of("probe_redis_connected_replicas", "redis", target="a:1")
AT_SENTINEL = {"target": "s:1", "master": "main"}
SEEN, REACHED, QUORATE = (
    of(f"probe_redis_sentinel_{what}", "redis", **AT_SENTINEL) for what in ("masters_seen", "master_up", "quorum_ok")
)
TOLD = of("probe_redis_sentinel_master_address", "redis", **AT_SENTINEL, address="a:1")
TOLD_OTHERWISE = of("probe_redis_sentinel_master_address", "redis", target="s:2", master="main", address="b:1")
SENTINELS = {
    of("probe_redis_sentinel_sentinels", "redis", **AT_SENTINEL, state="usable"): 2.0,
    of("probe_redis_sentinel_sentinels", "redis", **AT_SENTINEL, state="known"): 3.0,
    of("probe_redis_sentinel_replicas", "redis", **AT_SENTINEL, state="ok"): 1.0,
    of("probe_redis_sentinel_replicas", "redis", **AT_SENTINEL, state="known"): 2.0,
}
OF_MASTER = labels(team="dba", service="redis", master="main")
OF_REDIS = labels(team="dba", service="redis", target="a:1")
OF_ALL_REDIS = labels(team="dba", service="redis")
REDIS: Mapping[str, tuple[Entry, ...]] = {
    "RedisHitRateLow": (
        Entry(
            good={HITS: Growing(10), MISSES: Growing(1)},
            bad={HITS: Growing(1), MISSES: Growing(10)},
            beside=limit("probe_redis_hit_ratio", 0.8, "redis"),
            fires=420,
            labels=OF_REDIS,
        ),
    ),
    "RedisMemoryHigh": (
        Entry(
            good={of("probe_redis_memory_used_bytes", "redis", target="a:1"): 90},
            bad={of("probe_redis_memory_used_bytes", "redis", target="a:1"): 91},
            beside={
                of("probe_redis_memory_max_bytes", "redis", target="a:1"): 100,
                **limit("probe_redis_memory_used_ratio", 0.9, "redis"),
                **POLICY,
            },
            fires=300,
            labels=OF_REDIS,
            heard={"summary": "91%", "cause": "Policy: noeviction"},
        ),
    ),
    "RedisWritesRefused": (
        Entry(
            good={REFUSALS: Growing(0)}, bad={REFUSALS: Growing(1)}, beside=POLICY, fires=150,
            labels=labels(team="dba", service="redis", target="a:1", error="OOM"),
            heard={"summary": "ask for: OOM", "cause": "without a limit. Policy: noeviction"},
        ),
    ),
    "RedisClientsHigh": (
        Entry(
            good={of("probe_redis_connected_clients", "redis", target="a:1"): 80},
            bad={of("probe_redis_connected_clients", "redis", target="a:1"): 81},
            beside={
                of("probe_redis_max_clients", "redis", target="a:1"): 100,
                of("probe_redis_blocked_clients", "redis", target="a:1"): 7,
                **limit("probe_redis_clients_ratio", 0.8, "redis"),
            },
            fires=300,
            labels=OF_REDIS,
            heard={"summary": "81%", "cause": "that block: 7"},
        ),
    ),
    "RedisSaveFailing": (
        Entry(
            good={SAVED: 1}, bad={SAVED: 0}, fires=60,
            labels=labels(team="dba", service="redis", target="a:1", operation="rdb_save"),
            heard={"summary": "rdb_save fails"},
        ),
    ),
    "RedisReplicaDisconnected": (Entry(good={LINK: 1}, bad={LINK: 0}, fires=120, labels=OF_REDIS),),
    "RedisReplicaLagging": (
        Entry(
            good={LAG_OF_REPLICA: 10}, bad={LAG_OF_REPLICA: 11},
            beside={
                of("probe_redis_replica_lag_bytes", "redis", target="a:1", replica="b:1"): 2048,
                **limit("probe_redis_replica_lag_seconds", 10, "redis"),
            },
            fires=30,
            labels=labels(team="dba", service="redis", target="a:1", replica="b:1"),
            heard={"summary": "for 11s", "cause": "2kiB"},
        ),
    ),
    "RedisReplicaMissing": (
        Entry(
            good={CONNECTED: 2}, bad={CONNECTED: 1},
            beside={of("probe_redis_role", "redis", target="a:1", role="master"): 1},
            fires=300, labels=OF_REDIS, heard={"summary": "1 are left"},
        ),
    ),
    "RedisSplitBrain": (
        Entry(
            good={SEEN: 1}, bad={SEEN: 2}, beside={TOLD: 1}, fires=120,
            labels=labels("critical", "dba", service="redis", master="main"), heard={"cause": "a:1 by 1"},
        ),
        Entry(
            variant="Sentinels differ", good={SEEN: 1, TOLD: 1}, bad={TOLD_OTHERWISE: 1}, fires=120,
            labels=labels("critical", "dba", service="redis", master="main"), heard={"cause": "a:1 by 1, b:1 by 1"},
        ),
    ),
    "RedisMasterDown": (
        Entry(
            good={REACHED: 1}, bad={REACHED: 0}, beside=SENTINELS, fires=60, labels=OF_MASTER,
            heard={"cause": "Sentinels: 2 usable of 3. Replicas: 1 well of 2"},
        ),
    ),
    "RedisSentinelQuorumLost": (
        Entry(
            good={QUORATE: 1}, bad={QUORATE: 0}, beside=SENTINELS, fires=120, labels=OF_MASTER,
            heard={"cause": "Sentinels: 2 usable of 3"},
        ),
    ),
    "RedisClusterDegraded": (
        Entry(
            good={SLOTS: 16384}, bad={SLOTS: 16383}, beside={SERVES: 1}, fires=60, labels=OF_ALL_REDIS,
            heard={"cause": "not served: 1."},
        ),
        Entry(
            variant="cut off", good={SERVES: 1}, bad={SERVES: 0}, fires=60, labels=OF_ALL_REDIS,
            heard={"cause": "refuse every key: 1"},
        ),
        Entry(
            variant="a node failed", good={FAILED_NODES: 0}, bad={FAILED_NODES: 1}, beside={SLOTS: 16384}, fires=60,
            labels=OF_ALL_REDIS, heard={"cause": "Nodes failed: 1"},
        ),
    ),
}  # fmt: skip

OTHER = UP.replace("x:9818", "y:9818")
TARGETS, RELOADED = own("probe_exporter_targets"), own("probe_exporter_config_last_reload_successful")
WEB_RELOADED = own("probe_exporter_web_config_last_reload_successful")
LEADS, OTHER_LEADS = (own("probe_exporter_leader").replace("x:9818", each) for each in ("x:9818", "y:9818"))
TRANSITIONS, OTHER_TRANSITIONS = (
    own("probe_exporter_lease_transitions_total").replace("x:9818", each) for each in ("x:9818", "y:9818")
)
SHARD, OTHER_SHARD = (own("probe_exporter_shard").replace("x:9818", each) for each in ("x:9818", "y:9818"))
SHARDS = own("probe_exporter_shards")
DEFECTS = own("probe_exporter_defects_total", where="scheduler")
STARTED, TIME = own("process_start_time_seconds"), own("probe_exporter_time_seconds")
DROPPED = own("probe_exporter_log_lines_dropped_total")
CERTIFICATE_BEGINS, CERTIFICATE_ENDS = (
    own(f"probe_exporter_web_certificate_{end}_timestamp_seconds") for end in ("not_before", "not_after")
)
WRITTEN = own("probe_exporter_state_file_last_write_successful")
OF_JOB = {"job": SELF}
OF_INSTANCE = {"job": SELF, "instance": "x:9818"}
RUN, IN_TIME = (
    of("probe_lateness_seconds_count", probe="actuator"),
    of("probe_lateness_seconds_bucket", probe="actuator", le="5.0"),
)
EXPORTER: Mapping[str, tuple[Entry, ...]] = {
    "ExporterDown": (
        Entry(
            good={UP: 1}, bad={UP: 0}, fires=60, labels=of_exporter("critical", **OF_JOB),
            heard={"cause": "Not scraped: x:9818"},
        ),
        Entry(
            variant="certificate over", good={UP: 1}, bad={UP: 0}, beside={CERTIFICATE_ENDS: Ahead(-DAY)}, fires=60,
            labels=of_exporter("critical", **OF_JOB),
            heard={"cause": "Not scraped: x:9818. The certificate that it serves has expired"},
        ),
    ),
    "ExporterReplicaDown": (
        Entry(good={UP: 1}, bad={UP: 0}, beside={OTHER: 1}, fires=300, labels=of_exporter("warning", **OF_INSTANCE)),
    ),
    "ExporterAbsent": (
        Entry(good={UP: 1}, bad={UP: None}, fires=60, missed=True, labels=of_exporter("critical", **OF_JOB)),
    ),
    "ExporterNoTargets": (Entry(good={TARGETS: 1}, bad={TARGETS: 0}, fires=120, labels=of_exporter("critical", **OF_JOB)),),
    "ExporterNoLeader": (Entry(good={LEADS: 1}, bad={LEADS: 0}, fires=60, labels=of_exporter("critical", **OF_JOB)),),
    "ExporterTwoLeaders": (
        Entry(
            good={LEADS: 1, OTHER_LEADS: 0}, bad={OTHER_LEADS: 1}, beside={TRANSITIONS: 3, OTHER_TRANSITIONS: 3}, fires=120,
            labels=of_exporter("warning", **OF_JOB),
        ),
    ),
    "ExporterShardMissing": (
        Entry(
            good={SHARD: 0, OTHER_SHARD: 1}, bad={OTHER_SHARD: None}, beside={SHARDS: 2}, fires=100,
            labels=of_exporter("critical", **OF_JOB),
        ),
    ),
    "ExporterConfigRejected": (
        Entry(good={RELOADED: 1}, bad={RELOADED: 0}, fires=120, labels=of_exporter("warning", **OF_INSTANCE)),
    ),
    "ExporterWebConfigRejected": (
        Entry(good={WEB_RELOADED: 1}, bad={WEB_RELOADED: 0}, fires=120, labels=of_exporter("warning", **OF_INSTANCE)),
    ),
    "ExporterCertificateExpiring": (
        Entry(
            good={CERTIFICATE_ENDS: Ahead(15 * DAY)}, bad={CERTIFICATE_ENDS: Ahead(13 * DAY)},
            beside={CERTIFICATE_BEGINS: Ahead(-76 * DAY)}, fires=300,
            labels=of_exporter("warning", team="secops", **OF_INSTANCE),
            heard={"summary": "expires in 13d"},
        ),
        Entry(
            variant="short lived", good={CERTIFICATE_ENDS: Ahead(0.5 * DAY)}, bad={CERTIFICATE_ENDS: Ahead(0.1 * DAY)},
            beside={CERTIFICATE_BEGINS: Ahead(-0.5 * DAY)}, fires=300,
            labels=of_exporter("warning", team="secops", **OF_INSTANCE),
        ),
        Entry(
            variant="over", good={CERTIFICATE_ENDS: Ahead(15 * DAY)}, bad={CERTIFICATE_ENDS: Ahead(-DAY)},
            beside={CERTIFICATE_BEGINS: Ahead(-76 * DAY)}, fires=300,
            labels=of_exporter("warning", team="secops", **OF_INSTANCE), heard={"summary": "has expired"},
        ),
    ),
    "ExporterDefect": (
        Entry(
            good={DEFECTS: Rising(0)}, bad={DEFECTS: Rising(0.01)}, fires=60,
            labels=of_exporter("warning", **OF_INSTANCE, where="scheduler"),
        ),
    ),
    "ExporterRestarting": (
        Entry(
            good={STARTED: 1000}, bad={STARTED: Growing(1, 1000)}, fires=105, labels=of_exporter("warning", **OF_INSTANCE),
        ),
    ),
    "ExporterClockWrong": (
        Entry(good={TIME: Ahead(-29)}, bad={TIME: Ahead(-31)}, fires=120, labels=of_exporter("warning", **OF_INSTANCE)),
    ),
    "ExporterLogLost": (
        Entry(good={DROPPED: Rising(0)}, bad={DROPPED: Rising(0.1)}, fires=60, labels=of_exporter("warning", **OF_INSTANCE)),
    ),
    "ExporterHistoryNotKept": (
        Entry(good={WRITTEN: 1}, bad={WRITTEN: 0}, fires=300, labels=of_exporter("warning", **OF_INSTANCE)),
    ),
    "ProbeLate": (
        Entry(
            good={RUN: Rising(1), IN_TIME: Rising(0.91)},
            bad={IN_TIME: Rising(0)},
            beside={of("probe_runs_missed_total", probe="actuator", target="a:1"): Rising(0)},
            fires=120,
            labels=labels(probe="actuator"),
        ),
    ),
}  # fmt: skip

TARGET = {"probe": "actuator", "target": "a:1"}
KNOWN, UNKNOWN = of("probe_success", **TARGET), of("probe_unknown", **TARGET, reason="auth")
SUCCEEDED, INTERVAL = of("probe_last_success_timestamp_seconds", **TARGET), of("probe_interval_seconds", **TARGET)
PART = of("probe_part_success", **TARGET, part="metrics")
OF_ALL = labels(incident=SELF)
KNOWLEDGE: Mapping[str, tuple[Entry, ...]] = {
    "ProbeUnknown": (
        Entry(
            good={KNOWN: 1}, bad={KNOWN: None, UNKNOWN: 1}, fires=300, labels=labels(**TARGET), heard={"cause": "auth"},
        ),
    ),
    "ServiceUnknown": (
        Entry(
            good={VERDICT: 1},
            bad={VERDICT: None, of("probe_service_unknown", reason="not_discovered"): 1},
            beside={TARGETS: 5, of("probe_service_targets_current"): 1},
            fires=300,
            labels=OF_ALL,
            heard={"cause": "its instances are not known"},
        ),
        Entry(  # its pods fail while the cluster cannot be seen
            good={VERDICT: 1},
            bad={
                VERDICT: None,
                of("probe_service_unknown", reason="api_unreachable"): 1,
                of("probe_unknown", probe="kubernetes", target="vault", reason="api_unreachable"): 1,
            },
            beside={TARGETS: 5, of("probe_service_targets_current"): 1},
            fires=300,
            labels=OF_ALL,
            heard={"cause": "api_unreachable"},
        ),
    ),
    "DiscoveryFailing": (
        Entry(
            good={of("probe_discovery_success"): 1},
            bad={of("probe_discovery_success"): 0},
            beside={of("probe_discovery_instances"): 3},
            fires=300,
            labels=OF_ALL,
            heard={"description": "3"},
        ),
    ),
    "TargetsNotCurrent": (
        Entry(
            good={of("probe_service_targets_current"): 1}, bad={of("probe_service_targets_current"): 0}, fires=300,
            labels=OF_ALL,
        ),
    ),
    "ProbeStale": (
        Entry(
            good={SUCCEEDED: Ahead(-890)}, bad={SUCCEEDED: STUCK}, beside={INTERVAL: 15, VERDICT: 1}, fires=60,
            labels=labels(**TARGET), heard={"summary": "16m"},
        ),
    ),
    "ProbePartFailing": (
        Entry(
            good={PART: 1}, bad={PART: 0}, beside={VERDICT: 1}, fires=600, labels=labels(**TARGET, part="metrics"),
            settles=120, ends=150,
        ),
    ),
    "ProbeNeverSucceeded": (
        Entry(
            good={SUCCEEDED: Ahead(-5)}, bad={SUCCEEDED: None}, beside={INTERVAL: 15, VERDICT: 1}, fires=960,
            labels=labels(**TARGET),
        ),
    ),
}  # fmt: skip

NOT_RELOADED = {"target": "a:443", "secret": "api-tls"}
NODE = {"node": "n1", "condition": "memory_pressure"}
PEAK = {"autoscaler": "hpa"}
REFUSED = {"workload": "vault-service", "reason": "quota"}
WORKLOADS: Mapping[str, tuple[Entry, ...]] = {
    "CertificateNotReloaded": (
        Entry(
            good={of("probe_tls_secret_served", **NOT_RELOADED): 1},
            bad={of("probe_tls_secret_served", **NOT_RELOADED): 0},
            beside={of("probe_tls_secret_not_after_timestamp_seconds", **NOT_RELOADED): Ahead(30 * DAY)},
            fires=900, labels=labels(team="secops", **NOT_RELOADED), heard={"description": "30d"},
        ),
    ),
    "PodCrashLooping": (
        Entry(
            good={},
            bad={
                of("probe_kubernetes_containers_waiting", reason="CrashLoopBackOff"): 2,
                of("probe_kubernetes_pod_problem", pod="vault-1", reason="CrashLoopBackOff"): 1,
                of("probe_kubernetes_last_exit_code", container="app", reason="Error"): 3,
            },
            beside={VERDICT: 1}, fires=300, labels=labels(),
            heard={"summary": "2 containers", "cause": "vault-1 (CrashLoopBackOff). Last end: app Error, exit code 3"},
        ),
    ),
    "PodOomKilled": (
        Entry(
            good={of("probe_kubernetes_oom_kills_total", container="app"): Rising(0.0003)},
            bad={of("probe_kubernetes_oom_kills_total", container="app"): Rising(0.01)},
            beside={of("probe_kubernetes_memory_limit_bytes", container="app"): 2**29}, fires=90,
            labels=labels(container="app"), heard={"description": "512MiB"},
        ),
    ),
    "PodNotStarting": (
        Entry(
            good={of("probe_kubernetes_containers_waiting", reason="ContainerCreating"): 1},
            bad={
                of("probe_kubernetes_containers_waiting", reason="ImagePullBackOff"): 1,
                of("probe_kubernetes_pod_problem", pod="vault-1", reason="ImagePullBackOff"): 1,
            },
            beside={VERDICT: 1}, fires=300, labels=labels(),
            heard={"summary": "start: ImagePullBackOff", "cause": "vault-1 (ImagePullBackOff)"},
        ),
    ),
    "PodUnschedulable": (
        Entry(
            good={},
            bad={
                of("probe_kubernetes_pods_unschedulable", reason="memory"): 3,
                of("probe_kubernetes_pod_problem", pod="vault-1", reason="Unschedulable"): 1,
            },
            beside={VERDICT: 1}, fires=300, labels=labels(reason="memory"),
            heard={"summary": "takes 3 pods", "cause": "vault-1"},
        ),
    ),
    "RolloutStuck": (
        Entry(
            good={of("probe_kubernetes_rollout_stuck", workload="vault-service"): 0},
            bad={of("probe_kubernetes_rollout_stuck", workload="vault-service"): 1},
            beside={
                of("probe_kubernetes_replicas", workload="vault-service", state="updated"): 1,
                of("probe_kubernetes_replicas", workload="vault-service", state="desired"): 3,
                of("probe_kubernetes_pod_problem", pod="vault-1", reason="ImagePullBackOff"): 1,
            },
            fires=60, labels=labels(workload="vault-service"),
            heard={"summary": "is stuck: ImagePullBackOff", "description": "1 of 3 pods", "cause": "vault-1"},
        ),
    ),
    "QuotaBlocks": (
        Entry(
            good={},
            bad={of("probe_kubernetes_replica_failure", **REFUSED): 1},
            beside={of("probe_kubernetes_quota_used_ratio", quota="compute", resource="pods"): 1},
            fires=120, labels=labels(**REFUSED), heard={"cause": "pods of compute 100%"},
        ),
    ),
    "AutoscalerAtLimit": (
        Entry(
            good={of("probe_kubernetes_autoscaler_at_limit", **PEAK): 0},
            bad={of("probe_kubernetes_autoscaler_at_limit", **PEAK): 1},
            beside={of("probe_kubernetes_autoscaler_replicas", **PEAK, state="max"): 5},
            fires=900, labels=labels(**PEAK), heard={"description": "may have: 5"},
        ),
    ),
    "AutoscalerUnable": (
        Entry(
            good={},
            bad={of("probe_kubernetes_autoscaler_unable", **PEAK, reason="FailedGetResourceMetric"): 1},
            fires=600, labels=labels(**PEAK, reason="FailedGetResourceMetric"),
        ),
    ),
    "NodePressure": (
        Entry(
            good={of("probe_kubernetes_node_condition", node="n1", condition="cordoned"): 1},
            bad={of("probe_kubernetes_node_condition", **NODE): 1},
            fires=180, labels=labels(service="kubernetes", tier="monitoring", **NODE), heard={"cause": "vault"},
        ),
    ),
    "KubernetesBlind": (
        Entry(
            good={},
            bad={of("probe_unknown", probe="kubernetes", target="vault", reason="api_unreachable"): 1},
            fires=180, labels=of_exporter("warning"), heard={"cause": "vault api_unreachable"},
        ),
    ),
}  # fmt: skip

ENTRIES: Mapping[str, tuple[Entry, ...]] = {
    **SERVICES, **CERTIFICATES, **KAFKA, **POSTGRES, **REDIS, **EXPORTER, **KNOWLEDGE, **WORKLOADS,
}  # fmt: skip
"""All of them, by the name of the alert."""

"""What the services need: databases, caches, brokers, certificates."""

from __future__ import annotations

from exporter.dashboards.limits import limit
from exporter.dashboards.panels import Panels, Query, Size, graph, states
from exporter.dashboards.promql import of, ratio
from exporter.dashboards.redis import redis
from exporter.metrics import limits

__all__ = ["certificates", "dependencies"]


def dependencies() -> Panels:
    """What services say of it, and what it says itself."""
    components = states(
        30, "Components", "What each service says of its components: the view from inside.",
        Query(f"min by (service, component) ({of('probe_actuator_component_up')})", "{{service}} {{component}}"),
        size=Size.WIDE,
    )  # fmt: skip
    return (components, *_postgres(), *redis(), *_kafka())


def _postgres() -> Panels:
    used = f"sum by (service, target) ({of('probe_postgres_connections')})"
    most = f"max by (service, target) ({of('probe_postgres_max_connections')})"
    return (
        graph(
            85, "PostgreSQL connections in use", "Client sessions, of those that the server takes.", "percentunit",
            Query(f"max by (service) ({ratio(used, most)})", "{{service}}"), limit(limits.CONNECTIONS_RATIO), top=1,
        ),
        graph(
            31, "PostgreSQL connections", "Connections by state, and how many the server takes.", "short",
            Query(f"sum by (service, state) ({of('probe_postgres_connections')})", "{{service}} {{state}}"),
            Query(f"max by (service) ({of('probe_postgres_max_connections')})", "{{service}} max"),
        ),
        graph(
            33, "Idle connections", "PostgreSQL sessions that have been idle for over an hour.", "short",
            Query(f"max by (service) ({of('probe_postgres_idle_connections_over_1h')})", "{{service}}"),
            limit(limits.IDLE_CONNECTIONS),
        ),
        graph(
            86, "PostgreSQL transactions and queries", "Age of the longest transaction and query under way.", "s",
            Query(f"max by (service) ({of('probe_postgres_longest_transaction_seconds')})", "{{service}} transaction"),
            limit(limits.LONGEST_TRANSACTION, what="transaction"),
            Query(f"max by (service) ({of('probe_postgres_longest_query_seconds')})", "{{service}} query"),
            limit(limits.LONGEST_QUERY, what="query"),
        ),
        graph(
            89, "Migrations behind or failed",
            "Flyway migrations that failed, by the application and by the table, and databases that lack the newest.",
            "short",
            Query(f"max by (service, flyway) ({of('probe_flyway_behind')})", "{{service}} {{flyway}} behind"),
            Query(
                f"max by (service, flyway) ({of('probe_flyway_migrations', _FAILED)})", "{{service}} {{flyway}} failed"
            ),
            Query(
                f"max by (service, schema) ({of('probe_postgres_flyway_failed_migrations')})",
                "{{service}} {{schema}} failed",
            ),
        ),
    )  # fmt: skip


_FAILED = 'state="FAILED"'


def _kafka() -> Panels:
    letters = of("probe_kafka_dlq_messages")
    return (
        graph(
            37, "Kafka lag", "Messages that a consumer group has not yet read of a topic.", "short",
            Query(f"max by (service, group, topic) ({of('probe_kafka_consumer_group_topic_lag')})", "{{group}} {{topic}}"),
            limit(limits.CONSUMER_LAG),
        ),
        graph(
            38, "Kafka dead letters", "Messages in dead-letter topics.", "short",
            Query(f"max by (service, topic) ({letters})", "{{topic}}"),
        ),
        graph(
            88, "Growth of dead letters", "Messages that came to a dead-letter topic within 15 minutes.", "short",
            Query(f"max by (service, topic) ({letters} - min_over_time({letters}[15m]))", "{{topic}}"),
            limit(limits.DEAD_LETTERS),
        ),
        graph(
            39, "Kafka consumers", "Members of each consumer group.", "short",
            Query(f"max by (service, group) ({of('probe_kafka_consumer_group_members')})", "{{group}}"),
        ),
    )  # fmt: skip


def certificates() -> Panels:
    """How long they last, and whether they verify."""
    left = f"min by (service, target) ({of('probe_ssl_earliest_cert_expiry')}) - time()"
    return (
        graph(
            50, "Time left", "Time until the first certificate of the served chain expires; below zero it has expired.", "s",
            Query(left, "{{service}} {{target}}"), limit(limits.CERTIFICATE), size=Size.HALF,
        ).min(-86400),
        states(
            51, "Verified", "Whether the served chain verifies for the name.",
            Query(f"min by (service, target) ({of('probe_tls_verified')})", "{{service}} {{target}}"),
            texts=("Not verified", "Verified"), size=Size.HALF,
        ),
        states(
            52, "As in its Secret", "Whether the served certificate is the one in its Kubernetes Secret.",
            Query(f"min by (service, target, secret) ({of('probe_tls_secret_served')})", "{{target}} {{secret}}"),
            texts=("Not reloaded", "Served"),
        ),
    )  # fmt: skip

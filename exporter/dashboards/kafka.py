"""The Kafka dashboard: consumer groups, dead letters, the cluster."""

from __future__ import annotations

from exporter.boards import Board
from exporter.clients.kafka.verdicts import GroupVerdict
from exporter.dashboards.board import Content, Row
from exporter.dashboards.limits import limit
from exporter.dashboards.palette import BAD, GOOD, PLAIN, WARN
from exporter.dashboards.panels import Columns, Panels, Query, Size, graph, states, table
from exporter.dashboards.promql import of
from exporter.dashboards.queries import highest, lowest
from exporter.kafka.families import STUCK
from exporter.metrics import limits

__all__ = ["board", "lag"]


def board() -> Content:
    """Return what it shows."""
    return Content(
        Board.KAFKA,
        "Kafka",
        "Consumer groups with their lag in messages and in time and what they do, dead letters, brokers and partitions.",
        (
            Row(109, "Consumer groups", (*lag(), *_groups())),
            Row(381, "Dead letters", _letters()),
            Row(382, "Cluster", _cluster()),
            Row(383, "Canary", _canary()),
        ),
        kinds=frozenset({"kafka"}),
    )


_BY_TOPIC = ("service", "group", "topic")


def lag() -> Panels:
    """Return what groups have not read, in messages and in time."""
    return (
        graph(
            37, "Kafka lag", "Messages that a consumer group has not yet read of a topic.", "short",
            highest("probe_kafka_consumer_group_topic_lag", *_BY_TOPIC),
            limit(limits.CONSUMER_LAG),
        ),
        graph(
            148, "Kafka lag in time", "Age of the oldest message of a topic that a consumer group has not read.", "s",
            highest("probe_kafka_consumer_group_topic_lag_seconds", *_BY_TOPIC),
            limit(limits.CONSUMER_LAG_SECONDS),
        ),
    )  # fmt: skip


_COLOURS = {verdict.value: BAD if verdict in STUCK | {GroupVerdict.STOPPED} else WARN for verdict in GroupVerdict} | {
    GroupVerdict.OK.value: GOOD,
    GroupVerdict.EMPTY.value: PLAIN,
}


def _groups() -> Panels:
    """Return what groups do, and what keeps them from it."""
    each = "max by (service, group, verdict)"
    fine, other = (of("probe_kafka_consumer_group_verdict", f'verdict{how}"ok"') for how in ("=", "!="))
    verdicts = f"2 * {each} ({other}) or {each} ({fine})"
    return (
        table(
            142, "What consumer groups do",
            "ok, lagging, stalled, poisoned, stopped, rewound, ahead, empty, rebalancing or unknown; first what is not ok.",
            "short", Query(f"sort_desc({verdicts})", "{{group}}"),
            columns=Columns(("service", "group", "verdict"), "", state="verdict", words=_COLOURS), size=Size.HALF,
        ),
        graph(
            39, "Kafka consumers", "Members of each consumer group.", "short",
            highest("probe_kafka_consumer_group_members", "service", "group"),
        ),
        graph(
            143, "Commits that stand still", "Longest time without a commit of a topic although messages came.", "s",
            highest("probe_kafka_consumer_group_standing_seconds", *_BY_TOPIC),
        ),
        graph(
            144, "Partitions that stand still, or were never committed",
            "Partitions of a topic without a commit for the whole window, and those that a member has and nothing was ever "
            "committed of; of how many partitions the lag is the sum.", "short",
            highest("probe_kafka_consumer_group_standing_partitions", *_BY_TOPIC, says="standing"),
            highest("probe_kafka_consumer_group_uncommitted_partitions", *_BY_TOPIC, says="never committed"),
            highest("probe_kafka_consumer_group_committed_partitions", *_BY_TOPIC, says="committed"),
        ),
        graph(
            149, "Kafka retention", "Messages deleted before a group read them, and left before the first unread one is.",
            "short",
            highest("probe_kafka_consumer_group_lost_messages", *_BY_TOPIC, says="lost"),
            highest("probe_kafka_consumer_group_retention_margin", *_BY_TOPIC, says="margin"),
        ),
        table(
            145, "Who coordinates", "The broker that keeps a group's commits, and how partitions are shared out.", "short",
            Query(
                f"max by (service, group, coordinator, assignor) ({of('probe_kafka_consumer_group_coordinator')})",
                "{{service}} {{group}}",
            ),
            columns=Columns(("service", "group", "coordinator", "assignor"), ""), size=Size.HALF,
        ),
    )  # fmt: skip


def _letters() -> Panels:
    """Return what was put aside."""
    letters = of("probe_kafka_dlq_messages")
    return (
        graph(
            38, "Kafka dead letters", "Messages in dead-letter topics.", "short",
            Query(f"max by (service, topic) ({letters})", "{{service}} {{topic}}"),
        ),
        graph(
            88, "Growth of dead letters", "Messages that came to a dead-letter topic within 15 minutes.", "short",
            Query(f"max by (service, topic) ({letters} - min_over_time({letters}[15m]))", "{{service}} {{topic}}"),
            limit(limits.DEAD_LETTERS),
        ),
        graph(
            151, "Age of dead letters", "Age of the oldest dead letter of a topic, and of the oldest that is unread.", "s",
            highest("probe_kafka_dlq_oldest_seconds", "service", "topic"),
            highest("probe_kafka_dlq_unread_seconds", "service", "topic", says="unread"),
            limit(limits.DEAD_LETTER_AGE),
        ),
    )  # fmt: skip


def _cluster() -> Panels:
    """Return brokers and partitions."""
    return (
        states(
            140, "Kafka brokers", "Brokers that have answered, and those that have not.",
            lowest("probe_kafka_broker_up", "service", "broker"),
        ),
        table(
            147, "Kafka brokers' addresses", "Where each listens, and its rack.", "short",
            Query(f"max by (service, broker, address, rack) ({of('probe_kafka_broker_address')})", "{{broker}}"),
            columns=Columns(("service", "broker", "address", "rack"), ""), size=Size.HALF,
        ),
        graph(
            146, "Answers of Kafka brokers", "Time in which each broker said which groups it has.", "s",
            highest("probe_kafka_broker_answer_seconds", "service", "broker"),
            size=Size.HALF,
        ),
        graph(
            141, "Kafka partitions: all, and those that are not whole",
            "Partitions without a leader, with fewer replicas in sync than writes want, and with fewer than they should "
            "have; of how many. While it is not known for a topic what writes want, none are said to refuse them.", "short",
            highest("probe_kafka_offline_partitions", "service", says="offline"),
            highest("probe_kafka_under_min_isr_partitions", "service", says="refusing writes"),
            highest("probe_kafka_under_replicated_partitions", "service", says="under-replicated"),
            highest("probe_kafka_partitions", "service", says="in all"), size=Size.HALF,
        ),
        graph(
            352, "Kafka topics not judged",
            "Topics of which it is not known how many replicas writes want (min.insync.replicas). Nothing is known to be "
            "wrong with them, and whether they refuse writes cannot be told.", "short",
            highest("probe_kafka_unknown_min_isr_topics", "service"), size=Size.HALF,
        ),
        graph(
            150, "Open transactions", "Age of the oldest transaction that is open in a partition.", "s",
            Query(f"max by (service, topic, partition) ({of('probe_kafka_open_transaction_seconds')})",
                  "{{service}} {{topic}}/{{partition}}"),
            limit(limits.OPEN_TRANSACTION), size=Size.HALF,
        ),
    )  # fmt: skip


def _canary() -> Panels:
    """Return how the canary flies."""
    return (
        states(
            157, "Kafka canary", "Partitions of the canary's topic that took a record and gave it back, and that did not.",
            lowest("probe_kafka_canary_success", "service", "partition"),
        ),
        graph(
            158, "Times of the Kafka canary",
            "Until all replicas in sync of each leader's partitions had the record, until it was read again, and both.", "s",
            highest("probe_kafka_canary_seconds", "service", "broker", "stage"),
            size=Size.HALF,
        ),
    )  # fmt: skip

"""The families of the kafka probe."""

from __future__ import annotations

from exporter.clients.kafka.verdicts import GroupVerdict
from exporter.metrics.family import Family, gauge

__all__ = ["FAMILIES", "FIRST", "STUCK"]

BROKERS = gauge("probe_kafka_brokers", "Brokers that the cluster's metadata lists.")
BROKER_UP = gauge(
    "probe_kafka_broker_up",
    "1 if a broker has answered, 0 if it has not, or if it holds replicas and the cluster's metadata does not list it.",
    "broker",
)
BROKER_SECONDS = gauge(
    "probe_kafka_broker_answer_seconds",
    "Time in which a broker said which groups it coordinates, connecting included; a dead one has none.",
    "broker",
)
BROKER_ADDRESS = gauge(
    "probe_kafka_broker_address", "1; where a broker listens, and its rack, empty if none.", "broker", "address", "rack"
)
PARTITIONS = gauge("probe_kafka_partitions", "Partitions of the cluster, of all topics, selected or not.")
UNDER_REPLICATED = gauge(
    "probe_kafka_under_replicated_partitions",
    "Partitions of the cluster with fewer replicas in sync than they should have, of all topics, selected or not.",
)
OFFLINE = gauge(
    "probe_kafka_offline_partitions",
    "Partitions of the cluster without a leader, which nothing is read from or written to, of all topics, selected or not.",
)
UNDER_MIN_ISR = gauge(
    "probe_kafka_under_min_isr_partitions",
    "Partitions of the cluster that have a leader and fewer replicas in sync than their topic's min.insync.replicas: what "
    "is written with acks=all is refused. Of all topics, selected or not; left out while it is not known for one.",
)
UNKNOWN_MIN_ISR = gauge(
    "probe_kafka_unknown_min_isr_topics",
    "Topics whose min.insync.replicas is not known: their configuration may not be described, or nobody has told it yet.",
)
LAG = gauge(
    "probe_kafka_consumer_group_lag",
    "Messages of a partition that a consumer group has not committed, or a share group has not finished with; below zero "
    "where a commit is beyond the end.",
    "group",
    "topic",
    "partition",
)
TOPIC_LAG = gauge(
    "probe_kafka_consumer_group_topic_lag",
    "Messages of a topic that a consumer group has not committed, over the partitions it has commits for, none of them "
    "counted below zero; left out while one of them cannot be read.",
    "group",
    "topic",
)
SHARE_START = gauge(
    "probe_kafka_share_group_start_offset",
    "First message of a partition that a share group has not finished with.",
    "group",
    "topic",
    "partition",
)
COMMITTED = gauge(
    "probe_kafka_consumer_group_committed_partitions",
    "Partitions of a topic that a consumer group has commits for: those that its lag is the sum of.",
    "group",
    "topic",
)
UNCOMMITTED = gauge(
    "probe_kafka_consumer_group_uncommitted_partitions",
    "Partitions of a topic that a member of a consumer group has been given, and that nothing was ever committed of.",
    "group",
    "topic",
)
VERDICT = gauge(
    "probe_kafka_consumer_group_verdict",
    "1 for what a consumer group does: ok, lagging, stalled, poisoned, stopped, rewound, ahead, empty, rebalancing or "
    "unknown.",
    "group",
    "verdict",
)
STANDING = gauge(
    "probe_kafka_consumer_group_standing_partitions",
    "Partitions of a topic whose commit has stood still for the whole window although messages came in.",
    "group",
    "topic",
)
STANDING_SECONDS = gauge(
    "probe_kafka_consumer_group_standing_seconds",
    "Longest time for which a commit of a topic has stood still although messages came in; 0 where none does.",
    "group",
    "topic",
)
COORDINATOR = gauge(
    "probe_kafka_consumer_group_coordinator",
    "1; the broker that coordinates a consumer group, and how its members share out partitions, empty while they do not.",
    "group",
    "coordinator",
    "assignor",
)
MEMBERS = gauge("probe_kafka_consumer_group_members", "Consumers that are members of a group.", "group")
STATE = gauge(
    "probe_kafka_consumer_group_state",
    "1 for the state of a consumer group: stable, empty, dead, preparing_rebalance, completing_rebalance, assigning, "
    "reconciling or unknown.",
    "group",
    "state",
)
LAG_SECONDS = gauge(
    "probe_kafka_consumer_group_lag_seconds",
    "Age of the first record of a partition that a consumer group has not committed, where there is one; by when the end of "
    "the log passed it, not by reading it.",
    "group",
    "topic",
    "partition",
)
TOPIC_LAG_SECONDS = gauge(
    "probe_kafka_consumer_group_topic_lag_seconds",
    "Age of the oldest record of a topic that a consumer group has not committed, 0 where there is none; left out while it "
    "is not known for one of the partitions that the group has commits for.",
    "group",
    "topic",
)
MARGIN = gauge(
    "probe_kafka_consumer_group_retention_margin",
    "Messages between the beginning of the log and the first that a consumer group has not committed, which retention takes "
    "before it; the least of the topic's partitions in which something is not committed.",
    "group",
    "topic",
)
LOST = gauge(
    "probe_kafka_consumer_group_lost_messages",
    "Messages of a topic that were deleted before a consumer group committed them: by how much the beginning of the log is "
    "beyond its commits; 0 again once it commits.",
    "group",
    "topic",
)
OPEN_MESSAGES = gauge(
    "probe_kafka_open_transaction_messages",
    "Messages of a partition from the first of an open transaction on, which consumers that read what was committed alone "
    "do not get; only where there is one, of topics that groups have commits for.",
    "topic",
    "partition",
)
OPEN_SECONDS = gauge(
    "probe_kafka_open_transaction_seconds",
    "Age of the first message of the oldest open transaction of a partition.",
    "topic",
    "partition",
)
DLQ_SECONDS = gauge(
    "probe_kafka_dlq_oldest_seconds",
    "Age of the oldest message that a dead-letter topic holds; 0 where it is empty.",
    "topic",
)
DLQ_UNREAD_SECONDS = gauge(
    "probe_kafka_dlq_unread_seconds",
    "Age of the oldest message held by a dead-letter topic that no consumer group has read, by the commits of the one that "
    "has read most; 0 where there is none.",
    "topic",
)
DLQ_GROUP = gauge(
    "probe_kafka_dlq_group",
    "1; a consumer group that has commits for the topic a dead-letter topic is named after.",
    "topic",
    "group",
)
END_OFFSET = gauge("probe_kafka_topic_end_offset", "Offset after the last message of a partition.", "topic", "partition")
DLQ_MESSAGES = gauge("probe_kafka_dlq_messages", "Messages that a dead-letter topic holds, end minus beginning.", "topic")
PARTITION_ERROR = gauge(
    "probe_kafka_partition_error", "1 for why a partition's offsets are not known.", "topic", "partition", "reason"
)
CANARY = gauge(
    "probe_kafka_canary_success",
    "1 if a record was written to a partition of the canary's topic and read again, 0 if not; absent where the prober "
    "cannot tell: the topic is not there, or rights are missing.",
    "partition",
)
CANARY_SECONDS = gauge(
    "probe_kafka_canary_seconds",
    "Time that the canary took at the broker that leads its partitions: until all replicas in sync had it (produce), "
    "from then until it was read again (fetch), and both (end_to_end).",
    "broker",
    "stage",
)

FAMILIES: tuple[Family, ...] = (
    BROKERS, BROKER_UP, BROKER_SECONDS, BROKER_ADDRESS, PARTITIONS, UNDER_REPLICATED, UNDER_MIN_ISR, UNKNOWN_MIN_ISR,
    OFFLINE, SHARE_START, LAG, TOPIC_LAG, COMMITTED, UNCOMMITTED, LAG_SECONDS, TOPIC_LAG_SECONDS, MARGIN, LOST, VERDICT,
    STANDING, STANDING_SECONDS, MEMBERS, STATE, COORDINATOR, END_OFFSET, OPEN_MESSAGES, OPEN_SECONDS, DLQ_MESSAGES,
    DLQ_SECONDS, DLQ_UNREAD_SECONDS, DLQ_GROUP, PARTITION_ERROR, CANARY, CANARY_SECONDS,
)  # fmt: skip
"""All of them."""

FIRST = frozenset({VERDICT, TOPIC_LAG, TOPIC_LAG_SECONDS, LOST, MEMBERS, DLQ_MESSAGES})
"""What alerts go by: it is recorded before all else, since an attempt takes a bounded number of series."""

STUCK = frozenset({GroupVerdict.STALLED, GroupVerdict.POISONED, GroupVerdict.AHEAD, GroupVerdict.REBALANCING})
"""Verdicts that somebody must see to, whatever the lag."""

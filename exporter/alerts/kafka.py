"""Alerts of a Kafka cluster and of consumer groups that stand still; those of lag and dead letters are in `lag`."""

from __future__ import annotations

from exporter.alerts.model import Alert, Disable, Options, Severity
from exporter.alerts.promql import OWNER, firing, highest, lowest, over, stepping_back
from exporter.alerts.texts import first, lag_causes, listed
from exporter.boards import Board, Panel
from exporter.limits import entries as limits

__all__ = [
    "broker_down",
    "canary_failing",
    "consumers_stuck",
    "lag_old",
    "messages_lost",
    "offsets_ahead",
    "partitions_offline",
    "transaction_hung",
    "under_min_isr",
    "under_replicated",
    "writes_failing",
]

_KAFKA = frozenset({"kafka"})
_UP = "probe_kafka_broker_up"
_VERDICT = "probe_kafka_consumer_group_verdict"
_LAG = "probe_kafka_consumer_group_lag"
_SECONDS = "probe_kafka_consumer_group_standing_seconds"
_TOPIC_LAG = "probe_kafka_consumer_group_topic_lag"
_AGE = "probe_kafka_consumer_group_topic_lag_seconds"
_COMMITTED = "probe_kafka_consumer_group_committed_partitions"
_LOST = "probe_kafka_consumer_group_lost_messages"
_OPEN = "probe_kafka_open_transaction_seconds"
_HELD = "probe_kafka_open_transaction_messages"
_CANARY = "probe_kafka_canary_success"
_OFFLINE = "probe_kafka_offline_partitions"
_UNDER = "probe_kafka_under_replicated_partitions"
_MIN_ISR = "probe_kafka_under_min_isr_partitions"
_PAGES = ("KafkaPartitionsOffline", "KafkaPartitionsUnderMinIsr", "KafkaWritesFailing")
"""Alerts that page for what a missing broker does to the cluster."""


def _missing(options: Options) -> str:
    """Say which brokers do not answer."""
    return "Brokers that do not answer: " + listed(
        f"min by (broker) (last_over_time({_UP}{{service=%q}}[{options.bridge}])) == 0",
        "$labels.service",
        "broker",
        "{{ .Labels.broker }}",
        otherwise="none",
    )


def partitions_offline(options: Options) -> Alert:
    """Build KafkaPartitionsOffline."""
    return Alert(
        name="KafkaPartitionsOffline",
        severity=Severity.CRITICAL,
        expr=stepping_back(f"{highest(_OFFLINE, options.recent)} > 0", options),
        wait="1m",
        summary="{{ $labels.service }} has {{ $value | humanize }} partitions without a leader",
        description=(
            "{{ $value | humanize }} partitions of {{ $labels.service }} have had no leader for 1m: nothing is written to "
            "them or read from them."
        ),
        cause=_missing(options),
        action="Page on-call, start the brokers that hold them",
        panel=Panel(Board.KAFKA, 141),
        meaning="partitions of the cluster, internal ones too, have had no leader for 1 min",
        kinds=_KAFKA,
    )


def under_min_isr(options: Options) -> Alert:
    """Build KafkaPartitionsUnderMinIsr."""
    return Alert(
        name="KafkaPartitionsUnderMinIsr",
        severity=Severity.CRITICAL,
        expr=stepping_back(f"{highest(_MIN_ISR, options.recent)} > 0", options),
        wait="2m",
        summary="{{ $labels.service }} refuses writes to {{ $value | humanize }} partitions",
        description=(
            "{{ $value | humanize }} partitions of {{ $labels.service }} have had fewer replicas in sync than "
            "min.insync.replicas for 2m: what is written with acks=all, the producers' default, is refused."
        ),
        cause=_missing(options),
        action="Page on-call, start the brokers that hold the other replicas",
        panel=Panel(Board.KAFKA, 141),
        meaning="partitions of the cluster, internal ones too, have had fewer replicas in sync than `min.insync.replicas` "
        "for 2 min, so that writes with acks=all are refused",
        kinds=_KAFKA,
    )


def broker_down(options: Options) -> Alert:
    """Build KafkaBrokerDown."""
    expr = stepping_back(f"{lowest(_UP, options.recent, 'broker')} == 0", options)
    return Alert(
        name="KafkaBrokerDown",
        severity=Severity.WARNING,
        expr="\n".join([expr, *map(firing, _PAGES)]),
        wait="3m",
        summary="Broker {{ $labels.broker }} of {{ $labels.service }} does not answer",
        description=(
            "Broker {{ $labels.broker }} of {{ $labels.service }}, which holds replicas, has not answered for 3m"
            + first(
                f"max(last_over_time({_UNDER}{{service=%q}}[{options.bridge}]))",
                "$labels.service",
                ": {{ .Value | humanize }} partitions lack a replica",
            )
            + ". The cluster goes on with fewer copies of what it is given."
        ),
        action="Start the broker, or move its replicas to others",
        panel=Panel(Board.KAFKA, 140),
        meaning="a broker that metadata lists or that holds replicas has not answered for 3 min, and no page says what that "
        "does to the cluster",
        comment="""\
A cluster that is down as a whole has its own page. One that was taken out for good holds no replicas. It waits for a minute
longer than pages do: replicas that are lost with a broker are out of sync some 10 to 30 s after it is gone.""",
        kinds=_KAFKA,
    )


def under_replicated(options: Options) -> Alert:
    """Build KafkaUnderReplicated."""
    expr = stepping_back(f"{highest(_UNDER, options.recent)} > 0", options)
    return Alert(
        name="KafkaUnderReplicated",
        severity=Severity.WARNING,
        expr="\n".join([expr, *map(firing, ("KafkaBrokerDown", *_PAGES))]),
        wait="10m",
        summary="{{ $labels.service }} has {{ $value | humanize }} partitions that lack a replica",
        description=(
            "{{ $value | humanize }} partitions of {{ $labels.service }} have had fewer replicas in sync than they should "
            "for 10m, while all brokers answer: a replica does not keep up, or cannot write."
        ),
        action="Check disks and network of the brokers, and whether a reassignment is under way",
        panel=Panel(Board.KAFKA, 141),
        meaning="partitions have lacked a replica in sync for 10 min, and no broker is missing",
        kinds=_KAFKA,
    )


def consumers_stuck(options: Options) -> Alert:
    """Build ConsumersStuck."""
    stuck = f'{_VERDICT}{{verdict=~"stalled|poisoned|rebalancing"}}'
    expr = stepping_back(f"{highest(stuck, options.recent, 'group')} == 1", options)
    return Alert(
        name="ConsumersStuck",
        severity=Severity.WARNING,
        expr=f"{expr}\n{firing('KafkaLagHigh', 'service', 'group')}",
        wait="1m",
        hold="2m",
        summary="{{ $labels.group }} has consumers, and does not get on",
        description=(
            "Consumer group {{ $labels.group }} ({{ $labels.service }}) has members, messages come in, and it is "
            + listed(
                f"group by (verdict) (last_over_time({_VERDICT}{{service=%q,group=%q}}[{options.bridge}]))",
                "$labels.service $labels.group",
                "verdict",
                "{{ .Labels.verdict }}",
                otherwise="stuck",
            )
            + first(
                f"max(last_over_time({_SECONDS}{{service=%q,group=%q}}[{options.bridge}])) > 0",
                "$labels.service $labels.group",
                ": no commit for {{ .Value | humanizeDuration }}",
            )
            + "."
        ),
        cause=lag_causes(options)
        + ". "
        + listed(
            f"group by (topic) (last_over_time({_SECONDS}{{service=%q,group=%q}}[{options.bridge}]) > 0)",
            "$labels.service $labels.group",
            "topic",
            "{{ .Labels.topic }}",
            otherwise="No topic stands still",
            around="Topics that stand still: {}",
        ),
        action="Look for an exception that comes again and again in its log, then for threads that hang",
        panel=Panel(Board.KAFKA, 142),
        meaning="a group with members has committed nothing of some partitions for the probe's window (5 min) although "
        "messages came, or has been rebalancing for over a minute; and KafkaLagHigh does not fire",
        comment="Whatever the lag: on a quiet topic one message that cannot be handled holds up all that come after it.",
        disables=(Disable(f"promql/series({_VERDICT})", "no group may be stuck"),),
        kinds=_KAFKA,
    )


def offsets_ahead(options: Options) -> Alert:
    """Build ConsumerOffsetsAhead."""
    ahead = f'{_VERDICT}{{verdict="ahead"}}'
    known = highest(ahead, options.recent, "group")
    return Alert(
        name="ConsumerOffsetsAhead",
        severity=Severity.WARNING,
        expr=stepping_back(f"{known} == 1", options),
        wait="2m",
        summary="{{ $labels.group }} has committed more than there is: new messages are skipped",
        description=(
            "Consumer group {{ $labels.group }} ({{ $labels.service }}) has committed offsets beyond the end of a topic"
            + first(
                f"min(last_over_time({_LAG}{{service=%q,group=%q}}[{options.bridge}])) < 0",
                "$labels.service $labels.group",
                ", by {{ .Value | humanize }}",
            )
            + ": the topic was made anew or has lost messages, and what comes now is skipped until the offset is reached."
        ),
        action="Reset the group's offsets while its consumers are stopped",
        panel=Panel(Board.KAFKA, 142),
        meaning="a group has committed offsets beyond the end of a topic for 2 min",
        disables=(Disable(f"promql/series({_VERDICT})", "no group may be ahead"),),
        kinds=_KAFKA,
    )


def lag_old(options: Options) -> Alert:
    """Build KafkaLagOld."""
    by = f"{OWNER}, group, topic"
    old = over(limits.CONSUMER_LAG_SECONDS, options)
    newest, partitions = (highest(name, options.recent, "group", "topic") for name in (_TOPIC_LAG, _COMMITTED))
    expr = stepping_back(f"{old}\nand on ({by}) {newest} > {partitions}", options)
    others = "\n".join(firing(name, "service", "group") for name in ("KafkaLagHigh", "ConsumersStuck", "ConsumersGone"))
    return Alert(
        name=limits.CONSUMER_LAG_SECONDS.alert,
        severity=Severity.WARNING,
        expr=f"{expr}\n{others}",
        wait="5m",
        hold="2m",
        summary="{{ $labels.group }} is {{ $value | humanizeDuration }} behind on {{ $labels.topic }}",
        description=(
            "The oldest message of {{ $labels.topic }} that consumer group {{ $labels.group }} ({{ $labels.service }}) has "
            "not read is {{ $value | humanizeDuration }} old."
        ),
        cause=lag_causes(options),
        action=limits.CONSUMER_LAG_SECONDS.action,
        panel=limits.CONSUMER_LAG_SECONDS.panel,
        meaning="the oldest unread message of a topic has been older than its threshold for 5 min, more than one message a "
        "partition waits, and no other alert of the group fires",
        comment="The marker of a transaction stays behind a commit for ever: one message a partition is no lag.",
        kinds=_KAFKA,
    )


def messages_lost(options: Options) -> Alert:
    """Build KafkaMessagesLost."""
    return Alert(
        name="KafkaMessagesLost",
        severity=Severity.WARNING,
        expr=stepping_back(f"{highest(_LOST, options.recent, 'group', 'topic')} > 0", options),
        wait="2m",
        summary="{{ $labels.group }} has lost {{ $value | humanize }} messages of {{ $labels.topic }}",
        description=(
            "{{ $value | humanize }} messages of {{ $labels.topic }} ({{ $labels.service }}) were deleted before consumer "
            "group {{ $labels.group }} had read them, and more follow as long as it does not catch up."
        ),
        cause=lag_causes(options),
        action="Raise the topic's retention, then start the consumers",
        panel=Panel(Board.KAFKA, 149),
        meaning="messages have been deleted before a group committed them, for 2 min",
        comment="An abandoned group loses all that comes: delete it, or leave it out by the probe's groups.exclude.",
        kinds=_KAFKA,
    )


def transaction_hung(options: Options) -> Alert:
    """Build KafkaTransactionHung."""
    old = over(limits.OPEN_TRANSACTION, options)
    return Alert(
        name=limits.OPEN_TRANSACTION.alert,
        severity=Severity.WARNING,
        expr=stepping_back(old, options),
        wait="2m",
        hold="2m",
        summary="A transaction in {{ $labels.topic }} has been open for {{ $value | humanizeDuration }}",
        description=(
            "A transaction in {{ $labels.topic }} ({{ $labels.service }}) has been open for {{ $value | humanizeDuration }}"
            + first(
                f"sum(max by (partition) (last_over_time({_HELD}{{service=%q,topic=%q}}[{options.bridge}])))",
                "$labels.service $labels.topic",
                ": {{ .Value | humanize }} messages from its first on are kept back",
            )
            + " from consumers that read what was committed alone (read_committed), and the log is not compacted beyond it."
        ),
        cause=listed(
            f"max by (group) (last_over_time({_TOPIC_LAG}{{service=%q,topic=%q}}[{options.bridge}])) > 0",
            "$labels.service $labels.topic",
            "group",
            "{{ .Labels.group }} ({{ .Value | humanize }})",
            otherwise="No group lags",
            around="Groups that lag on it: {}",
        ),
        action=limits.OPEN_TRANSACTION.action,
        panel=limits.OPEN_TRANSACTION.panel,
        meaning="a transaction has been open for longer than its threshold for 2 min",
        comment="Brokers end what a producer leaves open; what they have lost sight of stays open until somebody aborts it.",
        disables=(Disable(f"promql/series({_OPEN})", "there is none while no transaction is open"),),
        kinds=_KAFKA,
    )


def _why_canary(options: Options) -> str:
    """Say how the canary failed of late."""
    return listed(
        "sum by (stage, reason) (increase(probe_part_failures_total"
        f'{{service=%q,probe="kafka",part="canary"}}[{options.rate}])) > 0',
        "$labels.service",
        "reason",
        '{{ reReplaceAll "_" " " .Labels.reason }} in {{ .Labels.stage }}',
        otherwise="unknown",
    )


def writes_failing(options: Options) -> Alert:
    """Build KafkaWritesFailing."""
    return Alert(
        name="KafkaWritesFailing",
        severity=Severity.CRITICAL,
        expr=stepping_back(f"{highest(_CANARY, options.recent)} == 0", options),
        wait="2m",
        summary="Nothing can be written to {{ $labels.service }} and read again",
        description=(
            "{{ $labels.service }} answers, and for 2m no partition of the canary's topic has taken a record and given "
            "it back."
        ),
        cause=f"The canary: {_why_canary(options)}. {_missing(options)}",
        action="Page on-call, check the brokers' disks and replicas in sync",
        panel=Panel(Board.KAFKA, 157),
        meaning="the canary could not be written and read again in any partition of its topic for 2 min",
        comment="Only where a canary is wanted. Rights that are missing, and a topic that is, are ProbePartFailing's.",
        disables=(Disable(f"promql/series({_CANARY})", "there is none where no canary is wanted"),),
        kinds=_KAFKA,
    )


def canary_failing(options: Options) -> Alert:
    """Build KafkaCanaryFailing."""
    expr = stepping_back(f"{lowest(_CANARY, options.recent, 'partition')} == 0", options)
    return Alert(
        name="KafkaCanaryFailing",
        severity=Severity.WARNING,
        expr="\n".join([expr, *map(firing, (*_PAGES, "KafkaBrokerDown"))]),
        wait="4m",
        hold="2m",
        summary="Canary {{ $labels.partition }} of {{ $labels.service }} is not written or not read again",
        description=(
            "For 4m partition {{ $labels.partition }} of the canary's topic ({{ $labels.service }}) has not taken a record "
            "and given it back; other partitions have: what its broker leads, or its replicas, are in trouble."
        ),
        cause=f"The canary: {_why_canary(options)}. {_missing(options)}",
        action="Check the broker that leads the partition, and its replicas in sync",
        panel=Panel(Board.KAFKA, 157),
        meaning="the canary could not be written and read again in a partition of its topic for 4 min, while it "
        "could in others; no broker is missing, and no page says more",
        comment="It waits for longer than KafkaBrokerDown, which says why the partitions of a broker that is gone fail.",
        disables=(Disable(f"promql/series({_CANARY})", "there is none where no canary is wanted"),),
        kinds=_KAFKA,
    )

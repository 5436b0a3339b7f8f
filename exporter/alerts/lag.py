"""Alerts of what consumer groups have not read, of groups without members, and of dead letters."""

from __future__ import annotations

from exporter.alerts.model import Alert, Disable, Options, Severity
from exporter.alerts.promql import OWNER, firing, highest, limit, over, stepping_back
from exporter.alerts.texts import first, lag_causes, listed
from exporter.boards import Board, Panel
from exporter.limits import entries as limits

__all__ = [
    "consumers_gone",
    "dead_letters",
    "dead_letters_old",
    "lag_high",
]

_KAFKA = frozenset({"kafka"})
_LAG = "probe_kafka_consumer_group_topic_lag"
_MEMBERS = "probe_kafka_consumer_group_members"
_DLQ = "probe_kafka_dlq_messages"
_DLQ_AGE = "probe_kafka_dlq_oldest_seconds"
_DLQ_UNREAD = "probe_kafka_dlq_unread_seconds"
_END = "probe_kafka_topic_end_offset"


def lag_high(options: Options) -> Alert:
    """Build KafkaLagHigh."""
    by = f"{OWNER}, group, topic"

    def held(function: str, after: str) -> str:
        return f"max by ({by}) ({function}({_LAG}{after}))"

    newest = highest(_LAG, options.recent, "group", "topic")
    most = limit(limits.CONSUMER_LAG.family.name, options)
    tenth = f"0.1 * {most}"
    grown = f"max by ({by}) (delta({_LAG}[5m]))"
    produced = f"max by (service, topic) (sum by (service, topic, job, instance) (delta({_END}[5m])))"
    known = f"and on ({by}) last_over_time({_LAG}[{options.recent}] offset 4m)"
    expr = f"""\
(
  {newest} > on (service) group_left () ({most})
  and {held("min_over_time", "[4m]")} > on (service) group_left () ({most})
  and {held("predict_linear", "[5m], 1800")} > 0
  {known}
)
or
(
  {newest} > on (service) group_left () ({tenth})
  and {held("min_over_time", "[5m]")} > on (service) group_left () ({tenth})
  and {held("min_over_time", "[5m]")} > {held("max_over_time", "[5m] offset 10m")}
)
or
(
  {newest} > on (service) group_left () ({tenth})
  and on ({by}) ({grown} > 0 and {grown} >= on (service, topic) group_left () (0.99 * {produced}))
  {known}
)
or
(
  {newest} > 0
  and on ({by}) {held("delta", "[2m]")} > 0
  and on (service, group) max by (service, group) (max_over_time({_MEMBERS}[2m])) == 0
)"""
    return Alert(
        name=limits.CONSUMER_LAG.alert,
        severity=Severity.WARNING,
        expr=stepping_back(expr, options),
        wait="1m",
        hold="6m",
        summary="{{ $labels.group }} falls behind on {{ $labels.topic }}: {{ $value | humanize }} messages",
        description=(
            "Consumer group {{ $labels.group }} is {{ $value | humanize }} messages behind on {{ $labels.topic }} "
            "({{ $labels.service }}), and does not catch up."
        ),
        cause=lag_causes(options)
        + ". Members of the group: "
        + first(
            f"max(last_over_time({_MEMBERS}{{service=%q,group=%q}}[{options.bridge}]))",
            "$labels.service $labels.group",
            "{{ .Value | humanize }}",
            "unknown",
        )
        + ". Dead letters: "
        + _dead_letters(options),
        action=limits.CONSUMER_LAG.action,
        panel=limits.CONSUMER_LAG.panel,
        meaning="a group's lag on a topic is above its threshold for 5 min and not drained within 30 min as it goes; "
        "or above a tenth of it, and rises steadily, or nothing is read for 5 min; or it grows for 2 min without members",
        comment="""\
1. High, and at the present rate not drained within half an hour.
2. A tenth of that, and every value of the last 5m above every value of the 5m that ended 10m ago.
3. A tenth of that, and the lag grows as fast as the topic: nothing is read, as by a consumer that hangs.
4. The group has no member, and the lag grows.
A backlog that is being worked off is none of these. `service` is the Kafka dependency; the consumer is in `group`.""",
        kinds=_KAFKA,
    )


def _dead_letters(options: Options) -> str:
    """Say what dead-letter topics hold."""
    return listed(
        f"max by (topic) (last_over_time({_DLQ}{{service=%q}}[{options.bridge}])) > 0",
        "$labels.service",
        "topic",
        "{{ .Value | humanize }} in {{ .Labels.topic }}",
        otherwise="none",
    )


def consumers_gone(options: Options) -> Alert:
    """Build ConsumersGone."""
    none = f"max by ({OWNER}, group) (max_over_time({_MEMBERS}[{options.recent}])) == 0"
    waiting = f"sum by (service, group) (max by (service, group, topic) (last_over_time({_LAG}[{options.recent}]))) > 0"
    gone = f"{none}\nand on (service, group) {waiting}"
    return Alert(
        name="ConsumersGone",
        severity=Severity.WARNING,
        expr=f"{stepping_back(gone, options)}\n{firing('KafkaLagHigh', 'service', 'group')}",
        wait="10m",
        hold="2m",
        summary="{{ $labels.group }} has no consumers, and messages wait",
        description=(
            "Consumer group {{ $labels.group }} ({{ $labels.service }}) has had no member for 10m, and "
            + first(
                f"sum(max by (topic) (last_over_time({_LAG}{{service=%q,group=%q}}[{options.bridge}])))",
                "$labels.service $labels.group",
                "{{ .Value | humanize }}",
                "some",
            )
            + " messages wait for it."
        ),
        cause="State of the group: "
        + listed(
            "group by (state) (probe_kafka_consumer_group_state{service=%q,group=%q})",
            "$labels.service $labels.group",
            "state",
            "{{ .Labels.state }}",
            otherwise="unknown",
        ),
        action="Start the consumers; leave a group that is not used any more out by the probe's groups.exclude",
        panel=Panel(Board.KAFKA, 39),
        meaning="a consumer group with messages waiting has had no member for 10 min, and KafkaLagHigh does not fire",
        kinds=_KAFKA,
    )


def dead_letters(options: Options) -> Alert:
    """Build DeadLettersGrowing."""
    newest = highest(_DLQ, options.recent, "topic")
    least = f"min by ({OWNER}, topic) (min_over_time({_DLQ}[15m]))"
    # A topic that is new is there from its first message on: what it holds is what it grew by.
    expr = f"""\
(
  (
    {newest}
      unless on (service, topic) min_over_time({_DLQ}[10m] offset 5m)
      and on (service) min_over_time({_END}[10m] offset 5m)
  )
  or
  (
    {newest} - {least}
  )
)
  > on (service) group_left ()
{limit(limits.DEAD_LETTERS.family.name, options)}
"""
    return Alert(
        name=limits.DEAD_LETTERS.alert,
        severity=Severity.WARNING,
        expr=expr,
        wait="1m",
        summary="Dead letters grow: {{ $value | humanize }} more in {{ $labels.topic }}",
        description=(
            "Within 15m {{ $value | humanize }} messages more came into {{ $labels.topic }} ({{ $labels.service }}): "
            "consumers could not handle them, and nobody will try again."
        ),
        cause="Dead letters held: " + _dead_letters(options),
        action=limits.DEAD_LETTERS.action,
        panel=limits.DEAD_LETTERS.panel,
        meaning="a dead-letter topic grew within 15 min by more than its threshold",
        comment="A topic that is new holds what it grew by: it is made with its first message.",
        disables=(Disable(f"promql/series({_DLQ})", "there is none before the first dead letter"),),
        kinds=_KAFKA,
    )


def dead_letters_old(options: Options) -> Alert:
    """Build DeadLettersOld."""
    old = over(limits.DEAD_LETTER_AGE, options)
    return Alert(
        name=limits.DEAD_LETTER_AGE.alert,
        severity=Severity.WARNING,
        expr=stepping_back(old, options),
        wait="10m",
        hold="10m",
        summary="Dead letters in {{ $labels.topic }} have been left for {{ $value | humanizeDuration }}",
        description=(
            "The oldest message of {{ $labels.topic }} ({{ $labels.service }}) that no consumer group has read is "
            "{{ $value | humanizeDuration }} old: nobody has seen to it, and retention will delete it unread."
        ),
        cause="Dead letters held: " + _dead_letters(options),
        action=limits.DEAD_LETTER_AGE.action,
        panel=limits.DEAD_LETTER_AGE.panel,
        meaning="the oldest message of a dead-letter topic that no consumer group has read has been older than its "
        "threshold for 10 min",
        comment="A topic keeps what was sent again: who reads it as a group, or deletes what is done with, ends this.",
        disables=(Disable(f"promql/series({_DLQ_UNREAD})", "there is none before the first dead letter"),),
        kinds=_KAFKA,
    )

"""The rows of Kafka: what goes wrong with groups, transactions and dead letters, on a broker of Apache Kafka."""

from __future__ import annotations

from dataclasses import replace

from tests.e2e.row import Owed, Row
from tests.e2e.scene import act, mark, paged, resolved, stay, usual
from tests.e2e.stack import DESCRIBE, Stack
from tests.fixtures.kafkas import KafkaNode

__all__ = ["KAFKA"]

TOLD = 75.0
"""Seconds to an incident of low urgency beside the rule's own wait: attempt, scrape, evaluation, and the wait for more."""


def _row(name: str, fault: str, alert: str, title: str, cause: str, within: float, *may: str, patience: float = 600) -> Row:
    """Build a row of one service's group or topic."""
    owed = Owed(alert, "kafka", title, cause, within, low=True)
    return Row(name, fault, usual(name, 30), [owed], services=1, patience=patience, may=frozenset(may))


_ROWS = (
    _row(
        "messages-lost",
        "{0}: its consumer stopped, and its topic's retention overtook it",
        "KafkaMessagesLost",
        "{0}-service",
        "consumers gone, retention passed",
        20 + 120 + TOLD,
        "KafkaLagHigh",
        "ConsumersGone",
    ),
    _row(
        "offsets-ahead",
        "{0}: its group has committed beyond the end of its topic, as one that was made anew leaves it",
        "ConsumerOffsetsAhead",
        "{0}-service has committed more than there is",
        "",
        30 + 120 + TOLD,
    ),
    _row(
        "transaction-open",
        "a producer leaves a transaction open in the topic of {0}",
        "KafkaTransactionHung",
        "transaction in hafnium.{0}.events",
        "",
        900 + 120 + TOLD,
    ),
    _row(
        "letters-left",
        "dead letters of {0} lie for two days, and nobody sees to them",
        "DeadLettersOld",
        "Dead letters in hafnium.{0}.mails-dlt",
        "3 in hafnium.{0}.mails-dlt",
        600 + 2 * TOLD,
        "DeadLettersGrowing",
        patience=1500,
    ),
)

_WRITES = Row(
    "writes-refused",
    "the broker of {0} answers, and refuses what the canary writes",
    usual("writes-refused"),
    [Owed("KafkaWritesFailing", "kafka", "Nothing can be written to kafka", "query.failed in check", 120 + TOLD)],
    services=1,
    patience=300,
)


def _let_describe(stack: Stack, *, on: bool) -> None:
    """Give the exporter's user the right to describe the cluster, or take it away."""
    broker = stack.fleet.broker
    assert isinstance(broker, KafkaNode)
    if on:
        broker.allow(*DESCRIBE)
    else:
        broker.take_back("--cluster")


_RIGHTS = Row(
    "kafka-rights-taken",
    "the exporter's user of Kafka may not describe the cluster any more: groups are left out in silence",
    (
        mark("taken"),
        act(lambda stack: _let_describe(stack, on=False)),
        paged(),
        stay(30),
        act(lambda stack: _let_describe(stack, on=True)),
        resolved(),
        stay(60),
    ),
    [
        Owed(
            "ProbePartFailing",
            "kafka-login",
            "Part groups of a probe of kafka-login fails",
            "auth in check",
            600 + TOLD,
            low=True,
            since="taken",
        )
    ],
    parts=frozenset({"kafka-login"}),
    patience=900,
)

KAFKA = tuple(replace(row, kafka=True) for row in (*_ROWS, _WRITES, _RIGHTS))
"""All of them."""

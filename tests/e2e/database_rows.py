"""The rows of databases and brokers beside the fleet's own: standbys, wraparound, damage, logins, replicas in sync."""

from __future__ import annotations

from dataclasses import replace

from exporter.demo.servers.base import Server
from tests.e2e.databases import Databases
from tests.e2e.row import Owed, Row, Step
from tests.e2e.scene import act, mark, on, paged, resolved, stay
from tests.e2e.stack import Stack

__all__ = ["BROKERS", "DATABASES"]

TOLD = 75.0
"""Seconds to an incident beside the rule's own wait: attempt, scrape, evaluation, and the wait for more."""

UPKEEP = 300.0
"""Seconds between two looks at what changes slowly: 20 attempts."""


def _of(stack: Stack) -> Databases:
    """Return the databases of a stack that has them."""
    assert stack.databases is not None
    return stack.databases


def broker(number: int) -> Step:
    """Kill a broker of three."""

    def node(stack: Stack) -> Server:
        assert stack.brokers is not None
        return stack.brokers.nodes[number - 1]

    return on(node, "kill")


def _start_brokers(stack: Stack) -> None:
    assert stack.brokers is not None
    for node in stack.brokers.nodes:
        node.start()


def _row(
    name: str, fault: str, broken: Step, mended: Step, owed: Owed, *may: str, patience: float = 400.0, hurry: int = 1
) -> Row:
    story = (mark("broken"), broken, paged(), stay(30), mended, resolved(), stay(60))
    return Row(
        name, fault, story, [replace(owed, low=True, since="broken")],
        parts=frozenset({owed.incident}), may=frozenset(may), patience=patience, hurry=hurry, databases=True,
    )  # fmt: skip


DATABASES = (
    _row(
        "standby-cut",
        "a standby of PostgreSQL has lost its primary, which serves",
        act(lambda stack: _of(stack).part()),
        act(lambda stack: _of(stack).join()),
        Owed("DatabaseReplicationBroken", "postgres-cut", "Replication of postgres-cut is broken", "", 300 + 2 * TOLD),
        "DatabaseReplicationLag",
    ),
    _row(
        "standby-behind",
        "a standby of PostgreSQL receives what its primary writes, and does not replay it",
        act(lambda stack: _of(stack).hold_up()),
        act(lambda stack: _of(stack).let_go()),
        Owed("DatabaseReplicationLag", "postgres-slow", "standby of postgres-slow is .* behind", "", 60 + 300 + TOLD),
    ),
    _row(
        "wraparound",
        "the oldest transaction of PostgreSQL that is not frozen is older than its limit, which is 10,000 here",
        act(lambda stack: _of(stack).grow_old()),
        act(lambda stack: _of(stack).freeze(_of(stack).old)),
        Owed("DatabaseWraparound", "postgres-old", "transactions from its last freeze", "", 900 + UPKEEP + TOLD),
        patience=UPKEEP + 300,
    ),
    _row(
        "multixact-wraparound",
        "the oldest multixact of PostgreSQL that is not frozen is older than its limit, which is 1,000 here",
        act(lambda stack: _of(stack).lock_together()),
        act(lambda stack: _of(stack).freeze(_of(stack).mixed)),
        Owed("DatabaseWraparound", "postgres-mixed", "multixacts from its last freeze", "", 900 + UPKEEP + TOLD),
        patience=UPKEEP + 300,
        hurry=6,
    ),
    _row(
        "login-in-the-clear",
        "PostgreSQL asks for passwords themselves, without TLS, as pg_hba.conf now says",
        act(lambda stack: _of(stack).ask_in_the_clear(on=True)),
        act(lambda stack: _of(stack).ask_in_the_clear(on=False)),
        Owed("ProbeUnknown", "postgres-open", "cannot tell whether postgres-open is up", "not_allowed", 300 + TOLD),
    ),
    replace(
        _row(
            "disk-damaged",
            "a block of PostgreSQL is not what was written to it; seen for an hour, which is 10 minutes here",
            act(lambda stack: _of(stack).damage()),
            act(lambda stack: _of(stack).drop()),
            Owed("DatabaseChecksumFailures", "postgres-damaged", "has read damaged blocks", "", 60 + TOLD),
            patience=4000,
            hurry=6,
        ),
        spoils=True,
    ),
)
"""Those of databases."""

BROKERS = (
    Row(
        "brokers-lost",
        "a broker of three is killed, then another: what is written to topics that want two in sync is refused",
        (
            mark("one"),
            broker(3),
            paged(),
            stay(240),
            mark("two"),
            broker(2),
            paged(),
            stay(240),
            act(_start_brokers),
            resolved(),
            stay(60),
        ),
        [
            Owed(
                "KafkaBrokerDown",
                "kafka-three",
                "Broker 3 of kafka-three does not answer",
                "",
                180 + TOLD,
                low=True,
                since="one",
            ),
            Owed(
                "KafkaPartitionsUnderMinIsr",
                "kafka-three",
                "refuses writes to 6 partitions",
                "Brokers that do not answer: 2, 3",
                120 + TOLD,
                since="two",
            ),
        ],
        parts=frozenset({"kafka-three"}),
        patience=400,
        brokers=True,
    ),
)
"""Those of brokers."""

"""The rows of Redis beyond one server: a replica, Sentinels, a Cluster."""

from __future__ import annotations

from dataclasses import replace

from exporter.demo.servers.base import Server
from tests.e2e.row import Owed, Row, Step
from tests.e2e.scene import act, mark, on, paged, resolved, stay
from tests.e2e.stack import Stack
from tests.e2e.valkeys import Valkeys

__all__ = ["VALKEYS"]

TOLD = 75.0
"""Seconds to an incident beside the rule's own wait: attempt, scrape, evaluation, and the wait for more."""


def _of(stack: Stack) -> Valkeys:
    """Return the Valkeys of a stack that has them."""
    assert stack.valkeys is not None
    return stack.valkeys


def a_node(stack: Stack) -> Server:
    """Return a node of the Cluster, with a third of the slots."""
    return _of(stack).nodes[2]


def _story(broken: Step, mended: Step) -> tuple[Step, ...]:
    return (mark("broken"), broken, paged(), stay(30), mended, resolved(), stay(60))


def _owed(alert: str, incident: str, title: str, cause: str, *, wait: float = 0.0, low: bool = False) -> Owed:
    return Owed(alert, incident, title, cause, wait + TOLD, low=low, since="broken")


_ROWS = (
    Row(
        "redis-replica-cut",
        "a replica of redis has lost its master, which serves",
        _story(act(lambda stack: _of(stack).part()), act(lambda stack: _of(stack).join())),
        [_owed("RedisReplicaDisconnected", "redis-pair", "replica without its master", "", wait=180, low=True)],
        parts=frozenset({"redis-pair"}),
        may=frozenset({"RedisReplicaMissing"}),
    ),
    Row(
        "redis-split-brain",
        "a replica of redis has become a master too, and Sentinels cannot make it a replica again",
        _story(act(lambda stack: _of(stack).split()), act(lambda stack: _of(stack).reconcile())),
        [_owed("RedisSplitBrain", "redis-sentinel", "two masters of main", "Masters by their Sentinels", wait=180)],
        parts=frozenset({"redis-sentinel", "redis-watched"}),
        may=frozenset({"RedisSplitBrain", "RedisReplicaMissing"}),  # the database's team hears of its page too
    ),
    Row(
        "redis-cluster-broken",
        "a master of a Redis Cluster is killed and has no replica: a third of the slots is not served, and all is refused",
        _story(on(a_node, "kill"), on(a_node, "start")),
        [_owed("ServiceDown", "redis-cluster", "^redis-cluster is down", "cluster.down|slots not served")],
        parts=frozenset({"redis-cluster"}),
    ),
    Row(
        "redis-rights-taken",
        "the exporter's user of Redis may not ask for INFO any more, as a new list of rights has it",
        _story(act(lambda stack: _of(stack).let_read(on=False)), act(lambda stack: _of(stack).let_read(on=True))),
        [
            _owed(
                "ProbePartFailing", "redis-locked", "Part info of a probe of redis-locked fails", "auth", wait=600, low=True
            )
        ],
        parts=frozenset({"redis-locked"}),
        patience=900,
    ),
)

VALKEYS = tuple(replace(row, valkeys=True) for row in _ROWS)
"""All of them."""

"""CLUSTER INFO and CLUSTER NODES: whether a node of a Redis Cluster serves, and what it sees of the others."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.clients.redis.connection import Connection
from exporter.clients.redis.fields import Fields, parse_fields
from exporter.verdict import Failure, Reason, Stage

__all__ = ["SLOTS", "ClusterView", "count_failed_nodes", "read_cluster"]

SLOTS = 16384
"""Slots of every Redis Cluster."""


@dataclass(frozen=True, slots=True)
class ClusterView:
    """A cluster as one of its nodes sees it.

    Attributes:
        ok: Whether it answers for keys at all. With cluster-require-full-coverage, the default, one slot that nobody serves
            is enough that it does not; in a minority of the masters it never does.
        slots: Slots by state: `unassigned`, `ok`, `pfail` (this node cannot reach their master), `fail` (the cluster has
            agreed that their master has failed, and none took over).
        known_nodes: Nodes that it knows.
        size: Masters that serve slots.
        failed_nodes: Nodes by state, `pfail` and `fail`; None where CLUSTER INFO does not count them, as before Valkey 9.
    """

    ok: bool
    slots: dict[str, float]
    known_nodes: float | None
    size: float | None
    failed_nodes: dict[str, float] | None

    @property
    def served(self) -> float:
        """Slots that somebody serves, as far as this node can tell."""
        return self.slots.get("ok", 0.0)


async def read_cluster(connection: Connection) -> ClusterView:
    """Ask for it.

    Raises:
        Failure, OSError: As for `Connection.ask`; `malformed` where it cannot be read.
    """
    fields = Fields("CLUSTER INFO", parse_fields("CLUSTER INFO", await connection.ask("CLUSTER", "INFO")))
    state = fields.text("cluster_state")
    if state not in ("ok", "fail"):
        raise Failure(Stage.CHECK, Reason.MALFORMED, "CLUSTER INFO: cluster_state is neither ok nor fail")
    failed = {
        state: number for state in ("pfail", "fail") if (number := fields.number(f"cluster_nodes_{state}")) is not None
    }
    return ClusterView(
        ok=state == "ok",
        slots=_slots(fields),
        known_nodes=fields.number("cluster_known_nodes"),
        size=fields.number("cluster_size"),
        failed_nodes=failed or None,
    )


def _slots(fields: Fields) -> dict[str, float]:
    found = {}
    for state in ("assigned", "ok", "pfail", "fail"):
        number = fields.number(f"cluster_slots_{state}")
        if number is not None:
            found[state] = number
    assigned = found.pop("assigned", None)
    if assigned is not None:
        found["unassigned"] = SLOTS - assigned
    return found


async def count_failed_nodes(connection: Connection) -> dict[str, float]:
    """Count nodes that failed by the flags of CLUSTER NODES, the third word of a line: `fail?` is pfail.

    Raises:
        Failure, OSError: As for `read_cluster`.
    """
    answer = await connection.ask("CLUSTER", "NODES")
    if not isinstance(answer, bytes):
        raise Failure(Stage.CHECK, Reason.MALFORMED, "the answer to CLUSTER NODES is not text")
    found = {"pfail": 0.0, "fail": 0.0}
    for line in answer.decode("utf-8", "replace").splitlines():
        words = line.split(" ", 3)
        flags = words[2].split(",") if len(words) > 3 else ()
        found["fail"] += "fail" in flags
        found["pfail"] += "fail?" in flags
    return found

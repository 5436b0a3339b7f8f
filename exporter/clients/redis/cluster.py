"""CLUSTER INFO and CLUSTER NODES: whether a node of a Redis Cluster serves, and what it sees of the others."""

from __future__ import annotations

import re
from dataclasses import dataclass

from exporter.clients.redis.connection import Connection
from exporter.clients.redis.fields import Fields, parse_fields
from exporter.clients.redis.resp import ServerError
from exporter.verdict import Failure, Reason, Stage

__all__ = ["SLOTS", "ClusterView", "count_failed_nodes", "may_be_clustered", "read_cluster", "read_own_slots"]

_SLOTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?", re.ASCII)
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


async def may_be_clustered(connection: Connection) -> bool:
    """Return whether a server is a node of a cluster, or does not let that be asked.

    Raises:
        Failure, OSError: As for `Connection.ask`, but for the server's own refusals.
    """
    try:
        await connection.ask("CLUSTER", "INFO")
    except ServerError as error:
        return error.reason is Reason.AUTH  # else it has cluster support disabled, or knows of none
    return True


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
    """Count nodes that failed by their flags in CLUSTER NODES, where `fail?` is pfail.

    Raises:
        Failure, OSError: As for `read_cluster`.
    """
    found = {"pfail": 0.0, "fail": 0.0}
    for words in await _nodes(connection):
        flags = words[2].split(",")
        found["fail"] += "fail" in flags
        found["pfail"] += "fail?" in flags
    return found


async def read_own_slots(connection: Connection) -> list[range]:
    """Return the slots that the node itself serves, by CLUSTER NODES; none of a replica.

    Raises:
        Failure, OSError: As for `read_cluster`.
    """
    own = next((words for words in await _nodes(connection) if "myself" in words[2].split(",")), [])
    found = (_SLOTS.fullmatch(word) for word in own[8 : 8 + SLOTS])  # those that move are in brackets: [93->-…]
    slots = [range(int(each[1]), int(each[2] or each[1]) + 1) for each in found if each is not None]
    if any(not each or each.stop > SLOTS for each in slots) or sum(map(len, slots)) > SLOTS:
        raise Failure(Stage.CHECK, Reason.MALFORMED, "CLUSTER NODES: the node's slots are none that can be")
    return slots


async def _nodes(connection: Connection) -> list[list[str]]:
    """Read CLUSTER NODES: a line is id, address, flags, master, ping, pong, epoch, link, then slots."""
    answer = await connection.ask("CLUSTER", "NODES")
    if not isinstance(answer, bytes):
        raise Failure(Stage.CHECK, Reason.MALFORMED, "the answer to CLUSTER NODES is not text")
    lines = (line.split(" ") for line in answer.decode("utf-8", "replace").splitlines())
    return [words for words in lines if len(words) > 7]

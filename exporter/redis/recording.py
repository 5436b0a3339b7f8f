"""What a server says of itself, recorded."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.clients.redis.cluster import ClusterView
from exporter.clients.redis.info import Info
from exporter.clients.redis.lookups import LookupWindow
from exporter.probing.attempt import Attempt
from exporter.redis import families as f

__all__ = ["record_cluster", "record_failed_nodes", "record_info"]

_NUMBERS = {
    "used_memory": f.MEMORY_USED,
    "maxmemory": f.MEMORY_MAX,
    "connected_clients": f.CLIENTS,
    "maxclients": f.MAX_CLIENTS,
    "evicted_keys": f.EVICTED,
    "rejected_connections": f.REJECTED,
    "keyspace_hits": f.HITS,
    "keyspace_misses": f.MISSES,
    "connected_slaves": f.REPLICAS,
    "uptime_in_seconds": f.UPTIME,
}
_SAVING = {"rdb_last_bgsave_status": "rdb_save"}
_APPENDING = {"aof_last_write_status": "aof_write", "aof_last_bgrewrite_status": "aof_rewrite"}
_ROLES = {"master": "master", "slave": "replica"}


def record_info(part: Attempt, info: Info, window: LookupWindow) -> None:
    """Record what INFO says.

    Args:
        part: Where to.
        info: What it says.
        window: The readings of lookups before, which this one joins.

    Raises:
        Failure: A number cannot be read; what came before it is recorded.
    """
    for name, family in _NUMBERS.items():
        number = info.number(name)
        if number is not None:
            part.record(family, number)
    lookups = info.lookups
    ratio = window.share_found(lookups) if lookups is not None else None
    if ratio is not None:
        part.record(f.HIT_RATIO, ratio)
    role = _ROLES.get(info.role or "")
    if role is not None:
        part.record(f.ROLE, 1, role)
    if info.master_link_up is not None:
        part.record(f.LINK_UP, info.master_link_up)
    for name, operation in (_SAVING | _APPENDING if info.text("aof_enabled") == "1" else _SAVING).items():
        status = info.text(name)
        if status is not None:
            part.record(f.PERSISTENCE, status == "ok", operation)


def record_cluster(part: Attempt, view: ClusterView) -> None:
    """Record what a node says of its cluster."""
    part.record(f.CLUSTER_OK, view.ok)
    for state, number in view.slots.items():
        part.record(f.CLUSTER_SLOTS, number, state)
    if view.known_nodes is not None:
        part.record(f.CLUSTER_NODES, view.known_nodes)
    if view.size is not None:
        part.record(f.CLUSTER_SIZE, view.size)


def record_failed_nodes(part: Attempt, failed: Mapping[str, float]) -> None:
    """Record how many nodes of a cluster have failed."""
    for state, number in failed.items():
        part.record(f.CLUSTER_FAILED, number, state)

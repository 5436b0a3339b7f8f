"""What a server says of itself, recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from exporter.clients.redis.cluster import ClusterView
from exporter.clients.redis.info import Info
from exporter.clients.redis.lookups import LookupWindow
from exporter.probing.attempt import Attempt
from exporter.redis import families as f

__all__ = ["ERRORS", "record_cluster", "record_failed_nodes", "record_info"]

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
    "used_memory_rss": f.MEMORY_RSS,
    "blocked_clients": f.BLOCKED,
    "total_connections_received": f.CONNECTIONS,
    "total_commands_processed": f.COMMANDS,
    "expired_keys": f.EXPIRED,
    "loading": f.LOADING,
    "loading_eta_seconds": f.LOADING_LEFT,
    "rdb_last_save_time": f.LAST_SAVE,
    "rdb_changes_since_last_save": f.UNSAVED,
}
_NETWORK = {"total_net_input_bytes": "input", "total_net_output_bytes": "output"}
_DATABASES = {f"db{number}": str(number) for number in range(64)}
ERRORS = (
    "ERR", "WRONGTYPE", "OOM", "MISCONF", "READONLY", "NOREPLICAS", "CLUSTERDOWN", "MOVED", "ASK", "TRYAGAIN", "CROSSSLOT",
    "LOADING", "MASTERDOWN", "BUSY", "NOAUTH", "WRONGPASS", "NOPERM", "NOSCRIPT", "EXECABORT", "UNBLOCKED",
)  # fmt: skip
"""First words of errors that are told apart. Scripts and modules make their own: those are told together."""

_ERRORS = {f"errorstat_{error}": error for error in ERRORS}

_POLICIES = frozenset({
    "noeviction", "allkeys-lru", "allkeys-lfu", "allkeys-random", "allkeys-lrm", "volatile-lru", "volatile-lfu",
    "volatile-random", "volatile-lrm", "volatile-ttl",
})  # fmt: skip
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
    _record_use(part, info, window)
    _record_memory(part, info)
    _record_persistence(part, info)
    _record_replication(part, info)


def _record_use(part: Attempt, info: Info, window: LookupWindow) -> None:
    lookups = info.lookups
    ratio = window.share_found(lookups) if lookups is not None else None
    if ratio is not None:
        part.record(f.HIT_RATIO, ratio)
    for name, direction in _NETWORK.items():
        number = info.number(name)
        if number is not None:
            part.record(f.NETWORK, number, direction)
    for name in info.among(_DATABASES.keys()):
        within = info.within(name)
        for key, family in (("keys", f.KEYS), ("expires", f.EXPIRING)):
            number = within.number(key)
            if number is not None:
                part.record(family, number, _DATABASES[name])
    for error, count in _errors(info):
        part.record(f.ERRORS, count, error)


def _errors(info: Info) -> Iterator[tuple[str, float]]:
    """Yield how many errors there were of each kind; nothing before Redis 6.2, which does not count them."""
    left = info.number("total_error_replies")
    if left is None:
        return
    for name in info.among(_ERRORS.keys()):
        count = info.within(name).number("count")
        if count is not None:
            left -= count
            yield _ERRORS[name], count
    if left >= 0:
        yield "other", left


def _record_memory(part: Attempt, info: Info) -> None:
    ratio = info.decimal("mem_fragmentation_ratio")
    if ratio is not None:
        part.record(f.FRAGMENTATION, ratio)
    policy = info.text("maxmemory_policy")
    if policy is not None:
        part.record(f.POLICY, 1, policy if policy in _POLICIES else "other")


def _record_persistence(part: Attempt, info: Info) -> None:
    for name, operation in (_SAVING | _APPENDING if info.text("aof_enabled") == "1" else _SAVING).items():
        status = info.text(name)
        if status is not None:
            part.record(f.PERSISTENCE, status == "ok", operation)


def _record_replication(part: Attempt, info: Info) -> None:
    role = _ROLES.get(info.role or "")
    if role is not None:
        part.record(f.ROLE, 1, role)
    if info.master_link_up is not None:
        part.record(f.LINK_UP, info.master_link_up)


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

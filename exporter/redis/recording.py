"""What a server says of itself, recorded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Set
from functools import partial
from itertools import islice
from types import MappingProxyType

from exporter.clients.redis.cluster import ClusterView
from exporter.clients.redis.info import Info
from exporter.clients.redis.lookups import LookupWindow
from exporter.clients.redis.sentinel import Watched
from exporter.metrics.family import Family
from exporter.metrics.store import Settled
from exporter.probing.attempt import Attempt
from exporter.redis import families as f
from exporter.verdict import Failure, Reason, Stage

__all__ = ["ERRORS", "FIELDS", "InfoRecorder", "record_cluster", "record_failed_nodes", "record_watched"]

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
    "used_memory_rss": f.MEMORY_RSS,
    "used_memory_peak": f.MEMORY_PEAK,
    "blocked_clients": f.BLOCKED,
    "total_connections_received": f.CONNECTIONS,
    "total_commands_processed": f.COMMANDS,
    "expired_keys": f.EXPIRED,
    "loading": f.LOADING,
    "loading_eta_seconds": f.LOADING_LEFT,
    "rdb_last_save_time": f.LAST_SAVE,
    "rdb_changes_since_last_save": f.UNSAVED,
}
_LABELLED = {
    f.NETWORK: {"total_net_input_bytes": "input", "total_net_output_bytes": "output"},
    f.MEMORY_CLIENTS: {"mem_clients_normal": "normal", "mem_clients_slaves": "replica"},
    f.SYNCS: {"sync_full": "full", "sync_partial_ok": "partial", "sync_partial_err": "refused"},
}
_CPU = {"used_cpu_user": "user", "used_cpu_sys": "system"}
_VERSIONS = {"valkey_version": "valkey", "redis_version": "redis"}
"""Valkey tells both: its own, and that of the Redis that it answers as."""

_VERSION = re.compile(r"[0-9A-Za-z.+~-]{1,40}", re.ASCII)
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
_LINK = {
    "master_link_down_since_seconds": f.LINK_DOWN,
    "master_sync_in_progress": f.SYNCING,
    "master_last_io_seconds_ago": f.MASTER_IO,
}
_REPLICAS = frozenset(f"slave{number}" for number in range(64))
MAX_HOST = 255
_ROLES = {"master": "master", "slave": "replica"}


def _record_number(family: Family, name: str, part: Attempt, info: Info) -> None:
    number = info.number(name)
    if number is not None:
        part.record(family, number)


def _record_uptime(part: Attempt, info: Info) -> None:
    """Record for how long it has run by its own clock: below zero once that was set back."""
    seconds = info.number("uptime_in_seconds")
    if seconds is not None:
        part.record(f.UPTIME, max(0.0, seconds))


def _record_labelled(family: Family, names: Mapping[str, str], part: Attempt, info: Info) -> None:
    for name, label in names.items():
        number = info.number(name)
        if number is not None:
            part.record(family, number, label)


def _record_cpu(part: Attempt, info: Info) -> None:
    for name, mode in _CPU.items():
        seconds = info.decimal(name)
        if seconds is not None:
            part.record(f.CPU, seconds, mode)


def _record_version(part: Attempt, info: Info) -> None:
    for name, server in _VERSIONS.items():
        version = info.text(name)
        if version is not None:
            part.record(f.VERSION, 1, server, version if _VERSION.fullmatch(version) else "other")
            return


def _record_databases(part: Attempt, info: Info) -> None:
    for name in info.among(_DATABASES.keys()):
        within = info.within(name)
        for key, family in (("keys", f.KEYS), ("expires", f.EXPIRING)):
            number = within.number(key)
            if number is not None:
                part.record(family, number, _DATABASES[name])


def _record_errors(part: Attempt, info: Info) -> None:
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


def _record_fragmentation(part: Attempt, info: Info) -> None:
    ratio = info.decimal("mem_fragmentation_ratio")
    if ratio is not None:
        part.record(f.FRAGMENTATION, ratio)


def _record_policy(part: Attempt, info: Info) -> None:
    policy = info.text("maxmemory_policy")
    if policy is not None:
        part.record(f.POLICY, 1, policy if policy in _POLICIES else "other")


def _record_persistence(part: Attempt, info: Info) -> None:
    for name, operation in (_SAVING | _APPENDING if info.text("aof_enabled") == "1" else _SAVING).items():
        status = info.text(name)
        if status is not None:
            part.record(f.PERSISTENCE, status == "ok", operation)
    took, fork = info.number("rdb_last_bgsave_time_sec"), info.number("latest_fork_usec")
    if took is not None and took >= 0:  # -1 where nothing was saved
        part.record(f.SAVE_TOOK, took)
    if fork is not None:
        part.record(f.FORK, fork / 1e6)


def _record_replication(part: Attempt, info: Info) -> None:
    role = _ROLES.get(info.role or "")
    if role is not None:
        part.record(f.ROLE, 1, role)
    if info.master_link_up is not None:
        _record_link(part, info)
    offset = info.number("slave_repl_offset" if role == "replica" else "master_repl_offset")
    if offset is not None:
        part.record(f.OFFSET, offset)
    if role is not None:
        _record_replicas(part, info, offset)


def _record_link(part: Attempt, info: Info) -> None:
    """Record a replica's link to its master; -1 is how a server says that there is nothing to say."""
    part.record(f.LINK_UP, bool(info.master_link_up))
    for name, family in _LINK.items():
        number = info.number(name)
        if number is not None and number >= 0:
            part.record(family, number)


def _record_replicas(part: Attempt, info: Info, offset: float | None) -> None:
    """Record the replicas of a server, that of a replica too, which may have its own."""
    for name in info.among(_REPLICAS):
        within = info.within(name)
        host, port, at, lag = within.text("ip"), within.text("port"), within.number("offset"), within.number("lag")
        if not host or not port or len(host) > MAX_HOST or not (host + port).isprintable():
            raise Failure(Stage.CHECK, Reason.MALFORMED, "INFO: a replica without an address")
        replica = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        online = within.text("state") == "online"
        part.record(f.REPLICA_ONLINE, online, replica)
        if not online:
            continue  # it has taken nothing in yet, and its lag is that of nothing
        if lag is not None and lag >= 0:
            part.record(f.REPLICA_LAG, lag, replica)
        if at is not None and offset is not None:
            part.record(f.REPLICA_BEHIND, offset - at, replica)


_Record = Callable[[Attempt, Info], None]

_RECORDS: tuple[tuple[Set[str], _Record], ...] = (
    *((frozenset({name}), partial(_record_number, family, name)) for name, family in _NUMBERS.items()),
    *((names.keys(), partial(_record_labelled, family, names)) for family, names in _LABELLED.items()),
    (frozenset({"uptime_in_seconds"}), _record_uptime),
    (_CPU.keys(), _record_cpu),
    (_VERSIONS.keys(), _record_version),
    (_DATABASES.keys(), _record_databases),
    (_ERRORS.keys() | {"total_error_replies"}, _record_errors),
    (frozenset({"mem_fragmentation_ratio"}), _record_fragmentation),
    (frozenset({"maxmemory_policy"}), _record_policy),
    (
        _SAVING.keys() | _APPENDING.keys() | {"aof_enabled", "latest_fork_usec", "rdb_last_bgsave_time_sec"},
        _record_persistence,
    ),
    (
        _LINK.keys() | _REPLICAS | {"master_link_status", "master_repl_offset", "role", "slave_repl_offset"},
        _record_replication,
    ),
)
"""What records families, and the fields that it reads: those families are of no other."""

FIELDS = frozenset[str]().union(*(names for names, _ in _RECORDS))
"""Fields of INFO that are recorded: others are not read."""


class InfoRecorder:
    """Records what one server's INFO says, attempt after attempt.

    What stands on fields that are as they were is recorded as it was: four in five of them, even of a busy server.
    """

    def __init__(self) -> None:
        self._lookups = LookupWindow()
        self._settled: tuple[Mapping[Family, Settled], ...] = ()

    def record(self, part: Attempt, info: Info) -> None:
        """Record it.

        Args:
            part: Where to.
            info: What it says; what has changed is since the answer that was recorded last.

        Raises:
            Failure: A number cannot be read; what came before it is recorded.
        """
        before, self._settled = self._settled, ()  # where a number fails, all is recorded anew
        changed, settled = info.changed, []
        for number, (names, record) in enumerate(_RECORDS):
            if before and names.isdisjoint(changed):
                part.keep(before[number])
                settled.append(before[number])
            else:
                settled.append(_recorded(record, part, info))
        self._settled = tuple(settled)
        _record_use(part, info, self._lookups)


def _recorded(record: _Record, part: Attempt, info: Info) -> Mapping[Family, Settled]:
    """Record, and return what that has come to."""
    known = len(part.samples)
    record(part, info)
    return {family: MappingProxyType(values) for family, values in islice(part.samples.items(), known, None)}


def _record_use(part: Attempt, info: Info, window: LookupWindow) -> None:
    lookups = info.lookups
    ratio = window.share_found(lookups) if lookups is not None else None
    if ratio is not None:
        part.record(f.HIT_RATIO, ratio)
    if not info.is_sentinel:
        part.record(f.DATABASES, info.databases)


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


def record_watched(part: Attempt, watched: Watched) -> None:
    """Record a master that a Sentinel watches."""
    name = watched.name
    part.record(f.SENTINEL_ADDRESS, 1, name, watched.address)
    part.record(f.SENTINEL_UP, watched.up, name)
    part.record(f.SENTINEL_FAILOVER, watched.failing_over, name)
    part.record(f.SENTINEL_REPLICAS, watched.replicas, name, "known")
    part.record(f.SENTINEL_REPLICAS, watched.replicas_ok, name, "ok")
    part.record(f.SENTINEL_MASTERS, watched.masters, name)
    part.record(f.SENTINEL_SENTINELS, watched.sentinels, name, "known")
    if watched.usable is not None:
        part.record(f.SENTINEL_SENTINELS, watched.usable, name, "usable")
    part.record(f.SENTINEL_QUORUM, watched.quorum, name)
    part.record(f.SENTINEL_QUORUM_OK, watched.quorum_reached, name)

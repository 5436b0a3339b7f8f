"""The families of the redis probe. Names in monospace are fields of INFO, or of CLUSTER INFO and SENTINEL MASTERS."""

from __future__ import annotations

from exporter.metrics.family import Family, counter, gauge

__all__ = ["FAMILIES"]

MEMORY_USED = gauge("probe_redis_memory_used_bytes", "Memory that the server has allocated: used_memory.")
MEMORY_MAX = gauge("probe_redis_memory_max_bytes", "Memory that it may allocate: maxmemory; 0 is without limit.")
CLIENTS = gauge("probe_redis_connected_clients", "Clients that are connected, this probe included.")
MAX_CLIENTS = gauge("probe_redis_max_clients", "Most clients that it takes: maxclients.")
EVICTED = counter("probe_redis_evicted_keys_total", "Keys that were evicted for want of memory.")
REJECTED = counter("probe_redis_rejected_connections_total", "Connections refused because of maxclients.")
HITS = counter("probe_redis_keyspace_hits_total", "Lookups that found their key.")
MISSES = counter("probe_redis_keyspace_misses_total", "Lookups that did not find their key.")
HIT_RATIO = gauge(
    "probe_redis_hit_ratio",
    "Share of lookups that found their key, over the fewest attempts, at most 60, that saw 100; absent with fewer.",
)
ROLE = gauge("probe_redis_role", "1 for the server's role: master or replica.", "role")
LINK_UP = gauge("probe_redis_master_link_up", "1 if a replica is connected to its master, 0 if not; absent on a master.")
REPLICAS = gauge("probe_redis_connected_replicas", "Replicas that are connected to the server.")
UPTIME = gauge("probe_redis_uptime_seconds", "Time since the server started.")

PERSISTENCE = gauge(
    "probe_redis_persistence_success",
    "1 if the last operation worked, 0 if it failed: rdb_save; with the append-only file, aof_write and aof_rewrite.",
    "operation",
)

CLUSTER_OK = gauge(
    "probe_redis_cluster_ok",
    "1 if the node says that its cluster serves, 0 if it refuses every key: cluster_state; absent outside of a cluster.",
)
CLUSTER_SLOTS = gauge(
    "probe_redis_cluster_slots",
    "Of the 16384 slots of a cluster, as the node sees them: unassigned, ok, pfail (it alone misses the master), fail.",
    "state",
)
CLUSTER_NODES = gauge("probe_redis_cluster_known_nodes", "Nodes of the cluster that the node knows, those that failed too.")
CLUSTER_FAILED = gauge(
    "probe_redis_cluster_failed_nodes",
    "Nodes that the cluster has agreed have failed (fail), and that this node alone misses (pfail).",
    "state",
)
CLUSTER_SIZE = gauge("probe_redis_cluster_size", "Masters of the cluster that serve slots: cluster_size.")

FAMILIES: tuple[Family, ...] = (
    MEMORY_USED, MEMORY_MAX, CLIENTS, MAX_CLIENTS, EVICTED, REJECTED, HITS, MISSES, HIT_RATIO, ROLE, LINK_UP, REPLICAS,
    UPTIME, PERSISTENCE, CLUSTER_OK, CLUSTER_SLOTS, CLUSTER_NODES, CLUSTER_FAILED, CLUSTER_SIZE,
)  # fmt: skip
"""All of them, in the order in which the reference lists them."""

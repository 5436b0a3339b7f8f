"""The families of the redis probe. Names in monospace are fields of INFO, or of CLUSTER INFO and SENTINEL MASTERS."""

from __future__ import annotations

from exporter.metrics.family import Family, counter, gauge

__all__ = ["FAMILIES"]

MEMORY_USED = gauge("probe_redis_memory_used_bytes", "Memory that the server has allocated: used_memory.")
MEMORY_MAX = gauge("probe_redis_memory_max_bytes", "Memory that it may allocate: maxmemory; 0 is without limit.")
CLIENTS = gauge("probe_redis_connected_clients", "Clients that are connected, this probe included.")
BLOCKED = gauge("probe_redis_blocked_clients", "Clients that wait in a command that blocks, such as BLPOP.")
MAX_CLIENTS = gauge("probe_redis_max_clients", "Most clients that it takes: maxclients.")
POLICY = gauge("probe_redis_maxmemory_policy", "1 for what is done at the limit: maxmemory_policy.", "policy")
MEMORY_RSS = gauge("probe_redis_memory_rss_bytes", "Memory that the process has of the system: used_memory_rss.")
FRAGMENTATION = gauge(
    "probe_redis_memory_fragmentation_ratio",
    "Memory that it has of the system, of that which it uses: mem_fragmentation_ratio; next to nothing used makes it high.",
)
EVICTED = counter("probe_redis_evicted_keys_total", "Keys that were evicted for want of memory.")
REJECTED = counter("probe_redis_rejected_connections_total", "Connections refused because of maxclients.")
CONNECTIONS = counter("probe_redis_connections_received_total", "Connections that it took, one of each attempt included.")
COMMANDS = counter("probe_redis_commands_processed_total", "Commands that it ran, those of each attempt included.")
ERRORS = counter(
    "probe_redis_error_replies_total",
    "Commands that it answered with an error, by the error's first word; other is all that is none of those listed.",
    "error",
)
NETWORK = counter("probe_redis_network_bytes_total", "Bytes from clients (input) and to them (output).", "direction")
KEYS = gauge("probe_redis_keys", "Keys of a database; of the first 64 databases, absent where one is empty.", "db")
EXPIRING = gauge("probe_redis_expiring_keys", "Keys of a database that have a time to live.", "db")
EXPIRED = counter("probe_redis_expired_keys_total", "Keys that were removed because their time was over.")
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

LOADING = gauge("probe_redis_loading", "1 while it loads its data from disk, and refuses whatever is asked for a key.")
LOADING_LEFT = gauge("probe_redis_loading_left_seconds", "Time that loading will take yet, as it guesses; absent otherwise.")
LAST_SAVE = gauge(
    "probe_redis_rdb_last_save_timestamp_seconds", "Time of the last save that worked, or of the start where none has yet."
)
UNSAVED = gauge("probe_redis_rdb_unsaved_changes", "Writes since the last save: rdb_changes_since_last_save.")
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
    MEMORY_USED, MEMORY_MAX, POLICY, MEMORY_RSS, FRAGMENTATION, CLIENTS, BLOCKED, MAX_CLIENTS, EVICTED, REJECTED,
    CONNECTIONS, COMMANDS, ERRORS, NETWORK, KEYS, EXPIRING, EXPIRED, HITS, MISSES, HIT_RATIO, ROLE, LINK_UP, REPLICAS,
    UPTIME, LOADING, LOADING_LEFT, LAST_SAVE, UNSAVED, PERSISTENCE, CLUSTER_OK, CLUSTER_SLOTS, CLUSTER_NODES,
    CLUSTER_FAILED, CLUSTER_SIZE,
)  # fmt: skip
"""All of them, in the order in which the reference lists them."""

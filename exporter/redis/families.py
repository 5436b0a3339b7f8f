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
MEMORY_PEAK = gauge("probe_redis_memory_peak_bytes", "Most memory that it ever had allocated: used_memory_peak.")
MEMORY_CLIENTS = gauge(
    "probe_redis_memory_clients_bytes",
    "Memory for clients, as for answers that they do not read: normal ones, and replicas. Evicting keys does not free it.",
    "kind",
)
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
DATABASES = gauge("probe_redis_databases", "Databases that hold keys: whose number is 64 or more has no series of its own.")
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
LINK_DOWN = gauge(
    "probe_redis_master_link_down_seconds",
    "Time since a replica lost its master; absent while it has one, and where it never had.",
)
SYNCING = gauge("probe_redis_master_sync_in_progress", "1 while a replica takes in a copy of its master's data.")
MASTER_IO = gauge("probe_redis_master_last_io_seconds", "Time since a replica heard of its master, which speaks each 10 s.")
OFFSET = gauge(
    "probe_redis_replication_offset_bytes",
    "Bytes of replication that a master has written, or a replica taken in; of one master they can be subtracted.",
)
REPLICAS = gauge("probe_redis_connected_replicas", "Replicas that are connected to the server.")
REPLICA_ONLINE = gauge(
    "probe_redis_replica_online",
    "1 if a replica follows its master, 0 while it is being copied to; of the first 64 of probe_redis_connected_replicas.",
    "replica",
)
REPLICA_LAG = gauge(
    "probe_redis_replica_lag_seconds", "Time since the master heard of a replica, which speaks each second.", "replica"
)
REPLICA_BEHIND = gauge(
    "probe_redis_replica_lag_bytes", "Bytes of replication that a replica has not said it has taken in.", "replica"
)
SYNCS = counter(
    "probe_redis_syncs_total",
    "Replicas that came back to a master: full (all was copied), partial (the rest was), refused (no rest was left).",
    "kind",
)
UPTIME = gauge("probe_redis_uptime_seconds", "Time since the server started.")
VERSION = gauge(
    "probe_redis_version",
    "1 for what the server is, redis or valkey, and its version; other is a version that is none.",
    "server",
    "version",
)
CPU = counter("probe_redis_cpu_seconds_total", "CPU time of the server, of all its threads: user and system.", "mode")

LOADING = gauge("probe_redis_loading", "1 while it loads its data from disk, and refuses whatever is asked for a key.")
LOADING_LEFT = gauge("probe_redis_loading_left_seconds", "Time that loading will take yet, as it guesses; absent otherwise.")
LAST_SAVE = gauge(
    "probe_redis_rdb_last_save_timestamp_seconds", "Time of the last save that worked, or of the start where none has yet."
)
SAVE_TOOK = gauge(
    "probe_redis_rdb_last_save_seconds", "Time that the last save in the background took; absent where there was none."
)
FORK = gauge(
    "probe_redis_latest_fork_seconds",
    "Time that the server stood still for its latest fork, as for a save: latest_fork_usec; 0 where there was none.",
)
UNSAVED = gauge("probe_redis_rdb_unsaved_changes", "Writes since the last save: rdb_changes_since_last_save.")
PERSISTENCE = gauge(
    "probe_redis_persistence_success",
    "1 if the last operation worked, 0 if it failed: rdb_save; with the append-only file, aof_write and aof_rewrite.",
    "operation",
)

CANARY = gauge(
    "probe_redis_canary_success",
    "1 if the canary was written and read back, 0 if not; absent where it is another server that takes writes.",
)
CANARY_TOOK = gauge("probe_redis_canary_seconds", "Time that writing and reading the canary took.", "operation")
SLOW_LOG = gauge(
    "probe_redis_slowlog_length",
    "Commands in the slow log, which keeps slowlog-max-len, and those only that took longer than slowlog-log-slower-than.",
)
SLOW_ADDED = counter(
    "probe_redis_slow_commands_total",
    "Commands that came into the slow log since the first attempt; emptying it does not set this back.",
)
LATENCY = gauge(
    "probe_redis_latency_event_seconds", "Time that the latest event of a kind took, by the latency monitor.", "event"
)
LATENCY_LONGEST = gauge(
    "probe_redis_latency_event_longest_seconds", "Time that the longest event of a kind took, since LATENCY RESET.", "event"
)
LATENCY_AT = gauge("probe_redis_latency_event_timestamp_seconds", "Time of the latest event of a kind.", "event")

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

SENTINEL_ADDRESS = gauge(
    "probe_redis_sentinel_master_address", "1 for where a Sentinel tells clients that a master is.", "master", "address"
)
SENTINEL_UP = gauge(
    "probe_redis_sentinel_master_up", "1 if a Sentinel reaches a master, 0 if it holds it to be down.", "master"
)
SENTINEL_FAILOVER = gauge("probe_redis_sentinel_failover_in_progress", "1 while a failover is under way.", "master")
SENTINEL_REPLICAS = gauge(
    "probe_redis_sentinel_replicas",
    "Replicas of a master: known, those that are gone too; ok, those that are reached and have their master.",
    "master",
    "state",
)
SENTINEL_MASTERS = gauge(
    "probe_redis_sentinel_masters_seen",
    "Of a master and its replicas, those that are reached and say they are a master: 2 is a split brain.",
    "master",
)
SENTINEL_SENTINELS = gauge(
    "probe_redis_sentinel_sentinels",
    "Sentinels of a master: known, those that are gone too; usable, those that this one reaches; both with itself.",
    "master",
    "state",
)
SENTINEL_QUORUM = gauge(
    "probe_redis_sentinel_quorum", "Sentinels that must agree that a master is down: the configured quorum.", "master"
)
SENTINEL_QUORUM_OK = gauge(
    "probe_redis_sentinel_quorum_ok",
    "1 if the usable Sentinels are enough for the quorum and for the majority that a failover needs.",
    "master",
)

FAMILIES: tuple[Family, ...] = (
    MEMORY_USED, MEMORY_MAX, MEMORY_PEAK, MEMORY_CLIENTS, POLICY, MEMORY_RSS, FRAGMENTATION, CLIENTS, BLOCKED,
    MAX_CLIENTS, EVICTED, REJECTED, CONNECTIONS, COMMANDS, ERRORS, NETWORK, DATABASES, KEYS, EXPIRING, EXPIRED, HITS, MISSES,
    HIT_RATIO, ROLE, LINK_UP, LINK_DOWN, SYNCING, MASTER_IO, OFFSET, REPLICAS, REPLICA_ONLINE, REPLICA_LAG,
    REPLICA_BEHIND, SYNCS, UPTIME, VERSION, CPU, LOADING, LOADING_LEFT, LAST_SAVE, SAVE_TOOK, FORK, UNSAVED,
    PERSISTENCE, CANARY, CANARY_TOOK, SLOW_LOG, SLOW_ADDED, LATENCY, LATENCY_LONGEST, LATENCY_AT, CLUSTER_OK, CLUSTER_SLOTS,
    CLUSTER_NODES, CLUSTER_FAILED, CLUSTER_SIZE, SENTINEL_ADDRESS, SENTINEL_UP, SENTINEL_FAILOVER, SENTINEL_REPLICAS,
    SENTINEL_MASTERS, SENTINEL_SENTINELS, SENTINEL_QUORUM, SENTINEL_QUORUM_OK,
)  # fmt: skip
"""All of them, in the order in which the reference lists them."""

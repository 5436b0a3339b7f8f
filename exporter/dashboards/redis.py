"""The Redis dashboard: memory, commands, clients, persistence, replicas, Sentinels, clusters; Valkey too."""

from __future__ import annotations

from exporter.boards import Board
from exporter.dashboards.board import Content, Row
from exporter.dashboards.limits import limit
from exporter.dashboards.panels import Panels, Query, Size, graph, states
from exporter.dashboards.promql import gone_is_zero, joined, of, rate, ratio
from exporter.dashboards.queries import highest, lowest
from exporter.metrics import limits

__all__ = ["board"]

_OK = 'state="ok"'


def board() -> Content:
    """Return what it shows."""
    return Content(
        Board.REDIS,
        "Redis",
        "Memory and what it costs to run short of it, commands, clients, saves, replicas, Sentinels, clusters.",
        (
            Row(391, "Memory", _memory()),
            Row(392, "Commands and clients", _commands()),
            Row(393, "Persistence", _persistence()),
            Row(394, "Replicas, Sentinels, clusters", _replicas()),
        ),
        kinds=frozenset({"redis"}),
    )


def _memory() -> Panels:
    """Return what is in use, and what was lost to that."""
    used, most = of("probe_redis_memory_used_bytes"), of("probe_redis_memory_max_bytes")
    return (
        graph(
            87, "Redis memory in use", "Memory in use, of maxmemory; nothing where none is set.", "percentunit",
            Query(f"max by (service) ({ratio(used, most)})", "{{service}}"), limit(limits.REDIS_MEMORY_RATIO), top=1,
        ),
        graph(
            34, "Redis memory", "Memory in use, of it for clients, the most ever, and the limit where one is set.", "bytes",
            highest("probe_redis_memory_used_bytes", "service", "target"),
            Query(f"max by (service, target) ({of('probe_redis_memory_max_bytes')} > 0)", "{{service}} {{target}} max"),
            highest("probe_redis_memory_peak_bytes", "service", "target", says="peak"),
            Query(
                joined("service, target", of("probe_redis_memory_clients_bytes")), "{{service}} {{target}} clients"
            ),
        ),
        graph(
            36, "Redis evictions and refusals", "Keys evicted for want of memory, and connections refused.", "ops",
            Query(rate("service", of("probe_redis_evicted_keys_total")), "{{service}} evicted"),
            Query(rate("service", of("probe_redis_rejected_connections_total")), "{{service}} refused"),
        ),
        graph(
            245, "Redis fragmentation", "Memory of the system, of that which is used.", "none",
            highest("probe_redis_memory_fragmentation_ratio", "service", "target"),
        ),
    )  # fmt: skip


def _commands() -> Panels:
    """Return what is asked, by whom, and with what success."""
    clients = of("probe_redis_connected_clients")
    return (
        graph(
            35, "Redis hits", "Share of key lookups that hit.", "percentunit",
            lowest("probe_redis_hit_ratio", "service", "target"),
            limit(limits.HIT_RATIO), top=1,
        ),
        graph(
            246, "Redis commands", "Commands, new connections, slow commands a second; clients that wait in one.", "short",
            Query(rate("service", of("probe_redis_commands_processed_total")), "{{service}} commands/s"),
            Query(rate("service", of("probe_redis_connections_received_total")), "{{service}} connections/s"),
            Query(rate("service", of("probe_redis_slow_commands_total")), "{{service}} slow/s"),
            Query(joined("service", of("probe_redis_blocked_clients")), "{{service}} blocked"),
        ),
        graph(
            242, "Redis clients", "Clients connected, of those that the server takes.", "percentunit",
            Query(f"max by (service) ({ratio(clients, of('probe_redis_max_clients'))})", "{{service}}"),
            limit(limits.REDIS_CLIENTS_RATIO), top=1,
        ),
        graph(
            243, "Redis errors", "Commands answered with an error, by its first word.", "ops",
            Query(rate("service, error", of("probe_redis_error_replies_total")), "{{service}} {{error}}"),
        ),
        graph(
            248, "Redis CPU", "Cores that a server uses: near 1, its commands wait for each other.", "none",
            Query(rate("service, target", of("probe_redis_cpu_seconds_total")), "{{service}} {{target}}"),
        ),
        graph(
            247, "Redis canary and latency events", "Time that the canary took, and the latest event of each kind.", "s",
            highest("probe_redis_canary_seconds", "service", "operation"),
            highest("probe_redis_latency_event_seconds", "service", "event"),
        ),
    )  # fmt: skip


def _persistence() -> Panels:
    """Return whether what is written would outlive a restart."""
    return (
        states(
            241, "Redis persistence", "Whether the last save, or write of the append-only file, worked.",
            lowest("probe_redis_persistence_success", "service", "target", "operation"),
            texts=("Failed", "Worked"), size=Size.THIRD,
        ),
        graph(
            244, "Redis since the last save", "Time since the last save that worked, where something was written.", "s",
            Query(
                f"max by (service, target) (time() - {of('probe_redis_rdb_last_save_timestamp_seconds')} "
                f"and {of('probe_redis_rdb_unsaved_changes')} > 0)",
                "{{service}} {{target}}",
            ),
        ),
        graph(
            249, "Redis saves", "Time that the last save took, and that the server stood still for its fork.", "s",
            highest("probe_redis_rdb_last_save_seconds", "service", "target", says="save"),
            highest("probe_redis_latest_fork_seconds", "service", "target", says="fork"),
        ),
    )  # fmt: skip


def _replicas() -> Panels:
    """Return who follows whom."""
    usable = of("probe_redis_sentinel_sentinels", 'state="usable"')
    addresses = of("probe_redis_sentinel_master_address")
    refusing = f"min by (service, target) ({of('probe_redis_cluster_ok')}) == 0"
    lost = f"min by (service, target) ({of('probe_redis_master_link_up')}) == 0"
    return (
        graph(
            91, "Redis replicas", "Replicas that are connected to their master, and those that are not.", "short",
            highest("probe_redis_connected_replicas", "service", "target", says="connected"),
            Query(gone_is_zero(f"count by (service) ({lost})", "service"), "{{service}} without a master"),
        ),
        graph(
            250, "Redis replicas behind", "Time since a master heard of each of its replicas.", "s",
            highest("probe_redis_replica_lag_seconds", "service", "target", "replica"),
            limit(limits.REDIS_REPLICA_LAG),
        ),
        graph(
            251, "Redis masters by Sentinel", "Masters that a Sentinel reaches of one name, and that Sentinels tell of.",
            "short",
            highest("probe_redis_sentinel_masters_seen", "service", "master", says="reached"),
            Query(
                f"count by (service, master) (group by (service, master, address) ({addresses}))",
                "{{service}} {{master}} told of",
            ),
        ),
        graph(
            252, "Redis Sentinels", "Sentinels that one of them reaches, and the quorum; masters that it reaches.",
            "short",
            Query(f"max by (service, master) ({usable})", "{{service}} {{master}} usable"),
            highest("probe_redis_sentinel_quorum", "service", "master", says="quorum"),
            highest("probe_redis_sentinel_quorum_ok", "service", "master", says="enough"),
            highest("probe_redis_sentinel_master_up", "service", "master", says="masters up"),
        ),
        graph(
            240, "Redis Cluster", "Slots that nobody serves, and nodes that failed, as the node sees it that sees most.",
            "short",
            Query(
                f"16384 - min by (service) ({of('probe_redis_cluster_slots', _OK)})", "{{service}} slots not served"
            ),
            Query(f"max by (service, state) ({of('probe_redis_cluster_failed_nodes')})", "{{service}} nodes {{state}}"),
            Query(
                f"count by (service) ({refusing})", "{{service}} nodes that refuse every key"
            ),
        ),
    )  # fmt: skip

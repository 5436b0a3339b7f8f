"""Redis and Valkey: memory, keys, clients, replicas, clusters."""

from __future__ import annotations

from exporter.dashboards.limits import limit
from exporter.dashboards.panels import Panels, Query, Size, graph, states
from exporter.dashboards.promql import gone_is_zero, of, ratio, total
from exporter.metrics import limits

__all__ = ["redis"]

_OK = 'state="ok"'


def redis() -> Panels:
    """What they say of memory, keys, clients, replicas and clusters."""
    used, most = of("probe_redis_memory_used_bytes"), of("probe_redis_memory_max_bytes")
    lost = f"min by (service, target) ({of('probe_redis_master_link_up')}) == 0"
    return (
        graph(
            87, "Redis memory in use", "Memory in use, of maxmemory; nothing where none is set.", "percentunit",
            Query(f"max by (service) ({ratio(used, most)})", "{{service}}"), limit(limits.REDIS_MEMORY_RATIO), top=1,
        ),
        graph(
            34, "Redis memory", "Memory in use, and the limit where one is set.", "bytes",
            Query(f"max by (service, target) ({of('probe_redis_memory_used_bytes')})", "{{service}} {{target}}"),
            Query(f"max by (service, target) ({of('probe_redis_memory_max_bytes')} > 0)", "{{service}} {{target}} max"),
        ),
        graph(
            35, "Redis hits", "Share of key lookups that hit.", "percentunit",
            Query(f"min by (service, target) ({of('probe_redis_hit_ratio')})", "{{service}} {{target}}"),
            limit(limits.HIT_RATIO), top=1,
        ),
        graph(
            36, "Redis evictions and refusals", "Keys evicted for want of memory, and connections refused.", "ops",
            Query(total("service", of("probe_redis_evicted_keys_total")), "{{service}} evicted"),
            Query(total("service", of("probe_redis_rejected_connections_total")), "{{service}} refused"),
        ),
        graph(
            91, "Redis replicas", "Replicas that are connected to their master, and those that are not.", "short",
            Query(f"max by (service, target) ({of('probe_redis_connected_replicas')})", "{{service}} {{target}} connected"),
            Query(gone_is_zero(f"count by (service) ({lost})"), "{{service}} without a master"),
        ),
        graph(
            140, "Redis Cluster", "Slots that nobody serves, and nodes that failed, as the node sees it that sees most.",
            "short",
            Query(
                f"16384 - min by (service) ({of('probe_redis_cluster_slots', _OK)})", "{{service}} slots not served"
            ),
            Query(f"max by (service, state) ({of('probe_redis_cluster_failed_nodes')})", "{{service}} nodes {{state}}"),
            Query(
                f"count by (service) ({of('probe_redis_cluster_ok')} == 0)", "{{service}} nodes that refuse every key"
            ),
        ),
        states(
            141, "Redis persistence", "Whether the last save, or write of the append-only file, worked.",
            Query(
                f"min by (service, target, operation) ({of('probe_redis_persistence_success')})",
                "{{service}} {{target}} {{operation}}",
            ),
            texts=("Failed", "Worked"), size=Size.THIRD,
        ),
    )  # fmt: skip

"""Which families of redis_exporter this project has too, and why the others are left out: a table for docs/comparison.md."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from bench.cpu import get, installed, running, url
from exporter.demo.ports import free_port
from exporter.demo.servers.valkey import ValkeyServer
from exporter.metrics import core as m
from exporter.metrics.family import Family
from exporter.redis import families as f

__all__ = ["main"]

PAGE = Path(__file__).parent.parent / "docs" / "comparison.md"
BEGIN, END = "<!-- redis_exporter: begin -->", "<!-- redis_exporter: end -->"

OURS: Mapping[str, tuple[Family, ...]] = {
    "aof_last_bgrewrite_status": (f.PERSISTENCE,),
    "aof_last_write_status": (f.PERSISTENCE,),
    "blocked_clients": (f.BLOCKED,),
    "cluster_enabled": (f.CLUSTER_OK,),
    "commands_processed_total": (f.COMMANDS,),
    "config_maxclients": (f.MAX_CLIENTS,),
    "config_maxmemory": (f.MEMORY_MAX,),
    "connected_clients": (f.CLIENTS,),
    "connected_slaves": (f.REPLICAS,),
    "connections_received_total": (f.CONNECTIONS,),
    "cpu_sys_seconds_total": (f.CPU,),
    "cpu_user_seconds_total": (f.CPU,),
    "db_keys": (f.KEYS,),
    "db_keys_expiring": (f.EXPIRING,),
    "evicted_keys_total": (f.EVICTED,),
    "expired_keys_total": (f.EXPIRED,),
    "exporter_last_scrape_connect_time_seconds": (m.PHASE,),
    "exporter_last_scrape_duration_seconds": (m.DURATION,),
    "exporter_last_scrape_error": (m.PART_SUCCESS, m.FAILURES),
    "exporter_scrape_duration_seconds": (m.LATENCY,),
    "exporter_scrapes_total": (m.LATENCY,),
    "instance_info": (f.VERSION, f.ROLE, f.POLICY),
    "keyspace_hits_total": (f.HITS, f.HIT_RATIO),
    "keyspace_misses_total": (f.MISSES, f.HIT_RATIO),
    "latest_fork_seconds": (f.FORK,),
    "loading_dump_file": (f.LOADING, f.LOADING_LEFT),
    "master_repl_offset": (f.OFFSET,),
    "mem_fragmentation_ratio": (f.FRAGMENTATION,),
    "mem_clients_normal": (f.MEMORY_CLIENTS,),
    "mem_clients_slaves": (f.MEMORY_CLIENTS,),
    "memory_max_bytes": (f.MEMORY_MAX,),
    "memory_used_bytes": (f.MEMORY_USED,),
    "memory_used_peak_bytes": (f.MEMORY_PEAK,),
    "memory_used_rss_bytes": (f.MEMORY_RSS,),
    "net_input_bytes_total": (f.NETWORK,),
    "net_output_bytes_total": (f.NETWORK,),
    "rdb_changes_since_last_save": (f.UNSAVED,),
    "rdb_last_bgsave_duration_sec": (f.SAVE_TOOK,),
    "rdb_last_bgsave_status": (f.PERSISTENCE,),
    "rdb_last_save_timestamp_seconds": (f.LAST_SAVE,),
    "rejected_connections_total": (f.REJECTED,),
    "replica_partial_resync_accepted": (f.SYNCS,),
    "replica_partial_resync_denied": (f.SYNCS,),
    "replica_resyncs_full": (f.SYNCS,),
    "slowlog_last_id": (f.SLOW_ADDED,),
    "slowlog_length": (f.SLOW_LOG,),
    "total_error_replies": (f.ERRORS,),
    "unexpected_error_replies": (f.ERRORS,),
    "up": (m.SUCCESS, m.UNKNOWN),
    "uptime_in_seconds": (f.UPTIME,),
}
"""By name without `redis_`: what tells the same, or more."""

LEFT_OUT: Mapping[str, str] = {
    r"active_defrag_running|defrag_.*": "defragmentation at work; whether it is enough is in the fragmentation ratio",
    r"allocator_.*|mem_fragmentation_bytes": "inside of the allocator; the fragmentation ratio says whether to look there",
    r"aof_enabled": "the series `aof_write` of `probe_redis_persistence_success` is there where it is on",
    r"aof_.*|rdb_.*|module_fork_.*": "a save under way, and its memory; whether it worked and how long it took is told",
    r"client_recent_max_.*": "of one client; what all of them take is told",
    r"clients_in_timeout_table|tracking_.*": "inside of the server, next to never looked at",
    r"cluster_connections": "inside of the cluster bus; nodes and slots are told",
    r"commands_.*|latency_percentiles_usec": "**missed**: by command, which only `INFO all` tells",
    r"config_io_threads|io_thread.*": "settings of threads; `probe_redis_cpu_seconds_total` says whether they are too few",
    r"cpu_.*_children_.*": "CPU time of saves; how long they took is told",
    r"cpu_.*_main_thread_.*": "a share of the CPU time that is told of all threads",
    r"db_avg_ttl_seconds|expired_.*": "how expiry fares; the mean is an estimate",
    r"db_keys_cached": "of a fork of Redis",
    r"dump_payload_sanitizations|migrate_cached_sockets_total": "of single commands, next to never used",
    r"exporter_build_info|target_scrape_request_errors_total|last_key_groups_.*": "of redis_exporter itself",
    r"last_slow_execution_duration_seconds": "an entry of the slow log, which `SLOWLOG GET` shows",
    r"lazyfree_pending_objects": "work in the background, over within moments",
    r"mem_not_counted_for_eviction_bytes|memory_used_.*": "what memory is used for, as `MEMORY STATS` tells",
    r"number_of_cached_scripts": "inside of the server; errors of scripts are told",
    r"process_id": "names nothing from outside of its host",
    r"pubsub_.*": "how many have subscribers, which `PUBSUB CHANNELS` tells with their names",
    r"repl_backlog_.*|replication_backlog_bytes": "`probe_redis_syncs_total` says whether the backlog was too short",
    r"second_repl_offset|slave_expires_tracked_keys": "inside of replication",
    r"start_time_seconds": "`time() - probe_redis_uptime_seconds`",
    r"total_reads_processed|total_writes_processed": "system calls; commands and bytes are told",
}
"""By expressions, of which the first that matches counts: why not."""


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit 1 where the page is not what would be written.")
def main(check: bool) -> None:
    """Run redis_exporter once against a Valkey, and write what became of its families into docs/comparison.md."""
    with tempfile.TemporaryDirectory() as folder:
        names = _families(Path(folder))
    before, _, rest = PAGE.read_text().partition(BEGIN)
    text = before + "\n".join([BEGIN, *_table(names), END]) + rest.partition(END)[2]
    if check and text != PAGE.read_text():
        click.echo("docs/comparison.md is not up to date: python -m bench.redis_families", err=True)
        sys.exit(1)
    if not check:
        PAGE.write_text(text)


def _families(folder: Path) -> list[str]:
    """Return the names of its families, without `redis_`; those of Go and of its own process are left aside."""
    binary = installed("prometheus-redis-exporter", "prometheus-redis-exporter", "redis_exporter")
    with ValkeyServer(folder / "valkey") as server:
        server.tell("SET", "key", "value")
        listen = free_port()
        command = [binary, f"-redis.addr=redis://{server.host}:{server.port}", f"-web.listen-address=127.0.0.1:{listen}"]
        with running(folder, "redis_exporter", command, url(listen, "/health")):
            return sorted(re.findall(r"^# TYPE redis_(\w+) ", get(url(listen, "/metrics")).decode(), re.MULTILINE))


def _table(names: list[str]) -> Iterator[str]:
    """Write a row of each family that is told, and one of those that are left out for one reason.

    Raises:
        ValueError: Nobody has said what becomes of a family.
    """
    told = [name for name in names if name in OURS]
    yield ""
    yield f"Of the {len(names)} families that it exports for a Valkey, these {len(told)} are told:"
    yield from ("", "| redis_exporter | hafnium-exporter |", "|---|---|")
    for name in told:
        yield f"| `redis_{name}` | {', '.join(f'`{family.name}`' for family in OURS[name])} |"
    yield ""
    yield f"These {len(names) - len(told)} are left out:"
    yield from ("", "| redis_exporter | left out: why |", "|---|---|")
    left: dict[str, list[str]] = {}
    for name in names:
        if name not in OURS:
            left.setdefault(_why_not(name), []).append(name)
    for why, those in left.items():
        yield f"| {', '.join(f'`redis_{name}`' for name in those)} | {why} |"
    yield ""


def _why_not(name: str) -> str:
    for expression, why in LEFT_OUT.items():
        if re.fullmatch(expression, name):
            return why
    raise ValueError(f"redis_{name} is neither told nor left out for a reason: say which in {Path(__file__).name}")


if __name__ == "__main__":
    main()

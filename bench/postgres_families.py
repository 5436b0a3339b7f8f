"""Which families of postgres_exporter this project has too, and why the others are not: a table for docs/comparison.md."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from bench.cpu import get, installed, running, url
from exporter.databases import servers as v
from exporter.databases import sessions as s
from exporter.demo.ports import free_port
from exporter.demo.servers.postgres import PostgresServer
from exporter.metrics import core as m
from exporter.metrics.family import Family

__all__ = ["main"]

PAGE = Path(__file__).parent.parent / "docs" / "comparison.md"
BEGIN, END = "<!-- postgres_exporter: begin -->", "<!-- postgres_exporter: end -->"

OURS: Mapping[str, tuple[Family, ...]] = {
    "database_size_bytes": (v.SIZE,),
    "exporter_last_scrape_duration_seconds": (m.DURATION,),
    "exporter_last_scrape_error": (m.PART_SUCCESS, m.FAILURES),
    "exporter_scrapes_total": (m.LATENCY,),
    "locks_count": (s.LOCK_WAITING, s.LOCK_CHAIN, s.BLOCKED),
    "replication_slots_active": (v.SLOT_ACTIVE,),
    "replication_slots_pg_wal_lsn_diff": (v.SLOT_KEPT,),
    "scrape_collector_duration_seconds": (m.DURATION,),
    "scrape_collector_success": (m.PART_SUCCESS,),
    "settings_max_connections": (s.MAX_CONNECTIONS,),
    "settings_reserved_connections": (s.USABLE_CONNECTIONS,),
    "settings_superuser_reserved_connections": (s.USABLE_CONNECTIONS,),
    "stat_activity_count": (s.CONNECTIONS, s.CLIENT_CONNECTIONS),
    "stat_activity_max_tx_duration": (s.LONGEST_TRANSACTION,),
    "stat_archiver_archived_count": (v.ARCHIVED,),
    "stat_archiver_failed_count": (v.ARCHIVE_FAILURES, v.ARCHIVE_FAILING),
    "stat_database_blks_hit": (v.BLOCKS_HIT,),
    "stat_database_blks_read": (v.BLOCKS_READ,),
    "stat_database_checksum_failures": (v.CHECKSUM_FAILURES,),
    "stat_database_conflicts": (v.CONFLICTS,),
    "stat_database_deadlocks": (v.DEADLOCKS,),
    "stat_database_numbackends": (s.CLIENT_CONNECTIONS,),
    "stat_database_sessions_abandoned": (v.SESSIONS_ENDED,),
    "stat_database_sessions_fatal": (v.SESSIONS_ENDED,),
    "stat_database_sessions_killed": (v.SESSIONS_ENDED,),
    "stat_database_temp_bytes": (v.TEMP_BYTES,),
    "stat_database_temp_files": (v.TEMP_FILES,),
    "stat_database_tup_deleted": (v.ROWS,),
    "stat_database_tup_fetched": (v.ROWS,),
    "stat_database_tup_inserted": (v.ROWS,),
    "stat_database_tup_returned": (v.ROWS,),
    "stat_database_tup_updated": (v.ROWS,),
    "stat_database_xact_commit": (v.TRANSACTIONS,),
    "stat_database_xact_rollback": (v.TRANSACTIONS,),
    "stat_replication_pg_current_wal_lsn_bytes": (v.REPLICA_LAG_BYTES,),
    "stat_replication_pg_wal_lsn_diff": (v.REPLICA_LAG_BYTES, v.REPLICA_LAG_SECONDS),
    "static": (v.VERSION,),
    "up": (m.SUCCESS, m.UNKNOWN),
}
"""By name without `pg_`: what tells the same, or more."""

LEFT_OUT: Mapping[str, str] = {
    r"settings_.*": "settings, which `pg_settings` shows; of those that are limits the limit is told",
    r"stat_archiver_last_archive_age": "grows while nothing is written too; `probe_postgres_wal_archive_failing` does not",
    r"stat_database_blk_(read|write)_time": "**missed**: time of reads and writes, counted with `track_io_timing` only",
    r"stat_database_(active_time|session_time|idle_in_transaction_time|sessions)": "what sessions spent; "
    "`probe_postgres_connections` by state and `probe_postgres_statement_seconds_total` say by whom",
    r"stat_database_checksum_last_failure|stat_database_stats_reset": "when it was; a rate needs no such moment",
    r"stat_database_conflicts_confl_.*": "why each was; the sum is told, and the log has the reason",
    r"stat_database_parallel_.*": "workers of parallel queries",
    r"stat_replication_(reply_time|.*_lag|pg_xlog.*)": "of one kind of lag each; what a replica has not replayed is told",
    r"stat_bgwriter_.*|stat_user_.*|statio_user_.*|stat_statements_.*": "**missed** where configured: by table",
}
"""By expressions, of which the first that matches counts: why not."""


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit 1 where the page is not what would be written.")
def main(check: bool) -> None:
    """Run postgres_exporter once against a PostgreSQL, and write what became of its families into docs/comparison.md."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # the server runs as nobody
        names = _families(Path(folder))
    before, _, rest = PAGE.read_text().partition(BEGIN)
    text = before + "\n".join([BEGIN, *_table(names), END]) + rest.partition(END)[2]
    if check and text != PAGE.read_text():
        click.echo("docs/comparison.md is not up to date: python -m bench.postgres_families", err=True)
        sys.exit(1)
    if not check:
        PAGE.write_text(text)


def _families(folder: Path) -> list[str]:
    """Return the names of its families, without `pg_`, of a server with a slot; those of Go are left aside."""
    binary = installed("prometheus-postgres-exporter", "prometheus-postgres-exporter", "postgres_exporter")
    with PostgresServer(folder / "postgres") as server:
        server.sql("SELECT pg_create_physical_replication_slot('left', true)")
        listen = free_port()
        login = f"{server.user}:{server.password}@{server.host}:{server.port}/{server.database}"
        source = f"DATA_SOURCE_NAME=postgresql://{login}?sslmode=disable"
        command = [shutil.which("env") or "env", source, binary, f"--web.listen-address=127.0.0.1:{listen}"]
        with running(folder, "postgres_exporter", command, url(listen, "/metrics")):
            return sorted(set(re.findall(r"^# TYPE pg_(\w+) ", get(url(listen, "/metrics")).decode(), re.MULTILINE)))


def _table(names: list[str]) -> Iterator[str]:
    """Write a row of each family that is told, and one of those that are left out for one reason.

    Raises:
        ValueError: Nobody has said what becomes of a family.
    """
    told = [name for name in names if name in OURS]
    yield ""
    yield f"Of the {len(names)} families that it exports for a PostgreSQL 18, these {len(told)} are told:"
    yield from ("", "| postgres_exporter | hafnium-exporter |", "|---|---|")
    for name in told:
        yield f"| `pg_{name}` | {', '.join(f'`{family.name}`' for family in OURS[name])} |"
    yield ""
    yield f"These {len(names) - len(told)} are left out:"
    yield from ("", "| postgres_exporter | left out: why |", "|---|---|")
    left: dict[str, list[str]] = {}
    for name in names:
        if name not in OURS:
            left.setdefault(_why_not(name), []).append(name)
    for why, those in left.items():
        yield f"| {_listed(those)} | {why} |"
    yield ""


def _listed(names: list[str]) -> str:
    """Name them, or say how many of the settings there are, which are hundreds."""
    if all(name.startswith("settings_") for name in names):
        return f"`pg_settings_*`: {len(names)}"
    return ", ".join(f"`pg_{name}`" for name in names)


def _why_not(name: str) -> str:
    for expression, why in LEFT_OUT.items():
        if re.fullmatch(expression, name):
            return why
    raise ValueError(f"pg_{name} is neither told nor left out for a reason: say which in {Path(__file__).name}")


if __name__ == "__main__":
    main()

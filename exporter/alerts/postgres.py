"""Alerts of PostgreSQL: connections, sessions, locks, replication, upkeep."""

from __future__ import annotations

from exporter.alerts.model import Alert, Disable, Options, Severity, Team
from exporter.alerts.promql import OWNER, firing, highest, over, stepping_back
from exporter.alerts.texts import first, listed
from exporter.boards import Board, Panel
from exporter.limits import entries as limits
from exporter.limits.model import Limit

__all__ = [
    "archiving_failing",
    "checksum_failures",
    "connections_high",
    "idle_connections",
    "lock_wait",
    "pgbouncer_clients_high",
    "pgbouncer_waiting",
    "replication_broken",
    "replication_lag",
    "slot_inactive",
    "slow_query",
    "transaction_open",
    "vacuum_overdue",
    "wraparound",
]

_POSTGRES = frozenset({"postgres"})


def connections_high(options: Options) -> Alert:
    """Build DatabaseConnectionsHigh."""
    return Alert(
        name=limits.CONNECTIONS_RATIO.alert,
        severity=Severity.WARNING,
        expr=_over(limits.CONNECTIONS_RATIO, options),
        wait="5m",
        summary="{{ $labels.service }} runs out of connections: {{ $value | humanizePercentage }} are taken",
        description=(
            "{{ $value | humanizePercentage }} of the connections that {{ $labels.service }} lets ordinary roles have are "
            "in use, for 5m. With none left, every service that needs it is down."
        ),
        cause="Connections: "
        + _connections(options)
        + ". Held by: "
        + _holders("probe_postgres_client_connections", options, "state"),
        action=limits.CONNECTIONS_RATIO.action,
        panel=limits.CONNECTIONS_RATIO.panel,
        meaning="the share in use of the sessions that ordinary roles may have is above its threshold for 5 min",
        team=Team.DBA,
        kinds=_POSTGRES,
    )


def _connections(options: Options) -> str:
    """Say how many sessions there are, by what they do."""
    return listed(
        f"max by (state) (last_over_time(probe_postgres_connections{{service=%q,target=%q}}[{options.bridge}])) > 0",
        "$labels.service $labels.target",
        "state",
        "{{ .Value | humanize }} {{ .Labels.state }}",
        otherwise="unknown",
    )


def _holders(family: str, options: Options, *labels: str) -> str:
    """Say which applications hold most of them, by a family with these labels beside user and application."""
    held = f"last_over_time({family}{{service=%q,target=%q}}[{options.bridge}])"
    return listed(
        f"topk(5, sum by (application) (max by ({', '.join(('user', 'application', *labels))}) ({held}))) > 0",
        "$labels.service $labels.target",
        "application",
        "{{ .Value | humanize }} {{ .Labels.application }}",
        otherwise="unknown",
    )


def _held_back(options: Options) -> str:
    """Say for whom vacuum keeps dead rows, and for how many transactions."""
    return listed(
        "max by (holder) (last_over_time(probe_postgres_vacuum_held_back_transactions{service=%q,target=%q}"
        f"[{options.bridge}])) > 0",
        "$labels.service $labels.target",
        "holder",
        "{{ .Labels.holder }} ({{ .Value | humanize }} transactions)",
        otherwise="nobody, so autovacuum is off, blocked or too slow",
    )


def _over(limit: Limit, options: Options) -> str:
    """Hold what a limit measures of a database against it."""
    return stepping_back(over(limit, options), options)


def idle_connections(options: Options) -> Alert:
    """Build DatabaseIdleConnections."""
    return Alert(
        name=limits.IDLE_CONNECTIONS.alert,
        severity=Severity.WARNING,
        expr=_over(limits.IDLE_CONNECTIONS, options),
        wait="15m",
        summary="{{ $labels.service }} keeps {{ $value | humanize }} connections that nobody has used for an hour",
        description="{{ $value | humanize }} sessions of {{ $labels.service }} have been idle for over an hour, for 15m.",
        cause="Held by: " + _holders("probe_postgres_client_idle_connections_over_1h", options),
        action=limits.IDLE_CONNECTIONS.action,
        panel=limits.IDLE_CONNECTIONS.panel,
        meaning="more sessions than the threshold have been idle for over an hour, for 15 min",
        team=Team.DBA,
        kinds=_POSTGRES,
    )


def transaction_open(options: Options) -> Alert:
    """Build DatabaseTransactionOpen."""
    return Alert(
        name=limits.LONGEST_TRANSACTION.alert,
        severity=Severity.WARNING,
        expr=_over(limits.LONGEST_TRANSACTION, options),
        wait="1m",
        summary="A transaction of {{ $labels.service }} has been open for {{ $value | humanizeDuration }}",
        description=(
            "The oldest transaction of {{ $labels.service }} has been open for {{ $value | humanizeDuration }}: it holds "
            "its locks, and keeps vacuum from cleaning up."
        ),
        cause="Connections: " + _connections(options),
        action=limits.LONGEST_TRANSACTION.action,
        panel=limits.LONGEST_TRANSACTION.panel,
        meaning="the oldest open transaction is older than its threshold",
        team=Team.DBA,
        kinds=_POSTGRES,
    )


def slow_query(options: Options) -> Alert:
    """Build DatabaseSlowQuery."""
    return Alert(
        name=limits.LONGEST_QUERY.alert,
        severity=Severity.WARNING,
        expr=f"{_over(limits.LONGEST_QUERY, options)}\n{firing('DatabaseLockWait', 'service', 'target')}",
        wait="1m",
        summary="A query of {{ $labels.service }} has been running for {{ $value | humanizeDuration }}",
        description="The longest query of {{ $labels.service }} has been running for {{ $value | humanizeDuration }}.",
        action=limits.LONGEST_QUERY.action,
        panel=limits.LONGEST_QUERY.panel,
        meaning="the longest running query is older than its threshold, and DatabaseLockWait does not fire",
        team=Team.DBA,
        kinds=_POSTGRES,
    )


def lock_wait(options: Options) -> Alert:
    """Build DatabaseLockWait."""
    held = f"last_over_time(probe_postgres_%s{{service=%%q,target=%%q}}[{options.bridge}])"
    return Alert(
        name=limits.LOCK_WAIT.alert,
        severity=Severity.WARNING,
        expr=_over(limits.LOCK_WAIT, options),
        wait="1m",
        summary="Sessions of {{ $labels.service }} wait for a lock, for {{ $value | humanizeDuration }}",
        description=(
            "A session of {{ $labels.service }} has waited for a lock for {{ $value | humanizeDuration }}; "
            + first(
                f"max({held % 'lock_waiting_sessions'})",
                "$labels.service $labels.target",
                "{{ .Value | humanize }}",
                "some",
            )
            + " wait, in a chain of "
            + first(
                f"max({held % 'lock_chain_sessions'})",
                "$labels.service $labels.target",
                "{{ .Value | humanize }}",
                "unknown length",
            )
            + ". Their services' pools fill up with them."
        ),
        cause="They wait for: "
        + listed(
            f"max by (user, application, state) ({held % 'blocked_sessions'})",
            "$labels.service $labels.target",
            "application",
            "{{ .Labels.application }} (user {{ .Labels.user }}, {{ .Labels.state }}): {{ .Value | humanize }}",
            otherwise="unknown",
        ),
        action=limits.LOCK_WAIT.action,
        panel=limits.LOCK_WAIT.panel,
        meaning="a session has waited for a lock for longer than its threshold",
        team=Team.DBA,
        kinds=_POSTGRES,
    )


def pgbouncer_waiting(options: Options) -> Alert:
    """Build PgBouncerClientsWaiting."""
    family = "probe_pgbouncer_longest_wait_seconds"
    told = f"last_over_time(probe_pgbouncer_%s{{service=%%q,target=%%q%s}}[{options.bridge}])"
    return Alert(
        name=limits.PGBOUNCER_WAIT.alert,
        severity=Severity.WARNING,
        expr=_over(limits.PGBOUNCER_WAIT, options),
        wait="1m",
        summary=(
            "Clients of {{ $labels.service }} wait for a connection to {{ $labels.database }}, for "
            "{{ $value | humanizeDuration }}"
        ),
        description=(
            "A client of user {{ $labels.user }} has waited {{ $value | humanizeDuration }} for pgbouncer "
            "({{ $labels.target }}) to give it a server connection to {{ $labels.database }}: its pool is in use, or paused."
            " Its service stands still, and at query_wait_timeout it is refused."
        ),
        cause="Server connections: "
        + listed(
            f"max by (database, state) ({told % ('servers', ',database=%q')}) > 0",
            "$labels.service $labels.target $labels.database",
            "state",
            "{{ .Value | humanize }} {{ .Labels.state }}",
            otherwise="none",
        )
        + "; paused: "
        + listed(
            f"max by (database) ({told % ('database_paused', '')}) > 0",
            "$labels.service $labels.target",
            "database",
            "{{ .Labels.database }}",
            otherwise="none",
        ),
        action=limits.PGBOUNCER_WAIT.action,
        panel=limits.PGBOUNCER_WAIT.panel,
        meaning="a client has waited for a connection of pgbouncer for longer than its threshold",
        team=Team.DBA,
        disables=(Disable(f"promql/series({family})", "there may be no pgbouncer"),),
        kinds=_POSTGRES,
    )


def pgbouncer_clients_high(options: Options) -> Alert:
    """Build PgBouncerClientsHigh."""
    clients = f"last_over_time(probe_pgbouncer_clients{{service=%q,target=%q}}[{options.bridge}])"
    return Alert(
        name=limits.PGBOUNCER_CLIENTS_RATIO.alert,
        severity=Severity.WARNING,
        expr=_over(limits.PGBOUNCER_CLIENTS_RATIO, options),
        wait="5m",
        summary="{{ $labels.service }} runs out of connections: {{ $value | humanizePercentage }} are taken",
        description=(
            "{{ $value | humanizePercentage }} of the clients that pgbouncer ({{ $labels.target }}) lets in are connected, "
            "for 5m. With none left it refuses new ones, whatever its pools and the database have left."
        ),
        cause="Clients: "
        + listed(
            f"topk(5, sum by (database, user) (max by (database, user, state) ({clients}))) > 0",
            "$labels.service $labels.target",
            "database",
            "{{ .Value | humanize }} of {{ .Labels.user }} in {{ .Labels.database }}",
            otherwise="unknown",
        ),
        action=limits.PGBOUNCER_CLIENTS_RATIO.action,
        panel=limits.PGBOUNCER_CLIENTS_RATIO.panel,
        meaning="the share of `max_client_conn` that is connected to pgbouncer is above its threshold for 5 min",
        team=Team.DBA,
        disables=(Disable("promql/series(probe_pgbouncer_client_connections)", "there may be no pgbouncer"),),
        kinds=_POSTGRES,
    )


def replication_broken(options: Options) -> Alert:
    """Build DatabaseReplicationBroken."""
    streams = 'probe_postgres_replicas{state="streaming"}'
    unlinked = f"{highest('probe_postgres_replication_link_up', options.recent, 'target')} == 0"
    now = highest(streams, options.recent, "target")
    before = f"max by ({OWNER}, target) (max_over_time({streams}[1h]))"
    was_primary = f"min by ({OWNER}, target) (min_over_time(probe_postgres_standby[1h]))"
    demoted = f"{was_primary} < {highest('probe_postgres_standby', options.recent, 'target')}"
    return Alert(
        name="DatabaseReplicationBroken",
        severity=Severity.WARNING,
        expr=stepping_back(f"{unlinked}\nor\n({before} - {now} > 0\nunless {demoted})", options),
        wait="5m",
        summary="Replication of {{ $labels.service }} is broken",
        description=(
            "Seen from {{ $labels.target }}, for 5m: "
            "{{ if eq $value 0.0 }}this standby receives nothing from its primary{{ else }}{{ $value | humanize }} replicas "
            "fewer stream than within the last hour{{ end }}. What is read from a standby is old, and a failover would lose "
            "what it lacks."
        ),
        action="Look at the standby's log and its link to the primary",
        panel=Panel(Board.POSTGRES, 215),
        meaning="a standby has had no link to its primary for 5 min, or fewer replicas stream than within the last hour; "
        "after a switchover, those of the new primary count alone",
        team=Team.DBA,
        disables=(Disable("promql/series(probe_postgres_replication_link_up)", "only standbys have a link"),),
        kinds=_POSTGRES,
    )


def replication_lag(options: Options) -> Alert:
    """Build DatabaseReplicationLag."""
    family = "probe_postgres_replication_lag_seconds"
    return Alert(
        name=limits.REPLICATION_LAG.alert,
        severity=Severity.WARNING,
        expr=_over(limits.REPLICATION_LAG, options),
        wait="5m",
        summary="A standby of {{ $labels.service }} is {{ $value | humanizeDuration }} behind",
        description=(
            "Seen from {{ $labels.target }}, a standby of {{ $labels.service }} has been {{ $value | humanizeDuration }} "
            "behind its primary, for 5m: what is read from it is that old."
        ),
        action=limits.REPLICATION_LAG.action,
        panel=limits.REPLICATION_LAG.panel,
        meaning="what a standby shows has been older than its threshold for 5 min, as itself or its primary sees it",
        team=Team.DBA,
        disables=(
            Disable(f"promql/series({family})", "only standbys have it"),
            Disable("promql/series(probe_postgres_replica_lag_seconds)", "only those that have replicas have it"),
        ),
        kinds=_POSTGRES,
    )


def slot_inactive(options: Options) -> Alert:
    """Build DatabaseSlotInactive."""
    kept = f"last_over_time(probe_postgres_replication_slot_kept_bytes{{service=%q,target=%q,slot=%q}}[{options.bridge}])"
    return Alert(
        name="DatabaseSlotInactive",
        severity=Severity.WARNING,
        expr=stepping_back(
            f"{highest('probe_postgres_replication_slot_active', options.recent, 'target', 'slot')} == 0", options
        ),
        wait="10m",
        summary="Nobody reads from slot {{ $labels.slot }} of {{ $labels.service }}",
        description=(
            "For 10m nobody has read from replication slot {{ $labels.slot }} of {{ $labels.service }}, which keeps "
            + first(
                f"max({kept})",
                "$labels.service $labels.target $labels.slot",
                "{{ .Value | humanize1024 }}B",
                "what it has not claimed yet",
            )
            + " of WAL, and all that is written from now on: until the disk is full."
        ),
        action="Bring its reader back, or drop the slot with pg_drop_replication_slot",
        panel=Panel(Board.POSTGRES, 223),
        meaning="nobody has read from a replication slot for 10 min: WAL is kept for it without end",
        team=Team.DBA,
        disables=(Disable("promql/series(probe_postgres_replication_slot_active)", "a server may have no slots"),),
        kinds=_POSTGRES,
    )


def archiving_failing(options: Options) -> Alert:
    """Build DatabaseArchivingFailing."""
    family = "probe_postgres_wal_archive_failing"
    return Alert(
        name="DatabaseArchivingFailing",
        severity=Severity.WARNING,
        expr=stepping_back(f"{highest(family, options.recent, 'target')} == 1", options),
        wait="15m",
        summary="{{ $labels.service }} cannot archive its WAL",
        description=(
            "For 15m every try of {{ $labels.service }} to archive a file of WAL has failed, or none was made, without an "
            "archive_command: nothing written since can be restored from the archive, and all of it is kept until the disk "
            "is full."
        ),
        action="Read why archive_command fails in the server's log: space, credentials or network of the archive",
        panel=Panel(Board.POSTGRES, 266),
        meaning="the last try to archive WAL has failed, or archive_command has been empty, for 15 min",
        team=Team.DBA,
        disables=(Disable(f"promql/series({family})", "a server may archive nothing"),),
        kinds=_POSTGRES,
    )


def vacuum_overdue(options: Options) -> Alert:
    """Build DatabaseVacuumOverdue."""
    return Alert(
        name="DatabaseVacuumOverdue",
        severity=Severity.WARNING,
        expr=f"{highest('probe_postgres_tables_overdue_for_vacuum', options.recent, 'target')} > 0",
        wait="3h",
        summary="Autovacuum of {{ $labels.service }} owes {{ $value }} tables a visit",
        description=(
            "{{ $value }} tables of {{ $labels.service }} have had twice the dead rows at which autovacuum comes, for 3 h. "
            "They grow, and what reads them slows down."
        ),
        cause="Dead rows are kept for: " + _held_back(options),
        action="Look for what keeps vacuum from its work: old transactions, slots, too few workers; then VACUUM the tables",
        panel=Panel(Board.POSTGRES, 222),
        meaning="tables have had twice the dead rows at which autovacuum should have come, for 3 h",
        team=Team.DBA,
        kinds=_POSTGRES,
    )


def wraparound(options: Options) -> Alert:
    """Build DatabaseWraparound: of two counters that wrap, by the label `counter`."""
    aged = (
        f'label_replace(\n  {over(limit, options)},\n  "counter", "{counter}", "", ""\n)'
        for counter, limit in (("transactions", limits.TRANSACTION_AGE), ("multixacts", limits.MULTIXACT_AGE))
    )
    return Alert(
        name=limits.TRANSACTION_AGE.alert,
        severity=Severity.WARNING,
        expr=stepping_back("\nor\n".join(aged), options),
        wait="15m",
        summary="{{ $labels.service }} is {{ $value | humanize }} {{ $labels.counter }} from its last freeze",
        description=(
            "The oldest of the {{ $labels.counter }} of {{ $labels.service }} that is not frozen is {{ $value | humanize }} "
            "{{ $labels.counter }} old. At about 2.1G the server takes "
            '{{ if eq $labels.counter "multixacts" }}no row locks of several sessions at once any more: foreign keys fail'
            "{{ else }}no more writes{{ end }}."
        ),
        cause="Dead rows are kept for: " + _held_back(options),
        action=limits.TRANSACTION_AGE.action,
        panel=limits.TRANSACTION_AGE.panel,
        meaning="the oldest transaction or multixact that is not frozen is older than its threshold, for 15 min",
        team=Team.DBA,
        kinds=_POSTGRES,
    )


def checksum_failures(options: Options) -> Alert:
    """Build DatabaseChecksumFailures."""
    family = "probe_postgres_checksum_failures_total"
    return Alert(
        name="DatabaseChecksumFailures",
        severity=Severity.WARNING,
        expr=f"max by ({OWNER}, target) (increase({family}[1h])) > 0",
        wait="1m",
        summary="{{ $labels.service }} has read damaged blocks",
        description=(
            "Within the last hour {{ $value | humanize }} blocks of {{ $labels.service }} had a wrong checksum: data is "
            "damaged, on the disk or on the way from it."
        ),
        action="Find the table in the server's log, check the disk, and prepare to restore",
        panel=Panel(Board.POSTGRES, 219),
        meaning="blocks with a wrong checksum were read within the last hour",
        team=Team.DBA,
        disables=(Disable(f"promql/series({family})", "a server may have no checksums"),),
        kinds=_POSTGRES,
    )

"""Alerts of what services keep their data in: Kafka, PostgreSQL, Flyway."""

from __future__ import annotations

from exporter.alerts import kafka
from exporter.alerts.model import Alert, Disable, Group, Options, Severity, Team
from exporter.alerts.promql import OWNER, above, firing, highest, limit, ratio, stepping_back
from exporter.alerts.texts import first, listed

__all__ = ["groups"]

_KAFKA = frozenset({"kafka"})
_POSTGRES = frozenset({"postgres"})


def groups(options: Options) -> tuple[Group, ...]:
    """Return the groups of this file."""
    return (
        Group(
            "kafka",
            (
                lag_high(options),
                consumers_gone(options),
                kafka.consumers_stuck(options),
                kafka.offsets_ahead(options),
                kafka.lag_old(options),
                kafka.messages_lost(options),
                dead_letters(options),
                kafka.partitions_offline(options),
                kafka.broker_down(options),
                kafka.under_replicated(options),
            ),
        ),
        Group(
            "postgres",
            (
                connections_high(options),
                idle_connections(options),
                transaction_open(options),
                slow_query(options),
                lock_wait(options),
                replication_broken(options),
                replication_lag(options),
                slot_inactive(options),
                wraparound(options),
                vacuum_overdue(options),
                checksum_failures(options),
                migration_failed(options),
                migration_behind(options),
                migration_future(options),
                migration_stuck(options),
            ),
        ),
    )


# ── Kafka ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

_LAG = "probe_kafka_consumer_group_topic_lag"
_MEMBERS = "probe_kafka_consumer_group_members"
_DLQ = "probe_kafka_dlq_messages"
_END = "probe_kafka_topic_end_offset"


def lag_high(options: Options) -> Alert:
    """Build KafkaLagHigh."""
    by = f"{OWNER}, group, topic"

    def over(function: str, after: str) -> str:
        return f"max by ({by}) ({function}({_LAG}{after}))"

    newest = highest(_LAG, options.recent, "group", "topic")
    tenth = f"0.1 * {limit(f'{_LAG}_limit', options)}"
    grown = f"max by ({by}) (delta({_LAG}[5m]))"
    produced = f"max by (service, topic) (sum by (service, topic, job, instance) (delta({_END}[5m])))"
    known = f"and on ({by}) last_over_time({_LAG}[{options.recent}] offset 4m)"
    expr = f"""\
(
  {newest} > on (service) group_left () ({limit(f"{_LAG}_limit", options)})
  and {over("min_over_time", "[4m]")} > on (service) group_left () ({limit(f"{_LAG}_limit", options)})
  and {over("predict_linear", "[5m], 1800")} > 0
  {known}
)
or
(
  {newest} > on (service) group_left () ({tenth})
  and {over("min_over_time", "[5m]")} > on (service) group_left () ({tenth})
  and {over("min_over_time", "[5m]")} > {over("max_over_time", "[5m] offset 10m")}
)
or
(
  {newest} > on (service) group_left () ({tenth})
  and on ({by}) ({grown} > 0 and {grown} >= on (service, topic) group_left () (0.99 * {produced}))
  {known}
)
or
(
  {newest} > 0
  and on ({by}) {over("delta", "[2m]")} > 0
  and on (service, group) max by (service, group) (max_over_time({_MEMBERS}[2m])) == 0
)"""
    return Alert(
        name="KafkaLagHigh",
        severity=Severity.WARNING,
        expr=stepping_back(expr, options),
        wait="1m",
        hold="6m",
        summary="{{ $labels.group }} falls behind on {{ $labels.topic }}: {{ $value | humanize }} messages",
        description=(
            "Consumer group {{ $labels.group }} is {{ $value | humanize }} messages behind on {{ $labels.topic }} "
            "({{ $labels.service }}), and does not catch up."
        ),
        cause=listed(
            f"group by (cause) (last_over_time(probe_suspected_lag_cause{{service=%q,group=%q}}[{options.bridge}]))",
            "$labels.service $labels.group",
            "cause",
            '{{ reReplaceAll "_" " " .Labels.cause }}',
            otherwise="cause unknown",
        )
        + ". Members of the group: "
        + first(
            f"max(last_over_time({_MEMBERS}{{service=%q,group=%q}}[{options.bridge}]))",
            "$labels.service $labels.group",
            "{{ .Value | humanize }}",
            "unknown",
        )
        + ". Dead letters: "
        + _dead_letters(options),
        action="Check consumers, DLQ",
        panel=37,
        meaning="a group's lag on a topic is above its threshold for 5 min and not drained within 30 min as it goes; "
        "or above a tenth of it, and rises steadily, or nothing is read for 5 min; or it grows for 2 min without members",
        comment="""\
1. High, and at the present rate not drained within half an hour.
2. A tenth of that, and every value of the last 5m above every value of the 5m that ended 10m ago.
3. A tenth of that, and the lag grows as fast as the topic: nothing is read, as by a consumer that hangs.
4. The group has no member, and the lag grows.
A backlog that is being worked off is none of these. `service` is the Kafka dependency; the consumer is in `group`.""",
        kinds=_KAFKA,
    )


def _dead_letters(options: Options) -> str:
    """Say what dead-letter topics hold."""
    return listed(
        f"max by (topic) (last_over_time({_DLQ}{{service=%q}}[{options.bridge}])) > 0",
        "$labels.service",
        "topic",
        "{{ .Value | humanize }} in {{ .Labels.topic }}",
        otherwise="none",
    )


def consumers_gone(options: Options) -> Alert:
    """Build ConsumersGone."""
    none = f"max by ({OWNER}, group) (max_over_time({_MEMBERS}[{options.recent}])) == 0"
    waiting = f"sum by (service, group) (max by (service, group, topic) (last_over_time({_LAG}[{options.recent}]))) > 0"
    gone = f"{none}\nand on (service, group) {waiting}"
    return Alert(
        name="ConsumersGone",
        severity=Severity.WARNING,
        expr=f"{stepping_back(gone, options)}\n{firing('KafkaLagHigh', 'service', 'group')}",
        wait="10m",
        hold="2m",
        summary="{{ $labels.group }} has no consumers, and messages wait",
        description=(
            "Consumer group {{ $labels.group }} ({{ $labels.service }}) has had no member for 10m, and "
            + first(
                f"sum(max by (topic) (last_over_time({_LAG}{{service=%q,group=%q}}[{options.bridge}])))",
                "$labels.service $labels.group",
                "{{ .Value | humanize }}",
                "some",
            )
            + " messages wait for it."
        ),
        cause="State of the group: "
        + listed(
            "group by (state) (probe_kafka_consumer_group_state{service=%q,group=%q})",
            "$labels.service $labels.group",
            "state",
            "{{ .Labels.state }}",
            otherwise="unknown",
        ),
        action="Start the consumers; leave a group that is not used any more out by the probe's groups.exclude",
        panel=39,
        meaning="a consumer group with messages waiting has had no member for 10 min, and KafkaLagHigh does not fire",
        kinds=_KAFKA,
    )


def dead_letters(options: Options) -> Alert:
    """Build DeadLettersGrowing."""
    newest = highest(_DLQ, options.recent, "topic")
    least = f"min by ({OWNER}, topic) (min_over_time({_DLQ}[15m]))"
    # A topic that is new is there from its first message on: what it holds is what it grew by.
    expr = f"""\
(
  (
    {newest}
      unless on (service, topic) min_over_time({_DLQ}[10m] offset 5m)
      and on (service) min_over_time({_END}[10m] offset 5m)
  )
  or
  (
    {newest} - {least}
  )
)
  > on (service) group_left ()
{limit("probe_kafka_dlq_messages_increase_limit", options)}
"""
    return Alert(
        name="DeadLettersGrowing",
        severity=Severity.WARNING,
        expr=expr,
        wait="1m",
        summary="Dead letters grow: {{ $value | humanize }} more in {{ $labels.topic }}",
        description=(
            "Within 15m {{ $value | humanize }} messages more came into {{ $labels.topic }} ({{ $labels.service }}): "
            "consumers could not handle them, and nobody will try again."
        ),
        cause="Dead letters held: " + _dead_letters(options),
        action="Read the messages' headers for the exception, mend the consumer, then send them again",
        panel=88,
        meaning="a dead-letter topic grew within 15 min by more than its threshold",
        comment="A topic that is new holds what it grew by: it is made with its first message.",
        disables=(Disable(f"promql/series({_DLQ})", "there is none before the first dead letter"),),
        kinds=_KAFKA,
    )


# ── PostgreSQL and Flyway ────────────────────────────────────────────────────────────────────────────────────────────────


def connections_high(options: Options) -> Alert:
    """Build DatabaseConnectionsHigh."""
    used = (
        f"max by ({OWNER}, target) (sum by ({OWNER}, target, job, instance) "
        f"(last_over_time(probe_postgres_connections[{options.recent}])))"
    )
    most = highest("probe_postgres_usable_connections", options.recent, "target")
    return Alert(
        name="DatabaseConnectionsHigh",
        severity=Severity.WARNING,
        expr=stepping_back(above(ratio(used, most), "probe_postgres_connections_ratio_limit", options), options),
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
        action="Find out who holds them: pg_stat_activity by application_name; end idle ones, lower pool sizes",
        panel=85,
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


def _over(family: str, options: Options) -> str:
    """Hold a gauge of a database against its threshold."""
    return stepping_back(above(highest(family, options.recent, "target"), f"{family}_limit", options), options)


def idle_connections(options: Options) -> Alert:
    """Build DatabaseIdleConnections."""
    family = "probe_postgres_idle_connections_over_1h"
    return Alert(
        name="DatabaseIdleConnections",
        severity=Severity.WARNING,
        expr=_over(family, options),
        wait="15m",
        summary="{{ $labels.service }} keeps {{ $value | humanize }} connections that nobody has used for an hour",
        description="{{ $value | humanize }} sessions of {{ $labels.service }} have been idle for over an hour, for 15m.",
        cause="Held by: " + _holders("probe_postgres_client_idle_connections_over_1h", options),
        action="Kill idle connections, and find the pool that does not end them",
        panel=33,
        meaning="more sessions than the threshold have been idle for over an hour, for 15 min",
        team=Team.DBA,
        kinds=_POSTGRES,
    )


def transaction_open(options: Options) -> Alert:
    """Build DatabaseTransactionOpen."""
    family = "probe_postgres_longest_transaction_seconds"
    return Alert(
        name="DatabaseTransactionOpen",
        severity=Severity.WARNING,
        expr=_over(family, options),
        wait="1m",
        summary="A transaction of {{ $labels.service }} has been open for {{ $value | humanizeDuration }}",
        description=(
            "The oldest transaction of {{ $labels.service }} has been open for {{ $value | humanizeDuration }}: it holds "
            "its locks, and keeps vacuum from cleaning up."
        ),
        cause="Connections: " + _connections(options),
        action="Look it up in pg_stat_activity by xact_start, and end it with pg_terminate_backend if nobody needs it",
        panel=86,
        meaning="the oldest open transaction is older than its threshold",
        team=Team.DBA,
        kinds=_POSTGRES,
    )


def slow_query(options: Options) -> Alert:
    """Build DatabaseSlowQuery."""
    family = "probe_postgres_longest_query_seconds"
    return Alert(
        name="DatabaseSlowQuery",
        severity=Severity.WARNING,
        expr=f"{_over(family, options)}\n{firing('DatabaseLockWait', 'service', 'target')}",
        wait="1m",
        summary="A query of {{ $labels.service }} has been running for {{ $value | humanizeDuration }}",
        description="The longest query of {{ $labels.service }} has been running for {{ $value | humanizeDuration }}.",
        action="Check database slow queries: pg_stat_activity by query_start, then its plan and its locks",
        panel=86,
        meaning="the longest running query is older than its threshold, and DatabaseLockWait does not fire",
        team=Team.DBA,
        kinds=_POSTGRES,
    )


def lock_wait(options: Options) -> Alert:
    """Build DatabaseLockWait."""
    family = "probe_postgres_longest_lock_wait_seconds"
    held = f"last_over_time(probe_postgres_%s{{service=%%q,target=%%q}}[{options.bridge}])"
    return Alert(
        name="DatabaseLockWait",
        severity=Severity.WARNING,
        expr=_over(family, options),
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
        action="Find the session that others wait for with pg_blocking_pids, and end it if nobody needs it",
        panel=211,
        meaning="a session has waited for a lock for longer than its threshold",
        team=Team.DBA,
        kinds=_POSTGRES,
    )


def replication_broken(options: Options) -> Alert:
    """Build DatabaseReplicationBroken."""
    streams = 'probe_postgres_replicas{state="streaming"}'
    unlinked = f"{highest('probe_postgres_replication_link_up', options.recent, 'target')} == 0"
    now = highest(streams, options.recent, "target")
    before = f"max by ({OWNER}, target) (max_over_time({streams}[1h]))"
    return Alert(
        name="DatabaseReplicationBroken",
        severity=Severity.WARNING,
        expr=stepping_back(f"{unlinked}\nor\n{before} - {now} > 0", options),
        wait="5m",
        summary="Replication of {{ $labels.service }} is broken",
        description=(
            "Seen from {{ $labels.target }}, for 5m: "
            "{{ if eq $value 0.0 }}this standby receives nothing from its primary{{ else }}{{ $value | humanize }} replicas "
            "fewer stream than within the last hour{{ end }}. What is read from a standby is old, and a failover would lose "
            "what it lacks."
        ),
        action="Look at the standby's log and its link to the primary",
        panel=215,
        meaning="a standby has had no link to its primary for 5 min, or fewer replicas stream than within the last hour",
        team=Team.DBA,
        disables=(Disable("promql/series(probe_postgres_replication_link_up)", "only standbys have a link"),),
        kinds=_POSTGRES,
    )


def replication_lag(options: Options) -> Alert:
    """Build DatabaseReplicationLag."""
    family = "probe_postgres_replication_lag_seconds"
    on_standby = highest(family, options.recent, "target")
    on_primary = highest("probe_postgres_replica_lag_seconds", options.recent, "target")
    either = f"(\n  {on_standby}\n  or\n  {on_primary}\n)"
    return Alert(
        name="DatabaseReplicationLag",
        severity=Severity.WARNING,
        expr=stepping_back(above(either, f"{family}_limit", options), options),
        wait="5m",
        summary="A standby of {{ $labels.service }} is {{ $value | humanizeDuration }} behind",
        description=(
            "Seen from {{ $labels.target }}, a standby of {{ $labels.service }} has been {{ $value | humanizeDuration }} "
            "behind its primary, for 5m: what is read from it is that old."
        ),
        action="Find what holds replay up: a conflict with a query, its disk, the network",
        panel=216,
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
        panel=223,
        meaning="nobody has read from a replication slot for 10 min: WAL is kept for it without end",
        team=Team.DBA,
        disables=(Disable("promql/series(probe_postgres_replication_slot_active)", "a server may have no slots"),),
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
        cause="Connections: " + _connections(options),
        action="Look for what keeps vacuum from its work: old transactions, slots, too few workers; then VACUUM the tables",
        panel=222,
        meaning="tables have had twice the dead rows at which autovacuum should have come, for 3 h",
        team=Team.DBA,
        kinds=_POSTGRES,
    )


def wraparound(options: Options) -> Alert:
    """Build DatabaseWraparound."""
    return Alert(
        name="DatabaseWraparound",
        severity=Severity.WARNING,
        expr=_over("probe_postgres_oldest_transaction_age", options),
        wait="15m",
        summary="{{ $labels.service }} is {{ $value | humanize }} transactions from its last freeze",
        description=(
            "The oldest transaction of {{ $labels.service }} that is not frozen is {{ $value | humanize }} transactions "
            "old. At about 2.1G the server takes no more writes."
        ),
        cause="Connections: " + _connections(options),
        action="End what keeps vacuum from freezing: old transactions, slots, prepared transactions; then VACUUM FREEZE",
        panel=218,
        meaning="the oldest transaction that is not frozen is older than its threshold, for 15 min",
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
        panel=219,
        meaning="blocks with a wrong checksum were read within the last hour",
        team=Team.DBA,
        disables=(Disable(f"promql/series({family})", "a server may have no checksums"),),
        kinds=_POSTGRES,
    )


def migration_failed(options: Options) -> Alert:
    """Build MigrationFailed."""
    in_database = highest("probe_postgres_flyway_failed_migrations", options.recent, "schema", "flyway")
    in_service = highest('probe_flyway_migrations{state="FAILED"}', options.recent, "schema", "flyway")
    return Alert(
        name="MigrationFailed",
        severity=Severity.WARNING,
        expr=f"{in_database} > 0\nor\n{in_service} > 0",
        wait="1m",
        summary="A migration of {{ $labels.service }} has failed",
        description=(
            "Flyway records {{ $value | humanize }} failed migrations"
            "{{ with $labels.schema }} in schema {{ . }}{{ end }}{{ with $labels.flyway }} in {{ . }}{{ end }} of "
            "{{ $labels.service }}. A service that is started now refuses to."
        ),
        action="Mend what the migration left behind, then flywayRepair and flywayMigrate",
        panel=89,
        meaning="Flyway's history has a failed migration, by the database or by a service",
        team=Team.DBA,
        labels={"incident": "migrations"},
        comment="One failed migration is seen by the database's probe and by every service that has it: one incident.",
        disables=(
            Disable("promql/series(probe_postgres_flyway_failed_migrations)", "a database may have no Flyway history"),
            Disable("promql/series(probe_flyway_migrations)", "not every service has Flyway's endpoint"),
        ),
        kinds=_POSTGRES | {"actuator"},
    )


def migration_behind(options: Options) -> Alert:
    """Build MigrationBehind."""
    in_service = highest("probe_flyway_behind", options.recent, "schema", "flyway")
    in_database = highest("probe_postgres_flyway_behind", options.recent, "schema", "flyway")
    return Alert(
        name="MigrationBehind",
        severity=Severity.WARNING,
        expr=f"{in_service} > 0\nor\n{in_database} > 0",
        wait="10m",
        summary="The database of {{ $labels.service }} is behind its migrations",
        description=(
            "For 10m the database of {{ $labels.service }} has lacked the highest migration that "
            "{{ with $labels.schema }}is expected in schema {{ . }}{{ else }}the service brings{{ end }}: "
            "applied "
            + _version('probe_flyway_version{service=%q,flyway=%q,which="applied"}', "flyway", options)
            + _version("probe_postgres_flyway_version{service=%q,schema=%q}", "schema", options)
            + ", expected "
            + _version('probe_flyway_version{service=%q,flyway=%q,which="expected"}', "flyway", options)
            + _version("probe_postgres_flyway_expected_version{service=%q,schema=%q}", "schema", options)
            + "."
        ),
        action="Check migration status with flywayInfo, and run flywayMigrate",
        panel=89,
        meaning="a database has lacked for 10 min the highest migration of its service, or the version that is configured",
        team=Team.DBA,
        labels={"incident": "migrations"},
        disables=(
            Disable("promql/series(probe_flyway_behind)", "not every service has Flyway's endpoint"),
            Disable("promql/series(probe_postgres_flyway_behind)", "a version may be expected of no schema"),
        ),
        kinds=_POSTGRES | {"actuator"},
    )


def _version(series: str, label: str, options: Options) -> str:
    """Say which versions there are, where the alert has this label; a version that there is none of is `none`."""
    found = listed(
        f"group by (version) (last_over_time({series}[{options.bridge}]))",
        f"$labels.service $labels.{label}",
        "version",
        "{{ .Labels.version }}",
        otherwise="none",
    )
    return f"{{{{ if $labels.{label} }}}}{found}{{{{ end }}}}"


def migration_future(options: Options) -> Alert:
    """Build MigrationFuture."""
    return Alert(
        name="MigrationFuture",
        severity=Severity.WARNING,
        expr=f"{highest('probe_postgres_flyway_future_migrations', options.recent, 'schema')} > 0",
        wait="10m",
        summary="A database in {{ $labels.service }} is newer than is expected",
        description=(
            "For 10m schema {{ $labels.schema }} of {{ $labels.service }} has had {{ $value | humanize }} migrations above "
            "the version that is expected: applied "
            + _version("probe_postgres_flyway_version{service=%q,schema=%q}", "schema", options)
            + ", expected "
            + _version("probe_postgres_flyway_expected_version{service=%q,schema=%q}", "schema", options)
            + "."
        ),
        action="Roll the service forward again, or the database back; bring flyway_expected up to date",
        panel=214,
        meaning="a schema has had for 10 min migrations above the version that is configured, as after a rollback",
        team=Team.DBA,
        labels={"incident": "migrations"},
        disables=(
            Disable("promql/series(probe_postgres_flyway_future_migrations)", "a version may be expected of no schema"),
        ),
        kinds=_POSTGRES,
    )


def migration_stuck(options: Options) -> Alert:
    """Build MigrationStuck."""
    family = "probe_postgres_flyway_lock_seconds"
    return Alert(
        name="MigrationStuck",
        severity=Severity.WARNING,
        expr=stepping_back(above(highest(family, options.recent, "schema"), f"{family}_limit", options), options),
        wait="1m",
        summary="A migration in {{ $labels.service }} has held Flyway's lock for {{ $value | humanizeDuration }}",
        description=(
            "Flyway's lock{{ with $labels.schema }} on schema {{ . }}{{ end }} of {{ $labels.service }} has been held for "
            "{{ $value | humanizeDuration }}: the migration hangs, and no instance that is started gets beyond it."
        ),
        cause="Held by: "
        + listed(
            "max by (user, application, state) (last_over_time("
            f"probe_postgres_flyway_lock_held{{service=%q,schema=%q}}[{options.bridge}]))",
            "$labels.service $labels.schema",
            "application",
            "{{ .Labels.application }} (user {{ .Labels.user }}, {{ .Labels.state }})",
            otherwise="unknown",
        ),
        action="Find what the migration waits for, and end one of the two sessions",
        panel=213,
        meaning="Flyway's lock on a schema has been held for longer than its threshold",
        team=Team.DBA,
        labels={"incident": "migrations"},
        disables=(Disable(f"promql/series({family})", "nobody holds it, but for the time of a migration"),),
        kinds=_POSTGRES,
    )

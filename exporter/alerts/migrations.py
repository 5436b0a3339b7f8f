"""Alerts of Flyway: migrations that failed, that are missing, that are unknown, or that hang."""

from __future__ import annotations

from exporter.alerts.model import Alert, Disable, Options, Severity, Team
from exporter.alerts.promql import highest, over, stepping_back
from exporter.alerts.texts import listed
from exporter.boards import Board, Panel
from exporter.limits import entries as limits

__all__ = [
    "migration_behind",
    "migration_failed",
    "migration_future",
    "migration_stuck",
]

_POSTGRES = frozenset({"postgres"})


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
        panel=Panel(Board.POSTGRES, 89),
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
        panel=Panel(Board.POSTGRES, 89),
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
        panel=Panel(Board.POSTGRES, 214),
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
        name=limits.MIGRATION_LOCK.alert,
        severity=Severity.WARNING,
        expr=stepping_back(over(limits.MIGRATION_LOCK, options), options),
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
        action=limits.MIGRATION_LOCK.action,
        panel=limits.MIGRATION_LOCK.panel,
        meaning="Flyway's lock on a schema has been held for longer than its threshold",
        team=Team.DBA,
        labels={"incident": "migrations"},
        disables=(Disable(f"promql/series({family})", "nobody holds it, but for the time of a migration"),),
        kinds=_POSTGRES,
    )

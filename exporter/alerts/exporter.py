"""The exporter's own alerts: who watches the watcher."""

from __future__ import annotations

from exporter.alerts import knowledge
from exporter.alerts.model import SELF, Alert, Disable, Group, Options, Severity, Team
from exporter.alerts.promql import OWNER
from exporter.alerts.texts import first, listed
from exporter.boards import Board, Panel

__all__ = ["groups"]

_CERTIFICATE_ENDS = "probe_exporter_web_certificate_not_after_timestamp_seconds"
_CERTIFICATE_BEGINS = "probe_exporter_web_certificate_not_before_timestamp_seconds"

_ITSELF = {"service": SELF, "tier": "monitoring", "incident": SELF}
"""Labels of what is about the exporter and no service of the fleet."""


def groups(options: Options) -> tuple[Group, ...]:
    """Return the groups of this file."""
    return (
        Group(
            "exporter",
            (
                *_presence(options),
                *_sharing(options),
                config_rejected(options),
                web_config_rejected(options),
                certificate_expiring(options),
                defect(),
                restarting(options),
                clock_wrong(options),
                log_lost(),
                history_not_kept(options),
                *_schedule(options),
                watchdog(),
            ),
        ),
        knowledge.group(options),
    )


def _presence(options: Options) -> tuple[Alert, ...]:
    up = f'up{{job="{options.job}"}}'
    nothing = "Nothing that it watches is watched now. Pages of what was down stay open."
    return (
        Alert(
            name="ExporterDown",
            severity=Severity.CRITICAL,
            expr=f"max by (job) ({up}) == 0",
            wait="1m",
            summary="The exporter cannot be scraped: nothing is watched",
            description="Prometheus has not been able to scrape any exporter of job {{ $labels.job }} for 1m. " + nothing,
            cause="Not scraped: "
            + listed(f"max by (instance) ({up}) == 0", "", "instance", "{{ .Labels.instance }}", otherwise="unknown")
            + first(
                f"max by (job) (last_over_time({_CERTIFICATE_ENDS}{{job=%q}}[1d])) < time()",
                "$labels.job",
                ". The certificate that it serves has expired",
            ),
            action="Check the exporter's pod and its log",
            panel=Panel(Board.EXPORTER, 60),
            meaning="no exporter can be scraped for 1 min",
            labels=_ITSELF,
        ),
        Alert(
            name="ExporterReplicaDown",
            severity=Severity.WARNING,
            expr=f"max by (job, instance) ({up}) == 0\n  and on (job) max by (job) ({up}) == 1",
            wait="5m",
            summary="An exporter of several cannot be scraped",
            description="Prometheus has not been able to scrape {{ $labels.instance }} for 5m; others of its job answer.",
            action="Check the exporter's pod and its log",
            panel=Panel(Board.EXPORTER, 60),
            meaning="one exporter of several cannot be scraped for 5 min",
            labels=_ITSELF,
            comment="Exporters of one job watch the same: one that answers is enough. Others belong in a job of their own.",
        ),
        Alert(
            name="ExporterAbsent",
            severity=Severity.CRITICAL,
            expr=f"absent({up})",
            wait="1m",
            summary="Prometheus knows no exporter: nothing is watched",
            description=f"There has been no scrape target of job {options.job} for 1m. {nothing}",
            action="Check Prometheus' targets and its configuration",
            panel=Panel(Board.EXPORTER, 60),
            meaning="Prometheus has no target of its job for 1 min",
            labels=_ITSELF,
            comment="A target that discovery lost is not down, it is gone: `up == 0` does not see it.",
        ),
        Alert(
            name="ExporterNoTargets",
            severity=Severity.CRITICAL,
            expr=f"max by (job) (last_over_time(probe_exporter_targets[{options.recent}])) == 0",
            wait="2m",
            summary="The exporter probes nothing",
            description="The exporters of job {{ $labels.job }} have had no target for 2m. Nothing is watched now.",
            action="Check the exporter's configuration and its discovery",
            panel=Panel(Board.EXPORTER, 70),
            meaning="it probes nothing for 2 min",
            labels=_ITSELF,
        ),
    )


def _sharing(options: Options) -> tuple[Alert, ...]:
    recent = options.recent
    bridge = options.bridge
    leads = (
        f"last_over_time(probe_exporter_leader[{bridge}])\n"
        f"  and on (job, instance) last_over_time(probe_exporter_lease_transitions_total[{bridge}])"
    )
    there = f'count by (job) (count_values by (job) ("shard", last_over_time(probe_exporter_shard[{bridge}])))'
    return (
        Alert(
            name="ExporterNoLeader",
            severity=Severity.CRITICAL,
            expr=f"max by (job) (last_over_time(probe_exporter_leader[{recent}])) == 0",
            wait="1m",
            summary="No exporter leads: no verdict is exported",
            description=(
                "The exporters of job {{ $labels.job }} answer, and none of them has held their lease for 1m: none exports "
                "verdicts. Pages of what was down stay open."
            ),
            action="Check whether the exporters reach the API server and may update their Lease",
            panel=Panel(Board.EXPORTER, 78),
            meaning="exporters answer, and none has held their lease for 1 min",
            labels=_ITSELF,
            comment="One that could not renew in time exports nothing, since another may have taken over.",
        ),
        Alert(
            name="ExporterTwoLeaders",
            severity=Severity.WARNING,
            expr=f"sum by (job) (\n  {leads}\n) > 1",
            wait="2m",
            summary="Several exporters of one job lead",
            description=(
                "{{ $value }} exporters of job {{ $labels.job }} have exported verdicts side by side for 2m, though they "
                "are to share a lease."
            ),
            action="Check that all exporters of the job name the same Lease, namespace and cluster",
            panel=Panel(Board.EXPORTER, 78),
            meaning="several exporters of a job with a lease lead for 2 min",
            labels=_ITSELF,
            comment="Scrapes are not made at one moment: right after a change of hands two may seem to lead.",
        ),
        Alert(
            name="ExporterShardMissing",
            severity=Severity.CRITICAL,
            expr=f"max by (job) (last_over_time(probe_exporter_shards[{recent}]))\n  - {there}\n  > 0",
            wait="1m",
            hold="3m",
            summary="{{ $value }} of the exporter's shards {{ if eq $value 1.0 }}is{{ else }}are{{ end }} missing",
            description=(
                "Fewer shards of job {{ $labels.job }} have been scraped for 1m than there are to be: the services of those "
                "that are missing are not watched."
            ),
            cause="Not scraped: "
            + listed(
                f'max by (instance) (up{{job="{options.job}"}}) == 0', "", "instance", "{{ .Labels.instance }}",
                otherwise="none that Prometheus knows",
            ),
            action="Check the exporters' pods, and that sharing.shards.count is the number of replicas",
            panel=Panel(Board.EXPORTER, 79),
            meaning="fewer shards are scraped than there are to be, for 1 min",
            labels=_ITSELF,
        ),
    )  # fmt: skip


def config_rejected(options: Options) -> Alert:
    """Build ExporterConfigRejected."""
    loaded = f"last_over_time(probe_exporter_config_last_reload_successful[{options.recent}])"
    return Alert(
        name="ExporterConfigRejected",
        severity=Severity.WARNING,
        expr=f"min by (job, instance) ({loaded}) == 0",
        wait="2m",
        summary="The exporter rejected its configuration",
        description="The exporter at {{ $labels.instance }} keeps its old configuration, since the last reload failed.",
        action="Run hafnium-exporter config validate",
        panel=Panel(Board.EXPORTER, 93),
        meaning="the last reload failed, for 2 min",
        labels=_ITSELF,
    )


def web_config_rejected(options: Options) -> Alert:
    """Build ExporterWebConfigRejected."""
    read = f"last_over_time(probe_exporter_web_config_last_reload_successful[{options.recent}])"
    return Alert(
        name="ExporterWebConfigRejected",
        severity=Severity.WARNING,
        expr=f"min by (job, instance) ({read}) == 0",
        wait="2m",
        summary="The exporter cannot read its web configuration",
        description=(
            "The exporter at {{ $labels.instance }} serves by the certificate and the users that it read before: its web "
            "configuration file, or what that names, cannot be used."
        ),
        action="Run hafnium-exporter config check-web",
        panel=Panel(Board.EXPORTER, 94),
        meaning="the web configuration file, or a certificate or key of it, cannot be used, for 2 min",
        labels=_ITSELF,
    )


def certificate_expiring(options: Options) -> Alert:
    """Build ExporterCertificateExpiring."""
    ends, begins = (
        f"min by (job, instance) (last_over_time({series}[{options.recent}]))"
        for series in (_CERTIFICATE_ENDS, _CERTIFICATE_BEGINS)
    )
    return Alert(
        name="ExporterCertificateExpiring",
        severity=Severity.WARNING,
        expr=f"{ends} - time()\n  < clamp_max(({ends} - {begins}) / 4, 14 * 86400)",
        wait="5m",
        summary=(
            "The exporter's own certificate {{ if lt $value 0.0 }}has expired"
            "{{ else }}expires in {{ $value | humanizeDuration }}{{ end }}"
        ),
        description=(
            "The certificate that the exporter at {{ $labels.instance }} serves by its web configuration was not renewed. "
            "Once it has expired, a Prometheus that verifies it cannot scrape: nothing is watched then."
        ),
        action="Renew the certificate of its web configuration; it is served without a restart",
        panel=Panel(Board.EXPORTER, 97),
        meaning="the certificate that it serves itself has less than 14 days left, or less than a quarter of its validity",
        labels=_ITSELF,
        team=Team.SECOPS,
        comment="Before its end, since afterwards whoever verifies it hears nothing of it: ExporterDown says it then.",
        disables=(
            Disable(f"promql/series({_CERTIFICATE_ENDS})", "without TLS there is none"),
            Disable(f"promql/series({_CERTIFICATE_BEGINS})", "without TLS there is none"),
        ),
    )


def defect() -> Alert:
    """Build ExporterDefect."""
    return Alert(
        name="ExporterDefect",
        severity=Severity.WARNING,
        expr="sum by (job, instance, where) (increase(probe_exporter_defects_total[15m])) > 0",
        wait="1m",
        summary="The exporter has a defect in its part {{ $labels.where }}",
        description=(
            "The exporter at {{ $labels.instance }} raised unexpected exceptions in {{ $labels.where }} within the last "
            "15m: about {{ printf `%.0f` $value }}. They are always a bug."
        ),
        action='Report it with the exporter\'s log from "defect:" on',
        panel=Panel(Board.EXPORTER, 77),
        meaning="an unexpected exception within 15 min: always a bug",
        labels=_ITSELF,
        comment="A bug is for those who mend it, not for those who are on call: what it costs of verdicts other alerts say.",
    )


def restarting(options: Options) -> Alert:
    """Build ExporterRestarting."""
    return Alert(
        name="ExporterRestarting",
        severity=Severity.WARNING,
        expr=f'max by (job, instance) (changes(process_start_time_seconds{{job="{options.job}"}}[15m])) > 2',
        wait="1m",
        summary="The exporter starts again and again",
        description=(
            "The exporter at {{ $labels.instance }} has been started anew {{ $value }} times within 15m. Each time verdicts "
            "begin anew, and what was about to be confirmed is not."
        ),
        action="Read why it ended: its log, `kubectl describe pod` (OOMKilled, a failing probe), `journalctl`",
        panel=Panel(Board.EXPORTER, 291),
        meaning="it was started anew three times within 15 min",
        labels=_ITSELF,
        comment="Up for long enough between two ends, ExporterDown never sees it.",
    )


def clock_wrong(options: Options) -> Alert:
    """Build ExporterClockWrong."""
    return Alert(
        name="ExporterClockWrong",
        severity=Severity.WARNING,
        expr=f"max by (job, instance) ({knowledge.clock_apart(options)})",
        wait="2m",
        summary="The exporter's clock is not Prometheus'",
        description=(
            "The clocks of the exporter at {{ $labels.instance }} and of Prometheus have been "
            "{{ $value | humanizeDuration }} apart for 2m. Verdicts do not hang on it, but for certificates: whether they "
            "have expired is told by the exporter's clock."
        ),
        action="Check time synchronization (NTP) of both machines",
        panel=Panel(Board.EXPORTER, 292),
        meaning="its clock and Prometheus' are over 30 s apart, for 2 min",
        labels=_ITSELF,
        comment="Ages of what it tells are wrong by as much, so ProbeStale steps back.",
    )


def log_lost() -> Alert:
    """Build ExporterLogLost."""
    return Alert(
        name="ExporterLogLost",
        severity=Severity.WARNING,
        expr="sum by (job, instance) (increase(probe_exporter_log_lines_dropped_total[15m])) > 0",
        wait="1m",
        summary="The exporter cannot write its log",
        description=(
            "About {{ printf `%.0f` $value }} lines of the log of the exporter at {{ $labels.instance }} were lost within "
            "the last 15m. It goes on probing; what it would have said of its own faults is lost."
        ),
        action="Check the disk that its log is on, and who reads its standard error",
        panel=Panel(Board.EXPORTER, 95),
        meaning="lines of its log were lost within 15 min: a full disk, a pipe that nobody reads",
        labels=_ITSELF,
    )


def history_not_kept(options: Options) -> Alert:
    """Build ExporterHistoryNotKept."""
    written = f"last_over_time(probe_exporter_state_file_last_write_successful[{options.recent}])"
    return Alert(
        name="ExporterHistoryNotKept",
        severity=Severity.WARNING,
        expr=f"min by (job, instance) ({written}) == 0",
        wait="5m",
        summary="The exporter cannot write its history",
        description=(
            "The exporter at {{ $labels.instance }} has not been able to write the file of server.state_file for 5m. "
            "It goes on probing; when it is started anew, its pages show the availability of before the last write."
        ),
        action="Read why in the exporter's log: a full or read-only disk, rights, a file of somebody else",
        panel=Panel(Board.EXPORTER, 96),
        meaning="the file of its history could not be written for 5 min",
        labels=_ITSELF,
        comment="It is written every minute; what verdicts are held against is not in it.",
    )


def _schedule(options: Options) -> tuple[Alert, ...]:
    every, in_time, missed = (
        f"sum by ({OWNER}, probe) (rate({series}[{options.rate}]))"
        for series in (
            "probe_lateness_seconds_count",
            'probe_lateness_seconds_bucket{le="5.0"}',
            "probe_runs_missed_total",
        )
    )
    return (
        Alert(
            name="ProbeLate",
            severity=Severity.WARNING,
            expr=(
                f"({every} - {in_time} + {missed})\n  / ({every} + {missed} > 0)\n  > 0.1\n"
                'unless on () max_over_time(ALERTS{alertname="ExporterDown", alertstate="firing"}[7m])'
            ),
            wait="2m",
            summary="Probes of {{ $labels.service }} run late: {{ $value | humanizePercentage }} of them",
            description=(
                "{{ $value | humanizePercentage }} of the {{ $labels.probe }} probe's runs of {{ $labels.service }} started "
                "over 5s late or not at all."
            ),
            cause="The exporter's event loop stood still for "
            + first("max(probe_exporter_loop_lag_seconds)", "", "{{ .Value | humanizeDuration }}", "an unknown time")
            + " at the longest, lately.",
            action="Check the exporter's CPU, its caps and slow targets",
            panel=Panel(Board.EXPORTER, 61),
            meaning="over a tenth of the runs are over 5 s late or not made, for 2 min",
            comment="""\
Of all due runs, the share that started over 5s late or not at all. Those missed while the exporter was frozen or gone were
paged as ExporterDown; they are in the window for 5m more.""",
        ),
    )


def watchdog() -> Alert:
    """Build the Watchdog."""
    return Alert(
        name="Watchdog",
        severity=Severity.NONE,
        expr="vector(1)",
        hold="",
        summary="Alerts reach their receivers",
        description=(
            "This alert always fires. When it stops arriving, Prometheus, Alertmanager or the path between is broken."
        ),
        action="Nothing while it arrives; when it stops, check Prometheus and Alertmanager",
        panel=None,
        meaning="always: whoever receives it raises the alarm when it stops",
        labels=_ITSELF,
        disables=(Disable("alerts/comparison", "always firing is what it is for"),),
    )

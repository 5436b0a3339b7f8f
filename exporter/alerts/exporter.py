"""The exporter's own alerts: who watches the watcher."""

from __future__ import annotations

from exporter.alerts.model import Alert, Disable, Group, Options, Severity
from exporter.alerts.promql import OWNER, down, firing, highest, lowest
from exporter.alerts.texts import first, listed
from exporter.boards import Board, Panel

__all__ = ["SELF", "groups"]

SELF = "hafnium-exporter"
_ITSELF = {"service": SELF, "tier": "monitoring", "incident": SELF}
"""Labels of what is about the exporter and no service of the fleet."""
_OF_ALL = {"incident": SELF}
"""Labels of what one name server, or one mounted file, does to many services: one incident for all of them."""

_UNKNOWN = 'probe_unknown{probe!="kubernetes"}'
"""That the cluster cannot be seen is one alert, KubernetesBlind, and not one for each service."""

_BLIND = 'probe_unknown{probe="kubernetes",reason!="not_yet_probed"}'
"""What KubernetesBlind is made of: what else is not known for want of the API server is said by it."""

_CHECK = "Run hafnium-exporter check {{ $labels.service }}"


_NOT_BLIND = Disable(f"promql/series({_BLIND})", "there is none while the cluster is seen, or where there is none")


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
                defect(),
                restarting(options),
                clock_wrong(options),
                log_lost(),
                *_schedule(options),
                watchdog(),
            ),
        ),
        Group(
            "knowledge",
            (
                probe_unknown(options),
                service_unknown(options),
                discovery_failing(options),
                targets_not_current(options),
                stale(options),
                part_failing(options),
                never_succeeded(options),
            ),
            comment="What the exporter does not know. The later ones step back for the earlier, and all for ServiceDown.",
        ),
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
            + listed(f"max by (instance) ({up}) == 0", "", "instance", "{{ .Labels.instance }}", otherwise="unknown"),
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


def _clock(options: Options) -> str:
    """Select the exporters whose clock is not Prometheus', and by how much. When a sample was scraped only the sample itself
    knows, so what bridges lost scrapes is a subquery."""
    apart = "abs(timestamp(probe_exporter_time_seconds) - probe_exporter_time_seconds)"
    return f"last_over_time(({apart})[{options.recent}:]) > 30"


def clock_wrong(options: Options) -> Alert:
    """Build ExporterClockWrong."""
    return Alert(
        name="ExporterClockWrong",
        severity=Severity.WARNING,
        expr=f"max by (job, instance) ({_clock(options)})",
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


def probe_unknown(options: Options) -> Alert:
    """Build ProbeUnknown."""
    return Alert(
        name="ProbeUnknown",
        severity=Severity.WARNING,
        expr=(
            f"{highest(_UNKNOWN, options.recent, 'probe', 'target')} > 0\nunless on (service, probe, target) probe_success"
        ),
        wait="5m",
        summary="The exporter cannot tell whether {{ $labels.service }} is up",
        description=(
            "The {{ $labels.probe }} probe of {{ $labels.target }} ({{ $labels.service }}) has had no verdict for 5m."
        ),
        cause=listed(
            f"group by (reason) (last_over_time(probe_unknown{{service=%q,probe=%q,target=%q}}[{options.bridge}]))",
            "$labels.service $labels.probe $labels.target",
            "reason",
            "{{ .Labels.reason }}",
            otherwise="unknown",
        ),
        action="Check the exporter's own network, credentials and load",
        panel=Panel(Board.EXPORTER, 68),
        meaning="a target has had no verdict for 5 min",
        comment="The reason may change meanwhile, so it is not in the labels. A verdict known now ends it at once.",
        disables=(
            Disable('promql/series(probe_unknown{probe!="kubernetes"})', "there is none while the exporter can tell"),
        ),
    )


def service_unknown(options: Options) -> Alert:
    """Build ServiceUnknown."""
    recent = options.recent
    return Alert(
        name="ServiceUnknown",
        severity=Severity.WARNING,
        expr=f"""\
{highest("probe_service_unknown", recent)} > 0
unless on (service) probe_service_up
unless on (service) last_over_time(probe_unknown{{probe!="kubernetes"}}[{recent}])
unless on (service) last_over_time(probe_service_targets_current[{recent}]) == 0
unless on () (max(last_over_time(probe_exporter_targets[{recent}])) == 0)""",
        wait="5m",
        summary="The exporter cannot tell whether {{ $labels.service }} is up",
        description=(
            "{{ $labels.service }} has been without a verdict for 5m, and no target of it says why. ServiceDown cannot fire "
            "for it."
        ),
        cause=listed(
            f"group by (reason) (last_over_time(probe_service_unknown{{service=%q}}[{options.bridge}]))",
            "$labels.service",
            "reason",
            '{{ if eq .Labels.reason "not_discovered" }}its instances are not known (not_discovered)'
            "{{ else }}{{ .Labels.reason }}{{ end }}",
            otherwise="unknown",
        ),
        action="Check the name or source of the service's instances, and the exporter's log",
        panel=Panel(Board.EXPORTER, 71),
        meaning="a service has had no verdict for 5 min, and no target of it says why",
        labels=_OF_ALL,
        comment="""\
Where targets are unknown ProbeUnknown says so, and why; this is for services of which there is nothing to be unknown, or
whose known targets fail while there may be others, as where the API server cannot be asked. A dead name server at the
start leaves no target at all, and ExporterNoTargets says that once for all services.""",
        disables=(
            Disable("promql/series(probe_service_unknown)", "there is none while the exporter can tell"),
            Disable("promql/series(probe_unknown)", "there is none while the exporter can tell"),
        ),
    )


def discovery_failing(options: Options) -> Alert:
    """Build DiscoveryFailing."""
    recent = options.recent
    never = f'last_over_time(probe_service_unknown{{reason="not_discovered"}}[{recent}])'
    return Alert(
        name="DiscoveryFailing",
        severity=Severity.WARNING,
        expr=(
            f"{highest('probe_discovery_success', recent)} == 0\nunless on (service) {never}\n"
            f"unless on (service) last_over_time({_BLIND}[{recent}])"
        ),
        wait="5m",
        summary="The instances of {{ $labels.service }} cannot be told any more",
        description=(
            "The source of the instances of {{ $labels.service }} has not answered for 5m"
            + first(
                "time() - max(probe_discovery_last_success_timestamp_seconds{service=%q})",
                "$labels.service",
                ", last {{ .Value | humanizeDuration }} ago",
            )
            + ". Those known then"
            + first("max(probe_discovery_instances{service=%q})", "$labels.service", ", {{ .Value | humanize }},")
            + " are still probed; new ones are not seen."
        ),
        action="Check the name server that the exporter asks, and the exporter's log",
        panel=Panel(Board.EXPORTER, 72),
        meaning="the source of a service's instances, once known, has not answered for 5 min",
        labels=_OF_ALL,
        comment="""\
The instances last known are probed meanwhile, so nothing is down for it; new ones are missed. Where none was ever known,
ServiceUnknown says more; where the cluster cannot be seen, KubernetesBlind does, once for all.""",
        disables=(
            _NOT_BLIND,
            Disable("promql/series(probe_service_unknown)", "there is none while the exporter can tell"),
            Disable("promql/series(probe_discovery_success)", "instances that are listed have no source to ask"),
        ),
    )


def targets_not_current(options: Options) -> Alert:
    """Build TargetsNotCurrent."""
    return Alert(
        name="TargetsNotCurrent",
        severity=Severity.WARNING,
        expr=f"{lowest('probe_service_targets_current', options.recent)} == 0",
        wait="5m",
        summary="The exporter does not probe {{ $labels.service }} as it is configured",
        description=(
            "For 5m the targets of {{ $labels.service }} have not been those that its configuration and its instances ask "
            "for: a probe of it cannot be made, as where a certificate file is missing or broken."
        ),
        action="Read why in the exporter's log, and mend the file that it names",
        panel=Panel(Board.EXPORTER, 75),
        meaning="for 5 min a probe that is asked for cannot be made",
        labels=_OF_ALL,
        comment="A probe could not be made for a target that is asked for: it is not probed, or by the settings of before.",
    )


def _said_already(options: Options) -> str:
    """Leave out what ServiceDown, ProbeUnknown or ServiceUnknown say."""
    return (
        f"unless on (service) ({down(options)})\n"
        f"{firing('ProbeUnknown', 'service', 'probe', 'target')}\n{firing('ServiceUnknown')}"
    )


def _said_of_pod() -> str:
    """Leave out pods of which another alert says why: no image, or a crash loop, in which they run now and then."""
    problems = f"max by (service, pod) (max_over_time({_PROBLEM}[5m]))"
    return f'unless on (service, target) label_replace({problems}, "target", "$1", "pod", "(.+)")'


_PROBLEM = 'probe_kubernetes_pod_problem{reason!="other"}'
_NO_PROBLEM = Disable(f"promql/series({_PROBLEM})", "there is none while all pods run")

_FAILURES = listed(
    "sum by (stage, reason) (increase(probe_failures_total{service=%q,probe=%q,target=%q}[10m])) > 0",
    "$labels.service $labels.probe $labels.target",
    "reason",
    "{{ .Labels.reason }} in {{ .Labels.stage }}",
    otherwise="unknown",
)


def stale(options: Options) -> Alert:
    """Build ProbeStale."""
    last = highest('probe_last_success_timestamp_seconds{probe!="kubernetes"}', options.recent, "probe", "target")
    most = f"clamp_min(4 * max by (service, probe, target) (last_over_time(probe_interval_seconds[{options.recent}])), 900)"
    return Alert(
        name="ProbeStale",
        severity=Severity.WARNING,
        expr=f"""\
time() - {last}
  > on (service, probe, target) group_left () {most}
unless on () ({_clock(options)})
{_said_already(options)}
{_said_of_pod()}""",
        wait="1m",
        summary="A probe of {{ $labels.service }} has not succeeded for {{ $value | humanizeDuration }}",
        description=(
            "The {{ $labels.probe }} probe of {{ $labels.target }} ({{ $labels.service }}) last succeeded "
            "{{ $value | humanizeDuration }} ago."
        ),
        cause=_FAILURES,
        action=_CHECK,
        panel=Panel(Board.EXPORTER, 92),
        meaning="a target has not succeeded for 15 min or four intervals",
        comment="""\
Also one instance of several being down, and probes that do not decide a service's verdict; not a pod of which
PodCrashLooping or PodNotStarting tells, nor while an exporter's clock is wrong, by which ages are.""",
        disables=(_NO_PROBLEM,),
    )


def part_failing(options: Options) -> Alert:
    """Build ProbePartFailing."""
    on = "service, probe, target, part"
    refused = f'sum by ({on}) (increase(probe_part_failures_total{{probe="actuator",reason="http_status"}}[10m])) > 0'
    worked = f"max by ({on}) (max_over_time(probe_part_success[1d])) == 1"
    blind = f'label_replace(group(last_over_time({_BLIND}[{options.recent}])), "part", "secret", "", "")'
    broken = "KafkaPartitionsOffline|KafkaPartitionsUnderMinIsr|KafkaWritesFailing|KafkaBrokerDown"
    told = f'label_replace(ALERTS{{alertname=~"{broken}|KafkaCanaryFailing",alertstate="firing"}}, "part", "canary", "", "")'
    leaderless = f'sum by ({on}) (increase(probe_part_failures_total{{probe="kafka",reason="no_leader"}}[10m])) > 0'
    return Alert(
        name="ProbePartFailing",
        severity=Severity.WARNING,
        expr=f"""\
{highest("probe_part_success", options.bridge, "probe", "target", "part")} == 0
unless on (service) ({down(options)})
{firing("ProbeUnknown", "service", "probe", "target")}
unless on ({on}) ({refused} unless on ({on}) {worked})
unless on (part) {blind}
unless on (service, part) {told}
unless on ({on}) ({leaderless} and on (service) ALERTS{{alertname=~"{broken}",alertstate="firing"}})""",
        wait="10m",
        summary="Part {{ $labels.part }} of a probe of {{ $labels.service }} fails",
        description=(
            "The {{ $labels.probe }} probe of {{ $labels.target }} ({{ $labels.service }}) has not been able to read "
            "{{ $labels.part }} for 10m; what it tells is not known, and alerts over it cannot fire."
        ),
        cause=listed(
            "sum by (stage, reason) (increase(probe_part_failures_total{service=%q,target=%q,part=%q}[10m])) > 0",
            "$labels.service $labels.target $labels.part",
            "reason",
            "{{ .Labels.reason }} in {{ .Labels.stage }}",
            otherwise="unknown",
        ),
        action=_CHECK,
        panel=Panel(Board.EXPORTER, 17),
        meaning="a part of a probe that does not decide the verdict fails for 10 min; not where an application has no such "
        "endpoint",
        comment="""\
What a part tells is missing meanwhile, and rules over it are blind: lag of a group that cannot be read, a pool's
connections. An actuator endpoint that answers with an HTTP error, and has not worked within a day, is one that the
application does not have: no incident, since nobody would ever end it. That the API server does not tell a Secret is said by
KubernetesBlind; of a Kafka canary that is not written or not read, KafkaWritesFailing and KafkaCanaryFailing; and what a
broker that is gone takes with it, the alerts of Kafka's brokers and partitions.""",
        disables=(Disable("promql/series(probe_part_failures_total)", "there is none while all parts work"), _NOT_BLIND),
    )


def never_succeeded(options: Options) -> Alert:
    """Build ProbeNeverSucceeded."""
    recent = options.recent
    return Alert(
        name="ProbeNeverSucceeded",
        severity=Severity.WARNING,
        expr=f"""\
{highest('probe_interval_seconds{probe!="kubernetes"}', recent, "probe", "target")} > 0
unless on (service, probe, target) last_over_time(probe_last_success_timestamp_seconds[{recent}])
{_said_already(options)}
{_said_of_pod()}
{firing("RolloutStuck")}""",
        wait="15m",
        hold="2m",
        summary="A probe of {{ $labels.service }} has never succeeded",
        description=(
            "The {{ $labels.probe }} probe of {{ $labels.target }} ({{ $labels.service }}) has not succeeded once since the "
            "exporter started, for at least 15m."
        ),
        cause=_FAILURES,
        action="Check the target's address and credentials in the configuration",
        panel=Panel(Board.EXPORTER, 92),
        meaning="a target has not succeeded once in 15 min",
        comment="""\
No success to grow old: ProbeStale cannot see it. A new pod that never answers is what a rollout is stuck for.""",
        disables=(_NO_PROBLEM,),
    )

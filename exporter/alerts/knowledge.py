"""Alerts of what the exporter does not know: probes, targets and instances of which there is no verdict, or an old one."""

from __future__ import annotations

from exporter.alerts.model import SELF, Alert, Disable, Group, Options, Severity
from exporter.alerts.promql import down, firing, highest, lowest
from exporter.alerts.texts import first, listed
from exporter.boards import Board, Panel

__all__ = ["clock_apart", "group"]

_OF_ALL = {"incident": SELF}
"""Labels of what one name server, or one mounted file, does to many services: one incident for all of them."""

_UNKNOWN = 'probe_unknown{probe!="kubernetes"}'
"""That the cluster cannot be seen is one alert, KubernetesBlind, and not one for each service."""

_BLIND = 'probe_unknown{probe="kubernetes",reason!="not_yet_probed"}'
"""What KubernetesBlind is made of: what else is not known for want of the API server is said by it."""

_CHECK = "Run hafnium-exporter check {{ $labels.service }}"


_NOT_BLIND = Disable(f"promql/series({_BLIND})", "there is none while the cluster is seen, or where there is none")


def group(options: Options) -> Group:
    """Return the group of this file, which is part of that of the exporter's own alerts."""
    return Group(
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
    )


def clock_apart(options: Options) -> str:
    """Select the exporters whose clock is not Prometheus', and by how much. When a sample was scraped only the sample itself
    knows, so what bridges lost scrapes is a subquery."""
    apart = "abs(timestamp(probe_exporter_time_seconds) - probe_exporter_time_seconds)"
    return f"last_over_time(({apart})[{options.recent}:]) > 30"


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
unless on () ({clock_apart(options)})
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

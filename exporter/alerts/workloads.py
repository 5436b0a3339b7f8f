"""Alerts of services by the words of the cluster that they run in: pods, rollouts, autoscalers, quotas, nodes."""

from __future__ import annotations

from exporter.alerts.model import SELF, Alert, Disable, Group, Options, Severity
from exporter.alerts.promql import OWNER, highest, stepping_back
from exporter.alerts.texts import first, listed
from exporter.boards import Board, Panel

__all__ = ["groups"]

_KINDS = frozenset({"kubernetes"})
_ITSELF = {"service": SELF, "tier": "monitoring", "incident": SELF}
_IMAGE = "ImagePullBackOff|ErrImagePull|InvalidImageName|ErrImageNeverPull|RegistryUnavailable|ImageInspectError"
_NOT_CREATED = "CreateContainerConfigError|CreateContainerError|RunContainerError"


def groups(options: Options) -> tuple[Group, ...]:
    """Return the groups of this file."""
    return (
        Group(
            "pods",
            (crash_looping(options), oom_killed(options), not_starting(options), unschedulable(options)),
            comment="What ServiceDown says, with its cause, where too few instances are left, is not said again.",
        ),
        Group(
            "rollouts",
            (
                rollout_stuck(options),
                quota_blocks(options),
                autoscaler_at_limit(options),
                autoscaler_unable(options),
                node_pressure(options),
            ),
        ),
        Group("cluster", (blind(options),)),
    )


def _absent(series: str, when: str) -> tuple[Disable, ...]:
    return (Disable(f"promql/series({series})", f"there is none while {when}"),)


def _pods(reasons: str, options: Options) -> str:
    """List the pods that have such a problem."""
    return "Pods: " + listed(
        f'max by (pod, reason) (last_over_time(probe_kubernetes_pod_problem{{service=%q,reason=~"{reasons}"}}'
        f"[{options.bridge}]))",
        "$labels.service",
        "pod",
        "{{ .Labels.pod }} ({{ .Labels.reason }})",
        otherwise="unknown",
    )


def _reasons(reasons: str, options: Options) -> str:
    """Say for a title what keeps pods from running, each reason once; nothing where none is known."""
    problems = f'probe_kubernetes_pod_problem{{service=%q,reason=~"{reasons}"}}'
    return listed(
        f"group by (reason) (last_over_time({problems}[{options.bridge}]))",
        "$labels.service",
        "reason",
        "{{ .Labels.reason }}",
        around=": {}",
    )


def crash_looping(options: Options) -> Alert:
    """Build PodCrashLooping."""
    series = 'probe_kubernetes_containers_waiting{reason="CrashLoopBackOff"}'
    return Alert(
        name="PodCrashLooping",
        severity=Severity.WARNING,
        expr=stepping_back(f"max by ({OWNER}) (max_over_time({series}[5m])) > 0", options),
        wait="5m",
        summary="{{ $labels.service }} crash loops: {{ $value | humanize }} container{{ if gt $value 1.0 }}s{{ end }}",
        description=(
            "For 5m containers of {{ $labels.service }} have ended again and again, so that Kubernetes waits before it "
            "starts them anew."
        ),
        cause=_pods("CrashLoopBackOff", options)
        + ". Last end: "
        + listed(
            f"max by (container, reason) (last_over_time(probe_kubernetes_last_exit_code{{service=%q}}[{options.bridge}]))",
            "$labels.service",
            "container",
            "{{ .Labels.container }} {{ .Labels.reason }}, exit code {{ .Value | humanize }}",
            otherwise="unknown",
        ),
        action="Read the log of the process before: kubectl logs --previous",
        panel=Panel(Board.KUBERNETES, 110),
        meaning="a container waits in CrashLoopBackOff, seen at least every 5 min, for 5 min",
        comment="Between two back-offs a container runs for a moment: the window holds what was seen before.",
        disables=_absent("probe_kubernetes_containers_waiting", "no container waits"),
        kinds=_KINDS,
    )


def oom_killed(options: Options) -> Alert:
    """Build PodOomKilled."""
    kills = f"max by ({OWNER}, container) (increase(probe_kubernetes_oom_kills_total[15m]))"
    return Alert(
        name="PodOomKilled",
        severity=Severity.WARNING,
        expr=f"{kills} > 0.5",
        wait="1m",
        summary="{{ $labels.container }} of {{ $labels.service }} is killed for its memory",
        description=(
            "Container {{ $labels.container }} of {{ $labels.service }} was killed about {{ printf `%.0f` $value }} times "
            "within 15m, since it took more memory than its limit"
            + first(
                f"max(last_over_time(probe_kubernetes_memory_limit_bytes{{service=%q,container=%q}}[{options.bridge}]))",
                "$labels.service $labels.container",
                " of {{ .Value | humanize1024 }}B",
            )
            + "."
        ),
        action="Increase memory limits, look for a leak",
        panel=Panel(Board.KUBERNETES, 112),
        meaning="a container was killed for its memory within 15 min, also where no scrape saw it",
        comment="Counted by the exporter from every change of a pod: what is killed and started between two scrapes counts.",
        kinds=_KINDS,
    )


def not_starting(options: Options) -> Alert:
    """Build PodNotStarting."""
    reasons = f"{_IMAGE}|{_NOT_CREATED}"
    series = f'probe_kubernetes_containers_waiting{{reason=~"{reasons}"}}'
    return Alert(
        name="PodNotStarting",
        severity=Severity.WARNING,
        expr=stepping_back(f"max by ({OWNER}) (max_over_time({series}[{options.recent}])) > 0", options),
        wait="5m",
        summary="{{ $labels.service }} has pods that cannot start" + _reasons(reasons, options),
        description="For 5m containers of {{ $labels.service }} could not be made: no image, or something that they need.",
        cause=_pods(reasons, options),
        action="Look at the pod's events: kubectl describe pod",
        panel=Panel(Board.KUBERNETES, 110),
        meaning="a container's image cannot be had, or the container cannot be made, for 5 min",
        disables=_absent("probe_kubernetes_containers_waiting", "no container waits"),
        kinds=_KINDS,
    )


def unschedulable(options: Options) -> Alert:
    """Build PodUnschedulable."""
    return Alert(
        name="PodUnschedulable",
        severity=Severity.WARNING,
        expr=stepping_back(f"{highest('probe_kubernetes_pods_unschedulable', options.recent, 'reason')} > 0", options),
        wait="5m",
        summary="No node takes {{ $value | humanize }} pods of {{ $labels.service }}: {{ $labels.reason }}",
        description=(
            "For 5m the scheduler has found no node for {{ $value | humanize }} pods of {{ $labels.service }}. What most "
            "nodes lack: {{ $labels.reason }}."
        ),
        cause=_pods("Unschedulable", options),
        action="Look at what the scheduler says: kubectl describe pod; free or add nodes",
        panel=Panel(Board.KUBERNETES, 111),
        meaning="the scheduler finds no node for a pod for 5 min",
        disables=_absent("probe_kubernetes_pods_unschedulable", "every pod has a node"),
        kinds=_KINDS,
    )


def rollout_stuck(options: Options) -> Alert:
    """Build RolloutStuck."""
    updated, desired = (
        f'max(last_over_time(probe_kubernetes_replicas{{service=%q,workload=%q,state="{state}"}}[{options.bridge}]))'
        for state in ("updated", "desired")
    )
    both = "$labels.service $labels.workload"
    return Alert(
        name="RolloutStuck",
        severity=Severity.WARNING,
        expr=f"{highest('probe_kubernetes_rollout_stuck', options.recent, 'workload')} > 0",
        wait="1m",
        summary="The rollout of {{ $labels.workload }} is stuck" + _reasons(".+", options),
        description=(
            "The rollout of {{ $labels.workload }} ({{ $labels.service }}) has made no progress within its deadline: "
            + first(updated, both, "{{ .Value | humanize }}", "an unknown number")
            + " of "
            + first(desired, both, "{{ .Value | humanize }}", "an unknown number")
            + " pods are of the new template."
        ),
        cause=listed(
            f"max by (pod, reason) (last_over_time(probe_kubernetes_pod_problem{{service=%q}}[{options.bridge}]))",
            "$labels.service",
            "pod",
            "{{ .Labels.pod }} ({{ .Labels.reason }})",
            otherwise="no pod says why",
        ),
        action="Check what its new pods say, then kubectl rollout undo",
        panel=Panel(Board.KUBERNETES, 113),
        meaning="a Deployment has made no progress for its progressDeadlineSeconds",
        kinds=_KINDS,
    )


def quota_blocks(options: Options) -> Alert:
    """Build QuotaBlocks."""
    return Alert(
        name="QuotaBlocks",
        severity=Severity.WARNING,
        expr=f"{highest('probe_kubernetes_replica_failure', options.recent, 'workload', 'reason')} > 0",
        wait="2m",
        summary="Pods of {{ $labels.workload }} cannot be created: {{ $labels.reason }}",
        description=(
            "For 2m the API server has refused pods of {{ $labels.workload }} ({{ $labels.service }}): {{ $labels.reason }}."
        ),
        cause="Quotas that are full: "
        + listed(
            f"max by (quota, resource) (last_over_time(probe_kubernetes_quota_used_ratio{{service=%q}}[{options.bridge}]))"
            " >= 0.9",
            "$labels.service",
            "resource",
            "{{ .Labels.resource }} of {{ .Labels.quota }} {{ .Value | humanizePercentage }}",
            otherwise="none",
        ),
        action="Check the namespace's quota: kubectl describe resourcequota",
        panel=Panel(Board.KUBERNETES, 114),
        meaning="pods of a Deployment cannot be created for 2 min: its quota is used up, or admission refuses them",
        disables=_absent("probe_kubernetes_replica_failure", "pods can be created"),
        kinds=_KINDS,
    )


def autoscaler_at_limit(options: Options) -> Alert:
    """Build AutoscalerAtLimit."""
    return Alert(
        name="AutoscalerAtLimit",
        severity=Severity.WARNING,
        expr=f"{highest('probe_kubernetes_autoscaler_at_limit', options.recent, 'autoscaler')} > 0",
        wait="15m",
        hold="5m",
        summary="Autoscaler {{ $labels.autoscaler }} of {{ $labels.service }} is at its limit",
        description=(
            "For 15m {{ $labels.autoscaler }} has wanted more replicas of {{ $labels.service }} than it may have"
            + first(
                "max(last_over_time(probe_kubernetes_autoscaler_replicas"
                f'{{service=%q,autoscaler=%q,state="max"}}[{options.bridge}]))',
                "$labels.service $labels.autoscaler",
                ": {{ .Value | humanize }}",
            )
            + "."
        ),
        action="Update HPA limits, or find what the load is",
        panel=Panel(Board.KUBERNETES, 115),
        meaning="an autoscaler has wanted more replicas than its maximum for 15 min",
        kinds=_KINDS,
    )


def autoscaler_unable(options: Options) -> Alert:
    """Build AutoscalerUnable."""
    return Alert(
        name="AutoscalerUnable",
        severity=Severity.WARNING,
        expr=f"{highest('probe_kubernetes_autoscaler_unable', options.recent, 'autoscaler', 'reason')} > 0",
        wait="10m",
        summary="Autoscaler {{ $labels.autoscaler }} of {{ $labels.service }} cannot scale: {{ $labels.reason }}",
        description=(
            "For 10m {{ $labels.autoscaler }} has not been able to scale {{ $labels.service }} ({{ $labels.reason }}): it "
            "keeps the replicas that it has, whatever the load."
        ),
        action="Read its conditions: kubectl describe hpa; check metrics-server",
        panel=Panel(Board.KUBERNETES, 116),
        meaning="an autoscaler cannot scale for 10 min, as without metrics",
        disables=_absent("probe_kubernetes_autoscaler_unable", "it can scale"),
        kinds=_KINDS,
    )


def node_pressure(options: Options) -> Alert:
    """Build NodePressure."""
    series = 'probe_kubernetes_node_condition{condition!="cordoned"}'
    return Alert(
        name="NodePressure",
        severity=Severity.WARNING,
        expr=f"max by (node, condition) (last_over_time({series}[{options.recent}])) > 0",
        wait="3m",
        summary="Node {{ $labels.node }} under the fleet is not well: {{ $labels.condition }}",
        description="Node {{ $labels.node }}, on which pods of the fleet run, has said {{ $labels.condition }} for 3m.",
        cause="Services that run there: "
        + listed(
            f"group by (service) (last_over_time(probe_kubernetes_node_condition{{node=%q}}[{options.bridge}]))",
            "$labels.node",
            "service",
            "{{ .Labels.service }}",
            otherwise="unknown",
        ),
        action="Look at the node: kubectl describe node",
        panel=Panel(Board.KUBERNETES, 117),
        meaning="a node that pods of the fleet run on is not ready or under pressure for 3 min",
        labels=_ITSELF | {"service": "kubernetes", "incident": "kubernetes"},
        comment="One for each node, whatever runs there.",
        disables=_absent("probe_kubernetes_node_condition", "all nodes are well"),
        kinds=_KINDS,
    )


def blind(options: Options) -> Alert:
    """Build KubernetesBlind."""
    series = 'probe_unknown{probe="kubernetes",reason!="not_yet_probed"}'
    return Alert(
        name="KubernetesBlind",
        severity=Severity.WARNING,
        expr=f"max(last_over_time({series}[{options.recent}])) > 0",
        wait="3m",
        summary="The exporter cannot see the cluster",
        description=(
            "For 3m the API server has not told the exporter of pods. What Kubernetes knows is unknown meanwhile; instances "
            "that are known are probed as ever."
        ),
        cause=listed(
            f"group by (service, reason) (last_over_time({series}[{options.bridge}]))",
            "",
            "service",
            "{{ .Labels.service }} {{ .Labels.reason }}",
            otherwise="unknown",
        ),
        action="Check the API server, and what the exporter's service account may do",
        panel=Panel(Board.KUBERNETES, 118),
        meaning="the API server cannot be asked, or refuses, for 3 min",
        labels=_ITSELF,
        comment="One for the cluster, in place of one for each service; the reason may change meanwhile.",
        disables=_absent("probe_unknown", "the exporter can tell"),
        kinds=_KINDS,
    )

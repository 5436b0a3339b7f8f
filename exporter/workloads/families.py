"""Families of the kubernetes probe. Labels of closed lists are in Kubernetes' own words where it has them."""

from __future__ import annotations

from exporter.metrics.family import Family, counter, gauge

__all__ = ["FAMILIES"]

PODS = gauge(
    "probe_kubernetes_pods",
    "Pods by phase: pending, running, succeeded, failed, unknown; terminating are those that were told to end, whatever "
    "their phase.",
    "phase",
)
PODS_READY = gauge("probe_kubernetes_pods_ready", "Pods that are ready to serve and were not told to end.")
POD_PROBLEM = gauge(
    "probe_kubernetes_pod_problem",
    "1 for what keeps a pod from running: why a container waits, or Unschedulable; of at most 20 pods.",
    "pod",
    "reason",
)
WAITING = gauge(
    "probe_kubernetes_containers_waiting", "Containers that wait, by reason: CrashLoopBackOff, ImagePullBackOff …", "reason"
)
UNSCHEDULABLE = gauge(
    "probe_kubernetes_pods_unschedulable",
    "Pods that the scheduler finds no node for, by what most nodes lack: memory, cpu, taint, node_selector …",
    "reason",
)
RESTARTS = counter(
    "probe_kubernetes_container_restarts_total",
    "Restarts of a container, over all pods, also those that are gone.",
    "container",
)
OOM_KILLS = counter(
    "probe_kubernetes_oom_kills_total",
    "Times that a container was killed for its memory, counted from every change of its pods since they are watched.",
    "container",
)
TERMINATED = gauge(
    "probe_kubernetes_containers_last_terminated",
    "Containers by the reason of their last end, also while they run again, without init containers that did their work.",
    "reason",
)
TERMINATED_AT = gauge(
    "probe_kubernetes_last_termination_timestamp_seconds", "Unix time of the newest end of a container, by reason.", "reason"
)
EXIT_CODE = gauge(
    "probe_kubernetes_last_exit_code", "Exit code of a container's newest end, over all pods, with its reason.", "container",
    "reason",
)  # fmt: skip
MEMORY_REQUEST = gauge("probe_kubernetes_memory_request_bytes", "Memory that a container asks for.", "container")
MEMORY_LIMIT = gauge("probe_kubernetes_memory_limit_bytes", "Memory past which a container is killed.", "container")
CPU_REQUEST = gauge("probe_kubernetes_cpu_request_cores", "CPU that a container asks for.", "container")
CPU_LIMIT = gauge("probe_kubernetes_cpu_limit_cores", "CPU at which a container is throttled.", "container")
MEMORY_USED = gauge(
    "probe_kubernetes_memory_used_bytes",
    "Working set of a container, of the pod where it is highest; absent without metrics.k8s.io.",
    "container",
)
CPU_USED = gauge(
    "probe_kubernetes_cpu_used_cores",
    "CPU that a container uses, of the pod where it is highest; absent without metrics.k8s.io.",
    "container",
)
ENDPOINTS = gauge(
    "probe_kubernetes_endpoints",
    "Endpoints of Services that are these pods: ready get requests; not_ready and terminating get none.",
    "state",
)
REPLICAS = gauge(
    "probe_kubernetes_replicas",
    "Replicas of a workload: desired, current, updated (of the newest template), ready, available.",
    "workload",
    "state",
)
PROGRESSING = gauge(
    "probe_kubernetes_rollout_progressing", "1 while not all pods of a workload are new and available, 0 once they are.",
    "workload",
)  # fmt: skip
STUCK = gauge(
    "probe_kubernetes_rollout_stuck",
    "1 if the rollout of a Deployment has made no progress for its progressDeadlineSeconds, 0 if not.",
    "workload",
)
PAUSED = gauge("probe_kubernetes_rollout_paused", "1 if rollouts of a Deployment are paused, 0 if not.", "workload")
REVISION = gauge("probe_kubernetes_rollout_revision", "Revision of a Deployment, as its rollout history counts.", "workload")
CHANGED = gauge(
    "probe_kubernetes_rollout_last_progress_timestamp_seconds",
    "Unix time at which the rollout of a Deployment made progress last: of one that is done, when it was.",
    "workload",
)
REPLICA_FAILURE = gauge(
    "probe_kubernetes_replica_failure",
    "1 for why pods of a Deployment cannot be created: quota, forbidden (by admission) or other.",
    "workload",
    "reason",
)
AUTOSCALER = gauge(
    "probe_kubernetes_autoscaler_replicas", "Replicas as an autoscaler has them: current, desired, min, max.", "autoscaler",
    "state",
)  # fmt: skip
AT_LIMIT = gauge(
    "probe_kubernetes_autoscaler_at_limit",
    "1 if an autoscaler wants more replicas than its maximum, 0 if not.",
    "autoscaler",
)
UNABLE = gauge(
    "probe_kubernetes_autoscaler_unable",
    "1 for why an autoscaler cannot scale; absent while it can.",
    "autoscaler",
    "reason",
)
QUOTA_USED = gauge(
    "probe_kubernetes_quota_used_ratio", "Share of a resource of the namespace's quota that is used.", "quota", "resource"
)
DISRUPTIONS = gauge("probe_kubernetes_disruptions_allowed", "Pods that a disruption budget lets be evicted now.", "budget")
BUDGET_HEALTHY = gauge(
    "probe_kubernetes_disruption_budget_pods", "Pods as a disruption budget has them: healthy, needed, expected.", "budget",
    "state",
)  # fmt: skip
NODES = gauge("probe_kubernetes_nodes", "Nodes that the pods run on.")
NODE_TROUBLE = gauge(
    "probe_kubernetes_node_condition",
    "1 for what is wrong with a node under the pods: not_ready, memory_pressure, disk_pressure, pid_pressure, "
    "network_unavailable, cordoned; of at most 20 nodes.",
    "node",
    "condition",
)

FAMILIES: tuple[Family, ...] = (
    PODS, PODS_READY, POD_PROBLEM, WAITING, UNSCHEDULABLE, RESTARTS, OOM_KILLS, TERMINATED, TERMINATED_AT, EXIT_CODE,
    MEMORY_REQUEST, MEMORY_LIMIT, CPU_REQUEST, CPU_LIMIT, MEMORY_USED, CPU_USED, ENDPOINTS, REPLICAS, PROGRESSING, STUCK,
    PAUSED, REVISION, CHANGED, REPLICA_FAILURE, AUTOSCALER, AT_LIMIT, UNABLE, QUOTA_USED, DISRUPTIONS, BUDGET_HEALTHY,
    NODES, NODE_TROUBLE,
)  # fmt: skip
"""All of them, in the order of docs/probes/kubernetes.md."""

"""The Kubernetes dashboard: what the cluster says of the services: pods, rollouts, autoscalers, quotas, nodes."""

from __future__ import annotations

from exporter.boards import Board
from exporter.dashboards.board import Content, Row
from exporter.dashboards.panels import Panels, Query, graph
from exporter.dashboards.promql import gone_is_zero, joined, of, rate, ratio
from exporter.dashboards.queries import highest

__all__ = ["board", "pods"]


def board() -> Content:
    """Return what it shows."""
    return Content(
        Board.KUBERNETES,
        "Kubernetes",
        "What the cluster says of the services: pods and what they lack, rollouts, autoscalers, quotas, nodes.",
        (Row(108, "Pods", pods()), Row(376, "Around them", _around())),
        kinds=frozenset({"kubernetes"}),
    )


def pods() -> Panels:
    """Pods and what they lack."""
    desired = of("probe_kubernetes_replicas", 'state="desired"')
    kills = f"increase({of('probe_kubernetes_oom_kills_total')}[15m])"
    used, most = (
        f"max by (service, container) ({of(f'probe_kubernetes_memory_{name}_bytes')})" for name in ("used", "limit")
    )
    return (
        graph(
            119, "Pods ready", "Pods that are ready, those that are wanted, and endpoints that get requests.", "short",
            highest("probe_kubernetes_pods_ready", "service", says="ready"),
            Query(f"sum by (service) (max by (service, workload) ({desired}))", "{{service}} desired"),
            Query(f"max by (service) ({of('probe_kubernetes_endpoints', _READY)})", "{{service}} endpoints"),
        ),
        graph(
            110, "Containers that wait", "Containers that wait, by reason, such as CrashLoopBackOff.", "short",
            highest("probe_kubernetes_containers_waiting", "service", "reason"),
        ),
        graph(
            111, "Pods without a node", "Pods that the scheduler finds no node for, by what most nodes lack.", "short",
            highest("probe_kubernetes_pods_unschedulable", "service", "reason"),
        ),
        graph(
            112, "OOM kills", "Containers killed for their memory, within 15 minutes.", "short",
            Query(joined("service, container", kills), "{{service}} {{container}}"),
        ),
        graph(
            120, "Container restarts", "Restarts of containers, by Kubernetes' own count.", "short",
            Query(rate("service, container", of("probe_kubernetes_container_restarts_total")), "{{service}} {{container}}"),
        ),
        graph(
            121, "Memory of its limit", "Working set of a container, of the limit past which it is killed.", "percentunit",
            Query(ratio(used, most), "{{service}} {{container}}"), top=1,
        ),
    )  # fmt: skip


_READY = 'state="ready"'


def _around() -> Panels:
    current, most = (
        f"max by (service, autoscaler) ({of('probe_kubernetes_autoscaler_replicas', f'state={chr(34)}{state}{chr(34)}')})"
        for state in ("current", "max")
    )
    stuck, going = (of(f"probe_kubernetes_rollout_{name}") for name in ("stuck", "progressing"))
    blind = f"max by (service, target, reason) ({of('probe_unknown', _CLUSTER)})"
    refused = of("probe_kubernetes_replica_failure")
    return (
        graph(
            113, "Rollouts", "Rollouts that are under way, and those that make no progress.", "short",
            Query(f"max by (service, workload) ({stuck})", "{{service}} {{workload}} stuck"),
            Query(f"max by (service, workload) ({going})", "{{service}} {{workload}} under way"),
        ),
        graph(
            114, "Quotas", "Share of the quotas that is used; workloads whose pods cannot be created.", "percentunit",
            highest("probe_kubernetes_quota_used_ratio", "quota", "resource"),
            Query(f"max by (service, workload, reason) ({refused})", "{{service}} {{workload}} refused: {{reason}}"), top=1,
        ),
        graph(
            115, "Autoscalers", "Replicas, of the most that each autoscaler may make; 1 where it wants more.", "percentunit",
            Query(ratio(current, most), "{{service}} {{autoscaler}}"),
            highest("probe_kubernetes_autoscaler_at_limit", "service", "autoscaler", says="wants more"),
            top=1,
        ),
        graph(
            116, "Autoscalers that cannot scale", "Autoscalers that cannot scale, by reason.", "short",
            highest("probe_kubernetes_autoscaler_unable", "service", "autoscaler", "reason"),
        ),
        graph(
            117, "Nodes", "What is wrong with nodes that the pods run on.", "short",
            highest("probe_kubernetes_node_condition", "node", "condition"),
        ),
        graph(
            118, "Blind", "Services that the cluster says nothing of, by reason.", "short",
            Query(
                gone_is_zero(f"count by (reason) ({blind})", "reason"), "{{reason}}"
            ),
        ),
    )  # fmt: skip


_CLUSTER = 'probe="kubernetes"'

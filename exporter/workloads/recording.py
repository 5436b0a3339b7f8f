"""What is recorded of pods, workloads and what stands around them: bounded, whatever a cluster holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import islice
from typing import Protocol

from exporter.clients.kubernetes.objects.autoscalers import Autoscaler
from exporter.clients.kubernetes.objects.containers import Container, Termination
from exporter.clients.kubernetes.objects.nodes import Node
from exporter.clients.kubernetes.objects.pods import Pod, Workload
from exporter.clients.kubernetes.objects.policies import DisruptionBudget, Quota
from exporter.clients.kubernetes.objects.slices import Endpoint
from exporter.clients.kubernetes.objects.uses import PodUse
from exporter.clients.kubernetes.objects.workloads import Deployment
from exporter.clients.kubernetes.oom import OomKills
from exporter.metrics.family import Family
from exporter.workloads import families as f
from exporter.workloads.judging import alive, problem_of
from exporter.workloads.scope import Scaled
from exporter.workloads.words import (
    autoscaler_reason,
    replica_failure_reason,
    termination_reason,
    waiting_reason,
)

__all__ = [
    "MOST_NAMED", "Recorder", "record_autoscalers", "record_budgets", "record_endpoints", "record_nodes", "record_oom_kills",
    "record_pods", "record_quotas", "record_use", "record_workloads",
]  # fmt: skip

MOST_NAMED = 20
"""Pods, containers and nodes of one service that are told by name."""

_MOST = 10
"""Autoscalers, quotas and budgets of one service."""

_PHASES = ("pending", "running", "succeeded", "failed", "unknown", "terminating")
_GIVEN = (
    (f.MEMORY_REQUEST, "memory_request"), (f.MEMORY_LIMIT, "memory_limit"), (f.CPU_REQUEST, "cpu_request"),
    (f.CPU_LIMIT, "cpu_limit"),
)  # fmt: skip


class Recorder(Protocol):
    """Takes samples, as an attempt does."""

    def record(self, family: Family, value: float, *labels: str) -> None:
        """Take one."""


def record_pods(to: Recorder, pods: Sequence[Pod]) -> None:
    """Record how pods are, and their containers."""
    phases = Counter("terminating" if pod.terminating else pod.phase.lower() for pod in pods)
    for phase in _PHASES:
        to.record(f.PODS, phases[phase] if phase != "unknown" else _others(phases), phase)
    living = alive(pods)
    to.record(f.PODS_READY, sum(pod.ready for pod in living))
    problems = [(pod.name, problem) for pod in living if (problem := problem_of(pod)) is not None]
    for name, problem in problems[:MOST_NAMED]:
        to.record(f.POD_PROBLEM, 1, name, problem)
    for reason, count in Counter(pod.unschedulable.reasons[0] for pod in living if pod.unschedulable is not None).items():
        to.record(f.UNSCHEDULABLE, count, reason)
    waiting = Counter(waiting_reason(each.waiting) for pod in living for each in pod.containers if each.waiting)
    for reason, count in waiting.items():
        to.record(f.WAITING, count, reason)
    _record_ends(to, living)
    _record_given(to, living)


def record_oom_kills(to: Recorder, kills: Mapping[OomKills, int], owners: Set[Workload], pods: Iterable[Pod]) -> None:
    """Record how often containers were killed for their memory.

    Args:
        to: Where to.
        kills: What the cluster has counted.
        owners: The service's workloads.
        pods: Its pods: their containers are told with 0, so that the first kill is an increase.
    """
    names = {owner.name for owner in owners}
    found = Counter(dict.fromkeys(container_names(pods), 0))
    for killed, count in kills.items():
        if killed.workload in names:
            found[killed.container] += count
    for container, count in islice(found.items(), MOST_NAMED):
        to.record(f.OOM_KILLS, count, container)


def container_names(pods: Iterable[Pod]) -> list[str]:
    """Return the names of containers, in the order of pods; at most twenty."""
    return list(islice(dict.fromkeys(each.name for pod in pods for each in pod.containers), MOST_NAMED))


def record_workloads(to: Recorder, workloads: Iterable[Scaled]) -> None:
    """Record how far workloads are."""
    for each in workloads:
        for state, count in each.replicas._asdict().items():
            to.record(f.REPLICAS, count, each.name, state)
        to.record(f.PROGRESSING, not each.rolled_out, each.name)
        if not isinstance(each, Deployment):
            continue
        to.record(f.STUCK, each.stuck, each.name)
        to.record(f.PAUSED, each.paused, each.name)
        if each.revision is not None:
            to.record(f.REVISION, each.revision, each.name)
        if each.changed is not None:
            to.record(f.CHANGED, each.changed, each.name)
        if each.failure is not None:
            to.record(f.REPLICA_FAILURE, 1, each.name, replica_failure_reason(each.failure.message))


def record_endpoints(to: Recorder, endpoints: Iterable[Endpoint]) -> None:
    """Record who is sent requests; a pod of several Services counts once, by the worst of them."""
    by_pod: dict[str, str] = {}
    for each in endpoints:
        state = "terminating" if each.terminating else "ready" if each.ready else "not_ready"
        by_pod[each.uid] = min(by_pod.get(each.uid, state), state, key=("terminating", "not_ready", "ready").index)
    counted = Counter(by_pod.values())
    for state in ("ready", "not_ready", "terminating"):
        to.record(f.ENDPOINTS, counted[state], state)


def record_autoscalers(to: Recorder, autoscalers: Iterable[Autoscaler]) -> None:
    """Record what autoscalers want and may."""
    for each in islice(autoscalers, _MOST):
        for state, count in (("current", each.current), ("desired", each.desired), ("min", each.least), ("max", each.most)):
            to.record(f.AUTOSCALER, count, each.name, state)
        to.record(f.AT_LIMIT, each.at_limit, each.name)
        if each.unable is not None:
            to.record(f.UNABLE, 1, each.name, autoscaler_reason(each.unable.reason))


def record_quotas(to: Recorder, quotas: Iterable[Quota]) -> None:
    """Record how full the namespace's quotas are; of each the ten fullest resources. A hard limit of 0 is full."""
    for quota in islice(sorted(quotas, key=lambda each: each.name), _MOST):
        shares = {name: use.used / use.hard if use.hard > 0 else 1.0 for name, use in quota.resources.items()}
        for name in sorted(shares, key=lambda name: (-shares[name], name))[:_MOST]:
            to.record(f.QUOTA_USED, shares[name], quota.name, name)


def record_budgets(to: Recorder, budgets: Iterable[DisruptionBudget]) -> None:
    """Record what disruption budgets allow."""
    for each in islice(budgets, _MOST):
        to.record(f.DISRUPTIONS, each.allowed, each.name)
        for state, count in (("healthy", each.healthy), ("needed", each.needed), ("expected", each.expected)):
            to.record(f.BUDGET_HEALTHY, count, each.name, state)


def record_nodes(to: Recorder, nodes: Sequence[Node]) -> None:
    """Record what is wrong with nodes."""
    to.record(f.NODES, len(nodes))
    troubled = ((each, [*each.troubles, *(["cordoned"] if each.unschedulable else [])]) for each in nodes)
    for each, troubles in islice(((each, found) for each, found in troubled if found), MOST_NAMED):
        for trouble in troubles:
            to.record(f.NODE_TROUBLE, 1, each.name, trouble)


def record_use(to: Recorder, uses: Iterable[PodUse], pods: Iterable[Pod]) -> None:
    """Record what containers use: each as in the pod where it is highest."""
    names = {pod.name for pod in pods}
    memory: dict[str, float] = {}
    cpu: dict[str, float] = {}
    for use in uses:
        for each in use.containers if use.name in names else ():
            memory[each.container] = max(each.memory, memory.get(each.container, 0.0))
            cpu[each.container] = max(each.cpu, cpu.get(each.container, 0.0))
    for container in islice(memory, MOST_NAMED):
        to.record(f.MEMORY_USED, memory[container], container)
        to.record(f.CPU_USED, cpu[container], container)


def _others(phases: Counter[str]) -> int:
    return sum(count for phase, count in phases.items() if phase not in _PHASES or phase == "unknown")


def _ends(pods: Iterable[Pod]) -> Iterator[tuple[Container, Termination]]:
    for pod in pods:
        yield from ((each, each.ended) for each in pod.containers if each.ended is not None)


def _record_ends(to: Recorder, pods: Sequence[Pod]) -> None:
    newest: dict[str, float] = {}
    last: dict[str, Termination] = {}
    counted: Counter[str] = Counter()
    for container, ended in _ends(pods):
        reason, at = termination_reason(ended.reason), ended.finished or 0.0
        counted[reason] += 1
        newest[reason] = max(at, newest.get(reason, 0.0))
        if container.name not in last or at > (last[container.name].finished or 0.0):
            last[container.name] = ended
    for reason, count in counted.items():
        to.record(f.TERMINATED, count, reason)
        if newest[reason]:
            to.record(f.TERMINATED_AT, newest[reason], reason)
    for name, ended in islice(last.items(), MOST_NAMED):
        to.record(f.EXIT_CODE, ended.exit_code, name, termination_reason(ended.reason))


def _record_given(to: Recorder, pods: Sequence[Pod]) -> None:
    """Record requests and limits, as the newest pod has them."""
    given = {}
    for pod in sorted(pods, key=lambda pod: pod.created or 0.0):
        given.update({each.name: each.resources for each in pod.containers})
    for name in islice(given, MOST_NAMED):
        for family, field in _GIVEN:
            value = getattr(given[name], field)
            if value is not None:
                to.record(family, value, name)

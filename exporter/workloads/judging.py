"""How a service is, by what its pods say of themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from exporter.clients.kubernetes.objects.containers import Container
from exporter.clients.kubernetes.objects.pods import Pod
from exporter.clients.kubernetes.objects.workloads import Deployment
from exporter.verdict import Failure, Reason, Stage
from exporter.workloads.scope import Scaled
from exporter.workloads.words import CRASH_LOOP, PROBLEMS, waiting_reason

__all__ = ["UNSCHEDULABLE", "alive", "judge", "problem_of"]

UNSCHEDULABLE = "Unschedulable"


def alive(pods: Iterable[Pod]) -> list[Pod]:
    """Return the pods that serve, or are about to: neither run to their end nor told to end."""
    return [pod for pod in pods if not pod.completed and not pod.terminating]


def problem_of(pod: Pod) -> str | None:
    """Return what keeps a pod from running, of a closed list; None where nothing does that does not pass by itself."""
    if pod.unschedulable is not None:
        return UNSCHEDULABLE
    return next((waiting_reason(each.waiting) for each in pod.containers if _is_stuck(each)), None)


def judge(pods: list[Pod], workloads: list[Scaled]) -> Failure | None:
    """Return why a service is down; None where one of its pods is ready.

    Args:
        pods: Its pods.
        workloads: Its workloads, as far as they are known.
    """
    living = alive(pods)
    if any(pod.ready for pod in living):
        return None
    if not living:
        return Failure(Stage.CHECK, Reason.NO_INSTANCES, _why_none(workloads))
    problems = Counter(problem for pod in living if (problem := problem_of(pod)) is not None)
    said = ", ".join(f"{count}x {problem}" for problem, count in problems.most_common())
    detail = f"0 of {len(living)} pods ready" + (f": {said}" if said else "")
    words = next(_words(living), "")
    reason = Reason.REPORTED_DOWN if problems else Reason.STARTING
    return Failure(Stage.CHECK, reason, f"{detail}; {words}" if words else detail)


def _is_stuck(container: Container) -> bool:
    return bool(container.waiting) and waiting_reason(container.waiting) in PROBLEMS


def _why_none(workloads: list[Scaled]) -> str:
    if workloads and not any(each.replicas.desired for each in workloads):
        return f"no pod: {workloads[0].name} is scaled to zero"
    for each in workloads:
        if isinstance(each, Deployment) and each.failure is not None:
            return f"no pod: {each.failure.message}"
    return "no pod"


def _words(pods: list[Pod]) -> Iterator[str]:
    """Yield what is said of what is wrong, what says most first."""
    for pod in pods:
        if pod.unschedulable is not None:
            yield f"{pod.name}: {pod.unschedulable.message}"
        for each in pod.containers:
            if not _is_stuck(each):
                continue
            if each.waiting == CRASH_LOOP and each.ended is not None:
                ended = f"{each.ended.reason}, exit code {each.ended.exit_code}"
                yield f"{pod.name}: {each.name} ended: {ended}" + (f": {each.ended.message}" if each.ended.message else "")
            elif each.waiting_message:
                yield f"{pod.name}: {each.name}: {each.waiting_message}"

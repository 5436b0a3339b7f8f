"""What Kubernetes says of why a service is down or slow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from exporter.diagnosis import causes
from exporter.diagnosis.facts import evidence, most
from exporter.diagnosis.model import Cause, Confidence, Evidence, Member, Reading, Suspicion
from exporter.metrics.family import Family
from exporter.workloads import families as k
from exporter.workloads.words import CRASH_LOOP, IMAGE, NOT_CREATED

__all__ = ["autoscaling", "named", "of_cluster"]

RECENT = 900.0
"""Seconds for which a kill speaks for what is wrong now: three times the longest back-off of a crash loop."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")

_SICK = {"not_ready", "memory_pressure", "disk_pressure", "pid_pressure", "network_unavailable"}
"""Conditions of a node that pods suffer from; one that is cordoned takes no new ones, and serves on."""


def of_cluster(member: Member, at: float, *, excused: bool) -> Iterator[Suspicion]:
    """Yield what explains that a service is down, what comes first in a pod's life first.

    Nothing is said while the cluster cannot be seen. While some pod is ready, it is not sure that this is why.

    Args:
        member: The service.
        at: Now, Unix seconds.
        excused: Something that it needs is down: that its processes end is a symptom of that.
    """
    ready = member.highest(k.PODS_READY)
    if ready is None:
        return
    confidence = Confidence.HIGH if ready.value == 0 else Confidence.MEDIUM
    found = [*_never_there(member), *_not_created(member), *_ended(member, at, excused=excused)]
    if not found:
        found = list(_stuck(member))
    for cause, these in (*found, *_nodes(member)):
        yield Suspicion(cause, "", confidence, most(these))


def autoscaling(member: Member) -> Iterator[Suspicion]:
    """Yield what keeps a slow service from having more replicas."""
    limited = next((each for each in member.readings(k.AT_LIMIT) if each.value), None)
    if limited is not None:
        name = limited.labels.get("autoscaler", "")
        highest = member.highest(k.AUTOSCALER, autoscaler=name, state="max")
        seen = [_read(member, k.AT_LIMIT, f"autoscaler {name} at its limit", limited.value, autoscaler=name)]
        if highest is not None:
            seen.append(_read(member, k.AUTOSCALER, f"most replicas of {name}", highest.value, autoscaler=name, state="max"))
        yield Suspicion(causes.AUTOSCALER_AT_LIMIT, "", Confidence.HIGH, most(tuple(seen)))
    unable = member.highest(k.UNABLE)
    if unable is not None:
        name, reason = unable.labels.get("autoscaler", ""), unable.labels.get("reason", "")
        told = _read(member, k.UNABLE, f"autoscaler {name} cannot scale: {reason}", 1.0, autoscaler=name, reason=reason)
        yield Suspicion(causes.AUTOSCALER_UNABLE, "", Confidence.MEDIUM, (told,))


def named(member: Member) -> dict[str, str]:
    """Return what the cluster calls the workload and the autoscaler of a service, by placeholder of steps.

    Of several it is the one that is in trouble; where that is not one either, nothing is named.
    """
    workloads = {each.labels.get("workload", "") for each in member.readings(k.REPLICAS)}
    deployments = {each.labels.get("workload", "") for each in member.readings(k.STUCK)}  # told of no others
    stuck = _those(member.readings(k.STUCK), "workload") | _those(member.readings(k.REPLICA_FAILURE), "workload")
    scalers = {each.labels.get("autoscaler", "") for each in member.readings(k.AUTOSCALER)}
    troubled = _those(member.readings(k.AT_LIMIT), "autoscaler") | _those(member.readings(k.UNABLE), "autoscaler")
    found = {}
    if workload := _only(stuck or workloads):
        found["workload"] = f"{'deployment' if workload in deployments else 'statefulset'}/{workload}"
    if autoscaler := _only(troubled or scalers):
        found["autoscaler"] = autoscaler
    return found


def _those(readings: Iterable[Reading], label: str) -> set[str]:
    return {each.labels.get(label, "") for each in readings if each.value}


def _only(names: set[str]) -> str:
    """Return the name, where there is one alone and it is one that Kubernetes gives: it ends up in a shell."""
    name = next(iter(names)) if len(names) == 1 else ""
    return name if _NAME.fullmatch(name) else ""


_Found = tuple[Cause, tuple[Evidence, ...]]


def _never_there(member: Member) -> Iterator[_Found]:
    """Yield why pods are not created, or have no node."""
    desired = list(member.readings(k.REPLICAS, state="desired"))
    if desired and not any(each.value for each in desired):
        yield causes.SCALED_TO_ZERO, (_read(member, k.REPLICAS, "replicas that it should have", 0.0, state="desired"),)
        return  # what kept pods out before is said for a moment longer
    for each in member.readings(k.REPLICA_FAILURE):
        reason = each.labels.get("reason", "")
        cause = causes.QUOTA_EXCEEDED if reason == "quota" else causes.PODS_REFUSED
        yield cause, (_read(member, k.REPLICA_FAILURE, f"pods cannot be created: {reason}", 1.0, reason=reason),)
    lacking = member.highest(k.UNSCHEDULABLE)
    if lacking is not None:
        reason = lacking.labels.get("reason", "")
        text = f"pods that no node takes: {reason.replace('_', ' ')}"
        yield causes.UNSCHEDULABLE, (_read(member, k.UNSCHEDULABLE, text, lacking.value, reason=reason),)


def _not_created(member: Member) -> Iterator[_Found]:
    for cause, reasons in ((causes.IMAGE_PULL, IMAGE), (causes.CONTAINER_NOT_CREATED, NOT_CREATED)):
        seen = tuple(_waiting(member, reason) for reason in reasons)
        if any(seen):
            yield cause, tuple(each for each in seen if each is not None)


def _ended(member: Member, at: float, *, excused: bool) -> Iterator[_Found]:
    """Yield why processes end. That of one that was killed for its memory nothing else explains."""
    looping = _waiting(member, CRASH_LOOP)
    killed = member.highest(k.TERMINATED, reason="OOMKilled")
    when = member.highest(k.TERMINATED_AT, reason="OOMKilled")
    if killed is not None and (looping is not None or (when is not None and at - when.value <= RECENT)):
        seen = [_read(member, k.TERMINATED, "containers killed for their memory", killed.value, reason="OOMKilled")]
        limit = member.lowest(k.MEMORY_LIMIT)
        if limit is not None:
            name = limit.labels.get("container", "")
            seen.append(_read(member, k.MEMORY_LIMIT, f"memory limit of {name} in bytes", limit.value, container=name))
        yield causes.OOM_KILLED, (*seen, *((looping,) if looping is not None else ()))
    elif looping is not None and not excused:
        yield causes.CRASH_LOOPING, (looping, *_exit_codes(member))


def _stuck(member: Member) -> Iterator[_Found]:
    for each in member.readings(k.STUCK):
        if each.value:
            name = each.labels.get("workload", "")
            yield causes.ROLLOUT_STUCK, (_read(member, k.STUCK, f"rollout of {name} stuck", each.value, workload=name),)


def _nodes(member: Member) -> Iterator[_Found]:
    sick = [each for each in member.readings(k.NODE_TROUBLE) if each.labels.get("condition") in _SICK]
    seen = tuple(
        _read(member, k.NODE_TROUBLE, f"node {node}: {condition.replace('_', ' ')}", 1.0, node=node, condition=condition)
        for node, condition in sorted((each.labels.get("node", ""), each.labels["condition"]) for each in sick)
    )
    if seen:
        yield causes.NODE_UNWELL, seen


def _waiting(member: Member, reason: str) -> Evidence | None:
    found = member.highest(k.WAITING, reason=reason)
    return None if found is None else _read(member, k.WAITING, f"containers in {reason}", found.value, reason=reason)


def _exit_codes(member: Member) -> Iterator[Evidence]:
    for each in member.readings(k.EXIT_CODE):
        name, reason = each.labels.get("container", ""), each.labels.get("reason", "")
        if reason != "Completed" or each.value:
            text = f"exit code of {name} ({reason})"
            yield _read(member, k.EXIT_CODE, text, each.value, container=name, reason=reason)


def _read(member: Member, family: Family, text: str, value: float, **labels: str) -> Evidence:
    return evidence(text, value, family, member.name, labels)

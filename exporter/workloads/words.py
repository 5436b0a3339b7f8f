"""Closed lists of what Kubernetes says: label values that no cluster can add to."""

from __future__ import annotations

__all__ = [
    "CRASH_LOOP", "IMAGE", "NOT_CREATED", "OTHER", "PROBLEMS", "autoscaler_reason", "replica_failure_reason",
    "termination_reason", "waiting_reason",
]  # fmt: skip

OTHER = "other"

CRASH_LOOP = "CrashLoopBackOff"
IMAGE = (
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "ErrImageNeverPull",
    "RegistryUnavailable",
    "ImageInspectError",
)
"""Reasons to wait: the image cannot be had."""
NOT_CREATED = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
"""Reasons to wait: the container cannot be made, as where a ConfigMap or Secret is missing."""
_NORMAL = ("ContainerCreating", "PodInitializing")
PROBLEMS = frozenset({CRASH_LOOP, *IMAGE, *NOT_CREATED, OTHER})
"""Reasons to wait that do not pass by themselves."""

_WAITING = PROBLEMS | frozenset(_NORMAL)
_TERMINATED = frozenset({
    "OOMKilled", "Error", "Completed", "ContainerCannotRun", "StartError", "DeadlineExceeded", "Evicted",
    "ContainerStatusUnknown",
})  # fmt: skip
_UNABLE = frozenset({
    "FailedGetScale", "FailedUpdateScale", "FailedGetResourceMetric", "FailedGetContainerResourceMetric",
    "FailedGetPodsMetric", "FailedGetObjectMetric", "FailedGetExternalMetric", "FailedComputeMetricsReplicas",
    "InvalidMetricSourceType", "InvalidSelector", "AmbiguousSelector",
})  # fmt: skip


def waiting_reason(said: str) -> str:
    """Return why a container waits."""
    return said if said in _WAITING else OTHER


def termination_reason(said: str) -> str:
    """Return why a container ended."""
    return said if said in _TERMINATED else OTHER


def autoscaler_reason(said: str) -> str:
    """Return why an autoscaler cannot scale."""
    return said if said in _UNABLE else OTHER


def replica_failure_reason(message: str) -> str:
    """Return why pods cannot be created: what admission says is told in words only."""
    if "exceeded quota" in message or "failed quota" in message:
        return "quota"
    return "forbidden" if "forbidden" in message else OTHER

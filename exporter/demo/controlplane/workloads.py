"""Objects as people write them, with what the player of kubelets is to do beside them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from exporter.demo.controlplane.behaviour import annotations_of
from exporter.demo.controlplane.client import Raw

__all__ = ["PORT_NAME", "autoscaler", "deployment", "labels_of", "pod_template", "service", "stateful_set"]

CONTAINER = "app"
PORT_NAME = "management"
_NOTHING: Mapping[str, str | float] = MappingProxyType({})


def labels_of(name: str) -> dict[str, str]:
    """Return the labels of a service's pods."""
    return {"app": name, "tier": "backend"}


def pod_template(name: str, port: int = 8081, *, image: str = "", play: Mapping[str, str | float] = _NOTHING) -> Raw:
    """Return a pod template with one container; what it plays has the names of `Behaviour`."""
    container = {
        "name": CONTAINER, "image": image or f"registry.example/{name}:1.0.0",
        "ports": [{"name": PORT_NAME, "containerPort": port}],
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}},
    }  # fmt: skip
    return {
        "metadata": {"labels": labels_of(name), "annotations": annotations_of(**play)},
        "spec": {"containers": [container]},
    }


def deployment(
    name: str,
    replicas: int = 2,
    port: int = 8081,
    *,
    strategy: Raw | None = None,
    progress_deadline: int = 600,
    image: str = "",
    play: Mapping[str, str | float] = _NOTHING,
) -> Raw:
    """Return a Deployment of pods labelled `app=NAME,tier=backend`.

    Args:
        name: Its name.
        replicas: How many pods.
        port: Port of the container.
        strategy: How a rollout goes; at most one pod more than wanted, and none fewer, by default.
        progress_deadline: Seconds until a rollout without progress is stuck.
        image: Of the container.
        play: What its pods play: settings of `Behaviour`.
    """
    surge = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels_of(name)},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels_of(name)},
            "strategy": strategy or surge,
            "progressDeadlineSeconds": progress_deadline,
            "template": pod_template(name, port, image=image, play=play),
        },
    }


def stateful_set(name: str, replicas: int = 2, port: int = 8081, *, play: Mapping[str, str | float] = _NOTHING) -> Raw:
    """Return a StatefulSet of pods labelled `app=NAME,tier=backend`, all started at once."""
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "labels": labels_of(name)},
        "spec": {
            "replicas": replicas,
            "serviceName": name,
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": labels_of(name)},
            "template": pod_template(name, port, play=play),
        },
    }


def service(name: str, port: int = 8081) -> Raw:
    """Return a Service of the pods labelled `app=NAME,tier=backend`; its EndpointSlices follow."""
    ports = [{"name": PORT_NAME, "port": port, "targetPort": PORT_NAME}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels_of(name)},
        "spec": {"selector": labels_of(name), "ports": ports},
    }


def autoscaler(name: str, lowest: int, highest: int, cpu_percent: int = 50) -> Raw:
    """Return a HorizontalPodAutoscaler of a Deployment of the same name, by its pods' use of CPU."""
    target = {"type": "Utilization", "averageUtilization": cpu_percent}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": lowest,
            "maxReplicas": highest,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
    }

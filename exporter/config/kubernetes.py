"""The configuration of what is asked of a Kubernetes cluster: which one, and which pods are a service."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from exporter.clients.kubernetes.access import ClusterAccess
from exporter.clients.kubernetes.objects.selector import Selector

__all__ = ["ClusterSettings", "InstanceLabel", "KubernetesInstances", "Namespace"]

Namespace = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]

InstanceLabel = Literal["pod", "node", "zone", "revision"]

_PORT_NAME = r"^[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?$"


class ClusterSettings(ClusterAccess):
    """The cluster, and the namespace of whatever names none."""

    namespace: Namespace | None = Field(
        None, description="Namespace; default: the pod's own, or that of the kubeconfig's context, else default."
    )


def _check_selector(text: str) -> str:
    try:
        chosen = Selector.parse(text).requirements
    except ValueError:
        chosen = ()
    if not chosen:
        raise ValueError("expected a label selector, such as app=identity-service,tier in (backend,edge)")
    return text


def _check_port(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65536:
        return value
    if isinstance(value, str) and not value.isdigit() and re.fullmatch(_PORT_NAME, value):
        return value
    raise ValueError("expected a port number, or the name of a container's port")


class KubernetesInstances(ClusterSettings):
    """Pods that are the instances of a service; in the cluster and namespace of the section `kubernetes` by default."""

    selector: Annotated[str, AfterValidator(_check_selector)] = Field(
        max_length=500,
        json_schema_extra={"minLength": 1},
        description="Label selector of the pods, such as app=identity-service,tier=backend.",
    )
    port: Annotated[
        int | str,
        BeforeValidator(_check_port),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "integer", "minimum": 1, "maximum": 65535},
                    {"type": "string", "pattern": _PORT_NAME},
                ]
            }
        ),
    ] = Field(description="Where they listen: a number, or the name of a port.")
    source: Literal["pods", "endpointslices"] = Field(
        "pods",
        description="What is watched: pods, or the EndpointSlices of the Services that the selector selects; these know of "
        "named ports of Services, and of what runs outside of the cluster.",
    )
    labels: tuple[InstanceLabel, ...] = Field(
        (), max_length=4, description="What is put on the series of each instance: pod, node, zone, revision."
    )
    desired: bool = Field(
        default=False,
        description="Ask Deployments and StatefulSets how many replicas are wanted; set where min_ready needs it.",
    )

    @model_validator(mode="after")
    def _labels_are_known(self) -> KubernetesInstances:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("a label is listed twice")
        if self.source == "endpointslices" and "revision" in self.labels:
            raise ValueError("EndpointSlices do not know the revision: use source: pods")
        return self

"""What kubectl calls a service: the names that its configuration has, and no others.

They fill the steps of a cause: `kubectl` (with a context, where one is configured), `namespace`, `selector` (of its pods),
`slices` (a selector of its EndpointSlices) and `balancer` (`service/NAME`). What the cluster itself names is added by
`cluster_words.named`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from shlex import quote

from exporter.config.models import MemberSettings
from exporter.probes.kubernetes import KubernetesSettings

__all__ = ["kubectl_names"]

_SERVICE = re.compile(r"([a-z0-9][-a-z0-9]*)\.([a-z0-9][-a-z0-9]*)\.svc(?:\.cluster\.local)?\.?")
"""A DNS name that only a cluster gives: of a Service and its namespace."""


def kubectl_names(settings: MemberSettings) -> dict[str, str]:
    """Return the names by which steps are filled in, fit for a shell; empty of what is in no cluster.

    Args:
        settings: Of the service or dependency.
    """
    names: dict[str, str] = {}
    probe, pods = settings.probe_settings.get("kubernetes"), settings.instances.kubernetes
    if isinstance(probe, KubernetesSettings):
        names = _in(probe.context, probe.namespace, selector=probe.selector)
    elif pods is not None:
        kind = "selector" if pods.source == "pods" else "slices"
        names = _in(pods.context, pods.namespace, **{kind: pods.selector})
    balancers = set(_balancers(settings))
    if len(balancers) == 1:
        [(name, namespace)] = balancers
        if not names:
            names = _in(None, namespace)
        if names["namespace"] == namespace:
            names |= {"slices": f"kubernetes.io/service-name={name}", "balancer": f"service/{name}"}
    return names


def _in(context: str | None, namespace: str | None, **selectors: str | None) -> dict[str, str]:
    kubectl = "kubectl" if context is None else f"kubectl --context {quote(context)}"
    chosen = {name: quote(selector) for name, selector in selectors.items() if selector}
    return {"kubectl": kubectl, "namespace": namespace or "default", **chosen}


def _balancers(settings: MemberSettings) -> Iterator[tuple[str, str]]:
    """Yield name and namespace of the Services by whose names its instances are found."""
    hosts = (settings.instances.dns or "", *(address.host for address in settings.instances.static))
    for host in hosts:
        found = _SERVICE.fullmatch(host.lower())
        if found is not None:
            yield found[1], found[2]

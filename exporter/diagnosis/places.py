"""What kubectl calls a service, and how it is asked by hand: the names that its configuration has, and no others.

They fill the steps of a cause: `ask` (the command by which a person asks what its probe asks), `handshake` (the one that
shows its certificate), `kubectl` (with a context, where one is configured), `namespace`, `selector` (of its pods),
`slices` (a selector of its EndpointSlices) and `balancer` (`service/NAME`). What the cluster itself names is added by
`cluster_words.named`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from shlex import quote

from exporter.config.models import MemberSettings
from exporter.net.tls import handshake_command
from exporter.probes import probe_types
from exporter.probes.kubernetes import KubernetesSettings
from exporter.values import Address
from exporter.visible import visible

__all__ = ["kubectl_names", "names_of"]

_SERVICE = re.compile(r"([a-z0-9][-a-z0-9]*)\.([a-z0-9][-a-z0-9]*)\.svc(?:\.cluster\.local)?\.?")
"""A DNS name that only a cluster gives: of a Service and its namespace."""


def names_of(settings: MemberSettings) -> dict[str, str]:
    """Return all that steps are filled in with.

    Args:
        settings: Of the service or dependency.
    """
    named = kubectl_names(settings) | _by_hand(settings)
    return {name: visible(text) for name, text in named.items()}


def _by_hand(settings: MemberSettings) -> dict[str, str]:
    """Return how its first instance is asked what decides over it, or the only thing that it is asked."""
    instances = settings.instances
    if instances.static:
        address = instances.static[0]
    elif instances.dns is not None and instances.port is not None:
        address = Address(instances.dns, instances.port)
    else:
        return {}
    probes = settings.probe_settings
    kinds = sorted(probes, key=lambda kind: not probe_types()[kind].vital)
    commands = [command for kind in kinds if (command := probes[kind].by_hand(address)) is not None]
    handshake = probes["tls"].by_hand(address) if "tls" in probes else handshake_command(address, address.host)
    return {"handshake": str(handshake), **({"ask": commands[0]} if commands else {})}


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

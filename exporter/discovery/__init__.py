"""Where instances come from: a protocol, and one file for each kind of source."""

from __future__ import annotations

from exporter.config.models import Instances
from exporter.discovery.dns import DnsSource
from exporter.discovery.kubernetes import source_in
from exporter.discovery.source import Source
from exporter.discovery.static import StaticSource
from exporter.probing.probe import SharedClients

__all__ = ["source_of"]


def source_of(settings: Instances, shared: SharedClients) -> Source:
    """Make the source that a service's configuration asks for. Nothing is asked before it runs."""
    if settings.kubernetes is not None:
        cluster = shared.clusters.of(settings.kubernetes, settings.kubernetes.namespace or "default")
        return source_in(cluster, settings.kubernetes)
    if settings.dns is not None and settings.port is not None:
        return DnsSource(settings.dns, settings.port, settings.refresh, shared.resolver)
    return StaticSource(settings.static)

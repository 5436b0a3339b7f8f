"""Where instances come from: a protocol, and one file for each kind of source."""

from __future__ import annotations

from exporter.config.models import Instances
from exporter.discovery.dns import DnsSource
from exporter.discovery.source import Source
from exporter.discovery.static import StaticSource
from exporter.net.resolver import Resolver

__all__ = ["source_of"]


def source_of(settings: Instances, resolver: Resolver) -> Source:
    """Make the source that a service's configuration asks for. Nothing is asked before it runs."""
    if settings.dns is not None and settings.port is not None:
        return DnsSource(settings.dns, settings.port, settings.refresh, resolver)
    return StaticSource(settings.static)

"""When certificates end, as the tls probe records it and as limits judge it, who need no library for that."""

from __future__ import annotations

from exporter.metrics.family import gauge

__all__ = ["EXPIRY"]

EXPIRY = gauge(
    "probe_ssl_earliest_cert_expiry", "Unix time at which the first of the presented certificates expires, verified or not."
)

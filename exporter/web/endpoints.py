"""The list of endpoints, for whoever asks for one that does not exist."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ENDPOINTS", "Endpoint"]


class Endpoint(NamedTuple):
    """One endpoint, as people are told of it."""

    method: str
    path: str
    says: str


ENDPOINTS = (
    Endpoint("GET", "/", "status page"),
    Endpoint("GET", "/events", "server-sent events: the pages are out of date"),
    Endpoint("GET", "/services/{name}", "status page of one service or dependency"),
    Endpoint("GET", "/badge/{name}.svg", "how one service or dependency is, as a picture"),
    Endpoint("GET", "/embed/{name}", "the same as a page without links, for other sites: server.embed_in"),
    Endpoint("GET", "/metrics", "metrics, as Prometheus text or OpenMetrics"),
    Endpoint("GET", "/probe", "run one configured probe now: service=, probe= and, where there are several, target="),
    Endpoint("POST", "/probe/now", "the same, from the page of a service; as a page for people"),
    Endpoint("GET", "/-/healthy", "whether the exporter is alive"),
    Endpoint("GET", "/-/ready", "whether every target has been probed"),
    Endpoint("POST", "/-/reload", "read the configuration anew"),
    Endpoint("GET", "/-/lease", "what the exporter is to others that share a lease with it"),
    Endpoint("GET", "/api/v1/services", "all services and dependencies with their worst targets, as JSON"),
    Endpoint("GET", "/api/v1/services/{name}", "one service or dependency with all its targets, as JSON"),
    Endpoint("GET", "/api/v1/targets", "targets, as JSON; filters service=, probe=, verdict="),
    Endpoint("GET", "/api/v1/incidents", "what is down, by cause, as JSON"),
    Endpoint("GET", "/openapi.json", "description of the JSON API"),
)

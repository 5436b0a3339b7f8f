"""EndpointSlices: whom a Service sends its requests to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from exporter.clients.kubernetes.objects.reading import flag, integer, items, labels, mapping, required, text

__all__ = ["Endpoint", "EndpointSlice"]

SERVICE_NAME = "kubernetes.io/service-name"


class Endpoint(NamedTuple):
    """One endpoint.

    Attributes:
        address: Its IP address.
        pod: Name of the pod; empty for one that is none.
        uid: UID of the pod.
        node: Where it runs.
        zone: In which zone.
        ready: Whether it is sent requests.
        serving: Whether it would be, were it not terminating.
        terminating: Whether it was told to end.
    """

    address: str
    pod: str
    uid: str
    node: str
    zone: str
    ready: bool
    serving: bool
    terminating: bool


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    """What is kept of an EndpointSlice: a Service has one or more.

    Attributes:
        uid: Its identity.
        name: Its name.
        service: Name of the Service that it belongs to.
        labels: Its labels, among them those of the Service.
        ports: Numbers by name; the name of a Service's only port may be empty.
        endpoints: Its endpoints, as few or many as are listed.
    """

    uid: str
    name: str
    service: str
    labels: Mapping[str, str]
    ports: Mapping[str, int]
    endpoints: tuple[Endpoint, ...]

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> EndpointSlice:
        """Reduce an EndpointSlice.

        Raises:
            Malformed: It has no name or no uid.
        """
        metadata = mapping(raw, "metadata")
        own = labels(metadata, "labels")
        return cls(
            uid=required(metadata, "uid"),
            name=required(metadata, "name"),
            service=own.get(SERVICE_NAME, ""),
            labels=own,
            ports={
                text(port, "name"): integer(port, "port")
                for port in items(raw, "ports")
                if 0 < integer(port, "port") < 65536
            },
            endpoints=tuple(found for each in items(raw, "endpoints") if (found := _endpoint(each)) is not None),
        )


def _endpoint(raw: Mapping[str, Any]) -> Endpoint | None:
    addresses = raw.get("addresses")
    address = addresses[0] if isinstance(addresses, list) and addresses else None
    if not isinstance(address, str) or not address:
        return None
    conditions, target = mapping(raw, "conditions"), mapping(raw, "targetRef")
    is_pod = text(target, "kind") == "Pod"
    ready = flag(conditions, "ready", otherwise=True)  # unsaid means ready, says its documentation
    return Endpoint(
        address,
        text(target, "name") if is_pod else "",
        text(target, "uid") if is_pod else "",
        text(raw, "nodeName"),
        text(raw, "zone"),
        ready=ready,
        serving=flag(conditions, "serving", otherwise=ready),
        terminating=flag(conditions, "terminating"),
    )

"""What is shared of a cluster: one watch of each kind, for all who use it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import TracebackType
from typing import Any, NamedTuple, Protocol

from exporter.clients.kubernetes.access import ClusterAccess
from exporter.clients.kubernetes.api import Api
from exporter.verdict import Failure

__all__ = ["Cluster", "Clusters", "Kind", "OomKills", "Use"]


class Kind(StrEnum):
    """What can be watched."""

    PODS = "pods"
    ENDPOINT_SLICES = "endpointslices"
    DEPLOYMENTS = "deployments"
    STATEFUL_SETS = "statefulsets"
    REPLICA_SETS = "replicasets"
    AUTOSCALERS = "horizontalpodautoscalers"
    QUOTAS = "resourcequotas"
    DISRUPTION_BUDGETS = "poddisruptionbudgets"
    NODES = "nodes"
    SECRETS = "secrets"


class Use(Protocol):
    """Someone's use of some kinds: they are watched until it is closed. Also a context manager."""

    def close(self) -> None:
        """End it."""

    def __enter__(self) -> Use: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None: ...


class OomKills(NamedTuple):
    """Containers of one workload that the kernel killed for their memory, counted from their events."""

    workload: str
    container: str


class Cluster(Protocol):
    """One namespace of one cluster, seen through one access."""

    namespace: str
    api: Api

    def use(self, *kinds: Kind) -> Use:
        """Have kinds watched until the use is closed. The first user starts a watch, the last one ends it."""

    def objects(self, kind: Kind) -> Mapping[str, Any]:
        """Return the objects of a kind by uid, as known now, a live view; empty while they never were."""

    def failure(self, kind: Kind) -> Failure | None:
        """Return why a kind is not known as it is now, None while it is: listed, and its watch alive."""

    def age(self, kind: Kind) -> float:
        """Return the seconds since the watch gave a sign of life: a list, an event, a bookmark; infinite before."""

    def subscribe(self, kind: Kind, callback: Callable[[], None]) -> Callable[[], None]:
        """Have a callback called after objects or failure have changed, once for a burst; return what ends it."""

    @property
    def oom_kills(self) -> Mapping[OomKills, int]:
        """How many containers were killed for their memory, since pods are watched."""


class Clusters(Protocol):
    """Every cluster that is used, one `Cluster` for each access and namespace."""

    def of(self, access: ClusterAccess, namespace: str) -> Cluster:
        """Return the cluster's view of a namespace. Nothing is asked before it is used."""

    async def close(self) -> None:
        """End every watch and close every connection."""

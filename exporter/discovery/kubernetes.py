"""Instances that a Kubernetes cluster runs: pods by their labels, or the endpoints of Services."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from math import inf
from typing import Any

from exporter.clients.kubernetes.answers import blind
from exporter.clients.kubernetes.cluster import Cluster, Kind
from exporter.clients.kubernetes.followers import marks_of
from exporter.clients.kubernetes.objects.nodes import Node
from exporter.clients.kubernetes.objects.pods import Pod
from exporter.clients.kubernetes.objects.selector import Selector
from exporter.clients.kubernetes.objects.slices import Endpoint, EndpointSlice
from exporter.config.kubernetes import KubernetesInstances
from exporter.discovery.source import Discovered, Instance, Report, Source
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage

__all__ = ["EndpointSource", "PodSource", "source_in"]

PATIENCE = 8.0
"""Seconds after which it is said that the instances cannot be told yet."""

GAP = 1.0
"""Seconds between two reports: a rollout changes pods several times a second."""

SETTLE = 0.5
"""Seconds in which changes come together before they are reported: an endpoint that moves to another slice is in neither
for a moment."""

REFRESH = 15.0
"""Seconds after which it is reported again that nothing has changed: until then it is known."""

MOST_INSTANCES = 10_000
"""Instances of one service: more are rather a selector that selects too much."""

_WORKLOADS = (Kind.DEPLOYMENTS, Kind.STATEFUL_SETS)


def source_in(cluster: Cluster, settings: KubernetesInstances) -> Source:
    """Make the source of a service's instances in a cluster."""
    kind = PodSource if settings.source == "pods" else EndpointSource
    return kind(cluster, settings)


class _ClusterSource(ABC):
    """Follows one kind of object, and reports when what it means for the instances has changed.

    What an object means is made once for each change of it, so that an event costs the same however many objects there are.

    While the cluster cannot tell, what was last known stays.

    Args:
        cluster: Where.
        settings: Which objects, and what is wanted of them.
    """

    kind: Kind

    def __init__(self, cluster: Cluster, settings: KubernetesInstances) -> None:
        self._cluster = cluster
        self._settings = settings
        self._selector = Selector.parse(settings.selector)
        self._found: dict[str, Any] = {}
        self._portless: set[str] = set()
        self._zones: dict[str, str] = {}
        self._rezoned = False
        self._known: tuple[Instance, ...] = ()
        self._too_many = False
        self._wanted: int | None = None
        self._changed = asyncio.Event()
        self._stale = True

    async def run(self, report: Report) -> None:
        """Report the instances whenever they have changed, and why they cannot be told, for ever."""
        loop = asyncio.get_running_loop()
        kinds = self._kinds()
        use = self._cluster.use(*kinds)
        ends = [self._cluster.follow(self.kind, self._take, marks_of(self._selector))]
        ends += [self._cluster.follow(kind, self._take_other) for kind in kinds if kind is not self.kind]
        ends += [self._cluster.subscribe(kind, self._changed.set, objects=False) for kind in kinds]
        try:
            for kind in kinds:
                take = self._take if kind is self.kind else self._take_other
                for uid, each in self._cluster.objects(kind).items():
                    take(uid, None, each)
            await self._first(loop.time() + PATIENCE)
            last, told = None, 0.0
            while True:
                self._changed.clear()
                found = self._discovered()
                if last is None or not _same(last, found) or loop.time() - told >= REFRESH:
                    report(found)
                    last, told = found, loop.time()
                await asyncio.sleep(GAP)
                with suppress(TimeoutError):
                    async with asyncio.timeout(REFRESH):
                        await self._changed.wait()
                        await asyncio.sleep(SETTLE)
        finally:
            for end in ends:
                end()
            use.close()

    def _kinds(self) -> tuple[Kind, ...]:
        nodes = (Kind.NODES,) if "zone" in self._settings.labels and self.kind is Kind.PODS else ()
        return (self.kind, *nodes, *(_WORKLOADS if self._settings.desired else ()))

    async def _first(self, deadline: float) -> None:
        """Wait until everything was listed once or could not be: labels that come later would be other series."""
        while any(_is_unlisted(self._cluster.failure(kind)) for kind in self._kinds()):
            self._changed.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()
            except TimeoutError:
                return

    def _discovered(self) -> Discovered:
        failure = self._cluster.failure(self.kind)
        failure = blind(failure) if failure is not None else None
        if _is_unlisted(failure):
            return Discovered(self._known, failure, self._wanted, self._unsized())
        if self._rezoned:
            self._rezoned = False
            self._take_all(list(self._found))
        if self._stale:
            self._stale = False
            known = sorted(self._instances(), key=lambda instance: instance.name)
            self._known, self._too_many = tuple(known[:MOST_INSTANCES]), len(known) > MOST_INSTANCES
        self._wanted = self._desired()
        if self._portless and not self._known and failure is None:
            failure = Failure(Stage.CHECK, Reason.NOT_BUILT, f"what is selected has no port named {self._settings.port}")
        if self._too_many:
            failure = Failure(Stage.CHECK, Reason.TOO_LARGE, f"the selector selects more than {MOST_INSTANCES} instances")
        return Discovered(self._known, failure, self._wanted, self._unsized())

    def _unsized(self) -> Failure | None:
        """Return why it cannot be told how many are wanted: then it is as many as were last wanted, or as there are."""
        if not self._settings.desired:
            return None
        failure = next(filter(None, map(self._cluster.failure, _WORKLOADS)), None)
        if failure is None and self._wanted is None:
            return Failure(Stage.CHECK, Reason.NOT_BUILT, "no Deployment or StatefulSet has pods that are selected")
        return blind(failure) if failure is not None else None

    def _desired(self) -> int | None:
        """Return how many instances the workloads want that make them; what was last known where they cannot tell."""
        if not self._settings.desired:
            return None
        if any(_is_unlisted(self._cluster.failure(kind)) for kind in _WORKLOADS):
            return self._wanted
        known = [each for kind in _WORKLOADS for each in self._cluster.objects(kind).values()]
        found = [each.replicas.desired for each in known if self._selector.fits(each.template)]
        unsure = any(self._cluster.failure(kind) is not None for kind in _WORKLOADS)
        return sum(found) if found else self._wanted if unsure else None

    def _take_all(self, uids: Iterable[str]) -> None:
        objects = self._cluster.objects(self.kind)
        for uid in uids:
            self._take(uid, None, objects.get(uid))

    def _take(self, uid: str, _before: Any, now: Any) -> None:
        port, made = self._settings.port, None
        had_port = uid not in self._portless
        self._portless.discard(uid)
        if now is not None and self._selector.fits(now.labels):
            number = port if isinstance(port, int) else now.ports.get(port)
            if number is None:
                self._portless.add(uid)  # to call the service down for want of instances would be wrong
            else:
                made = self._made(now, number)
        before = self._found.get(uid)
        if made is None:
            self._found.pop(uid, None)
        else:
            self._found[uid] = made
        if self._differs(before, made):
            self._stale = True
            self._changed.set()
        elif had_port is (uid in self._portless):
            self._changed.set()

    def _take_other(self, _uid: str, before: Any, now: Any) -> None:
        """Take in that a node or a workload has changed."""
        if not isinstance(now or before, Node):
            self._changed.set()
        elif now is not None and self._zones.get(now.name) != now.zone:
            self._zones[now.name] = now.zone
            self._rezoned = True
            self._changed.set()
        elif now is None and all(pod.node != before.name for pod in self._cluster.objects(Kind.PODS).values()):
            self._zones.pop(before.name, None)

    def _differs(self, before: Any, made: Any) -> bool:
        """Say whether an object means something else than before. Readiness alone is nothing else."""
        return bool(before != made)

    @abstractmethod
    def _made(self, found: Any, port: int) -> Any:
        """Return what an object means; None where it means nothing."""

    @abstractmethod
    def _instances(self) -> Iterable[Instance]:
        """Yield the instances."""

    def _labels(self, known: Mapping[str, str]) -> dict[str, str]:
        return {name: known[name] for name in self._settings.labels if known.get(name)}


class PodSource(_ClusterSource):
    """Pods by their labels. One that has no address yet, or has run to its end, is no instance."""

    kind = Kind.PODS

    def _made(self, found: Pod, port: int) -> Instance | None:
        if not found.ip or found.completed:
            return None
        known = {"pod": found.name, "node": found.node, "revision": found.revision, "zone": self._zone(found.node)}
        return Instance(found.name, Address(found.ip, port), self._labels(known), found.ready, found.terminating, found.uid)

    def _instances(self) -> Iterable[Instance]:
        """Yield them, each name once: of two pods of one name the newer one is there, and the other is all but gone."""
        found: dict[str, Instance] = {}
        for uid, instance in self._found.items():
            other = found.get(instance.name)
            if other is None or self._created(other.uid) <= self._created(uid):
                found[instance.name] = instance
        return found.values()

    def _created(self, uid: str) -> float:
        pod = self._cluster.objects(Kind.PODS).get(uid)
        return pod.created if pod is not None and pod.created is not None else -inf

    def _zone(self, node: str) -> str:
        return self._zones.get(node, "")


class EndpointSource(_ClusterSource):
    """The endpoints of the Services whose labels are selected: an EndpointSlice has the labels of its Service."""

    kind = Kind.ENDPOINT_SLICES

    def _made(self, found: EndpointSlice, port: int) -> tuple[Instance, ...]:
        return tuple(map(self._instance_at(port), found.endpoints))

    def _instance_at(self, port: int) -> Callable[[Endpoint], Instance]:
        def made(endpoint: Endpoint) -> Instance:
            address = Address(endpoint.address, port)
            known = {"pod": endpoint.pod, "node": endpoint.node, "zone": endpoint.zone}
            name = endpoint.pod or str(address)
            return Instance(name, address, self._labels(known), endpoint.ready, endpoint.terminating, endpoint.uid)

        return made

    def _differs(self, before: Any, made: Any) -> bool:
        """Say whether an object means something else: of two endpoints of one name the one that is ready is taken."""
        return super()._differs(before, made) or [each.ready for each in before or ()] != [each.ready for each in made or ()]

    def _instances(self) -> Iterator[Instance]:
        """Yield them, each name once: while slices are rearranged, and with two IP families, an endpoint is in several."""
        found: dict[str, Instance] = {}
        for instance in (each for instances in self._found.values() for each in instances):
            other = found.get(instance.name)
            if other is None or _preference(instance) < _preference(other):
                found[instance.name] = instance
        yield from found.values()


def _preference(instance: Instance) -> tuple[bool, bool, bool, Address]:
    return instance.terminating, not instance.ready, ":" in instance.address.host, instance.address


def _is_unlisted(failure: Failure | None) -> bool:
    return failure is not None and failure.reason is Reason.NOT_YET_PROBED


def _same(before: Discovered, now: Discovered) -> bool:
    return (before.instances, before.wanted, _words(before)) == (now.instances, now.wanted, _words(now))


def _words(found: Discovered) -> tuple[str, str]:
    return str(found.failure), str(found.unsized)

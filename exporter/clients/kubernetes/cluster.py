"""What is shared of a cluster: one watch of each kind, for all who use it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from math import inf
from threading import Lock
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any

from exporter.clients.kubernetes.access import ClusterAccess, Connection
from exporter.clients.kubernetes.followers import Change, Followers, Marks
from exporter.clients.kubernetes.incluster import InCluster
from exporter.clients.kubernetes.kubeconfig import Kubeconfig
from exporter.clients.kubernetes.oom import OomCounter, OomKills
from exporter.clients.kubernetes.resources import RESOURCES, Kind
from exporter.net.resolver import Resolver
from exporter.unforeseen import Where, tell
from exporter.verdict import Failure, Reason, Stage

if TYPE_CHECKING:
    from exporter.clients.kubernetes.api import Api

__all__ = ["Change", "Cluster", "Clusters", "Kind", "OomKills", "Use"]

log = logging.getLogger(__name__)

LINGER = 10.0
"""Seconds that a watch goes on after its last user: a reload replaces users one by one."""

COALESCE = 0.02
"""Seconds in which changes come together before those are called who want to know."""


class _Watched:
    """One kind of one namespace: its objects as they are known, and who wants to know."""

    def __init__(self, api: Api, kind: Kind, namespace: str) -> None:
        self.objects: dict[str, Any] = {}
        self.failure: Failure | None = None
        self.alive_at = -inf
        self.skipped = 0
        self.users = 0
        self.callbacks: dict[object, Callable[[], None]] = {}
        self.of_failures: dict[object, Callable[[], None]] = {}
        self.followers = Followers()
        self._api = api
        self._kind = kind
        self._namespace = namespace
        self._task: asyncio.Task[None] | None = None
        self._ending: asyncio.TimerHandle | None = None
        self._telling: asyncio.TimerHandle | None = None
        self._failure_changed = False
        self._forget()

    # Users.

    def begin(self) -> None:
        """Take in one more user."""
        self.users += 1
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"watch {self._kind} in {self._namespace}")

    def end(self) -> None:
        """Take in one user less."""
        self.users -= 1
        if not self.users and self._task is not None:
            self._ending = asyncio.get_running_loop().call_later(LINGER, self._stop)

    async def close(self) -> None:
        """End the watch now."""
        task = self._task
        self._stop()
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)

    def _stop(self) -> None:
        for handle in (self._ending, self._telling):
            if handle is not None:
                handle.cancel()
        self._ending = self._telling = None
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._forget()

    def _forget(self) -> None:
        self.objects.clear()
        self.alive_at = -inf
        self.failure = Failure(Stage.INTERNAL, Reason.NOT_YET_PROBED, f"{self._kind} have not been listed yet")
        self.oom = OomCounter()

    async def _run(self) -> None:
        from exporter.clients.kubernetes.watch import ListWatch, Question  # noqa: PLC0415 - see Clusters.of

        resource = RESOURCES[self._kind]
        what = f"{resource.name} in {self._namespace}" if resource.namespaced else resource.name
        params = {"fieldSelector": resource.field_selector} if resource.field_selector else {}
        question = Question(resource.path(self._namespace), what, params)
        while True:
            try:
                await ListWatch(self._api, question, resource.reduce).run(self)
            except Exception as error:
                tell(Where.KUBERNETES, f"watching {what} failed", error)
                self.failed(Failure(Stage.INTERNAL, Reason.INTERNAL, f"unexpected {type(error).__name__}: see the log"))
            await asyncio.sleep(LINGER)

    # What the watch tells.

    def replaced(self, objects: dict[str, Any]) -> None:
        """Take in a whole list: what is not in it is gone."""
        before = dict(self.objects)
        self.objects.clear()  # the same mapping: views of it stay
        self.objects.update(objects)
        if self._kind is Kind.PODS:
            self.oom.replaced(objects)
        for uid in (*(before.keys() - objects.keys()), *objects):  # what is gone first: its name may be there again
            old, new = before.get(uid), objects.get(uid)
            if old != new:
                self._tell_change(uid, old, new)
        self._tell()

    def changed(self, uid: str, found: Any) -> None:
        """Take in an object that is new or has changed."""
        before = self.objects.get(uid)
        if before == found:
            return
        self.objects[uid] = found
        if self._kind is Kind.PODS:
            self.oom.changed(found)
        self._tell_change(uid, before, found)
        self._tell()

    def gone(self, uid: str) -> None:
        """Take in that an object is gone."""
        before = self.objects.pop(uid, None)
        self.oom.gone(uid)
        if before is not None:
            self._tell_change(uid, before, None)
            self._tell()

    def failed(self, failure: Failure) -> None:
        """Take in that what is known is not current any more."""
        if self.failure is None or (self.failure.reason, self.failure.detail) != (failure.reason, failure.detail):
            log.warning("%s in %s cannot be watched: %s", self._kind, self._namespace, failure)
            self.failure = failure
            self._failure_changed = True
            self._tell()

    def alive(self) -> None:
        """Take in a sign of life."""
        self.alive_at = asyncio.get_running_loop().time()
        if self.failure is not None:
            if self.failure.reason is not Reason.NOT_YET_PROBED:
                log.info("%s in %s are watched again", self._kind, self._namespace)
            self.failure = None
            self._failure_changed = True
            self._tell()

    def malformed(self) -> None:
        """Count an object or event that could not be read."""
        self.skipped += 1
        if self.skipped == 1:
            log.warning("%s in %s: an object cannot be read, and is skipped", self._kind, self._namespace)

    def _tell_change(self, uid: str, before: Any, now: Any) -> None:
        for change in self.followers.of(before, now):
            try:
                change(uid, before, now)
            except Exception as error:
                tell(Where.KUBERNETES, f"a change of {self._kind} in {self._namespace} could not be taken in", error)

    def _tell(self) -> None:
        if self._telling is None and (self.callbacks or self._failure_changed):
            self._telling = asyncio.get_running_loop().call_later(COALESCE, self._tell_now)

    def _tell_now(self) -> None:
        self._telling = None
        called = list(self.callbacks.values())
        if self._failure_changed:
            self._failure_changed = False
            called += self.of_failures.values()
        for callback in called:
            try:
                callback()
            except Exception as error:
                tell(Where.KUBERNETES, f"changes of {self._kind} in {self._namespace} could not be taken in", error)


class Use:
    """Someone's use of some kinds: they are watched until it is closed. Also a context manager."""

    def __init__(self, watched: list[_Watched]) -> None:
        self._watched = watched
        for each in watched:
            each.begin()

    def close(self) -> None:
        """End it; a second time changes nothing."""
        watched, self._watched = self._watched, []
        for each in watched:
            each.end()

    def __enter__(self) -> Use:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.close()


class Cluster:
    """One namespace of one cluster, seen through one access.

    Attributes:
        namespace: The namespace.
        api: The API server, for whoever asks it something else.
    """

    def __init__(self, api: Api, namespace: str) -> None:
        self.namespace = namespace
        self.api = api
        self._watched = {kind: _Watched(api, kind, namespace) for kind in Kind}

    def use(self, *kinds: Kind) -> Use:
        """Have kinds watched until the use is closed. The first user starts a watch, and it ends after the last one."""
        return Use([self._watched[kind] for kind in kinds])

    def objects(self, kind: Kind) -> Mapping[str, Any]:
        """Return the objects of a kind by uid, as they are known now, a live view; empty while they never were."""
        return MappingProxyType(self._watched[kind].objects)

    def failure(self, kind: Kind) -> Failure | None:
        """Return why a kind is not known as it is now, None while it is: listed, and its watch alive."""
        return self._watched[kind].failure

    def age(self, kind: Kind) -> float:
        """Return the seconds since the watch gave a sign of life: a list, an event, a bookmark; infinite before."""
        return asyncio.get_running_loop().time() - self._watched[kind].alive_at

    def skipped(self, kind: Kind) -> int:
        """Return how many objects and events could not be read, since the start."""
        return self._watched[kind].skipped

    def subscribe(self, kind: Kind, callback: Callable[[], None], *, objects: bool = True) -> Callable[[], None]:
        """Have a callback called after objects or failure have changed, once for a burst; return what ends it.

        Args:
            kind: Of what.
            callback: What is called.
            objects: Also where nothing but objects have changed.
        """
        watched = self._watched[kind]
        return _put(watched.callbacks if objects else watched.of_failures, callback)

    def follow(self, kind: Kind, change: Change, marks: Marks | None = None) -> Callable[[], None]:
        """Have a callback called with each change of an object, at once; return what ends it.

        Args:
            kind: Of what.
            change: What is called.
            marks: Only with objects that have these, or had; None: with all.
        """
        return self._watched[kind].followers.add(change, marks)

    @property
    def oom_kills(self) -> Mapping[OomKills, int]:
        """How many containers were killed for their memory, since pods are watched."""
        return MappingProxyType(self._watched[Kind.PODS].oom.counts)

    async def close(self) -> None:
        """End every watch."""
        for each in self._watched.values():
            await each.close()


class Clusters:
    """Every cluster that is used: one `Api` for each access, one `Cluster` for each namespace of it.

    What speaks to API servers is imported with the first of them: its HTTP library takes a fifth of a second, which the
    command line does not have where no cluster is asked.

    Args:
        resolver: Resolves the names of API servers.
    """

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._apis: dict[ClusterAccess, Api] = {}
        self._clusters: dict[tuple[ClusterAccess, str], Cluster] = {}
        self._lock = Lock()  # probes are built in a thread

    def of(self, access: ClusterAccess, namespace: str) -> Cluster:
        """Return the cluster's view of a namespace. Nothing is asked before it is used."""
        access = ClusterAccess(kubeconfig=access.kubeconfig, context=access.context)
        with self._lock:
            cluster = self._clusters.get((access, namespace))
            if cluster is None:
                api = self._apis.get(access)
                if api is None:
                    from exporter.clients.kubernetes import watch  # noqa: F401, PLC0415 - the loop has it from here
                    from exporter.clients.kubernetes.api import Api  # noqa: PLC0415 - see above

                    api = self._apis[access] = Api(_connection(access), self._resolver)
                cluster = self._clusters[access, namespace] = Cluster(api, namespace)
            return cluster

    async def prepare(self) -> None:
        """Wait until the ways to all clusters are known that are used by now; see `Api.prepare`."""
        await asyncio.gather(*(api.prepare() for api in list(self._apis.values())))

    async def close(self) -> None:
        """End every watch and close every connection."""
        for cluster in self._clusters.values():
            await cluster.close()
        for api in self._apis.values():
            await api.close()


def _connection(access: ClusterAccess) -> Connection:
    return Kubeconfig(access.kubeconfig, access.context) if access.kubeconfig is not None else InCluster()


def _put(table: dict[object, Any], callback: Callable[..., None]) -> Callable[[], None]:
    key = object()
    table[key] = callback

    def end() -> None:
        with suppress(KeyError):
            del table[key]

    return end

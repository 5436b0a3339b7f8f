"""A player of kubelets: nodes that are ready, and pods that run on them as their labels and annotations say.

It does through the API server what kubelets do: it renews the leases of all nodes with the label `kubelets.demo/played`,
tells how the pods on them are, and ends those that are to be deleted. Nothing runs but what `runtime` starts.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from types import TracebackType
from typing import Protocol, Self

from exporter.demo.controlplane.behaviour import PLAYED, Behaviour, behaviour_of
from exporter.demo.controlplane.client import MERGE, UNREACHABLE, ApiError, Client, Raw
from exporter.demo.controlplane.nodes import heartbeat, node, ready_status
from exporter.demo.controlplane.scenes import play
from exporter.demo.controlplane.status import PodStatus

__all__ = ["NODES", "Kubelets", "Runtime"]

NODES = {"node-1": "zone-a", "node-2": "zone-b", "node-3": "zone-c"}
"""Zone of each node."""

LOOPBACK = IPv4Network("127.64.0.0/10")
"""Where servers can listen on this machine; no EndpointSlice takes it."""
ELSEWHERE = IPv4Network("10.64.0.0/10")
"""Where nothing answers."""

HEARTBEAT_SECONDS = 10.0
RETRY_SECONDS = 0.2

_log = logging.getLogger(__name__)


class Runtime(Protocol):
    """What runs in a pod, if anything does."""

    async def start(self, pod: Raw, ip: str) -> None:
        """Its containers run; called once until `stop`."""

    async def stop(self, ip: str) -> None:
        """They run no more."""


@dataclass(slots=True)
class _Played:
    status: PodStatus
    raw: Raw
    behaviour: Behaviour
    task: asyncio.Task[None] | None = None
    oom_kills: int = 0
    running: bool = False
    leaving: bool = False

    @property
    def listens(self) -> bool:
        """Whether its containers run, for long enough to be there for anybody."""
        return self.status.running and self.behaviour.state.listens


class Kubelets:
    """Plays for as long as the context lasts; at its end pods and nodes stay as they are.

    Args:
        client: Not open yet; of someone who may do everything.
        nodes: Zone of each node to make; those with the label are played whoever made them.
        runtime: What runs in the pods.
        loopback: Give every pod an IP below 127.64.0.0/10, not only those that ask for it.
    """

    def __init__(
        self,
        client: Client,
        nodes: Mapping[str, str] | None = None,
        runtime: Runtime | None = None,
        *,
        loopback: bool = False,
    ) -> None:
        self._client = client
        self._wanted = dict(NODES if nodes is None else nodes)
        self._runtime = runtime
        self._loopback = loopback
        self._nodes: dict[str, str] = {}
        self._conditions: dict[str, list[Raw]] = {}
        self._joined: set[str] = set()
        self._pods: dict[str, _Played] = {}
        self._addresses = {network: map(str, _from(network)) for network in (LOOPBACK, ELSEWHERE)}
        self._tasks: list[asyncio.Task[None]] = []
        self._known = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        follow = (
            self._follow("/api/v1/nodes", {"labelSelector": f"{PLAYED}=true"}, self._node, self._nodes_listed),
            self._follow("/api/v1/pods", {"fieldSelector": "spec.nodeName!="}, self._pod, self._pods_listed),
        )
        try:
            for name, zone in self._wanted.items():
                await self._make(name, zone)
            self._tasks = [asyncio.create_task(work) for work in (*follow, self._beat())]
            async with asyncio.timeout(30):
                await self._known.wait()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        playing = [one.task for one in self._pods.values() if one.task is not None]
        for task in (*self._tasks, *playing):
            task.cancel()
        ended = await asyncio.gather(*self._tasks, *playing, return_exceptions=True)
        if self._runtime is not None:
            for one in self._pods.values():
                if one.running:
                    await self._runtime.stop(one.status.ip)
        await self._client.__aexit__(None, None, None)
        defects = [one for one in ended if isinstance(one, Exception)]
        if defects and error is None:
            raise ExceptionGroup("the player of kubelets", defects)

    def used(self) -> list[tuple[Raw, Behaviour]]:
        """Return the pods whose containers run, and what they play."""
        return [(one.raw, one.behaviour) for one in self._pods.values() if one.status.running]

    def nodes(self) -> list[str]:
        """Return the names of the nodes."""
        return list(self._nodes)

    async def _make(self, name: str, zone: str) -> None:
        with suppress(ApiError):  # it is there: this one plays on
            await self._client.send("POST", "/api/v1/nodes", node(name, zone))

    async def _follow(
        self,
        path: str,
        params: Mapping[str, str],
        told: Callable[[str, Raw], None],
        listed: Callable[[list[Raw]], None],
    ) -> None:
        """List and watch, and list again whenever the watch is at an end, for ever."""
        while True:
            try:
                items, version = await self._client.list(path, params)
                listed(items)
                async for kind, raw in self._client.watch(path, version, params):
                    told(kind, raw)
            except (ApiError, ValueError, *UNREACHABLE):  # ValueError: an event that was cut off
                await asyncio.sleep(RETRY_SECONDS)

    def _nodes_listed(self, items: list[Raw]) -> None:
        there = {raw["metadata"]["name"] for raw in items}
        for name in set(self._nodes) - there:
            del self._nodes[name]
        for raw in items:
            self._node("ADDED", raw)
        if not self._wanted:
            self._known.set()

    def _node(self, kind: str, raw: Raw) -> None:
        name = raw["metadata"]["name"]
        self._conditions[name] = raw.get("status", {}).get("conditions", [])
        if kind == "DELETED":
            self._nodes.pop(name, None)
        elif name not in self._nodes or _ready(raw) == "Unknown":
            addresses = raw.get("status", {}).get("addresses")
            self._nodes[name] = addresses[0]["address"] if addresses else f"192.0.2.{len(self._nodes) % 250 + 2}"
            self._tasks.append(asyncio.create_task(self._join(raw)))

    async def _join(self, raw: Raw) -> None:
        """Make a node ready, which it stays: conditions that others set are left alone.

        But that it is not known how it is, which the controllers say of a node whose lease was not renewed, as after a while
        without an API server: then a kubelet tells anew.
        """
        name = raw["metadata"]["name"]
        await self._renew(name)
        if _ready(raw) in {None, "Unknown"}:
            status = ready_status(name, self._nodes.get(name, "192.0.2.1"))
            await self._insist("PATCH", f"/api/v1/nodes/{name}/status", {"status": status})
        self._joined.add(name)
        if self._joined >= set(self._wanted):
            self._known.set()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            for name in list(self._nodes):
                await self._renew(name)
                await self._return(name)

    async def _return(self, name: str) -> None:
        """Say again how the pods of a node are that the controllers had given up with it."""
        if all(one["status"] == "True" for one in self._conditions.get(name, []) if one["type"] == "Ready"):
            for one in [each for each in self._pods.values() if each.raw["spec"]["nodeName"] == name]:
                if one.status.ready and not one.leaving and _is_unready(one.raw):
                    await self._write(one)

    async def _renew(self, name: str) -> None:
        lease = heartbeat(name)
        path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        with suppress(*UNREACHABLE):
            try:
                await self._client.send("PATCH", f"{path}/{name}", lease, MERGE)
            except ApiError as error:
                if error.status == 404:
                    with suppress(ApiError):  # its namespace is not there yet
                        await self._client.send("POST", path, lease)

    async def _insist(self, method: str, path: str, body: Raw) -> None:
        """Send it until the API server takes it, or says that there is no such thing any more."""
        while True:
            try:
                await self._client.send(method, path, body, MERGE if method == "PATCH" else "application/json")
            except ApiError as error:
                if error.status in {404, 409}:
                    return
                _log.warning("%s %s: %s", method, path, error)
                if error.status < 500 and error.status != 429:
                    raise
            except UNREACHABLE:
                pass
            else:
                return
            await asyncio.sleep(RETRY_SECONDS)

    def _pods_listed(self, items: list[Raw]) -> None:
        there = {raw["metadata"]["uid"] for raw in items}
        for uid in set(self._pods) - there:
            self._gone(uid)
        for raw in items:
            self._pod("ADDED", raw)

    def _pod(self, kind: str, raw: Raw) -> None:
        uid = raw["metadata"]["uid"]
        if kind == "DELETED":
            self._gone(uid)
            return
        one = self._pods.get(uid)
        if one is None:
            if raw["spec"]["nodeName"] not in self._nodes and raw["spec"]["nodeName"] not in self._wanted:
                return
            one = self._pods[uid] = self._taken(raw)
            self._play(one)
        one.raw = raw
        behaviour = behaviour_of(raw["metadata"])
        if raw["metadata"].get("deletionTimestamp"):
            if not one.leaving:
                one.leaving, one.behaviour = True, behaviour
                self._replace(one, lambda: self._leave(one))
        elif behaviour != one.behaviour:
            one.oom_kills += max(0, behaviour.oom_kills - one.behaviour.oom_kills)
            one.behaviour = behaviour
            self._play(one)

    def _taken(self, raw: Raw) -> _Played:
        behaviour, status = behaviour_of(raw["metadata"]), PodStatus(raw)
        if not status.ip:
            loopback = self._loopback if not behaviour.address else behaviour.address == "loopback"
            own = behaviour.address not in {"", "loopback"}
            status.ip = behaviour.address if own else next(self._addresses[LOOPBACK if loopback else ELSEWHERE])
        # What another player left behind has had its kills.
        return _Played(status, raw, behaviour, oom_kills=behaviour.oom_kills if status.fresh else 0)

    def _play(self, one: _Played) -> None:
        if one.status.phase in {"Succeeded", "Failed"}:
            return

        async def scene() -> None:
            kills, one.oom_kills = one.oom_kills, 0
            await self._run(one, running=one.listens)
            await play(one.status, one.behaviour, kills, lambda: self._write(one))

        self._replace(one, scene)

    def _replace(self, one: _Played, work: Callable[[], Awaitable[None]]) -> None:
        before = one.task

        async def after() -> None:
            if before is not None:
                before.cancel()
                await asyncio.gather(before, return_exceptions=True)
            await work()

        one.task = asyncio.create_task(after())

    async def _write(self, one: _Played) -> None:
        meta = one.raw["metadata"]
        await self._run(one, running=one.listens)
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/status"
        host = self._nodes.get(one.raw["spec"]["nodeName"], "192.0.2.1")
        await self._insist("PATCH", path, one.status.raw(host))

    async def _run(self, one: _Played, *, running: bool) -> None:
        if self._runtime is not None and running is not one.running:
            one.running = running
            if running:
                await self._runtime.start(one.raw, one.status.ip)
            else:
                await self._runtime.stop(one.status.ip)

    async def _leave(self, one: _Played) -> None:
        meta = one.raw["metadata"]
        await asyncio.sleep(one.behaviour.terminating)
        await self._run(one, running=False)
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}}
        await self._insist("DELETE", f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}", body)

    def _gone(self, uid: str) -> None:
        one = self._pods.pop(uid, None)
        if one is not None and one.running:  # deleted by force
            self._replace(one, lambda: self._run(one, running=False))
            self._tasks.append(one.task)  # type: ignore[arg-type] # it was just set
        elif one is not None and one.task is not None and not one.leaving:
            one.task.cancel()


def _is_unready(raw: Raw) -> bool:
    conditions = raw.get("status", {}).get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "False" for one in conditions)


def _ready(node: Raw) -> str | None:
    """Return the status of a node's condition Ready; None where it has none yet."""
    conditions = node.get("status", {}).get("conditions", ())
    return next((str(one["status"]) for one in conditions if one["type"] == "Ready"), None)


def _from(network: IPv4Network) -> Iterator[IPv4Address]:
    return itertools.islice(network.hosts(), 256, None)

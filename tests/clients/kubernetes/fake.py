"""An API server in this process that speaks the real list and watch protocol, and can be made to misbehave."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import web

from exporter.clients.kubernetes.access import Way

__all__ = ["FakeApi", "Fixed", "Handler", "api_server", "pod"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

PODS = "/api/v1/namespaces/hafnium/pods"

_numbers = itertools.count(1)


def pod(name: str, *, uid: str = "", app: str = "identity", owner: str = "", **changed: Any) -> dict[str, Any]:
    """Make a raw pod that is running and ready.

    Args:
        name: Its name.
        uid: Its uid; default: one of its own.
        app: Its label.
        owner: Name of the Deployment, of which it has a ReplicaSet's name too.
        changed: `ip`, `ready`, `phase`, `node`, `terminating`, `containers` (statuses), `ports`, `labels`.
    """
    labels = {"app": f"{app}-service", "tier": "backend", **changed.get("labels", {})}
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": "hafnium",
        "uid": uid or f"uid-{next(_numbers)}",
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "labels": labels,
    }
    if owner:
        labels["pod-template-hash"] = "7d9f8c"
        metadata["ownerReferences"] = [{"kind": "ReplicaSet", "name": f"{owner}-7d9f8c", "controller": True, "uid": "u"}]
    if changed.get("terminating"):
        metadata["deletionTimestamp"] = "2026-01-02T03:05:05Z"
    ready = "True" if changed.get("ready", True) else "False"
    ports = changed.get("ports", {"management": 8081})
    return {
        "metadata": metadata,
        "spec": {
            "nodeName": changed.get("node", "node-1"),
            "containers": [{"name": "app", "ports": [{"name": key, "containerPort": port} for key, port in ports.items()]}],
        },
        "status": {
            "phase": changed.get("phase", "Running"),
            "podIP": changed.get("ip", "10.0.0.1"),
            "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": changed.get("containers", []),
        },
    }


class Fixed:
    """A way that does not change, with a token that may be rotated."""

    def __init__(self, server: str, tokens: Iterable[str] = ("good",)) -> None:
        self.server = server
        self.tokens = list(tokens)
        self.refusals = 0
        self._way = self._made()

    def _made(self) -> Way:
        return Way(self.server, authorization=f"Bearer {self.tokens[0]}")

    async def way(self) -> Way:
        return self._way

    def refused(self, way: Way) -> None:
        self.refusals += 1
        if len(self.tokens) > 1:
            self.tokens.pop(0)
        self._way = self._made()

    async def close(self) -> None:
        pass


class FakeApi:
    """Objects by path, their history, and who watches.

    Attributes:
        url: Where it listens.
        token: The token that it accepts.
        lists: How often each path was listed, pages apart.
        watches: How often each path was watched.
        watched_from: The resource versions that watches began at.
        override: Answers instead of it while set.
    """

    def __init__(self) -> None:
        self.url = ""
        self.token = "good"
        self.lists: Counter[str] = Counter()
        self.pages: Counter[str] = Counter()
        self.watches: Counter[str] = Counter()
        self.watched_from: list[int] = []
        self.override: Handler | None = None
        self.override_watch: Handler | None = None
        self.version = 100
        self.compacted = 0
        self.pings = 0
        self._transports: set[asyncio.BaseTransport] = set()
        self._objects: dict[str, dict[str, dict[str, Any]]] = {}
        self._history: list[tuple[int, str, bytes]] = []
        self._news = asyncio.Event()
        self._broken = asyncio.Event()
        self._half = False
        self._snapshots: dict[tuple[str, int], list[dict[str, Any]]] = {}

    @property
    def connections(self) -> list[asyncio.BaseTransport]:
        """Connections over which it was asked something, and that are open."""
        return [transport for transport in self._transports if not transport.is_closing()]

    # What a test does.

    def put(self, raw: dict[str, Any], path: str = PODS) -> None:
        """Create or change an object."""
        known = self._objects.setdefault(path, {})
        uid = raw["metadata"]["uid"]
        self._note("MODIFIED" if uid in known else "ADDED", raw, path)
        known[uid] = raw

    def delete(self, uid: str, path: str = PODS) -> None:
        """Delete an object."""
        self._note("DELETED", self._objects[path].pop(uid), path)

    def wipe(self, path: str = PODS) -> None:
        """Lose every object, without an event."""
        self._objects.pop(path, None)
        self.version += 1

    def restore(self, objects: Iterable[dict[str, Any]], path: str = PODS) -> None:
        """Have objects again, without an event."""
        self._objects[path] = {raw["metadata"]["uid"]: raw for raw in objects}
        self.version += 1

    def compact(self) -> None:
        """Forget all history: versions of before are too old."""
        self.version += 1
        self.compacted = self.version
        self._history.clear()
        self._snapshots.clear()

    def bookmark(self, path: str = PODS) -> None:
        """Send a bookmark to all who watch."""
        self.version += 1
        line = {"type": "BOOKMARK", "object": {"kind": "Pod", "metadata": {"resourceVersion": str(self.version)}}}
        self._send(path, json.dumps(line).encode())

    def send(self, line: bytes, path: str = PODS) -> None:
        """Send any line to all who watch."""
        self.version += 1
        self._send(path, line)

    def disconnect(self, *, half: bool = False) -> None:
        """Break every watch; half an event before, where asked."""
        self._half = half
        self._broken.set()
        self._broken = asyncio.Event()

    def _note(self, kind: str, raw: dict[str, Any], path: str) -> None:
        self.version += 1
        raw["metadata"]["resourceVersion"] = str(self.version)
        self._send(path, json.dumps({"type": kind, "object": raw}).encode())

    def _send(self, path: str, line: bytes) -> None:
        self._history.append((self.version, path, line))
        self._news.set()
        self._news = asyncio.Event()

    # What it answers.

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        if request.transport is not None:
            self._transports.add(request.transport)
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return status(401, "Unauthorized", "Unauthorized")
        if request.path == "/version":
            self.pings += 1
        is_watch = "watch" in request.query
        if is_watch:
            self.watches[request.path] += 1
            self.watched_from.append(int(request.query["resourceVersion"]))
        elif request.path != "/version":
            self.pages[request.path] += 1
            self.lists[request.path] += "continue" not in request.query
        override = self.override or (self.override_watch if is_watch else None)
        if override is not None:
            return await override(request)
        if request.path == "/version":
            return web.json_response({"major": "1"})
        return await (self._watch(request) if is_watch else self._list(request))

    async def _list(self, request: web.Request) -> web.Response:
        limit = int(request.query.get("limit", "0"))
        token = request.query.get("continue")
        if token is None:
            version, start = self.version, 0
            self._snapshots[request.path, version] = list(self._objects.get(request.path, {}).values())
        else:
            version, start = json.loads(base64.b64decode(token))
            if (request.path, version) not in self._snapshots:
                return status(410, "Expired", "The provided continue parameter is too old")
        found = self._snapshots[request.path, version]
        page = found[start : start + limit] if limit else found
        metadata: dict[str, Any] = {"resourceVersion": str(version)}
        if limit and start + limit < len(found):
            metadata["continue"] = base64.b64encode(json.dumps([version, start + limit]).encode()).decode()
        return web.json_response({"kind": "List", "metadata": metadata, "items": page})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        version = int(request.query["resourceVersion"])
        response = web.StreamResponse()
        response.content_type = "application/json"
        await response.prepare(request)
        if version < self.compacted:
            error = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
            await response.write(json.dumps({"type": "ERROR", "object": error}).encode() + b"\n")
            return response
        ends = asyncio.get_running_loop().time() + float(request.query["timeoutSeconds"])
        while asyncio.get_running_loop().time() < ends:
            news, broken = self._news, self._broken
            for at, _path, line in [item for item in self._history if item[0] > version and item[1] == request.path]:
                await response.write(line[:20] + b"")
                await response.write(line[20:] + b"\n")
                version = at
            waits = [asyncio.ensure_future(news.wait()), asyncio.ensure_future(broken.wait())]
            try:
                await asyncio.wait(waits, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
            if broken.is_set():
                if self._half:
                    await response.write(b'{"type": "MODIFIED", "object": {"metadata": {"uid"')
                    await asyncio.sleep(0.05)
                assert request.transport is not None
                request.transport.abort()
                return response
        return response


def status(code: int, reason: str, message: str, **headers: str) -> web.Response:
    """Make a refusal as the API server words it."""
    body = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}
    return web.json_response(body, status=code, headers={key.replace("_", "-"): value for key, value in headers.items()})


@asynccontextmanager
async def api_server() -> AsyncIterator[FakeApi]:
    """Run one on a free port."""
    fake = FakeApi()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    fake.url = f"http://{host}:{port}"
    try:
        yield fake
    finally:
        with suppress(TimeoutError):
            await runner.cleanup()

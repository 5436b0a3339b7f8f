"""An API server that has Leases and nothing else, and fails as a test wants it to."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

FOLDER = "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"


class LeaseServer:
    """The server.

    Attributes:
        leases: What there is, by name.
        down: It closes connections instead of answering.
        mute: It does what it is asked, and closes the connection instead of saying so.
        delay: Seconds that it takes before it looks at what it was asked.
        asked: Methods, one for each request.
    """

    def __init__(self) -> None:
        self.leases: dict[str, dict[str, Any]] = {}
        self.down = False
        self.mute = False
        self.delay = 0.0
        self.asked: list[str] = []
        self.status: int | None = None
        self._versions = itertools.count(1)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve until the block ends; give the URL."""
        app = web.Application()
        app.router.add_post(FOLDER, self._post)
        app.router.add_get(FOLDER + "/{name}", self._get)
        app.router.add_put(FOLDER + "/{name}", self._put)
        app.middlewares.append(self._around)
        async with TestServer(app) as server:
            yield str(server.make_url("")).rstrip("/")

    @web.middleware
    async def _around(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append(request.method)
        if self.down:
            return _cut(request)
        if self.status is not None:
            return _status(self.status)
        if self.delay:
            await asyncio.sleep(self.delay)
        response: web.StreamResponse = await handler(request)
        return _cut(request) if self.mute else response

    async def _get(self, request: web.Request) -> web.Response:
        lease = self.leases.get(request.match_info["name"])
        return web.json_response(lease) if lease is not None else _status(404)

    async def _post(self, request: web.Request) -> web.Response:
        lease = json.loads(await request.read())
        name = lease["metadata"]["name"]
        if name in self.leases:
            return _status(409)
        return web.json_response(self.store(name, lease), status=201)

    async def _put(self, request: web.Request) -> web.Response:
        name, lease = request.match_info["name"], json.loads(await request.read())
        before, given = self.leases.get(name), lease["metadata"]
        if before is None:  # as the real one does: a write makes it anew, unless it says which one it means
            return _status(409) if "uid" in given else web.json_response(self.store(name, lease), status=201)
        there = before["metadata"]
        if there["resourceVersion"] != given["resourceVersion"] or there["uid"] != given.get("uid", there["uid"]):
            return _status(409)
        return web.json_response(self.store(name, lease))

    def store(self, name: str, lease: dict[str, Any]) -> dict[str, Any]:
        """Keep a lease under a new version."""
        version = str(next(self._versions))
        metadata = {"uid": f"uid-{version}", **lease["metadata"], "resourceVersion": version}
        self.leases[name] = {**lease, "metadata": metadata}
        return self.leases[name]


def _cut(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def _status(code: int) -> web.Response:
    reason = {404: "NotFound", 409: "Conflict"}.get(code, "")
    return web.json_response({"kind": "Status", "reason": reason, "message": f"as the test says: {code}"}, status=code)

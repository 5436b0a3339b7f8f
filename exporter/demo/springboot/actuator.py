"""The actuator's endpoints of one service, over HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from exporter.demo.springboot.health import GROUPS, code_of, component_at, group, health
from exporter.demo.springboot.meters import as_json, as_text
from exporter.demo.springboot.service import SLOWNESS, Service

__all__ = ["Site"]

V3 = "application/vnd.spring-boot.actuator.v3+json"
_LOGIN = "<!DOCTYPE html><html><body><form action='/login' method='post'>Please sign in</form></body></html>"


class Site:
    """A service's port: it can be closed and opened again."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._runner: web.AppRunner | None = None

    async def open(self) -> None:
        """Listen."""
        app = web.Application(middlewares=[self._misbehave])
        app.add_routes([
            web.get("/actuator", self._links),
            web.get("/actuator/health", self._health),
            web.get("/actuator/health/{path:.+}", self._component),
            web.get("/actuator/info", self._info),
            web.get("/actuator/prometheus", self._prometheus),
            web.get("/actuator/metrics", self._names),
            web.get("/actuator/metrics/{name}", self._metric),
            web.get("/actuator/flyway", self._flyway),
        ])  # fmt: skip
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1, keepalive_timeout=60)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.service.port).start()

    async def close(self) -> None:
        """Stop listening, and close what is open."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    @web.middleware
    async def _misbehave(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        faults, started = self.service.faults, time.monotonic()
        if "hang" in faults:
            await asyncio.sleep(3600)
        if "slow" in faults:
            await asyncio.sleep(SLOWNESS)
        if "garbage" in faults:
            return web.Response(text=_LOGIN, content_type="text/html")
        if "status-503" in faults:
            return web.Response(status=503, text="upstream connect error", content_type="text/plain")
        try:
            answer = await handler(request)
        except web.HTTPNotFound:
            answer = _not_found(request)
        uri = "/" + "/".join(request.path.split("/")[1:3]) if request.path.startswith("/actuator/") else request.path
        self.service.note_request(uri, answer.status, time.monotonic() - started)
        return answer

    async def _links(self, request: web.Request) -> web.Response:
        base = f"http://{request.host}/actuator"
        names = ("health", "info", "prometheus", "metrics", "flyway")
        links = {name: {"href": f"{base}/{name}", "templated": False} for name in names}
        return _json({"_links": {"self": {"href": base, "templated": False}, **links}})

    async def _health(self, _: web.Request) -> web.Response:
        answer = await health(self.service)
        return _json(answer, code_of(answer))

    async def _component(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        found = await group(self.service, path) if path in GROUPS else component_at(await health(self.service), path)
        if found is None:
            raise web.HTTPNotFound
        return _json(found, code_of(found))

    async def _info(self, _: web.Request) -> web.Response:
        return _json({"build": {"artifact": f"{self.service.name}-service", "version": "1.4.2"}})

    async def _prometheus(self, request: web.Request) -> web.Response:
        included = frozenset(filter(None, request.query.get("includedNames", "").split(",")))
        body = as_text(self.service.meters(), included).encode()
        return web.Response(body=body, headers={"Content-Type": "text/plain;version=0.0.4;charset=utf-8"})

    async def _names(self, _: web.Request) -> web.Response:
        return _json({"names": sorted({meter.name for meter in self.service.meters()})})

    async def _metric(self, request: web.Request) -> web.Response:
        wanted = []
        for text in request.query.getall("tag", []):
            name, _, value = text.partition(":")
            wanted.append((name, value))
        answer = as_json(list(self.service.meters()), request.match_info["name"], wanted)
        if answer is None:
            raise web.HTTPNotFound
        return _json(answer)

    async def _flyway(self, _: web.Request) -> web.Response:
        query = f'SELECT * FROM "{self.service.schema}".flyway_schema_history ORDER BY installed_rank'  # noqa: S608 - own name
        async with self.service.pool.connection() as connection:
            rows = await connection.fetch(query)
        migrations = [
            {
                "type": row["type"], "checksum": row["checksum"], "version": row["version"],
                "description": row["description"],
                "script": row["script"], "state": "SUCCESS" if row["success"] else "FAILED",
                "installedBy": row["installed_by"], "installedOn": f"{row['installed_on'].isoformat()}Z",
                "installedRank": row["installed_rank"], "executionTime": row["execution_time"],
            }
            for row in rows
        ]  # fmt: skip
        context = f"{self.service.name}-service"
        return _json({"contexts": {context: {"flywayBeans": {"flyway": {"migrations": migrations}}}}})


def _json(answer: Any, status: int = 200) -> web.Response:
    body = json.dumps(answer, separators=(",", ":")).encode()
    return web.Response(body=body, status=status, headers={"Content-Type": V3})


def _not_found(request: web.Request) -> web.Response:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    answer = {"timestamp": at, "status": 404, "error": "Not Found", "path": request.path}
    return web.Response(body=json.dumps(answer).encode(), status=404, headers={"Content-Type": "application/json"})

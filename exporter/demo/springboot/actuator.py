"""The actuator's endpoints of one service, over HTTP, and what can go wrong with its answers."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Set

from aiohttp import web

from exporter.demo.springboot.answers import V2, error_answer, json_answer, json_type, no_answer, whitelabel
from exporter.demo.springboot.health import as_v2, code_of, group_of, health, health_at
from exporter.demo.springboot.metrics_json import describe, names, parse_tags
from exporter.demo.springboot.pool import DATABASE_ERRORS
from exporter.demo.springboot.prometheus_text import OPENMETRICS, accepted_format, render
from exporter.demo.springboot.service import Service
from exporter.demo.springboot.traffic import SLOWNESS

__all__ = ["Site"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = logging.getLogger(__name__)
UNLUCKY = 0.01
"""Share of the questions for its health that go wrong under the fault `flaky`."""
_LOGIN = (
    "<!DOCTYPE html><html><head><title>Please sign in</title></head><body>"
    "<form method='post' action='/login'><input name='username'><input name='password' type='password'></form></body></html>"
)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_THROWN = {
    404: "NoResourceFoundException",
    405: "HttpRequestMethodNotSupportedException",
    406: "HttpMediaTypeNotAcceptableException",
}
_LINKS = (
    ("health", "/health", False),
    ("health-path", "/health/{*path}", True),
    ("info", "/info", False),
    ("flyway", "/flyway", False),
    ("prometheus", "/prometheus", False),
    ("metrics-requiredMetricName", "/metrics/{requiredMetricName}", True),
    ("metrics", "/metrics", False),
)


class Site:
    """A service's port: it can be closed and opened again."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._runner: web.AppRunner | None = None

    async def open(self) -> None:
        """Listen; nothing happens if it does already.

        Raises:
            OSError: The port is taken.
        """
        if self._runner is not None:
            return
        app = web.Application(middlewares=[self._serve])
        app.on_response_prepare.append(_unsigned)
        app.add_routes([
            web.get("/actuator", self._links),
            web.get("/actuator/health", self._health),
            web.get("/actuator/health/{path:.+}", self._component),
            web.get("/livez", self._liveness),
            web.get("/readyz", self._readiness),
            web.get("/actuator/info", self._info),
            web.get("/actuator/prometheus", self._prometheus),
            web.get("/actuator/metrics", self._names),
            web.get("/actuator/metrics/{requiredMetricName}", self._metric),
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
    async def _serve(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        faults, began = self.service.faults, time.monotonic()
        if "hang" in faults:
            await asyncio.sleep(3600)
        if "slow" in faults:
            await asyncio.sleep(SLOWNESS)
        intercepted = _intercept(faults, request.path)
        if intercepted is not None:
            return intercepted
        answer, exception = await self._answer(request, handler)
        method = request.method if request.method in _METHODS else "UNKNOWN"
        took = time.monotonic() - began
        self.service.requests.note(_template(request), answer.status, took, method=method, exception=exception)
        return answer

    async def _answer(self, request: web.Request, handler: Handler) -> tuple[web.StreamResponse, str]:
        """Return the answer and the simple name of what Java would have thrown on the way."""
        try:
            return await handler(request), "none"
        except web.HTTPException as error:
            return _refused(request, error), _THROWN.get(error.status, "ResponseStatusException")
        except ValueError:
            answer = error_answer(request, 400), "InvalidEndpointBadRequestException"
        except DATABASE_ERRORS:
            answer = error_answer(request, 500), "FlywaySqlException"
        except Exception:
            _log.exception("%s: an answer failed", self.service.name)
            answer = error_answer(request, 500), "IllegalStateException"
        return answer

    async def _links(self, request: web.Request) -> web.Response:
        base = f"http://{request.host}/actuator"
        links = {name: {"href": base + path, "templated": templated} for name, path, templated in _LINKS}
        return json_answer(request, {"_links": {"self": {"href": base, "templated": False}, **links}})

    async def _health(self, request: web.Request) -> web.Response:
        answer = await health(self.service)
        return json_answer(request, as_v2(answer) if _wants_v2(request) else answer, code_of(answer))

    async def _component(self, request: web.Request) -> web.Response:
        found = await health_at(self.service, request.match_info["path"])
        if found is None:
            return no_answer()
        return json_answer(request, as_v2(found) if _wants_v2(request) else found, code_of(found))

    async def _liveness(self, request: web.Request) -> web.Response:
        return await self._group(request, "liveness")

    async def _readiness(self, request: web.Request) -> web.Response:
        return await self._group(request, "readiness")

    async def _group(self, request: web.Request, group: str) -> web.Response:
        answer = group_of(self.service, group)
        return json_answer(request, answer, code_of(answer))

    async def _info(self, request: web.Request) -> web.Response:
        name = self.service.application
        build = {"artifact": name, "name": name, "version": "1.4.2", "group": "com.hafnium"}
        return json_answer(request, {"build": build})

    async def _prometheus(self, request: web.Request) -> web.Response:
        kind = accepted_format(request.headers.getall("Accept", []))
        if kind is None:
            raise web.HTTPNotAcceptable
        lists = request.query.getall("includedNames", [])
        included = {name.strip() for text in lists for name in text.split(",")} - {""}
        body = render(self.service.meters(), included, openmetrics=kind == OPENMETRICS)
        return web.Response(body=body.encode(), headers={"Content-Type": kind})

    async def _names(self, request: web.Request) -> web.Response:
        return json_answer(request, names(self.service.meters()))

    async def _metric(self, request: web.Request) -> web.Response:
        wanted = parse_tags(request.query.getall("tag", []))
        answer = describe(self.service.meters(), request.match_info["requiredMetricName"], wanted)
        return no_answer() if answer is None else json_answer(request, answer)

    async def _flyway(self, request: web.Request) -> web.Response:
        beans = {"flyway": {"migrations": await self.service.migrations.describe()}}
        return json_answer(request, {"contexts": {self.service.application: {"flywayBeans": beans}}})


def _refused(request: web.Request, error: web.HTTPException) -> web.Response:
    """Answer what no endpoint takes; Spring answers 406 with a page for browsers, or with nothing."""
    if error.status == 406:
        return whitelabel(406) if "text/html" in request.headers.get("Accept", "") else web.Response(status=406)
    answer = error_answer(request, error.status)
    if isinstance(error, web.HTTPMethodNotAllowed):
        answer.headers["Allow"] = ",".join(sorted(error.allowed_methods))
    return answer


def _intercept(faults: Set[str], path: str) -> web.Response | None:
    """Answer in the application's place, as what stands before it does."""
    if "garbage" in faults:
        return web.Response(text=_LOGIN, content_type="text/html")
    unlucky = "flaky" in faults and path == "/actuator/health" and random.random() < UNLUCKY
    if "status-503" in faults or unlucky:
        return web.Response(status=503, text="upstream connect error", content_type="text/plain")
    return None


def _template(request: web.Request) -> str:
    """Return the template of a path, as Spring's patterns write it; what has none falls to the static resources."""
    resource = request.match_info.route.resource
    return resource.canonical.replace("/{path}", "/**") if resource is not None else "/**"


def _wants_v2(request: web.Request) -> bool:
    return json_type(request.headers.getall("Accept", [])) == V2


async def _unsigned(_: web.Request, response: web.StreamResponse) -> None:
    """Tomcat does not say what it is."""
    response.headers.popall("Server", None)

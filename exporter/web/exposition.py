"""`/metrics` and `/probe`: what scrapers read."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus

from aiohttp import hdrs, web

from exporter.web.backend import Backend
from exporter.web.delivery import FENCE, Fence
from exporter.web.negotiation import prefers_openmetrics
from exporter.web.on_demand import OnDemand
from exporter.web.refusal import Refusal, quoted
from exporter.web.shared import Body, SharedAnswer
from exporter.web.worker import Worker

__all__ = ["OPENMETRICS", "TEXT", "Exposition"]

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_USAGE = "give service= and probe= and, where the service has several targets, target=; only configured probes are run"


class Exposition:
    """The endpoints for scrapers.

    Args:
        backend: The daemon.
        on_demand: Runs probes.
        worker: Where expositions are compressed.
    """

    def __init__(self, backend: Backend, on_demand: OnDemand, worker: Worker) -> None:
        self._backend = backend
        self._on_demand = on_demand
        self._worker = worker
        self._cost = (0.0, 0)
        self._answers = {
            (openmetrics, of_services): SharedAnswer(partial(self._collect, openmetrics, of_services), worker)
            for openmetrics in (False, True)
            for of_services in (False, True)
        }

    def routes(self) -> list[web.RouteDef]:
        """Return what is served here."""
        return [web.get("/metrics", self.metrics), web.get("/probe", self.probe, allow_head=False)]

    async def close(self) -> None:
        """Stop what is being made."""
        for answer in self._answers.values():
            await answer.close()

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """Answer a scrape from what is known at its arrival or later: no target is asked, and the loop is held while one
        list is made.

        Scrapers that come at the same moment share it, the joining and the compression.

        Where the exporter may export no verdict, it tells of itself alone. That is asked before the answer is made, once it
        is made, and while it is sent: the process may have been stopped in between for as long as one likes.
        """
        openmetrics = prefers_openmetrics(",".join(request.headers.getall(hdrs.ACCEPT, ())))
        headers: dict[str, str] = {hdrs.CONTENT_TYPE: OPENMETRICS if openmetrics else TEXT, hdrs.VARY: hdrs.ACCEPT}
        response = await self._respond(request, headers, openmetrics=openmetrics)
        if request.method == hdrs.METH_GET:
            self._backend.observe_scrape(*self._cost)
        return response

    async def _respond(self, request: web.Request, headers: Mapping[str, str], *, openmetrics: bool) -> web.StreamResponse:
        if self._backend.exports:
            response = await self._answers[openmetrics, True].respond(request, headers)
            if self._backend.exports:
                request[FENCE] = Fence(lambda: self._backend.exports)
                return response
        return await self._answers[openmetrics, False].respond(request, headers)

    async def _collect(self, openmetrics: bool, of_services: bool) -> Body:
        started = time.perf_counter()
        parts = self._backend.parts(openmetrics=openmetrics, of_services=of_services)
        held = time.perf_counter() - started
        body = Body(parts, await self._worker.run(lambda: sum(map(len, parts))))
        self._cost = held, body.size
        return body

    async def probe(self, request: web.Request) -> web.Response:
        """Run one configured probe now."""
        service, probe, target = _question(request)
        body = await self._on_demand.run(lambda: self._backend.probe(service, probe, target))
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: TEXT})


def _question(request: web.Request) -> tuple[str, str, str | None]:
    """Read which probe is meant.

    Raises:
        Refusal: A parameter is missing, given twice, or none of ours.
    """
    query = single(request, ("service", "probe", "target"), _USAGE)
    missing = [name for name in ("service", "probe") if not query.get(name)]
    if missing:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"{' and '.join(missing)} missing: {_USAGE}")
    return query["service"], query["probe"], query.get("target")


def single(request: web.Request, names: tuple[str, ...], usage: str) -> Mapping[str, str]:
    """Return the query's parameters, each of which must be one of `names` and given once.

    Raises:
        Refusal: One is not.
    """
    query = request.query
    for name in query:
        if name not in names:
            raise Refusal(HTTPStatus.BAD_REQUEST, f"unknown parameter {quoted(name)}: {usage}")
        if len(query.getall(name)) > 1:
            raise Refusal(HTTPStatus.BAD_REQUEST, f"parameter {name} is given more than once: {usage}")
    return query

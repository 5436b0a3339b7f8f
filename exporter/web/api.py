"""The JSON API. What lists thousands of targets is made while it is sent, in slices: it neither holds the event loop up nor
is ever whole in memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from http import HTTPStatus

from aiohttp import hdrs, web
from pydantic import Field

from exporter.engine.diagnosis_views import IncidentView
from exporter.engine.time_slices import TimeSlices
from exporter.engine.view import View
from exporter.engine.views import FleetView, ServiceView, TargetView
from exporter.verdict import Verdict
from exporter.web.backend import Backend
from exporter.web.delivery import Stream
from exporter.web.exposition import single
from exporter.web.openapi import document
from exporter.web.refusal import Refusal, quoted
from exporter.web.shared import Body, SharedAnswer
from exporter.web.worker import Worker

__all__ = ["Api", "ErrorView", "IncidentsView", "TargetsView"]

_FILTERS = ("service", "probe", "verdict")

_SLICE = 0.003
"""Seconds for which targets are written in one go."""

_PIECE = 65_536
"""Bytes that are written in one go, at least."""

_JSON: Mapping[str, str] = {hdrs.CONTENT_TYPE: "application/json; charset=utf-8"}


class TargetsView(View):
    """Targets, over all services."""

    generated_at: float = Field(description="When this was made, Unix seconds.")
    targets: list[TargetView] = Field(description="Those that were asked for, the worst of each service first.")


class IncidentsView(View):
    """What is down, by cause."""

    generated_at: float = Field(description="When this was made, Unix seconds.")
    incidents: list[IncidentView] = Field(description="Each is one page; the oldest first.")


class ErrorView(View):
    """Why there is no answer."""

    error: str = Field(description="For people.")


class Api:
    """The endpoints for programs.

    Args:
        backend: The daemon.
        worker: Where answers are compressed.
    """

    def __init__(self, backend: Backend, worker: Worker) -> None:
        self._backend = backend
        self._document = document(
            fleet=FleetView, service=ServiceView, targets=TargetsView, incidents=IncidentsView, error=ErrorView
        )
        self._services = SharedAnswer(self._list, worker)
        self._turn = asyncio.Lock()

    def routes(self) -> list[web.RouteDef]:
        """Return what is served here."""
        return [
            web.get("/api/v1/services", self.services),
            web.get("/api/v1/services/{name}", self.service),
            web.get("/api/v1/targets", self.targets),
            web.get("/api/v1/incidents", self.incidents),
            web.get("/openapi.json", self.openapi),
        ]

    async def close(self) -> None:
        """Stop what is being made."""
        await self._services.close()

    async def services(self, request: web.Request) -> web.StreamResponse:
        """All services with their worst targets."""
        single(request, (), "none is taken here")
        return await self._services.respond(request, headers=_JSON)

    async def service(self, request: web.Request) -> web.StreamResponse:
        """One service or dependency with all its targets."""
        single(request, (), "none is taken here")
        name = request.match_info["name"]
        service = await self._backend.service(name, most=0)
        if service is None:
            raise self._no_service(name)
        return Stream(self._pieces(service, self._backend.targets(name, None, None)), _JSON)

    async def targets(self, request: web.Request) -> web.StreamResponse:
        """Targets, filtered."""
        query = single(request, _FILTERS, f"the filters are {', '.join(_FILTERS)}")
        service, probe, verdict = query.get("service"), query.get("probe"), _verdict(query.get("verdict"))
        if service is not None and service not in self._backend.names():
            raise self._no_service(service)
        kinds = self._backend.kinds(service)
        if probe is not None and probe not in kinds:  # an empty list would read as good news
            text = f"no target has a probe {quoted(probe)}; there are: {', '.join(kinds)}"
            raise Refusal(HTTPStatus.NOT_FOUND, text)
        around = TargetsView(generated_at=self._backend.about().generated_at, targets=[])
        return Stream(self._pieces(around, self._backend.targets(service, probe, verdict)), _JSON)

    async def incidents(self, request: web.Request) -> web.Response:
        """What is down, by cause."""
        single(request, (), "none is taken here")
        view = IncidentsView(generated_at=self._backend.about().generated_at, incidents=self._backend.incidents())
        return web.Response(body=view.model_dump_json().encode(), headers=_JSON)

    async def openapi(self, _request: web.Request) -> web.Response:
        """The description of all this."""
        return web.Response(body=self._document, headers=_JSON)

    async def _list(self) -> Body:
        fleet, slices = await self._backend.fleet(), TimeSlices(_SLICE)
        pieces = [_head(fleet, "services")]
        for number, service in enumerate(fleet.services):
            pieces += (b"," if number else b"", service.model_dump_json().encode())
            await slices.turn()
        return Body.of(b"".join((*pieces, b"]}")))

    async def _pieces(self, around: ServiceView | TargetsView, targets: Iterator[TargetView]) -> AsyncGenerator[bytes]:
        """Write targets, and what is around them. Readers take turns, so that the loop is held for one slice at a time."""
        made = [_head(around, "targets")]
        separator, more = b"", True
        while more:
            async with self._turn:
                size, until = 0, time.perf_counter() + _SLICE
                while size < _PIECE and time.perf_counter() < until:
                    target = next(targets, None)
                    if target is None:
                        more = False
                        break
                    made += (separator, target.model_dump_json().encode())
                    separator, size = b",", size + len(made[-1])
                await asyncio.sleep(0)  # in here, so that nobody else has theirs in the same turn of the loop
            if not more:
                made.append(b"]}")
            yield b"".join(made)
            made.clear()

    def _no_service(self, name: str) -> Refusal:
        known = ", ".join(self._backend.names()[:50])
        return Refusal(HTTPStatus.NOT_FOUND, f"no service or dependency {quoted(name)}; there are: {known or 'none'}")


def _head(model: View, field: str) -> bytes:
    """Write a model up to its last field, a list whose items follow."""
    head = model.model_dump_json(exclude={field}).encode().removesuffix(b"}")
    return b'%b,"%b":[' % (head, field.encode())


def _verdict(text: str | None) -> Verdict | None:
    try:
        return None if text is None else Verdict(text)
    except ValueError as error:
        known = ", ".join(Verdict)
        raise Refusal(HTTPStatus.BAD_REQUEST, f"no verdict {quoted(text or '')}; there are: {known}") from error

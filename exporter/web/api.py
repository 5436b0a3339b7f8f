"""The JSON API. Large answers are encoded in slices, so that five thousand targets do not hold the event loop up."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

from aiohttp import web
from pydantic import Field

from exporter.engine.time_slices import TimeSlices
from exporter.engine.views import FleetView, ServiceView, TargetView, View
from exporter.verdict import Verdict
from exporter.web.backend import Backend
from exporter.web.exposition import single
from exporter.web.openapi import document
from exporter.web.refusal import Refusal, quoted

__all__ = ["Api", "ErrorView", "TargetsView"]

_FILTERS = ("service", "probe", "verdict")

_END = b"]}"


class TargetsView(View):
    """Targets, over all services."""

    generated_at: float = Field(description="When this was made, Unix seconds.")
    targets: list[TargetView] = Field(description="Those that were asked for.")


class ErrorView(View):
    """Why there is no answer."""

    error: str = Field(description="For people.")


class Api:
    """The endpoints for programs."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._document = document(fleet=FleetView, service=ServiceView, targets=TargetsView, error=ErrorView)

    def routes(self) -> list[web.RouteDef]:
        """Return what is served here."""
        return [
            web.get("/api/v1/services", self.services),
            web.get("/api/v1/services/{name}", self.service),
            web.get("/api/v1/targets", self.targets),
            web.get("/openapi.json", self.openapi),
        ]

    async def services(self, request: web.Request) -> web.Response:
        """Everything."""
        single(request, (), "none is taken here")
        return _json(await _Encoder().fleet(await self._backend.fleet()))

    async def service(self, request: web.Request) -> web.Response:
        """One service or dependency."""
        single(request, (), "none is taken here")
        fleet = await self._backend.fleet()
        service = _named(fleet, request.match_info["name"])
        return _json(await _Encoder().targets(service, service.targets))

    async def targets(self, request: web.Request) -> web.Response:
        """Targets, filtered."""
        query = single(request, _FILTERS, f"the filters are {', '.join(_FILTERS)}")
        verdict = _verdict(query.get("verdict"))
        fleet = await self._backend.fleet()
        services = [_named(fleet, query["service"])] if "service" in query else fleet.services
        targets = [target for service in services for target in service.targets]
        if "probe" in query:
            targets = _of_kind(targets, query["probe"])
        if verdict is not None:
            targets = [target for target in targets if target.verdict is verdict]
        return _json(await _Encoder().targets(TargetsView(generated_at=fleet.generated_at, targets=[]), targets))

    async def openapi(self, _request: web.Request) -> web.Response:
        """The description of all this."""
        return _json(self._document)


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json", charset="utf-8")


def _named(fleet: FleetView, name: str) -> ServiceView:
    for service in fleet.services:
        if service.name == name:
            return service
    known = ", ".join(service.name for service in fleet.services[:50])
    raise Refusal(HTTPStatus.NOT_FOUND, f"no service or dependency {quoted(name)}; there are: {known or 'none'}")


def _of_kind(targets: list[TargetView], probe: str) -> list[TargetView]:
    """Pick by kind of probe. A kind that nobody has is a slip of the pen, and an empty list would read as good news."""
    found = [target for target in targets if target.probe == probe]
    if not found:
        known = ", ".join(sorted({target.probe for target in targets}))
        raise Refusal(HTTPStatus.NOT_FOUND, f"no target has a probe {quoted(probe)}; there are: {known or 'none'}")
    return found


def _verdict(text: str | None) -> Verdict | None:
    try:
        return None if text is None else Verdict(text)
    except ValueError as error:
        known = ", ".join(Verdict)
        raise Refusal(HTTPStatus.BAD_REQUEST, f"no verdict {quoted(text or '')}; there are: {known}") from error


class _Encoder:
    """Writes views as JSON, in slices and copied only once; every list it slices is its model's last field."""

    def __init__(self) -> None:
        self._slices = TimeSlices()
        self._pieces: list[bytes] = []

    async def fleet(self, fleet: FleetView) -> bytes:
        """Write everything."""
        self._open(fleet, "services")
        for number, service in enumerate(fleet.services):
            self._pieces.append(b"," if number else b"")
            await self._add(service, service.targets)
        return b"".join((*self._pieces, _END))

    async def targets(self, around: ServiceView | TargetsView, targets: Iterable[TargetView]) -> bytes:
        """Write targets, and what is around them."""
        await self._add(around, targets)
        return b"".join(self._pieces)

    async def _add(self, around: ServiceView | TargetsView, targets: Iterable[TargetView]) -> None:
        self._open(around, "targets")
        for number, target in enumerate(targets):
            self._pieces += (b"," if number else b"", target.model_dump_json().encode())
            await self._slices.turn()
        self._pieces.append(_END)

    def _open(self, model: View, field: str) -> None:
        head = model.model_dump_json(exclude={field}).encode().removesuffix(b"}")
        self._pieces.append(b'%b,"%b":[' % (head, field.encode()))

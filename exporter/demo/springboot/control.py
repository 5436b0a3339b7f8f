"""The port on which faults are ordered: `POST /fault {"service", "fault", "on"}`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from exporter.demo.springboot.actuator import Site
from exporter.demo.springboot.faults import FAULTS, order

__all__ = ["FaultOrder", "control"]


class FaultOrder(BaseModel):
    """Make something go wrong, or right again."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    service: str
    fault: str
    on: bool


def control(sites: Mapping[str, Site]) -> web.Application:
    """Build the application; it answers the faults that the service has now, or 400 with what there is to choose from."""
    turn = asyncio.Lock()

    async def take(request: web.Request) -> web.Response:
        try:
            wanted = FaultOrder.model_validate_json(await request.read())
        except ValidationError as error:
            return web.Response(status=400, text=str(error))
        if wanted.service not in sites or wanted.fault not in FAULTS:
            return web.Response(status=400, text=f"services: {', '.join(sites)}; faults: {', '.join(FAULTS)}")
        site = sites[wanted.service]
        async with turn:
            await order(site, wanted.fault, on=wanted.on)
        return web.json_response(sorted(site.service.faults))

    app = web.Application()
    app.router.add_post("/fault", take)
    return app

"""The pages for people: the whole fleet, and one service of it."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from aiohttp import web

from exporter.engine.views import FleetView
from exporter.web.backend import Backend
from exporter.web.charts import bars, strip
from exporter.web.refusal import Refusal, quoted
from exporter.web.summary import state_of_target, summarise, worst_first
from exporter.web.templates import fill, warm
from exporter.web.worker import Worker

__all__ = ["Pages"]

REFRESH = 15
"""Seconds after which a page is loaded anew."""

MOST_PROBLEMS, MOST_FAULTS, MOST_ROWS, MOST_TARGETS = 40, 6, 400, 200
"""What a page shows at most; it says what it left out, and the API has all of it."""

_FEW_TARGETS = 4
"""So many targets are unfolded even when nothing is wrong with them."""


class Pages:
    """The endpoints for people.

    Args:
        backend: The daemon.
        worker: Where templates are filled: thousands of targets take longer than the event loop may be held.
    """

    def __init__(self, backend: Backend, worker: Worker) -> None:
        self._backend = backend
        self._worker = worker
        warm()

    def routes(self) -> list[web.RouteDef]:
        """Return what is served here."""
        return [web.get("/", self.status), web.get("/services/{name}", self.service)]

    async def status(self, request: web.Request) -> web.Response:
        """The whole fleet."""
        fleet, refresh = await self._backend.fleet(), _refresh(request)
        return await self._page(lambda: _status(fleet, refresh))

    async def service(self, request: web.Request) -> web.Response:
        """One service or dependency."""
        fleet, refresh, name = await self._backend.fleet(), _refresh(request), request.match_info["name"]
        if all(service.name != name for service in fleet.services):
            raise Refusal(HTTPStatus.NOT_FOUND, f"no service or dependency is called {quoted(name)}")
        return await self._page(lambda: _service(fleet, name, refresh))

    async def _page(self, make: Callable[[], str]) -> web.Response:
        return web.Response(text=await self._worker.run(make), content_type="text/html")


def _refresh(request: web.Request) -> int:
    """Return after how many seconds the page is to be loaded anew; 0 for a reader who wants it to stand still."""
    return 0 if request.query.get("refresh") == "off" else REFRESH


def _status(fleet: FleetView, refresh: int) -> str:
    summary = summarise(fleet)
    return fill(
        "status.html",
        fleet=fleet,
        now=fleet.generated_at,
        refresh=refresh,
        state=summary.state,
        summary=summary,
        most_problems=MOST_PROBLEMS,
        most_faults=MOST_FAULTS,
        most_rows=MOST_ROWS,
    )


def _service(fleet: FleetView, name: str, refresh: int) -> str:
    summary = summarise(fleet)
    row = next(row for row in (*summary.services, *summary.dependencies) if row.view.name == name)
    return fill(
        "service.html",
        fleet=fleet,
        now=fleet.generated_at,
        refresh=refresh,
        state=row.state,
        row=row,
        targets=worst_first(row.view.targets)[:MOST_TARGETS],
        few=len(row.view.targets) <= _FEW_TARGETS,
        most_faults=MOST_FAULTS,
        state_of=state_of_target,
        bars=bars,
        strip=strip,
    )

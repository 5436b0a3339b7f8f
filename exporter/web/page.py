"""The pages for people: the whole fleet, and one service of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import hdrs, web

from exporter.engine.prober import prober_steps
from exporter.engine.rollup import State
from exporter.engine.views import About, FleetView
from exporter.web.backend import Backend
from exporter.web.charts import bars, strip
from exporter.web.refusal import Refusal, quoted
from exporter.web.shared import Body, SharedAnswer
from exporter.web.summary import Link, Row, row_of, summarise
from exporter.web.templates import fill, warm
from exporter.web.worker import Worker

__all__ = ["Pages"]

REFRESH = 15
"""Seconds after which a page is loaded anew."""

KEEP = 1.0
"""Seconds for which all readers of the status page see the same, unless something changes."""

MOST_PROBLEMS, MOST_TROUBLED, MOST_FOLDED, MOST_ROWS, MOST_TARGETS, MOST_OVER = 40, 6, 12, 400, 200, 40
"""What a page shows at most; it says what it left out, and the API has all of it."""

_HTML: Mapping[str, str] = {hdrs.CONTENT_TYPE: "text/html; charset=utf-8"}

_FEW_TARGETS = 4
"""So many targets are unfolded even when nothing is wrong with them."""


class Pages:
    """The endpoints for people.

    One page is made at a time: filling a template keeps the interpreter from everything else, in a thread, too.

    Args:
        backend: The daemon.
        worker: Where templates are filled: thousands of targets take longer than the event loop may be held.
    """

    def __init__(self, backend: Backend, worker: Worker) -> None:
        self._backend = backend
        self._worker = worker
        self._one_at_a_time = asyncio.Lock()
        self._status = {refresh: self._shared_status(refresh) for refresh in (0, REFRESH)}
        warm()

    def routes(self) -> list[web.RouteDef]:
        """Return what is served here."""
        return [web.get("/", self.status), web.get("/services/{name}", self.service)]

    async def close(self) -> None:
        """Stop what is being made."""
        for shared in self._status.values():
            await shared.close()

    async def status(self, request: web.Request) -> web.StreamResponse:
        """The whole fleet."""
        return await self._status[_refresh(request)].respond(request, headers=_HTML)

    async def service(self, request: web.Request) -> web.Response:
        """One service or dependency."""
        refresh, name = _refresh(request), request.match_info["name"]
        async with self._one_at_a_time:
            view = await self._backend.service(name, MOST_TARGETS)
            if view is None:
                raise Refusal(HTTPStatus.NOT_FOUND, f"no service or dependency is called {quoted(name)}")
            row, about = row_of(view, self._backend.neighbours(name)), self._backend.about()
            configured = view.incident in self._backend.names()
            page = await self._worker.run(lambda: _service(about, row, refresh, incident_is_configured=configured))
            return web.Response(text=page, content_type="text/html")

    def _shared_status(self, refresh: int) -> SharedAnswer:
        async def make() -> Body:
            async with self._one_at_a_time:
                fleet = await self._backend.fleet()
                return Body.of(await self._worker.run(lambda: _status(fleet, refresh).encode()))

        return SharedAnswer(make, self._worker, keep=KEEP, edition=lambda: self._backend.edition)


def _refresh(request: web.Request) -> int:
    """Return after how many seconds the page is to be loaded anew; 0 for a reader who wants it to stand still."""
    return 0 if request.query.get("refresh") == "off" else REFRESH


def _status(fleet: FleetView, refresh: int) -> str:
    summary = summarise(fleet)
    return fill(
        "status.html",
        about=fleet,
        now=fleet.generated_at,
        refresh=refresh,
        state=summary.state,
        summary=summary,
        most_problems=MOST_PROBLEMS,
        most_troubled=MOST_TROUBLED,
        most_folded=MOST_FOLDED,
        most_rows=MOST_ROWS,
        prober_steps=prober_steps,
    )


def _service(about: About, row: Row, refresh: int, *, incident_is_configured: bool) -> str:
    down = {name: State.DOWN for diagnosis in row.view.diagnoses for name in diagnosis.takes_down}
    return fill(
        "service.html",
        about=about,
        now=about.generated_at,
        refresh=refresh,
        state=row.state,
        row=row,
        takes_down=[Link(name, state) for name, state in down.items()],
        incident_is_configured=incident_is_configured,
        few=row.view.target_count <= _FEW_TARGETS,
        most_troubled=MOST_TROUBLED,
        most_over=MOST_OVER,
        bars=bars,
        strip=strip,
    )

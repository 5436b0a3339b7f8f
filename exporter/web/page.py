"""The pages for people: the whole fleet, and one service of it."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping
from http import HTTPStatus

from aiohttp import hdrs, web

from exporter.engine.probed_view import ProbedView
from exporter.engine.prober import prober_steps
from exporter.engine.rollup import State, state_of
from exporter.engine.views import About, FleetView
from exporter.web.backend import Backend
from exporter.web.charts import bars, strip
from exporter.web.filter import Filter
from exporter.web.on_demand import OnDemand
from exporter.web.refusal import Refusal, quoted
from exporter.web.shared import Body, SharedAnswer
from exporter.web.summary import Link, Row, Summary, row_of, summarise
from exporter.web.templates import fill, warm
from exporter.web.worker import Worker

__all__ = ["Pages"]

REFRESH = 15
"""Seconds after which a page is loaded anew."""

KEEP = 1.0
"""Seconds for which all readers of the status page see the same, unless something changes."""

MOST_PROBLEMS, MOST_TROUBLED, MOST_FOLDED, MOST_LISTED, MOST_ROWS, MOST_TARGETS, MOST_OVER = 12, 6, 12, 100, 50, 50, 40
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
        on_demand: Runs probes.
    """

    def __init__(self, backend: Backend, worker: Worker, on_demand: OnDemand) -> None:
        self._backend = backend
        self._worker = worker
        self._on_demand = on_demand
        self._one_at_a_time = asyncio.Lock()
        self._status = {refresh: self._shared_status(refresh) for refresh in (0, REFRESH)}
        self._summary: tuple[Hashable, float, tuple[FleetView, Summary]] | None = None
        warm()

    def routes(self) -> list[web.RouteDef]:
        """Return what is served here."""
        return [web.get("/", self.status), web.get("/services/{name}", self.service), web.post("/probe/now", self.probe_now)]

    async def close(self) -> None:
        """Stop what is being made."""
        for shared in self._status.values():
            await shared.close()

    async def status(self, request: web.Request) -> web.StreamResponse:
        """The whole fleet, or what of it is asked for."""
        refresh, filter_ = _refresh(request), Filter.of(request.query)
        if filter_ == Filter():
            return await self._status[refresh].respond(request, headers=_HTML)
        async with self._one_at_a_time:
            fleet, summary = await self._known()
            page = await self._worker.run(lambda: _status(fleet, summary, refresh, filter_))
        return web.Response(text=page, content_type="text/html")

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

    async def probe_now(self, request: web.Request) -> web.Response:
        """Run one configured probe now, and show what it came to."""
        form = await request.post()
        service, probe, target = (str(form.get(name, "")) for name in ("service", "probe", "target"))
        found = await self._on_demand.run(lambda: self._backend.probe_now(service, probe, target or None))
        about = self._backend.about()
        values = {
            "about": about,
            "now": about.generated_at,
            "refresh": 0,
            "paused": "",
            "resumed": "/",
            "state": _state_of(found),
            "found": found,
        }
        page = await self._worker.run(lambda: fill("probed.html", **values, bars=bars))
        return web.Response(text=page, content_type="text/html")

    def _shared_status(self, refresh: int) -> SharedAnswer:
        async def make() -> Body:
            async with self._one_at_a_time:
                fleet, summary = await self._known()
                return Body.of(await self._worker.run(lambda: _status(fleet, summary, refresh, Filter()).encode()))

        return SharedAnswer(make, self._worker, keep=KEEP, edition=lambda: self._backend.edition)

    async def _known(self) -> tuple[FleetView, Summary]:
        """Return the fleet in order and words, the same to all who ask within `KEEP`, unless something has changed."""
        now, edition = asyncio.get_running_loop().time(), self._backend.edition
        if self._summary is not None and self._summary[0] == edition and now < self._summary[1] + KEEP:
            return self._summary[2]
        fleet = await self._backend.fleet()
        found = fleet, await self._worker.run(lambda: summarise(fleet))
        self._summary = edition, now, found
        asyncio.get_running_loop().call_later(KEEP, self._forget, found)
        return found

    def _forget(self, found: tuple[FleetView, Summary]) -> None:
        if self._summary is not None and self._summary[2] is found:
            self._summary = None


def _state_of(found: ProbedView) -> State:
    return state_of(found.verdict, troubled=bool(found.over) or any(found.parts.values()))


def _refresh(request: web.Request) -> int:
    """Return after how many seconds the page is to be loaded anew; 0 for a reader who wants it to stand still."""
    return 0 if request.query.get("refresh") == "off" else REFRESH


def _status(fleet: FleetView, summary: Summary, refresh: int, filter_: Filter) -> str:
    found = filter_.find(summary.rows)
    first = min(filter_.first, max(0, len(found) - 1)) // MOST_ROWS * MOST_ROWS
    still = "" if refresh else "off"
    return fill(
        "status.html",
        about=fleet,
        now=fleet.generated_at,
        refresh=refresh,
        paused=filter_.address(first, "off"),
        resumed=filter_.address(first),
        state=summary.state,
        summary=summary,
        filter=filter_,
        found=found,
        shown=found[first : first + MOST_ROWS],
        pages={
            "first": first,
            "before": filter_.address(first - MOST_ROWS, still) if first else None,
            "after": filter_.address(first + MOST_ROWS, still) if first + MOST_ROWS < len(found) else None,
        },
        most_problems=MOST_PROBLEMS,
        most_troubled=MOST_TROUBLED,
        most_folded=MOST_FOLDED,
        most_listed=MOST_LISTED,
        prober_steps=prober_steps,
    )


def _service(about: About, row: Row, refresh: int, *, incident_is_configured: bool) -> str:
    down = {name: State.DOWN for diagnosis in row.view.diagnoses for name in diagnosis.takes_down}
    return fill(
        "service.html",
        about=about,
        now=about.generated_at,
        refresh=refresh,
        paused="?refresh=off",
        resumed="?",
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

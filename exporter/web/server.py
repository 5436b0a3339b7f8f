"""The web server: the endpoints put together, listening, and ending in time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from exporter.values import Address
from exporter.web.access import Access
from exporter.web.access.gate import Gate
from exporter.web.api import Api
from exporter.web.assets import Assets
from exporter.web.backend import Backend
from exporter.web.badge import Badges
from exporter.web.defects import Defect, unforeseen
from exporter.web.delivery import AnswerMiddleware
from exporter.web.door import Doors, Handler
from exporter.web.events import Events
from exporter.web.exposition import Exposition
from exporter.web.form import Forms
from exporter.web.guard import Guard
from exporter.web.headers import dress
from exporter.web.limits import ServerLimits
from exporter.web.listener import Listener
from exporter.web.on_demand import OnDemand
from exporter.web.operations import Operations
from exporter.web.page import Pages
from exporter.web.worker import Worker

__all__ = ["make_app", "serve", "serve_health"]

_protocol_log = logging.getLogger("exporter.web.protocol")


def _is_ours(record: logging.LogRecord) -> bool:
    """Leave out what clients get wrong: each has its 400, and a log is not for strangers to fill."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


_protocol_log.addFilter(_is_ours)


def make_app(
    backend: Backend, worker: Worker, limits: ServerLimits, access: Access | None = None, doors: Doors | None = None
) -> web.Application:
    """Put the endpoints together."""
    access = access or Access()
    gate = Gate(access.way, access.server, access.turned)
    middleware = AnswerMiddleware(worker, limits, gate, doors, access.defect)
    app = web.Application(middlewares=[middleware.deliver], client_max_size=limits.body)
    on_demand = OnDemand(backend, limits)
    exposition, api = Exposition(backend, on_demand, worker), Api(backend, worker)
    pages = Pages(backend, worker, on_demand, Forms(limits))
    events = Events(backend, limits)
    badges = Badges(backend, lambda: access.server().embed_in)
    operations = Operations(backend, lifecycle=access.lifecycle)
    for part in (exposition, operations, api, pages, events, badges, Assets()):
        app.add_routes(part.routes())

    async def close(_: web.Application) -> None:
        gate.close()
        for part in (exposition, api, pages):
            await part.close()

    async def end(_: web.Application) -> None:
        events.end()

    app.on_shutdown.append(end)
    app.on_cleanup.append(close)
    return app


@asynccontextmanager
async def serve(
    backend: Backend, address: Address, limits: ServerLimits | None = None, access: Access | None = None
) -> AsyncIterator[Address]:
    """Serve until the block ends; give the address that is listened on, which tells the port where 0 was asked for.

    Args:
        backend: The daemon.
        address: Where to listen.
        limits: What clients may use, where it is not the usual.
        access: How clients are let in, where not all are.

    Raises:
        OSError: The address cannot be listened on; the text names it and says why.
    """
    limits, access = limits or ServerLimits(), access or Access()
    worker = Worker()
    try:
        guard = Guard(limits.connections, access.closed)
        async with _listening(
            lambda doors: make_app(backend, worker, limits, access, doors), address, limits, guard, access
        ) as found:
            yield found
    finally:
        worker.close()


@asynccontextmanager
async def serve_health(
    backend: Backend, address: Address, limits: ServerLimits | None = None, defect: Defect = unforeseen
) -> AsyncIterator[Address]:
    """Serve what platforms and other exporters ask, over plain HTTP and to anybody; see `serve`."""
    limits, access = limits or ServerLimits(), Access(defect=defect)
    worker = Worker()

    def make(doors: Doors) -> web.Application:
        middleware = AnswerMiddleware(worker, limits, doors=doors, defect=defect)
        app = web.Application(middlewares=[middleware.deliver], client_max_size=limits.body)
        app.add_routes(Operations(backend, lifecycle=False).health())
        return app

    try:
        async with _listening(make, address, limits, Guard(limits.health), access) as found:
            yield found
    finally:
        worker.close()


@asynccontextmanager
async def _listening(
    make: Callable[[Doors], web.Application],
    address: Address,
    limits: ServerLimits,
    guard: Guard,
    access: Access,
) -> AsyncIterator[Address]:
    """Listen, with what is made for the connections, until the block ends."""

    def handler() -> Handler:
        assert runner.server is not None  # noqa: S101 - the runner was set up
        return runner.server()

    doors = Doors(guard, handler, access.way, access.defect, limits.heads)
    runner = web.AppRunner(
        make(doors),
        access_log=None,
        logger=_protocol_log,
        handle_signals=False,
        shutdown_timeout=limits.shutdown,
        keepalive_timeout=limits.idle,
        max_line_size=limits.line,
        max_field_size=limits.line,
        max_headers=limits.headers,
        lingering_time=1.0,
        auto_decompress=False,  # nothing that is read here is compressed, and what claims to be might be a bomb
    )
    async with AsyncExitStack() as stack:
        await runner.setup()
        assert runner.server is not None  # noqa: S101 - it was set up
        dress(runner.server, limits.body, partial(_headers, access))
        stack.push_async_callback(_end, runner, doors)
        listener = await Listener.open(address, doors.accept, guard.make_room, guard.most)
        stack.callback(listener.close)
        yield Address(address.host, listener.port)


def _headers(access: Access) -> Mapping[str, str]:
    """Tell what an operator wants on every answer."""
    way = access.way()
    return way.config.http_server_config.headers.set if way is not None else {}


async def _end(runner: web.AppRunner, doors: Doors) -> None:
    """Let requests under way end, cancel the others, and leave no connection waiting for its client to read."""
    await runner.cleanup()
    await doors.close()
    await asyncio.sleep(0)

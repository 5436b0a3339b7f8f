"""The web server: the endpoints put together, listening, and ending in time."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from exporter.values import Address
from exporter.web.api import Api
from exporter.web.assets import Assets
from exporter.web.backend import Backend
from exporter.web.delivery import AnswerMiddleware
from exporter.web.exposition import Exposition
from exporter.web.limits import ServerLimits
from exporter.web.operations import Operations
from exporter.web.page import Pages
from exporter.web.worker import Worker

__all__ = ["make_app", "serve"]

_BACKLOG = 128

_protocol_log = logging.getLogger("exporter.web.protocol")


def _is_ours(record: logging.LogRecord) -> bool:
    """Leave out what clients get wrong: each has its 400, and a log is not for strangers to fill."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


_protocol_log.addFilter(_is_ours)


def make_app(backend: Backend, worker: Worker, limits: ServerLimits) -> web.Application:
    """Put the endpoints together."""
    app = web.Application(middlewares=[AnswerMiddleware(worker, limits).deliver], client_max_size=limits.body)
    exposition, api, pages = Exposition(backend, limits, worker), Api(backend, worker), Pages(backend, worker)
    for part in (exposition, Operations(backend), api, pages, Assets()):
        app.add_routes(part.routes())

    async def close(_: web.Application) -> None:
        for part in (exposition, api, pages):
            await part.close()

    app.on_cleanup.append(close)
    return app


@asynccontextmanager
async def serve(backend: Backend, address: Address, limits: ServerLimits | None = None) -> AsyncIterator[Address]:
    """Serve until the block ends; give the address that is listened on, which tells the port where 0 was asked for.

    Args:
        backend: The daemon.
        address: Where to listen.
        limits: What clients may use, where it is not the usual.

    Raises:
        OSError: The address cannot be listened on; the text names it and says why.
    """
    limits = limits or ServerLimits()
    worker = Worker()
    runner = web.AppRunner(
        make_app(backend, worker, limits),
        access_log=None,
        logger=_protocol_log,
        handle_signals=False,
        shutdown_timeout=limits.shutdown,
        keepalive_timeout=limits.idle,
        max_line_size=limits.line,
        max_field_size=limits.line,
        max_headers=limits.headers,
        lingering_time=1.0,
    )
    try:
        await runner.setup()
        listener = await _listen(runner, address, limits)
        try:
            yield Address(address.host, listener.sockets[0].getsockname()[1])
        finally:
            listener.close()
            await _end(runner)
    finally:
        worker.close()


async def _listen(runner: web.AppRunner, address: Address, limits: ServerLimits) -> asyncio.Server:
    server = runner.server
    assert server is not None  # noqa: S101 - the runner was set up

    def accept() -> asyncio.Protocol:
        return server() if len(server.connections) < limits.connections else _Full()

    try:
        return await asyncio.get_running_loop().create_server(accept, address.host, address.port, backlog=_BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
        raise OSError(error.errno, f"cannot listen on {address}: {reason}") from error


async def _end(runner: web.AppRunner) -> None:
    """Let requests under way end, cancel the others, and leave no connection waiting for its client to read."""
    assert runner.server is not None  # noqa: S101 - the runner was set up
    transports = [connection.transport for connection in runner.server.connections]
    await runner.cleanup()
    for transport in transports:
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()
    await asyncio.sleep(0)


class _Full(asyncio.Protocol):
    """What a connection gets that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it."""
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()

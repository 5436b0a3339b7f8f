"""The headers of every answer, also of those that the HTTP library makes by itself, as to what is no HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from aiohttp import StreamReader, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage

__all__ = ["Headers", "dress"]

_SAFE = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; "
    "img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    hdrs.CACHE_CONTROL: "no-store",
}
"""What an answer has that does not say otherwise by itself."""

_SERVER = "hafnium-exporter"

Headers = Callable[[], Mapping[str, str]]
"""Tells the headers that an operator wants on every answer."""


def dress(server: web.Server, limit: int, wanted: Headers) -> None:
    """Have every answer of a server leave with safe headers, whoever makes it.

    What cannot be parsed has no application, so neither its middleware nor its signals see the answer; all that any answer
    passes on its way is the request that it belongs to.

    Args:
        server: Of whose connections.
        limit: Bytes that the body of a request may have.
        wanted: What an operator wants on every answer.
    """

    class Request(web.Request):
        """A request that dresses its answer."""

        async def _prepare_hook(self, response: web.StreamResponse) -> None:
            await super()._prepare_hook(response)
            for name, value in _SAFE.items():
                response.headers.setdefault(name, value)
            response.headers[hdrs.SERVER] = _SERVER  # the library has put its own there, with its version and Python's
            response.headers.update(wanted())

    def make(
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.Request:
        return Request(message, payload, protocol, writer, task, asyncio.get_running_loop(), client_max_size=limit)

    server.request_factory = make

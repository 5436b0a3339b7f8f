"""`/events`: whoever has a page open is told when it is out of date. The page is then fetched as any other:
nothing of the fleet is in an event.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from http import HTTPStatus

from aiohttp import hdrs, web

from exporter.web.backend import Backend
from exporter.web.delivery import Stream
from exporter.web.limits import ServerLimits
from exporter.web.refusal import Refusal

__all__ = ["Events"]

LOOK = 1.0
"""Seconds between looks for a change: a storm of them is one event a second."""

BEAT = 15.0
"""Seconds of silence after which a line is sent all the same, so that a connection which is gone is found out."""

_HEADERS: Mapping[str, str] = {hdrs.CONTENT_TYPE: "text/event-stream", hdrs.CACHE_CONTROL: "no-store"}


class Events:
    """The endpoint for pages that are open.

    Each costs a task that sleeps. One that does not read has its connection closed by the deadline of every answer.

    Args:
        backend: The daemon.
        limits: What clients may use.
    """

    def __init__(self, backend: Backend, limits: ServerLimits) -> None:
        self._backend = backend
        self._most = limits.events
        self._open = 0
        self._ending = asyncio.Event()

    def routes(self) -> list[web.RouteDef]:
        """Return what is served here."""
        return [web.get("/events", self.events, allow_head=False)]

    def end(self) -> None:
        """Have all of them end: the exporter does."""
        self._ending.set()

    async def events(self, _request: web.Request) -> web.StreamResponse:
        """Tell of changes until the reader is gone, or the exporter ends."""
        if self._open >= self._most:
            text = f"{self._most} pages are told of changes already; this one loads itself anew"
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, text, {hdrs.RETRY_AFTER: "60"})
        return Stream(self._pieces(), _HEADERS, packed=False)

    async def _pieces(self) -> AsyncGenerator[bytes]:
        if self._open >= self._most:  # others came in the same moment
            return
        self._open += 1
        try:
            yield b"retry: 5000\n\n"
            known, silent = self._backend.edition, 0.0
            while not self._ending.is_set():
                try:
                    await asyncio.wait_for(self._ending.wait(), LOOK)
                except TimeoutError:
                    silent += LOOK
                if self._backend.edition != known:
                    known, silent = self._backend.edition, 0.0
                    yield b"event: change\ndata: 1\n\n"
                elif silent >= BEAT:
                    silent = 0.0
                    yield b": still there\n\n"
        finally:
            self._open -= 1

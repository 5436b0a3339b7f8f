"""Answers that are made once for all who ask for them at the moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable

from aiohttp import web

from exporter.web import compression
from exporter.web.worker import Worker

__all__ = ["SharedAnswer"]


class SharedAnswer:
    """One answer that many ask for. While one is being made, whoever asks waits for the next, together with the others.

    Nobody gets what is older than their question, unless `keep` allows it; and whatever the number of those who ask, one is
    made at a time. Nothing is held on to once it is delivered and `keep` is over.

    Args:
        make: Makes the body.
        worker: Where it is compressed.
        keep: For how many seconds after its making began an answer may still be given, if the edition is the same.
        edition: Tells what an answer is made of.
    """

    def __init__(
        self,
        make: Callable[[], Awaitable[bytes]],
        worker: Worker,
        *,
        keep: float = 0.0,
        edition: Callable[[], Hashable] = lambda: None,
    ) -> None:
        self._make = make
        self._worker = worker
        self._keep = keep
        self._edition = edition
        self._waiting: _Making | None = None
        self._latest: _Making | None = None
        self._runner: asyncio.Task[None] | None = None

    async def respond(self, request: web.Request, **options: object) -> web.Response:
        """Answer a request; the options are those of `web.Response`."""
        making = self._current()
        if not compression.wants(request):
            return web.Response(body=await asyncio.shield(making.plain), **options)  # type: ignore[arg-type]
        if making.packed is None:
            making.packed = asyncio.ensure_future(self._pack(making))
        body = await asyncio.shield(making.packed)
        response = web.Response(body=body, **options)  # type: ignore[arg-type]
        if body is not making.plain.result():
            compression.mark(response)
        return response

    async def close(self) -> None:
        """Stop what is being made; whoever waits for it is told."""
        makings = filter(None, (self._latest, self._waiting))
        tasks = [task for task in (self._runner, *(making.packed for making in makings)) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._waiting = self._latest = None

    def _current(self) -> _Making:
        """Return the making that a question of now belongs to."""
        latest, now = self._latest, asyncio.get_running_loop().time()
        if latest is not None and now - latest.began < self._keep and latest.edition == self._edition():
            return latest
        if self._waiting is None:
            self._waiting = _Making()
            if self._runner is None:
                self._runner = asyncio.create_task(self._run(), name="web: shared answer")
        return self._waiting

    async def _run(self) -> None:
        try:
            while self._waiting is not None:
                making, self._waiting = self._waiting, None
                await self._bring_about(making)
        finally:
            self._runner = None

    async def _bring_about(self, making: _Making) -> None:
        loop = asyncio.get_running_loop()
        making.began, making.edition = loop.time(), self._edition()
        self._latest = making
        try:
            making.plain.set_result(await self._make())
        except Exception as error:
            making.plain.set_exception(error)
            self._forget(making)
        except asyncio.CancelledError:
            making.plain.cancel()
            self._forget(making)
            raise
        if making.packed is not None:
            await asyncio.wait([making.packed])
        left = making.began + self._keep - loop.time()
        if left > 0:
            loop.call_later(left, self._forget, making)
        else:
            self._forget(making)

    def _forget(self, making: _Making) -> None:
        if self._latest is making:
            self._latest = None

    async def _pack(self, making: _Making) -> bytes:
        plain = await asyncio.shield(making.plain)
        return await self._worker.run(lambda: compression.pack(plain)) if compression.worth(plain) else plain


class _Making:
    """One making, and what comes of it."""

    def __init__(self) -> None:
        self.plain: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.packed: asyncio.Future[bytes] | None = None
        self.began = 0.0
        self.edition: Hashable = None

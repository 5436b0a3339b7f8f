"""Answers that are made once for all who ask for them at the moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from typing import NamedTuple

from aiohttp import web

from exporter.web import compression
from exporter.web.delivery import Whole
from exporter.web.worker import Worker

__all__ = ["Body", "SharedAnswer"]

_JOINED = 2000
"""Parts that are joined into a piece: of an exposition some hundred kilobytes, a moment's work."""


class Body(NamedTuple):
    """A body in parts, of which there may be hundreds of thousands.

    Attributes:
        parts: What it is joined from.
        size: Bytes of them all.
    """

    parts: Sequence[bytes]
    size: int

    @classmethod
    def of(cls, whole: bytes) -> Body:
        """Make one of a single part."""
        return cls((whole,), len(whole))

    def pieces(self) -> Iterator[bytes]:
        """Join the parts into pieces. To be done in a thread: nobody is held up for longer than by one piece."""
        for at in range(0, len(self.parts), _JOINED):
            yield b"".join(self.parts[at : at + _JOINED])


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
        make: Callable[[], Awaitable[Body]],
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

    async def respond(self, request: web.Request, headers: Mapping[str, str]) -> web.StreamResponse:
        """Answer a request."""
        making = self._current()
        if not compression.wants(request):
            return await self._plain(making, headers)
        if making.packed is None:
            making.packed = asyncio.ensure_future(self._pack(making))
        packed = await asyncio.shield(making.packed)
        if packed is None:
            return await self._plain(making, headers)
        response = web.Response(body=packed, headers=headers)
        compression.mark(response)
        return response

    async def close(self) -> None:
        """Stop what is being made; whoever waits for it is told."""
        makings = filter(None, (self._latest, self._waiting))
        made = [future for making in makings for future in (making.packed, making.plain)]
        tasks = [task for task in (self._runner, *made) if task is not None]
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
            making.body.set_result(await self._make())
        except Exception as error:
            making.body.set_exception(error)
            self._forget(making)
        except asyncio.CancelledError:
            making.body.cancel()
            self._forget(making)
            raise
        under_way = [future for future in (making.packed, making.plain) if future is not None]
        if under_way:
            await asyncio.wait(under_way)
        left = making.began + self._keep - loop.time()
        if left > 0:
            loop.call_later(left, self._forget, making)
        else:
            self._forget(making)

    def _forget(self, making: _Making) -> None:
        if self._latest is making:
            self._latest = None

    async def _plain(self, making: _Making, headers: Mapping[str, str]) -> web.StreamResponse:
        if making.plain is None:
            making.plain = asyncio.ensure_future(self._join(making))
        pieces = await asyncio.shield(making.plain)
        return Whole(pieces, headers) if len(pieces) > 1 else web.Response(body=b"".join(pieces), headers=headers)

    async def _join(self, making: _Making) -> list[bytes]:
        body = await asyncio.shield(making.body)
        return await self._worker.run(lambda: list(body.pieces()))

    async def _pack(self, making: _Making) -> bytes | None:
        """Compress; return None where it is not worth it."""
        body = await asyncio.shield(making.body)
        return await self._worker.run(lambda: compression.pack(body.pieces())) if compression.worth(body.size) else None


class _Making:
    """One making, and what comes of it."""

    def __init__(self) -> None:
        self.body: asyncio.Future[Body] = asyncio.get_running_loop().create_future()
        self.plain: asyncio.Future[list[bytes]] | None = None
        self.packed: asyncio.Future[bytes | None] | None = None
        self.began = 0.0
        self.edition: Hashable = None

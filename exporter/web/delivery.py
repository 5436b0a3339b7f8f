"""How every answer leaves: errors explained, compressed off the loop, within a deadline."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, aclosing, contextmanager
from functools import partial
from http import HTTPStatus
from typing import TypeGuard

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from exporter.web import compression
from exporter.web.access.gate import HEALTH, Gate
from exporter.web.defects import Defect, unforeseen
from exporter.web.door import Door, Doors
from exporter.web.held import Held
from exporter.web.limits import ServerLimits
from exporter.web.refusal import Refusal, refuse
from exporter.web.turns import Turns
from exporter.web.worker import Worker

__all__ = ["FENCE", "AnswerMiddleware", "Fence", "Stream", "Whole"]


log = logging.getLogger(__name__)

_PIECE = 262_144
"""Bytes of a large body that are sent in one go."""

_CHEAP = frozenset({"/", "/metrics", "/events", "/probe/now", *HEALTH})
"""Answers that are made once for all who ask at the same moment, cost nothing, or are counted elsewhere: never too many."""


class Fence:
    """Put on a request whose answer may go out of date at any moment, and asked before each piece is sent. Where it says no,
    the connection is closed, so that the client knows that it has not got the answer.

    Args:
        holds: Says whether the answer may still be sent.
    """

    def __init__(self, holds: Callable[[], bool]) -> None:
        self.holds = holds


FENCE = web.RequestKey("fence", Fence)


class Stream(web.StreamResponse):
    """An answer that is made while it is sent, so that it is never whole in memory.

    Args:
        pieces: What it consists of.
        headers: Its headers.
        packed: Whether it may be compressed; what is to arrive piece by piece may not.
    """

    def __init__(self, pieces: AsyncGenerator[bytes], headers: Mapping[str, str], *, packed: bool = True) -> None:
        super().__init__(headers=headers)
        self.pieces = pieces
        self.packed = packed


class Whole(web.StreamResponse):
    """An answer that is known as a whole, in pieces: one of thousands of targets is never joined.

    Args:
        pieces: What it consists of.
        headers: Its headers.
    """

    def __init__(self, pieces: Sequence[bytes], headers: Mapping[str, str]) -> None:
        super().__init__(headers=headers)
        self.pieces = pieces
        self.content_length = sum(map(len, pieces))


class AnswerMiddleware:
    """The one middleware.

    Args:
        worker: Where answers are compressed.
        limits: What clients may use.
        gate: Asked before a request is answered; None where all are.
        doors: The connections, told which of them are at work.
        defect: Is told of each unexpected exception.
    """

    def __init__(
        self,
        worker: Worker,
        limits: ServerLimits,
        gate: Gate | None = None,
        doors: Doors | None = None,
        defect: Defect = unforeseen,
    ) -> None:
        self._worker = worker
        self._limits = limits
        self._gate = gate
        self._doors = doors
        self._defect = defect
        self._turns = Turns()
        self._held = Held(limits.held)
        self._making = 0

    @web.middleware
    async def deliver(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request and send the answer."""
        door = self._doors.of(request.protocol) if self._doors is not None else None
        if door is None:
            return await self._deliver(request, handler, None)
        if door.is_outdated:  # a client that is still let in connects anew, and asks once more
            log.debug("%s: connected on terms that have changed", door.host)
            door.abort()
            return web.Response()
        door.busy(request)
        try:
            return await self._deliver(request, handler, door)
        finally:
            door.idle(request)

    async def _deliver(self, request: web.Request, handler: Handler, door: Door | None) -> web.StreamResponse:
        with ExitStack() as stack:
            response = await self._answer(request, handler, stack)
            if isinstance(response, Whole):
                compression.vary(response)
            elif isinstance(response, web.Response):
                await self._compress(request, response)
            elif isinstance(response, Stream) and response.packed:
                self._compress_stream(request, response)
            if not isinstance(response, Stream):  # which is made while it is sent
                stack.close()
            return await self._send(request, response, door)

    async def _answer(self, request: web.Request, handler: Handler, stack: ExitStack) -> web.StreamResponse:
        try:
            if self._gate is not None:
                await self._gate.check(request)
            stack.enter_context(self._admitted(request))
            return await handler(request)
        except Refusal as refusal:
            return refuse(request, refusal)
        except web.HTTPException as error:  # the router's: no such path, not this method
            return refuse(request, _routers(request, error))
        except Exception as error:
            self._defect(f"{request.method} {request.path} failed", error)
            return refuse(request, Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "a defect of the exporter; its log says more"))

    @contextmanager
    def _admitted(self, request: web.Request) -> Iterator[None]:
        if (request.content_length or 0) > self._limits.body:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too large", {hdrs.CONNECTION: "close"})
        if request.path in _CHEAP and not (request.path == "/" and request.query_string):
            yield
            return
        if self._making >= self._limits.requests:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests at once", {hdrs.RETRY_AFTER: "1"})
        self._making += 1
        try:
            yield
        finally:
            self._making -= 1

    async def _compress(self, request: web.Request, response: web.Response) -> None:
        body = response.body
        if not isinstance(body, bytes) or not compression.worth(len(body)) or hdrs.CONTENT_ENCODING in response.headers:
            return
        if compression.wants(request):
            response.body = await self._worker.run(lambda: compression.pack([body]))
            compression.mark(response)
        else:
            compression.vary(response)

    def _compress_stream(self, request: web.Request, stream: Stream) -> None:
        if compression.wants(request):
            stream.pieces = self._packed(stream.pieces)
            compression.mark(stream)
        else:
            compression.vary(stream)

    async def _packed(self, pieces: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        packer = compression.packer()
        async with aclosing(pieces):
            async for piece in pieces:
                packed = await self._worker.run(partial(packer.compress, piece))
                if packed:
                    yield packed
        yield packer.flush()

    async def _send(self, request: web.Request, response: web.StreamResponse, door: Door | None) -> web.StreamResponse:
        transport = request.transport
        if transport is None:
            return response
        # Without a buffer of its own the transport reports only what the kernel took, so the deadline covers all of it,
        # and no half-read answer stays in memory when the connection is closed.
        transport.set_write_buffer_limits(high=0)
        try:
            async with asyncio.timeout(self._limits.send) as deadline:
                _check(request)
                if isinstance(response, Stream):
                    return await _send_stream(request, response, deadline)
                if isinstance(response, Whole):
                    with self._held.holding(response.pieces, response.content_length or 0, door):
                        return await self._send_whole(request, response)
                if _is_large(response, request.method):
                    with self._held.holding(response.body, len(_body(response)), door):
                        return await self._send_in_pieces(request, response)
                await response.prepare(request)
                await response.write_eof()
        except _OutOfDate:
            log.info("what %s was to be told may not be sent any more; connection closed", request.path)
            transport.abort()
        except TimeoutError as error:
            log.info("a client of %s read too slowly; connection closed", request.path)
            transport.abort()
            _let_go(error)
        except ConnectionError as error:
            log.debug("a client of %s went away", request.path)
            _let_go(error)
        except Exception as error:  # in the middle of a stream, whose status is sent: what is missing shows that it failed
            self._defect(f"{request.method} {request.path} failed", error)
            transport.abort()
        return response

    async def _send_whole(self, request: web.Request, whole: Whole) -> Whole:
        await whole.prepare(request)
        if request.method != hdrs.METH_HEAD:
            for piece in whole.pieces:
                await self._turns.take()
                _check(request)
                await whole.write(piece)
        await whole.write_eof()
        return whole

    async def _send_in_pieces(self, request: web.Request, response: web.Response) -> web.StreamResponse:
        """Send a large body so that the event loop is not held up by copying all of it at once."""
        body = _body(response)
        stream = web.StreamResponse(status=response.status, reason=response.reason, headers=response.headers)
        stream.content_length = len(body)
        await stream.prepare(request)
        view = memoryview(body)
        for start in range(0, len(body), _PIECE):
            await self._turns.take()
            _check(request)
            await stream.write(view[start : start + _PIECE])
        await stream.write_eof()
        return stream


def _let_go(error: BaseException) -> None:
    """Forget where an error was raised: a future there holds the error, and so all that was to be sent would stay in memory
    until a full garbage collection, which is rare."""
    found: BaseException | None = error
    while found is not None:
        found.__traceback__ = None
        found = found.__context__


class _OutOfDate(Exception):  # noqa: N818 - it says what happened
    """An answer may not be sent any more."""


def _check(request: web.Request) -> None:
    fence = request.get(FENCE)
    if fence is not None and not fence.holds():
        raise _OutOfDate


async def _send_stream(request: web.Request, stream: Stream, deadline: asyncio.Timeout) -> web.StreamResponse:
    """Send what is made while it is sent; the time that the making takes is not the client's."""
    loop = asyncio.get_running_loop()
    async with aclosing(stream.pieces) as pieces:
        await stream.prepare(request)
        while request.method != hdrs.METH_HEAD:
            began = loop.time()
            piece = await anext(pieces, None)
            if piece is None:
                break
            until = deadline.when()
            assert until is not None  # noqa: S101 - it has one
            deadline.reschedule(until + loop.time() - began)
            await stream.write(piece)
        await stream.write_eof()
    return stream


def _body(response: web.Response) -> bytes:
    assert isinstance(response.body, bytes)  # noqa: S101 - it is large
    return response.body


def _is_large(response: web.StreamResponse, method: str) -> TypeGuard[web.Response]:
    if method == hdrs.METH_HEAD or not isinstance(response, web.Response):
        return False
    return isinstance(response.body, bytes) and len(response.body) > _PIECE


def _routers(request: web.Request, error: web.HTTPException) -> Refusal:
    status = HTTPStatus(error.status)
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return Refusal(status, f"{request.path} answers {allowed} only", {hdrs.ALLOW: allowed})
    if status is HTTPStatus.NOT_FOUND:
        return Refusal(status, "There is nothing at this address.", lost=True)
    return Refusal(status, error.reason)

"""One HTTP/1.1 connection: one request at a time, its phases timed, its answer bounded in every dimension.

The parsing is llhttp's, by httptools. What is added here is what a parser leaves open: how long an answer may be, how much
may come before it and around it, and how long the event loop may be held by one peer.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import NamedTuple, Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from exporter.net.errors import failure_of
from exporter.net.phases import NoPhases, Phases, phase_clock
from exporter.verdict import Failure, Reason, Stage

__all__ = ["Answer", "Connection", "Headers"]

MAX_HEADER_BYTES = 16_384
"""Of one answer, names and values together, trailers included."""

MAX_EARLY_BYTES = 65_536
"""Bytes before the headers of the answer are whole, informational answers included."""

MAX_PIECES = 65_536
"""Pieces that a body may come in: chunks of a byte cost more than they say."""

_SLICE = 65_536
"""Bytes that are parsed before the time is looked at."""

_TURN = 0.002
"""Seconds after which the event loop has its turn before more of one answer is parsed."""

_FAREWELL = 1.0
"""Seconds for a peer to answer the end of a TLS connection."""


class Headers(Mapping[str, str]):
    """Response headers by name in any case; several of one name are joined, as by RFC 9110."""

    __slots__ = ("_values",)

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        values: dict[bytes, bytes] = {}
        for name, value in pairs:
            key = name.lower()
            values[key] = value if key not in values else values[key] + b", " + value
        self._values = values

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower().encode("latin-1", "replace")].decode("latin-1")

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._values)

    def __len__(self) -> int:
        return len(self._values)

    def raw(self, name: bytes) -> bytes | None:
        """Return a value as it came, by the name in lower case."""
        return self._values.get(name)


class Answer(NamedTuple):
    """A whole HTTP answer.

    Attributes:
        status: HTTP status code.
        headers: Response headers, case-insensitive.
        body: The body, whole and not decoded.
        reused: The connection was kept from an earlier request.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    reused: bool


_NOBODY = NoPhases()
"""Whose phases are timed while no exchange is under way."""


class _Lost(Protocol):
    def __call__(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """A connection and the exchange that is under way over it.

    Args:
        lost: Called once the connection is closed, by whichever side.

    Attributes:
        descriptor: Its number among the process's open files.
        expires: Unix time at which what was verified of the peer no longer holds.
        idle_since: Loop time at which it was put aside.
        silent: Not a byte of an answer to the last request has come.
        used: Exchanges that came to their end.
    """

    __slots__ = (
        "_backlog", "_body", "_clock", "_early", "_ended", "_head_bytes", "_headers", "_length", "_loop", "_lost", "_mark",
        "_max_bytes", "_pairs", "_parser", "_phases", "_pieces", "_reusable", "_status", "_surplus", "_transport", "_waiter",
        "_wire", "descriptor", "expires", "idle_since", "silent", "used",
    )  # fmt: skip

    def __init__(self, lost: _Lost) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = phase_clock()
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._parser = HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(  # what servers in use are known to send, as other clients take it
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._waiter: asyncio.Future[Answer] | None = None
        self._phases: Phases = _NOBODY
        self._headers: Headers | None = None
        self._backlog = b""
        self._surplus = self._reusable = False
        self.descriptor = -1
        self.expires = math.inf
        self.idle_since = 0.0
        self.silent = True
        self.used = 0

    # --- for its user ---------------------------------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """Whether it may take another request: it is whole, and nothing has come that nobody asked for."""
        return self._transport is not None and not self._surplus and not self._transport.is_closing()

    @property
    def reusable(self) -> bool:
        """Whether both sides are willing to use it again."""
        return self._reusable and self.open

    @property
    def transport(self) -> asyncio.Transport:
        """What it is made over.

        Raises:
            ConnectionResetError: It is closed.
        """
        if self._transport is None:
            raise ConnectionResetError("the connection was closed at once")
        return self._transport

    def secured(self, transport: asyncio.Transport, expires: float) -> None:
        """Go on over TLS."""
        self._transport = transport
        self.expires = expires

    async def exchange(self, request: bytes, phases: Phases, max_bytes: int) -> Answer:
        """Send a request and wait for its answer. The connection is closed where the answer does not come whole.

        Args:
            request: As it is sent.
            phases: Receives send, wait and receive, and the stage.
            max_bytes: Longest body that is read.

        Raises:
            Failure: The answer did not come whole.
        """
        self._begin(phases, max_bytes)
        waiter: asyncio.Future[Answer] = self._loop.create_future()
        self._waiter = waiter
        if self._transport is None or self._transport.is_closing():  # uvloop raises in place of saying that it is closed
            self._fail(_closed(Stage.SEND))
        else:
            self._transport.write(request)
            self._lap(Stage.SEND, Stage.WAIT)
        try:
            return await waiter
        except asyncio.CancelledError:  # a deadline is named after the stage it struck in
            if waiter.done() and not waiter.cancelled():
                waiter.exception()  # it came too late for anybody to look at it
            self._lap(phases.stage, phases.stage)
            self.abort()
            raise
        finally:
            self._waiter = None
            self._phases = _NOBODY  # an attempt is not kept for as long as its connection is
            self._headers = None

    def close(self) -> None:
        """Close it, with the farewell that TLS has; a peer that does not answer it is not waited for."""
        if self._transport is None or self._transport.is_closing():  # closed twice, asyncio's TLS cannot be aborted any more
            return
        if self._transport.get_extra_info("sslcontext") is not None:
            self._loop.call_later(_FAREWELL, self.abort)
        self._transport.close()

    def abort(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()

    # --- what asyncio calls -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self.descriptor = transport.get_extra_info("socket").fileno()

    def data_received(self, data: bytes) -> None:
        """Parse what has come. What nobody asked for must never be taken for the answer to the next request."""
        if self._waiter is None or self._waiter.done():
            self._surplus = True
            self.abort()
            return
        self.silent = False
        if self._backlog:
            self._backlog += data
        else:
            self._take(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the exchange under way: an answer may last until the connection is closed."""
        self._transport = None
        if self._backlog:
            rest, self._backlog = self._backlog, b""
            self._feed(rest)
        if self._waiter is not None and not self._waiter.done():
            if exc is None and self._headers is not None and self._length is None:
                self._finish()
            else:
                stage = self._phases.stage
                self._fail((failure_of(exc, stage) if exc is not None else None) or _closed(stage))
        del self._parser  # which refers back to this
        self._lost(self)

    # --- slices -----------------------------------------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        """Parse as much as one turn of the event loop has room for; a peer that sends on and on has many turns."""
        if len(data) <= _SLICE:
            self._feed(data)
            return
        started, at = monotonic(), 0
        while at < len(data) and self._waiter is not None and not self._waiter.done():
            self._feed(data[at : at + _SLICE])
            at += _SLICE
            if at < len(data) and monotonic() - started > _TURN:
                self._backlog = data[at:]
                if self._transport is not None:
                    self._transport.pause_reading()
                self._loop.call_soon(self._go_on)
                return
        self._surplus = self._surplus or at < len(data)

    def _go_on(self) -> None:
        rest, self._backlog = self._backlog, b""
        self._take(rest)
        if not self._backlog and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _feed(self, data: bytes) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        self._wire += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._refuse("another protocol, which was not asked for")
        except HttpParserError as error:
            if waiter.done():  # the answer was whole: what came after it is no part of it
                self._surplus = True
                self.abort()
            else:
                self._refuse(str(error.__context__ or error))
            return
        if not waiter.done():
            self._bound_framing()

    def _bound_framing(self) -> None:
        if self._headers is None:
            if self._wire > MAX_EARLY_BYTES:
                self._refuse(f"no answer within {MAX_EARLY_BYTES} bytes")
        elif self._wire - self._early > MAX_EARLY_BYTES + 8 * self._body or len(self._pieces) > MAX_PIECES:
            self._refuse("more framing than answer")

    # --- the exchange -----------------------------------------------------------------------------------------------------

    def _begin(self, phases: Phases, max_bytes: int) -> None:
        self._phases, self._max_bytes = phases, max_bytes
        self._pairs: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []
        self._headers = None
        self._length: bytes | None = None
        self._status = self._head_bytes = self._wire = self._early = self._body = 0
        self._reusable = self._ended = False
        self.silent = True
        phases.stage = Stage.SEND
        self._mark = self._clock()

    def _lap(self, done: Stage, following: Stage) -> None:
        now = self._clock()
        self._phases.add_phase(done, now - self._mark)
        self._mark = now
        self._phases.stage = following

    def _finish(self) -> None:
        """Hand over the answer."""
        waiter, headers = self._waiter, self._headers
        if waiter is None or waiter.done() or headers is None:
            return
        self._ended = True
        self._lap(Stage.RECEIVE, Stage.CHECK)
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        waiter.set_result(Answer(self._status, headers, body, self.used > 0))
        self.used += 1
        self._pieces = []

    def _fail(self, failure: Failure) -> None:
        """End the exchange, and the connection with it."""
        if self._waiter is not None and not self._waiter.done():
            if not (self.silent and self.used):  # of a kept connection that was closed unseen there is nothing to time
                self._lap(self._phases.stage, self._phases.stage)
            self._waiter.set_exception(failure)
        self._pieces = []
        self.abort()

    def _refuse(self, why: str) -> None:
        self._fail(Failure(self._phases.stage, Reason.PROTOCOL, f"not an HTTP answer: {why}"))

    # --- what the parser calls --------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin an answer, an informational one, or one to nobody."""
        if self._ended:
            self._surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer."""
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > MAX_HEADER_BYTES:
            self._refuse(f"headers longer than {MAX_HEADER_BYTES} bytes")
        elif self._headers is None:
            self._pairs.append((name, value))

    def on_headers_complete(self) -> None:
        """Look at the headers before anything of the body is taken."""
        if self._ended or self._waiter is None or self._waiter.done():
            return
        status = self._parser.get_status_code()
        if status < 200:
            if status == 101:
                self._refuse("another protocol, which was not asked for")
            self._pairs, self._head_bytes = [], 0
            return
        self._status = status
        self._headers = headers = Headers(self._pairs)
        self._early = self._wire
        self._reusable = self._parser.should_keep_alive()
        self._length = headers.raw(b"content-length")
        if self._length is None and (status in {204, 304} or _ends_in_chunked(headers.raw(b"transfer-encoding"))):
            self._length = b""
        self._lap(Stage.WAIT, Stage.RECEIVE)
        encoding = headers.raw(b"content-encoding")
        if encoding is not None and encoding.strip().lower() != b"identity":
            self._fail(Failure(Stage.RECEIVE, Reason.PROTOCOL, "the answer is compressed, which was not asked for"))
        elif self._length and int(self._length) > self._max_bytes:  # llhttp has taken it for a number
            self._fail(self._too_large())

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        if self._ended or self._waiter is None or self._waiter.done():
            return
        self._body += len(body)
        if self._body > self._max_bytes:
            self._fail(self._too_large())
        else:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        """End the answer; an informational one is followed by another."""
        if not self._ended:
            self._finish()

    def _too_large(self) -> Failure:
        return Failure(Stage.RECEIVE, Reason.TOO_LARGE, f"the answer is longer than {self._max_bytes} bytes")


def _closed(stage: Stage) -> Failure:
    if stage is Stage.RECEIVE:
        return Failure(stage, Reason.CONNECTION_CLOSED, "the connection was closed before the answer was whole")
    return Failure(stage, Reason.CONNECTION_CLOSED, "the server closed the connection without an answer")


def _ends_in_chunked(encoding: bytes | None) -> bool:
    return encoding is not None and encoding.rstrip().lower().endswith(b"chunked")

"""HTTP over kept-alive connections: phases timed, size bounded, redirects refused, failures named."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from exporter import __version__
from exporter.net.errors import failure_of
from exporter.net.phases import Phases, phase_clock
from exporter.net.resolver import AiohttpResolver, Resolver
from exporter.net.tls import handshake_started
from exporter.verdict import Failure, Reason, Stage

__all__ = ["Answer", "HttpClient"]

_MAX_HEADER_BYTES = 16_384
_KEEPALIVE = 90.0
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": f"hafnium-exporter/{__version__}"}


@dataclass(frozen=True, slots=True)
class Answer:
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


class _Exchange:
    """The times of one exchange, filled in by aiohttp's trace signals."""

    __slots__ = ("connecting", "handshakes", "mark", "now", "phases", "reused", "timing")

    def __init__(self, phases: Phases) -> None:
        self.phases = phases
        self.now = phase_clock()
        self.mark = 0.0
        self.timing = False
        self.connecting = False
        self.reused = False
        self.handshakes: list[float] = []

    def begin(self, stage: Stage, *, reused: bool) -> None:
        """Start timing: on a new connection, or on one kept from before."""
        self.mark = self.now()
        self.timing = True
        self.reused = reused
        self.connecting = not reused
        self.handshakes.clear()
        self.phases.stage = stage

    def lap(self, done: Stage, following: Stage) -> None:
        """End one phase and begin another."""
        now = self.now()
        self.phases.add_phase(done, now - self.mark)
        self.mark = now
        self.phases.stage = following

    def connected(self) -> None:
        """End connecting, and the TLS handshake where there was one."""
        self._split_handshake()
        self.lap(self.phases.stage, Stage.SEND)
        self.connecting = False

    def cut(self) -> None:
        """End early: the phase under way still counts, and names what ended it."""
        self._split_handshake()
        if self.timing:
            self.lap(self.phases.stage, self.phases.stage)
            self.timing = False

    def _split_handshake(self) -> None:
        """Tell connecting from handshaking: no signal says when a handshake begins, the context does."""
        if self.connecting and self.handshakes:
            began = self.handshakes[-1]  # of several addresses tried, the last is the one that counts
            self.phases.add_phase(Stage.CONNECT, began - self.mark)
            self.mark = began
            self.phases.stage = Stage.TLS


def _trace() -> aiohttp.TraceConfig:
    """Signals for an exchange; the exchange itself comes along as the request's context."""

    async def create_start(_s: Any, context: SimpleNamespace, _p: Any) -> None:
        context.trace_request_ctx.begin(Stage.CONNECT, reused=False)

    async def resolve_start(_s: Any, context: SimpleNamespace, _p: Any) -> None:
        context.trace_request_ctx.phases.stage = Stage.RESOLVE

    async def resolve_end(_s: Any, context: SimpleNamespace, _p: Any) -> None:
        context.trace_request_ctx.lap(Stage.RESOLVE, Stage.CONNECT)

    async def create_end(_s: Any, context: SimpleNamespace, _p: Any) -> None:
        context.trace_request_ctx.connected()

    async def reused(_s: Any, context: SimpleNamespace, _p: Any) -> None:
        context.trace_request_ctx.begin(Stage.SEND, reused=True)

    async def headers_sent(_s: Any, context: SimpleNamespace, _p: Any) -> None:
        context.trace_request_ctx.lap(Stage.SEND, Stage.WAIT)

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_start.append(create_start)
    trace.on_dns_resolvehost_start.append(resolve_start)
    trace.on_dns_resolvehost_end.append(resolve_end)
    trace.on_connection_create_end.append(create_end)
    trace.on_connection_reuseconn.append(reused)
    trace.on_request_headers_sent.append(headers_sent)
    trace.freeze()
    return trace


class HttpClient:
    """A client for probes. It follows no redirect, keeps no cookie and wants answers that are not compressed.

    The caller sets the deadline: nothing here waits longer than the task around it.
    """

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    def _open(self, *, fresh: bool) -> aiohttp.ClientSession:
        """Return the session that keeps connections, or the one that makes a new one for each request."""
        session = self._sessions.get(fresh)
        if session is None:
            connector = aiohttp.TCPConnector(
                resolver=AiohttpResolver(self._resolver),
                use_dns_cache=False,  # the resolver has its own, shared with the other probes
                limit=0,  # the scheduler bounds what is in flight
                **{"force_close": True} if fresh else {"keepalive_timeout": _KEEPALIVE},
            )
            session = self._sessions[fresh] = aiohttp.ClientSession(
                connector=connector,
                headers=_HEADERS,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # identity is asked for; a bomb is refused by its header
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                trace_configs=[_trace()],
                max_line_size=_MAX_HEADER_BYTES,
                max_field_size=_MAX_HEADER_BYTES,
            )
        return session

    async def close(self) -> None:
        """Close every connection."""
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    async def get(
        self,
        url: URL,
        phases: Phases,
        *,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        fresh: bool = False,
    ) -> Answer:
        """GET a URL.

        Args:
            url: What to get.
            phases: Receives the phases (resolve, connect and tls only where a connection was made) and the stage.
            max_bytes: A longer body is refused, as `too_large`, without reading on.
            headers: Request headers.
            tls: Context for https.
            server_name: Name to ask for and verify, instead of the URL's host.
            fresh: Make a new connection for this request alone, also where one is kept.

        Raises:
            Failure: The answer did not come whole. Any status is an answer; a redirect is for the caller to judge.
        """
        return await self._timed(url, phases, max_bytes, headers, tls, server_name, fresh=fresh)

    async def post_form(
        self,
        url: URL,
        phases: Phases,
        *,
        form: Mapping[str, str],
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
    ) -> Answer:
        """POST fields to a URL, form-urlencoded; the rest is as for `get`."""
        return await self._timed(url, phases, max_bytes, headers, tls, server_name, form)

    async def _timed(
        self,
        url: URL,
        phases: Phases,
        max_bytes: int,
        headers: Mapping[str, str] | None,
        tls: ssl.SSLContext | None,
        server_name: str | None,
        form: Mapping[str, str] | None = None,
        *,
        fresh: bool = False,
    ) -> Answer:
        exchange = _Exchange(phases)
        phases.stage = Stage.CONNECT
        token = handshake_started.set(exchange.handshakes) if tls is not None else None
        try:
            return await self._exchange(exchange, url, max_bytes, headers, tls, server_name, form, fresh=fresh)
        except (asyncio.CancelledError, Failure):
            exchange.cut()  # a deadline is named after the stage it struck in
            raise
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            exchange.cut()
            raise _failure(error, phases.stage) from error
        finally:
            if token is not None:
                handshake_started.reset(token)

    async def _exchange(
        self,
        exchange: _Exchange,
        url: URL,
        max_bytes: int,
        headers: Mapping[str, str] | None,
        tls: ssl.SSLContext | None,
        server_name: str | None,
        form: Mapping[str, str] | None,
        *,
        fresh: bool,
    ) -> Answer:
        async with self._open(fresh=fresh).request(
            "GET" if form is None else "POST",
            url,
            headers=headers,
            data=form,
            allow_redirects=False,
            ssl=tls if tls is not None else True,
            server_hostname=server_name,
            trace_request_ctx=exchange,
        ) as response:
            exchange.lap(Stage.WAIT, Stage.RECEIVE)
            _refuse_encoding(response)
            body = await _read(response, max_bytes)
            exchange.lap(Stage.RECEIVE, Stage.CHECK)
            exchange.timing = False
            return Answer(response.status, response.headers, body, exchange.reused)


def _refuse_encoding(response: aiohttp.ClientResponse) -> None:
    encoding = response.headers.get("Content-Encoding")
    if encoding is not None and encoding.strip().lower() != "identity":
        raise Failure(Stage.RECEIVE, Reason.PROTOCOL, "the answer is compressed, which was not asked for")


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    announced = response.content_length
    if announced is not None and announced > max_bytes:
        raise _too_large(max_bytes)
    body = await response.content.read(max_bytes + 1)
    if response.content.at_eof() and len(body) <= max_bytes:
        return body
    parts, size = [body], len(body)
    while True:
        if size > max_bytes:
            raise _too_large(max_bytes)
        part = await response.content.read(max_bytes + 1 - size)
        if not part:
            return b"".join(parts)
        parts.append(part)
        size += len(part)


def _too_large(max_bytes: int) -> Failure:
    return Failure(Stage.RECEIVE, Reason.TOO_LARGE, f"the answer is longer than {max_bytes} bytes")


def _failure(error: Exception, stage: Stage) -> Failure:  # noqa: PLR0911 - a table of types
    """Name what aiohttp raised. `ClientConnectorError` and its like are `OSError`s or carry one as their cause."""
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientConnectionResetError):
        return Failure(stage, Reason.CONNECTION_CLOSED, "the server closed the connection without an answer")
    if isinstance(error, aiohttp.ClientPayloadError):
        return Failure(stage, Reason.CONNECTION_CLOSED, "the connection was closed before the answer was whole")
    if isinstance(error, aiohttp.ClientSSLError) and error.__cause__ is not None:
        return failure_of(error.__cause__, Stage.TLS) or Failure(Stage.TLS, Reason.TLS_FAILED)
    found = failure_of(error, stage)
    if found is not None:
        return found
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return Failure(Stage.INTERNAL, Reason.INTERNAL, "the URL is not valid")
    if stage is Stage.TLS:
        return Failure(stage, Reason.TLS_FAILED, str(error))
    return Failure(stage, Reason.PROTOCOL, f"not an HTTP answer: {getattr(error, 'message', '') or type(error).__name__}")

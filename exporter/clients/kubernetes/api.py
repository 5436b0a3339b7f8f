"""Requests to the API server: raw JSON, bounded, each with a deadline, failures named."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from math import inf
from typing import Any, TypeVar

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from exporter import __version__
from exporter.clients.kubernetes.access import Connection, Way
from exporter.clients.kubernetes.answers import ApiFailure, Conflict, Expired, failure_of_error, failure_of_status
from exporter.net.resolver import Resolver
from exporter.verdict import Failure, Reason, Stage

__all__ = ["Api", "ApiFailure", "Conflict", "Expired", "Lines"]

CONNECT_PATIENCE = 5.0
"""Seconds for a connection and its TLS handshake."""

PATIENCE = 15.0
"""Seconds for a request and its whole answer."""

LINE_PATIENCE = 20.0
"""Seconds from the first byte of a line to its last."""

GATHER = 0.2
"""Seconds in which events come together: at a hundred a second, to be woken for each would cost more than what they say."""

SMALL = 32 << 10
"""Bytes. What comes in larger pieces need not be gathered: it is a flood, or was."""

LARGEST_ANSWER = 16 << 20
"""Bytes of an answer; decoded, they take some ten times as much for a moment."""

LARGEST_LINE = 16 << 20
"""Bytes of one event. etcd keeps no object of more than 1.5 MB, of which each may be written as six: `<` is `\\u003c`."""

LARGEST_ERROR = 64 << 10

T = TypeVar("T")

PING_GAP = 5.0
"""Seconds within which watches that fell quiet share one question whether the API server is there."""


class Api:
    """The API server of one cluster. Connections are kept.

    Args:
        connection: Knows the way.
        resolver: Resolves its name.
    """

    def __init__(self, connection: Connection, resolver: Resolver) -> None:
        self._connection = connection
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None
        self._ping: asyncio.Task[Failure | None] | None = None
        self._pinged_at = 0.0
        self._preparing: asyncio.Task[None] | None = None

    async def prepare(self) -> None:
        """Wait until the way was told for the first time, or why there is none; whoever asks something is told that.

        A kubeconfig takes a second to read, and a credential plugin as long as it likes: where time is short, what is asked
        is asked after this.
        """
        if self._preparing is None:
            self._preparing = asyncio.create_task(self._prepared(), name="prepare the way to the API server")
        await asyncio.shield(self._preparing)

    async def server(self) -> str:
        """Return the URL of the API server as the way is now. Another one may be that of another cluster.

        Raises:
            Failure: The way cannot be told.
        """
        return (await self._connection.way()).server

    async def get(self, path: str, params: Mapping[str, str] | None = None, *, timeout: float = PATIENCE) -> dict[str, Any]:
        """Return an answer.

        Raises:
            Failure: In the words of the API server (`ApiFailure`), or of the network.
            Expired: 410.
        """
        return await self._ask("GET", path, params, None, timeout=timeout)

    async def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any],
        content_type: str = "application/json",
        *,
        timeout: float = PATIENCE,
    ) -> dict[str, Any]:
        """Send a change and return the answer; raises as `get` does.

        Raises:
            Conflict: 409.
        """
        return await self._ask(method, path, None, (json.dumps(body).encode(), content_type), timeout=timeout)

    @asynccontextmanager
    async def stream(self, path: str, params: Mapping[str, str], *, timeout: float) -> AsyncIterator[Lines]:
        """Ask, and hand out the lines of the answer as they come; entering raises as `get` does.

        Args:
            path: What is asked for.
            params: Of the query.
            timeout: Seconds that the whole may take.
        """
        async with AsyncExitStack() as stack:

            async def ask(way: Way) -> tuple[aiohttp.ClientResponse, str]:
                async with asyncio.timeout(PATIENCE):
                    return await stack.enter_async_context(self._request(way, "GET", path, params, None)), way.server

            response, server = await self._by_the_way(ask)
            yield Lines(response, asyncio.get_running_loop().time() + timeout, server)

    async def ping(self) -> None:
        """Find out whether the API server answers at all, whatever it says. Those who ask at once share one question.

        Raises:
            Failure: It does not.
        """
        now = asyncio.get_running_loop().time()
        if self._ping is None or (self._ping.done() and now - self._pinged_at > PING_GAP):
            self._pinged_at = now
            self._ping = asyncio.create_task(self._pinged(), name="ping the API server")
        failure = await asyncio.shield(self._ping)
        if failure is not None:
            raise failure

    async def close(self) -> None:
        """Close every connection."""
        for task in (self._ping, self._preparing):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None
        await self._connection.close()

    async def _prepared(self) -> None:
        with suppress(Failure):
            await self._connection.way()

    async def _pinged(self) -> Failure | None:
        try:
            await self.get("/version", timeout=CONNECT_PATIENCE)
        except ApiFailure:
            return None  # it answered
        except Failure as failure:
            return failure.bare()
        return None

    async def _ask(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: tuple[bytes, str] | None,
        *,
        timeout: float,
    ) -> dict[str, Any]:
        async def ask(way: Way) -> dict[str, Any]:
            async with asyncio.timeout(timeout), self._request(way, method, path, params, body) as response:
                return _decoded(await _read(response, LARGEST_ANSWER))

        return await self._by_the_way(ask)

    async def _by_the_way(self, ask: Callable[[Way], Awaitable[T]]) -> T:
        """Ask, by the way as it is now; credentials that are refused are read anew, and it is asked once more.

        How long credentials take is no part of a request's deadline.
        """
        way = await self._connection.way()
        try:
            try:
                return await ask(way)
            except ApiFailure as failure:
                if failure.status != 401:
                    raise
                refusal = failure
            self._connection.refused(way)
            before, way = way, await self._connection.way()
            if way is before:  # there are no others yet
                raise refusal
            return await ask(way)
        except ApiFailure as failure:
            if failure.status == 401:
                self._connection.refused(way)
            raise
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is one
            raise failure_of_error(error) from None

    @asynccontextmanager
    async def _request(
        self, way: Way, method: str, path: str, params: Mapping[str, str] | None, body: tuple[bytes, str] | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        async with self._opened(way, method, path, params, body) as response:
            if response.status >= 300:
                raise await _refusal(response, way)
            if "Content-Encoding" in response.headers:
                raise Failure(Stage.RECEIVE, Reason.PROTOCOL, "the answer is compressed, which was not asked for")
            yield response

    def _opened(
        self, way: Way, method: str, path: str, params: Mapping[str, str] | None, body: tuple[bytes, str] | None
    ) -> Any:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, resolver=_Names(self._resolver), use_dns_cache=False)
            self._session = aiohttp.ClientSession(
                connector=connector,
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_PATIENCE),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"hafnium-exporter/{__version__}",
        }
        if way.authorization is not None:
            headers["Authorization"] = way.authorization
        if body is not None:
            headers["Content-Type"] = body[1]
        return self._session.request(
            method,
            way.server + path,
            params=params,
            data=body[0] if body is not None else None,
            headers=headers,
            ssl=way.context if way.context is not None else True,
            server_hostname=way.server_name,
            proxy=way.proxy,
            allow_redirects=False,
        )


class Lines:
    """The lines of an answer, each bounded in size and time.

    Args:
        response: The answer.
        deadline: When it must have ended, loop time.
        server: The URL of the API server that gives it.
    """

    def __init__(self, response: aiohttp.ClientResponse, deadline: float, server: str) -> None:
        self.server = server
        self._response = response
        self._deadline = deadline
        self._loop = asyncio.get_running_loop()
        self._whole: deque[bytes] = deque()
        self._rest = bytearray()
        self._began = 0.0
        self._gathered_at = -inf

    async def next(self, patience: float) -> bytes | None:
        """Return the next line without its end, or None when none has begun within so many seconds.

        Raises:
            EOFError: The answer has ended, between two lines.
            Failure: It ended within a line, a line is too long or takes too long, or the time for the whole is over.
        """
        while not self._whole:
            await self._gather()
            try:
                async with asyncio.timeout_at(self._give_up_at(patience)):
                    chunk = await self._response.content.readany()
            except TimeoutError:
                if self._rest or self._loop.time() >= self._deadline:
                    raise Failure(Stage.RECEIVE, Reason.TIMEOUT, "the answer did not end in time") from None
                return None
            except (aiohttp.ClientError, OSError) as error:
                raise failure_of_error(error) from None
            self._take(chunk)
        return self._whole.popleft()

    async def _gather(self) -> None:
        """Have more come together, shortly after something has come: it stays where it is, and wakes nobody."""
        connection = self._response.connection
        transport = connection.transport if connection is not None else None
        wait = self._gathered_at - self._loop.time()
        if wait <= 0 or self._rest or transport is None:
            return
        with suppress(RuntimeError):  # it was closed meanwhile
            transport.pause_reading()
        try:
            await asyncio.sleep(wait)
        finally:
            with suppress(RuntimeError):
                transport.resume_reading()

    def _give_up_at(self, patience: float) -> float:
        line = self._began + LINE_PATIENCE if self._rest else self._loop.time() + patience
        return min(self._deadline, line)

    def _take(self, chunk: bytes) -> None:
        if not chunk and self._rest:
            raise Failure(Stage.RECEIVE, Reason.CONNECTION_CLOSED, "the connection was closed in the middle of an event")
        if not chunk:
            raise EOFError
        self._gathered_at = self._loop.time() + GATHER if len(chunk) < SMALL else -inf
        first, *more = chunk.split(b"\n")
        if more or not self._rest:
            self._began = self._loop.time()
        self._rest += first
        for part in more:
            self._whole.append(bytes(self._rest))
            self._rest = bytearray(part)
        if len(self._rest) > LARGEST_LINE:
            raise Failure(Stage.RECEIVE, Reason.TOO_LARGE, f"a line of more than {LARGEST_LINE >> 20} MiB")


class _Names(AbstractResolver):
    """Lets aiohttp resolve names as everything else here does."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        try:
            addresses = await self._resolver.resolve(host)
        except Failure as failure:
            raise OSError(failure.detail) from failure  # aiohttp passes it on as the cause
        return [
            ResolveResult(hostname=host, host=address, port=port, family=_family(address), proto=0, flags=0)
            for address in addresses
        ]

    async def close(self) -> None:
        """The resolver is not its own."""


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    if (response.content_length or 0) > most:
        raise Failure(Stage.RECEIVE, Reason.TOO_LARGE, f"more than {most >> 20} MiB")
    found = bytearray()
    async for chunk in response.content.iter_any():
        found += chunk
        if len(found) > most:
            raise Failure(Stage.RECEIVE, Reason.TOO_LARGE, f"more than {most >> 20} MiB")
    return bytes(found)


async def _refusal(response: aiohttp.ClientResponse, way: Way) -> ApiFailure:
    """Name an answer that is not success, in the words of its Status object where it has one."""
    try:
        said = json.loads(await _read(response, LARGEST_ERROR))
    except (Failure, ValueError, RecursionError):
        said = None
    retry_after = response.headers.get("Retry-After", "")
    secret = (way.authorization or "").rpartition(" ")[2]
    return failure_of_status(
        response.status,
        said if isinstance(said, dict) else {},
        retry_after=float(retry_after) if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 6 else None,
        secret=secret,
    )


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise Failure(Stage.CHECK, Reason.MALFORMED, "the API server's answer is not JSON") from None
    if not isinstance(found, dict):
        raise Failure(Stage.CHECK, Reason.MALFORMED, "the API server's answer is not a JSON object")
    return found

"""Asking one instance's actuator: requests written once, credentials added, over TLS by its files as they are now."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from typing import TypeVar

from yarl import URL

from exporter.auth.ways import Authenticator
from exporter.clients.spring import health
from exporter.net.http import Answer, HttpClient, Request
from exporter.net.phases import Phases
from exporter.net.tls import ClientTls
from exporter.verdict import Failure

__all__ = ["ActuatorClient", "accept", "named", "parsed"]

THREAD_BYTES = 256 * 1024
"""JSON longer than this is read in a thread: a megabyte takes about 10 ms, which the event loop does not have."""

T = TypeVar("T")


class ActuatorClient:
    """Sends requests to one instance, one kept connection being used again and again.

    Args:
        http: The client to ask with.
        headers: Sent with each request.
        tls: How to speak TLS; None for http.
        auth: Where credentials come from.
    """

    def __init__(
        self, http: HttpClient, headers: Mapping[str, str], tls: ClientTls | None, auth: Authenticator | None
    ) -> None:
        self._http = http
        self._headers = dict(headers)
        self._tls = tls
        self._auth = auth
        self._context: ssl.SSLContext | None = None
        self._credentials: dict[str, str] = {}
        self._written: dict[tuple[URL, str], Request] = {}
        self._last: Request | None = None
        self._server_name = tls.server_name if tls is not None else None

    async def prepare(self, patience: float) -> None:
        """Fetch credentials and read TLS files, once for all requests of an attempt.

        Args:
            patience: Seconds to wait for a token.

        Raises:
            Failure: There are no credentials.
        """
        if self._auth is not None:
            credentials = await self._auth.headers(patience)
            if credentials != self._credentials:
                self._credentials = credentials
                self._written.clear()
        if self._tls is not None:
            context = await self._tls.context()
            if self._context is not None and self._context is not context:
                self._http.retire(self._context)
            self._context = context

    def rejected(self) -> None:
        """Take note that the credentials were refused."""
        if self._auth is not None:
            self._auth.rejected()

    def distrust(self) -> None:
        """Make a new connection for the next request: over the kept one came what is no good answer.

        What answers so may be something else than the application, and may leave the next request without any answer.
        """
        if self._last is not None:
            self._http.discard(self._last, tls=self._context, server_name=self._server_name)

    async def ask(
        self,
        url: URL,
        accepted: str,
        phases: Phases,
        max_bytes: int,
        *,
        fresh: bool = False,
        spare: bool = False,
        once: bool = False,
    ) -> Answer:
        """GET a URL.

        Args:
            url: What to get.
            accepted: Media types that are wanted.
            phases: Receives the phases and the stage.
            max_bytes: Longest answer that is read.
            fresh: Make a new connection, which is not kept.
            spare: Keep no connection that has to be made.
            once: The URL is not one of the few that are asked at each attempt.

        Raises:
            Failure: The answer did not come whole.
        """
        request = self._written.get((url, accepted))
        if request is None:
            request = Request.get(url, {**self._headers, "Accept": accepted, **self._credentials})
            if not once:
                self._written[url, accepted] = request
        self._last = request
        return await self._http.ask(
            request,
            phases,
            max_bytes=max_bytes,
            tls=self._context,
            server_name=self._server_name,
            fresh=fresh,
            spare=spare,
        )


def accept(answer: Answer, what: str) -> None:
    """Refuse an answer that is not 2xx.

    Raises:
        Failure: By its code.
    """
    failure = health.refusal(answer.status, answer.headers)
    if failure is not None:
        raise named(failure, what)


def named(failure: Failure, what: str) -> Failure:
    """Say which of several requests it was."""
    return Failure(failure.stage, failure.reason, f"{what}: {failure.detail}")


async def parsed(parse: Callable[[bytes], T], body: bytes) -> T:
    """Parse an answer, a long one in a thread."""
    return await asyncio.to_thread(parse, body) if len(body) > THREAD_BYTES else parse(body)

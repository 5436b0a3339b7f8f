"""HTTP over kept-alive connections: phases timed, answers bounded, redirects not followed, failures named."""

from __future__ import annotations

import asyncio
import math
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlencode

from yarl import URL

from exporter import __version__
from exporter.net.descriptors import Descriptors
from exporter.net.dial import dial, start_tls
from exporter.net.errors import failure_of
from exporter.net.http_connection import Answer, Connection
from exporter.net.phases import Phases
from exporter.net.resolver import Resolver
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage

__all__ = ["Answer", "HttpClient", "Request"]

KEEPALIVE = 90.0
"""Seconds for which a connection is kept without being used."""

_CLOSE_PATIENCE = 2.0
"""Seconds for connections to say farewell when the client is closed."""

_ZONE = re.compile(r"%[^\]]*")
"""Of an address in a URL: by which of this host's interfaces it is reached is nothing that a server knows (RFC 9844)."""

_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": f"hafnium-exporter/{__version__}"}


@dataclass(frozen=True, slots=True)
class Request:
    """A request, written once to be sent many times.

    Attributes:
        address: Where to.
        secure: Over TLS.
        data: As it is sent.
        repeatable: It may be sent again where a kept connection turns out to be closed: GET may, POST may not.
    """

    address: Address
    secure: bool
    data: bytes
    repeatable: bool = True

    @classmethod
    def get(cls, url: URL, headers: Mapping[str, str] | None = None) -> Request:
        """Write a GET.

        Raises:
            Failure: `internal`, where the URL is not http or https, or a header has characters that it cannot carry.
        """
        return cls(_address(url), url.scheme == "https", _written("GET", url, headers or {}))

    @classmethod
    def post_form(cls, url: URL, form: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Request:
        """Write a POST of fields, form-urlencoded; raises as `get` does."""
        body = urlencode(form).encode()
        entity = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(body))}
        head = _written("POST", url, {**(headers or {}), **entity})
        return cls(_address(url), url.scheme == "https", head + body, repeatable=False)


def _address(url: URL) -> Address:
    if url.scheme not in {"http", "https"} or not url.raw_host or not url.port:
        raise Failure(Stage.INTERNAL, Reason.INTERNAL, "the URL is not valid")
    return Address(url.raw_host, url.port)


def _written(method: str, url: URL, headers: Mapping[str, str]) -> bytes:
    sent = {name.lower(): f"{name}: {value}" for name, value in (*_HEADERS.items(), *headers.items())}
    lines = [
        f"{method} {url.raw_path_qs} HTTP/1.1",
        f"Host: {_ZONE.sub('', url.host_port_subcomponent or '')}",
        *sent.values(),
    ]
    if any(not line.isprintable() for line in lines):
        raise Failure(Stage.INTERNAL, Reason.INTERNAL, "a header has characters that it cannot carry")
    return "\r\n".join([*lines, "", ""]).encode()


class _Peer(NamedTuple):
    """Whom a connection leads to: kept ones are used again only for exactly this."""

    address: Address
    tls: ssl.SSLContext | None
    server_name: str | None


class HttpClient:
    """A client for probes. It follows no redirect, keeps no cookie and wants answers that are not compressed.

    The caller sets the deadline: nothing here waits longer than the task around it.

    Args:
        resolver: Resolves names.
        descriptors: Says which connections may be kept; one for the whole process.
    """

    def __init__(self, resolver: Resolver, descriptors: Descriptors | None = None) -> None:
        self._resolver = resolver
        self.descriptors = descriptors or Descriptors()
        self._open: set[Connection] = set()
        self._idle: dict[_Peer, list[Connection]] = {}
        self._peers: dict[Connection, _Peer] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Future[None] | None = None

    async def close(self) -> None:
        """Close every connection."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for connection in list(self._open):
            connection.close()
        self._emptied = asyncio.get_running_loop().create_future()
        if self._open:
            await asyncio.wait({self._emptied}, timeout=_CLOSE_PATIENCE)
        for connection in list(self._open):
            connection.abort()

    def retire(self, tls: ssl.SSLContext) -> None:
        """Close what is kept over a context that is no longer in use: its roots or its certificate were replaced."""
        for connection, peer in list(self._peers.items()):
            if peer.tls is tls:
                connection.close()
                self._forget(connection)

    def discard(self, request: Request, *, tls: ssl.SSLContext | None = None, server_name: str | None = None) -> None:
        """Close what is kept to where a request goes: it answered, but not so that it should be asked over that again."""
        for connection in list(self._idle.get(_Peer(request.address, tls if request.secure else None, server_name), ())):
            connection.close()
            self._forget(connection)

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
        """GET a URL: `ask` with a request that is written for this once."""
        phases.stage = Stage.CONNECT
        return await self.ask(
            Request.get(url, headers), phases, max_bytes=max_bytes, tls=tls, server_name=server_name, fresh=fresh
        )

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
        """POST fields to a URL, form-urlencoded, over a connection of its own: it cannot be sent a second time."""
        phases.stage = Stage.CONNECT
        request = Request.post_form(url, form, headers)
        return await self.ask(request, phases, max_bytes=max_bytes, tls=tls, server_name=server_name, fresh=True)

    async def ask(
        self,
        request: Request,
        phases: Phases,
        *,
        max_bytes: int,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        fresh: bool = False,
        spare: bool = False,
    ) -> Answer:
        """Send a request and return its answer.

        Args:
            request: What to send, and where to.
            phases: Receives the phases (resolve, connect and tls only where a connection was made) and the stage.
            max_bytes: A longer body is refused, as `too_large`, without reading on.
            tls: Context for https.
            server_name: Name to ask for and verify, instead of the URL's host.
            fresh: Make a new connection for this request alone, also where one is kept.
            spare: Keep no connection that has to be made for this request.

        Raises:
            Failure: The answer did not come whole. Any status is an answer; a redirect is for the caller to judge.
        """
        peer = _Peer(request.address, tls if request.secure else None, server_name)
        connection = None if fresh else self._take(peer)
        if connection is not None:
            try:
                answer = await connection.exchange(request.data, phases, max_bytes)
            except Failure as failure:
                # Closed by the server at the moment of use, as any server may: that is not an answer, nor a failure.
                if not (connection.silent and request.repeatable and failure.reason is Reason.CONNECTION_CLOSED):
                    raise
            else:
                self._put_aside(peer, connection)
                return answer
        connection = await self._connect(peer, phases, secure=request.secure)
        answer = await connection.exchange(request.data, phases, max_bytes)
        if fresh or spare:
            connection.close()
        else:
            self._put_aside(peer, connection)
        return answer

    # --- making connections -----------------------------------------------------------------------------------------------

    async def _connect(self, peer: _Peer, phases: Phases, *, secure: bool) -> Connection:
        phases.stage = Stage.CONNECT
        if secure and peer.tls is None:
            raise Failure(Stage.INTERNAL, Reason.INTERNAL, "https without a TLS context")
        try:
            connection = await self._dial(peer.address, phases)
            if peer.tls is not None:
                await self._secure(connection, peer, peer.tls, phases)
        except (OSError, ValueError) as error:
            raise _failure(error, phases.stage) from error
        return connection

    async def _dial(self, address: Address, phases: Phases) -> Connection:
        """Connect; where there is no descriptor left for it, in the place of a connection that is kept for nobody yet."""
        for again in (True, False):
            try:
                transport, connection = await dial(lambda: Connection(self._lost), address, self._resolver, phases)
            except OSError as error:
                failure = failure_of(error, phases.stage)
                if failure is None or failure.reason is not Reason.PROBER_DESCRIPTORS:
                    raise
            else:
                if self.descriptors.admits(connection.descriptor):
                    self._open.add(connection)
                    return connection
                transport.abort()
            if not (again and self.descriptors.give_up()):
                break
            await asyncio.sleep(0)  # what was given up is closed by the loop
        raise Failure(Stage.CONNECT, Reason.PROBER_DESCRIPTORS, "no file descriptor is left for probes")

    async def _secure(self, connection: Connection, peer: _Peer, tls: ssl.SSLContext, phases: Phases) -> None:
        name = peer.server_name or peer.address.host
        try:
            transport = await start_tls(connection.transport, connection, tls, name, phases)
        except BaseException:
            connection.abort()
            self._lost(connection)  # in the middle of a handshake, asyncio does not tell
            raise
        connection.secured(transport, _expiry(transport, tls))

    def _lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._forget(connection)
        if not self._open and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    # --- keeping them -----------------------------------------------------------------------------------------------------

    def _take(self, peer: _Peer) -> Connection | None:
        """Return a kept connection that still holds, the last used first."""
        kept = self._idle.get(peer)
        while kept:
            connection = kept[-1]
            self._forget(connection)
            if connection.open and connection.expires > time.time():
                return connection
            connection.close()
        return None

    def _put_aside(self, peer: _Peer, connection: Connection) -> None:
        if not (connection.reusable and self.descriptors.keep(connection, connection.descriptor, connection.close)):
            connection.close()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._peers[connection] = peer
        self._idle.setdefault(peer, []).append(connection)
        if self._sweeping is None:
            self._sweeping = loop.call_later(KEEPALIVE, self._sweep)

    def _forget(self, connection: Connection) -> None:
        """Take a connection out of what is kept."""
        peer = self._peers.pop(connection, None)
        if peer is not None:
            kept = self._idle[peer]
            kept.remove(connection)
            if not kept:
                del self._idle[peer]
            self.descriptors.forget(connection)

    def _sweep(self) -> None:
        """Close what nobody has used for long."""
        loop = asyncio.get_running_loop()
        oldest = loop.time() - KEEPALIVE
        for connection in list(self._peers):
            if connection.idle_since <= oldest:
                connection.close()
                self._forget(connection)
        self._sweeping = loop.call_later(KEEPALIVE / 3, self._sweep) if self._peers else None


def _failure(error: Exception, stage: Stage) -> Failure:
    """Name what kept a connection from being made."""
    found = failure_of(error, stage)
    if found is not None:
        return found
    if stage is Stage.TLS:
        return Failure(stage, Reason.TLS_FAILED, str(error))
    return Failure(stage, Reason.UNREACHABLE, str(error))


def _expiry(transport: asyncio.BaseTransport, context: ssl.SSLContext) -> float:
    """Return the Unix time at which the peer's certificate expires, or infinity where it was not verified."""
    if context.verify_mode is ssl.CERT_NONE:
        return math.inf
    certificate = transport.get_extra_info("ssl_object").getpeercert()
    return float(ssl.cert_time_to_seconds(certificate["notAfter"])) if certificate else math.inf

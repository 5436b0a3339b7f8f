"""One session: asyncpg's, with the shared resolver, phases timed apart, and nothing left behind."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import asyncpg

from exporter.net.dial import dial, start_tls
from exporter.net.phases import Phases, phase_clock
from exporter.net.resolver import Resolver
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage

__all__ = ["MAX_ANSWER_BYTES", "Login", "open_session"]

MAX_ANSWER_BYTES = 8 * 1024 * 1024
"""What a server may send in one session without TLS, which would prove who it is."""

APPLICATION = "hafnium-exporter"


@dataclass(frozen=True, slots=True)
class Login:
    """How to get in.

    Attributes:
        user: The role.
        database: The database.
        password: Gives the password; raises `Failure` where it cannot be read.
        tls: Context, where TLS is wanted; a server without it is then refused.
        server_name: Name to verify instead of the host.
    """

    user: str
    database: str
    password: Callable[[], Awaitable[str]] = field(repr=False)
    tls: ssl.SSLContext | None = None
    server_name: str | None = None


async def open_session(address: Address, login: Login, resolver: Resolver, phases: Phases) -> asyncpg.Connection:
    """Connect and log in, with resolve, connect, tls and auth timed apart. The caller sets the deadline.

    Raises:
        Failure, OSError, asyncpg.PostgresError, asyncpg.InterfaceError: As `exporter.probes.postgres` names them.
    """
    watched = _WatchedLoop(resolver, phases, login.server_name or address.host)
    clock = phase_clock()
    try:
        return await asyncpg.connect(
            host=address.host,
            port=address.port,
            user=login.user,
            database=login.database,
            password=login.password,
            ssl=login.tls if login.tls is not None else False,
            timeout=3600,  # the attempt has the deadline
            statement_cache_size=0,  # behind pgbouncer, prepared statements belong to others
            server_settings={"application_name": APPLICATION},
            loop=watched,
        )
    except AttributeError as error:  # asyncpg reads the version that every server tells
        raise Failure(Stage.AUTH, Reason.PROTOCOL, "the server does not tell its version") from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise (watched.too_large() or error) from None
    finally:
        if watched.connected_at is not None:
            phases.add_phase(Stage.AUTH, clock() - watched.connected_at)


class _WatchedLoop:
    """The running loop, as asyncpg is given it: it connects by the shared resolver, and tells when it did.

    asyncpg has no hook between connecting and logging in, and resolves names in threads. It asks its loop for connections,
    also for one to cancel a query in; that one is refused, since nothing would bound it.
    """

    def __init__(self, resolver: Resolver, phases: Phases, server_name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._resolver = resolver
        self._phases = phases
        self._server_name = server_name
        self.connected_at: float | None = None
        self._bounded: _Bounded | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(
        self, factory: Callable[[], asyncio.Protocol], host: str, port: int
    ) -> tuple[asyncio.BaseTransport, asyncio.Protocol]:
        """Connect, once."""
        if self._bounded is not None:
            raise ConnectionResetError("one connection for one attempt")
        transport, bounded = await dial(lambda: _Bounded(factory()), Address(host, port), self._resolver, self._phases)
        self._bounded = bounded
        self._phases.stage = Stage.AUTH
        self.connected_at = phase_clock()()
        return transport, bounded.inner

    def too_large(self) -> Failure | None:
        """Return the failure of a server that sent too much."""
        if self._bounded is None or not self._bounded.overflowed:
            return None
        return Failure(Stage.RECEIVE, Reason.TOO_LARGE, f"more than {MAX_ANSWER_BYTES} bytes from the server")

    async def start_tls(
        self, transport: asyncio.BaseTransport, protocol: asyncio.Protocol, context: ssl.SSLContext, **_: Any
    ) -> asyncio.Transport:
        """Make the connection a TLS one, for the name that is to be verified."""
        secured = await start_tls(transport, protocol, context, self._server_name, self._phases)
        self._phases.stage = Stage.AUTH
        self.connected_at = phase_clock()()
        return secured


class _Bounded(asyncio.Protocol):
    """Hands on what arrives, up to a limit: asyncpg would collect an answer of any announced length."""

    def __init__(self, inner: asyncio.Protocol) -> None:
        self.inner = inner
        self.overflowed = False
        self._left = MAX_ANSWER_BYTES
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left >= 0:
            self.inner.data_received(data)
        elif self._transport is not None:
            self._transport.abort()
            self._transport = None
            self.overflowed = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.inner.connection_lost(exc)

    def eof_received(self) -> bool | None:
        return self.inner.eof_received()

    def pause_writing(self) -> None:
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        self.inner.resume_writing()

"""One session: asyncpg's, with the shared resolver, phases timed apart, and nothing left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import asyncpg

from exporter.clients.postgres.wire import Guard, GuardedTransport
from exporter.net.dial import dial, start_tls
from exporter.net.phases import Phases, phase_clock
from exporter.net.resolver import Resolver
from exporter.net.tls import ClientTls
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage

__all__ = ["Login", "asking", "open_session", "reading", "say_goodbye"]

APPLICATION = "hafnium-exporter"

_LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)

_NAMED = (*_LOST, asyncpg.InternalClientError, Failure, MemoryError)
"""What has a meaning already. Whatever else asyncpg raises, down to a bare `Exception`, is of an answer it cannot decode."""


@dataclass(frozen=True, slots=True)
class Login:
    """How to get in.

    Attributes:
        user: The role.
        database: The database.
        password: Gives the password; raises `Failure` where it cannot be read.
        tls: TLS, where it is wanted; a server without it is then refused.
    """

    user: str
    database: str
    password: Callable[[], Awaitable[str]] = field(repr=False)
    tls: ClientTls | None = None


async def open_session(address: Address, login: Login, resolver: Resolver, phases: Phases) -> asyncpg.Connection:
    """Connect and log in, with resolve, connect, tls and auth timed apart. The caller sets the deadline.

    Raises:
        Failure, OSError, asyncpg.PostgresError, asyncpg.InterfaceError: As `exporter.probes.postgres` names them.
    """
    context = await login.tls.context() if login.tls is not None else None
    watched = _WatchedLoop(address, login, resolver, phases)
    try:
        return await asyncpg.connect(
            host=address.host,
            port=address.port,
            user=login.user,
            database=login.database,
            password=login.password,
            ssl=context if context is not None else False,
            timeout=3600,  # the attempt has the deadline
            statement_cache_size=0,  # behind pgbouncer, prepared statements belong to others
            server_settings={"application_name": APPLICATION},
            loop=watched,
            # Left out, these are taken from PG… variables of the exporter's environment.
            direct_tls=False,
            target_session_attrs="any",
            krbsrvname="postgres",
            gsslib="gssapi",
        )
    except BaseException as error:
        watched.abort()  # closing in good form would leave the socket to a server that hangs
        if watched.failure is not None and isinstance(error, _LOST):
            raise watched.failure from None
        if isinstance(error, _NAMED) or not isinstance(error, Exception):
            raise
        raise Failure(Stage.AUTH, Reason.PROTOCOL, "the server's answers to the login cannot be read") from error
    finally:
        watched.add_phase()


@contextmanager
def asking(session: asyncpg.Connection) -> Iterator[None]:
    """Ask the server, and nothing else, in here: an answer that asyncpg cannot decode is the server's failure.

    Raises:
        Failure: The answer cannot be read; the session is given up.
    """
    try:
        yield
    except _NAMED:
        raise
    except Exception as error:
        session.terminate()
        raise Failure(Stage.QUERY, Reason.MALFORMED, "the server's answer cannot be read") from error


@asynccontextmanager
async def reading(session: asyncpg.Connection, seconds: float) -> AsyncIterator[None]:
    """Hold a read-only transaction whose statements the server itself ends: it goes on with a query whose client has left.

    When it is cancelled the session is given up, since a rollback would wait for a server that may not answer.

    Args:
        session: Where to hold it.
        seconds: For each statement, and for each wait for a lock.

    Raises:
        TimeoutError: No time is left.
    """
    if seconds <= 0:
        raise TimeoutError
    limit = max(1, int(seconds * 1000))
    begin = f"BEGIN READ ONLY; SET LOCAL statement_timeout = {limit}; SET LOCAL lock_timeout = {limit}"
    try:
        with asking(session):
            await session.execute(begin)
            try:
                yield
            except asyncpg.PostgresError:
                with suppress(*_LOST):  # the error that led here says more
                    await session.execute("ROLLBACK")
                raise
            await session.execute("COMMIT")
    except asyncio.CancelledError:
        session.terminate()
        raise


async def say_goodbye(session: asyncpg.Connection, seconds: float) -> None:
    """End the session in good form, so that the server logs no lost client; not at the price of waiting for it."""
    if session.is_closed():
        return
    with suppress(*_LOST):  # TimeoutError is an OSError
        async with asyncio.timeout(seconds):
            await session.close()


class _WatchedLoop:
    """The running loop, as asyncpg is given it: it connects by the shared resolver, and tells when it did.

    asyncpg has no hook between connecting and logging in, and resolves names in threads. It asks its loop for connections,
    also for one to cancel a query in; that one is refused, since nothing would bound it.
    """

    def __init__(self, address: Address, login: Login, resolver: Resolver, phases: Phases) -> None:
        self._loop = asyncio.get_running_loop()
        self._login = login
        self._name = (login.tls.server_name if login.tls is not None else None) or address.host
        self._resolver = resolver
        self._phases = phases
        self._guard: Guard | None = None
        self._transport: asyncio.Transport | None = None
        self._secured: GuardedTransport | None = None
        self._phase: tuple[Stage, float] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    @property
    def failure(self) -> Failure | None:
        """Why the connection was aborted by this side."""
        guards = (self._guard, self._secured.guard if self._secured is not None else None)
        return next((guard.failure for guard in guards if guard is not None and guard.failure is not None), None)

    def abort(self) -> None:
        """Close the socket at once."""
        if self._transport is not None:
            self._transport.abort()

    def add_phase(self) -> None:
        """Add the time of the phase under way."""
        if self._phase is not None:
            stage, since = self._phase
            self._phases.add_phase(stage, phase_clock()() - since)
            self._phase = None

    def _enter(self, stage: Stage) -> None:
        self._phases.stage = stage
        self._phase = (stage, phase_clock()())

    async def create_connection(
        self, factory: Callable[[], asyncio.Protocol], host: str, port: int
    ) -> tuple[asyncio.BaseTransport, asyncio.Protocol]:
        """Connect, once."""
        if self._guard is not None:
            raise ConnectionResetError("one connection for one attempt")
        plain = self._login.tls is None
        self._transport, self._guard = await dial(
            lambda: Guard(factory(), framed=plain), Address(host, port), self._resolver, self._phases
        )
        self._enter(Stage.AUTH if plain else Stage.TLS)  # whether the server speaks TLS is asked for first
        return self._transport, self._guard.inner

    async def start_tls(
        self, transport: asyncio.BaseTransport, protocol: asyncio.Protocol, context: Any, **_: Any
    ) -> asyncio.BaseTransport:
        """Make the connection a TLS one, for the name that is to be verified."""
        self.add_phase()
        secured = await start_tls(transport, protocol, context, self._name, self._phases)
        self._enter(Stage.AUTH)
        self._secured = GuardedTransport(secured)
        return cast("asyncio.BaseTransport", self._secured)

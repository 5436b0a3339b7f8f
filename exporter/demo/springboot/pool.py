"""A connection pool that behaves as HikariCP does, over real PostgreSQL sessions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from exporter.demo.springboot.meters import Meter
from exporter.demo.springboot.spec import DatabaseSpec

__all__ = ["HikariPool", "PoolTimeoutError"]

SIZE = 4
CONNECTION_TIMEOUT = 1.0
_LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


class PoolTimeoutError(Exception):
    """SQLTransientConnectionException: no connection within the connection timeout."""


class HikariPool:
    """`HikariPool-1` of one service: at most `SIZE` sessions, waiters counted, timeouts too."""

    def __init__(self, spec: DatabaseSpec, application: str) -> None:
        self._spec = spec
        self._application = application
        self._slots = asyncio.Semaphore(SIZE)
        self._idle: list[asyncpg.Connection] = []
        self._active = 0
        self._pending = 0
        self._timeouts = 0
        self._held: list[asyncpg.Connection] = []

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection.

        Raises:
            PoolTimeoutError: None could be had in time.
        """
        connection = await self._take()
        try:
            yield connection
        except BaseException:
            connection.terminate()
            raise
        finally:
            self._give_back(connection)

    async def is_valid(self) -> str | None:
        """Check as the `db` health indicator does; return the error, or None."""
        try:
            async with self.connection() as connection, asyncio.timeout(CONNECTION_TIMEOUT):
                await connection.execute("SELECT 1")
        except PoolTimeoutError as error:
            return f"org.springframework.jdbc.CannotGetJdbcConnectionException: {error}"
        except _LOST as error:
            return f"org.postgresql.util.PSQLException: {type(error).__name__}"
        return None

    async def hold_all(self) -> None:
        """Take every connection that can be had, and keep it: a leak."""
        while len(self._held) < SIZE:
            try:
                self._held.append(await self._take())
            except PoolTimeoutError:
                return

    async def leave_transactions(self) -> None:
        """Leave sessions idle in transaction; they are of the pool."""
        while len(self._held) < SIZE - 1:
            try:
                connection = await self._take()
                await connection.execute("BEGIN; SELECT 1")
            except (PoolTimeoutError, *_LOST):
                return
            self._held.append(connection)

    def release_held(self) -> None:
        """Give back what was held."""
        while self._held:
            connection = self._held.pop()
            connection.terminate()
            self._give_back(connection)

    async def warm_up(self) -> None:
        """Open the sessions that a pool opens at its start."""
        with contextlib.suppress(PoolTimeoutError, *_LOST):
            async with self.connection(), self.connection():
                pass

    async def close(self) -> None:
        """End every session."""
        self.release_held()
        for connection in self._idle:
            connection.terminate()

    def meters(self) -> Iterator[Meter]:
        """Tell what Micrometer's Hikari binder tells."""
        tags = (("pool", "HikariPool-1"),)
        open_now = [connection for connection in self._idle if not connection.is_closed()]
        for name, value, text in (
            ("hikaricp.connections", self._active + len(open_now), "Total connections"),
            ("hikaricp.connections.active", self._active, "Active connections"),
            ("hikaricp.connections.idle", len(open_now), "Idle connections"),
            ("hikaricp.connections.pending", self._pending, "Pending threads"),
            ("hikaricp.connections.max", SIZE, "Max connections"),
            ("hikaricp.connections.min", SIZE, "Min connections"),
        ):
            yield Meter(name, "gauge", value, tags, description=text)
        timeouts = "hikaricp.connections.timeout"
        yield Meter(timeouts, "counter", self._timeouts, tags, description="Connection timeout total count")

    async def _take(self) -> asyncpg.Connection:
        self._pending += 1
        try:
            async with asyncio.timeout(CONNECTION_TIMEOUT):
                await self._slots.acquire()
                try:
                    connection = await self._open()
                except BaseException:
                    self._slots.release()
                    raise
        except _LOST as error:  # TimeoutError is an OSError
            self._timeouts += 1
            text = f"HikariPool-1 - Connection is not available, request timed out after {CONNECTION_TIMEOUT * 1000:.0f}ms."
            raise PoolTimeoutError(text) from error
        finally:
            self._pending -= 1
        self._active += 1
        return connection

    async def _open(self) -> asyncpg.Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        spec = self._spec
        password = await asyncio.to_thread(spec.password_file.read_text)
        options: dict[str, Any] = {"server_settings": {"application_name": self._application}, "ssl": False}
        return await asyncpg.connect(
            host=spec.host, port=spec.port, user=spec.user, password=password, database=spec.database, **options
        )

    def _give_back(self, connection: asyncpg.Connection) -> None:
        self._active -= 1
        if not connection.is_closed():
            self._idle.append(connection)
        self._slots.release()

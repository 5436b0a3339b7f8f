"""A connection pool that behaves as HikariCP does, over real PostgreSQL sessions."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from exporter.demo.springboot.meters import Kind, Meter, Timer
from exporter.demo.springboot.spec import DatabaseSpec

__all__ = ["DATABASE_ERRORS", "HikariPool", "PoolTimeoutError"]

SIZE = 4
"""maximum-pool-size: eight services leave PostgreSQL's 60 connections room for others."""
MINIMUM_IDLE = 2
CONNECTION_TIMEOUT = 1.0
_ALIVE_BYPASS = 0.5
"""A connection that was used so recently is not validated before it is lent."""
_RETRY = 0.2


class PoolTimeoutError(Exception):
    """SQLTransientConnectionException: no connection within the connection timeout."""


_LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
DATABASE_ERRORS = (PoolTimeoutError, *_LOST)
"""Whatever a use of the pool raises while there is no database to speak of; TimeoutError is an OSError."""


class HikariPool:
    """`HikariPool-1` of one service: at most `SIZE` sessions, waiters and timeouts counted.

    Args:
        spec: Where PostgreSQL is.
        application: What the sessions call themselves.
    """

    def __init__(self, spec: DatabaseSpec, application: str) -> None:
        self._spec = spec
        self._application = application
        self._slots = asyncio.Semaphore(SIZE)
        self._idle: list[tuple[asyncpg.Connection, float]] = []
        self._active = 0
        self._pending = 0
        self._timeouts = 0
        self._held: dict[str, list[asyncpg.Connection]] = {}
        self._waiting: set[asyncio.Task[None]] = set()
        self._timers = {name: Timer() for name in ("acquire", "usage", "creation")}

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection.

        Raises:
            PoolTimeoutError: None could be had in time.
        """
        connection = await self._take()
        began = time.monotonic()
        try:
            yield connection
        except BaseException:
            connection.terminate()
            raise
        finally:
            self._timers["usage"].record(time.monotonic() - began)
            self._give_back(connection)

    async def validate(self) -> None:
        """Lend and try a connection, all within the connection timeout, as the `db` health indicator does.

        Raises:
            DATABASE_ERRORS: There is none that works.
        """
        async with asyncio.timeout(CONNECTION_TIMEOUT + 0.1), self.connection() as connection:
            await connection.execute("SELECT 1")

    async def hold(self, why: str, count: int = SIZE, statement: str = "") -> None:
        """Take connections and keep them: a leak. It takes what can be had in about two seconds.

        Args:
            why: By what name `release` gives them back.
            count: How many.
            statement: What to run on each.
        """
        held = self._held.setdefault(why, [])
        deadline = time.monotonic() + 2 * CONNECTION_TIMEOUT
        while len(held) < count and time.monotonic() < deadline:
            with contextlib.suppress(PoolTimeoutError):
                connection = await self._take()
                held.append(connection)
                if statement:
                    await _run_quietly(connection, statement)

    async def block(self, why: str, statement: str) -> None:
        """Hold a lock in one session that is not gone on with, and have another wait for it.

        Args:
            why: By what name `release` ends both.
            statement: What takes the lock.
        """
        await self.hold(why, 1, f"BEGIN; {statement}")
        waiting = await self._take()
        self._held[why].append(waiting)
        task = asyncio.create_task(_wait(waiting, statement))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    def release(self, why: str) -> None:
        """End the sessions that were kept."""
        for connection in self._held.pop(why, ()):
            connection.terminate()
            self._give_back(connection)

    async def maintain(self) -> None:
        """Keep the fewest idle connections open, for ever: what a pool does at its start and after an outage."""
        while True:
            with contextlib.suppress(*_LOST):
                await self.fill()
            await asyncio.sleep(1.0)

    async def fill(self) -> None:
        """Open connections until there are as many as the pool wants.

        Raises:
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: The database refuses, or takes too long.
        """
        self._drop_closed()
        while self._active + len(self._idle) < MINIMUM_IDLE:
            async with asyncio.timeout(CONNECTION_TIMEOUT), self._slots:
                self._idle.append((await self._connect(), time.monotonic()))

    def close(self) -> None:
        """End every session."""
        for why in list(self._held):
            self.release(why)
        for connection, _ in self._idle:
            connection.terminate()
        self._idle.clear()

    def meters(self) -> Iterator[Meter]:
        """Tell what Micrometer's Hikari binder tells."""
        self._drop_closed()
        tags = (("pool", "HikariPool-1"),)
        idle = len(self._idle)
        for suffix, value, text in (
            ("", self._active + idle, "Total connections"),
            (".active", self._active, "Active connections"),
            (".idle", idle, "Idle connections"),
            (".pending", self._pending, "Pending threads"),
            (".max", SIZE, "Max connections"),
            (".min", MINIMUM_IDLE, "Min connections"),
        ):
            yield Meter(f"hikaricp.connections{suffix}", Kind.GAUGE, value, tags, description=text)
        timeouts = "hikaricp.connections.timeout"
        yield Meter(timeouts, Kind.COUNTER, self._timeouts, tags, description="Connection timeout total count")
        for name, text in (
            ("acquire", "Connection acquire time"),
            ("usage", "Connection usage time"),
            ("creation", "Connection creation time"),
        ):
            yield Meter(f"hikaricp.connections.{name}", Kind.TIMER, self._timers[name], tags, description=text)

    async def _take(self) -> asyncpg.Connection:
        began = time.monotonic()
        self._pending += 1
        try:
            async with asyncio.timeout(CONNECTION_TIMEOUT):
                await self._slots.acquire()
                try:
                    connection = await self._borrow()
                except BaseException:
                    self._slots.release()
                    raise
        except TimeoutError as error:
            self._timeouts += 1
            raise PoolTimeoutError(self._timed_out()) from error
        finally:
            self._pending -= 1
        self._active += 1
        self._timers["acquire"].record(time.monotonic() - began)
        return connection

    def _timed_out(self) -> str:
        idle = len(self._idle)
        return (
            f"HikariPool-1 - Connection is not available, request timed out after {CONNECTION_TIMEOUT * 1000:.0f}ms "
            f"(total={self._active + idle}, active={self._active}, idle={idle}, waiting={self._pending - 1})"
        )

    async def _borrow(self) -> asyncpg.Connection:
        """Return an idle connection that works, or a new one; while there is none to be had, try for ever."""
        while True:
            self._drop_closed()
            if self._idle:
                connection, used = self._idle.pop()
                if time.monotonic() - used < _ALIVE_BYPASS or await _alive(connection):
                    return connection
                continue
            try:
                return await self._connect()
            except TimeoutError:
                raise
            except _LOST:
                await asyncio.sleep(_RETRY)

    async def _connect(self) -> asyncpg.Connection:
        spec, began = self._spec, time.monotonic()
        password = await asyncio.to_thread(spec.password_file.read_text)
        options: dict[str, Any] = {"server_settings": {"application_name": self._application}, "ssl": False}
        connection = await asyncpg.connect(
            host=spec.host, port=spec.port, user=spec.user, password=password, database=spec.database,
            timeout=CONNECTION_TIMEOUT, **options,
        )  # fmt: skip
        self._timers["creation"].record(time.monotonic() - began)
        return connection

    def _drop_closed(self) -> None:
        self._idle = [item for item in self._idle if not item[0].is_closed()]

    def _give_back(self, connection: asyncpg.Connection) -> None:
        self._active -= 1
        if not connection.is_closed():
            self._idle.append((connection, time.monotonic()))
        self._slots.release()


async def _alive(connection: asyncpg.Connection) -> bool:
    try:
        await connection.execute("SELECT 1")
    except BaseException as error:
        connection.terminate()
        if isinstance(error, _LOST):
            return False
        raise
    return True


async def _wait(connection: asyncpg.Connection, statement: str) -> None:
    with contextlib.suppress(*_LOST):
        await connection.execute(statement)


async def _run_quietly(connection: asyncpg.Connection, statement: str) -> None:
    with contextlib.suppress(*_LOST):
        async with asyncio.timeout(CONNECTION_TIMEOUT):
            await connection.execute(statement)

"""One session: phases timed apart, every answer bounded, and nothing left behind."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress

from exporter.clients.postgres.login import Login, log_in
from exporter.clients.postgres.wire import (
    MAX_ANSWER_BYTES,
    Frames,
    Row,
    ServerError,
    columns_of,
    message,
    row_of,
    server_error,
    text,
)
from exporter.net.phases import Phases, timed
from exporter.net.resolver import Resolver
from exporter.net.stream import Stream
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage

__all__ = ["Session", "open_session"]

_ASK_FOR_TLS = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
_PASSED_OVER = (b"C", b"I", b"N", b"S", b"A")
"""End of a statement, no statement, notice, setting, notification."""
_MOST_TABLES = 20
"""Statements of one message that have rows to tell."""
_MOST_COLUMNS = 40
"""Columns of a console's answer, which has half as many."""


async def open_session(address: Address, login: Login, resolver: Resolver, phases: Phases) -> Session:
    """Connect and log in, with resolve, connect, tls and auth timed apart. The caller sets the deadline.

    Raises:
        Failure: As the server says, or the password cannot be read.
        OSError: The network's errors; `ssl.SSLError` is one.
    """
    password = await login.password()
    context = await login.tls.context() if login.tls is not None else None
    stream = await Stream.open(address, resolver, phases, MAX_ANSWER_BYTES)
    try:
        if login.tls is not None and context is not None:
            with timed(phases, Stage.TLS):
                await _ask_for_tls(stream)
            await stream.secure(context, login.tls.server_name or address.host, phases)
        with timed(phases, Stage.AUTH):
            frames = Frames(stream)
            version = await log_in(frames, login, password)
    except BaseException:
        stream.abort()
        raise
    return Session(frames, version)


async def _ask_for_tls(stream: Stream) -> None:
    stream.write(_ASK_FOR_TLS)
    answer = await stream.exactly(1)
    if answer == b"E":  # its words are nobody's yet: CVE-2024-10977
        raise Failure(Stage.TLS, Reason.CONNECTION_CLOSED, "the server reports an error before it speaks TLS")
    if answer != b"S":
        raise Failure(Stage.TLS, Reason.TLS_FAILED, "the server does not speak TLS")


_MAJOR = re.compile(r"\d{1,9}", re.ASCII)


class Session:
    """A session that is logged in.

    Attributes:
        closed: It was given up: an answer was not read to its end, or the connection ended.
        version: Of the server, in its own words.
    """

    def __init__(self, frames: Frames, version: str) -> None:
        self.closed = False
        self.version = version
        self._frames = frames

    @property
    def major(self) -> int | None:
        """Major version of the server; None where it does not begin with a number."""
        found = _MAJOR.match(self.version)
        return int(found[0]) if found is not None else None

    async def query(self, sql: str, most: int = 1) -> list[Row]:
        """Run statements, and return their rows. Nothing is prepared: behind pgbouncer that would be others'.

        Args:
            sql: Statements.
            most: Rows that may come.

        Raises:
            ServerError: The server reports an error.
            Failure: The answer cannot be read, or is too much; the session is given up.
            OSError: The connection ended; the session is given up.
        """
        (tables,) = await self._ask((sql,), most)
        return [row for table in tables for row in table]

    async def read(self, seconds: float, sql: str, most: int = 1, *, wait: float | None = None) -> list[list[Row]]:
        """Run statements in a read-only transaction, and return the rows of each that has some to tell.

        The server itself ends what takes too long: it goes on with a query whose client has left. Beginning and end are sent
        along with the statements, so all of it is one way there and back.

        Args:
            seconds: For each statement.
            sql: Statements.
            most: Rows that may come, of all statements together.
            wait: Seconds for each wait for a lock, where it is less.

        Raises:
            TimeoutError: No time is left.
            ServerError, Failure, OSError: As for `query`. After a `ServerError` the transaction is rolled back.
        """
        if seconds <= 0:
            raise TimeoutError
        limit, patience = _milliseconds(seconds), _milliseconds(seconds if wait is None else min(wait, seconds))
        begin = f"BEGIN READ ONLY; SET LOCAL statement_timeout = {limit}; SET LOCAL lock_timeout = {patience}"
        return (await self._ask((begin, sql, "COMMIT"), most))[1]

    async def show(self, *commands: str, most: int = 1) -> list[list[dict[str, str | None]]]:
        """Run commands of a console that takes one in a message, and no transactions: return the rows of each by column.

        Args:
            commands: SHOW and its like.
            most: Rows that each may answer with.

        Raises:
            ServerError, Failure, OSError: As for `query`; `malformed` for one that answers without rows.
        """
        answers = await self._ask(commands, most, named=True)
        if any(len(tables) != 1 or len(tables[0][0]) > _MOST_COLUMNS for tables in answers):
            raise Failure(Stage.QUERY, Reason.MALFORMED, "the server's answer cannot be read")
        return [[_by_name(names, row) for row in rows] for ((names, *rows),) in answers]

    async def goodbye(self, seconds: float) -> None:
        """End the session in good form, so that the server logs no lost client; not at the price of waiting for it."""
        if not self.closed:
            self._frames.stream.write(message(b"X"))
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._frames.stream.closed()
        self.abort()

    def abort(self) -> None:
        """Close the socket at once."""
        self.closed = True
        self._frames.stream.abort()

    async def _ask(self, messages: tuple[str, ...], most: int, *, named: bool = False) -> list[list[list[Row]]]:
        """Send all messages at once; return of each what its statements answer, once the last is answered.

        Args:
            messages: Statements.
            most: Rows that may come in answer to each.
            named: The names of the columns come first.
        """
        if self.closed:
            raise Failure(Stage.QUERY, Reason.CONNECTION_CLOSED, "the session has ended")
        try:
            self._frames.stream.write(b"".join(message(b"Q", text(sql)) for sql in messages))
            answers, error = [], None
            for _ in messages:
                tables, failed = await self._answer(most, error, named=named)
                answers.append(tables)
                error = error or failed
        except BaseException:
            self.abort()
            raise
        if error is not None:
            raise error
        return answers

    async def _answer(
        self, most: int, before: ServerError | None, *, named: bool
    ) -> tuple[list[list[Row]], ServerError | None]:
        """Read the answer to one message.

        Args:
            most: Rows that may come.
            before: What the server has reported already, which says more than that it closes the connection.
            named: The names of the columns come first.
        """
        tables: list[list[Row]] = []
        room, error = most, None
        while True:
            try:
                kind, body = await self._frames.next()
            except OSError:
                if (told := before or error) is not None:  # which ended the session too
                    raise told from None
                raise
            match kind:
                case b"T" if len(tables) < _MOST_TABLES:
                    tables.append([columns_of(body)] if named else [])
                case b"D" if room and tables:
                    tables[-1].append(row_of(body))
                    room -= 1
                case b"D" if tables:
                    raise Failure(Stage.QUERY, Reason.TOO_LARGE, f"the server answers with more than {most} rows")
                case b"E":
                    error = error or server_error(body, Stage.QUERY)
                case b"Z":
                    return tables, error
                case _ if kind not in _PASSED_OVER:
                    raise Failure(Stage.QUERY, Reason.PROTOCOL, "the server's answer is not to what was asked")


def _by_name(names: Row, row: Row) -> dict[str, str | None]:
    if len(names) != len(row):
        raise Failure(Stage.QUERY, Reason.MALFORMED, "the server's answer cannot be read")
    return {name or "": value for name, value in zip(names, row, strict=True)}


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))

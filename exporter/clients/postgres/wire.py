"""PostgreSQL's messages, protocol 3.0: what is sent, and what arrives, which is believed only as far as it is bounded.

Why no library: asyncpg hashes a password on the event loop as often as the server asks, minutes for one answer of 60 bytes,
and collects a message of 2 GB as long as it comes. Nothing public of it stands between the socket and that: one broken or
hostile server would stop every probe. libpq, and so psycopg, hashes in the same place.
"""

from __future__ import annotations

import asyncio
from struct import Struct
from struct import error as struct_error

from exporter.net.stream import Stream
from exporter.verdict import Failure, Reason, Stage

__all__ = [
    "MAX_ANSWER_BYTES", "Frames", "Row", "ServerError", "columns_of", "message", "row_of", "server_error", "startup", "text",
]  # fmt: skip

MAX_ANSWER_BYTES = 8 * 1024 * 1024
"""What a server may send in one session."""

MAX_FIRST_BYTES = 64 * 1024
"""Length of a server's first message, past which it is no PostgreSQL: the letters of another protocol read as gigabytes."""

_HEAD = Struct("!ci")
_LENGTH = Struct("!i")
_COUNT = Struct("!h")
_PROTOCOL = 196608
_COLUMN_BYTES = 18
"""What follows the name of a column: its table, its type and its format."""
_FRAMES_A_TURN = 500
"""Messages that are read before the other tasks of the loop have their turn."""

Row = tuple[str | None, ...]
"""A row as text, the only format that is asked for."""

_REASONS = {
    "28000": Reason.AUTH,  # the role may not log in, or from here
    "28P01": Reason.AUTH,  # wrong password
    "42501": Reason.AUTH,  # insufficient privilege
    "53300": Reason.TOO_MANY_CONNECTIONS,
    "57P01": Reason.STARTING,  # shutting down
    "57P02": Reason.STARTING,  # after a crash
    "57P03": Reason.STARTING,  # starting up, or in recovery
    "57014": Reason.TIMEOUT,  # statement_timeout
    "55P03": Reason.TIMEOUT,  # lock_timeout
    "08P01": Reason.PROTOCOL,
}
"""Meaning of SQLSTATE; class 08 is a lost connection, anything else a failed query."""

_OF_POOLERS = (
    ("authentication failed", Reason.AUTH),
    ("no such user", Reason.AUTH),
    ("not allowed", Reason.AUTH),
    ("no more connections allowed", Reason.TOO_MANY_CONNECTIONS),
    ("does not exist", Reason.QUERY_FAILED),
    ("no such database", Reason.QUERY_FAILED),
)
"""What pgbouncer says of a login under 08P01, which it has for almost everything: each expression and its reason."""


_OF_THEIR_SERVERS = (
    ("server login has been failing", Reason.QUERY_FAILED),
    ("cannot connect to server", Reason.QUERY_FAILED),
    ("server login failed", Reason.QUERY_FAILED),
    ("server conn crashed", Reason.CONNECTION_CLOSED),
    ("query_wait_timeout", Reason.TIMEOUT),
    ("the database system is", Reason.STARTING),  # from here on the server's own words, as it passes them on
    ("sorry, too many clients already", Reason.TOO_MANY_CONNECTIONS),
    ("connection slots are reserved", Reason.TOO_MANY_CONNECTIONS),
    ("too many connections for database", Reason.TOO_MANY_CONNECTIONS),
    ("too many connections for role", Reason.AUTH),
)
"""What it says under 08P01, at a login or later, where its own server does not let it in, or leaves."""

_LIMIT_OF_THE_ROLE = ("53300", "InitializeSessionUserId")
"""SQLSTATE and the routine that reports it where CONNECTION LIMIT of the role is reached; the words are in any language."""


class ServerError(Failure):
    """An error that the server reports. The session can go on, unless the server closes it.

    Args:
        stage: When it is reported.
        sqlstate: Its code.
        words: Its message.
        routine: What of the server's source reports it; empty where it does not say.
    """

    def __init__(self, stage: Stage, sqlstate: str, words: str, routine: str = "") -> None:
        default = Reason.CONNECTION_CLOSED if sqlstate.startswith("08") else Reason.QUERY_FAILED
        reason = _REASONS.get(sqlstate, default)
        if reason is Reason.PROTOCOL and stage is Stage.AUTH:
            reason = next((meant for said, meant in _OF_POOLERS if said in words), reason)
        if reason is Reason.PROTOCOL:
            reason = next((meant for said, meant in _OF_THEIR_SERVERS if said in words), reason)
        if (sqlstate, routine) == _LIMIT_OF_THE_ROLE:  # of nobody but this role: it is no word of the others' sessions
            reason = Reason.AUTH
        super().__init__(stage, reason, f"{sqlstate} {words}")
        self.sqlstate = sqlstate


class Frames:
    """The messages of one connection, whole, one by one."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._count = 0

    async def next(self) -> tuple[bytes, bytes]:
        """Return the next message: its letter and its body.

        Raises:
            Failure: What arrives cannot be PostgreSQL's, or is too much.
            OSError: The connection ended.
        """
        kind, length = _HEAD.unpack(await self.stream.exactly(_HEAD.size))
        if length < 4:  # it counts itself
            raise Failure(Stage.RECEIVE, Reason.PROTOCOL, f"the server announces a message of {length} bytes")
        if not self._count and length > MAX_FIRST_BYTES:
            raise Failure(Stage.AUTH, Reason.PROTOCOL, "the server does not answer as PostgreSQL does")
        if length > MAX_ANSWER_BYTES:
            raise Failure(Stage.RECEIVE, Reason.TOO_LARGE, f"the server announces a message of {length} bytes")
        self._count += 1
        if not self._count % _FRAMES_A_TURN:
            await asyncio.sleep(0)
        return kind, await self.stream.exactly(length - 4)


def message(kind: bytes, body: bytes = b"") -> bytes:
    """Make a message."""
    return _HEAD.pack(kind, len(body) + 4) + body


def text(value: str) -> bytes:
    """Make a string, ended by a zero."""
    return value.encode() + b"\0"


def startup(parameters: dict[str, str]) -> bytes:
    """Make the first message, which has no letter."""
    body = _LENGTH.pack(_PROTOCOL) + b"".join(text(name) + text(value) for name, value in parameters.items()) + b"\0"
    return _LENGTH.pack(len(body) + 4) + body


def server_error(body: bytes, stage: Stage) -> ServerError:
    """Read an error's fields."""
    fields = {field[:1]: field[1:].decode("utf-8", "replace") for field in body.split(b"\0") if field}
    return ServerError(stage, fields.get(b"C", "")[:5], fields.get(b"M", ""), fields.get(b"R", ""))


def row_of(body: bytes) -> Row:
    """Read a row. Bytes that are no text are marked, each by its number, so that two names do not become one: roles and
    databases may be named in another encoding than this one's.

    Raises:
        Failure: It is not one.
    """
    row: list[str | None] = []
    try:
        (count,) = _COUNT.unpack_from(body)
        position = _COUNT.size
        for _ in range(count):
            (length,) = _LENGTH.unpack_from(body, position)
            position += _LENGTH.size
            end = position + max(0, length)
            row.append(_text_of(body[position:end]) if length >= 0 else None)
            position = end
    except struct_error:
        raise _unreadable() from None
    if position != len(body) or count < 0:
        raise _unreadable()
    return tuple(row)


def _text_of(field: bytes) -> str:
    try:
        return field.decode()
    except UnicodeDecodeError:
        text = field.decode("utf-8", "surrogateescape")
        return "".join(f"\ufffd{ord(letter) - 0xDC00:02x}" if "\udc80" <= letter <= "\udcff" else letter for letter in text)


def columns_of(body: bytes) -> Row:
    """Read the names of the columns of rows that follow.

    Raises:
        Failure: They cannot be read.
    """
    names: list[str | None] = []
    try:
        (count,) = _COUNT.unpack_from(body)
        position = _COUNT.size
        for _ in range(count):
            end = body.index(0, position)
            names.append(body[position:end].decode())
            position = end + 1 + _COLUMN_BYTES
    except (struct_error, ValueError):
        raise _unreadable() from None
    if position != len(body) or count < 0:
        raise _unreadable()
    return tuple(names)


def _unreadable() -> Failure:
    return Failure(Stage.QUERY, Reason.MALFORMED, "the server's answer cannot be read")

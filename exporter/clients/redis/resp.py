"""RESP2, the protocol of Redis: commands as they are sent, and answers, believed only as far as they are bounded."""

from __future__ import annotations

import re
from typing import TypeAlias

from exporter.net.stream import Stream
from exporter.verdict import Failure, Reason, Stage

__all__ = ["MAX_ANSWER_BYTES", "Answer", "ServerError", "command", "read_answer"]

MAX_ANSWER_BYTES = 1024 * 1024
"""INFO takes some 6 KB, more with many command statistics; more than this in one connection is not read."""

MAX_ELEMENTS = 10_000
"""Elements of an answer, those of its arrays included: an empty one takes 4 bytes and the time of any other."""

MAX_DEPTH = 8
MAX_LINE = 65_536

Answer: TypeAlias = "bytes | int | list[Answer] | None"

_WORD = re.compile(r"[A-Z]+")
_LENGTH = re.compile(rb"-1|\d{1,18}", re.ASCII)
_NUMBER = re.compile(rb"[+-]?\d{1,19}", re.ASCII)
_REASONS = {
    "NOAUTH": Reason.AUTH,
    "WRONGPASS": Reason.AUTH,
    "NOPERM": Reason.AUTH,
    "LOADING": Reason.STARTING,
    "BUSYLOADING": Reason.STARTING,
}
"""Meaning of an error's first word; anything else is a failed query."""

_WORDINGS = {
    "max number of clients": Reason.TOO_MANY_CONNECTIONS,
    "invalid password": Reason.AUTH,  # before Redis 6
    "invalid username-password": Reason.AUTH,
    "without any password configured": Reason.AUTH,
    "but no password is set": Reason.AUTH,  # before Redis 6
    "wrong number of arguments for 'auth' command": Reason.AUTH,  # a user's name, before Redis 6
    "unknown command 'auth'": Reason.AUTH,  # it was renamed
    "unknown command `auth`": Reason.AUTH,  # the same, before Redis 7
}
"""Meaning of errors whose first word is ERR."""


class ServerError(Failure):
    """An error that the server answers with. The connection can be asked again, unless the server closes it."""

    def __init__(self, stage: Stage, words: str) -> None:
        first = _WORD.match(words)
        reason = _REASONS.get(first[0]) if first is not None else None
        if reason is None:
            lower = words[:200].lower()
            reason = next((found for part, found in _WORDINGS.items() if part in lower), Reason.QUERY_FAILED)
        super().__init__(stage, reason, words)


def command(*words: str) -> bytes:
    """Make a command."""
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


async def read_answer(stream: Stream, stage: Stage) -> Answer:
    """Read one answer.

    Args:
        stream: Where it arrives.
        stage: What an error is named after.

    Raises:
        ServerError: The answer is an error.
        Failure: It is not RESP, or is larger or deeper than any answer to what is asked here.
        OSError: The connection ended.
    """
    reader = _Reader(stream, stage)
    return await reader.read(0)


class _Reader:
    """Reads one answer with all its elements."""

    def __init__(self, stream: Stream, stage: Stage) -> None:
        self._stream = stream
        self._stage = stage
        self._elements = 0

    async def read(self, depth: int) -> Answer:
        line = await self._line()
        kind, rest = line[:1], line[1:]
        match kind:
            case b"+":
                return rest
            case b"-" if not depth:
                raise ServerError(self._stage, rest[:1000].decode("utf-8", "replace"))
            case b":" if _NUMBER.fullmatch(rest):
                return int(rest)
            case b"$" if _LENGTH.fullmatch(rest):
                return await self._bulk(int(rest))
            case b"*" if _LENGTH.fullmatch(rest):
                return await self._array(int(rest), depth + 1)
        raise self._not_resp()

    async def _line(self) -> bytes:
        line = await self._stream.line(MAX_LINE)
        if line is None:
            raise Failure(Stage.RECEIVE, Reason.TOO_LARGE, f"a line of more than {MAX_LINE} bytes")
        return line

    async def _bulk(self, length: int) -> bytes | None:
        if length < 0:
            return None
        data = await self._stream.exactly(length + 2)
        if not data.endswith(b"\r\n"):
            raise self._not_resp()
        return data[:-2]

    async def _array(self, length: int, depth: int) -> list[Answer] | None:
        if length < 0:
            return None
        self._elements += length
        if self._elements > MAX_ELEMENTS or depth > MAX_DEPTH:
            raise Failure(self._stage, Reason.PROTOCOL, "the answer has more elements than any to what was asked")
        return [await self.read(depth) for _ in range(length)]

    def _not_resp(self) -> Failure:
        return Failure(self._stage, Reason.PROTOCOL, "the answer is not RESP")

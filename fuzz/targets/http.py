"""What HTTP servers answer, and what TLS servers say while they shake hands."""

from __future__ import annotations

import asyncio

from exporter.net.handshake import _Flight
from exporter.net.http_connection import Connection
from exporter.net.phases import NoPhases
from fuzz.model import Finding, Target
from fuzz.wires import Wire, on_loop

__all__ = ["TARGETS"]

MAX_BYTES = 2048


def _answers(data: bytes) -> object:
    """Two requests over one connection, each answered by its half of the input, in pieces as long as the first byte says."""
    if not data:
        return None
    piece, (first, _, second) = max(1, data[0]), data[1:].partition(b"\0\0")
    return on_loop(_exchange([first, second], piece))


class _Server:
    """Answers each request with the next of its answers, and hangs up where that does not end the exchange."""

    def __init__(self, answers: list[bytes], piece: int) -> None:
        self._answers = answers
        self._piece = piece
        self._lost = False
        self._wire = Wire(self._asked)
        self.connection = Connection(lambda _: None)
        self.connection.connection_made(self._wire)

    def _asked(self, _request: bytes) -> None:
        asyncio.get_running_loop().call_soon(self._arrive, self._answers.pop(0))

    def _arrive(self, answer: bytes) -> None:
        for at in range(0, len(answer), self._piece):
            if self._wire.is_closing():
                break
            self.connection.data_received(answer[at : at + self._piece])
        asyncio.get_running_loop().call_soon(self._hang_up)

    def _hang_up(self) -> None:
        waiter = self.connection._waiter
        if self._wire.is_closing() or (waiter is not None and not waiter.done()):
            self.end()

    def end(self) -> None:
        if not self._lost:
            self._lost = True
            self.connection.connection_lost(None)


async def _exchange(answers: list[bytes], piece: int) -> object:
    server = _Server(answers, piece)
    connection = server.connection
    got: list[object] = []
    try:
        for _ in range(len(answers)):
            if not connection.open or (got and not connection.reusable):
                break
            answer = await connection.exchange(b"GET / HTTP/1.1\r\n\r\n", NoPhases(), MAX_BYTES)
            got.append((answer.status, dict(answer.headers), answer.body))
            if len(answer.body) > MAX_BYTES:
                raise Finding("a body longer than was asked for")
    finally:
        server.end()
    return got


def _flight(data: bytes) -> object:
    """Feed a server's part of a handshake in pieces as long as the first byte says."""
    if not data:
        return None
    flight, piece = _Flight(), max(1, data[0])
    for at in range(1, len(data), piece):
        flight.feed(data[at : at + piece])
    return [getattr(flight, name) for name in getattr(flight, "__slots__", ()) or vars(flight)]


TARGETS = (
    Target("http", _answers, ("exporter.net.http_connection",)),
    Target("handshake", _flight, ("exporter.net.handshake",), ()),
)

"""What servers answer over HTTP, what they say while TLS shakes hands, and their certificates."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

from exporter.clients.postgres.binding import server_end_point
from exporter.net.handshake import _Flight
from exporter.net.http import Answer, HttpClient
from exporter.net.http_connection import Connection
from exporter.net.phases import NoPhases
from exporter.net.resolver import Resolver
from exporter.ownership.peers import OtherExporters
from exporter.ownership.settings import Peers
from exporter.probes.tls import _record
from exporter.probing.attempt import Attempt
from fuzz.model import Finding, Target
from fuzz.wires import Wire, finish, on_loop

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


def _certificate(data: bytes) -> object:
    """Read it as the certificate that a server presents."""
    found: list[object] = []
    attempt = SimpleNamespace(record=lambda family, value, *labels: found.append((family.name, value, labels)))
    _record(cast(Attempt, attempt), [data])
    return [*found, server_end_point(data)]


class _Peer:
    """A client of HTTP whose every answer is the same."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def get(self, *_: object, **__: object) -> Answer:
        return self._answer


def _other(data: bytes) -> object:
    """Read it as what another exporter of a lease says of itself."""
    http = cast(HttpClient, _Peer(Answer(200, {}, data, reused=False)))
    peers = OtherExporters(Peers(dns="exporters", port=9818), "self", http, cast(Resolver, None))
    return finish(peers._ask("10.0.0.1"))


TARGETS = (
    Target("http", _answers, ("exporter.net.http_connection",)),
    Target("certificate", _certificate, ("exporter.probes.tls", "exporter.clients.postgres.binding")),
    Target("peers", _other, ("exporter.ownership.peers",)),
    Target("handshake", _flight, ("exporter.net.handshake",), ()),
)

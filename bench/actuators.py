"""Many actuators that answer at once: the same for every peer. `python -m bench.actuators [--everywhere] PORT...`."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Callable
from typing import cast

import uvloop

from bench import answers

__all__ = ["COUNT", "HEALTH", "METERS"]

COUNT = "/asked-for-meters"
"""Path at which any of the actuators tells how often all of them were asked for meters."""

HEALTH = "/actuator/health"
METERS = "/actuator/prometheus"
_JSON = "application/vnd.spring-boot.actuator.v3+json"


def _answer(body: bytes, content_type: str = _JSON) -> bytes:
    head = (
        f"HTTP/1.1 200 \r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        "Date: Mon, 01 Jan 2024 00:00:00 GMT\r\nKeep-Alive: timeout=60\r\nConnection: keep-alive\r\n\r\n"
    )
    return head.encode() + body


_GROUPS = {name: _answer(answers.group(name)) for name in ("liveness", "readiness")}
_FLYWAY = _answer(answers.FLYWAY)
_NOT_FOUND = b"HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n"
_ROUTES: dict[bytes, Callable[[int], bytes]] = {
    HEALTH.encode(): lambda number: _answer(answers.health(number)),
    f"{HEALTH}/liveness".encode(): lambda _: _GROUPS["liveness"],
    f"{HEALTH}/readiness".encode(): lambda _: _GROUPS["readiness"],
    METERS.encode(): lambda number: _answer(answers.meters(number), "text/plain;version=0.0.4;charset=utf-8"),
    b"/actuator/flyway": lambda _: _FLYWAY,
}


class Actuator(asyncio.Protocol):
    """Answers every request of a connection."""

    _numbers = itertools.count()
    _asked = 0

    @classmethod
    def asked(cls) -> bytes:
        """Say how often meters were asked for."""
        return b"%d" % cls._asked

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            request, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            path = request.split(b" ", 2)[1].partition(b"?")[0]
            Actuator._asked += path == METERS.encode()
            route = _ROUTES.get(path)
            self._transport.write(route(next(self._numbers)) if route is not None else _NOT_FOUND)


_ROUTES[COUNT.encode()] = lambda _: _answer(Actuator.asked())


async def main(arguments: list[str]) -> None:
    """Listen until killed."""
    loop = asyncio.get_running_loop()
    host = "127.0.0.1"
    if arguments[0] == "--everywhere":  # at every address of this machine, loopback ones above all
        host, arguments = "0.0.0.0", arguments[1:]  # noqa: S104 - 127.x.y.z is what is wanted
    for port in arguments:
        await loop.create_server(Actuator, host, int(port), backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:]))

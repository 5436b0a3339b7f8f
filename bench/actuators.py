"""Many actuators that answer a health request at once: the same for every peer. `python -m bench.actuators PORT...`."""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

BODY = (
    b'{"status":"UP","components":{"db":{"status":"UP","details":{"database":"PostgreSQL","validationQuery":"isValid()"}},'
    b'"diskSpace":{"status":"UP","details":{"total":1000,"free":500,"threshold":100,"path":"/.","exists":true}},'
    b'"livenessState":{"status":"UP"},"ping":{"status":"UP"},"readinessState":{"status":"UP"},'
    b'"redis":{"status":"UP","details":{"version":"7.2.4"}}},"groups":["liveness","readiness"]}'
)
ANSWER = (
    b"HTTP/1.1 200 \r\nContent-Type: application/vnd.spring-boot.actuator.v3+json\r\nContent-Length: %d\r\n"
    b"Date: Mon, 01 Jan 2024 00:00:00 GMT\r\nKeep-Alive: timeout=60\r\nConnection: keep-alive\r\n\r\n%b" % (len(BODY), BODY)
)


class Actuator(asyncio.Protocol):
    """Answers every request of a connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            _, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            self._transport.write(ANSWER)


async def main(ports: list[int]) -> None:
    """Listen until killed."""
    loop = asyncio.get_running_loop()
    for port in ports:
        await loop.create_server(Actuator, "127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main([int(port) for port in sys.argv[1:]]))

"""Clients without manners, as a process of their own: `python -m bench.attackers KIND PORT SECONDS`.

What they do is bounded in number and in time, and goes to the loopback address alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Awaitable, Callable

__all__ = ["ATTACKS"]

HOST = "127.0.0.1"
IDLE, DEAF, SCRAPES = 2_000, 64, 500
SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n"
HEADERS = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + (b"X: " + b"x" * 8000 + b"\r\n") * 90
PLAIN = SCRAPE.replace(b"Accept-Encoding: gzip\r\n", b"")


async def _connect(port: int, buffer: int | None = None) -> socket.socket:
    made = socket.socket()
    made.settimeout(0)
    if buffer is not None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    await asyncio.get_running_loop().sock_connect(made, (HOST, port))
    return made


async def idle(port: int, seconds: float) -> None:
    """Connect two thousand times, and say nothing; connect again whenever one is closed."""
    await asyncio.gather(*(_stay(port, b"", seconds) for _ in range(IDLE)))


async def dripping(port: int, seconds: float) -> None:
    """The same with a request that never ends: a byte every five seconds."""
    await asyncio.gather(*(_stay(port, b"G", seconds) for _ in range(IDLE)))


async def headers(port: int, seconds: float) -> None:
    """The same with headers that do not end: 90 of 8,000 bytes, and then a byte every five seconds."""
    await asyncio.gather(*(_stay(port, b"G", seconds, HEADERS) for _ in range(IDLE)))


async def _stay(port: int, said: bytes, seconds: float, first: bytes = b"") -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:
        with contextlib.suppress(OSError):
            made = await _connect(port)
            try:
                async with asyncio.timeout_at(until):
                    await loop.sock_sendall(made, first)
                    while True:
                        if said:
                            await loop.sock_sendall(made, said)
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(5):
                                if not await loop.sock_recv(made, 1024):
                                    break
            except TimeoutError:
                pass
            finally:
                made.close()
        await asyncio.sleep(0.5)


async def deaf(port: int, seconds: float) -> None:
    """Ask for all metrics, uncompressed and one after the other, so that no two are told the same; and read nothing."""
    made = []
    for _ in range(DEAF):
        with contextlib.suppress(OSError):
            made.append(await _connect(port, 4096))
            await asyncio.get_running_loop().sock_sendall(made[-1], PLAIN)
        await asyncio.sleep(0.05)
    await asyncio.sleep(seconds)
    for each in made:
        each.close()


async def scrapes(port: int, seconds: float) -> None:
    """Scrape five hundred times at once, as often as there is time for; all must be answered."""
    until = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < until:
        answered = await asyncio.gather(*(_scrape(port) for _ in range(SCRAPES)), return_exceptions=True)
        print(sum(1 for each in answered if each is True), "of", SCRAPES, "answered", flush=True)  # noqa: T201


async def _scrape(port: int) -> bool:
    loop = asyncio.get_running_loop()
    made = await _connect(port)
    try:
        async with asyncio.timeout(60):
            await loop.sock_sendall(made, SCRAPE)
            first = await loop.sock_recv(made, 65_536)
            while await loop.sock_recv(made, 1_048_576):
                pass
            return b" 200 OK" in first.split(b"\r\n", 1)[0]
    finally:
        made.close()


ATTACKS: dict[str, Callable[[int, float], Awaitable[None]]] = {
    "idle": idle,
    "dripping": dripping,
    "headers": headers,
    "deaf": deaf,
    "scrapes": scrapes,
}


async def _main(kind: str, port: str, seconds: str) -> None:
    await ATTACKS[kind](int(port), float(seconds))


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:4]))

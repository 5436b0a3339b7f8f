"""A client without manners."""

from __future__ import annotations

import asyncio
import socket
import struct
from types import TracebackType
from typing import Self

from exporter.values import Address


class Raw:
    """One connection, byte by byte. Reads nothing by itself: its buffer is small, so the server feels it.

    Args:
        address: Of the server.
        buffer: Bytes that the kernel may receive for it.
        source: The client's own address.
    """

    def __init__(self, address: Address, buffer: int = 4096, source: str = "127.0.0.1") -> None:
        self._address = address
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self._socket.settimeout(0)
        self._socket.bind((source, 0))

    async def __aenter__(self) -> Self:
        await asyncio.get_running_loop().sock_connect(self._socket, self._address)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    async def send(self, text: str) -> None:
        """Send it all."""
        await asyncio.get_running_loop().sock_sendall(self._socket, text.encode())

    def reset(self) -> None:
        """Be gone without a word: the server is told so when it reads."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def finish(self) -> None:
        """Say that no more comes, and go on reading."""
        self._socket.shutdown(socket.SHUT_WR)

    async def read(self) -> bytes:
        """Read until the server closes; a reset is an end, too."""
        parts = []
        async with asyncio.timeout(10):
            try:
                while part := await asyncio.get_running_loop().sock_recv(self._socket, 65_536):
                    parts.append(part)
            except ConnectionError:
                pass
        return b"".join(parts)

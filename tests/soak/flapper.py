"""A target that never does the same twice: closes, resets, hangs, drips, and answers nonsense in every protocol's words."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time

__all__ = ["Flapper"]

_ANSWERS = (
    b"",
    b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
    b"HTTP/1.1 503 -\r\nContent-Length: 0\r\n\r\n",
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{"status":"UP"}',
    b"+PONG\r\n",
    b"-LOADING\r\n",
    b"$1000000\r\nabc",
    b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I",
    b"E\0\0\0\x0cSFATAL\0\0",
    b"N",
    b"\0\0\0\x04\0\0\0\0",
    b"\x16\x03\x03\0\x02\0\0",
    b"\x15\x03\x03\0\x02\x02\x28",
    bytes(range(256)) * 8,
)


class Flapper:
    """Listens on a loopback port, in threads of its own.

    Args:
        seed: What it does, in which order.
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self._over = threading.Event()
        self.served = 0
        threading.Thread(target=self._accept, name="flapper", daemon=True).start()

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """Listen no more."""
        self._over.set()
        self._listener.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.served += 1
            choice, answer = self._random.random(), self._random.choice(_ANSWERS)
            threading.Thread(target=self._serve, args=(connection, choice, answer), daemon=True).start()

    def _serve(self, connection: socket.socket, choice: float, answer: bytes) -> None:
        with connection:
            try:
                connection.settimeout(1.0)
                if choice < 0.15:
                    return
                connection.recv(4096)
                if choice < 0.3:
                    time.sleep(0.3)
                if choice < 0.4:
                    for at in range(0, len(answer), 3):
                        connection.sendall(answer[at : at + 3])
                        time.sleep(0.01)
                else:
                    connection.sendall(answer)
                if choice > 0.7:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                elif choice > 0.5:
                    time.sleep(0.25)
            except OSError:
                pass

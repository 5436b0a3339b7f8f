"""A relay that hands on what a real server says up to some byte, and goes on in a way of its own: it stops, drips or floods.

It runs in threads, so that the event loop under test has the probe to itself.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

__all__ = ["WAYS", "Traitor", "serving_traitor"]

_BLOCK = b"\x00\xff*1\r\n:1\r\nA" * 6000
"""What a flood is made of: something of each protocol, and of none."""

_DRIP = 0.01
"""Seconds between two bytes of a drip."""


class Traitor:
    """A relay to a server on loopback.

    Args:
        to: Port of the server.
        way: What it does once it has handed on what it means to: a key of `WAYS`.

    Attributes:
        port: Where it listens.
        turns: How many bytes the server had said after each turn, while it was handed on whole.
        sent: Bytes of its own that were taken from it since `betray_after`.
        betrayals: Connections over which it went its own way since then.
    """

    def __init__(self, to: int, way: str) -> None:
        self.turns: list[int] = []
        self.sent = 0
        self.betrayals = 0
        self._to = to
        self._way = WAYS[way]
        self._limit: int | None = None
        self._said = 0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._start(self._accept)

    def betray_after(self, limit: int) -> None:
        """Hand on so many bytes from now on, over all connections, and then no more."""
        self.cut()
        with self._lock:
            self._limit, self._said, self.sent, self.betrayals = limit, 0, 0, 0

    def cut(self) -> None:
        """End all connections."""
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Listen no more, and end what runs."""
        self._over.set()
        self._listening.shutdown(socket.SHUT_RDWR)  # wakes accept
        self.cut()
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()
        self._listening.close()

    def wait(self, seconds: float) -> bool:
        """Wait; return whether to go on."""
        return not self._over.wait(seconds)

    def say(self, near: socket.socket, data: bytes) -> None:
        """Send something of its own."""
        near.sendall(data)
        with self._lock:
            self.sent += len(data)

    def _start(self, work: Callable[..., None], *args: socket.socket) -> None:
        self._threads.append(threading.Thread(target=work, args=args))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                with self._lock:
                    self._sockets += [near, far]
                self._start(self._ask, near, far)
                self._start(self._answer, near, far)

    def _ask(self, near: socket.socket, far: socket.socket) -> None:
        with suppress(OSError):
            while data := near.recv(65_536):
                far.sendall(data)
        with suppress(OSError):
            far.shutdown(socket.SHUT_RDWR)

    def _answer(self, near: socket.socket, far: socket.socket) -> None:
        with near, far, suppress(OSError):
            while (left := self._left()) != 0 and (data := far.recv(min(65_536, left or 65_536))):
                with self._lock:
                    self._said += len(data)
                    self.turns.append(self._said)
                near.sendall(data)
            if left == 0:
                with self._lock:
                    self.betrayals += 1
                self._way(self, near)
            near.shutdown(socket.SHUT_RDWR)

    def _left(self) -> int | None:
        with self._lock:
            return None if self._limit is None else max(0, self._limit - self._said)


def _stop(traitor: Traitor, near: socket.socket) -> None:
    """Say nothing more, until the client has gone."""
    near.settimeout(0.05)
    while traitor.wait(0):
        with suppress(TimeoutError):
            if not near.recv(1, socket.MSG_PEEK):
                return
            traitor.wait(0.01)


def _drip(traitor: Traitor, near: socket.socket) -> None:
    """Say a byte now and then."""
    while traitor.wait(_DRIP):
        traitor.say(near, b"1")


def _flood(traitor: Traitor, near: socket.socket) -> None:
    """Say whatever, without an end."""
    while traitor.wait(0):
        traitor.say(near, _BLOCK)


WAYS = {"stops": _stop, "drips": _drip, "floods": _flood}


@contextmanager
def serving_traitor(to: int, way: str) -> Iterator[Traitor]:
    """Relay to a server, until the end of the block."""
    traitor = Traitor(to, way)
    try:
        yield traitor
    finally:
        traitor.close()

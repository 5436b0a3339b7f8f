"""Who asks the exporter in a soak: a scraper, readers of pages and of the API, somebody who reloads, each in a thread."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection

__all__ = ["PATIENCE", "User", "ask"]

PATIENCE = 10.0
"""Seconds within which an answer must come: Prometheus' own, by default."""


def ask(port: int, path: str, method: str = "GET") -> tuple[int, bytes]:
    """Ask on a connection of its own.

    Raises:
        OSError: There is no answer in time.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class User:
    """Does something again and again.

    Args:
        name: Who it is, for people.
        every: Seconds from one beginning to the next, if there is time.
        act: What is done; it returns a status.
        expected: Statuses that are right.
    """

    def __init__(self, name: str, every: float, act: Callable[[], int], expected: frozenset[int] = frozenset({200})) -> None:
        self.name = name
        self.statuses: Counter[int] = Counter()
        self.failures: list[str] = []
        self._every = every
        self._act = act
        self._expected = expected
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> None:
        """End, after what is under way."""
        self._over.set()
        self._thread.join()

    @property
    def times(self) -> int:
        """How often it was answered."""
        return self.statuses.total()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._every, time.monotonic() - self._every)
            try:
                status = self._act()
            except Exception as error:
                self.failures.append(f"{self.name}: {type(error).__name__}: {error}")
                continue
            self.statuses[status] += 1
            if status not in self._expected:
                self.failures.append(f"{self.name} was answered {status}")

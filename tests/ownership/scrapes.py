"""Scrapers that never rest, and what they saw: who exported verdicts, and when."""

from __future__ import annotations

import http.client
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class Scrape:
    """One answer.

    Attributes:
        asked: When it was asked for.
        answered: When it was there.
        verdicts: Whether it has any verdict.
    """

    asked: float
    answered: float
    verdicts: bool


class Scrapers:
    """Several threads that scrape one exporter, each as soon as it has its answer; what a stopped process owes them they get
    when it goes on.
    """

    def __init__(self, port: int, count: int = 2) -> None:
        self._port = port
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._seen: list[Scrape] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(60)

    @property
    def seen(self) -> list[Scrape]:
        """All answers until now, in the order of their coming."""
        with self._lock:
            return sorted(self._seen, key=lambda scrape: scrape.answered)

    @property
    def with_verdicts(self) -> list[Scrape]:
        """Those that had verdicts."""
        return [scrape for scrape in self.seen if scrape.verdicts]

    def _run(self) -> None:
        while not self._ended.is_set():
            asked = time.monotonic()
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=50)
            try:
                connection.request("GET", "/metrics")
                body = connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
                continue
            finally:
                connection.close()
            verdicts = b"\nprobe_service_up{" in body or b"\nprobe_success{" in body
            with self._lock:
                self._seen.append(Scrape(asked, time.monotonic(), verdicts))
            time.sleep(0.1)

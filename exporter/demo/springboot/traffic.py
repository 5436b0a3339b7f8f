"""The users of a service: requests that come whether or not the last one is answered, and what they count as."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Iterator, Set

from exporter.demo.springboot.cache import CACHE_ERRORS, Cache
from exporter.demo.springboot.jvm import Jvm
from exporter.demo.springboot.meters import Kind, Meter, Timer
from exporter.demo.springboot.pool import DATABASE_ERRORS, HikariPool

__all__ = ["SLOWNESS", "Requests", "Traffic"]

SLOWNESS = 0.7
"""Seconds that every answer takes longer under the fault `slow`."""
PERIOD = 0.4
THREADS = 10
PROFILES = 8
SEARCHES = 0.6
"""Share of requests that ask the database as well, whatever is in the cache."""
_OUTCOMES = {1: "INFORMATIONAL", 2: "SUCCESS", 3: "REDIRECTION", 4: "CLIENT_ERROR", 5: "SERVER_ERROR"}


class Requests:
    """`http.server.requests`, with histograms."""

    def __init__(self) -> None:
        self._timers: dict[tuple[str, str, int, str], Timer] = {}

    def note(self, uri: str, status: int, seconds: float, *, method: str = "GET", exception: str = "none") -> None:
        """Count a request.

        Args:
            uri: Its template, never its path: there is a series for each.
            status: HTTP status code.
            seconds: How long it took.
            method: HTTP method.
            exception: Simple name of what was thrown.
        """
        key = (uri, method, status, exception)
        timer = self._timers.get(key)
        if timer is None:
            timer = self._timers[key] = Timer(histogram=True)
        timer.record(seconds)

    def meters(self) -> Iterator[Meter]:
        """Tell what Boot's observation of requests tells."""
        for (uri, method, status, exception), timer in self._timers.items():
            tags = (
                ("error", exception), ("exception", exception), ("method", method),
                ("outcome", _OUTCOMES.get(status // 100, "UNKNOWN")), ("status", str(status)), ("uri", uri),
            )  # fmt: skip
            yield Meter("http.server.requests", Kind.TIMER, timer, tags)


class Traffic:
    """Requests for profiles: from the cache, and where it has none from the database; and searches in the database.

    Args:
        pool: The service's connections.
        cache: Its cache.
        requests: Where they are counted.
        jvm: Whose heap they fill.
        faults: What is wrong with the service; looked at each time.
    """

    def __init__(self, pool: HikariPool, cache: Cache, requests: Requests, jvm: Jvm, faults: Set[str]) -> None:
        self._pool = pool
        self._cache = cache
        self._requests = requests
        self._jvm = jvm
        self._faults = faults

    async def run(self) -> None:
        """Make requests for ever; while all threads are busy, users are turned away."""
        running: set[asyncio.Task[None]] = set()
        try:
            while True:
                if len(running) < THREADS:
                    request = asyncio.create_task(self._request())
                    running.add(request)
                    request.add_done_callback(running.discard)
                await asyncio.sleep(PERIOD * random.uniform(0.7, 1.3))
        finally:
            left = list(running)
            for request in left:
                request.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _request(self) -> None:
        began, exception = time.monotonic(), "none"
        if "slow" in self._faults:
            await asyncio.sleep(SLOWNESS)
        if "errors-5xx" in self._faults and random.random() < 0.5:
            exception = "IllegalStateException"
        else:
            try:
                await self._look_up(f"profile:{random.randrange(PROFILES)}")
                if random.random() < SEARCHES:
                    await self._search("%")
            except DATABASE_ERRORS:
                exception = "CannotGetJdbcConnectionException"
        status = 200 if exception == "none" else 500
        self._requests.note("/api/profiles/{id}", status, time.monotonic() - began, exception=exception)
        self._jvm.allocate()

    async def _look_up(self, key: str) -> None:
        with contextlib.suppress(*CACHE_ERRORS):
            if await self._cache.get(key) is not None:
                return
        profile = await self._search(key)
        with contextlib.suppress(*CACHE_ERRORS):
            await self._cache.put(key, profile)

    async def _search(self, key: str) -> str:
        async with self._pool.connection() as connection, asyncio.timeout(2.0):
            return str(await connection.fetchval("SELECT md5($1)", key))

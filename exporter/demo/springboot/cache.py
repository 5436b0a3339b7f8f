"""The cache of a service: lookups and writes on a real Valkey, counted as Spring's cache manager counts them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from exporter.demo.springboot.meters import Kind, Meter
from exporter.demo.springboot.spec import CacheSpec

__all__ = ["CACHE_ERRORS", "Cache"]

CACHE_ERRORS = (redis.RedisError, OSError)
"""Whatever a use of the cache raises while there is none."""

TIMEOUT = 1.0
"""Seconds: longer than a server may take that is slow and not hung."""
LIFETIME_MS = 60_000


class Cache:
    """The cache `profiles`, with statistics switched on.

    Args:
        spec: Where Valkey is.
        service: Name of the service; keys begin with it.
    """

    def __init__(self, spec: CacheSpec, service: str) -> None:
        self._service = service
        self._gets: Counter[str] = Counter()
        self._puts = 0
        self._client = redis.Redis(
            host=spec.host, port=spec.port, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        )  # fmt: skip

    async def get(self, key: str) -> bytes | str | None:
        """Look a key up; a lookup that fails counts neither as a hit nor as a miss.

        Raises:
            CACHE_ERRORS: There is no cache.
        """
        found = await self._client.get(self._name(key))
        self._gets["miss" if found is None else "hit"] += 1
        return found

    async def put(self, key: str, value: str) -> None:
        """Keep a value for a minute.

        Raises:
            CACHE_ERRORS: There is no cache.
        """
        await self._client.set(self._name(key), value, px=LIFETIME_MS)
        self._puts += 1

    async def version(self) -> str:
        """Ping, and return the server's version as the `redis` health indicator does.

        Raises:
            CACHE_ERRORS: There is no cache.
        """
        async with self._client.pipeline(transaction=False) as both:
            both.ping()
            both.info("server")
            _, info = await both.execute()
        server: dict[str, Any] = info
        return str(server.get("redis_version"))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def meters(self) -> Iterator[Meter]:
        """Tell what Micrometer's cache binder tells."""
        tags = (("cache", "profiles"), ("cache.manager", "cacheManager"), ("name", "profiles"))
        text = (
            "The number of times cache lookup methods have returned a cached (hit) or uncached (newly loaded) value (miss)."
        )
        for result in ("hit", "miss", "pending"):
            yield Meter("cache.gets", Kind.COUNTER, self._gets[result], (*tags, ("result", result)), description=text)
        text = "The number of entries added to the cache"
        yield Meter("cache.puts", Kind.COUNTER, self._puts, tags, description=text)

    def _name(self, key: str) -> str:
        return f"profiles::{self._service}:{key}"

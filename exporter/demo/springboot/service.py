"""One simulated service: its parts, its users' requests, and what is wrong with it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import asyncpg
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from exporter.demo.springboot.messaging import Messaging
from exporter.demo.springboot.meters import Meter, Timer
from exporter.demo.springboot.pool import HikariPool, PoolTimeoutError
from exporter.demo.springboot.spec import ServiceSpec, Spec

__all__ = ["Service"]

MIB = 1024 * 1024
HEAP_MAX = 256 * MIB
SLOWNESS = 0.7
REQUEST_PERIOD = 0.4
_MIGRATIONS = (("1", "init"), ("2", "add indexes"), ("3.1", "audit columns"))


class Service:
    """A Spring Boot application with JDBC, Flyway, a Redis cache and a Kafka listener."""

    def __init__(self, spec: ServiceSpec, spec_of_all: Spec) -> None:
        self.name = spec.name
        self.port = spec.port
        self.faults: set[str] = set()
        self.started = time.time()
        self.pool = HikariPool(spec_of_all.postgres, f"{spec.name}-service")
        self.messaging = Messaging(spec_of_all.kafka, spec.name)
        self.schema = spec.name.replace("-", "_")
        self._redis = redis.Redis(
            host=spec_of_all.redis.host, port=spec_of_all.redis.port, socket_timeout=0.5, socket_connect_timeout=0.5,
            retry=Retry(NoBackoff(), 0),
        )  # fmt: skip
        self._requests: dict[tuple[str, str, str], Timer] = {}
        self._gets: Counter[str] = Counter()
        self._collections = Timer()
        self._heap = 60.0 * MIB
        self._migrated = False

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for work in (self._migrate(), self._serve_users(), self.messaging.produce(), self.messaging.consume()):
                    group.create_task(work)
        finally:
            await self.pool.close()
            await self._redis.aclose()

    async def order(self, fault: str, *, on: bool) -> None:
        """Make something go wrong, or right again."""
        (self.faults.add if on else self.faults.discard)(fault)
        if fault in ("pool-exhausted", "idle-transactions"):
            if on:
                await (self.pool.hold_all() if fault == "pool-exhausted" else self.pool.leave_transactions())
            else:
                self.pool.release_held()
        elif fault == "consumer-stopped":
            (self.messaging.consuming.clear if on else self.messaging.consuming.set)()
        elif fault == "poison":
            self.messaging.poisoning = on

    def note_request(self, uri: str, status: int, seconds: float) -> None:
        """Count a request that was served."""
        outcome = {2: "SUCCESS", 4: "CLIENT_ERROR", 5: "SERVER_ERROR"}.get(status // 100, "UNKNOWN")
        self._requests.setdefault((uri, str(status), outcome), Timer()).record(seconds)

    async def redis_version(self) -> str | None:
        """Return the cache's version, as its health indicator does; None where it does not answer."""
        try:
            info: dict[str, Any] = await self._redis.info("server")
        except (redis.RedisError, OSError):
            return None
        return str(info.get("redis_version"))

    def meters(self) -> Iterator[Meter]:
        """Tell every meter."""
        for (uri, status, outcome), timer in self._requests.items():
            served = (("method", "GET"), ("outcome", outcome), ("status", status), ("uri", uri))
            yield Meter("http.server.requests", "timer", timer, (("error", "none"), ("exception", "none"), *served))
        yield from self.pool.meters()
        yield from self._memory()
        why = (("action", "end of minor GC"), ("cause", "G1 Evacuation Pause"), ("gc", "G1 Young Generation"))
        yield Meter("jvm.gc.pause", "timer", self._collections, why, description="Time spent in GC pause")
        for result in ("hit", "miss"):
            cache = (("cache", "profiles"), ("cache.manager", "cacheManager"), ("name", "profiles"), ("result", result))
            yield Meter("cache.gets", "counter", self._gets[result], cache, description="Cache lookups")
        yield from self.messaging.meters()
        up = time.time() - self.started
        yield Meter("process.uptime", "gauge", up, unit="seconds", description="The uptime of the Java virtual machine")
        yield Meter("process.start.time", "gauge", self.started, unit="seconds", description="Start time of the process")

    def _memory(self) -> Iterator[Meter]:
        heap = 0.97 * HEAP_MAX if "heap-full" in self.faults else self._heap
        pools = (
            ("heap", "G1 Eden Space", 0.5 * heap, -1.0),
            ("heap", "G1 Survivor Space", 0.05 * heap, -1.0),
            ("heap", "G1 Old Gen", 0.45 * heap, float(HEAP_MAX)),
            ("nonheap", "Metaspace", 70.0 * MIB, -1.0),
            ("nonheap", "Compressed Class Space", 9.0 * MIB, 1024.0 * MIB),
        )
        for area, pool, used, most in pools:
            tags = (("area", area), ("id", pool))
            yield Meter("jvm.memory.used", "gauge", used, tags, "bytes", "The amount of used memory")
            yield Meter("jvm.memory.committed", "gauge", used * 1.02, tags, "bytes", "The amount of committed memory")
            yield Meter("jvm.memory.max", "gauge", most, tags, "bytes", "The maximum amount of memory")

    async def _serve_users(self) -> None:
        """Serve requests as users make them: a lookup in the cache, and a query where it misses."""
        await self.pool.warm_up()
        while True:
            started = time.monotonic()
            status = 500 if "errors-5xx" in self.faults and random.random() < 0.5 else 200
            if "slow" in self.faults:
                await asyncio.sleep(SLOWNESS)
            if not await self._handle(random.randrange(8)):
                status = 500
            self.note_request("/api/profiles/{id}", status, time.monotonic() - started)
            self._collect_garbage()
            await asyncio.sleep(REQUEST_PERIOD * random.uniform(0.7, 1.3))

    async def _handle(self, number: int) -> bool:
        key = f"{self.name}:profile:{number}"
        with contextlib.suppress(redis.RedisError, OSError):
            found = await self._redis.get(key)
            self._gets["miss" if found is None else "hit"] += 1
            if found is not None:
                return True
        try:
            async with self.pool.connection() as connection, asyncio.timeout(2.0):
                profile = await connection.fetchval("SELECT md5($1)", key)
        except (PoolTimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        with contextlib.suppress(redis.RedisError, OSError):
            await self._redis.set(key, profile, px=3000)
        return True

    def _collect_garbage(self) -> None:
        self._heap += random.uniform(0.5, 1.5) * MIB
        if self._heap > 120 * MIB or "heap-full" in self.faults:
            self._collections.record(0.3 if "heap-full" in self.faults else random.uniform(0.003, 0.012))
            self._heap = min(self._heap, 60.0 * MIB)

    async def _migrate(self) -> None:
        """Apply the migrations as Flyway does at an application's start, as soon as there is a database."""
        while not self._migrated:
            try:
                async with self.pool.connection() as connection, connection.transaction():
                    await connection.execute(_history(self.schema))
                self._migrated = True
            except (PoolTimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(1.0)
        await asyncio.Event().wait()


def _history(schema: str) -> str:
    """Return Flyway's own table with the rows that it writes; the names are this module's."""
    rows = ", ".join(_row(rank, version, text) for rank, (version, text) in enumerate(_MIGRATIONS, 1))
    return f"""
        CREATE SCHEMA IF NOT EXISTS "{schema}";
        CREATE TABLE IF NOT EXISTS "{schema}".flyway_schema_history (
          installed_rank int PRIMARY KEY, version varchar(50), description varchar(200) NOT NULL, type varchar(20) NOT NULL,
          script varchar(1000) NOT NULL, checksum int, installed_by varchar(100) NOT NULL,
          installed_on timestamp NOT NULL DEFAULT now(), execution_time int NOT NULL, success boolean NOT NULL);
        INSERT INTO "{schema}".flyway_schema_history
          (installed_rank, version, description, type, script, checksum, installed_by, execution_time, success)
        VALUES {rows} ON CONFLICT DO NOTHING"""  # noqa: S608 - no foreign text


def _row(rank: int, version: str, text: str) -> str:
    script = f"V{version}__{text.replace(' ', '_')}.sql"
    return f"({rank}, '{version}', '{text}', 'SQL', '{script}', {1000 + rank}, current_user, 12, true)"

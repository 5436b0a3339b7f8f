"""One simulated service: its parts, and what is wrong with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from exporter.demo.springboot.cache import Cache
from exporter.demo.springboot.jvm import Jvm
from exporter.demo.springboot.messaging import Messaging
from exporter.demo.springboot.meters import Meter, common
from exporter.demo.springboot.migrations import Migrations
from exporter.demo.springboot.pool import HikariPool
from exporter.demo.springboot.spec import ServiceSpec, Spec
from exporter.demo.springboot.traffic import Requests, Traffic

__all__ = ["Service"]

_log = logging.getLogger(__name__)
_RESTART = 1.0


class Service:
    """A Spring Boot application with JDBC, Flyway, a Redis cache and a Kafka listener.

    Attributes:
        name: As the fleet calls it.
        application: `spring.application.name`, the tag of all its meters.
        faults: What is wrong with it; its parts look at this set.
    """

    def __init__(self, spec: ServiceSpec, spec_of_all: Spec) -> None:
        self.name = spec.name
        self.port = spec.port
        self.application = f"{spec.name}-service"
        self.faults: set[str] = set()
        self.requests = Requests()
        self.jvm = Jvm(self.faults)
        self.pool = HikariPool(spec_of_all.postgres, self.application)
        self.cache = Cache(spec_of_all.redis, spec.name)
        self.messaging = Messaging(spec_of_all.kafka, spec.name)
        self.migrations = Migrations(self.pool, spec.name)
        self._traffic = Traffic(self.pool, self.cache, self.requests, self.jvm, self.faults)
        self._migrated = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled."""
        works = (
            self.pool.maintain, self._migrate, self._traffic.run, self.messaging.produce, self.messaging.consume,
        )  # fmt: skip
        try:
            async with asyncio.TaskGroup() as group:
                for work in works:
                    group.create_task(self._restarting(work))
        finally:
            self.pool.close()
            await self.cache.close()

    async def started(self) -> None:
        """Wait until the service has its schema and a broker, as an application has before it listens."""
        await asyncio.gather(self._migrated.wait(), self.messaging.connected.wait())

    def meters(self) -> list[Meter]:
        """Tell every meter."""
        parts = (self.requests, self.pool, self.jvm, self.cache, self.messaging)
        return common((meter for part in parts for meter in part.meters()), (("application", self.application),))

    async def _migrate(self) -> None:
        await self.migrations.apply()
        self._migrated.set()

    async def _restarting(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do a part's work; what nobody foresaw is told in the log and does not end the fleet."""
        while True:
            try:
                await work()
            except Exception:
                _log.exception("%s: a part failed and begins again", self.name)
                await asyncio.sleep(_RESTART)
            else:
                return

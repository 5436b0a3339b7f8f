"""Connections to brokers, kept between attempts; and one broker as one attempt asks it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeVar

from exporter.clients.kafka.connection import Access, BrokerConnection
from exporter.net.errors import timeout_reason
from exporter.net.phases import NoPhases, Phases, timed
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage

__all__ = ["Broker", "BrokerPool"]

T = TypeVar("T")


class BrokerPool:
    """Connections by address.

    Args:
        access: How to get in.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._kept: dict[Address, BrokerConnection] = {}
        self._context: ssl.SSLContext | None = None
        self._closed = False

    def is_connected(self, address: Address) -> bool:
        """Say whether a connection to this address is open."""
        kept = self._kept.get(address)
        return kept is not None and kept.alive

    async def renew(self) -> None:
        """Close the connections that were made by TLS files which have been replaced since."""
        if self._access.tls is not None:
            context = await self._access.tls.context()
            if context is not self._context:
                self.drop()
            self._context = context

    async def connection(self, address: Address, phases: Phases) -> BrokerConnection:
        """Return the connection that is kept, or open one.

        Raises:
            Failure: It could not be opened, in the stage that it failed in; or the pool is closed.
        """
        kept = self._kept.get(address)
        if kept is not None and kept.alive:
            phases.stage = Stage.QUERY
            return kept
        opened = None if self._closed else await BrokerConnection.open(address, self._access, phases)
        if opened is None or self._closed:
            if opened is not None:
                opened.close()
            raise Failure(phases.stage, Reason.CONNECTION_CLOSED, "the probe is closed")
        other = self._kept.get(address)
        if other is not None and other.alive:  # two nodes at one address, asked side by side
            opened.close()
            return other
        self._kept[address] = opened
        return opened

    def keep_only(self, addresses: Collection[Address]) -> None:
        """Close connections to all other addresses."""
        for address in set(self._kept) - set(addresses):
            self._kept.pop(address).close()

    def drop(self) -> None:
        """Close all connections at once; the next request opens one anew."""
        self.keep_only(())

    def close(self) -> None:
        """Close all connections at once, and open no more."""
        self._closed = True
        self.drop()


class Broker:
    """One broker during one attempt.

    Args:
        pool: Connections.
        address: Where it listens.
        name: What it is called in failures; empty for not at all.
        phases: Receives how far requests get, and the time they take.
    """

    def __init__(self, pool: BrokerPool, address: Address, name: str, phases: Phases | None = None) -> None:
        self.address = address
        self._pool = pool
        self._name = name
        self._phases = phases or NoPhases()
        self._may_be_stale = pool.is_connected(address)

    @property
    def is_connected(self) -> bool:
        """Whether a connection to it is open."""
        return self._pool.is_connected(self.address)

    async def ask(self, request: Any) -> Any:
        """Ask it, on a new connection where none is open; return the answer.

        A connection kept from before which turns out to be closed, as a restart of the broker leaves it, says nothing yet:
        then it is asked once more on a new one.

        Raises:
            Failure: As `BrokerConnection.open` and `ask` have it.
        """
        try:
            answer = await self._ask(request)
        except Failure as failure:
            if not (self._may_be_stale and failure.reason is Reason.CONNECTION_CLOSED):
                raise
            self._may_be_stale = False
            answer = await self._ask(request)
        self._may_be_stale = False
        return answer

    async def within(self, end: float, work: Callable[[], Awaitable[T]]) -> T | Failure:
        """Await what asks this broker; return its result, or how the broker failed, so that others go on.

        Args:
            end: Loop time by which it must be done, connecting included. Where it has passed, nothing is asked.
            work: What asks it.
        """
        if asyncio.get_running_loop().time() >= end:
            return self._named(Failure(self._phases.stage, Reason.TIMEOUT, "no time was left to ask"))
        try:
            async with asyncio.timeout_at(end):
                return await work()
        except Failure as failure:
            return self._named(failure)
        except TimeoutError:
            stage = self._phases.stage
            return self._named(Failure(stage, timeout_reason(stage), "no answer"))

    async def _ask(self, request: Any) -> Any:
        connection = await self._pool.connection(self.address, self._phases)
        with timed(self._phases, Stage.QUERY):
            return await connection.ask(request)

    def _named(self, failure: Failure) -> Failure:
        return Failure(failure.stage, failure.reason, f"{self._name}: {failure.detail}") if self._name else failure

"""Connections to brokers, kept between attempts."""

from __future__ import annotations

import ssl
from collections.abc import Collection, Iterable
from functools import partial

from exporter.clients.kafka.connection import Access, Broker, BrokerConnection
from exporter.net.phases import NoPhases, Phases
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage

__all__ = ["BrokerPool"]


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

    def peers(self, addresses: Iterable[Address]) -> list[str]:
        """Return the IP addresses at the other ends of the connections that are open to these."""
        return [self._kept[address].peer for address in addresses if self.is_connected(address)]

    async def renew(self) -> None:
        """Close the connections that were made by TLS files which have been replaced since."""
        if self._access.tls is not None:
            context = await self._access.tls.context()
            if context is not self._context:
                self.drop()
            self._context = context

    def broker(self, address: Address, name: str = "", phases: Phases | None = None) -> Broker:
        """Return the broker that listens at an address; see `Broker`."""
        return Broker(partial(self.connection, address), partial(self.is_connected, address), name, phases or NoPhases())

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

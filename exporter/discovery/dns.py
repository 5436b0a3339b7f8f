"""Instances that a DNS name stands for: each of its addresses is one, as with a headless Kubernetes service."""

from __future__ import annotations

import asyncio
import random

from exporter.discovery.source import Discovered, Instance, Report
from exporter.net.resolver import Resolver
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage

__all__ = ["DnsSource"]

PATIENCE = 5.0
"""Seconds after which a question counts as not answered."""

RETRY = 5.0
"""Seconds after which a question that was not answered is asked again, where the configured time is longer."""

_JITTER = 0.1


class DnsSource:
    """Asks for a name again and again. A slow or failing one costs its own service only.

    A name that does not exist means zero instances: that is what a headless service without ready pods answers. A name
    server that does not answer means that nobody can tell, and the addresses last known stay.

    Args:
        name: The name to ask for.
        port: Where every instance listens.
        refresh: Seconds between two questions.
        resolver: Whom to ask.
    """

    def __init__(self, name: str, port: int, refresh: float, resolver: Resolver) -> None:
        self._name = name
        self._port = port
        self._refresh = refresh
        self._resolver = resolver
        self._known: tuple[Instance, ...] = ()

    async def run(self, report: Report) -> None:
        """Report each answer, for ever."""
        while True:
            found = await self._ask()
            report(found)
            pause = self._refresh if found.complete else min(self._refresh, RETRY)
            await asyncio.sleep(pause * (1 + _JITTER * random.random()))  # noqa: S311 - it spreads questions, it hides nothing

    async def _ask(self) -> Discovered:
        try:
            async with asyncio.timeout(PATIENCE):
                hosts = await self._resolver.resolve(self._name, fresh=True)
        except Failure as failure:
            if failure.reason is not Reason.DNS_NOT_FOUND:
                return Discovered(self._known, failure)
            hosts = ()
        except TimeoutError:
            late = Failure(Stage.RESOLVE, Reason.PROBER_DNS, f"{self._name}: no answer within {PATIENCE:g} s")
            return Discovered(self._known, late)
        self._known = tuple(Instance.at(Address(host, self._port)) for host in hosts)
        return Discovered(self._known)

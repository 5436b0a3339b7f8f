"""Where instances come from: a static list, or a DNS name that is asked again and again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from exporter.config.models import Instances
from exporter.net.resolver import Resolver
from exporter.values import Address
from exporter.verdict import Failure, Reason

__all__ = ["Found", "discover"]


@dataclass(frozen=True, slots=True)
class Found:
    """The instances of a service.

    Attributes:
        addresses: The instances; those last known where the list could not be read anew.
        complete: Whether the list is what the source says now. False where the prober could not ask: then nothing may be
            concluded from an instance that is missing.
        asked_at: Loop time of the answer.
    """

    addresses: tuple[Address, ...]
    complete: bool
    asked_at: float


async def discover(instances: Instances, resolver: Resolver, last: Found | None, timeout: float = 5.0) -> Found:
    """List the instances.

    A name that does not exist means zero instances: that is what a headless service without ready pods answers. A resolver
    that does not answer means that the prober cannot tell, and the last known list stays.
    """
    now = asyncio.get_running_loop().time()
    if instances.dns is None or instances.port is None:
        return Found(instances.static, complete=True, asked_at=now)
    try:
        async with asyncio.timeout(timeout):
            hosts = await resolver.resolve(instances.dns, fresh=True)
    except Failure as failure:
        if failure.reason is Reason.DNS_NOT_FOUND:
            return Found((), complete=True, asked_at=now)
        return Found(last.addresses if last else (), complete=False, asked_at=now)
    except TimeoutError:
        return Found(last.addresses if last else (), complete=False, asked_at=now)
    return Found(tuple(Address(host, instances.port) for host in hosts), complete=True, asked_at=now)

"""Opening a TCP connection: resolved by the shared resolver, phases timed, one address of a name after the other."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import TypeVar, cast

from exporter.net.phases import Phases, timed
from exporter.net.resolver import Resolver, is_ip
from exporter.values import Address
from exporter.verdict import Stage

__all__ = ["dial", "start_tls"]

ADDRESS_PATIENCE = 1.0
"""Seconds after which the next address of the same name is tried."""

P = TypeVar("P", bound=asyncio.BaseProtocol)


async def dial(
    factory: Callable[[], P], address: Address, resolver: Resolver, phases: Phases
) -> tuple[asyncio.Transport, P]:
    """Resolve and connect; return the transport and its protocol. The caller sets the deadline.

    Raises:
        Failure: The name could not be resolved.
        OSError: No address could be connected to; the last one's error.
    """
    hosts: tuple[str, ...] = (address.host,)
    if not is_ip(address.host):
        with timed(phases, Stage.RESOLVE):
            hosts = await resolver.resolve(address.host)
    loop = asyncio.get_running_loop()
    with timed(phases, Stage.CONNECT):
        for host in hosts[:-1]:
            try:
                async with asyncio.timeout(ADDRESS_PATIENCE):
                    return await loop.create_connection(factory, host, address.port)
            except OSError:  # TimeoutError is one; the next address may do
                continue
        return await loop.create_connection(factory, hosts[-1], address.port)


async def start_tls(
    transport: asyncio.BaseTransport, protocol: asyncio.BaseProtocol, context: ssl.SSLContext, name: str, phases: Phases
) -> asyncio.Transport:
    """Make an open connection a TLS one, as a client that asks for `name`. No certificate has the dot that ends a full name.

    Raises:
        OSError: The handshake failed, or the connection went away; `ssl.SSLError` is one.
    """
    with timed(phases, Stage.TLS):
        plain = cast("asyncio.Transport", transport)
        secured = await asyncio.get_running_loop().start_tls(plain, protocol, context, server_hostname=name.rstrip("."))
        if secured is None:
            raise ConnectionResetError("the connection was closed during the TLS handshake")
        return secured

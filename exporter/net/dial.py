"""Opening a TCP connection: resolved by the shared resolver, phases timed, one address of a name after the other."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, cast
from weakref import WeakKeyDictionary

from exporter.net.errors import failure_of
from exporter.net.handshake import ClientCertificateRefused, Seen, handshake_seen
from exporter.net.phases import Phases, timed
from exporter.net.referrals import Referrals
from exporter.net.resolver import Resolver, is_ip
from exporter.values import Address
from exporter.verdict import PROBER_FAULTS, Failure, Reason, Stage

__all__ = ["dial", "start_tls"]

ADDRESS_PATIENCE = 1.0
"""Seconds after which the next address of the same name is tried."""

P = TypeVar("P", bound=asyncio.BaseProtocol)

_seen: WeakKeyDictionary[asyncio.BaseTransport, Seen] = WeakKeyDictionary()
"""What is seen of the handshake over each transport. asyncio shakes hands in the context of who asks for TLS, uvloop in that
of who connected: both are given the same."""


async def dial(
    factory: Callable[[], P],
    address: Address,
    resolver: Resolver,
    phases: Phases,
    referrals: Referrals | None = None,
) -> tuple[asyncio.Transport, P]:
    """Resolve and connect; return the transport and its protocol. The caller sets the deadline.

    Args:
        factory: Makes the protocol.
        address: Where to.
        resolver: Resolves its name.
        phases: Receives how far it gets, and how long that takes.
        referrals: Says what may be connected to, where it is no configured address but one that a server has named.

    Raises:
        Failure: The name could not be resolved, or the address may not be connected to.
        OSError: No address could be connected to: the last one's error, of those that this host has a way to.
    """
    hosts = await _hosts(address, resolver, phases, referrals)
    loop = asyncio.get_running_loop()

    async def connect(host: str) -> tuple[asyncio.Transport, P]:
        if "%" in host:
            return _noted(seen, await _connect_by_interface(factory, host, address.port))
        return _noted(seen, await loop.create_connection(factory, host, address.port))

    failed: list[tuple[str, OSError]] = []
    with timed(phases, Stage.CONNECT), _watched(Seen()) as seen:
        for host in hosts[:-1]:
            try:
                async with asyncio.timeout(ADDRESS_PATIENCE):
                    return await connect(host)
            except OSError as error:  # TimeoutError is one; the next address may do
                failed.append((host, error))
        try:
            return await connect(hosts[-1])
        except OSError as error:
            reached = next(((host, each) for host, each in reversed(failed) if not _is_of_this_host(each)), None)
            if reached is None or not _is_of_this_host(error):
                raise
            host, before = reached
            if not isinstance(before, TimeoutError):
                raise before from None
        return await connect(host)  # it was left for one that there is no way to: it has until the deadline


async def _connect_by_interface(factory: Callable[[], P], host: str, port: int) -> tuple[asyncio.Transport, P]:
    """Connect by an interface, as to `fe80::1%eth0`: uvloop takes the first that fits, whatever is asked for."""
    loop = asyncio.get_running_loop()
    name, _, zone = host.partition("%")
    raw = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    try:
        raw.settimeout(0)
        await _connect(raw, (name, port, 0, _interface(zone)))
        return await loop.create_connection(factory, sock=raw)
    except BaseException:
        raw.close()
        raise


def _interface(zone: str) -> int:
    try:
        return socket.if_nametoindex(socket.if_indextoname(int(zone)) if zone.isdigit() else zone)
    except (OSError, OverflowError, ValueError):
        raise Failure(Stage.CONNECT, Reason.PROBER_NETWORK, f"this host has no interface {zone}") from None


async def _connect(raw: socket.socket, where: tuple[str, int, int, int]) -> None:
    code = raw.connect_ex(where)
    if code in (errno.EINPROGRESS, errno.EINTR):
        loop = asyncio.get_running_loop()
        writable = asyncio.Event()
        loop.add_writer(raw.fileno(), writable.set)
        try:
            await writable.wait()
        finally:
            loop.remove_writer(raw.fileno())
        code = raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _is_of_this_host(error: OSError) -> bool:
    """Say whether an error tells of this host and not of the target, as where it has no IPv6 and a name has both."""
    found = failure_of(error, Stage.CONNECT)
    return found is not None and found.reason in PROBER_FAULTS


async def _hosts(address: Address, resolver: Resolver, phases: Phases, referrals: Referrals | None) -> tuple[str, ...]:
    """Return the IP addresses to try. What is connected to is what was looked at: nothing is resolved a second time."""
    hosts: tuple[str, ...] = (address.host,)
    if not is_ip(address.host):
        try:
            with timed(phases, Stage.RESOLVE):
                hosts = await resolver.resolve(address.host)
        except Failure as failure:
            if referrals is None or referrals.knows(address.host):
                raise
            raise referrals.unknown() from failure
    return hosts if referrals is None else referrals.admitted(address, hosts)


async def start_tls(
    transport: asyncio.BaseTransport, protocol: asyncio.BaseProtocol, context: ssl.SSLContext, name: str, phases: Phases
) -> asyncio.Transport:
    """Make an open connection a TLS one, as a client that asks for `name`. No certificate has the dot that ends a full name.

    Raises:
        OSError: The handshake failed, or the connection went away; `ssl.SSLError` is one, and of these
            `ClientCertificateRefused`, where the server had asked for a certificate.
    """
    seen = _seen.get(transport, Seen())
    try:
        with timed(phases, Stage.TLS), _watched(seen):
            return await _handshake(transport, protocol, context, name)
    except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
        if seen.certificate_asked:  # many a server hangs up so fast that its alert is lost
            raise ClientCertificateRefused("closed") from error
        raise


async def _handshake(
    transport: asyncio.BaseTransport, protocol: asyncio.BaseProtocol, context: ssl.SSLContext, name: str
) -> asyncio.Transport:
    plain = cast("asyncio.Transport", transport)
    if plain.is_closing():  # nobody would tell the handshake, which would wait for its deadline
        raise ConnectionResetError("the connection was closed before the TLS handshake")
    known_as = name.rstrip(".").partition("%")[0]  # of an interface, no server knows
    secured = await asyncio.get_running_loop().start_tls(plain, protocol, context, server_hostname=known_as)
    # Where the connection ends in the middle, asyncio may return nothing, and uvloop a transport without TLS.
    if secured is None or secured.get_extra_info("ssl_object") is None:
        (secured or plain).abort()
        raise ConnectionResetError("the connection was closed during the TLS handshake")
    return secured


@contextmanager
def _watched(seen: Seen) -> Iterator[Seen]:
    token = handshake_seen.set(seen)
    try:
        yield seen
    finally:
        handshake_seen.reset(token)


def _noted(seen: Seen, made: tuple[asyncio.Transport, P]) -> tuple[asyncio.Transport, P]:
    _seen[made[0]] = seen
    return made

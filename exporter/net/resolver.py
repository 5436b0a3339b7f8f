"""Names to addresses, by c-ares: no threads, cancellable, cached, and honest about whose fault a failure is.

`getaddrinfo` runs in a thread that cannot be cancelled, so one blackholed name would starve every probe. c-ares also tells
a name that does not exist (the target's side) from a name server that does not answer (the prober's side).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import aiodns

from exporter.net.pool import NoThread, is_no_thread, see_room
from exporter.parsing import is_host
from exporter.verdict import Failure, Reason, Stage

__all__ = ["Resolver", "is_ip"]

_NOT_FOUND = {aiodns.error.ARES_ENOTFOUND, aiodns.error.ARES_ENODATA, aiodns.error.ARES_EBADNAME}
_MAX_TTL = 30.0
_MAX_NAMES = 10_000


@lru_cache(_MAX_NAMES)  # asked at each attempt, of the same hosts
def is_ip(host: str) -> bool:
    """Say whether a host is an IP address literal, which needs no resolving."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Answer:
    addresses: tuple[str, ...]
    expires: float


class Resolver:
    """Resolves names, one query under way per name. Answers are kept for their TTL, or 30 s if that is shorter; past that
    c-ares is asked, which has a cache of its own and goes to the name servers once the TTL is over.

    Args:
        nameservers: Ask these instead of those of the system; each `host` or `host:port`.
        timeout: Seconds for one try of one name server.
        tries: How often each name server is asked.
    """

    def __init__(self, nameservers: Sequence[str] = (), *, timeout: float = 1.0, tries: int = 2) -> None:
        self._options: dict[str, Any] = {"timeout": timeout, "tries": tries}
        if nameservers:
            self._options["nameservers"] = list(nameservers)
        self._client: aiodns.DNSResolver | None = None
        self._cache: dict[str, _Answer] = {}
        self._under_way: dict[str, asyncio.Task[_Answer]] = {}

    async def resolve(self, host: str, *, fresh: bool = False) -> tuple[str, ...]:
        """Return the addresses of a host, IPv4 first, sorted; an IP literal is returned as it is.

        Args:
            host: A name or an IP address.
            fresh: Ask c-ares even where an answer kept here is still valid.

        Raises:
            Failure: `dns_not_found` where the name does not exist or has no address; `prober_dns` where no name server
                gave an answer; `prober_memory` where none can be asked for want of a thread.
        """
        if is_ip(host):
            return (host,)
        if not is_host(host):  # as a server may have named it: aiodns would try to make a name of it, and stumble
            raise Failure(Stage.RESOLVE, Reason.DNS_NOT_FOUND, "it is no name that could be looked up")
        now = asyncio.get_running_loop().time()
        cached = self._cache.get(host)
        if cached is not None and cached.expires > now and not fresh:
            return cached.addresses
        task = self._under_way.get(host)
        if task is None:
            task = asyncio.create_task(self._query(host), name=f"resolve {host}")
            self._under_way[host] = task
            task.add_done_callback(lambda done: self._finished(host, done))
        return (await asyncio.shield(task)).addresses  # shared: one caller's deadline must not end it for the others

    async def close(self) -> None:
        """Cancel what is under way and free the channel."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.close()

    def _finished(self, host: str, task: asyncio.Task[_Answer]) -> None:
        self._under_way.pop(host, None)
        if not task.cancelled():
            task.exception()  # every waiter may have left: mark it as seen

    def _opened(self) -> aiodns.DNSResolver:
        try:
            see_room()
            return aiodns.DNSResolver(**self._options)
        except (RuntimeError, NoThread) as error:
            if not is_no_thread(error):
                raise
            raise Failure(Stage.RESOLVE, Reason.PROBER_MEMORY, "no thread can be started to look names up") from error

    async def _query(self, host: str) -> _Answer:
        if self._client is None:
            self._client = self._opened()
        loop = asyncio.get_running_loop()
        try:
            result = await self._client.getaddrinfo(host, family=socket.AF_UNSPEC, type=socket.SOCK_STREAM)
        except aiodns.error.DNSError as error:
            raise _failure(host, error) from error
        nodes = [(node.family, node.addr[0].decode(), node.ttl) for node in result.nodes]
        if not nodes:
            raise Failure(Stage.RESOLVE, Reason.DNS_NOT_FOUND, f"{host} has no address")
        addresses = sorted({(family != socket.AF_INET, address) for family, address, _ in nodes})
        ttl = min(_MAX_TTL, *(max(1, ttl) for _, _, ttl in nodes))
        answer = _Answer(tuple(address for _, address in addresses), loop.time() + ttl)
        if len(self._cache) >= _MAX_NAMES:
            self._cache.clear()
        self._cache[host] = answer
        return answer


def _failure(host: str, error: aiodns.error.DNSError) -> Failure:
    code, text = (*error.args, None, "")[:2]
    if code in _NOT_FOUND:
        return Failure(Stage.RESOLVE, Reason.DNS_NOT_FOUND, f"{host} does not exist")
    return Failure(Stage.RESOLVE, Reason.PROBER_DNS, f"{host}: {text or 'no name server answered'}")

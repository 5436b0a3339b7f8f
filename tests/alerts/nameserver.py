"""A name server on loopback whose names a test gives addresses, takes them away, or has left without an answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

from dnslib import AAAA, QTYPE, RCODE, RR, A, DNSError
from dnslib.server import BaseResolver, DNSLogger, DNSServer

__all__ = ["NameServer", "name_server"]


class NameServer(BaseResolver):  # type: ignore[misc] # dnslib has no types
    """Answers for `addresses`; a name that is not there does not exist, and one in `silent` gets no answer.

    Attributes:
        address: Where it listens.
        addresses: addresses by name, of both families.
        silent: Names for which it does not answer.
    """

    def __init__(self) -> None:
        self.address = ""
        self.addresses: dict[str, list[str]] = {}
        self.silent: set[str] = set()

    def resolve(self, request: Any, handler: Any) -> Any:
        """Answer one question."""
        name = str(request.q.qname).rstrip(".")
        if name in self.silent:
            raise DNSError(name)  # the server sends nothing for it
        reply = request.reply()
        if name not in self.addresses:
            reply.header.rcode = RCODE.NXDOMAIN
        elif request.q.qtype == QTYPE.A:
            for address in self._of(name, 4):
                reply.add_answer(RR(name, QTYPE.A, rdata=A(address), ttl=1))
        elif request.q.qtype == QTYPE.AAAA:
            for address in self._of(name, 6):
                reply.add_answer(RR(name, QTYPE.AAAA, rdata=AAAA(address), ttl=1))
        return reply

    def _of(self, name: str, version: int) -> list[str]:
        return [each for each in self.addresses[name] if ip_address(each).version == version]


@contextmanager
def name_server() -> Iterator[NameServer]:
    """Run one on a free port."""
    names = NameServer()
    logger = DNSLogger("-request,-reply,-truncated,-error")
    server = DNSServer(names, port=0, address="127.0.0.1", logger=logger)
    names.address = f"127.0.0.1:{server.server.server_address[1]}"
    server.start_thread()
    try:
        yield names
    finally:
        server.stop()
        server.server.server_close()

"""Loopback ports that are nobody else's: no other process that asks here gets them, and the kernel gives them to nobody.

A port that was free a moment ago, found by binding port 0, may be given away before its server listens: to another worker of
a test run, or to any client's connection.
"""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator

__all__ = ["free_port", "free_ports", "listens"]

_LOWEST, _HIGHEST = 10_000, 32_750
"""Below what Linux gives out by itself (net.ipv4.ip_local_port_range), above most services."""

_BLOCK = 50
_lock = threading.Lock()


def free_port() -> int:
    """Return a loopback port that nobody listens on; it stays this process's own until it ends.

    Raises:
        OSError: There is none left.
    """
    with _lock:
        for port in _ports:
            if _is_unused(port):
                return port
    raise OSError("no port is left on 127.0.0.1")


def free_ports(count: int) -> list[int]:
    """Return several free ports."""
    return [free_port() for _ in range(count)]


def listens(host: str, port: int) -> bool:
    """Tell whether something accepts connections. Blocking, for up to a fifth of a second."""
    try:
        with socket.create_connection((host, port), timeout=0.2):
            return True
    except OSError:
        return False


def _own_ports() -> Iterator[int]:
    """Yield the ports of one block after the other, each claimed when the one before it is used up."""
    blocks = list(range(_LOWEST, _HIGHEST, _BLOCK))
    random.shuffle(blocks)  # the ports of who ended last are the likeliest to have connections that still linger
    for first in blocks:
        if _claim(first):
            yield from range(first, first + _BLOCK)


def _claim(first: int) -> bool:
    """Claim a block for as long as this process lives, by a name in the kernel that belongs to the network as ports do."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0hafnium-exporter/ports/{first}")
    except OSError:
        claim.close()
        return False
    claim.detach()  # never closed but by the kernel
    return True


def _is_unused(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


_ports = _own_ports()

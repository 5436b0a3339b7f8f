"""By which names the exporter may be asked: a page of a name that its owner has led here must not read what it tells.

A browser lets a page read what comes from the page's own name. Whoever owns a name can let it point at the exporter once the
page is loaded (DNS rebinding); the Host header then gives that name.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

__all__ = ["authority_of", "known_host"]

_PRIVATE = (".svc", ".cluster.local", ".local", ".internal", ".localhost", ".home.arpa", ".test")
"""Ends of names that nobody can own on the Internet."""


def known_host(host: str, hosts: Collection[str]) -> bool:
    """Tell whether the exporter may be asked by a name.

    Args:
        host: The Host header: a name or an address, and mostly a port.
        hosts: Names that were configured; `*.example.com` stands for all below it.

    Where none was, those are let in that no stranger can own: addresses, names without a dot, and those of private zones.
    """
    name = _name(host)
    if name is None:
        return False
    if _is_address(name):
        return True
    if hosts:
        return name == "localhost" or any(_fits(name, known.lower()) for known in hosts)
    return "." not in name or name.endswith(_PRIVATE)


def authority_of(method: str, target: str) -> str | None:
    """Return the host that a request's target names by itself, with whatever else stands there; None where it names none.

    Args:
        method: Of the request; CONNECT's target is nothing but a host.
        target: As it stands in the first line of the request.
    """
    if method == "CONNECT":
        return target
    scheme, found, rest = target.partition("://")
    return re.split(r"[/?#]", rest, maxsplit=1)[0] if found and scheme.isalnum() else None


def _name(host: str) -> str | None:
    """Return the name without port; None where there is none."""
    host = host.strip().lower()
    if host.startswith("["):
        name, closed, rest = host[1:].partition("]")
        return name if closed and (not rest or _is_port(rest)) else None
    name, colon, port = host.partition(":")
    return (name.removesuffix(".") or None) if _is_port(colon + port) or not colon else None


def _is_port(text: str) -> bool:
    """Tell a colon and digits: `localhost:80@example.com` is a user's password before a stranger's name."""
    digits = text[1:]
    return text.startswith(":") and (not digits or (digits.isascii() and digits.isdigit()))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def _fits(name: str, known: str) -> bool:
    return name.endswith(known[1:]) if known.startswith("*.") else name == known

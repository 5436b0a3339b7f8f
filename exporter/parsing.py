"""Durations and addresses as people write them. Free of libraries, so that the command line can read its options at once."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, NamedTuple

__all__ = [
    "DURATION_PATTERN", "INTERNATIONAL", "PORT_RANGE", "Address", "format_duration", "is_host", "is_loopback",
    "parse_address", "parse_duration",
]  # fmt: skip

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
DURATION_PATTERN = r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))+"
"""A duration that is text, as a regular expression for the whole of it."""

_DURATION = re.compile(DURATION_PATTERN)
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_NEARLY = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,3})? ?[a-z]{0,7}")
"""What can be told back of a duration that is none: a number and a word, too little to be a secret in the wrong place."""

LONGEST = 1e9
"""Seconds; about 30 years."""

PORT_RANGE = "expected a port from 1 to 65535 after the colon"
INTERNATIONAL = "expected the host as it is looked up: an international name is written xn--…, as idn2 prints it"

INTERFACE = "expected the interface of a link-local address as well, such as [fe80::1%eth0]:8081"

_SCOPE = re.compile(r"[A-Za-z0-9_.-]{0,32}")  # of a link-local address: an interface
_HOST_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


def parse_duration(value: Any) -> float:
    """Read `15s`, `500ms`, `1m30s`, `24h`, `30d` or a number of seconds; return seconds.

    Raises:
        ValueError: It is none of these, or not greater than zero.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value
    elif isinstance(value, str) and _DURATION.fullmatch(value.strip()):
        seconds = sum(float(n) * _UNITS[unit] for n, unit in _DURATION_PART.findall(value))
    else:
        raise ValueError(f"expected a duration such as 15s, 500ms or 1m{_got(value)}")
    if not 0 < seconds < LONGEST:
        raise ValueError(f"expected a duration greater than zero, and of at most 30 years{_got(value)}")
    return float(seconds)


def _got(value: Any) -> str:
    text = str(value) if isinstance(value, float | str) or (isinstance(value, int) and abs(value) < LONGEST) else ""
    return f", got {text}" if _NEARLY.fullmatch(text) else ""


def format_duration(seconds: float) -> str:
    """Write seconds the way a configuration file has them: `15s`, `500ms`, `1h`."""
    for unit, size in reversed(_UNITS.items()):
        if seconds >= size and (seconds / size).is_integer():
            return f"{int(seconds / size)}{unit}"
    return f"{seconds:g}s"


class Address(NamedTuple):
    """Where a server listens. IPv6 hosts are kept without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(value: Any) -> Address:
    """Read `host:port` or `[v6]:port`.

    Raises:
        ValueError: The host or the port is missing or malformed. The message does not repeat the value: what is written
            where an address should be may have a password in it.
    """
    if isinstance(value, Address):
        return value
    if isinstance(value, str):
        host, _, port = value.strip().rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        host = host[1:-1] if bracketed else host
        named = _is_ipv6(host) if bracketed else is_host(host)
        if bracketed and named and _lacks_interface(host):
            raise ValueError(INTERFACE)
        if named and _is_port(port):
            return Address(host, int(port))
        if named and port.isascii() and port.isdigit():
            raise ValueError(PORT_RANGE)
        if not bracketed and _is_international(host):
            raise ValueError(INTERNATIONAL)
    raise ValueError("expected host:port, such as identity-service:8081 or [::1]:8081")


def is_host(text: str) -> bool:
    """Say whether a text is a DNS name or an IPv4 address. An international name is written as it is looked up, `xn--…`."""
    labels = text.removesuffix(".").split(".")
    return len(text) <= 253 and all(_HOST_LABEL.fullmatch(label) for label in labels)


def _is_international(text: str) -> bool:
    """Say whether a text is no host only because it has letters of other scripts."""
    return not text.isascii() and is_host("".join(each if each.isascii() or not each.isalnum() else "x" for each in text))


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return _SCOPE.fullmatch(text.partition("%")[2]) is not None


def _lacks_interface(text: str) -> bool:
    return "%" not in text and ipaddress.IPv6Address(text).is_link_local


def _is_port(text: str) -> bool:
    return len(text) <= 5 and text.isascii() and text.isdigit() and 0 < int(text) < 65536


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine by what it is called: a name is not looked up, it may lead elsewhere later."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

"""Where a server may send the prober on to: one that names other addresses does not decide whom this process connects to.

A Kafka bootstrap names brokers, whatever they are. Believed, it could have the prober knock on any address that the prober
reaches, read from the outcomes which of them listen, and have the password brought there. So a referral is followed only to
where the configured addresses are: into their domains and their networks, and to what the configuration names beside them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from pathlib import Path

from exporter.parsing import is_host
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage

__all__ = ["Referrals", "check_allowed", "search_domains"]

_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_METADATA = frozenset(
    ipaddress.ip_address(text) for text in ("fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")
)
"""Where clouds tell a machine its credentials, beside 169.254.169.254, which is link-local."""

_LOOPBACKS: frozenset[_Network] = frozenset({ipaddress.IPv4Network("127.0.0.0/8"), ipaddress.IPv6Network("::1/128")})
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_THIS = ipaddress.IPv4Network("0.0.0.0/8")

_WELL_KNOWN_PORTS = 1024
_MAX_NETWORKS = 1000
"""Networks that are remembered of the configured addresses: their names may have others by and by."""

_INSIDE = frozenset({"corp", "home", "internal", "intranet", "lan", "local", "private"})
"""Endings of a single label that no registry sells names under."""
_REGISTRIES = frozenset({"ac", "co", "com", "edu", "gov", "net", "org"})
"""What stands before a country where a registry sells names one step lower: co.uk."""

_NEVER = "nobody is sent to a link-local, multicast or metadata address"
_LOOPBACK = "the loopback is only for servers whose configured address is on it"
_PORT = f"its port is below {_WELL_KNOWN_PORTS}, and no configured address has it, nor does `advertised` name it"
_INWARD = "a server with a public address sends nobody to a private one, unless `advertised` names it"
_OUTSIDE = "neither in the domain nor in a network of the configured addresses, nor named by `advertised`"


class Referrals:
    """The addresses that a configured server may name.

    Args:
        allowed: Names, which stand for those below them too, and addresses or networks, beside what goes without saying.
        search: Domains in which short names are looked up; default: the system's. Blocking, where it is the default: make it
            where probes are built.
    """

    def __init__(self, allowed: Iterable[str] = (), search: Sequence[str] | None = None) -> None:
        entries = [check_allowed(entry) for entry in allowed]
        self._allowed_networks = [network for entry in entries if (network := _network(entry)) is not None]
        self._allowed_names = [entry for entry in entries if _network(entry) is None]
        self._search = tuple(search_domains() if search is None else search)
        self.start_from(())

    def start_from(self, configured: Sequence[Address]) -> None:
        """Take in which addresses the configuration names; what was learnt of others before is forgotten."""
        self._configured = frozenset(configured)
        self._hosts = {_bare(address.host) for address in configured}
        self._domains = {domain for host in self._hosts for domain in _domains(host, self._search)}
        self._short = any(_is_short(host) for host in self._hosts)
        self._networks: set[_Network] = set()
        self._loopback = self._private = False
        self.learn(self._hosts)

    def learn(self, addresses: Iterable[str]) -> None:
        """Take in the IP addresses that configured names have; what is none is passed over."""
        for text in addresses:
            ip = _ip(text)
            if ip is None or len(self._networks) >= _MAX_NETWORKS:
                continue
            self._loopback = self._loopback or ip.is_loopback
            self._private = self._private or not ip.is_global
            self._networks |= _LOOPBACKS if ip.is_loopback else {_around(ip)}

    def is_configured(self, address: Address) -> bool:
        """Say whether the configuration itself names an address: nobody was sent there."""
        return address in self._configured

    def knows(self, host: str) -> bool:
        """Say whether a name alone speaks for itself: whatever becomes of it may be told."""
        name = _bare(host)
        beside = name in self._hosts or (self._short and _is_short(name))
        return beside or any(_is_within(name, domain) for domain in (*self._domains, *self._allowed_names))

    def unknown(self) -> Failure:
        """Return what is said of a name that may not be followed, whether it exists or not."""
        return _refused(_OUTSIDE)

    def admitted(self, address: Address, found: Sequence[str]) -> tuple[str, ...]:
        """Return those of the IP addresses of a host that may be connected to.

        Args:
            address: What a server has named.
            found: The addresses of its host.

        Raises:
            Failure: `not_allowed`: none of them.
        """
        reasons = {host: self._why_not(_bare(address.host), host, address.port) for host in found}
        fitting = tuple(host for host, why in reasons.items() if why is None)
        if not fitting:
            raise _refused(next(iter(reasons.values()), None) or _OUTSIDE)
        return fitting

    def _why_not(self, name: str, host: str, port: int) -> str | None:
        ip = _ip(host)
        if ip is None or _is_never(ip):
            return _NEVER
        if any(ip in network for network in self._allowed_networks):
            return None
        if ip.is_loopback and not self._loopback:
            return _LOOPBACK
        if any(_is_within(name, allowed) for allowed in self._allowed_names):
            return None
        if port < _WELL_KNOWN_PORTS and all(port != known.port for known in self._configured):
            return _PORT
        return self._why_not_beside(name, ip)

    def _why_not_beside(self, name: str, ip: _Ip) -> str | None:
        if any(ip in network for network in self._networks) or name in self._hosts:
            return None
        inward = not ip.is_global and not self._private
        return _OUTSIDE if not self.knows(name) else _INWARD if inward else None


def check_allowed(entry: str) -> str:
    """Return an entry of a list of what is allowed, as it is compared: a name, an IP address or a network.

    Raises:
        ValueError: It is none of them, or a network to which nobody is sent.
    """
    text = entry.strip().lower()
    network = _network(text)
    if network is not None:
        if network.is_link_local or network.is_multicast:
            raise ValueError(_NEVER)
        return text
    name = text.removeprefix("*").removeprefix(".").removesuffix(".")
    if "/" in text or not is_host(name):
        raise ValueError("expected a DNS name, an IP address or a network such as 10.20.0.0/16")
    return name


def search_domains(file: Path = Path("/etc/resolv.conf")) -> tuple[str, ...]:
    """Return the domains in which the system looks short names up, none where it does not say. Blocking."""
    try:
        lines = file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ()
    found: list[str] = []
    for words in map(str.split, lines):
        if words and words[0] in {"search", "domain"}:  # the last one counts
            found = [word.lower().strip(".") for word in words[1:]]
    return tuple(filter(is_host, found))


def _refused(why: str) -> Failure:
    return Failure(Stage.CONNECT, Reason.NOT_ALLOWED, why)


# --- names --------------------------------------------------------------------------------------------------------------


def _bare(host: str) -> str:
    return host.lower().removesuffix(".")


def _is_short(name: str) -> bool:
    return "." not in name and ":" not in name and name != "localhost"


def _is_within(name: str, domain: str) -> bool:
    return name == domain or name.endswith(f".{domain}")


def _domains(host: str, search: Sequence[str]) -> set[str]:
    """Return the domains that a configured name is in, as it is written and as it may be looked up.

    Only configured names are taken to be short for longer ones: of what a server says, that would be whatever it likes.
    """
    if _ip(host) is not None or host == "localhost":
        return set()
    longer = search[:1] if _is_short(host) else search
    found = {_domain(name) for name in (host, *(f"{host}.{domain}" for domain in longer)) if "." in name}
    shorter = {domain.removesuffix(f".{ending}") for domain in found for ending in search if domain.endswith(f".{ending}")}
    return found | {domain for domain in shorter if "." in domain}


def _domain(name: str) -> str:
    """Return the domain around a name, or the name itself where others than its owner have names there: `com`, `co.uk`."""
    parent = name.partition(".")[2]
    labels = parent.split(".")
    if len(labels) == 1:
        return parent if parent in _INSIDE else name
    sold = len(labels) == 2 and labels[0] in _REGISTRIES and len(labels[1]) == 2
    return name if sold else parent


# --- addresses ----------------------------------------------------------------------------------------------------------


def _ip(text: str) -> _Ip | None:
    """Read an IP address; one of IPv6 that stands for one of IPv4 as that."""
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address):
        within = ip.ipv4_mapped or ip.sixtofour
        if within is None and ip in _NAT64:
            within = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        return within or ip
    return ip


def _network(text: str) -> _Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _around(ip: _Ip) -> _Network:
    """Return the network that an address's neighbours are in: a site's where it is private, a provider's customer's else."""
    if ip.version == 4:
        return ipaddress.ip_network(f"{ip}/{24 if ip.is_global else 16}", strict=False)
    return ipaddress.ip_network(f"{ip}/{64 if ip.is_global else 48}", strict=False)


def _is_never(ip: _Ip) -> bool:
    if ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip in _METADATA:
        return True
    return ip.version == 4 and (ip.is_reserved or ip in _THIS)

"""URLs that people know their servers by, as what a configuration has of them. Those with a password in them are refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from exporter.parsing import INTERNATIONAL, PORT_RANGE, Address, parse_address
from exporter.scaffold.draft import Unusable

__all__ = ["EXAMPLES", "Place", "is_url", "name_of", "read_url"]

EXAMPLES = (
    "http://host:8081/actuator, postgres://role@host:5432/database, redis://host:6379, kafka://host:9092, tls://host:443"
)

_DISCOVERY = "/.well-known/openid-configuration"
_ACTUATOR = "/actuator"


class Place(NamedTuple):
    """What a URL says.

    Attributes:
        kind: Of the probe that asks there.
        name: What it may be called.
        addresses: Where it is.
        settings: Of the probe, but for the password.
        password: Name of the setting of a password, where one is needed; empty where none is.
        given: For the actuator, whether the path was given, and not the usual one.
    """

    kind: str
    name: str
    addresses: tuple[Address, ...]
    settings: dict[str, Any]
    password: str = ""
    given: bool = False

    @property
    def instances(self) -> list[str]:
        """The addresses as a configuration has them."""
        return list(map(str, self.addresses))


def is_url(text: str) -> bool:
    """Say whether something is meant as a URL, and not as a name."""
    return "://" in text


def read_url(text: str) -> Place:
    """Read a URL.

    Raises:
        Unusable: It is of no kind that is known, lacks something, or has a password in it. The URL is not repeated.
    """
    scheme = text.partition("://")[0].lower()
    make = _SCHEMES.get(scheme)
    if make is None:
        known = scheme if re.fullmatch(r"[a-z][a-z0-9+.-]{0,20}", scheme) else "this"
        raise Unusable(f"{known} is no URL of what can be probed; expected one such as {EXAMPLES}")
    try:
        url = urlsplit(text)
    except ValueError:
        raise Unusable(f"this {scheme} URL cannot be read; expected one such as {EXAMPLES}") from None
    if url.password is not None or (url.username and make is _web):
        raise Unusable(
            f"this {scheme} URL has a password or a user in it, which others on this machine could read: {_WAYS[make]}"
        )
    if url.fragment:
        raise Unusable(f"this {scheme} URL has a fragment (#), which says nothing to a server: leave it out")
    return make(url)


def name_of(text: str) -> str:
    """Make a name that a configuration takes of what something is called; empty where nothing is left."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-")


def _web(url: SplitResult) -> Place:
    port = 443 if url.scheme == "https" else 80
    address = _addresses(url, port)[0]
    path = url.path.rstrip("/")
    _no_query(url)
    issuer = path.removesuffix(_DISCOVERY)
    if issuer != path or re.fullmatch(r"(/auth)?/realms/[^/]+", path):
        settings = {"issuer_path": issuer or "/", **({} if url.scheme == "https" else {"scheme": "http"})}
        return Place("oidc", "identity-provider", (address,), settings)
    base = re.sub(r"/health(/.*)?$", "", path) or ("/" if path else _ACTUATOR)
    settings = {
        **({"scheme": "https"} if url.scheme == "https" else {}),
        **({"base_path": base} if base != _ACTUATOR else {}),
    }
    return Place("actuator", _own_name(address), (address,), settings, given=bool(path))


def _postgres(url: SplitResult) -> Place:
    if not url.username:
        raise Unusable("this postgres URL names no role: postgres://ROLE@host:5432/database")
    query = dict(pair.partition("=")[::2] for pair in url.query.split("&") if pair)
    mode = query.pop("sslmode", "disable")
    if query or mode not in ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"):
        raise Unusable("of a postgres URL's parameters only sslmode is understood: ?sslmode=verify-full")
    settings: dict[str, Any] = {
        "user": unquote(url.username),
        "database": unquote(url.path.strip("/")) or unquote(url.username),
    }
    if mode in ("require", "verify-ca", "verify-full"):
        settings["tls"] = {}
    return Place("postgres", "postgres", _addresses(url, 5432)[:1], settings, "password_file")


def _redis(url: SplitResult) -> Place:
    _no_query(url)
    if url.path.strip("/") not in ("", "0"):
        raise Unusable("the probe of Redis asks the server, not one of its databases: leave the number at the end out")
    settings = {
        **({"user": unquote(url.username)} if url.username else {}),
        **({"tls": {}} if url.scheme == "rediss" else {}),
    }
    return Place("redis", "redis", _addresses(url, 6379), settings, "password_file" if url.username else "")


def _kafka(url: SplitResult) -> Place:
    _no_query(url)
    if url.username or url.path.strip("/"):
        raise Unusable("a kafka URL has the brokers alone: kafka://host:9092,host:9092; a login is for the configuration")
    return Place(
        "kafka", "kafka", _addresses(url, 9092), {"security": {"protocol": "SSL"}} if url.scheme == "kafkas" else {}
    )


def _tls(url: SplitResult) -> Place:
    _no_query(url)
    if url.username or url.path.strip("/"):
        raise Unusable("a tls URL has the address alone: tls://host:443")
    address = _addresses(url, 443)[0]
    return Place("tls", _own_name(address), (address,), {})


_SCHEMES: Mapping[str, Callable[[SplitResult], Place]] = {
    "http": _web,
    "https": _web,
    "postgres": _postgres,
    "postgresql": _postgres,
    "redis": _redis,
    "rediss": _redis,
    "kafka": _kafka,
    "kafkas": _kafka,
    "tls": _tls,
}

_WAYS: Mapping[Callable[[SplitResult], Place], str] = {
    _web: "`config init` takes --username with --password-file, or --token-file",
    _postgres: "`check` reads PGPASSWORD, a configuration password_file",
    _redis: "`check` reads REDISCLI_AUTH, a configuration password_file",
    _kafka: "a configuration has security.password_file",
    _tls: "no login is needed",
}


def _addresses(url: SplitResult, port: int) -> tuple[Address, ...]:
    hosts = url.netloc.rpartition("@")[2].split(",")
    try:
        return tuple(parse_address(host if _has_port(host) else f"{host}:{port}") for host in hosts)
    except ValueError as error:
        if (reason := str(error)) in (PORT_RANGE, INTERNATIONAL):
            raise Unusable(f"this {url.scheme} URL cannot be asked: {reason}") from None
        raise Unusable(f"this {url.scheme} URL names no host and port; expected one such as {EXAMPLES}") from None


def _has_port(host: str) -> bool:
    return re.search(r":[0-9]+$", host) is not None and not (host.startswith("[") and host.endswith("]"))


def _own_name(address: Address) -> str:
    """Name what has no name of its own: by the first label of its host, or its whole address where that is a number."""
    named = re.match(r"[A-Za-z]", address.host) and ":" not in address.host and address.host != "localhost"
    return name_of(address.host.partition(".")[0] if named else str(address)) or "service"


def _no_query(url: SplitResult) -> None:
    if url.query:
        raise Unusable(f"this {url.scheme} URL has parameters (?…), of which none is understood: leave them out")

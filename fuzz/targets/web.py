"""What clients of the exporter's own endpoints send: headers, and the query of /probe."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from exporter.config.server import Server
from exporter.web.access.gate import Gate, Turned, _login
from exporter.web.access.hosts import authority_of, known_host
from exporter.web.exposition import _question
from exporter.web.negotiation import accepts_gzip, prefers_openmetrics
from exporter.web.refusal import Refusal
from fuzz.model import Finding, Target
from fuzz.wires import on_loop

__all__ = ["TARGETS"]


def _headers(data: bytes) -> str:
    """Return a header's value as aiohttp hands it over."""
    return data.decode("utf-8", "surrogateescape")


def _accept(data: bytes) -> object:
    value = _headers(data)
    return prefers_openmetrics(value), accepts_gzip(value)


def _authorization(data: bytes) -> object:
    login = _login(_request({"Authorization": _headers(data)}))
    return (login.user, login.password) if login is not None else None


def _request(headers: dict[str, str], path: str = "/metrics", method: str = "GET", target: str = "/") -> web.Request:
    """Return what the parsers read of a request."""
    found = SimpleNamespace(
        headers=CIMultiDict(headers), path=path, host=headers.get("Host", ""), remote="127.0.0.1", transport=None,
        method=method, raw_path=target,
    )  # fmt: skip
    return cast(web.Request, found)


_NAMED = Server(hosts=("exporter.example.com", "*.example.org"))
_UNNAMED = Server()
_PATHS = ("/metrics", "/", "/probe", "/-/healthy", "/-/reload")


def _gate(data: bytes) -> object:
    """Lines are Host, Origin, Sec-Fetch-Site, User-Agent and the target as it is asked for; the first byte says which path,
    whether names are known, and whether it is a CONNECT.
    """
    if not data:
        return None
    turned: list[Turned] = []
    server = _NAMED if data[0] & 1 else _UNNAMED
    names = ("Host", "Origin", "Sec-Fetch-Site", "User-Agent")
    lines = [_headers(line) for line in data[1:].split(b"\n")]
    headers = {name: line for name, line in zip(names, lines, strict=False) if line}
    method, target = "CONNECT" if data[0] & 128 else "GET", lines[len(names)] if len(lines) > len(names) else "/"
    gate = Gate(lambda: None, lambda: server, turned.append)
    try:
        on_loop(gate.check(_request(headers, _PATHS[data[0] // 2 % 64 % len(_PATHS)], method, target)))
    except Refusal as refusal:
        if len(turned) != 1 or len(refusal.text) > 1_000 or not refusal.text.isprintable():
            raise Finding(f"turned away as {turned} by {refusal.text!r}") from None
        return refusal.text
    finally:
        gate.close()
    host = headers.get("Host", "")
    if host and server.hosts and not known_host(host, server.hosts):
        raise Finding(f"let in by the name {host!r}")
    asked = authority_of(method, target)
    if asked is not None and host and asked.lower() != host.lower():
        raise Finding(f"let in by the name {host!r} where {asked!r} is asked for")
    return None


def _query(data: bytes) -> object:
    """Read it as the query of a request's target, which llhttp has let through: visible bytes."""
    text = "".join(chr(byte) for byte in data if byte >= 0x21 and byte != 0x23)
    url = URL.build(path="/probe", query_string=text, encoded=True)
    try:
        return _question(cast(web.Request, SimpleNamespace(query=url.query)))
    except Refusal as refusal:
        if len(refusal.text) > 1_000 or not refusal.text.isprintable():
            raise Finding(f"refused by {refusal.text!r}") from None
        return refusal.text


TARGETS = (
    Target("accept", _accept, ("exporter.web.negotiation",), ()),
    Target("authorization", _authorization, ("exporter.web.access.gate",), ()),
    Target("gate", _gate, ("exporter.web.access.gate", "exporter.web.access.hosts"), ()),
    Target("query", _query, ("exporter.web.exposition",), ()),
)

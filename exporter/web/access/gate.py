"""Whether a request is answered: by which name it asks, how often, who asks, what for, and from which page."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Mapping
from enum import Enum
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from multidict import istr

from exporter.config.server import Server
from exporter.ownership.peers import PATH as LEASE
from exporter.web.access.follow import Way
from exporter.web.access.hosts import authority_of, known_host
from exporter.web.access.tls import names_of
from exporter.web.access.users import Busy, Logins
from exporter.web.refusal import Refusal, quoted

__all__ = ["HEALTH", "Gate", "Role", "Turned"]

HEALTH = ("/-/healthy", "/-/ready", LEASE)
"""What platforms and other exporters ask: whether it lives. It tells nothing of what is watched."""

_ACTS = ("/-/reload", "/probe", "/probe/now")

_OF_BROWSERS = ("Sec-Fetch-Site", hdrs.ORIGIN, hdrs.ACCEPT_LANGUAGE)


class Role(Enum):
    """What a request is for."""

    HEALTH = "health"
    SCRAPE = "scrape"
    PAGES = "pages"
    ACT = "act"

    @classmethod
    def of(cls, path: str) -> Role:
        """Return what a path is for."""
        if path in HEALTH:
            return cls.HEALTH
        if path in _ACTS:
            return cls.ACT
        return cls.SCRAPE if path == "/metrics" else cls.PAGES


class Turned(Enum):
    """Why a request was turned away: values of a label."""

    HOST = "host"
    RATE = "rate"
    LOGIN = "login"
    ROLE = "role"
    SITE = "site"
    BUSY = "busy"


class _Login(NamedTuple):
    user: str
    password: str


class Gate:
    """Asked before every request is answered.

    Args:
        way: How clients are let in at the moment; None where no file says so, and all are.
        server: Names and roles, as they are configured at the moment.
        turned: Is told of each request that is turned away.
    """

    def __init__(
        self, way: Callable[[], Way | None], server: Callable[[], Server], turned: Callable[[Turned], None]
    ) -> None:
        self._way = way
        self._server = server
        self._turned = turned
        self._logins = Logins()
        self._bucket = _Bucket()

    async def check(self, request: web.Request) -> None:
        """Let a request through.

        Raises:
            Refusal: It is not to be answered; the text says what to do about it.
        """
        role, way, server = Role.of(request.path), self._way(), self._server()
        self._check_host(request, role, server, strangers=way is None or not way.config.authenticates)
        if way is not None and not self._bucket.takes(way.config.rate_limit.seconds, way.config.rate_limit.burst):
            raise self._refusal(Turned.RATE, HTTPStatus.TOO_MANY_REQUESTS, "too many requests: see rate_limit")
        names = await self._names(request, way) if way is not None else frozenset()
        allowed = {Role.SCRAPE: server.roles.scrape, Role.PAGES: server.roles.pages, Role.ACT: server.roles.act}.get(role)
        if allowed is not None and names.isdisjoint(allowed):
            raise self._refusal(Turned.ROLE, HTTPStatus.FORBIDDEN, f"server.roles.{role.value} does not name you")
        if role is Role.ACT and _from_elsewhere(request):
            text = "a page of another site may not have this done; over plain HTTP browsers do not tell: use HTTPS, or curl"
            raise self._refusal(Turned.SITE, HTTPStatus.FORBIDDEN, text)

    def close(self) -> None:
        """Drop what waits."""
        self._logins.close()

    def _check_host(self, request: web.Request, role: Role, server: Server, *, strangers: bool) -> None:
        """Refuse names that may be a stranger's.

        Where no name is configured, whoever must say who they are is let in by any, since a page of a stranger cannot; and
        so are scrapers and probes of a platform, which are no browsers; every browser names a host. A target that names a
        host itself goes before the header, which has to say the same (RFC 9112, 3.2).
        """
        host, asked = request.headers.get(hdrs.HOST, ""), authority_of(request.method, request.raw_path)
        if asked is not None and host and asked.lower() != host.lower():
            text = f"it is asked for {quoted(asked)} by the name {quoted(host)}: these have to be the same"
            raise self._refusal(Turned.HOST, HTTPStatus.MISDIRECTED_REQUEST, text)
        host = host if asked is None else asked
        if not host or known_host(host, server.hosts):
            return
        lenient = not server.hosts and (not strangers or (role in (Role.HEALTH, Role.SCRAPE) and not _is_browser(request)))
        if not lenient:
            text = f"this exporter is not known by the name {quoted(host)}: add it to server.hosts"
            raise self._refusal(Turned.HOST, HTTPStatus.MISDIRECTED_REQUEST, text)

    async def _names(self, request: web.Request, way: Way) -> frozenset[str]:
        """Return what a client is known by."""
        users = way.config.basic_auth_users
        names = _certificate_names(request)
        if not users:
            return names
        login = _login(request)
        if login is None:
            raise self._unknown("who are you? A user and a password are wanted")
        try:
            right = await self._logins.right(users, login.user, login.password, request.remote or "")
        except Busy:
            headers = {hdrs.RETRY_AFTER: "1"}
            raise self._refusal(Turned.BUSY, HTTPStatus.TOO_MANY_REQUESTS, "too many logins at once", headers) from None
        if not right:
            raise self._unknown("no such user, or another password")
        return names | {login.user}

    def _unknown(self, text: str) -> Refusal:
        headers = {hdrs.WWW_AUTHENTICATE: 'Basic realm="hafnium-exporter", charset="UTF-8"'}
        return self._refusal(Turned.LOGIN, HTTPStatus.UNAUTHORIZED, text, headers)

    def _refusal(self, why: Turned, status: HTTPStatus, text: str, headers: Mapping[istr, str] | None = None) -> Refusal:
        self._turned(why)
        return Refusal(status, text, {str(name): value for name, value in (headers or {}).items()})


class _Bucket:
    """A token bucket; its size and rate may change from one request to the next."""

    def __init__(self) -> None:
        self._tokens: float | None = None
        self._at = 0.0

    def takes(self, interval: float, burst: int) -> bool:
        """Take a token, if there is one; without an interval there always is."""
        if not interval:
            self._tokens = None
            return True
        now = asyncio.get_running_loop().time()
        grown = burst if self._tokens is None else self._tokens + (now - self._at) / interval
        self._tokens, self._at = min(grown, burst), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def _certificate_names(request: web.Request) -> frozenset[str]:
    transport = request.transport
    return names_of(transport.get_extra_info("peercert")) if transport is not None else frozenset()


def _login(request: web.Request) -> _Login | None:
    """Return what the Authorization header says; None where it is none of basic auth."""
    scheme, _, rest = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(rest.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        return None
    return _Login(user, password) if colon else None


def _is_browser(request: web.Request) -> bool:
    """Tell a browser. A page can have it say another User-Agent, but not have it leave the languages out."""
    agent = request.headers.get(hdrs.USER_AGENT, "")
    return agent.startswith("Mozilla/") or any(name in request.headers for name in _OF_BROWSERS)


def _from_elsewhere(request: web.Request) -> bool:
    """Tell a browser that another site's page sent here, or may have: it gives Sec-Fetch-Site over HTTPS and to localhost
    alone, and an image's request has no Origin. What is not a browser sends neither.
    """
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is not None and _host(origin) != request.host.lower():
        return True
    site = request.headers.get("Sec-Fetch-Site")
    if site is None:
        return origin is None and _is_browser(request)
    return site not in ("same-origin", "none")


def _host(origin: str) -> str | None:
    """Return the host and port of an origin; None for what is none, such as `null` or `http://[`."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None

"""A Spring Boot application, asked what a configuration should say of it: where its actuator is and what that shows.

It is asked as the probe asks: for its health, the actuator's list of links, groups, and whether there are meters. Health
components tell what it uses; where that is, Spring does not tell.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from yarl import URL

from exporter.auth.ways import Authenticator, AuthSettings
from exporter.clients.spring import health
from exporter.net.http import Answer
from exporter.net.phases import NoPhases
from exporter.net.tls import ClientTls, TlsSettings
from exporter.parsing import Address
from exporter.probing.probe import SharedClients
from exporter.scaffold.draft import Entry, Unusable
from exporter.scaffold.urls import Place, name_of
from exporter.verdict import Failure, Reason

__all__ = ["Entrance", "look"]

PATIENCE = 10.0
"""Seconds for one answer: the first of a JVM takes its time."""

_PATHS = ("/actuator", "/manage", "/management", "/")
"""Where actuators are, the usual place first; Boot 1.x has health at the root."""

_PORTS = (8081, 9001, 9000, 9090, 8090, 8079)
"""Management ports in wide use, looked at where the port that was given has no actuator."""

_MAX_BYTES = 1 << 20
_USES = {"db": "postgres", "redis": "redis", "kafka": "kafka", "binders": "kafka"}
"""By health component, the kind of probe for what it tells of. `db` may be another database: then it says so."""

_OTHERS = ("cassandra", "couchbase", "elasticsearch", "hazelcast", "jms", "ldap", "mail", "mongo", "neo4j", "rabbit")
"""Components of servers that no kind of probe asks."""


@dataclass(frozen=True, slots=True)
class Entrance:
    """The ways in that were given for all applications.

    Attributes:
        auth: Credentials, as a configuration has them; none where empty.
        tls: Roots and client certificate, as a configuration has them.
        allow_cleartext: Credentials may cross a network as they are, and so may the exporter's.
    """

    auth: Mapping[str, Any]
    tls: Mapping[str, Any]
    allow_cleartext: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    address: Address
    base: str
    health: health.Health
    raw: Mapping[str, Any]
    closed: bool = False


class _Asker:
    """Asks one application."""

    def __init__(self, place: Place, entrance: Entrance, shared: SharedClients) -> None:
        self._scheme = place.settings.get("scheme", "http")
        self._shared = shared
        self._tls = ClientTls(TlsSettings(**entrance.tls)) if self._scheme == "https" else None
        settings = AuthSettings(**entrance.auth) if entrance.auth else None
        self._auth = Authenticator(settings, shared.tokens)
        self._given = place.addresses[0]

    async def get(self, address: Address, path: str) -> Answer:
        """GET a path. Credentials go to the port that was given alone: what listens on others may be anybody's.

        Raises:
            Failure: There is no answer.
        """
        url = URL.build(scheme=self._scheme, host=address.host, port=address.port, path=path)
        context = await self._tls.context() if self._tls is not None else None
        login = await self._auth.headers() if address == self._given else {}
        headers = {"Accept": "application/json, */*;q=0.5", **login}
        async with asyncio.timeout(PATIENCE):
            return await self._shared.http.get(url, NoPhases(), max_bytes=_MAX_BYTES, headers=headers, tls=context)

    async def status(self, address: Address, path: str) -> int:
        """Return the status of a path, 0 where there is no answer that can be read."""
        try:
            return (await self.get(address, path)).status
        except (Failure, TimeoutError) as error:
            return 200 if isinstance(error, Failure) and error.reason is Reason.TOO_LARGE else 0

    async def json(self, address: Address, path: str) -> dict[str, Any]:
        """Return the JSON object at a path, empty where there is none."""
        try:
            answer = await self.get(address, path)
            found = json.loads(answer.body) if answer.status == 200 else {}
        except (Failure, TimeoutError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


async def look(place: Place, entrance: Entrance, shared: SharedClients) -> tuple[str, Entry]:
    """Ask an application and return what it may be called, and what a configuration says of it.

    Args:
        place: What its URL says.
        entrance: The ways in.
        shared: Of which the HTTP client and the tokens are used.

    Raises:
        Unusable: It does not answer, or nothing there is an actuator.
    """
    asker, address = _asker(place, entrance, shared), place.addresses[0]
    found = await _find(asker, place, address)
    settings = _reach(place, entrance, address, found)
    if found.closed:
        return place.name, Entry(
            {"instances": [str(address)], "probes": {"actuator": settings}}, _closed(entrance, found, address)
        )
    info, links, groups, main = await asyncio.gather(
        asker.json(found.address, _join(found.base, "info")),
        _links(asker, found),
        _groups(asker, found),
        _main(asker, address, found),
    )
    if groups:
        settings["groups"] = groups
    remarks = []
    if not links & {"prometheus", "metrics"}:
        settings["metrics"] = False
        remarks.append(
            "It shows no meters. For latency, heap, pools: management.endpoints.web.exposure.include=health,info,prometheus "
            "and micrometer-registry-prometheus in the application, then metrics: true here."
        )
    if main is not None:
        settings["main"] = {"paths": main} if main else {}
    elif found.address != address:
        remarks.append(
            "Its main port has neither /livez nor /readyz: with management.endpoint.health.probes.add-additional-paths=true "
            "in the application and `main: {}` here, a main port that fails behind a healthy management port is seen."
        )
    uses, others = _uses(found)
    remarks += others
    entry = Entry({"instances": [str(address)], "probes": {"actuator": settings}}, remarks, uses)
    return _name(info) or place.name, entry


def _asker(place: Place, entrance: Entrance, shared: SharedClients) -> _Asker:
    try:
        return _Asker(place, entrance, shared)
    except ValidationError as error:
        told = "; ".join(each["msg"].removeprefix("Value error, ") for each in error.errors(include_input=False))
        raise Unusable(f"these credentials cannot be used: {told}") from None
    except OSError as error:
        file = error.filename or ", ".join(map(str, entrance.tls.values()))
        raise Unusable(f"{file}: {error.strerror or 'cannot be used'}") from error


async def _find(asker: _Asker, place: Place, address: Address) -> _Found:
    """Find the actuator: at the path that was given; else at the usual ones of this port, then of the usual other ports.

    Raises:
        Unusable: There is none.
    """
    if place.given:
        paths: tuple[str, ...] = (place.settings.get("base_path", _PATHS[0]),)
        answers = await _first(asker, address, paths)
    else:
        answers = await _first(asker, address, _PATHS)
        for port in _PORTS:
            if answers is not None or port == address.port:
                continue
            try:
                answers = await _first(asker, Address(address.host, port), _PATHS)
            except Unusable:
                continue  # nothing listens there
    if answers is None:
        where = f"at {paths[0]}" if place.given else f"at {', '.join(_PATHS)} of it, nor on the usual management ports"
        raise Unusable(
            f"{address} answers, but no actuator {where}; give its address with port and path, such as "
            f"http://{address.host}:9001/manage"
        )
    return answers


async def _first(asker: _Asker, address: Address, paths: Iterable[str]) -> _Found | None:
    closed: _Found | None = None
    for path in paths:
        try:
            answer = await asker.get(address, _join(path, "health"))
        except TimeoutError:
            raise Unusable(f"{address} does not answer within {PATIENCE:g} s") from None
        except Failure as failure:
            if failure.reason is Reason.CREDENTIALS:
                raise Unusable(failure.detail) from None
            raise Unusable(f"{address} cannot be asked: {failure}; is it up, and the port right?") from None
        if answer.status in (401, 403):
            closed = closed or _Found(address, path, health.Health(""), {}, closed=True)
            continue
        try:
            return _Found(address, path, health.parse(answer.body), json.loads(answer.body))
        except (Failure, ValueError):
            continue
    return closed


def _reach(place: Place, entrance: Entrance, address: Address, found: _Found) -> dict[str, Any]:
    """Return how the actuator is reached."""
    secure = place.settings.get("scheme") == "https"
    settings: dict[str, Any] = {"scheme": "https"} if secure else {}
    if secure and entrance.tls:
        settings["tls"] = dict(entrance.tls)
    if found.address.port != address.port:
        settings["port"] = found.address.port
    if found.base != _PATHS[0]:
        settings["base_path"] = found.base
    if entrance.auth:
        settings["auth"] = dict(entrance.auth)
        if entrance.allow_cleartext and settings.get("scheme") != "https":
            settings["allow_cleartext"] = True
    return settings


def _closed(entrance: Entrance, found: _Found, address: Address) -> list[str]:
    if entrance.auth and found.address != address:
        return [
            "Its management port wants credentials; those that were given were not sent to a port that was only guessed. "
            f"Ask it by its own address to see what it shows: port {found.address.port}."
        ]
    if entrance.auth:
        return ["Its actuator refused the credentials that were given: what it shows is not known yet."]
    return [
        "Its actuator wants credentials, which are not known here. Put them into a file and add, in the probe:",
        "auth: {basic: {username: monitor, password_file: secrets/actuator-password}}",
        "or auth: {bearer: {token_file: …}}, or have `config init` ask with --username and --password-file.",
    ]


async def _links(asker: _Asker, found: _Found) -> set[str]:
    """Name the endpoints that there are, as the actuator lists them, or by asking where it lists none."""
    links = (await asker.json(found.address, found.base)).get("_links")
    if isinstance(links, dict):
        return set(map(str, links))
    names = ("prometheus", "metrics")
    statuses = await asyncio.gather(*(asker.status(found.address, _join(found.base, name)) for name in names))
    return {name for name, status in zip(names, statuses, strict=True) if status == 200}


async def _groups(asker: _Asker, found: _Found) -> list[str]:
    names = ("liveness", "readiness")
    if found.health.groups:
        return [name for name in names if name in found.health.groups]
    statuses = await asyncio.gather(*(asker.json(found.address, _join(found.base, f"health/{name}")) for name in names))
    return [name for name, answer in zip(names, statuses, strict=True) if isinstance(answer.get("status"), str)]


async def _main(asker: _Asker, address: Address, found: _Found) -> list[str] | None:
    """Return the paths of the main port to ask for, where that is another one; empty for the usual ones, None for none."""
    if address.port == found.address.port:
        return None
    paths = ("/livez", "/readyz")
    statuses = await asyncio.gather(*(asker.status(address, path) for path in paths))
    there = [path for path, status in zip(paths, statuses, strict=True) if status in (200, 503)]
    return ([] if len(there) == len(paths) else there) if there else None


def _uses(found: _Found) -> tuple[tuple[str, ...], list[str]]:
    """Return the kinds of what its components tell of, and remarks on those that no probe asks."""
    top = dict.fromkeys(component.path.partition("/")[0] for component in found.health.components)
    kinds, remarks = [], []
    for name in top:
        kind = _USES.get(name)
        database = _database(found.raw) if name == "db" else None
        if database is not None and "postgres" not in database.lower():
            remarks.append(f"It uses {database}, which no kind of probe here asks; its own health still tells of it.")
        elif kind is not None:
            kinds.append(kind)
        elif name in _OTHERS:
            remarks.append(f"It uses {name}, which no kind of probe here asks; its own health still tells of it.")
    return tuple(dict.fromkeys(kinds)), remarks


def _database(raw: Mapping[str, Any]) -> str | None:
    """Return what kind of database the component `db` says that it is."""
    components = raw.get("components", raw.get("details", raw))
    node = components.get("db") if isinstance(components, dict) else None
    details = node.get("details", node) if isinstance(node, dict) else None
    name = details.get("database") if isinstance(details, dict) else None
    return name[:40] if isinstance(name, str) and name.isprintable() else None


def _name(info: Mapping[str, Any]) -> str:
    for section, key in (("app", "name"), ("build", "name"), ("build", "artifact")):
        part = info.get(section)
        text = part.get(key) if isinstance(part, dict) else None
        if isinstance(text, str) and name_of(text):
            return name_of(text).removesuffix("-service") or name_of(text)
    return ""


def _join(base: str, path: str) -> str:
    return f"{base.rstrip('/')}/{path}"

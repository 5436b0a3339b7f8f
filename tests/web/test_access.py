"""Who is answered what: users, roles, names, other sites' pages, and how often."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import bcrypt
import pytest
from aiohttp import ClientSession, encode_basic_auth

from exporter.config.server import Roles, Server
from exporter.values import Address
from exporter.web.access import Access
from exporter.web.access.file import parse
from exporter.web.access.follow import Way
from exporter.web.access.gate import Turned
from exporter.web.endpoints import ENDPOINTS
from exporter.web.limits import ServerLimits
from exporter.web.server import make_app, serve, serve_health
from exporter.web.worker import Worker
from tests.web.conftest import ANYWHERE, OPEN
from tests.web.raw import Raw
from tests.web.samples import FakeBackend

PATHS = [(item.method, item.path.replace("{name}", "case")) for item in ENDPOINTS]
BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"}


def _way(*users: str, more: str = "") -> Way:
    """Let users in whose password is their name."""
    hashes = (bcrypt.hashpw(user.encode(), bcrypt.gensalt(4)).decode() for user in users)
    lines = [f"  {user}: {made}\n" for user, made in zip(users, hashes, strict=True)]
    text = ("basic_auth_users:\n" + "".join(lines) if users else "") + more
    return Way(parse(text, "web.yml", Path()))


@asynccontextmanager
async def serving(
    backend: FakeBackend, way: Way | None = None, server: Server | None = None, turned: Counter[Turned] | None = None
) -> AsyncIterator[ClientSession]:
    """Serve with such an access."""
    seen: Counter[Turned] = Counter() if turned is None else turned
    access = Access(lambda: way, lambda: server or Server(), lambda why: seen.update([why]), lifecycle=True)
    async with serve(backend, ANYWHERE, access=access) as address, ClientSession(f"http://{address}") as client:
        yield client


Auth = Mapping[str, str] | None


def _as(user: str, password: str | None = None) -> Mapping[str, str]:
    return {"Authorization": encode_basic_auth(user, user if password is None else password)}


async def _status(
    client: ClientSession, method: str, path: str, auth: Auth = None, headers: Mapping[str, str] | None = None
) -> int:
    query = "?service=case&probe=actuator" if path == "/probe" else ""
    async with client.request(method, path + query, headers={**(auth or {}), **(headers or {})}) as answer:
        return answer.status


async def test_nothing_is_answered_without_the_right_password(backend: FakeBackend) -> None:
    turned: Counter[Turned] = Counter()
    async with serving(backend, _way("alice", "bob"), turned=turned) as client:
        for method, path in [*PATHS, ("GET", "/static/style.css"), ("GET", "/nothing"), ("PUT", "/metrics")]:
            for auth in (None, _as("alice", "bob"), _as("", ""), _as("carol", "alice")):
                async with client.request(method, path, headers=auth) as answer:
                    assert answer.status == 401, path
                    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
            assert await _status(client, method, path, _as("alice")) not in (401, 403), path
    assert (turned[Turned.LOGIN], backend.reloads) == (4 * (len(PATHS) + 3), 1)


@pytest.mark.parametrize("header", ["Basic", "Basic !!!", "Basic YWxpY2U=", "Bearer YWxpY2U6YWxpY2U=", "Basic /////w=="])
async def test_odd_authorization_is_a_401(backend: FakeBackend, header: str) -> None:
    async with serving(backend, _way("alice")) as client:
        assert await _status(client, "GET", "/metrics", headers={"Authorization": header}) == 401


async def test_a_flood_of_guesses_leaves_those_in_who_are_in(backend: FakeBackend) -> None:
    async with serving(backend, _way("alice")) as client:
        assert await _status(client, "GET", "/metrics", _as("alice")) == 200
        guesses = [asyncio.create_task(_status(client, "GET", "/metrics", _as("alice", str(n)))) for n in range(200)]
        assert await _status(client, "GET", "/metrics", _as("alice")) == 200
        assert set(await asyncio.gather(*guesses)) == {401, 429}


HEALTH, SCRAPE, PAGES, ACT = ("all", "scrape", "pages", "act")
ROUTES = {
    ("GET", "/metrics"): SCRAPE,
    ("GET", "/-/healthy"): HEALTH,
    ("GET", "/-/ready"): HEALTH,
    ("GET", "/-/lease"): HEALTH,
    ("GET", "/"): PAGES,
    ("GET", "/events"): PAGES,
    ("GET", "/services/{name}"): PAGES,
    ("GET", "/badge/{name}.svg"): PAGES,
    ("GET", "/embed/{name}"): PAGES,
    ("GET", "/static/{name}"): PAGES,
    ("GET", "/openapi.json"): PAGES,
    ("GET", "/api/v1/services"): PAGES,
    ("GET", "/api/v1/services/{name}"): PAGES,
    ("GET", "/api/v1/targets"): PAGES,
    ("GET", "/api/v1/incidents"): PAGES,
    ("GET", "/probe"): ACT,
    ("POST", "/probe/now"): ACT,
    ("POST", "/-/reload"): ACT,
}
"""Whom each route is for. What a method is asked for by, a path is: there is none that two roles share."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def _routes(backend: FakeBackend) -> set[tuple[str, str]]:
    """Return what is served, from the router itself."""
    worker = Worker()
    app = make_app(backend, worker, ServerLimits())
    worker.close()
    return {(route.method, route.resource.canonical) for route in app.router.routes() if route.resource is not None}


async def test_every_route_is_for_a_role_and_for_nobody_without_it(backend: FakeBackend) -> None:
    """Roles and nobody, by every route of the router and every method; a route that has no entry fails."""
    served = _routes(backend)
    assert {(method, path) for method, path in served if method != "HEAD"} == ROUTES.keys()
    users = (SCRAPE, PAGES, ACT, "other")
    roles = Roles(scrape=(SCRAPE,), pages=(PAGES,), act=(ACT,))
    turned: Counter[Turned] = Counter()
    async with serving(backend, _way(*users), Server(roles=roles), turned) as client:
        for (_, path), role in ROUTES.items():
            there = path.replace("{name}", "style.css" if "static" in path else "case")
            for method in METHODS:
                before = turned.total()
                assert await _status(client, method, there) == 401, (method, path)
                for user in users:
                    status = await _status(client, method, there, _as(user))
                    if role not in (HEALTH, user):
                        assert status == 403, (method, path, user)
                    elif (method, path) in served:
                        assert status not in (401, 403, 405), (method, path, user)
                    else:
                        assert status == 405, (method, path, user)
                away = sum(role not in (HEALTH, user) for user in users)
                assert turned.total() - before == 1 + away, (method, path)
        for user in users:  # what there is not is no way to find out what there is
            assert await _status(client, "GET", "/nothing", _as(user)) == (404 if user == PAGES else 403)
    assert backend.reloads == 1


async def test_what_a_role_does_not_name_all_may_who_are_let_in(backend: FakeBackend) -> None:
    async with serving(backend, _way("a", "b"), Server(roles=Roles(act=()))) as client:
        assert await _status(client, "GET", "/metrics", _as("a")) == 200
        assert await _status(client, "POST", "/-/reload", _as("b")) == 403


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_a_page_whose_name_was_led_here_reads_nothing(backend: FakeBackend, method: str, path: str) -> None:
    """DNS rebinding: to the browser it is the page's own site, so Origin and Sec-Fetch-Site say nothing."""
    turned: Counter[Turned] = Counter()
    headers = {**BROWSER, "Host": "attacker.example:9818", "Origin": "http://attacker.example:9818"}
    async with serving(backend, turned=turned) as client:
        assert await _status(client, method, path, headers=headers) == 421
        assert (turned, backend.reloads, backend.runs) == ({Turned.HOST: 1}, 0, [])


@pytest.mark.parametrize("headers", [BROWSER, {"User-Agent": "Prometheus/3.5", "Accept-Language": ""}])
async def test_no_browser_scrapes_by_a_strangers_name(backend: FakeBackend, headers: Mapping[str, str]) -> None:
    """A page may have its browser say another User-Agent."""
    async with serving(backend) as client:
        assert await _status(client, "GET", "/metrics", headers={**headers, "Host": "attacker.example:9818"}) == 421


async def test_scrapers_may_use_any_name_until_names_are_configured(backend: FakeBackend) -> None:
    foreign = {"Host": "exporter.example.com:9818"}
    async with serving(backend) as client:
        assert await _status(client, "GET", "/metrics", headers=foreign) == 200
        assert await _status(client, "GET", "/-/ready", headers=foreign) == 200
        assert await _status(client, "GET", "/api/v1/services", headers=foreign) == 421
    async with serving(backend, server=Server(hosts=("exporter.example.com",))) as client:
        for path in ("/metrics", "/api/v1/services", "/"):
            assert await _status(client, "GET", path, headers=foreign) == 200
            assert await _status(client, "GET", path, headers={"Host": "other.example.com"}) == 421
            assert await _status(client, "GET", path) == 200
    async with serving(backend, _way("alice")) as client:
        assert await _status(client, "GET", "/", _as("alice"), foreign) == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LocalHost.:9818", 200),
        ("localhost:", 200),
        ("[::1]:9818", 200),
        ("localhost:80@attacker.example", 421),
        ("localhost:attacker.example", 421),
        ("[::1]:80@attacker.example", 421),
        ("[::1].attacker.example", 421),
        ("127.0.0.1.attacker.example", 421),
    ],
)
async def test_a_host_is_a_name_and_a_port(backend: FakeBackend, host: str, status: int) -> None:
    async with serving(backend) as client:
        assert await _status(client, "GET", "/api/v1/services", headers={"Host": host}) == status


SERVICES = "/api/v1/services"


@pytest.mark.parametrize(
    ("line", "host", "status"),
    [
        (f"GET http://localhost{SERVICES}", "localhost", 200),
        (f"GET HTTP://LocalHost:9818{SERVICES}", "localhost:9818", 200),
        (f"GET http://attacker.example{SERVICES}", "localhost", 421),
        (f"GET http://attacker.example{SERVICES}", "attacker.example", 421),
        (f"GET http://localhost{SERVICES}", "attacker.example", 421),
        (f"GET http://localhost:80{SERVICES}", "localhost:81", 421),
        (f"GET http://localhost:80@attacker.example{SERVICES}", "localhost:80", 421),
        (f"GET http://user:password@localhost{SERVICES}", "localhost", 421),
        (f"GET ftp://attacker.example{SERVICES}", "localhost", 421),
        ("GET http://attacker.example/metrics", "localhost", 421),
        ("GET http://attacker.example?/metrics", "localhost", 421),
        ("POST http://attacker.example/-/reload", "localhost", 421),
        ("CONNECT attacker.example:443", "localhost", 421),
        ("CONNECT attacker.example:443", "attacker.example:443", 421),
        ("CONNECT localhost:443", "localhost:443", 404),
        ("OPTIONS *", "localhost", 404),
        ("OPTIONS *", "attacker.example", 421),
        ("OPTIONS http://attacker.example", "localhost", 421),
        (f"GET //attacker.example{SERVICES}", "localhost", 404),
        ("GET /static/http://attacker.example", "localhost", 404),
    ],
)
async def test_a_host_in_the_target_goes_before_the_header(backend: FakeBackend, line: str, host: str, status: int) -> None:
    """RFC 9112, 3.2.2 and 3.2.3: what judges by the header alone judges what nobody was asked for."""
    turned: Counter[Turned] = Counter()
    access = Access(lifecycle=True, turned=lambda why: turned.update([why]))
    async with serve(backend, ANYWHERE, access=access) as address, Raw(address) as client:
        await client.send(f"{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
        answer = await client.read()
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
    assert (turned[Turned.HOST], backend.reloads) == (int(status == 421), 0)


async def test_a_host_in_the_target_is_enough_for_http_1_0(backend: FakeBackend) -> None:
    async with serve(backend, ANYWHERE) as address:
        for host, status in (("localhost", 200), ("attacker.example", 421)):
            async with Raw(address) as client:
                await client.send(f"GET http://{host}{SERVICES} HTTP/1.0\r\n\r\n")
                assert f" {status} ".encode() in (await client.read())[:20]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
        (BROWSER, 403),  # over plain HTTP, for an image of another site's page
        ({"Accept-Language": ""}, 403),
        ({**BROWSER, "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://["}, 403),
        ({"Origin": "http://\u2100.com"}, 403),
    ],
)
async def test_another_sites_page_has_nothing_done(backend: FakeBackend, headers: Mapping[str, str], status: int) -> None:
    sent = {name: value.encode().decode("latin-1") for name, value in headers.items()}
    async with serving(backend) as client:
        for method, path in (("POST", "/-/reload"), ("GET", "/probe")):
            assert await _status(client, method, path, headers=sent) == status
        async with client.post("/probe/now", data={"service": "identity", "probe": "actuator"}, headers=sent) as answer:
            assert answer.status == status
        for path in ("/", "/metrics", "/api/v1/services"):
            assert await _status(client, "GET", path, headers=sent) == 200
    assert (backend.reloads, len(backend.runs)) == ((1, 2) if status == 200 else (0, 0))


async def test_requests_are_as_many_as_the_file_allows(backend: FakeBackend) -> None:
    way = _way(more="rate_limit: {interval: 300ms, burst: 3}\n")
    async with serving(backend, way) as client:
        statuses = [await _status(client, "GET", "/-/healthy") for _ in range(10)]
        assert statuses[:3] == [200] * 3
        assert 429 in statuses[3:]
        await asyncio.sleep(0.35)
        assert await _status(client, "GET", "/-/healthy") == 200


async def test_headers_are_as_the_file_says_and_otherwise_strict(backend: FakeBackend) -> None:
    way = _way(more="http_server_config: {headers: {Strict-Transport-Security: max-age=60, X-Frame-Options: sameorigin}}\n")
    async with serving(backend, way) as client, client.get("/") as answer:
        assert answer.headers["Strict-Transport-Security"] == "max-age=60"
        assert answer.headers["X-Frame-Options"] == "sameorigin"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


async def test_reloading_over_http_is_off_unless_it_is_switched_on(backend: FakeBackend) -> None:
    async with (
        serve(backend, ANYWHERE) as address,
        ClientSession(f"http://{address}") as client,
        client.post("/-/reload") as answer,
    ):
        assert answer.status == 403
        assert "--web.enable-lifecycle" in await answer.text()
    assert backend.reloads == 0
    assert OPEN.lifecycle


async def test_health_has_a_door_of_its_own_and_nothing_else_goes_through_it(backend: FakeBackend) -> None:
    async with serve_health(backend, ANYWHERE) as address, ClientSession(f"http://{address}") as client:
        for method, path in PATHS:
            known = path in ("/-/healthy", "/-/ready")
            assert await _status(client, method, path) == (200 if known else 404), path
        assert address != Address("127.0.0.1", 0)

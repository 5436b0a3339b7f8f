"""Every answer has the safe headers, whoever makes it: an endpoint, the middleware, or the HTTP library beneath."""

from __future__ import annotations

from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from exporter.values import Address
from exporter.web.access import Access
from exporter.web.access.follow import FollowedFile
from exporter.web.server import serve, serve_health
from tests.web.conftest import ANYWHERE
from tests.web.raw import Raw
from tests.web.samples import FakeBackend

HOST = "Host: localhost\r\n"
CLOSE = "Connection: close\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"
FORM = "Content-Type: application/x-www-form-urlencoded\r\n"

REQUESTS = {
    "fine": (f"GET /-/healthy HTTP/1.1\r\n{HOST}{CLOSE}\r\n", 200),
    "of HTTP/1.0": ("GET /-/healthy HTTP/1.0\r\n\r\n", 200),
    "without a body": (f"HEAD /-/healthy HTTP/1.1\r\n{HOST}{CLOSE}\r\n", 200),
    "not HTTP": ("\x00\x01\x02\r\n\r\n", 400),
    "TLS": ("\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
    "HTTP/2": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "HTTP/0.9": ("GET /-/healthy\r\n\r\n", 200),
    "of a version that there is not": (f"GET / HTTP/9.9x\r\n{HOST}\r\n", 400),
    "without a name of a header": (f"GET / HTTP/1.1\r\n{HOST}: x\r\n\r\n", 400),
    "with a header that is none": (f"GET / HTTP/1.1\r\n{HOST}nonsense\r\n\r\n", 400),
    "long line": (f"GET /{'x' * 20_000} HTTP/1.1\r\n{HOST}\r\n", 400),
    "long header": (f"GET / HTTP/1.1\r\n{HOST}X-A: {'x' * 20_000}\r\n\r\n", 400),
    "many headers": (f"GET / HTTP/1.1\r\n{HOST}" + "X-A: x\r\n" * 500 + "\r\n", 400),
    "two lengths": (f"POST /-/reload HTTP/1.1\r\n{HOST}Content-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400),
    "a length and chunks": (f"POST /-/reload HTTP/1.1\r\n{HOST}Content-Length: 1\r\n{CHUNKED}\r\nx", 400),
    "a length that is none": (f"POST /-/reload HTTP/1.1\r\n{HOST}Content-Length: x\r\n\r\n", 400),
    "second of two at once": (f"GET /-/healthy HTTP/1.1\r\n{HOST}\r\n\x00\r\n\r\n", 400),
    "expects something": (f"GET /-/healthy HTTP/1.1\r\n{HOST}{CLOSE}Expect: 200-maybe\r\n\r\n", 417),
    "no such path": (f"GET /nothing HTTP/1.1\r\n{HOST}{CLOSE}\r\n", 404),
    "no such method": (f"DELETE /-/healthy HTTP/1.1\r\n{HOST}{CLOSE}\r\n", 405),
    "large body": (f"POST /-/healthy HTTP/1.1\r\n{HOST}{CLOSE}Content-Length: 70000\r\n\r\n", 413),
}
BEYOND_HEALTH = {
    "a proxy's": (f"CONNECT localhost:22 HTTP/1.1\r\nHost: localhost:22\r\n{CLOSE}\r\n", 404),
    "of another site": (f"GET /probe HTTP/1.1\r\n{HOST}{CLOSE}Origin: http://elsewhere.example\r\n\r\n", 403),
    "broken chunks": (f"POST /probe/now HTTP/1.1\r\n{HOST}{FORM}{CHUNKED}{CLOSE}\r\nzz\r\n", 400),
    "slow form": (f"POST /probe/now HTTP/1.1\r\n{HOST}{FORM}Content-Length: 9\r\n{CLOSE}\r\nx", 408),
}


async def answer(address: Address, text: str) -> tuple[int, Message]:
    """Send it, and return status and headers of the answer."""
    async with Raw(address) as raw:
        await raw.send(text)
        line, _, rest = (await raw.read()).partition(b"\r\n")
    return int(line.split()[1]), message_from_bytes(rest.partition(b"\r\n\r\n")[0])


def is_safe(headers: Message) -> bool:
    policy = str(headers["Content-Security-Policy"])
    return (
        policy.startswith("default-src 'none';")
        and policy.endswith("frame-ancestors 'none'")
        and headers["X-Content-Type-Options"] == "nosniff"
        and headers["Referrer-Policy"] == "same-origin"
        and headers["Cross-Origin-Resource-Policy"] == "same-origin"
        and headers["Cache-Control"] == "no-store"
        and headers.get_all("Server") == ["hafnium-exporter"]
        and headers.get_content_type() in ("text/plain", "text/html", "application/json")
    )


@pytest.mark.parametrize("kind", [*REQUESTS, *BEYOND_HEALTH])
async def test_every_answer_is_safe(address: Address, kind: str) -> None:
    text, status = {**REQUESTS, **BEYOND_HEALTH}[kind]
    found, headers = await answer(address, text)
    assert found == status
    assert is_safe(headers), headers.items()


@pytest.mark.parametrize("kind", REQUESTS)
async def test_every_answer_about_health_is_safe(backend: FakeBackend, kind: str) -> None:
    text, status = REQUESTS[kind]
    async with serve_health(backend, ANYWHERE) as address:
        found, headers = await answer(address, text)
    assert found == status
    assert is_safe(headers), headers.items()


async def test_an_operators_headers_are_on_the_librarys_own_answers(backend: FakeBackend, tmp_path: Path) -> None:
    path = tmp_path / "web.yml"
    path.write_text(
        "http_server_config: {headers: {X-Frame-Options: deny, Content-Security-Policy: default-src 'self'}}", "utf-8"
    )
    way = FollowedFile(path, lambda _: None)
    async with serve(backend, ANYWHERE, access=Access(way=lambda: way.way)) as address:
        for kind in ("fine", "not HTTP", "expects something"):
            _, headers = await answer(address, REQUESTS[kind][0])
            assert (headers["X-Frame-Options"], headers["Content-Security-Policy"]) == ("deny", "default-src 'self'")

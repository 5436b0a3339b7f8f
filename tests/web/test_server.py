"""The server as a whole: its manners, its bounds, its end."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import resource
import socket
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest
from aiohttp import ClientSession, TCPConnector, web

from exporter.values import Address
from exporter.web.access import Access
from exporter.web.begun import Begun
from exporter.web.endpoints import ENDPOINTS
from exporter.web.guard import Closed
from exporter.web.limits import ServerLimits
from exporter.web.listener import Listener
from exporter.web.server import make_app, serve
from exporter.web.worker import Worker
from tests.web.conftest import ANYWHERE, OPEN
from tests.web.raw import Raw
from tests.web.samples import FakeBackend

PATHS = [
    "/", "/services/case", "/metrics", "/probe", "/-/healthy", "/-/ready", "/-/reload", "/api/v1/services",
    "/api/v1/services/case", "/api/v1/targets", "/openapi.json", "/static/style.css", "/static/up.svg", "/nothing",
    "/api/nothing",
]  # fmt: skip
GET = "GET {} HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_has_safe_headers(client: ClientSession, path: str) -> None:
    async with client.get(path) as answer:
        policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["style-src"] == "'self'"
        assert policy["img-src"] == "'self' data:"
        assert policy["frame-ancestors"] == "'none'"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"  # without any, the Origin of a form would be null
        assert answer.headers["Server"] == "hafnium-exporter"
        if not path.startswith("/static/"):
            assert answer.headers["Cache-Control"] == "no-store"


async def test_the_endpoints_are_those_that_are_told(backend: FakeBackend) -> None:
    worker = Worker()
    app = make_app(backend, worker, ServerLimits())
    worker.close()
    served = {(r.method, r.resource.canonical) for r in app.router.routes() if r.resource and r.method != "HEAD"}
    assert {(item.method, item.path) for item in ENDPOINTS} | {("GET", "/static/{name}")} == served


async def test_an_address_without_anything_lists_the_endpoints(client: ClientSession) -> None:
    async with client.get("/metric") as answer:
        text = await answer.text()
        assert (answer.status, answer.headers["Content-Type"]) == (404, "text/plain; charset=utf-8")
    assert all(item.path in text and item.says in text for item in ENDPOINTS)


async def test_a_method_that_is_not_served_is_told_which_are(client: ClientSession) -> None:
    async with client.post("/metrics") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
        assert await answer.text() == "/metrics answers GET, HEAD only\n"


async def test_a_defect_is_a_500_without_its_text_and_the_log_has_it(
    client: ClientSession, backend: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.failure = RuntimeError("password=hunter2")
    async with client.get("/api/v1/services") as answer:
        assert answer.status == 500
        assert "hunter2" not in await answer.text()
    assert [record.exc_info is not None for record in caplog.records if record.levelno == logging.ERROR] == [True]
    async with client.get("/-/healthy") as answer:
        assert answer.status == 200


async def test_requests_leave_no_log(client: ClientSession, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await (await client.get("/metrics")).read()
    assert caplog.records == []


async def test_an_address_in_use_is_named(address: Address, backend: FakeBackend) -> None:
    with pytest.raises(OSError, match=f"cannot listen on {address}: Address already in use") as caught:
        async with serve(backend, address):
            pass
    assert caught.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize(("host", "says"), [("192.0.2.1", "Cannot assign"), ("no.such.name.invalid", "")])
async def test_an_address_that_is_not_ours_is_named(backend: FakeBackend, host: str, says: str) -> None:
    with pytest.raises(OSError, match=f"cannot listen on {host}:9818: {says}.+"):
        async with serve(backend, Address(host, 9818)):
            pass


async def test_the_address_can_be_listened_on_again_at_once(backend: FakeBackend) -> None:
    async with serve(backend, ANYWHERE) as address, ClientSession(f"http://{address}") as client:
        await (await client.get("/metrics")).read()
    async with serve(backend, address):
        pass


async def _closed(raw: Raw, within: float) -> float:
    started = time.monotonic()
    async with asyncio.timeout(within):
        await raw.read()
    return time.monotonic() - started


@pytest.mark.parametrize(
    "sent", ["", "GET /metrics HT", "GET /metrics HTTP/1.1\r\nHost: x\r\nX-A: ", GET.format("/-/healthy") + "GET /"]
)
async def test_who_never_ends_a_request_is_sent_away(backend: FakeBackend, sent: str) -> None:
    async with serve(backend, ANYWHERE, ServerLimits(idle=0.3)) as address, Raw(address) as raw:
        await raw.send(sent)
        assert 0.2 < await _closed(raw, 5) < 4


async def test_dripping_headers_does_not_help(backend: FakeBackend) -> None:
    async with serve(backend, ANYWHERE, ServerLimits(idle=0.4)) as address, Raw(address) as raw:

        async def drip() -> None:
            await raw.send("GET /metrics HTTP/1.1\r\n")
            for n in range(1000):
                await raw.send(f"X-{n}: 1\r\n")
                await asyncio.sleep(0.05)

        task = asyncio.create_task(drip())
        assert await _closed(raw, 5) < 4
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_slow_loris_does_not_keep_others_out(backend: FakeBackend) -> None:
    async with serve(backend, ANYWHERE) as address:
        slow = [Raw(address) for _ in range(100)]
        for raw in slow:
            await raw.__aenter__()
            await raw.send("GET /metrics HTTP/1.1\r\n")
        async with ClientSession(f"http://{address}") as client, client.get("/metrics") as answer:
            assert answer.status == 200
        for raw in slow:
            await raw.__aexit__(None, None, None)


async def test_who_does_not_read_is_cut_off(backend: FakeBackend, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "exporter.web")
    backend.exposition = b"x" * 20_000_000
    async with serve(backend, ANYWHERE, ServerLimits(send=0.3)) as address, Raw(address) as raw:
        await raw.send(GET.format("/metrics"))
        async with asyncio.timeout(5):
            while not caplog.records:
                await asyncio.sleep(0.02)
        assert len(await raw.read()) < 20_000_000
    assert "read too slowly" in caplog.text


async def test_a_client_that_goes_away_does_no_harm(
    address: Address, backend: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.exposition = b"x" * 20_000_000
    for path in ("/metrics", "/", "/api/v1/services"):
        async with Raw(address) as raw:
            await raw.send(GET.format(path))
            await asyncio.sleep(0.02)
    async with Raw(address) as raw:
        await raw.send("POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
    async with ClientSession(f"http://{address}") as client, client.get("/-/healthy") as answer:
        assert answer.status == 200
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_one_connection_too_many_takes_the_place_of_the_one_idle_for_longest(backend: FakeBackend) -> None:
    async with (
        serve(backend, ANYWHERE, ServerLimits(connections=2)) as address,
        Raw(address) as first,
        Raw(address) as second,
    ):
        for raw in (first, second):
            await raw.send("GET /")
            await asyncio.sleep(0.05)
        async with Raw(address) as third:
            await _closed(first, 5)
            await third.send("GET /-/healthy HTTP/1.0\r\n\r\n")
            assert b" 200 OK" in await third.read()
        await second.send(" HTTP/1.0\r\n\r\n")
        assert b" 200 OK" in await second.read()


async def _is_open(raw: Raw) -> bool:
    """Tell whether the server keeps a connection."""
    try:
        await _closed(raw, 0.5)
    except TimeoutError:
        return True
    return False


class _Seat:
    """A connection, as far as it is counted."""

    host = "192.0.2.1"
    stalled_since = None

    def abort(self) -> None:
        """Nothing is open."""


HEADERS = ("X: " + "x" * 6000 + "\r\n") * 3
HEALTH = "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n"
BODY = "GET /events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n40000\r\n" + "x" * 18_000
UPGRADE = "GET /events HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + "x" * 18_000


@pytest.mark.parametrize(
    "sent",
    [
        HEALTH + HEADERS,
        f"{HEALTH}\r\n{HEALTH}{HEADERS}",
        f"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n{HEALTH}{HEADERS}",
        BODY,
        UPGRADE,
    ],
    ids=["head", "head after a request", "head during an answer", "body", "upgrade"],
)
async def test_what_is_sent_and_not_answered_shares_a_bounded_memory(backend: FakeBackend, sent: str) -> None:
    """A hundred headers of 8 kB may come on each of thousands of connections, or as much behind a request. Who has sent the
    most gives way, and not another who has a large head."""
    async with serve(backend, ANYWHERE, ServerLimits(heads=100_000)) as address, AsyncExitStack() as stack:
        greedy = [await stack.enter_async_context(Raw(address)) for _ in range(10)]
        for each in greedy:
            await each.send(sent)
            await asyncio.sleep(0.02)
        for _ in range(3):
            async with Raw(address, source="127.0.0.2") as one:
                await one.send(HEALTH + HEADERS + "Connection: close\r\n\r\n")
                assert b" 200 OK" in await one.read()
        open_ = await asyncio.gather(*(_is_open(each) for each in greedy))
        assert sum(open_) == 5 - 1


def test_of_one_address_a_large_cookie_goes_before_heads_that_do_not_end() -> None:
    """Behind a proxy all have one."""
    seats = [_Seat() for _ in range(6)]
    begun = Begun(100_000)
    for each in seats[:5]:
        begun.add(each, 20_000)
    begun.add(seats[5], 6000)
    assert begun.greediest(seats[5]) is seats[0]
    begun.add(seats[5], 12_000)
    assert begun.greediest(seats[5]) is seats[5]
    for each in seats:
        begun.take(each)
    assert begun.total == 0


async def test_what_was_answered_or_is_gone_counts_no_more(backend: FakeBackend) -> None:
    """Else a scraper's connection that is kept for weeks were closed one day, and then all that send more than a little."""
    closed: list[Closed] = []
    form = {"service": "identity", "probe": "actuator", "more": "x" * 6000}
    async with serve(backend, ANYWHERE, ServerLimits(heads=30_000), Access(closed=closed.append)) as address:
        for _ in range(5):
            async with Raw(address) as one:
                await one.send(HEALTH + HEADERS)
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)  # no more comes, but what came might still be answered
        async with ClientSession(f"http://127.0.0.1:{address.port}", connector=TCPConnector(limit=1)) as client:
            for _ in range(10):
                async with client.get("/-/healthy", headers={"X-A": "x" * 6000}) as answer:
                    assert (answer.status, await answer.text()) == (200, "healthy\n")
                async with client.post("/probe/now", data=form) as answer:
                    assert (answer.status, bool(await answer.read())) == (200, True)
    assert closed == []


@pytest.mark.parametrize("descriptors", [20, 40, 64, 128, 256, 1024, 4096, 20_000, 1 << 20])
def test_clients_may_take_few_of_few_descriptors(descriptors: int) -> None:
    """Else whoever is idle keeps scrapers and probes out: thousands are more than there may be."""
    usual, limits = ServerLimits(), ServerLimits().within(descriptors)
    assert limits.connections + limits.health <= max(6, min(usual.connections + usual.health, descriptors // 4))
    lasting = limits.requests + limits.probes + limits.events + limits.forms
    assert 4 <= lasting <= max(4, limits.connections // 2), "seats that nobody can be asked to leave"
    if descriptors >= 20_000:
        assert limits == usual


@pytest.mark.parametrize("mib", [16, 128, 512, 1 << 20])
def test_clients_may_take_little_of_little_memory(mib: int) -> None:
    """Of what a process may set aside, 256 KiB go to each connection that speaks TLS."""
    limits = ServerLimits().within(20_000, mib << 20)
    assert limits.connections <= max(4, mib)
    assert limits.connections == ServerLimits().connections or limits.connections >= min(mib, 100) // 4
    used = ServerLimits().within(20_000, memory=mib << 20)
    assert used.connections == min(ServerLimits().connections, 4 * mib)
    assert ServerLimits().within(20_000, mib << 20, mib << 20) == limits


async def test_where_no_descriptor_is_left_idle_clients_give_way() -> None:
    """The system's limit may be used up by others than clients."""
    asked: list[None] = []
    accepted: list[socket.socket] = []
    listener = await Listener.open(ANYWHERE, lambda raw, _host: accepted.append(raw), lambda: asked.append(None))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    raw = Raw(Address("127.0.0.1", listener.port))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        async with raw:
            try:
                await _some(asked)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
            await _some(accepted)
    finally:
        listener.close()
        for each in accepted:
            each.close()


async def _some(found: Sequence[object]) -> None:
    async with asyncio.timeout(5):
        while not found:
            await asyncio.sleep(0.01)


async def test_too_many_requests_at_once_are_refused(backend: FakeBackend) -> None:
    backend.hold = asyncio.Event()
    limits = ServerLimits(requests=1)
    async with (
        serve(backend, ANYWHERE, limits, OPEN) as address,
        ClientSession(f"http://{address}") as client,
    ):
        reload = asyncio.create_task(client.post("/-/reload"))
        await asyncio.sleep(0.05)
        async with client.get("/api/v1/targets") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        for path in ("/metrics", "/-/healthy", "/-/ready", "/"):
            async with client.get(path) as answer:
                assert answer.status == 200
        backend.hold.set()
        (await reload).release()
        async with client.get("/api/v1/targets") as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        ("GET /" + "x" * 20_000 + " HTTP/1.1\r\nHost: x\r\n\r\n", b" 400 "),
        ("GET / HTTP/1.1\r\nHost: x\r\nX-A: " + "x" * 20_000 + "\r\n\r\n", b" 400 "),
        ("GET / HTTP/1.1\r\nHost: x\r\n" + "X-A: x\r\n" * 500 + "\r\n", b" 400 "),
        ("POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n", b" 413 "),
        ("\x00\x01\x02\r\n\r\n", b" 400 "),
        ("GET /%ff%00 HTTP/1.0\r\n\r\n", b" 404 "),
    ],
    ids=["long line", "long header", "many headers", "large body", "not HTTP", "odd path"],
)
async def test_requests_without_measure_are_refused(
    address: Address, backend: FakeBackend, caplog: pytest.LogCaptureFixture, request_text: str, status: bytes
) -> None:
    async with Raw(address) as raw:
        await raw.send(request_text)
        answer = await raw.read()
    assert status in answer.split(b"\r\n")[0]
    assert len(answer) < 10_000
    assert backend.reloads == 0
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_body_that_never_ends_does_not_hold_a_connection(address: Address, backend: FakeBackend) -> None:
    async with Raw(address) as raw:
        await raw.send("POST /-/reload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n")
        assert await _closed(raw, 5) < 4
    assert backend.reloads == 1


async def _ending(backend: FakeBackend, *paths: str, method: str = "GET") -> float:
    """Return how long the server takes to end with requests under way whose clients read nothing."""
    raws: list[Raw] = []
    async with serve(backend, ANYWHERE) as address:
        for path in paths:
            raw = Raw(address)
            await raw.__aenter__()
            await raw.send(GET.format(path).replace("GET", method) if path else "GET /")
            raws.append(raw)
        await asyncio.sleep(0.1)
        started = time.monotonic()
    took = time.monotonic() - started
    for raw in raws:
        await raw.read()
        await raw.__aexit__(None, None, None)
    return took


async def test_it_ends_at_once_when_nothing_is_under_way(backend: FakeBackend) -> None:
    assert await _ending(backend, "/-/healthy", "", "/metrics") < 0.5


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/-/reload"), ("GET", "/probe?service=case&probe=actuator"), ("GET", "/metrics")]
)
async def test_it_ends_within_two_seconds_whatever_is_under_way(backend: FakeBackend, method: str, path: str) -> None:
    backend.hold = asyncio.Event()
    backend.exposition = b"x" * 20_000_000
    assert await _ending(backend, path, path, method=method) < 2.0
    backend.hold.set()
    await asyncio.sleep(0)


async def test_a_request_under_way_is_answered_before_the_end(backend: FakeBackend) -> None:
    backend.hold = asyncio.Event()
    async with serve(backend, ANYWHERE) as address:
        raw = Raw(address)
        await raw.__aenter__()
        await raw.send(GET.format("/probe?service=case&probe=actuator"))
        while not backend.runs:
            await asyncio.sleep(0.01)
        asyncio.get_running_loop().call_later(0.2, backend.hold.set)
    assert b"probe_success 1" in await raw.read()
    await raw.__aexit__(None, None, None)


async def test_an_error_inside_the_block_still_ends_the_server(backend: FakeBackend) -> None:
    with pytest.raises(ValueError, match="inside"):
        async with serve(backend, ANYWHERE) as address:
            raise ValueError("inside")
    with socket.socket() as probe:
        assert probe.connect_ex(address) == errno.ECONNREFUSED


def test_the_application_is_an_aiohttp_one(backend: FakeBackend) -> None:
    worker = Worker()
    assert isinstance(make_app(backend, worker, ServerLimits()), web.Application)
    worker.close()


async def test_what_was_to_be_sent_is_let_go_with_the_client(backend: FakeBackend) -> None:
    """Without a full garbage collection, which is rare."""
    gc.collect()
    gc.disable()
    others = {id(each) for each in gc.get_objects() if isinstance(each, web.StreamResponse)}
    try:
        async with serve(backend, ANYWHERE) as address:
            for path in ("/metrics", "/api/v1/targets"):
                for size in range(5):
                    backend.exposition = b"x" * (20_000_000 + size)
                    async with Raw(address) as raw:
                        await raw.send(GET.format(path))
                        await asyncio.sleep(0.05)
            async with asyncio.timeout(10):
                while any(isinstance(each, web.StreamResponse) and id(each) not in others for each in gc.get_objects()):
                    await asyncio.sleep(0.05)
    finally:
        gc.enable()

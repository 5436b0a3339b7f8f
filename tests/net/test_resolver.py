"""The resolver, against a real name server on loopback."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator

import aiodns
import pytest
from dnslib import AAAA, QTYPE, RCODE, RR, A
from dnslib.server import BaseResolver, DNSLogger, DNSServer
from yarl import URL

from exporter.net.http import HttpClient
from exporter.net.resolver import Resolver, is_ip
from exporter.verdict import Failure, Reason, Stage
from tests.net.servers import answer, serve
from tests.net.test_http import Recorder


class Zone(BaseResolver):  # type: ignore[misc]
    """Names of the test; counts questions, and can hold its answers back."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.open = threading.Event()
        self.open.set()
        self.question = threading.Event()
        self.ttl = 300

    async def is_asked(self) -> None:
        """Wait until a question came."""
        assert await asyncio.to_thread(self.question.wait, 5)

    def resolve(self, request: object, handler: object) -> object:
        name, kind = str(request.q.qname).rstrip("."), QTYPE[request.q.qtype]  # type: ignore[attr-defined]
        self.asked.append((name, kind))
        self.question.set()
        self.open.wait(10)
        reply = request.reply()  # type: ignore[attr-defined]
        if name == "identity.example.test":
            if kind == "A":
                reply.add_answer(RR(name, QTYPE.A, rdata=A("127.0.0.9"), ttl=self.ttl))
                reply.add_answer(RR(name, QTYPE.A, rdata=A("127.0.0.1"), ttl=self.ttl))
            else:
                reply.add_answer(RR(name, QTYPE.AAAA, rdata=AAAA("::1"), ttl=self.ttl))
        elif name == "one.example.test":
            if kind == "A":
                reply.add_answer(RR(name, QTYPE.A, rdata=A("127.0.0.1"), ttl=self.ttl))
        elif name == "broken.example.test":
            reply.header.rcode = RCODE.SERVFAIL
        elif name != "empty.example.test":
            reply.header.rcode = RCODE.NXDOMAIN
        return reply


@pytest.fixture
def zone() -> Iterator[tuple[Zone, str]]:
    """A name server and its address."""
    resolver = Zone()
    server = DNSServer(resolver, port=0, address="127.0.0.1", logger=DNSLogger("-request,-reply,-truncated,-error"))
    server.start_thread()
    yield resolver, f"127.0.0.1:{server.server.server_address[1]}"
    resolver.open.set()
    server.stop()
    server.server.server_close()


@pytest.fixture
async def resolver(zone: tuple[Zone, str]) -> AsyncIterator[Resolver]:
    opened = Resolver([zone[1]], timeout=0.3, tries=1)
    yield opened
    await opened.close()


async def test_addresses_come_sorted_ipv4_first(resolver: Resolver) -> None:
    assert await resolver.resolve("identity.example.test.") == ("127.0.0.1", "127.0.0.9", "::1")


async def test_an_address_is_its_own_answer_and_asks_nobody(resolver: Resolver, zone: tuple[Zone, str]) -> None:
    assert await resolver.resolve("10.0.0.1") == ("10.0.0.1",)
    assert await resolver.resolve("fe80::1%lo") == ("fe80::1%lo",)
    assert zone[0].asked == []
    assert is_ip("::1")
    assert not is_ip("localhost")


@pytest.mark.parametrize(
    "name", ["missing.example.test.", "empty.example.test.", "a..b", "ü" * 70, "😀", "a\0b", "a\nb", "."]
)
async def test_a_name_that_does_not_exist_is_the_targets_fault(resolver: Resolver, name: str) -> None:
    with pytest.raises(Failure) as caught:
        await resolver.resolve(name)
    assert (caught.value.stage, caught.value.reason) == (Stage.RESOLVE, Reason.DNS_NOT_FOUND)


async def test_a_thread_that_cannot_be_started_is_the_probers_fault_and_is_tried_anew(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(aiodns, "DNSResolver", refuse)
        with pytest.raises(Failure) as caught:
            await resolver.resolve("identity.example.test.")
    assert (caught.value.stage, caught.value.reason) == (Stage.RESOLVE, Reason.PROBER_MEMORY)
    assert await resolver.resolve("identity.example.test.")


async def test_a_name_server_that_fails_is_the_probers_fault(resolver: Resolver) -> None:
    with pytest.raises(Failure) as caught:
        await resolver.resolve("broken.example.test.")
    assert (caught.value.stage, caught.value.reason) == (Stage.RESOLVE, Reason.PROBER_DNS)


async def test_a_name_server_that_does_not_answer_is_the_probers_fault() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        resolver = Resolver([f"127.0.0.1:{silent.getsockname()[1]}"], timeout=0.1, tries=1)
        with pytest.raises(Failure) as caught:
            await resolver.resolve("identity.example.test.")
        await resolver.close()
    assert caught.value.reason is Reason.PROBER_DNS
    assert "identity.example.test" in caught.value.detail


async def test_an_answer_is_kept(resolver: Resolver, zone: tuple[Zone, str]) -> None:
    await resolver.resolve("one.example.test.")
    asked = len(zone[0].asked)
    await resolver.resolve("one.example.test.")
    assert len(zone[0].asked) == asked


@pytest.mark.parametrize("fresh", [False, True])
async def test_the_name_server_is_asked_again_once_the_ttl_is_over(
    resolver: Resolver, zone: tuple[Zone, str], fresh: bool
) -> None:
    """Asking for a fresh answer passes this cache by, and so does time; c-ares holds its own for the TTL and no longer."""
    zone[0].ttl = 1
    await resolver.resolve("one.example.test.")
    async with asyncio.timeout(10):
        while len(zone[0].asked) < 4:
            await resolver.resolve("one.example.test.", fresh=fresh)
            await asyncio.sleep(0.05)


async def test_no_answer_is_kept_for_more_than_thirty_seconds(resolver: Resolver) -> None:
    await resolver.resolve("one.example.test.")  # its TTL is 300 s
    assert 25 < resolver._cache["one.example.test."].expires - asyncio.get_running_loop().time() <= 30


async def test_many_callers_share_one_question_and_one_may_leave(resolver: Resolver, zone: tuple[Zone, str]) -> None:
    """A caller whose deadline passes must not end the question for the others."""
    zone[0].open.clear()
    callers = [asyncio.create_task(resolver.resolve("one.example.test.")) for _ in range(50)]
    await zone[0].is_asked()
    callers[0].cancel()
    await asyncio.wait({callers[0]})
    zone[0].open.set()
    assert set(await asyncio.gather(*callers[1:])) == {("127.0.0.1",)}
    assert callers[0].cancelled()
    assert len(zone[0].asked) == 2, "one question of each kind"


async def test_a_failure_is_not_kept(resolver: Resolver, zone: tuple[Zone, str]) -> None:
    for _ in range(2):
        with pytest.raises(Failure):
            await resolver.resolve("broken.example.test.")
        asked = len(zone[0].asked)
    assert asked > 2


async def test_the_cache_forgets_rather_than_grows(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.net.resolver._MAX_NAMES", 1)
    await resolver.resolve("one.example.test.")
    await resolver.resolve("identity.example.test.")
    assert len(resolver._cache) == 1


async def test_closing_ends_what_is_under_way(zone: tuple[Zone, str]) -> None:
    zone[0].open.clear()
    resolver = Resolver([zone[1]], timeout=5)
    caller = asyncio.create_task(resolver.resolve("one.example.test."))
    await zone[0].is_asked()
    await resolver.close()
    await asyncio.wait({caller}, timeout=2)
    assert caller.done()


async def test_a_request_by_name_has_a_resolve_phase(resolver: Resolver) -> None:
    client = HttpClient(resolver)
    phases, missing = Recorder(), Recorder()
    async with serve({"/": answer("ok")}) as served:
        got = await client.get(URL(f"http://one.example.test.:{served.port}/"), phases, max_bytes=99)
    with pytest.raises(Failure) as caught:
        await client.get(URL("http://missing.example.test.:1/"), missing, max_bytes=99)
    await client.close()
    assert got.body == b"ok"
    assert set(phases.phases) == {Stage.RESOLVE, Stage.CONNECT, Stage.SEND, Stage.WAIT, Stage.RECEIVE}
    assert (caught.value.reason, missing.stage) == (Reason.DNS_NOT_FOUND, Stage.RESOLVE)
    assert set(missing.phases) == {Stage.RESOLVE}

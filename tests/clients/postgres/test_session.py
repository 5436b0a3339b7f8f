"""A session against servers that play along up to a point: every way to log in, and what is not believed."""

from __future__ import annotations

import asyncio
import re
import resource
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest
import trustme
from scramp import ScramMechanism

from exporter.clients.postgres.login import Login
from exporter.clients.postgres.scram import MAX_ITERATIONS
from exporter.clients.postgres.session import Session, open_session
from exporter.clients.postgres.wire import MAX_ANSWER_BYTES, MAX_FIRST_BYTES
from exporter.net.phases import NoPhases
from exporter.net.resolver import Resolver
from exporter.net.tls import ClientTls, TlsSettings
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage
from tests.probes.doing import serving, silence

PASSWORD = "pässword"


class Peer:
    """A server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.parameters: list[bytes] = []

    async def started(self) -> None:
        (length,) = struct.unpack("!i", await self.reader.readexactly(4))
        self.parameters = (await self.reader.readexactly(length - 4))[4:].split(b"\0")

    async def heard(self, kind: bytes) -> bytes:
        found, length = struct.unpack("!ci", await self.reader.readexactly(5))
        assert found == kind
        return await self.reader.readexactly(length - 4)

    def say(self, kind: bytes, body: bytes = b"", length: int | None = None) -> None:
        self.writer.write(kind + struct.pack("!i", len(body) + 4 if length is None else length) + body)

    def ask(self, what: int, body: bytes = b"") -> None:
        self.say(b"R", struct.pack("!i", what) + body)

    def let_in(self) -> None:
        self.ask(0)
        self.say(b"S", b"server_version\x0018.0\0")
        self.say(b"Z", b"I")


Talk = Callable[[Peer], Awaitable[None]]


@pytest.fixture
async def resolver() -> AsyncIterator[Resolver]:
    opened = Resolver()
    yield opened
    await opened.close()


async def logged_in(
    talk: Talk, resolver: Resolver, steps: Callable[[Session], Awaitable[None]] | None = None, **login: Any
) -> None:
    """Log in to a peer, and do something with the session."""
    broken: list[BaseException] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(Peer(reader, writer))
            await silence(reader, writer)
        except AssertionError as error:
            broken.append(error)
            raise

    async def password() -> str:
        return PASSWORD

    async with serving(handle) as port:
        try:
            async with asyncio.timeout(5):
                address = Address("127.0.0.1", port)
                session = await open_session(address, Login("röle", "d", password, **login), resolver, NoPhases())
                try:
                    if steps is not None:
                        await steps(session)
                finally:
                    session.abort()
        finally:
            assert broken == []


async def refused(talk: Talk, resolver: Resolver, steps: Callable[[Session], Awaitable[None]] | None = None) -> Failure:
    with pytest.raises(Failure) as caught:
        await logged_in(talk, resolver, steps)
    return caught.value


def asked(*sql: str, most: int = 1) -> Callable[[Session], Awaitable[None]]:
    async def steps(session: Session) -> None:
        for statement in sql:
            await session.query(statement, most)

    return steps


async def test_who_and_where_is_said_and_what_comes_in_between_is_passed_over(resolver: Resolver) -> None:
    async def talk(peer: Peer) -> None:
        await peer.started()
        assert peer.parameters[:4] == [b"user", "röle".encode(), b"database", b"d"]
        peer.say(b"v", struct.pack("!ii", 0, 0))
        peer.say(b"N", b"SNOTICE\0\0")
        peer.let_in()

    await logged_in(talk, resolver)


async def test_a_password_is_hashed_with_md5_where_that_is_asked_for(resolver: Resolver) -> None:
    async def talk(peer: Peer) -> None:
        await peer.started()
        peer.ask(5, b"salt")
        inner = md5(PASSWORD.encode() + "röle".encode(), usedforsecurity=False).hexdigest()
        assert (
            await peer.heard(b"p")
            == b"md5" + md5(inner.encode() + b"salt", usedforsecurity=False).hexdigest().encode() + b"\0"
        )
        peer.let_in()

    await logged_in(talk, resolver)


async def test_a_password_is_given_in_the_clear_over_tls_alone(resolver: Resolver, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("db.internal").configure_cert(context)
    heard: list[bytes] = []

    async def in_the_open(peer: Peer) -> None:
        await peer.started()
        peer.ask(3)
        with suppress(ConnectionError):
            heard.append(await peer.reader.read())

    async def secured(peer: Peer) -> None:
        await peer.reader.readexactly(8)
        peer.writer.write(b"S")
        await peer.writer.start_tls(context)
        await peer.started()
        peer.ask(3)
        assert await peer.heard(b"p") == PASSWORD.encode() + b"\0"
        peer.let_in()

    failure = await refused(in_the_open, resolver)
    assert (failure.stage, failure.reason) == (Stage.AUTH, Reason.NOT_ALLOWED)
    assert b"".join(heard) == b""
    tls = ClientTls(TlsSettings(ca_file=tmp_path / "ca.pem", server_name="db.internal"))
    await logged_in(secured, resolver, tls=tls)


async def scram(peer: Peer, *, password: str = PASSWORD, iterations: int = 4096, verifies: bool = True) -> None:
    """Let a client in by SCRAM, as a server that knows this password."""
    mechanism = ScramMechanism("SCRAM-SHA-256")
    salt, stored, server_key, rounds = mechanism.make_auth_info(password, iteration_count=iterations)
    server = mechanism.make_server(lambda _: (salt, stored, server_key, rounds))
    await peer.started()
    peer.ask(10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0")
    name, _, first = (await peer.heard(b"p")).partition(b"\0")
    assert name == b"SCRAM-SHA-256"
    server.set_client_first(first[4:].decode())
    peer.ask(11, server.get_server_first().encode())
    server.set_client_final((await peer.heard(b"p")).decode())
    if verifies:
        peer.ask(12, server.get_server_final().encode())
    peer.let_in()


async def test_scram_is_proven_on_both_sides(resolver: Resolver) -> None:
    await logged_in(scram, resolver)


async def test_a_server_that_does_not_prove_itself_is_not_believed(resolver: Resolver) -> None:
    async def keeps_quiet(peer: Peer) -> None:
        await scram(peer, verifies=False)

    async def pretends(peer: Peer) -> None:
        await peer.started()
        peer.ask(10, b"SCRAM-SHA-256\0\0")
        nonce = re.search(rb"r=([^,]+)", await peer.heard(b"p"))
        assert nonce is not None
        peer.ask(11, b"r=" + nonce[1] + b"x,s=c2FsdHNhbHRzYWx0,i=4096")
        await peer.heard(b"p")
        peer.ask(12, b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
        peer.let_in()

    for talk in (keeps_quiet, pretends):
        failure = await refused(talk, resolver)
        assert (failure.stage, failure.reason) == (Stage.AUTH, Reason.PROTOCOL)


async def test_a_login_that_would_hash_for_minutes_is_refused_at_once(resolver: Resolver) -> None:
    for iterations in (str(MAX_ITERATIONS + 1), "2147483647", "9" * 4000, "0", "-1"):

        async def talk(peer: Peer, iterations: str = iterations) -> None:
            await peer.started()
            peer.ask(10, b"SCRAM-SHA-256\0\0")
            nonce = re.search(rb"r=([^,]+)", await peer.heard(b"p"))
            assert nonce is not None
            peer.ask(11, b"r=" + nonce[1] + b"x,s=c2FsdHNhbHRzYWx0,i=" + iterations.encode())

        started = time.process_time()
        failure = await refused(talk, resolver)
        assert (failure.stage, failure.reason) == (Stage.AUTH, Reason.PROTOCOL)
        assert time.process_time() - started < 0.2


async def test_the_loop_goes_on_while_a_password_is_hashed_a_million_times(resolver: Resolver) -> None:
    loop_time = asyncio.create_task(thread_seconds())
    await asyncio.sleep(0)
    before = time.process_time()
    hashed: list[float] = []

    async def talk(peer: Peer) -> None:
        await peer.started()
        peer.ask(10, b"SCRAM-SHA-256\0\0")
        nonce = re.search(rb"r=([^,]+)", await peer.heard(b"p"))
        assert nonce is not None
        peer.ask(11, b"r=" + nonce[1] + b"x,s=c2FsdHNhbHRzYWx0,i=%d" % MAX_ITERATIONS)
        await peer.heard(b"p")
        hashed.append(time.process_time() - before)
        peer.ask(12, b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")

    await refused(talk, resolver)
    loop_time.cancel()
    turns, spent = await loop_time
    assert turns > 10  # it had its turns while the thread was hashing
    assert spent < hashed[0] / 2


async def thread_seconds() -> tuple[int, float]:
    """Count the loop's turns until cancelled, and its own CPU time."""
    started, turns = time.thread_time(), 0
    try:
        while True:
            await asyncio.sleep(0.005)
            turns += 1
    except asyncio.CancelledError:
        return turns, time.thread_time() - started


async def test_fewer_rounds_than_are_done_are_not_held_against_the_server(resolver: Resolver) -> None:
    async def talk(peer: Peer) -> None:
        await peer.started()
        peer.ask(10, b"SCRAM-SHA-256\0\0")
        nonce = re.search(rb"r=([^,]+)", await peer.heard(b"p"))
        assert nonce is not None
        peer.ask(11, b"r=" + nonce[1] + b"x,s=c2FsdHNhbHRzYWx0,i=1")

    failure = await refused(talk, resolver)
    assert (failure.stage, failure.reason) == (Stage.AUTH, Reason.AUTH)


@pytest.mark.parametrize(
    ("what", "body", "reason"),
    [
        (7, b"", Reason.AUTH),  # GSSAPI
        (99, b"", Reason.AUTH),
        (10, b"SCRAM-SHA-1024\0\0", Reason.AUTH),
        (11, b"r=x,s=c2FsdHNhbHRzYWx0,i=4096", Reason.PROTOCOL),
        (12, b"v=x", Reason.PROTOCOL),
        (5, b"salty", Reason.PROTOCOL),
    ],
)
async def test_what_is_asked_out_of_turn_or_not_done_is_named(
    what: int, body: bytes, reason: Reason, resolver: Resolver
) -> None:
    async def talk(peer: Peer) -> None:
        await peer.started()
        peer.ask(what, body)

    failure = await refused(talk, resolver)
    assert (failure.stage, failure.reason) == (Stage.AUTH, reason)


async def test_nothing_is_believed_that_was_said_before_tls(resolver: Resolver, tmp_path: Path) -> None:
    """CVE-2021-23222: an attacker in between may put answers before the handshake."""

    async def talk(peer: Peer) -> None:
        await peer.reader.readexactly(8)
        peer.writer.write(b"S")
        peer.let_in()

    with pytest.raises(Failure) as caught:
        await logged_in(talk, resolver, tls=ClientTls(TlsSettings(verify=False)))
    assert (caught.value.stage, caught.value.reason) == (Stage.TLS, Reason.PROTOCOL)


async def answers(peer: Peer, *said: tuple[bytes, bytes]) -> None:
    await peer.started()
    peer.let_in()
    await peer.heard(b"Q")
    for kind, body in said:
        peer.say(kind, body)


ONE = struct.pack("!hi", 1, 1) + b"1"


async def test_an_error_leaves_the_session_usable(resolver: Resolver) -> None:
    async def talk(peer: Peer) -> None:
        await answers(peer, (b"E", b"C42P01\0Mno such table\0\0"), (b"Z", b"I"))
        assert await peer.heard(b"Q") == b"SELECT 1\0"
        for kind, body in ((b"T", b""), (b"D", ONE), (b"C", b"SELECT 1\0"), (b"Z", b"I")):
            peer.say(kind, body)
        await peer.heard(b"X")
        peer.writer.close()

    async def steps(session: Session) -> None:
        with pytest.raises(Failure, match="no such table"):
            await session.query("SELECT * FROM nothing")
        assert await session.query("SELECT 1") == [("1",)]
        await session.goodbye(5)
        with pytest.raises(Failure, match="ended"):
            await session.query("SELECT 1")

    await logged_in(talk, resolver, steps)


async def test_an_error_that_ends_the_session_is_told_rather_than_its_end(resolver: Resolver) -> None:
    async def talk(peer: Peer) -> None:
        await answers(peer, (b"E", b"C57P01\0Mterminating\0\0"))
        peer.writer.close()

    failure = await refused(talk, resolver, asked("SELECT 1"))
    assert (failure.stage, failure.reason) == (Stage.QUERY, Reason.STARTING)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([(b"T", b""), (b"D", ONE), (b"D", ONE)], (Stage.QUERY, Reason.TOO_LARGE)),
        ([(b"T", b""), (b"D", ONE), (b"T", b""), (b"D", ONE)], (Stage.QUERY, Reason.TOO_LARGE)),
        ([(b"T", b""), (b"D", b"\0\1")], (Stage.QUERY, Reason.MALFORMED)),
        ([(b"D", ONE)], (Stage.QUERY, Reason.PROTOCOL)),  # a row of nothing
        ([(b"G", b"")], (Stage.QUERY, Reason.PROTOCOL)),  # it wants a copy
    ],
)
async def test_an_answer_that_was_not_asked_for_ends_the_session(
    said: list[tuple[bytes, bytes]], expected: tuple[Stage, Reason], resolver: Resolver
) -> None:
    async def steps(session: Session) -> None:
        try:
            await session.query("SELECT 1")
        finally:
            assert session.closed

    failure = await refused(lambda peer: answers(peer, *said), resolver, steps)
    assert (failure.stage, failure.reason) == expected


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    ("length", "reason"),
    [
        (3, Reason.PROTOCOL),
        (0, Reason.PROTOCOL),
        (-5, Reason.PROTOCOL),
        (-(2**31), Reason.PROTOCOL),
        (2**31 - 1, Reason.TOO_LARGE),
        (MAX_ANSWER_BYTES + 1, Reason.TOO_LARGE),
    ],
)
async def test_a_length_that_cannot_be_is_refused_at_once(
    length: int, reason: Reason, before: bool, resolver: Resolver
) -> None:
    async def talk(peer: Peer) -> None:
        await peer.started()
        if not before:
            peer.let_in()
            await peer.heard(b"Q")
        peer.say(b"N" if before else b"D", b"xxxx", length)

    failure = await refused(talk, resolver, asked("SELECT 1"))
    first = before and length > MAX_FIRST_BYTES  # the letters of another protocol
    assert failure.reason is (Reason.PROTOCOL if first else reason)


async def test_a_flood_is_cut_off_with_memory_flat_and_the_loop_free(resolver: Resolver) -> None:
    async def talk(peer: Peer) -> None:
        await peer.started()
        peer.let_in()
        await peer.heard(b"Q")
        one = b"N" + struct.pack("!i", 5) + b"x"
        while True:
            peer.writer.write(one * 10_000)
            await peer.writer.drain()

    watching = asyncio.create_task(thread_seconds())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    failure = await refused(talk, resolver, asked("SELECT 1"))
    watching.cancel()
    assert (failure.stage, failure.reason) == (Stage.RECEIVE, Reason.TOO_LARGE)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB
    assert (await watching)[0] >= 3

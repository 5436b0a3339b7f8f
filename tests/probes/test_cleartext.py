"""A password that would cross a network as it is: it is not sent, nor what gives it away, and it is said why.

Servers here are on the loopback, as everything in tests is; the client is told that they are elsewhere.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest

from exporter.clients.kafka.connection import BrokerConnection
from exporter.net.cleartext import refuse_cleartext
from exporter.net.stream import Stream
from exporter.probing.probe import SharedClients
from exporter.verdict import Failure, Reason, Stage, Verdict
from tests.clients.kafka.brokers import API, FakeCluster
from tests.probes.doing import Handler, attempt, make, reason, serving, silence

SECRET = "s3cr3t"


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for connection in (Stream, BrokerConnection):
        monkeypatch.setattr(connection, "peer", "10.20.30.40")


class Heard:
    """Answers whatever is said in one way, and notes it."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self.said = b""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self.said += data
            writer.write(self._answer)


@pytest.mark.parametrize("peer", ["10.0.0.1", "8.8.8.8", "fe80::1%eth0", "2a00::1", "", "cache"])
def test_anywhere_but_this_machine_is_a_network(peer: str) -> None:
    with pytest.raises(Failure) as caught:
        refuse_cleartext(peer)
    assert (caught.value.stage, caught.value.reason) == (Stage.AUTH, Reason.NOT_ALLOWED)
    for own in ("127.0.0.1", "127.0.1.1", "::1"):
        refuse_cleartext(own)


@pytest.mark.usefixtures("elsewhere")
async def test_a_redis_password_needs_tls_or_leave(shared: SharedClients) -> None:
    heard = Heard(b"+OK\r\n")
    async with serving(heard) as port:
        outcome = await attempt(make("redis", shared, "127.0.0.1", port, user="monitor", password=SECRET))
        assert (outcome.verdict, reason(outcome)) == (Verdict.UNKNOWN, ("auth", "not_allowed"))
        assert outcome.failure is not None
        assert outcome.failure.detail.endswith("use TLS, or allow_cleartext")
        assert heard.said == b""
        await attempt(make("redis", shared, "127.0.0.1", port, password=SECRET, allow_cleartext=True))
        assert SECRET.encode() in heard.said


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    "way",
    [{"user": "u", "password": SECRET}, {"mechanism": "OAUTHBEARER", "bearer": {"token": SECRET}}],
    ids=["PLAIN", "OAUTHBEARER"],
)
async def test_a_kafka_password_or_token_needs_tls_or_leave(shared: SharedClients, way: dict[str, Any]) -> None:
    cluster = FakeCluster(users={"u": SECRET})
    async with cluster.running():
        for leave in (False, True):
            security = {"protocol": "SASL_PLAINTEXT", "allow_cleartext": leave, **way}
            probe = make("kafka", shared, "127.0.0.1", cluster.port(), security=security)
            outcome = await attempt(probe)
            await probe.close()
            if not leave:
                assert (outcome.verdict, reason(outcome)) == (Verdict.UNKNOWN, ("auth", "not_allowed"))
                assert (cluster.asked[1, API.HANDSHAKE], cluster.asked[1, API.LOGIN]) == (0, 0)
    assert cluster.asked[1, API.HANDSHAKE] == 1


@pytest.mark.usefixtures("elsewhere")
async def test_scram_gives_nothing_away_and_needs_no_leave(shared: SharedClients) -> None:
    cluster = FakeCluster(users={"u": SECRET})
    security = {"protocol": "SASL_PLAINTEXT", "mechanism": "SCRAM-SHA-256", "user": "u", "password": SECRET}
    async with cluster.running():
        probe = make("kafka", shared, "127.0.0.1", cluster.port(), security=security)
        assert (await attempt(probe)).verdict is Verdict.UP
        await probe.close()


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("redis", {"password": "x", "tls": {}, "allow_cleartext": True}),
        ("kafka", {"security": {"allow_cleartext": True}}),
        ("kafka", {"security": {"protocol": "SASL_SSL", "user": "u", "password": "x", "allow_cleartext": True}}),
        (
            "kafka",
            {
                "security": {
                    "protocol": "SASL_PLAINTEXT", "mechanism": "SCRAM-SHA-512", "user": "u", "password": "x",
                    "allow_cleartext": True,
                }
            },
        ),
    ],
)  # fmt: skip
async def test_leave_that_is_not_needed_is_refused(shared: SharedClients, kind: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="allow_cleartext is for"):
        make(kind, shared, "127.0.0.1", 1, **settings)


# --- PostgreSQL ---------------------------------------------------------------------------------------------------------

ASKS = {"none": (0, b""), "password": (3, b""), "md5": (5, b"salt"), "scram-sha-256": (10, b"SCRAM-SHA-256\0\0")}
METHODS = tuple(ASKS)


def asking(method: str, heard: list[bytes]) -> Handler:
    """A PostgreSQL that wants one login, and notes what it is given."""
    code, rest = ASKS[method]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(int.from_bytes(await reader.readexactly(4)) - 4)
        body = struct.pack("!i", code) + rest
        writer.write(b"R" + struct.pack("!i", len(body) + 4) + body)
        heard.append(await reader.read(1))
        await silence(reader, writer)

    return talk


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wanted", [None, *((name,) for name in METHODS), ("scram-sha-256", "md5")], ids=str)
async def test_a_postgres_gets_the_logins_that_are_wanted_of_it(
    shared: SharedClients, method: str, wanted: tuple[str, ...] | None
) -> None:
    """The words are libpq's. The password itself is sent over TLS alone, whatever is wanted."""
    heard: list[bytes] = []
    async with serving(asking(method, heard)) as port:
        settings = {"user": "u", "database": "d", "password": SECRET, "require_auth": wanted}
        outcome = await attempt(make("postgres", shared, "127.0.0.1", port, **settings), timeout=0.5)
        await asyncio.sleep(0.01)
    if (wanted is None or method in wanted) and method != "password":
        assert reason(outcome) == ("auth", "timeout")  # it took part, and waits
        assert heard == [b""] if method == "none" else heard == [b"p"]
    else:
        assert (outcome.verdict, reason(outcome)) == (Verdict.UNKNOWN, ("auth", "not_allowed"))
        assert heard == [b""]
        assert SECRET not in str(outcome.failure)


async def test_a_postgres_that_asks_in_one_way_and_then_in_another_is_held_to_both(shared: SharedClients) -> None:
    heard: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(int.from_bytes(await reader.readexactly(4)) - 4)
        for code, rest in (ASKS["scram-sha-256"], ASKS["md5"]):
            body = struct.pack("!i", code) + rest
            writer.write(b"R" + struct.pack("!i", len(body) + 4) + body)
        heard.append(await reader.read())

    async with serving(talk) as port:
        settings = {"user": "u", "database": "d", "password": SECRET, "require_auth": ["scram-sha-256"]}
        outcome = await attempt(make("postgres", shared, "127.0.0.1", port, **settings))
        await asyncio.sleep(0.01)
    assert (outcome.verdict, reason(outcome)) == (Verdict.UNKNOWN, ("auth", "not_allowed"))
    assert b"md5" not in b"".join(heard)

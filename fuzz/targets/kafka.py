"""What Kafka's brokers answer: frames, every struct that is read, what is made of them, and logins."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import cast

from aiokafka.protocol.admin import ApiVersionRequest, SaslAuthenticateRequest
from aiokafka.protocol.fetch import FetchRequest

from exporter.clients.kafka import sasl
from exporter.clients.kafka.ages import Ages
from exporter.clients.kafka.brokers import Brokers
from exporter.clients.kafka.canary import Canary, Flight, _why_not
from exporter.clients.kafka.commits import MANY_GROUPS, CommitsRequest, Wanted, fetch_commits
from exporter.clients.kafka.connection import Broker, BrokerConnection
from exporter.clients.kafka.errors import error_name, partition_error_of_code
from exporter.clients.kafka.groups import Group, describe_groups, list_groups
from exporter.clients.kafka.hidden import HiddenTopics
from exporter.clients.kafka.layout import Layout, Partition, read_layout, size_of
from exporter.clients.kafka.minimums import Minimums
from exporter.clients.kafka.offsets import LogOffsets, fetch_offsets_since
from exporter.clients.kafka.requests import MetadataRequest
from exporter.clients.kafka.shares import fetch_shared
from exporter.clients.kafka.versions import SPOKEN
from exporter.net.phases import NoPhases
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage
from fuzz.model import Finding, Target
from fuzz.wires import Wire, on_loop

__all__ = ["QUESTIONS", "TARGETS"]

_LATE = 2.0**40
"""A loop time that never comes."""

_TOPICS = {"orders": (0, 1, 2), "audit": (0,)}
_GROUPS = ("billing", "ledger")


def _any(_name: str) -> bool:
    return True


async def _layout(broker: Broker) -> object:
    answer = await broker.ask(MetadataRequest())
    found = read_layout(answer, _any, "orders")
    return found, size_of(answer), LogOffsets().failures(found)


async def _offsets(broker: Broker) -> object:
    found = LogOffsets()
    await found.ask(broker, _TOPICS, _any)
    ages = Ages()
    ages.observe(100.0, {Partition("orders", 0): [5]}, found.ends, found.beginnings)
    return found, found.failures(Layout({1: Address("localhost", 9092)})), ages.age(100.0, Partition("orders", 0), 5)


async def _since(broker: Broker) -> object:
    return await fetch_offsets_since(broker, {Partition("orders", 0): 1_000, Partition("audit", 0): 1}, 2**41)


async def _commits(broker: Broker) -> object:
    many = await broker.offers(CommitsRequest.API_KEY, MANY_GROUPS)
    return await fetch_commits(broker, _GROUPS if many else _GROUPS[:1], Wanted.of(_TOPICS))


async def _minimums(broker: Broker) -> object:
    minimums = Minimums()
    made: dict[str, bytes | None] = dict.fromkeys(_TOPICS)
    await minimums.ask(broker, 0.0, minimums.due(0.0, made, {}), made)
    return [minimums.least(topic) for topic in _TOPICS], minimums.unknown(len(_TOPICS))


def _described(kind: str) -> Callable[[Broker], Awaitable[object]]:
    return lambda broker: describe_groups(broker, kind, _GROUPS, _TOPICS)


async def _versions(broker: Broker) -> object:
    answer = await broker.ask(ApiVersionRequest())
    return {key: (low, high) for key, low, high in answer.api_versions or ()}


async def _listed(broker: Broker) -> object:
    return await list_groups(broker, _any)


async def _written(broker: Broker) -> object:
    flight = Flight()
    return await Canary("orders")._write(broker, {0: b"value", 1: b"value"}, 1.0, flight), flight


async def _fetched(broker: Broker) -> object:
    """Fetch once: a canary is patient, and asks again and again for what is not there."""
    answer = await broker.ask(FetchRequest(250, 1, 1024, 0, [("orders", [(0, 0, 1024)])]))
    return [
        _why_not(records, 0, b"value", f"{topic}/{number}")
        for topic, partitions in answer.topics or ()
        for number, _, *_, records in partitions or ()
        if records
    ]


async def _shared(broker: Broker) -> object:
    return await fetch_shared(broker, _GROUPS, _TOPICS)


async def _login(broker: Broker) -> object:
    await sasl.log_in(broker.ask, "PLAIN", "user", "password")
    return None


async def _hidden(broker: Broker) -> object:
    """Ask for topics that were listed before, of which one is not any more; then what it is of a group."""
    others, topics = cast(Brokers, SimpleNamespace(left=lambda: {1: broker})), HiddenTopics()
    await topics.seek(others, Layout({}, topics=_TOPICS), _LATE)
    group = Group("billing", elsewhere={"orders": [0, 7], "nobody's": [1]}, commits={"audit": {0: 5}}, committed=True)
    await topics.seek(others, Layout({}), _LATE, ["expected"], "canary")
    told = topics.mark({"billing": group}, Layout({}), _any, whole=True)
    if topics.partitions and topics.failure is None:
        raise Finding("partitions of topics that are not told as hidden")
    return told, group, topics.partitions, topics.failure, topics.hides_canary


async def _authenticated(broker: Broker) -> object:
    return (await broker.ask(SaslAuthenticateRequest(b"token"))).sasl_auth_bytes


QUESTIONS: dict[str, tuple[int, Callable[[Broker], Awaitable[object]]]] = {
    "metadata": (3, _layout),
    "offsets": (2, _offsets),
    "since": (2, _since),
    "commits": (9, _commits),
    "classic": (15, _described("classic")),
    "consumer": (69, _described("consumer")),
    "share": (77, _described("share")),
    "listed": (16, _listed),
    "shared": (90, _shared),
    "minimums": (32, _minimums),
    "versions": (18, _versions),
    "written": (0, _written),
    "login": (17, _login),
    "authenticated": (36, _authenticated),
    "fetched": (1, _fetched),
    "hidden": (3, _hidden),
}
"""What is asked, with the API key of its request. The first byte of an input says which, the second in which version."""


def _answers(data: bytes) -> object:
    """Ask something of a broker whose every answer is the rest of the input, with the number of the request before it."""
    if len(data) < 2:
        return None
    key, question = list(QUESTIONS.values())[data[0] % len(QUESTIONS)]
    versions = SPOKEN[key][1]
    version = versions[data[1] % len(versions)]
    everything = {each: (0, max(spoken)) for each, (_, spoken) in SPOKEN.items()} | {key: (version, version)}
    return on_loop(_ask(question, everything, lambda number: _framed(number + data[2:])))


def _frames(data: bytes) -> object:
    """Ask for metadata of what answers with bytes of its own choice, in pieces of the length that the first one says."""
    if not data:
        return None
    return on_loop(_ask(_layout, {3: (1, 1)}, lambda _: data[1:], max(1, data[0])))


async def _ask(
    question: Callable[[Broker], Awaitable[object]],
    versions: dict[int, tuple[int, int]],
    answer: Callable[[bytes], bytes],
    piece: int = 1 << 20,
) -> object:
    connection = BrokerConnection(Address("localhost", 9092))
    asked = 0

    def written(request: bytes) -> None:
        nonlocal asked
        asked += 1
        said = answer(request[8:12]) if asked <= _MOST_QUESTIONS else b""
        for at in range(0, len(said), piece):
            connection.data_received(said[at : at + piece])
        if connection._waiting:  # for more than there is
            connection.connection_lost(None)

    connection.connection_made(Wire(written))
    connection._versions = versions  # as agreed on: who says it is another question of these

    async def connect(_phases: object) -> BrokerConnection:
        return connection

    try:
        return await question(Broker(connect, lambda: False, "", NoPhases()))
    finally:
        connection.close()


_MOST_QUESTIONS = 4


def _framed(frame: bytes) -> bytes:
    return len(frame).to_bytes(4, "big") + frame


def _records(data: bytes) -> object:
    return _why_not(data, 0, b"value", "orders/0")


def _codes(data: bytes) -> object:
    code = int.from_bytes(data[:2], "big", signed=True)
    return error_name(code), partition_error_of_code(code)


def _sasl(data: bytes) -> object:
    """Read lines as the challenges of a login by SCRAM, and all of it as OAUTHBEARER's."""
    login = sasl.Scram("SCRAM-SHA-256", "user", "password", nonce="fuzz")
    login.step(b"")
    challenge, _, proof = data.partition(b"\n")
    _check_rounds(challenge)
    said = login.step(challenge)
    login.step(proof)
    return said


def _oauthbearer(data: bytes) -> object:
    login = sasl.OAuthBearer("token")
    login.step(b"")
    return login.step(data)


_ROUNDS = re.compile(rb"[0-9]{2,9}")


def _check_rounds(challenge: bytes) -> None:
    """Pass over what asks for many rounds of hashing and may: each costs what it is meant to."""
    if any(64 < int(rounds) <= sasl.MAX_ITERATIONS for rounds in _ROUNDS.findall(challenge)):
        raise Failure(Stage.AUTH, Reason.PROTOCOL, "many rounds")


_MODULE = "exporter.clients.kafka."

TARGETS = (
    Target(
        "kafka-answers",
        _answers,
        tuple(
            _MODULE + name
            for name in (
                "ages", "commits", "errors", "groups", "hidden", "layout", "minimums", "offsets", "requests", "shares",
                "canary", "versions",
            )
        ),
        also=("aiokafka.protocol",),
    ),
    Target("kafka-frames", _frames, (f"{_MODULE}connection",), also=("aiokafka.protocol",)),
    Target("kafka-records", _records, (f"{_MODULE}canary",), also=("aiokafka.record",)),
    Target("kafka-login", _sasl, (f"{_MODULE}sasl",), also=("scramp",)),
    Target("kafka-token", _oauthbearer, (f"{_MODULE}sasl",)),
    Target("kafka-codes", _codes, (f"{_MODULE}errors",)),
)  # fmt: skip

"""Brokers that speak the real protocol and do what a test says, for what a real broker cannot be brought to do."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.protocol.admin import (
    ApiVersionRequest,
    DescribeConfigsRequest,
    DescribeGroupsRequest,
    SaslAuthenticateRequest,
    SaslHandShakeRequest,
)
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.protocol.produce import ProduceRequest

from exporter.clients.kafka.requests import (
    CLUSTER_DESCRIBE,
    ConsumerGroupDescribeRequest,
    ListGroupsRequest,
    MetadataRequest,
    OffsetFetchRequest,
    ShareGroupDescribeRequest,
    ShareGroupOffsetsRequest,
)
from tests.net.servers import Served, serve_raw

__all__ = ["API", "FakeCluster", "FakeGroup", "FakePartition"]


class API:
    """Keys of the requests that are scripted."""

    PRODUCE = 0
    FETCH = 1
    OFFSETS = 2
    METADATA = 3
    COMMITS = 9
    DESCRIBE = 15
    LIST = 16
    HANDSHAKE = 17
    VERSIONS = 18
    LOGIN = 36
    DESCRIBE_CONSUMER = 69
    DESCRIBE_SHARE = 77
    SHARED = 90
    CONFIGS = 32


_SALT = b"salt of sixteen "

_REQUESTS = {
    request.API_KEY: request
    for request in (
        ProduceRequest,
        FetchRequest,
        OffsetRequest,
        MetadataRequest,
        OffsetFetchRequest,
        DescribeGroupsRequest,
        ListGroupsRequest,
        SaslHandShakeRequest,
        ApiVersionRequest,
        SaslAuthenticateRequest,
        ConsumerGroupDescribeRequest,
        ShareGroupDescribeRequest,
        ShareGroupOffsetsRequest,
        DescribeConfigsRequest,
    )
}


@dataclass
class FakePartition:
    """A partition; `error` is what its leader answers for it, `times` when its records were written, in ms since 1970,
    and `stable` where an open transaction begins.
    """

    end: int = 0
    leader: int = 1
    beginning: int = 0
    error: int = 0
    metadata_error: int = 0
    replicas: list[int] = field(default_factory=lambda: [1])
    in_sync: list[int] = field(default_factory=lambda: [1])
    times: Sequence[int] = ()
    stable: int | None = None

    def offset(self, which: int, isolation: int) -> int:
        """What ListOffsets answers: -1 is the end, -2 the beginning, anything else a time."""
        if which == -1:
            return self.end if self.stable is None or not isolation else self.stable
        if which == -2:
            return self.beginning
        since = (number for number, written in enumerate(self.times) if number >= self.beginning and written >= which)
        return next(since, -1)


@dataclass
class FakeGroup:
    """A group, with the errors its coordinator answers."""

    commits: dict[tuple[str, int], int] = field(default_factory=dict)
    left: dict[tuple[str, int], int] = field(default_factory=dict)
    """Of a share group, what its coordinator counts; its commits are where it starts."""
    coordinator: int = 1
    state: str = "Stable"
    members: int = 1
    kind: str = "consumer"
    type: str = "Classic"
    describe_error: int = 0
    fetch_error: int = 0
    metadata: str = ""
    """What it says beside each commit."""
    faults: dict[tuple[str, int], int] = field(default_factory=dict)
    assigned: dict[str, list[int]] = field(default_factory=dict)
    assignment: bytes | None = None
    """What the first member has been given; default: `assigned`."""


@dataclass
class FakeCluster:
    """What the brokers say; change it while they run."""

    topics: dict[str, dict[int, FakePartition]] = field(default_factory=dict)
    groups: dict[str, FakeGroup] = field(default_factory=dict)
    topic_errors: dict[str, int] = field(default_factory=dict)
    nodes: dict[int, tuple[str, int]] = field(default_factory=dict)
    versions: dict[int, tuple[int, int]] = field(
        default_factory=lambda: {
            0: (3, 9),
            1: (4, 12),
            2: (1, 9),
            3: (0, 12),
            9: (1, 8),
            15: (0, 5),
            16: (0, 5),
            17: (0, 1),
            18: (0, 3),
            36: (0, 2),
            69: (0, 1),
            32: (1, 4),
            77: (1, 1),
            90: (0, 1),
        }
    )
    hangs: set[tuple[int, int]] = field(default_factory=set)
    """(node, API key) that is never answered."""
    hung: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once such a request has come."""
    batches: dict[tuple[str, int], list[bytes]] = field(default_factory=dict)
    """What was written, one batch of one record after the other: its offset is its place."""
    refuses: dict[tuple[str, int], int] = field(default_factory=dict)
    """Error codes with which partitions answer to a write."""
    serves: Callable[[bytes], bytes] = bytes
    """What is made of a batch that is fetched."""
    raw: dict[tuple[int, int], bytes] = field(default_factory=dict)
    """Bytes to answer with instead, length prefix included."""
    closes: set[tuple[int, int]] = field(default_factory=set)
    """(node, API key) at which the connection is closed."""
    rotates: tuple[int, dict[str, str]] | None = None
    """API key at which the users become others."""
    errors: dict[tuple[int, int], int] = field(default_factory=dict)
    """Error code that the whole answer carries."""
    identities: dict[str, bytes] = field(default_factory=dict)
    """Of topics that were made anew."""
    minimums: dict[str, int] = field(default_factory=dict)
    """Replicas that topics want in sync; 1 by default."""
    configs_refused: set[str] = field(default_factory=set)
    """Topics whose configuration the user may not describe."""
    delays: dict[tuple[int, int], float] = field(default_factory=dict)
    """(node, API key) that is answered after so many seconds, one after the other."""
    serves_all: bool = False
    """Whether a group may be asked for all that it has committed."""
    strays: bool = False
    """Whether answers tell of groups and partitions that were not asked for."""
    omits: set[tuple[str, int]] = field(default_factory=set)
    """Partitions whose offsets are left out of answers."""
    allowed: int = CLUSTER_DESCRIBE
    """What the user may do with the cluster."""
    users: dict[str, str] = field(default_factory=dict)
    mechanisms: list[str] = field(default_factory=lambda: ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
    iterations: int = 4096
    impostor: bool = False
    """Whether SCRAM ends with a signature that proves nothing."""
    deleted: set[str] = field(default_factory=set)
    """Groups that are listed, and gone once they are asked for."""
    coordinators: dict[str, int] = field(default_factory=dict)
    """Who says of a group that is not there that it is gone; others say that they are not its coordinator."""
    away: dict[str, int] = field(default_factory=dict)
    """Groups that nobody lists, and what every broker says of them."""
    on_peer: Callable[[Any], None] | None = None
    """Is told the client's certificate of each connection."""
    asked: Counter[tuple[int, int]] = field(default_factory=Counter)
    together: list[int] = field(default_factory=list)
    """Of how many groups each request asked for the commits that could ask for many."""
    served: dict[int, Served] = field(default_factory=dict)

    @asynccontextmanager
    async def running(self, nodes: int = 1, tls: ssl.SSLContext | None = None) -> AsyncIterator[FakeCluster]:
        """Serve this many brokers, numbered from 1."""
        async with AsyncExitStack() as stack:
            for node in range(1, nodes + 1):
                self.served[node] = await stack.enter_async_context(serve_raw(self._talk(node), tls))
                self.nodes[node] = ("127.0.0.1", self.served[node].port)
            yield self

    def port(self, node: int = 1) -> int:
        """Where a node listens."""
        return self.served[node].port

    def connections(self, node: int = 1) -> int:
        """How many connections a node has taken."""
        return self.served[node].connections

    def _talk(self, node: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            login: list[Any] = []
            if self.on_peer is not None:
                self.on_peer(writer.get_extra_info("peercert"))
            while True:
                size = int.from_bytes(await reader.readexactly(4), "big")
                frame = await reader.readexactly(size)
                key, version = int.from_bytes(frame[:2], "big"), int.from_bytes(frame[2:4], "big")
                self.asked[node, key] += 1
                if self.rotates is not None and self.rotates[0] == key:
                    self.users = self.rotates[1]
                if (node, key) in self.closes:
                    return
                if (node, key) in self.hangs:
                    self.hung.set()
                    await asyncio.Event().wait()
                if (node, key) in self.raw:
                    writer.write(self.raw[node, key])
                    await writer.drain()
                    continue
                await asyncio.sleep(self.delays.get((node, key), 0))
                answer = self._answer(node, key, version, frame, login)
                correlation = int.from_bytes(frame[4:8], "big")
                tags = b"\0" if answer.SCHEMA.names[-1] == "tags" else b""
                body = correlation.to_bytes(4, "big") + tags + answer.encode()
                writer.write(len(body).to_bytes(4, "big") + body)
                await writer.drain()

        return talk

    def _answer(self, node: int, key: int, version: int, frame: bytes, login: list[Any]) -> Any:
        kind: Any = _REQUESTS[key]
        structs = getattr(kind, "STRUCTS", None) or kind._CLASSES
        request_type = next(struct for struct in structs if version == struct.API_VERSION)
        client_length = int.from_bytes(frame[8:10], "big")
        assert frame[10 : 10 + client_length] == b"hafnium-exporter"
        request = request_type.decode(frame[10 + client_length + request_type.FLEXIBLE_VERSION :])
        makers: dict[int, Callable[[], dict[str, Any]]] = {
            API.VERSIONS: lambda: {"api_versions": [(api, *span) for api, span in self.versions.items()]},
            API.METADATA: lambda: self._metadata(version),
            API.LIST: lambda: {"groups": self._listed(node, version)},
            API.DESCRIBE: lambda: {"groups": [self._described(node, name) for name in request.groups]},
            API.DESCRIBE_CONSUMER: lambda: {"groups": [self._of_new_protocol(node, name, 2) for name in request.groups]},
            API.DESCRIBE_SHARE: lambda: {"groups": [self._of_new_protocol(node, name, 1) for name in request.groups]},
            API.SHARED: lambda: {"groups": [self._shared(name, version) for name, *_ in request.groups]},
            API.CONFIGS: lambda: self._configs(request, version),
            API.COMMITS: lambda: self._commits(request, version),
            API.OFFSETS: lambda: self._offsets(node, request),
            API.PRODUCE: lambda: self._produced(request),
            API.FETCH: lambda: self._fetched(request),
            API.HANDSHAKE: lambda: self._handshake(request, login),
            API.LOGIN: lambda: self._login(request, login),
        }
        fields = {
            "throttle_time_ms": 0,
            "session_lifetime_ms": 0,
            "error_code": self.errors.get((node, key), 0),
            "tags": {},
            **makers[key](),
        }
        names = request_type.RESPONSE_TYPE.SCHEMA.names
        return request_type.RESPONSE_TYPE(**{name: fields.get(name) for name in names})

    def _metadata(self, version: int) -> dict[str, Any]:
        offline: tuple[list[int], ...] = ([],) if version >= 5 else ()
        epoch = (4,) if version >= 8 else ()
        allowed = (0,) if version >= 8 else ()
        tags: tuple[dict[int, bytes], ...] = ({},) if version >= 9 else ()
        topics = [
            (
                self.topic_errors.get(name, 0),
                name,
                *((self.identities.get(name, name.encode()[:16].ljust(16)),) if version >= 10 else ()),
                False,
                [
                    (item.metadata_error, number, item.leader, *epoch, item.replicas, item.in_sync, *offline, *tags)
                    for number, item in partitions.items()
                ],
                *allowed,
                *tags,
            )
            for name, partitions in self.topics.items()
        ]
        brokers = [(node, host, port, None, *tags) for node, (host, port) in self.nodes.items()]
        return {
            "brokers": brokers,
            "cluster_id": "fake",
            "controller_id": 1,
            "topics": topics,
            "cluster_authorized_operations": self.allowed,
        }

    def _configs(self, request: Any, version: int) -> dict[str, Any]:
        """Refuses topics of `configs_refused`, as where the right is missing."""
        assert version in {1, 2}
        resources = []
        for kind, topic, names in request.resources:
            assert (kind, names) == (2, ["min.insync.replicas"])
            refused = topic in self.configs_refused
            least = str(self.minimums.get(topic, 1))
            entries: list[Any] = [] if refused else [("min.insync.replicas", least, False, 5, False, [])]
            resources.append((29 if refused else 0, None, kind, topic, entries))
        return {"resources": resources}

    def _shared(self, name: str, version: int) -> tuple[Any, ...]:
        group = self.groups[name]
        if name in self.deleted:
            return (name, [], 69, None, {})
        by_topic: dict[str, list[tuple[Any, ...]]] = {}
        for (topic, number), start in group.commits.items():
            left = (group.left.get((topic, number), -1),) if version else ()
            error = group.faults.get((topic, number), 0)
            by_topic.setdefault(topic, []).append((number, start, 0, *left, error, None, {}))
        topics: list[Any] = [(topic, b"i" * 16, partitions, {}) for topic, partitions in by_topic.items()]
        return ("stray" if self.strays else name, topics, group.fetch_error, None, {})

    def _listed(self, node: int, version: int) -> list[tuple[Any, ...]]:
        listed = [(name, of) for name, of in self.groups.items() if of.coordinator == node and name not in self.away]
        more = version >= 5
        return [(name, group.kind, *((group.state, group.type, {}) if more else ())) for name, group in listed]

    def _absent(self, node: int, name: str) -> int | None:
        """Return what a node says of a group that it has not, None for one that it has."""
        group = self.groups.get(name)
        if group is not None and name not in self.deleted:
            return self.away.get(name) or (None if group.coordinator == node else 16)
        keeps = self.coordinators.get(name, group.coordinator if group is not None else 0) == node
        return 69 if keeps else 16

    def _of_new_protocol(self, node: int, name: str, assignments: int) -> tuple[Any, ...]:
        if (code := self._absent(node, name)) is not None:
            return (code, "not here", name, "", 0, 0, "", [], 0, {})
        group = self.groups[name]
        given: Any = ([(bytes(16), topic, numbers, {}) for topic, numbers in group.assigned.items()], {})
        instance = (None,) if assignments == 2 else ()
        pattern = (None,) if assignments == 2 else ()
        members = [
            (f"member-{number}", *instance, None, 1, "client", "/127.0.0.1", [], *pattern, *[given] * assignments, {})
            for number in range(group.members)
        ]
        return (group.describe_error, None, name, group.state, 1, 1, "uniform", members, 0, {})

    def _described(self, node: int, name: str) -> tuple[Any, ...]:
        if (code := self._absent(node, name)) is not None:
            return (0, name, "Dead", "", "", []) if code == 69 else (code, name, "", "", "", [])
        group = self.groups[name]
        given = group.assignment
        if given is None and group.assigned:
            given = ConsumerProtocolMemberAssignment(0, list(group.assigned.items()), b"").encode()
        members = [
            (f"member-{number}", "client", "/127.0.0.1", b"", given or b"" if not number else b"")
            for number in range(group.members)
        ]
        name = "stray" if self.strays else name
        return (group.describe_error, name, group.state, group.kind, "range", members)

    def _commits(self, request: Any, version: int) -> dict[str, Any]:
        if version < 8:
            topics, error = self._committed(request.consumer_group, request.topics)
            return {"topics": topics, "error_code": error}
        groups: list[Any] = []
        self.together.append(len(request.groups))
        for name, asked, _ in request.groups:
            topics, error = self._committed(name, [topic[:2] for topic in asked] if asked is not None else None)
            tagged: list[Any] = [
                (topic, [(n, at, 4, said, code, {}) for n, at, said, code in found], {}) for topic, found in topics
            ]
            groups.append(("stray" if self.strays else name, tagged, error, {}))
        return {"groups": groups}

    def _committed(self, name: str, asked: Sequence[Any] | None) -> tuple[list[Any], int]:
        group = self.groups[name]
        if asked is None:
            assert self.serves_all, "asking for all partitions breaks some brokers"
            asked = [(topic, [n for of, n in group.commits if of == topic]) for topic in {of for of, _ in group.commits}]
        if group.fetch_error:
            return [], group.fetch_error
        found = [
            (
                topic,
                [(n, group.commits.get((topic, n), -1), group.metadata, group.faults.get((topic, n), 0)) for n in numbers],
            )
            for topic, numbers in asked
        ]
        return found, 0

    def _offsets(self, node: int, request: Any) -> dict[str, Any]:
        def one(topic: str, number: int, which: int) -> tuple[int, int, int, int]:
            partition = self.topics[topic][number]
            error = partition.error or (6 if partition.leader != node else 0)
            offset = partition.offset(which, getattr(request, "isolation_level", 0))
            written = partition.times[offset] if which >= 0 and offset >= 0 else -1
            return (number, error, written, -1 if error else offset)

        topics = [
            (topic, [one(topic, *asked) for asked in partitions if (topic, asked[0]) not in self.omits])
            for topic, partitions in request.topics
        ]
        if self.strays:
            topics.append(("stray", [(0, 0, -1, 5)]))
        return {"topics": topics}

    def _produced(self, request: Any) -> dict[str, Any]:
        def one(topic: str, number: int, batch: bytes) -> tuple[int, int, int, int]:
            if code := self.refuses.get((topic, number), 0):
                return (number, code, -1, -1)
            written = self.batches.setdefault((topic, number), [])
            written.append(len(written).to_bytes(8, "big") + batch[8:])
            return (number, 0, len(written) - 1, -1)

        topics = [
            (topic, [one(topic, *asked) for asked in partitions if (topic, asked[0]) not in self.omits])
            for topic, partitions in request.topics
        ]
        if self.strays:
            topics.append(("stray", [(0, 0, 5, -1)]))
        return {"topics": topics}

    def _fetched(self, request: Any) -> dict[str, Any]:
        def one(topic: str, number: int, offset: int) -> tuple[Any, ...]:
            written = self.batches[topic, number]
            return (number, 0, len(written), len(written), [], self.serves(written[offset]))

        topics = [(topic, [one(topic, *asked[:2]) for asked in partitions]) for topic, partitions in request.topics]
        if self.strays:
            topics.append(("stray", [(0, 0, 1, 1, [], b"stray")]))
        return {"topics": topics}

    def _handshake(self, request: Any, login: list[Any]) -> dict[str, Any]:
        login.append(request.mechanism)
        return {"error_code": 0 if request.mechanism in self.mechanisms else 33, "enabled_mechanisms": self.mechanisms}

    def _login(self, request: Any, login: list[Any]) -> dict[str, Any]:
        refused = {"error_code": 58, "error_message": "Authentication failed", "sasl_auth_bytes": b""}
        if login[0] == "PLAIN":
            _, user, password = request.sasl_auth_bytes.decode().split("\0")
            right = self.users.get(user) == password
            return {"error_message": None, "sasl_auth_bytes": b""} if right else refused
        digest = "sha256" if login[0].endswith("256") else "sha512"
        if len(login) == 1:
            bare = request.sasl_auth_bytes.decode().removeprefix("n,,")
            user, nonce = (part[2:] for part in bare.split(","))
            first = f"r={nonce}server,s={base64.b64encode(_SALT).decode()},i={self.iterations}"
            login += [user.replace("=2C", ",").replace("=3D", "="), bare, first]
            return {"error_message": None, "sasl_auth_bytes": first.encode()}
        _, user, bare, first = login
        final, proof = request.sasl_auth_bytes.decode().rsplit(",p=", 1)
        salted = hashlib.pbkdf2_hmac(digest, self.users.get(user, "").encode(), _SALT, self.iterations)
        signed = f"{bare},{first},{final}".encode()
        key = hmac.digest(salted, b"Client Key", digest)
        signature = hmac.digest(hashlib.new(digest, key).digest(), signed, digest)
        if bytes(a ^ b for a, b in zip(key, signature, strict=True)) != base64.b64decode(proof):
            return refused
        server = hmac.digest(hmac.digest(salted, b"Server Key", digest), signed, digest)
        verifier = base64.b64encode(b"impostor" if self.impostor else server)
        return {"error_message": None, "sasl_auth_bytes": b"v=" + verifier}

"""One broker over one connection: framing, phases, and requests whose answers come in order.

The message formats are aiokafka's. Its client is not used: it hides why a connection failed behind a log line, refreshes
metadata in the background, resolves names in threads, and believes whatever length a peer announces.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Self, TypeVar, cast

from aiokafka.protocol.admin import ApiVersionRequest

from exporter.clients.kafka import sasl
from exporter.clients.kafka.errors import failure_of_code
from exporter.clients.kafka.versions import BEFORE_AGREEING, prepare
from exporter.net.cleartext import refuse_cleartext
from exporter.net.dial import dial, start_tls
from exporter.net.errors import failure_of, timeout_reason
from exporter.net.phases import Phases, timed
from exporter.net.referrals import Referrals
from exporter.net.resolver import Resolver
from exporter.net.tls import ClientTls
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage

__all__ = ["MAX_ANSWER_BYTES", "Access", "Broker", "BrokerConnection"]

T = TypeVar("T")

MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""Longest answer that is read: the metadata of some 80,000 partitions, half a second's decoding."""

_ANY_ANSWER_BYTES = 100 * 1024 * 1024
"""A longer announcement is not Kafka's at all: the text `HTTP` reads as 1.2 GB."""

_THREAD_BYTES = 32 * 1024
"""Answers longer than this are decoded in a thread: 32 KiB take some 8 ms, and the event loop has no more."""

_MOST_OPENED = 3
"""Connections to one broker that are opened in a reading, where it ends them; none after one that cannot be opened."""

_CLIENT_ID = "hafnium-exporter"


@dataclass(frozen=True, slots=True)
class Access:
    """How to get into a cluster.

    Attributes:
        resolver: Names to addresses.
        password: Gives the password, or the token, for a login; raises `Failure` where it cannot be had.
        tls: Where the brokers speak TLS; asked at each new connection, so that rotated files are used.
        mechanism: SASL mechanism, where a login is wanted.
        user: Its user; empty for OAUTHBEARER.
        referrals: Where brokers may be that metadata names.
        allow_cleartext: A password or token may cross a network as it is.
    """

    resolver: Resolver
    password: Callable[[], Awaitable[str]] = field(repr=False)
    tls: ClientTls | None = None
    mechanism: str | None = None
    user: str = ""
    referrals: Referrals = field(default_factory=Referrals, repr=False)
    allow_cleartext: bool = False


class BrokerConnection(asyncio.Protocol):
    """An open connection. Once anything goes wrong on it, or a waiting request is cancelled, it is closed for good.

    An answer that is too large fails its own request alone: it is passed over, and what else was asked is answered.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._stage = Stage.AUTH
        self._transport: asyncio.Transport | None = None
        self._failure: Failure | None = None
        self._buffer = bytearray()
        self._passed_over = 0
        self._waiting: deque[asyncio.Future[bytes]] = deque()
        self._correlation = 0
        self._versions = BEFORE_AGREEING

    @classmethod
    async def open(cls, address: Address, access: Access, phases: Phases) -> Self:
        """Resolve, connect, speak TLS, agree on versions and log in. Where to, the access's referrals have a say in.

        Raises:
            Failure: What went wrong, in the stage that it went wrong in.
        """
        connection = cls(address)
        try:
            await connection._connect(access, phases)
            if access.tls is not None:
                context = await access.tls.context()
                await connection._start_tls(context, access.tls.server_name or address.host, phases)
            with timed(phases, Stage.AUTH):
                await connection._agree()
                if access.mechanism in sasl.CLEARTEXT and access.tls is None and not access.allow_cleartext:
                    refuse_cleartext(connection.peer)
                if access.mechanism is not None:
                    await sasl.log_in(connection.ask, access.mechanism, access.user, await access.password())
        except BaseException as error:
            connection.close()
            found = failure_of(error, phases.stage) if isinstance(error, OSError) else None
            if found is None:
                raise
            raise found from error
        connection._stage = phases.stage = Stage.QUERY
        return connection

    @property
    def alive(self) -> bool:
        """Whether requests may be sent."""
        return self._failure is None

    @property
    def peer(self) -> str:
        """The IP address at the other end; empty where nobody is."""
        name = self._transport.get_extra_info("peername") if self._transport is not None else None
        return str(name[0]) if name else ""

    async def ask(self, request: Any) -> Any:
        """Send a request of `aiokafka.protocol`, in the newest version both sides speak; return the answer.

        Raises:
            Failure: The connection broke, the broker does not speak the request, or the answer cannot be read. Error codes
                inside the answer are left to the caller.
        """
        prepared = prepare(request, self._versions, self._stage)
        self._correlation = correlation = (self._correlation + 1) % 2**31
        header = prepared.build_request_header(correlation_id=correlation, client_id=_CLIENT_ID)
        frame = await self._exchange(header.encode() + prepared.encode())
        try:
            if len(frame) > _THREAD_BYTES:
                return await asyncio.to_thread(_decode, prepared, correlation, frame)
            return _decode(prepared, correlation, frame)
        except (ValueError, TypeError, struct.error):
            failure = Failure(self._stage, Reason.MALFORMED, f"the answer to {type(request).__name__} cannot be read")
        except _OutOfOrderError:
            failure = Failure(self._stage, Reason.PROTOCOL, "the answer is to another request")
        self.close(failure)
        raise failure

    def offers(self, key: int, version: int) -> bool:
        """Say whether the broker takes a request in this version, by the request's key."""
        lowest, highest = self._versions.get(key, (0, -1))
        return lowest <= version <= highest

    def close(self, failure: Failure | None = None) -> None:
        """Close at once; what is waiting fails. Closing again does nothing."""
        if self._failure is not None:
            return
        self._failure = failure or Failure(self._stage, Reason.CONNECTION_CLOSED, "the probe closed the connection")
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            _fail(self._waiting.popleft(), self._failure)
        self._buffer.clear()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Cut frames out of the stream and hand them to the requests in the order they were sent."""
        if self._failure is not None:
            return
        passed_over = min(self._passed_over, len(data))
        self._passed_over -= passed_over
        self._buffer += memoryview(data)[passed_over:]
        while len(self._buffer) >= 4:
            size = int.from_bytes(self._buffer[:4], "big", signed=True)
            if not 0 < size <= _ANY_ANSWER_BYTES:
                self.close(Failure(self._stage, Reason.PROTOCOL, "what answers does not speak Kafka's protocol"))
                return
            if len(self._buffer) < 4 + size <= 4 + MAX_ANSWER_BYTES:
                return
            if not self._waiting:
                self.close(Failure(self._stage, Reason.PROTOCOL, "an answer that nobody asked for"))
                return
            self._hand_over(size)

    def _hand_over(self, size: int) -> None:
        """Give the answer at the head of the buffer to who waits for it; fail who waits for one that is too large."""
        waiting = self._waiting.popleft()
        if size <= MAX_ANSWER_BYTES:
            if not waiting.done():
                waiting.set_result(bytes(self._buffer[4 : 4 + size]))
        else:
            self._passed_over = max(0, 4 + size - len(self._buffer))
            detail = f"an answer of {size} bytes, at most {MAX_ANSWER_BYTES} are read"
            _fail(waiting, Failure(self._stage, Reason.TOO_LARGE, detail))
        del self._buffer[: 4 + size]

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what is waiting."""
        lost = Failure(self._stage, Reason.CONNECTION_CLOSED, "the broker closed the connection")
        self.close((failure_of(exc, self._stage) if exc is not None else None) or lost)

    # How it comes to be.

    async def _connect(self, access: Access, phases: Phases) -> None:
        referrals = None if access.referrals.is_configured(self.address) else access.referrals
        await dial(lambda: self, self.address, access.resolver, phases, referrals)

    async def _start_tls(self, context: ssl.SSLContext, name: str, phases: Phases) -> None:
        transport = await start_tls(cast("asyncio.Transport", self._transport), self, context, name, phases)
        if self._failure is not None:  # it went away during the handshake
            raise ConnectionResetError("the connection was closed during the TLS handshake")
        self._transport = transport

    async def _agree(self) -> None:
        answer = await self.ask(ApiVersionRequest())
        if answer.error_code:
            raise failure_of_code(answer.error_code, "ApiVersions", Stage.AUTH)
        self._versions = {key: (low, high) for key, low, high in answer.api_versions or ()}

    # One request.

    async def _exchange(self, message: bytes) -> bytes:
        if self._failure is not None:
            raise _again(self._failure)
        waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        transport = cast(asyncio.Transport, self._transport)
        if not transport.is_closing():  # else the end is told to who waits; uvloop would raise here
            transport.write(len(message).to_bytes(4, "big") + message)
        try:
            return await waiting
        except asyncio.CancelledError:
            self.close()  # its answer may still come, for nobody
            raise


class Broker:
    """One broker during one attempt.

    Args:
        connect: Returns the connection that is kept, or opens one.
        is_connected: Says whether one is open.
        name: What the broker is called in failures; empty for not at all.
        phases: Receives how far requests get, and the time they take.
    """

    def __init__(
        self,
        connect: Callable[[Phases], Awaitable[BrokerConnection]],
        is_connected: Callable[[], bool],
        name: str,
        phases: Phases,
    ) -> None:
        self._connect = connect
        self._opening = asyncio.Lock()
        self._opened = 0
        self._lost: Failure | None = None
        self._name = name
        self._phases = phases
        self._may_be_stale = is_connected()
        self._answered: Callable[[], None] = _do_nothing
        self.is_connected = is_connected

    async def ask(self, request: Any) -> Any:
        """Ask it, on a new connection where none is open; return the answer.

        A connection kept from before which turns out to be closed, as a restart of the broker leaves it, says nothing yet:
        then it is asked once more on a new one.

        Raises:
            Failure: As opening a connection and `BrokerConnection.ask` have it.
        """
        try:
            answer = await self._ask(request)
        except Failure as failure:
            if not (self._may_be_stale and failure.reason is Reason.CONNECTION_CLOSED):
                raise
            self._may_be_stale = False
            answer = await self._ask(request)
        self._may_be_stale = False
        self._answered()
        return answer

    async def offers(self, key: int, version: int) -> bool:
        """Say whether it takes a request in this version, by the request's key.

        Raises:
            Failure: As opening a connection has it.
        """
        connection = await self._connection()
        return connection.offers(key, version)

    async def within(
        self, end: float, work: Callable[[], Awaitable[T]], latest: float = 0.0, quiet: float = 0.0
    ) -> T | Failure:
        """Await what asks this broker; return its result, or how the broker failed, so that others go on.

        Args:
            end: Loop time by which it must be done, connecting included. Where it has passed, nothing is asked.
            work: What asks it.
            latest: Loop time by which it must be done if it goes on answering; never before `end`.
            quiet: Seconds that it has for the next answer, past `end` too.
        """
        now = asyncio.get_running_loop().time
        if now() >= end:
            return self._named(Failure(self._phases.stage, Reason.TIMEOUT, "no time was left to ask"))
        try:
            async with asyncio.timeout_at(end) as limit:

                def answered() -> None:
                    later = min(latest, now() + quiet)
                    if later > end and not limit.expired():
                        limit.reschedule(later)

                self._answered = answered
                return await work()
        except Failure as failure:
            return self._named(failure)
        except TimeoutError:
            stage = self._phases.stage
            return self._named(Failure(stage, timeout_reason(stage), "no answer"))
        finally:
            self._answered = _do_nothing

    async def _ask(self, request: Any) -> Any:
        connection = await self._connection()
        with timed(self._phases, Stage.QUERY):
            try:
                return await connection.ask(request)
            except Failure as failure:
                self._lost = self._lost if connection.alive else failure
                raise

    async def _connection(self) -> BrokerConnection:
        """Return the connection that is open, or open one: one at a time, and no more than a broker that ends them is worth.

        A request for each of a thousand groups would else be a thousand logins, of which all may be refused.
        """
        if self.is_connected():
            return await self._connect(self._phases)
        async with self._opening:
            if not self.is_connected():
                if self._lost is not None and self._opened >= _MOST_OPENED:
                    raise _again(self._lost)
                self._opened += 1
                try:
                    return await self._connect(self._phases)
                except Failure as failure:
                    self._lost, self._opened = failure, _MOST_OPENED
                    raise
            return await self._connect(self._phases)

    def _named(self, failure: Failure) -> Failure:
        return Failure(failure.stage, failure.reason, f"{self._name}: {failure.detail}") if self._name else failure


def _do_nothing() -> None:
    """Stand in where nobody waits."""


def _fail(waiting: asyncio.Future[bytes], failure: Failure) -> None:
    if not waiting.done():
        waiting.set_exception(_again(failure))
        waiting.exception()  # seen: its task may be cancelled before it looks


def _again(failure: Failure) -> Failure:
    """Make another of the same: each request that waits raises its own."""
    return Failure(failure.stage, failure.reason, failure.detail)


class _OutOfOrderError(Exception):
    """The answer carries another request's number."""


def _decode(prepared: Any, correlation: int, frame: bytes) -> Any:
    stream = BytesIO(frame)
    header = prepared.parse_response_header(stream)
    if header.correlation_id != correlation:
        raise _OutOfOrderError
    return prepared.RESPONSE_TYPE.decode(stream)

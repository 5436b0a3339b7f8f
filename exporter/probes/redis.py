"""The `redis` probe: whether Redis or Valkey answers PING, and what INFO says of memory, clients, keys and replication."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import redis.exceptions as redis_errors
from pydantic import Field, SecretStr, model_validator
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from exporter.auth.secrets import current_secret
from exporter.metrics.family import counter, gauge
from exporter.net.dial import dial, start_tls
from exporter.net.errors import failure_of
from exporter.net.phases import Phases, phase_clock
from exporter.net.resolver import Resolver
from exporter.net.tls import ClientTls, TlsSettings
from exporter.probing.attempt import Attempt
from exporter.probing.probe import Probe, ProbeSettings, SharedClients, Target
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage

__all__ = ["PROBE", "RedisProbe", "RedisSettings"]

MEMORY_USED = gauge("probe_redis_memory_used_bytes", "Memory that the server has allocated: used_memory.")
MEMORY_MAX = gauge("probe_redis_memory_max_bytes", "Memory that it may allocate: maxmemory; 0 is without limit.")
CLIENTS = gauge("probe_redis_connected_clients", "Clients that are connected, this probe included.")
MAX_CLIENTS = gauge("probe_redis_max_clients", "Most clients that it takes: maxclients.")
EVICTED = counter("probe_redis_evicted_keys_total", "Keys that were evicted for want of memory.")
REJECTED = counter("probe_redis_rejected_connections_total", "Connections refused because of maxclients.")
HITS = counter("probe_redis_keyspace_hits_total", "Lookups that found their key.")
MISSES = counter("probe_redis_keyspace_misses_total", "Lookups that did not find their key.")
HIT_RATIO = gauge(
    "probe_redis_hit_ratio", "Share of lookups since the last attempt that found their key; absent without lookups."
)
ROLE = gauge("probe_redis_role", "1 for the server's role: master or replica.", "role")
LINK_UP = gauge("probe_redis_master_link_up", "1 if a replica is connected to its master, 0 if not; absent on a master.")
REPLICAS = gauge("probe_redis_connected_replicas", "Replicas that are connected to the server.")
UPTIME = gauge("probe_redis_uptime_seconds", "Time since the server started.")

_NUMBERS = {
    "used_memory": MEMORY_USED,
    "maxmemory": MEMORY_MAX,
    "connected_clients": CLIENTS,
    "maxclients": MAX_CLIENTS,
    "evicted_keys": EVICTED,
    "rejected_connections": REJECTED,
    "keyspace_hits": HITS,
    "keyspace_misses": MISSES,
    "connected_slaves": REPLICAS,
    "uptime_in_seconds": UPTIME,
}
_ROLES = {"master": "master", "slave": "replica"}

MAX_ANSWER_BYTES = 1024 * 1024
"""INFO takes some 6 KB, more with many command statistics; a longer answer is not read."""

_ERRORS: tuple[tuple[type[Exception], Reason], ...] = (
    (redis_errors.AuthenticationError, Reason.AUTH),
    (redis_errors.AuthorizationError, Reason.AUTH),
    (redis_errors.NoPermissionError, Reason.AUTH),
    (redis_errors.BusyLoadingError, Reason.STARTING),
    (redis_errors.MaxConnectionsError, Reason.TOO_MANY_CONNECTIONS),
    (redis_errors.InvalidResponse, Reason.PROTOCOL),
    (redis_errors.ResponseError, Reason.QUERY_FAILED),
)
"""Errors by what they mean; the first that fits counts."""


_UNREADABLE = (ValueError, TypeError, LookupError, RecursionError)
"""What redis-py raises for answers that are not RESP. An error of TLS may be a `ValueError` too, and is not meant."""


class RedisSettings(ProbeSettings):
    """How to log in."""

    user: str | None = Field(None, min_length=1, max_length=255, description="ACL user; default: the default user.")
    password: SecretStr | None = Field(None, description="Password; masked wherever shown.")
    password_file: Path | None = Field(None, description="File with the password, read at each login.")
    tls: TlsSettings | None = Field(None, description="Speak TLS; default: plain.")

    @model_validator(mode="after")
    def _one_password(self) -> RedisSettings:
        if self.password is not None and self.password_file is not None:
            raise ValueError("give password or password_file, not both")
        if self.user is not None and self.password is None and self.password_file is None:
            raise ValueError("user needs password or password_file")
        return self


class RedisProbe(Probe[RedisSettings]):
    """Connects anew and sends PING, which decides; then INFO, which does not."""

    kind = "redis"
    settings_type = RedisSettings
    phases = (Stage.RESOLVE, Stage.CONNECT, Stage.TLS, Stage.AUTH, Stage.QUERY)
    metrics = (
        MEMORY_USED, MEMORY_MAX, CLIENTS, MAX_CLIENTS, EVICTED, REJECTED, HITS, MISSES, HIT_RATIO, ROLE, LINK_UP, REPLICAS,
        UPTIME,
    )  # fmt: skip

    def __init__(self, target: Target, settings: RedisSettings, shared: SharedClients) -> None:
        super().__init__(target, settings, shared)
        self._tls = ClientTls(settings.tls) if settings.tls is not None else None
        self._lookups: tuple[str, float, float] | None = None

    async def check(self, attempt: Attempt) -> None:
        """Connect, log in, ask, and close."""
        password = await current_secret(self.settings.password, self.settings.password_file)
        tls = await self._tls.context() if self._tls is not None else None
        connection = _Connection(self.target.address, self.shared.resolver, attempt, tls, self._server_name)
        connection.log_in_as(self.settings.user, password)
        try:
            await connection.connect()
            with attempt.phase(Stage.QUERY):
                await connection.send_command("PING", check_health=False)
                answer = await connection.read_response(disable_decoding=True)
                if answer != b"PONG":
                    raise Failure(Stage.CHECK, Reason.PROTOCOL, "the answer to PING is not PONG")
            async with attempt.part("info") as part:
                await self._info(part, connection)
        finally:
            connection.abort()

    def classify(self, error: Exception, stage: Stage) -> Failure | None:
        """Name the server's errors; those of the network lie beneath redis-py's own and are named by the common table."""
        if "max number of clients" in str(error):
            return Failure(stage, Reason.TOO_MANY_CONNECTIONS, str(error))
        for kind, reason in _ERRORS:
            if isinstance(error, kind):
                return Failure(stage, reason, str(error))
        if isinstance(error, redis_errors.ConnectionError):
            below = error.__cause__ or error.__context__  # redis-py words the network's error anew
            found = failure_of(below, stage) if below is not None else None
            return found or Failure(stage, Reason.CONNECTION_CLOSED, "the server closed the connection")
        return None

    @property
    def _server_name(self) -> str:
        tls = self.settings.tls
        return (tls.server_name if tls is not None else None) or self.target.address.host

    async def _info(self, part: Attempt, connection: _Connection) -> None:
        part.stage = Stage.QUERY
        await connection.send_command("INFO", check_health=False)
        answer = await connection.read_response(disable_decoding=True)
        if not isinstance(answer, bytes):
            raise Failure(Stage.CHECK, Reason.MALFORMED, "the answer to INFO is not text")
        info = _fields(answer)
        for name, family in _NUMBERS.items():
            if name in info:
                part.record(family, _number(name, info[name]))
        self._record_ratio(part, info)
        role = _ROLES.get(info.get("role", ""))
        if role is not None:
            part.record(ROLE, 1, role)
        if "master_link_status" in info:
            part.record(LINK_UP, info["master_link_status"] == "up")

    def _record_ratio(self, part: Attempt, info: Mapping[str, str]) -> None:
        """Compare with the last attempt; counters of another run, or that went back, were reset and say nothing yet."""
        if "keyspace_hits" not in info or "keyspace_misses" not in info:
            self._lookups = None
            return
        hits, misses = (_number(name, info[name]) for name in ("keyspace_hits", "keyspace_misses"))
        last, self._lookups = self._lookups, (info.get("run_id", ""), hits, misses)
        if last is None or last[0] != self._lookups[0]:
            return
        found, missed = hits - last[1], misses - last[2]
        if found >= 0 and missed >= 0 and found + missed > 0:
            part.record(HIT_RATIO, found / (found + missed))


def _fields(answer: bytes) -> dict[str, str]:
    """Read INFO's lines `name:value`; section headings and the rest are left out."""
    pairs = (line.partition(":") for line in answer.decode("utf-8", "replace").splitlines())
    return {name: value for name, colon, value in pairs if colon}


def _number(name: str, text: str) -> float:
    try:
        return float(int(text))
    except ValueError:
        raise Failure(Stage.CHECK, Reason.MALFORMED, f"INFO: {name} is not a whole number") from None


class _Connection(AbstractConnection):
    """redis-py's connection over the shared resolver, phases timed, reading at most `MAX_ANSWER_BYTES`. Never retries."""

    def __init__(
        self, address: Address, resolver: Resolver, phases: Phases, tls: ssl.SSLContext | None, server_name: str
    ) -> None:
        super().__init__(
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,  # the attempt has the deadline
            socket_connect_timeout=None,
            driver_info=None,
            protocol=2,
        )
        self._address = address
        self._resolver = resolver
        self._phases = phases
        self._tls = tls
        self._server_name = server_name
        self._open_since: float | None = None
        self._bounded: _BoundedReader | None = None

    def log_in_as(self, user: str | None, password: str | None) -> None:
        """Log in after connecting, if there is a password."""
        self.username, self.password = user, password

    async def connect(self) -> None:
        """Connect and log in."""
        clock = phase_clock()
        try:
            await super().connect()  # type: ignore[no-untyped-call] # redis-py's
        finally:
            if self._open_since is not None and self.password is not None:
                self._phases.add_phase(Stage.AUTH, clock() - self._open_since)

    def abort(self) -> None:
        """Close the socket at once."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def disconnect(self, *_: Any, **__: Any) -> None:
        """Close the socket at once: redis-py would wait for the server, and turn what it answered into a timeout."""
        self.abort()

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """Read one answer.

        Raises:
            Failure: It is too long, is not RESP, or is nested deeper than any answer to what this probe asks.
        """
        bounded = self._bounded
        try:
            return await super().read_response(*args, **options)
        except Exception as error:
            if bounded is not None and bounded.failure is not None:
                raise bounded.failure from None
            if isinstance(error, _UNREADABLE) and not isinstance(error, OSError):
                raise Failure(self._phases.stage, Reason.PROTOCOL, "the answer is not RESP") from error
            raise

    async def _connect(self) -> None:
        reader = self._bounded = _BoundedReader()
        transport, protocol = await dial(
            lambda: asyncio.StreamReaderProtocol(reader), self._address, self._resolver, self._phases
        )
        if self._tls is not None:
            try:
                transport = await start_tls(transport, protocol, self._tls, self._server_name, self._phases)
            except BaseException:
                transport.abort()
                raise
            reader.cut_with(transport)
        self._reader = reader
        self._writer = asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())
        self._phases.stage = Stage.AUTH
        self._open_since = phase_clock()()

    def _host_error(self) -> str:
        return str(self._address)

    def repr_pieces(self) -> list[tuple[str, Any]]:
        """Name it by its address."""
        return [("address", self._address)]


class _BoundedReader(asyncio.StreamReader):
    """A reader that stops believing a server which sends too much."""

    def __init__(self) -> None:
        super().__init__(limit=2 * MAX_ANSWER_BYTES)  # its own limit, of a line, is never reached
        self.failure: Failure | None = None
        self._left = MAX_ANSWER_BYTES

    def cut_with(self, transport: asyncio.Transport) -> None:
        """Name the transport of a connection that has become a TLS one."""
        self._transport = transport

    def feed_data(self, data: bytes) -> None:  # type: ignore[override] # streams are fed bytes
        """Take what arrived, up to the limit."""
        self._left -= len(data)
        if self._left >= 0:
            super().feed_data(data)
        elif self.failure is None:  # an exception set here would be lost on a reader that is just being woken
            self.failure = Failure(Stage.RECEIVE, Reason.TOO_LARGE, f"more than {MAX_ANSWER_BYTES} bytes")
            self._transport.abort()


PROBE = RedisProbe

"""The `redis` probe: whether Redis or Valkey answers PING, and what INFO says of memory, clients, keys and replication."""

from __future__ import annotations

import shlex
from pathlib import Path

from pydantic import Field, SecretStr, model_validator

from exporter.auth.secrets import current_secret
from exporter.clients.redis.canary import Canary
from exporter.clients.redis.cluster import SLOTS, ClusterView, count_failed_nodes, may_be_clustered, read_cluster
from exporter.clients.redis.connection import Connection, Login, connect
from exporter.clients.redis.fields import FieldFollower
from exporter.clients.redis.info import Info, info_reader, read_info
from exporter.clients.redis.resp import ServerError
from exporter.clients.redis.sentinel import read_watched
from exporter.clients.redis.slow import SlowLogCounter, read_latency_events, read_slow_log
from exporter.net.tls import ClientTls, TlsSettings
from exporter.probing.attempt import Attempt
from exporter.probing.probe import Probe, ProbeSettings, SharedClients, Target
from exporter.redis import families as f
from exporter.redis.recording import FIELDS, InfoRecorder, record_cluster, record_failed_nodes, record_watched
from exporter.values import Address, Duration, Settings
from exporter.verdict import Failure, Reason, Stage, Verdict

__all__ = ["PROBE", "RedisProbe", "RedisSettings"]

_STILL_TELLS = frozenset({Reason.QUERY_FAILED, Reason.STARTING})
"""Refusals of PING after which INFO may be answered: MISCONF, MASTERDOWN, LOADING."""

_INFO = info_reader(FIELDS)


class CanarySettings(Settings):
    """A key that is written and read back."""

    prefix: str = Field(
        "hafnium-exporter:canary:",
        min_length=1,
        max_length=200,
        pattern=r"^[^{}\s]+$",
        description="What the key's name begins with; the rest is drawn by lot.",
    )
    ttl: Duration = Field(60.0, description="Time after which the server removes it.")


class RedisSettings(ProbeSettings):
    """How to log in, and what else to ask."""

    user: str | None = Field(None, min_length=1, max_length=255, description="ACL user; default: the default user.")
    password: SecretStr | None = Field(None, description="Password; masked wherever shown.")
    password_file: Path | None = Field(None, description="File with the password, read at each login.")
    tls: TlsSettings | None = Field(None, description="Speak TLS; default: plain.")
    allow_cleartext: bool = Field(
        default=False, description="Without tls, let the password cross a network as it is; default: only the loopback."
    )

    canary: CanarySettings | None = Field(
        None, description="Write a key and read it back, which decides the verdict too; default: nothing is written."
    )
    slow_commands: bool = Field(
        default=False, description="Ask for the length of the slow log and for latency events too (part `slow`)."
    )

    def by_hand(self, address: Address) -> str:
        """A PING; redis-cli asks for the password."""
        login = [*(["--user", self.user] if self.user else []), "--askpass"] if self.password or self.password_file else []
        tls = ["--tls"] if self.tls is not None else []
        return shlex.join(["redis-cli", "-h", address.host, "-p", str(address.port), *tls, *login, "PING"])

    @model_validator(mode="after")
    def _one_password(self) -> RedisSettings:
        if self.password is not None and self.password_file is not None:
            raise ValueError("give password or password_file, not both")
        if self.user is not None and self.password is None and self.password_file is None:
            raise ValueError("user needs password or password_file")
        if self.allow_cleartext and self.tls is not None:
            raise ValueError("allow_cleartext is for a server without tls")
        return self


class RedisProbe(Probe[RedisSettings]):
    """Connects anew and sends PING, which decides, as does a cluster that does not serve; INFO does not."""

    kind = "redis"
    settings_type = RedisSettings
    phases = (Stage.RESOLVE, Stage.CONNECT, Stage.TLS, Stage.AUTH, Stage.QUERY)
    metrics = f.FAMILIES

    def __init__(self, target: Target, settings: RedisSettings, shared: SharedClients) -> None:
        super().__init__(target, settings, shared)
        self._login = Login(
            user=settings.user,
            password=self._password,
            tls=ClientTls(settings.tls) if settings.tls is not None else None,
            allow_cleartext=settings.allow_cleartext,
        )
        self._fields = FieldFollower(_INFO)
        self._recorder = InfoRecorder()
        self._slow_log = SlowLogCounter()
        canary = settings.canary
        self._canary = Canary(canary.prefix, canary.ttl) if canary is not None else None

    async def check(self, attempt: Attempt) -> None:
        """Connect, log in, ask, and close."""
        connection = await connect(self.target.address, self._login, self.shared.resolver, attempt)
        try:
            refusal = await _ping(attempt, connection)
            info = await self._info(attempt, connection)
            if refusal is not None:
                raise refusal
            if info is not None and info.is_sentinel:
                await _watched(attempt, connection)
                return
            if info.clustered if info is not None else await _may_be_clustered(attempt, connection):
                await _cluster(attempt, connection)
            if self._canary is not None and connection.usable:
                await _fly(attempt, connection, self._canary)
            if self.settings.slow_commands and connection.usable:
                await self._slow(attempt, connection, info)
        finally:
            connection.abort()

    async def _password(self) -> str | None:
        return await current_secret(self.settings.password, self.settings.password_file)

    async def _info(self, attempt: Attempt, connection: Connection) -> Info | None:
        """Read and record INFO; None where it could not be had."""
        info: Info | None = None
        async with attempt.part("info") as part:
            part.stage = Stage.QUERY
            info = await read_info(connection, self._fields)
            self._recorder.record(part, info)
        return info

    async def _slow(self, attempt: Attempt, connection: Connection, info: Info | None) -> None:
        """Ask for what the server itself found slow."""
        async with attempt.part("slow") as part:
            part.stage = Stage.QUERY
            log = await read_slow_log(connection)
            part.record(f.SLOW_LOG, log.length)
            part.record(f.SLOW_ADDED, self._slow_log.added(info.run if info is not None else None, log))
            for event in await read_latency_events(connection):
                part.record(f.LATENCY, event.took, event.name)
                part.record(f.LATENCY_LONGEST, event.longest, event.name)
                part.record(f.LATENCY_AT, event.at, event.name)


async def _ping(attempt: Attempt, connection: Connection) -> Failure | None:
    """Send PING; return why it is refused, where the server may tell more all the same."""
    try:
        with attempt.phase(Stage.QUERY):
            answer = await connection.ask("PING")
    except ServerError as error:
        if error.reason not in _STILL_TELLS:
            raise
        return error
    if answer != b"PONG":
        raise Failure(Stage.CHECK, Reason.PROTOCOL, "the answer to PING is not PONG")
    return None


async def _fly(attempt: Attempt, connection: Connection, canary: Canary) -> None:
    """Write and read the canary.

    Raises:
        Failure: That did not work.
    """
    with attempt.phase(Stage.QUERY):
        try:
            flown = await canary.fly(connection)
        except Failure as failure:
            if failure.verdict is Verdict.DOWN:
                attempt.record(f.CANARY, 0)
            raise
    if flown is not None:
        attempt.record(f.CANARY, 1)
        attempt.record(f.CANARY_TOOK, flown.write, "write")
        attempt.record(f.CANARY_TOOK, flown.read, "read")


async def _watched(attempt: Attempt, connection: Connection) -> None:
    """Ask a Sentinel for what it watches. That a master of it is down does not make the Sentinel down."""
    async with attempt.part("sentinel") as part:
        part.stage = Stage.QUERY
        async for watched in read_watched(connection):
            record_watched(part, watched)


async def _may_be_clustered(attempt: Attempt, connection: Connection) -> bool:
    """Ask a server of which there is no INFO whether it is a node of a cluster, as far as it lets itself be asked."""
    found = False
    if connection.usable:
        async with attempt.part("info") as part:
            part.stage = Stage.QUERY
            found = await may_be_clustered(connection)
    return found


async def _cluster(attempt: Attempt, connection: Connection) -> None:
    """Ask a node for its cluster.

    Raises:
        Failure: The cluster does not serve: the node refuses whatever is asked for a key.
    """
    view: ClusterView | None = None
    async with attempt.part("cluster") as part:
        part.stage = Stage.QUERY
        view = await read_cluster(connection)
        record_cluster(part, view)
        failed = view.failed_nodes
        record_failed_nodes(part, failed if failed is not None else await count_failed_nodes(connection))
    if view is not None and not view.ok:
        detail = f"cluster_state is fail: {view.served:g} of {SLOTS} slots are served"
        raise Failure(Stage.CHECK, Reason.REPORTED_DOWN, detail)


PROBE = RedisProbe

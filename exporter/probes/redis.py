"""The `redis` probe: whether Redis or Valkey answers PING, and what INFO says of memory, clients, keys and replication."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, model_validator

from exporter.auth.secrets import current_secret
from exporter.clients.redis.connection import Login, connect
from exporter.clients.redis.info import Info, Lookups, read_info
from exporter.metrics.family import counter, gauge
from exporter.net.tls import ClientTls, TlsSettings
from exporter.probing.attempt import Attempt
from exporter.probing.probe import Probe, ProbeSettings, SharedClients, Target
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
        self._login = Login(
            user=settings.user,
            password=self._password,
            tls=ClientTls(settings.tls) if settings.tls is not None else None,
        )
        self._lookups: Lookups | None = None

    async def check(self, attempt: Attempt) -> None:
        """Connect, log in, ask, and close."""
        connection = await connect(self.target.address, self._login, self.shared.resolver, attempt)
        try:
            with attempt.phase(Stage.QUERY):
                if await connection.ask("PING") != b"PONG":
                    raise Failure(Stage.CHECK, Reason.PROTOCOL, "the answer to PING is not PONG")
            async with attempt.part("info") as part:
                part.stage = Stage.QUERY
                self._record(part, await read_info(connection))
        finally:
            connection.abort()

    async def _password(self) -> str | None:
        return await current_secret(self.settings.password, self.settings.password_file)

    def _record(self, part: Attempt, info: Info) -> None:
        for name, family in _NUMBERS.items():
            number = info.number(name)
            if number is not None:
                part.record(family, number)
        before, self._lookups = self._lookups, info.lookups
        ratio = self._lookups.share_found_since(before) if self._lookups is not None else None
        if ratio is not None:
            part.record(HIT_RATIO, ratio)
        role = _ROLES.get(info.role or "")
        if role is not None:
            part.record(ROLE, 1, role)
        if info.master_link_up is not None:
            part.record(LINK_UP, info.master_link_up)


PROBE = RedisProbe

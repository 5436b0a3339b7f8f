"""INFO: what a server says of its memory, clients, keys, persistence and replication."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set

from exporter.clients.redis.connection import Connection
from exporter.clients.redis.fields import FieldFollower, FieldReader, Fields
from exporter.clients.redis.lookups import Lookups

__all__ = ["OWN_FIELDS", "Info", "info_reader", "read_info"]

_DATABASE = b":keys="
"""What each line of a database has, such as `db0:keys=3,expires=1`, and no other: so no line need be looked at."""

OWN_FIELDS = frozenset({
    "cluster_enabled", "keyspace_hits", "keyspace_misses", "master_link_status", "redis_mode", "role", "run_id",
    "server_mode",
})  # fmt: skip
"""Fields that `Info` itself has a use for."""


class Info(Fields):
    """The fields of one answer to INFO.

    Attributes:
        databases: Databases that hold keys.
        changed: Names of the fields that are not as in the answer before.
    """

    def __init__(self, fields: Mapping[str, str], databases: int = 0, changed: Set[str] | None = None) -> None:
        super().__init__("INFO", fields)
        self.databases = databases
        self.changed: Set[str] = fields.keys() if changed is None else changed

    @property
    def lookups(self) -> Lookups | None:
        """Lookups of keys; None where the server does not count them."""
        hits, misses = self.number("keyspace_hits"), self.number("keyspace_misses")
        return Lookups(self.run, hits, misses) if hits is not None and misses is not None else None

    @property
    def run(self) -> str:
        """The run of the server: another after each start."""
        return self.text("run_id") or ""

    @property
    def role(self) -> str | None:
        """The role as the server words it: `master` or `slave`."""
        return self.text("role")

    @property
    def master_link_up(self) -> bool | None:
        """Whether a replica is connected to its master; None on a master."""
        status = self.text("master_link_status")
        return status == "up" if status is not None else None

    @property
    def is_sentinel(self) -> bool:
        """Whether it is a Sentinel, which keeps no data; Valkey has another word for the mode than Redis."""
        return "sentinel" in (self.text("redis_mode"), self.text("server_mode"))

    @property
    def clustered(self) -> bool:
        """Whether the server is a node of a Redis Cluster."""
        return self.text("cluster_enabled") == "1"


def info_reader(names: Collection[str]) -> FieldReader:
    """Return what reads the fields of INFO by these names, and those that `Info` itself has a use for."""
    return FieldReader("INFO", OWN_FIELDS.union(names))


async def read_info(connection: Connection, follower: FieldFollower) -> Info:
    """Ask for it.

    Args:
        connection: To ask over.
        follower: Of this server, over what `info_reader` has made.

    Raises:
        Failure, OSError: As for `Connection.ask`; `malformed` where the answer is not text.
    """
    answer = await connection.ask("INFO")
    fields, changed = follower.read(answer)
    return Info(fields, answer.count(_DATABASE) if isinstance(answer, bytes) else 0, changed)

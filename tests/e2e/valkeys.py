"""Valkeys beside the fleet's one: a master with a replica, two that Sentinels watch, and a Cluster of three."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.demo.ports import free_port
from exporter.demo.servers.base import Server
from exporter.demo.servers.valkey import ValkeyServer
from tests.fixtures.valkeys import WatchedServers, cluster, form, replica_of, watched

__all__ = ["Valkeys", "running_valkeys"]

USER, PASSWORD = "monitor", "s3cr3t-of-the-monitor"


@dataclass(frozen=True, slots=True)
class Valkeys:
    """Servers that run.

    Attributes:
        master: One that nobody watches.
        replica: Its replica.
        watched: A master and a replica with their Sentinels.
        nodes: A Cluster.
        locked: One that asks for a login.
    """

    master: ValkeyServer
    replica: ValkeyServer
    watched: WatchedServers
    nodes: tuple[ValkeyServer, ...]
    locked: ValkeyServer

    @property
    def dependencies(self) -> dict[str, Any]:
        """The exporter's configuration of them."""
        return {
            "redis-pair": _probed(self.master, self.replica),
            "redis-watched": _probed(self.watched.master, self.watched.replica),
            "redis-sentinel": _probed(*self.watched.sentinels),
            "redis-cluster": _probed(*self.nodes),
            "redis-locked": _probed(self.locked, user=USER, password=PASSWORD),
        }

    def part(self) -> None:
        """Let the replica look for its master where nobody is."""
        self.replica.tell("REPLICAOF", self.master.host, str(free_port()))

    def join(self) -> None:
        """Let it follow its master again."""
        self.replica.tell("REPLICAOF", self.master.host, str(self.master.port))

    def split(self) -> None:
        """Make the watched replica a master that Sentinels cannot make a replica again: it refuses them that."""
        self.watched.replica.tell("REPLICAOF", "NO", "ONE")
        self.watched.replica.tell("ACL", "SETUSER", "default", "-replicaof", "-slaveof")

    def reconcile(self) -> None:
        """Let Sentinels make it a replica."""
        self.watched.replica.tell("ACL", "SETUSER", "default", "+replicaof", "+slaveof")

    def let_read(self, *, on: bool) -> None:
        """Give the exporter's user the right to read how the server is, or take it away."""
        self.locked.tell("ACL", "SETUSER", USER, "+info" if on else "-info")


def _probed(*servers: Server, **settings: str) -> dict[str, Any]:
    return {"instances": [server.address for server in servers], "probes": {"redis": settings}}


@asynccontextmanager
async def running_valkeys(folder: Path) -> AsyncIterator[Valkeys]:
    """Run them for as long as the block lasts."""
    with ExitStack() as running:
        master = running.enter_context(ValkeyServer(folder / "master"))
        replica = running.enter_context(replica_of(master, folder / "replica"))
        those = running.enter_context(watched(folder / "watched"))
        nodes = running.enter_context(cluster(folder / "cluster"))
        await form(nodes)
        rights = ("--user", USER, "on", f">{PASSWORD}", "+ping", "+info", "+cluster|info")
        locked = running.enter_context(ValkeyServer(folder / "locked", options=rights))
        yield Valkeys(master, replica, those, nodes, locked)

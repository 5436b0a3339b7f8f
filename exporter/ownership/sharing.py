"""How this exporter shares the work at present: alone, by a lease, or as a shard. Reloads change it while it runs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from exporter.clients.kubernetes.access import ClusterAccess
from exporter.clients.kubernetes.api import Api
from exporter.metrics import core as m
from exporter.metrics.store import Store
from exporter.net.http import HttpClient
from exporter.net.resolver import Resolver
from exporter.ownership.election import Role
from exporter.ownership.lease import Leadership, identity_of
from exporter.ownership.peers import OtherExporters
from exporter.ownership.settings import LeaseSettings, ShardSettings, SharingSettings
from exporter.ownership.shards import Shards, ordinal

__all__ = ["Fleet", "Owner", "Part", "Sharing", "shard_index"]


class Owner(Protocol):
    """Says what is this exporter's."""

    def owns(self, service: str, /) -> bool:
        """Say whether it exports a service."""

    def needs(self, service: str, /) -> bool:
        """Say whether it probes it."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """What shards are told of the configuration.

    Attributes:
        needs: What each service and dependency needs.
        shared: Names of the dependencies.
    """

    needs: Mapping[str, tuple[str, ...]]
    shared: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """What this exporter is to the others.

    Attributes:
        kind: How the work is shared.
        role: With a lease, what it is at present.
        leader: Who holds the lease, where that is known.
        shard: Which shard it is, from 0 on.
        shards: How many there are.
        text: The same in a sentence.
    """

    kind: Literal["lease", "shards"]
    role: Role | None
    leader: str | None
    shard: int | None
    shards: int | None
    text: str


def shard_index(settings: ShardSettings, host: str) -> int:
    """Tell which shard this exporter is.

    Raises:
        ValueError: The host's name does not say it, or there are not so many; the text says what to do.
    """
    if settings.index != "ordinal":
        return settings.index
    found = ordinal(host)
    if found is None:
        raise ValueError(f"the host's name, {host!r}, does not end in a number as a StatefulSet's pods do: set index")
    if found >= settings.count:
        raise ValueError(f"this is {host!r}, and count is {settings.count}: raise count for all, or scale down")
    return found


class Sharing:
    """Keeps this exporter's part, and whoever takes part in a lease for it.

    Args:
        store: Where it is published.
        open_api: Makes what asks an API server; the namespace says for what.
        http: Asks other exporters.
        resolver: Finds them.
        changed: Called when the part has changed, and with it what is to be probed.
        host: The host's name.
    """

    def __init__(
        self,
        store: Store,
        open_api: Callable[[ClusterAccess, str], Api],
        http: HttpClient,
        resolver: Resolver,
        changed: Callable[[], None],
        host: str | None = None,
    ) -> None:
        self.host = host if host is not None else socket.gethostname()
        self._own = store.owner({})
        self._open_api = open_api
        self._http = http
        self._resolver = resolver
        self._changed = changed
        self._lease: tuple[LeaseSettings, ClusterAccess, str] | None = None
        self._leadership: Leadership | None = None
        self._superseded: list[Leadership] = []
        self._shards: Shards | None = None
        self._wake = asyncio.Event()

    def configure(self, settings: SharingSettings | None, access: ClusterAccess, namespace: str, fleet: Fleet) -> None:
        """Put settings to use. A lease whose settings stay goes on; another begins anew, and the old one is given back.

        Raises:
            ValueError: It cannot be told which shard this is.
        """
        shards = settings.shards if settings is not None else None
        lease = settings.lease if settings is not None else None
        wanted = (lease, access, lease.namespace or namespace) if lease is not None else None
        if shards is None:
            self._shards = None
        else:
            self._shards = Shards(shard_index(shards, self.host), shards.count, fleet.needs, fleet.shared)
        if wanted != self._lease:
            if wanted is None or not self._goes_on(wanted):
                self._replace(wanted)
            self._lease = wanted
        self.publish()

    async def run(self) -> None:
        """Take part in the lease of the moment, for ever."""
        while True:
            self._wake.clear()
            while self._superseded:
                await self._superseded.pop().release()
            if self._leadership is None:
                await self._wake.wait()
                continue
            taking_part = asyncio.create_task(self._leadership.run(), name="lease")
            waking = asyncio.create_task(self._wake.wait(), name="another lease")
            try:
                await asyncio.wait({taking_part, waking}, return_when=asyncio.FIRST_COMPLETED)
                if taking_part.done():
                    taking_part.result()
            finally:
                for task in (taking_part, waking):
                    task.cancel()
                await asyncio.gather(taking_part, waking, return_exceptions=True)

    def give_up(self) -> None:
        """Export no verdict from now on, where another will."""
        if self._leadership is not None:
            self._leadership.give_up()

    async def release(self) -> None:
        """Give the lease back."""
        if self._leadership is not None:
            await self._leadership.release()

    @property
    def owner(self) -> Owner | None:
        """Says what is this exporter's; None where everything is."""
        return self._leadership or self._shards

    @property
    def exports(self) -> bool:
        """Whether verdicts may be exported at this moment; asked when a scrape is made, and as it is sent."""
        return self._leadership is None or self._leadership.leads

    @property
    def to_others(self) -> dict[str, object] | None:
        """What other exporters are told that share the lease; None where there is none."""
        if self._leadership is None:
            return None
        return {
            "identity": self._leadership.election.identity,
            "role": self._leadership.role,
            "waits": self._leadership.waits,
        }

    @property
    def part(self) -> Part | None:
        """What this exporter is to the others; None where there are none."""
        if self._shards is not None:
            index, count = self._shards.index, self._shards.count
            text = f"shard {index} of {count}: it exports its part of the services, and probes what they need"
            return Part("shards", None, None, index, count, text)
        if self._leadership is None:
            return None
        role, leader = self._leadership.role, self._leadership.election.holder or None
        return Part("lease", role, leader, None, None, _sentence(self._leadership, role, leader))

    def publish(self) -> None:
        """Publish what this exporter is; at each scrape, since time alone can change it."""
        leadership, shards = self._leadership, self._shards
        self._own.put(m.LEADER, {(): float(self.exports)})
        if leadership is not None:
            self._own.put(m.LEASE_TRANSITIONS, {(): float(leadership.election.transitions)})
        else:
            self._own.drop(m.LEASE_TRANSITIONS)
        self._own.put(m.SHARD, {(): float(shards.index if shards is not None else 0)})
        self._own.put(m.SHARDS, {(): float(shards.count if shards is not None else 1)})

    def _replace(self, wanted: tuple[LeaseSettings, ClusterAccess, str] | None) -> None:
        if self._leadership is not None:
            self._leadership.give_up()
            self._superseded.append(self._leadership)
        self._leadership = None
        if wanted is not None:
            settings, access, namespace = wanted
            identity = identity_of(settings, self.host)
            api = self._open_api(access, namespace)
            others = self._others(settings, identity)
            self._leadership = Leadership(api, settings, namespace, identity, self._changed, others_wait=others)
        self._wake.set()

    def _goes_on(self, wanted: tuple[LeaseSettings, ClusterAccess, str]) -> bool:
        """Say whether nothing but where the others are has changed, and ask them there from now on.

        To begin anew would cost the lead for as long as the API server is away, when it is the others that keep it.
        """
        if self._leadership is None or self._lease is None:
            return False
        (old, *where), (new, *there) = self._lease, wanted
        if where != there or old.model_copy(update={"peers": new.peers}) != new:
            return False
        self._leadership.others_wait = self._others(new, self._leadership.election.identity)
        return True

    def _others(self, settings: LeaseSettings, identity: str) -> Callable[[], Awaitable[bool]] | None:
        if settings.peers is None:
            return None
        return OtherExporters(settings.peers, identity, self._http, self._resolver).wait


def _sentence(leadership: Leadership, role: Role, leader: str | None) -> str:
    why = f"; the lease cannot be read or renewed: {leadership.failure}" if leadership.failure is not None else ""
    match role:
        case Role.LEADING:
            return f"leading{why}"
        case Role.LAPSED:
            return f"lapsed: it could not renew the lease in time, probes on, and exports no verdict{why}"
        case Role.FOLLOWING:
            return f"following {leader or 'nobody yet'}: it probes nothing, and takes over when the lease expires{why}"

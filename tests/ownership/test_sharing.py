"""A lease that is configured anew while it is held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from exporter.clients.kubernetes.access import ClusterAccess
from exporter.clients.kubernetes.api import Api
from exporter.metrics.store import Store
from exporter.net.http import HttpClient
from exporter.net.resolver import Resolver
from exporter.ownership.peers import OtherExporters
from exporter.ownership.settings import SharingSettings
from exporter.ownership.sharing import Fleet, Sharing
from tests.ownership.lease_server import LeaseServer
from tests.ownership.test_lease import Plainly
from tests.waiting import eventually

PEERS = {"dns": "peers.internal", "port": 9818}


class Member:
    """An exporter that shares a lease, configured as often as a test wants."""

    def __init__(self, api: Api, resolver: Resolver, http: HttpClient) -> None:
        self.sharing = Sharing(Store(), lambda _access, _namespace: api, http, resolver, lambda: None, "host")

    def configure(self, **lease: Any) -> None:
        settings = SharingSettings.model_validate({"lease": {"name": "fleet", "duration": 3, **lease}})
        self.sharing.configure(settings, ClusterAccess(), "hafnium", Fleet({}, ()))

    async def exports(self) -> bool:
        return self.sharing.exports


@pytest.fixture
def server() -> LeaseServer:
    return LeaseServer()


@pytest.fixture
async def member(server: LeaseServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Member]:
    async def all_wait(_: OtherExporters) -> bool:
        return True

    monkeypatch.setattr(OtherExporters, "wait", all_wait)
    resolver = Resolver()
    http = HttpClient(resolver)
    async with server.serving() as url:
        api = Api(Plainly(url), resolver)
        found = Member(api, resolver, http)
        found.configure(peers=PEERS)
        task = asyncio.create_task(found.sharing.run())
        yield found
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await api.close()
        await http.close()
        await resolver.close()


async def test_other_peers_cost_no_lead_while_the_api_server_is_away(server: LeaseServer, member: Member) -> None:
    """The others are then all that keeps it, and to begin anew would take the API server."""
    await eventually(member.exports, 5, "it leads")
    server.down = True
    member.configure(peers={**PEERS, "port": 9819})
    assert member.sharing.exports
    await asyncio.sleep(4)  # longer than a lease lasts
    assert member.sharing.exports


async def test_another_lease_is_another_lead(member: Member) -> None:
    await eventually(member.exports, 5, "it leads")
    member.configure(name="other", peers=PEERS)
    assert not member.sharing.exports
    await eventually(member.exports, 5, "it leads there")

"""Services that a cluster runs, probed once for a person at a terminal: what is not known is said, and why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from exporter.clients.kubernetes import cluster as clusters
from exporter.clients.kubernetes import kubeconfig
from exporter.clients.kubernetes.access import Way
from exporter.config.models import Config
from exporter.engine.checked import ServiceResult
from exporter.engine.oneshot import check_fleet
from exporter.verdict import Verdict
from tests.clients.kubernetes.fake import FakeApi, Fixed, api_server, pod, status

TIMEOUT = 2.0


class Slow(Fixed):
    """A way that takes longer to tell than a target has time, as that by a kubeconfig does."""

    def __init__(self, server: str) -> None:
        super().__init__(server)
        self._told = asyncio.Event()
        asyncio.get_running_loop().call_later(TIMEOUT + 0.5, self._told.set)

    async def way(self) -> Way:
        await self._told.wait()
        return await super().way()


@pytest.fixture
async def server() -> AsyncIterator[FakeApi]:
    async with api_server() as fake:
        yield fake


async def checked(**access: object) -> ServiceResult:
    parts = ["workloads", "endpoints", "autoscalers", "quotas", "budgets", "nodes", "use"]
    where = {"namespace": "hafnium", "selector": "app=identity-service", **access}
    identity = {"instances": {"kubernetes": {"port": 8081, **where}}, "probes": {"kubernetes": {"skip": parts, **where}}}
    config = Config.model_validate({"services": {"identity": identity}})
    (service,) = (await check_fleet(config, (), TIMEOUT)).services
    return service


async def test_how_long_the_way_to_the_api_server_takes_is_no_part_of_the_time(
    server: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "_connection", lambda _: Slow(server.url))
    server.put(pod("identity-1"))
    service = await checked()
    assert (service.verdict, service.notes) == (Verdict.UP, [])


async def test_instances_that_cannot_be_told_are_not_said_to_be_none(
    server: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forbidden(_: web.Request) -> web.Response:
        return status(403, "Forbidden", "pods is forbidden")

    monkeypatch.setattr(clusters, "_connection", lambda _: Fixed(server.url))
    server.override = forbidden
    service = await checked()
    assert service.verdict is Verdict.UNKNOWN
    assert service.notes[0] == "instances not known: auth: auth: forbidden: pods in hafnium: needs list, watch"
    assert not [note for note in service.notes if "no instances" in note]


async def test_a_kubeconfig_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubeconfig, "HOLD", 600.0)  # nobody waits until it may be read again
    service = await checked(kubeconfig=str(tmp_path / "nowhere"))
    assert service.verdict is Verdict.UNKNOWN
    assert [f"credentials: {tmp_path / 'nowhere'}" in note for note in service.notes] == [True, True]

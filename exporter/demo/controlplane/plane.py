"""The processes of a control plane as one thing: started and stopped, broken and mended."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from exporter.demo.controlplane.access import Access
from exporter.demo.controlplane.client import UNREACHABLE, ApiError
from exporter.demo.controlplane.servers import ApiServer, ControllerManager, Etcd, Identities, Scheduler

__all__ = ["ControlPlane"]


class ControlPlane(Access):
    """etcd, API server, controller manager and scheduler on free loopback ports; `async with` starts and stops them.

    Its methods may be called from any event loop.

    Args:
        folder: Where data, keys, kubeconfigs and logs go; made if missing.
        programs: Folder of the programs (`programs.built`).
        flags: Of the API server, beside or instead of those it gets anyway, such as `{"min-request-timeout": "5"}`.

    Attributes:
        etcd: The store.
        api_server: The API server.
        controller_manager: The controllers.
        scheduler: The scheduler.
    """

    def __init__(self, folder: Path, programs: Path, flags: Mapping[str, str] | None = None) -> None:
        identities = Identities(folder / "pki", secrets.token_hex(16))
        self.etcd = Etcd(folder / "etcd", programs)
        self.api_server = ApiServer(folder / "api-server", programs, self.etcd, identities, flags)
        super().__init__(self.api_server.url, identities.folder, identities.token, programs, folder)
        self._identities = identities
        config = self.admin.config
        self.controller_manager = ControllerManager(folder / "controller-manager", programs, config, identities)
        self.scheduler = Scheduler(folder / "scheduler", programs, config, identities)

    @property
    def servers(self) -> tuple[Etcd, ApiServer, ControllerManager, Scheduler]:
        """Its processes, in the order of their start."""
        return self.etcd, self.api_server, self.controller_manager, self.scheduler

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start everything and wait until the API server is ready, the namespace `default` included.

        Raises:
            StartError: Something does not start.
        """
        self._identities.write()
        await asyncio.to_thread(self.etcd.start)
        await asyncio.to_thread(self.api_server.start)
        self.controller_manager.launch()
        self.scheduler.launch()
        await asyncio.gather(*(asyncio.to_thread(one.await_ready) for one in (self.controller_manager, self.scheduler)))
        await self._until_there("/api/v1/namespaces/default")

    async def stop(self) -> None:
        """End everything at once: its data are thrown away."""
        for server in reversed(self.servers):
            await asyncio.to_thread(server.kill)

    async def stop_api_server(self, *, kill: bool = False) -> None:
        """End the API server: asked to, which lets watches end in peace, or by SIGKILL."""
        await asyncio.to_thread(self.api_server.kill if kill else self.api_server.stop)

    async def start_api_server(self) -> None:
        """Start it again, on the same port and with the same data, and wait until it is ready.

        Raises:
            StartError: It does not start.
        """
        await asyncio.to_thread(self.api_server.start)

    async def restart_api_server(self, *, kill: bool = False) -> None:
        """End it and start it again.

        Raises:
            StartError: It does not start.
        """
        await self.stop_api_server(kill=kill)
        await self.start_api_server()

    async def compact(self) -> None:
        """Make etcd forget what was. The API server goes on serving what it remembers itself: see `expire`."""
        await asyncio.to_thread(self.etcd.compact)

    async def expire(self) -> None:
        """Make every known resource version too old (410), as the API server's own compaction does in the end.

        It is ended by SIGKILL before etcd compacts, something is written beside it, and it is started again.

        Raises:
            StartError: It does not start.
        """
        mark = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "expired"}, "data": {"at": str(time.time())}}
        await self.apply([mark])
        await self.stop_api_server(kill=True)
        await self.compact()
        await self.start_api_server()

    async def _until_there(self, path: str, seconds: float = 30.0) -> None:
        async with self.client() as client, asyncio.timeout(seconds):
            while True:
                try:
                    await client.get(path)
                except (ApiError, *UNREACHABLE):
                    await asyncio.sleep(0.05)
                else:
                    return

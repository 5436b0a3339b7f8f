"""What runs in the pods of the day, and beside them: applications that say how they are, and a gateway with a certificate.

All of it runs on an event loop in a thread of its own, with the control plane's players, so that tests can wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Coroutine, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

import trustme
from aiohttp import web

from exporter.demo.ports import free_ports

T = TypeVar("T")


class Aside:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="aside")

    def run(self, work: Coroutine[Any, Any, T], seconds: float = 180.0) -> T:
        """Do something there, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()


class Applications:
    """One application for each service, on 127.0.0.1: `/actuator/health`, and nothing else."""

    def __init__(self, names: Iterable[str]) -> None:
        wanted = tuple(names)
        self.ports = dict(zip(wanted, free_ports(len(wanted)), strict=True))
        self._status = dict.fromkeys(wanted, "UP")
        self._runners: list[web.AppRunner] = []

    def say(self, name: str, status: str) -> None:
        """Have one say something else of itself from now on."""
        self._status[name] = status

    async def start(self) -> None:
        for name, port in self.ports.items():
            app = web.Application()
            app.router.add_get("/actuator/health", self._answer(name))
            runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", port).start()
            self._runners.append(runner)

    async def stop(self) -> None:
        for runner in self._runners:
            await runner.cleanup()

    def _answer(self, name: str) -> Any:
        async def answer(_: web.Request) -> web.Response:
            status = self._status[name]
            return web.json_response({"status": status}, status=200 if status == "UP" else 503)

        return answer


class Gateway:
    """Shakes hands with a certificate, and with the next one only when it is told to load it."""

    def __init__(self, authority: trustme.CA) -> None:
        self._authority = authority
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server: asyncio.Server | None = None
        self.port = 0

    def issue(self) -> trustme.LeafCert:
        """Issue a certificate for it, which it does not load."""
        return self._authority.issue_cert("127.0.0.1")

    def load(self, certificate: trustme.LeafCert) -> None:
        """Serve it from the next handshake on."""
        certificate.configure_cert(self._context)

    async def start(self, certificate: trustme.LeafCert) -> None:
        self.load(certificate)
        self._server = await asyncio.start_server(_hang_up, "127.0.0.1", 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await asyncio.sleep(0.05)  # the server's side of the last connection ends


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        await reader.read()
    writer.transport.abort()

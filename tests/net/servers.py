"""Servers on free loopback ports that answer, or fail to, as a test says."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import trustme
from aiohttp import web

__all__ = ["Certificates", "Served", "answer", "handshake_only", "says", "serve", "serve_raw"]

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Route = web.Response | Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Served:
    """A server under test: its port, what it was asked, and how many connections it took."""

    port: int
    requests: list[web.BaseRequest] = field(default_factory=list)
    connections: int = 0

    def paths(self) -> list[str]:
        """Paths asked for, in order."""
        return [request.path for request in self.requests]


def answer(body: bytes | str = b"", status: int = 200, **headers: str) -> web.Response:
    """Make a canned response."""
    data = body.encode() if isinstance(body, str) else body
    return web.Response(body=data, status=status, headers={name.replace("_", "-"): value for name, value in headers.items()})


@asynccontextmanager
async def serve(routes: Mapping[str, Route], tls: ssl.SSLContext | None = None) -> AsyncIterator[Served]:
    """Serve canned responses by path, 404 elsewhere. The mapping may be changed while the server runs."""
    served = Served(0)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        served.requests.append(request)
        route = routes.get(request.path)
        if route is None:
            return web.Response(status=404)
        if isinstance(route, web.Response):
            return answer(route.body if isinstance(route.body, bytes) else b"", route.status, **dict(route.headers))
        assert isinstance(request, web.Request) or callable(route)
        return await route(request)  # type: ignore[arg-type]

    server = web.Server(handle)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    served.port = runner.addresses[0][1]
    try:
        yield served
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serve_raw(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[Served]:
    """Serve connections byte by byte: `talk` gets each one, and it is closed afterwards."""
    served = Served(0)
    under_way: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        served.connections += 1
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, or the test is over
        finally:
            under_way.discard(task)
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        for task in list(under_way):
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


def says(data: bytes, *, then_hang: bool = False) -> Talk:
    """Talk that reads one request and answers with these bytes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        await writer.drain()
        if then_hang:
            await asyncio.Event().wait()

    return talk


@contextmanager
def handshake_only(tls: ssl.SSLContext) -> Iterator[int]:
    """Serve TLS handshakes from a thread; yields the port.

    Unlike a server on asyncio, which drops them, it sends the alert of a handshake that it refuses.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return  # the test is over
                with socket.socket(fileno=os.dup(connection.fileno())) as raw, suppress(OSError):
                    try:
                        tls.wrap_socket(connection, server_side=True).close()
                    except ssl.SSLError:
                        raw.shutdown(socket.SHUT_WR)
                        while raw.recv(4096):
                            pass  # closing with data unread would reset the connection, and the alert be lost

        thread = threading.Thread(target=accept)
        thread.start()
        port = listening.getsockname()[1]
        try:
            yield port
        finally:
            listening.shutdown(socket.SHUT_RDWR)  # wakes accept
            thread.join(5)


class Certificates:
    """A private authority in a folder, and servers that it vouches for."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.ca_file))
        self._folder = folder

    def server(self, name: str = "127.0.0.1", *, expired: bool = False, ask_client: bool = False) -> ssl.SSLContext:
        """Make a server context with a certificate for `name`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        past = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
        leaf = self.ca.issue_cert(name, not_after=past) if expired else self.ca.issue_cert(name)
        leaf.configure_cert(context)
        if ask_client:
            context.verify_mode = ssl.CERT_REQUIRED
            self.ca.configure_trust(context)
        return context

    def client_pem(self) -> Path:
        """Write a client certificate with its key; return the file."""
        path = self._folder / "client.pem"
        self.ca.issue_cert("prober@example.test").private_key_and_cert_chain_pem.write_to_path(str(path))
        return path

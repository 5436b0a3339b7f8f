"""What tests of probes share: a probe of one address, one attempt, servers that misbehave."""

from __future__ import annotations

import asyncio
import socketserver
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import uvloop

from exporter.metrics.family import Family
from exporter.probes import probe_types
from exporter.probing.probe import Probe, SharedClients, Target
from exporter.probing.runner import Outcome, run_probe
from exporter.values import Address

T = TypeVar("T")
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def make(kind: str, shared: SharedClients, host: str, port: int, /, **settings: Any) -> Probe[Any]:
    """Build a probe of one address."""
    probe = probe_types()[kind]
    target = Target("a-service", kind, f"{host}:{port}", (Address(host, port),))
    return probe(target, probe.settings_type(**settings), shared)


async def attempt(probe: Probe[Any], timeout: float = 5.0) -> Outcome:
    """Make one attempt and close the probe's own things."""
    return await run_probe(probe, timeout)


def on_uvloop(steps: Callable[[SharedClients], Awaitable[T]]) -> T:
    """Run steps on the loop that the exporter runs on; the other tests run on asyncio's own."""

    async def main() -> T:
        shared = SharedClients.open()
        try:
            return await steps(shared)
        finally:
            await shared.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def value(outcome: Outcome, family: Family, *labels: str) -> float:
    """Return one sample."""
    return outcome.samples[family][labels]


def reason(outcome: Outcome) -> tuple[str, str] | None:
    """Return stage and reason of a failure."""
    return (outcome.failure.stage.value, outcome.failure.reason.value) if outcome.failure else None


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    """Serve a handler on a free port; return the port."""

    tasks: set[asyncio.Task[Any] | None] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in filter(None, tasks):
            task.cancel()
        await asyncio.gather(*filter(None, tasks), return_exceptions=True)


@contextmanager
def threaded(handler: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    """Serve from threads, so that the event loop under test has the probe to itself; yields the port."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(5)


async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Take everything, answer nothing."""
    while await reader.read(65536):
        pass


def saying(data: bytes, *, once_asked: bool = True) -> Handler:
    """Answer the first bytes with these, and then nothing more."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if once_asked:
            await reader.read(65536)
        writer.write(data)
        await writer.drain()
        await silence(reader, writer)

    return handler


async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes = b"") -> None:
    """Answer with an endless stream."""
    await reader.read(65536)
    writer.write(head)
    while True:
        writer.write(b"A" * 65536)
        await writer.drain()


async def hang_up(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Close once asked."""
    await reader.read(65536)


def bulk(text: bytes) -> bytes:
    """Write a text as Redis answers with one."""
    return b"$%d\r\n%s\r\n" % (len(text), text)


def answering(*answers: bytes) -> Handler:
    """Give one answer for each command of Redis, and none after the last."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"*")
            writer.write(answer)
        await silence(reader, writer)

    return handler

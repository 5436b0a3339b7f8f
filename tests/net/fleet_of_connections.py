"""Ask a thousand addresses over HTTP under a limit of descriptors, on the exporter's own loop; print what came of it."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys

import uvloop
from yarl import URL

from exporter.net.descriptors import raise_limit
from exporter.net.http import HttpClient, Request
from exporter.net.phases import NoPhases
from exporter.net.resolver import Resolver
from exporter.verdict import Failure

INSTANCES = 1000
ROUNDS = 3
SIDE_BY_SIDE = 40

SERVER = """
import asyncio, uvloop
class Answering(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
async def main():
    server = await asyncio.get_running_loop().create_server(Answering, "0.0.0.0", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()
uvloop.run(main())
"""


async def fleet(port: int) -> dict[str, object]:
    """Ask every instance, round after round."""
    resolver = Resolver()
    client = HttpClient(resolver)
    requests = [Request.get(URL(f"http://127.1.{n // 250}.{n % 250 + 1}:{port}/")) for n in range(INSTANCES)]
    gate = asyncio.Semaphore(SIDE_BY_SIDE)
    failures: list[str] = []
    reused = 0
    fewest = 1 << 30

    async def ask(request: Request) -> None:
        nonlocal reused
        async with gate:
            try:
                answer = await client.ask(request, NoPhases(), max_bytes=100)
                reused += answer.reused
            except Failure as failure:
                failures.append(str(failure))

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    for _ in range(ROUNDS):
        await asyncio.gather(*map(ask, requests))
        fewest = min(fewest, limit - len(os.listdir("/proc/self/fd")))  # noqa: PTH208 - an iterator would hold a descriptor
    await client.close()
    await resolver.close()
    return {"failures": failures[:5], "reused": reused / (ROUNDS - 1), "free": fewest}


def main() -> None:
    """Start the server first: the limit is this process's alone."""
    limit = int(sys.argv[1])
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, 200), limit))
            soft = raise_limit()
            print(json.dumps({"soft": soft} | uvloop.run(fleet(port))))  # noqa: T201 - what it is for
        finally:
            server.terminate()


if __name__ == "__main__":
    main()

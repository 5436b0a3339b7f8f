"""The least that anybody pays in Python who watches pods: the lines of a watch, each decoded by `json`, and dropped.

`python -m bench.watcher HOST PORT PATH CERTIFICATE`: what it costs is what any watcher is to be held against.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys

import uvloop

__all__: list[str] = []


async def main(host: str, port: int, path: str, authority: str) -> None:
    """Watch until killed."""
    context = ssl.create_default_context(cafile=authority)
    reader, writer = await asyncio.open_connection(host, port, ssl=context, limit=1 << 20)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    while (await reader.readline()).strip():
        pass
    while size := int(await reader.readline(), 16):  # a chunk is a line
        json.loads(await reader.readexactly(size))
        await reader.readexactly(2)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]))

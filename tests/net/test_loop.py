"""The daemon's event loop starts no thread by itself, and finds names all the same."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys

import pytest

from exporter.cli.serve import _run
from exporter.net.loop import Loop

_CONNECTS = """
import asyncio, os, socket, sys
from exporter.cli.serve import _run

async def connect():
    before = len(os.listdir("/proc/self/task"))
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as raw:
        raw.settimeout(0)
        await asyncio.get_running_loop().sock_connect(raw, server.getsockname())
    print(len(os.listdir("/proc/self/task")) - before)

_run(connect())
"""


def test_connecting_to_an_address_starts_no_thread() -> None:
    """libuv would start four, and abort the process where there can be none, or is no memory for them."""
    done = subprocess.run([sys.executable, "-c", _CONNECTS], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_names_are_found_as_by_python() -> None:
    async def find() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        found = await loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
        assert ("127.0.0.1", 80) in [where for *_, where in found]
        assert found == socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
        with pytest.raises(socket.gaierror):
            await loop.getaddrinfo("no.such.name.invalid", 80)

    _run(find())

"""The daemon's event loop: uvloop's, but for what would start threads of its own."""

from __future__ import annotations

import socket
from functools import partial
from typing import Any

import uvloop

__all__ = ["Loop"]


class Loop(uvloop.Loop):
    """Looks names up in the loop's pool of threads, and addresses at once.

    uvloop has libuv do both, also for each `sock_connect` to an address: at the first, libuv starts four threads, with as
    much stack as the process's own may grow to, and aborts the process where they cannot be started.
    """

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[tuple[Any, ...]]:
        """Return what `socket.getaddrinfo` does."""
        try:
            return list(socket.getaddrinfo(host, port, family, type, proto, flags | socket.AI_NUMERICHOST))
        except socket.gaierror:
            pass
        look_up = partial(socket.getaddrinfo, host, port, family, type, proto, flags)
        return list(await self.run_in_executor(None, look_up))

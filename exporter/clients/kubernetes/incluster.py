"""The way from within a cluster: the pod's service account, whose token the kubelet rotates."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from exporter.clients.kubernetes.access import LARGEST_FILE, SERVICE_ACCOUNT, Way, credentials_failure
from exporter.net.files import read_aside
from exporter.net.tls import ClientTls, TlsSettings
from exporter.values import Address

__all__ = ["InCluster"]

LOOK_SECONDS = 10.0
"""Seconds after which the token's file is looked at again. The kubelet rotates it long before it expires."""

HOLD = 1.0
"""Seconds for which it is not tried again to read what could not be read: many ask at once, and each would wait."""

PATIENCE = 5.0
"""Seconds that reading may take, as on a file system that hangs."""


class InCluster:
    """Follows the service account's files.

    Args:
        files: Where they are.
        environment: Names the API server; default: the process's.
    """

    def __init__(self, files: Path = SERVICE_ACCOUNT, environment: Mapping[str, str] | None = None) -> None:
        self._files = files
        self._environment = os.environ if environment is None else environment
        self._tls: ClientTls | None = None
        self._way: Way | None = None
        self._read_at = 0.0
        self._unreadable: str | None = None
        self._reading = asyncio.Lock()

    async def way(self) -> Way:
        """Return the way by the files as they are; see `Connection`.

        Raises:
            Failure: This process does not run in a cluster, or the files cannot be read.
        """
        async with self._reading:
            loop = asyncio.get_running_loop()
            if self._way is not None and loop.time() - self._read_at < LOOK_SECONDS:
                return self._way
            server = self._server()
            if self._unreadable is not None and loop.time() - self._read_at < HOLD:
                raise credentials_failure(self._unreadable)
            self._unreadable = await self._read_again(server)
            self._read_at = loop.time()
            if self._way is None:
                raise credentials_failure(self._unreadable or "")
            return self._way

    async def _read_again(self, server: str) -> str | None:
        """Make the way anew. Where that fails the one from before stays, and why is returned."""
        try:
            async with asyncio.timeout(PATIENCE):
                token = await read_aside((InCluster, self._files), self._read)
                context = await self._context()
        except TimeoutError:
            return f"{self._files}: the service account's files cannot be read in time"
        except (OSError, ValueError) as error:
            return f"{self._files}: {_said(error)}"
        self._way = Way(server, context, f"Bearer {token}")
        return None

    def refused(self, way: Way) -> None:
        """Have the token read again before the next request."""
        if self._way is way:
            self._way = self._unreadable = None

    async def close(self) -> None:
        """Nothing is under way that does not end by itself."""

    def _server(self) -> str:
        host, port = (self._environment.get(f"KUBERNETES_SERVICE_{name}", "") for name in ("HOST", "PORT"))
        if not host or not port.isdigit():
            raise credentials_failure("not configured: no kubeconfig is named, and this process does not run in a cluster")
        return f"https://{Address(host, int(port))}"

    async def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = await read_aside(
                (ClientTls, self._files), lambda: ClientTls(TlsSettings(ca_file=self._files / "ca.crt"))
            )
        return await self._tls.context()

    def _read(self) -> str:
        with (self._files / "token").open("rb") as file:
            token = file.read(LARGEST_FILE).decode("ascii").strip()
        if not token or not token.isprintable() or " " in token:
            raise ValueError("the token file holds no token")
        return token


def _said(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "the token file holds no token"  # its own text would quote it
    return getattr(error, "strerror", None) or str(error)

"""How a cluster is reached: which one, and by which credentials."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pydantic import Field

from exporter.values import Settings

__all__ = ["ClusterAccess", "Connection", "Way"]


class ClusterAccess(Settings):
    """Which cluster: the one that this process runs in, or one of a kubeconfig."""

    kubeconfig: Path | None = Field(None, description="Kubeconfig file; default: the pod's own service account.")
    context: str | None = Field(None, max_length=500, description="Context in the kubeconfig; default: its current one.")


@dataclass(frozen=True, slots=True)
class Way:
    """How the API server is reached now.

    Attributes:
        server: Its URL, without a slash at the end.
        context: For TLS; None for plain HTTP.
        authorization: Value of the header, None where a client certificate is enough.
        server_name: Name to ask for and to verify, where it is not the URL's host.
    """

    server: str
    context: ssl.SSLContext | None = None
    authorization: str | None = field(default=None, repr=False)
    server_name: str | None = None


class Connection(Protocol):
    """Knows the way to one cluster, by files and credentials as they are now."""

    async def way(self) -> Way:
        """Return the way; what has been rotated or is about to expire was read anew.

        Raises:
            Failure: It cannot be told: no such file, context or credentials.
        """

    def refused(self) -> None:
        """Take in that the API server has refused the credentials: they are read anew before the next request."""

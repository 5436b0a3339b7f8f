"""How a cluster is reached: which one, and by which credentials."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import yaml
from pydantic import Field

from exporter.net.files import read_within
from exporter.values import Settings
from exporter.verdict import Failure, Reason, Stage

__all__ = ["SERVICE_ACCOUNT", "ClusterAccess", "Connection", "Way", "credentials_failure", "own_namespace"]

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds what its service account gives it: `token`, `ca.crt` and `namespace`."""

PATIENCE = 5.0
"""Seconds that finding out the namespace may take, as on a file system that hangs."""

LARGEST_FILE = 1 << 20
"""Bytes that are read of a file: a kubeconfig, a token, a certificate."""


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
        proxy: URL of the proxy that leads to it.
    """

    server: str
    context: ssl.SSLContext | None = None
    authorization: str | None = field(default=None, repr=False)
    server_name: str | None = None
    proxy: str | None = field(default=None, repr=False)


class Connection(Protocol):
    """Knows the way to one cluster, by files and credentials as they are now."""

    async def way(self) -> Way:
        """Return the way; what has been rotated or is about to expire was read anew.

        Raises:
            Failure: It cannot be told: no such file, context or credentials.
        """

    def refused(self, way: Way) -> None:
        """Take in that the API server has refused these credentials: they are read anew before the next request."""

    async def close(self) -> None:
        """End what is under way."""


def credentials_failure(detail: str) -> Failure:
    """Make the failure of an access that cannot be put to use."""
    return Failure(Stage.AUTH, Reason.CREDENTIALS, detail)


def own_namespace(access: ClusterAccess) -> str | None:
    """Return the namespace that an access is for: the pod's own, or that of the kubeconfig's context. Blocking.

    None where it names none, or where this is no pod. Where a kubeconfig cannot be read, as while it is written anew, what
    was read before stays: with another namespace a reload would find none of its pods. What is wrong is told on its use.
    """
    key = access.kubeconfig, access.context
    try:
        found = read_within(PATIENCE, (own_namespace, key), lambda: _namespace_in(*key))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, yaml.YAMLError):
        return _namespaces.get(key)
    if access.kubeconfig is not None:
        _namespaces[key] = found
    return found


def _namespace_in(kubeconfig: Path | None, context: str | None) -> str | None:
    if kubeconfig is None:
        return (SERVICE_ACCOUNT / "namespace").read_text("utf-8").strip() or None
    with kubeconfig.open("rb") as file:
        document = yaml.safe_load(file.read(LARGEST_FILE))
    wanted = context or document["current-context"]
    (found,) = (item["context"].get("namespace") for item in document["contexts"] if item["name"] == wanted)
    return found if isinstance(found, str) and found else None


_namespaces: dict[tuple[Path | None, str | None], str | None] = {}
"""By kubeconfig and context, the namespace that was read last."""

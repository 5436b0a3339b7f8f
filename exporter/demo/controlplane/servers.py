"""The processes of a control plane, each on loopback: etcd, the API server, the controller manager, the scheduler."""

from __future__ import annotations

import csv
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from exporter.demo.ports import free_port
from exporter.demo.servers.base import Server

__all__ = ["ADMIN", "ISSUER", "ApiServer", "ControllerManager", "Etcd", "Identities", "Scheduler", "kubeconfig"]

ISSUER = "https://kubernetes.default.svc"
ADMIN = "admin"

_QUICK = ("--kube-api-qps=300", "--kube-api-burst=600")
"""As fast as the API server is; by default controllers hold themselves to 20 or 50 requests a second."""


@dataclass(frozen=True, slots=True)
class Identities:
    """What the API server knows at its start: the administrator's token, and the key that signs service accounts' tokens.

    Attributes:
        folder: Where they are kept; also where the API server puts its certificate, which it makes itself.
        token: The administrator's.
    """

    folder: Path
    token: str = field(repr=False)

    def write(self) -> None:
        """Write them for the API server to read."""
        self.folder.mkdir(parents=True, exist_ok=True)
        key = rsa.generate_private_key(65537, 2048)
        self.signing_key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.signing_key.chmod(0o600)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (self.folder / "sa.pub").write_bytes(public)
        with self.tokens.open("w", newline="") as file:
            csv.writer(file).writerow([self.token, ADMIN, "admin-uid", "system:masters"])
        self.tokens.chmod(0o600)

    @property
    def signing_key(self) -> Path:
        """Private key of service accounts' tokens."""
        return self.folder / "sa.key"

    @property
    def tokens(self) -> Path:
        """File of tokens that never change."""
        return self.folder / "tokens.csv"

    @property
    def ca_file(self) -> Path:
        """Authority of the API server's certificate: itself."""
        return self.folder / "apiserver.crt"


class Etcd(Server):
    """etcd with one member, which does not wait for its disk."""

    name: ClassVar[str] = "etcd"

    def __init__(self, directory: Path, programs: Path) -> None:
        super().__init__(directory)
        self._program = programs / "etcd"
        self._peer = free_port()

    def command(self) -> Iterable[str | Path]:
        """Return the command line."""
        client, peer = f"http://{self.address}", f"http://{self.host}:{self._peer}"
        return [
            self._program, "--name=e", f"--data-dir={self.directory / 'data'}", "--unsafe-no-fsync",
            f"--listen-client-urls={client}", f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=e={peer}", "--log-level=warn",
        ]  # fmt: skip

    def compact(self) -> int:
        """Forget the history up to now, and return the revision. Blocking.

        Raises:
            OSError: It does not answer.
        """
        revision = int(self._ask("range", {"key": "AA=="})["header"]["revision"])
        self._ask("compaction", {"revision": str(revision), "physical": True})
        return revision

    def _ask(self, what: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(f"http://{self.address}/v3/kv/{what}", data=json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
            told: dict[str, Any] = json.load(answer)
            return told


class ApiServer(Server):
    """kube-apiserver.

    Args:
        directory: Where it keeps its log.
        programs: Folder of the programs.
        etcd: Its store.
        identities: Who may come in; it makes its certificate there.
        flags: Beside, or instead of, those that are given anyway.
    """

    name: ClassVar[str] = "kube-apiserver"
    patience: ClassVar[float] = 120.0

    def __init__(
        self, directory: Path, programs: Path, etcd: Etcd, identities: Identities, flags: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(directory)
        self._program = programs / "kube-apiserver"
        self._identities = identities
        key = str(identities.signing_key)
        self._flags = {
            "etcd-servers": f"http://{etcd.address}",
            "bind-address": self.host,
            "secure-port": str(self.port),
            "advertise-address": self.host,
            "cert-dir": str(identities.folder),
            "service-cluster-ip-range": "10.96.0.0/16",
            "authorization-mode": "Node,RBAC",
            "token-auth-file": str(identities.tokens),
            "service-account-issuer": ISSUER,
            "service-account-key-file": str(identities.folder / "sa.pub"),
            "service-account-signing-key-file": key,
            "service-account-extend-token-expiration": "false",  # or a token of an hour would last a year
            "endpoint-reconciler-type": "none",
            "disable-admission-plugins": "ServiceAccount",
            "profiling": "false",
        } | dict(flags or {})

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"https://{self.address}"

    def command(self) -> Iterable[str | Path]:
        """Return the command line."""
        return [self._program, *(f"--{name}={value}" for name, value in self._flags.items())]

    def ready(self) -> bool:
        """Tell whether it says so itself."""
        request = urllib.request.Request(f"{self.url}/readyz")  # noqa: S310 - loopback
        request.add_header("Authorization", f"Bearer {self._identities.token}")
        try:
            context = ssl.create_default_context(cafile=self._identities.ca_file)
            with urllib.request.urlopen(request, timeout=2, context=context):  # noqa: S310 - loopback
                return True
        except OSError:  # not listening yet, no certificate yet, or not ready: HTTPError is an OSError
            return False


class _Component(Server):
    """What works for the API server, and serves its own state on a port of its own."""

    flags: ClassVar[Sequence[str]] = ()

    def __init__(self, directory: Path, programs: Path, config: Path, identities: Identities) -> None:
        super().__init__(directory)
        self._program = programs / self.name
        self._config = config
        self._identities = identities

    def command(self) -> Iterable[str | Path]:
        """Return the command line."""
        names = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
        return [
            self._program, *(f"--{name}={self._config}" for name in names), f"--bind-address={self.host}",
            f"--secure-port={self.port}", f"--cert-dir={self.directory}", "--leader-elect=false", "--profiling=false",
            *self.flags, *self.own_flags(),
        ]  # fmt: skip

    def own_flags(self) -> Iterable[str]:
        """Return what depends on this one."""
        return ()


class ControllerManager(_Component):
    """kube-controller-manager: Deployments, ReplicaSets, EndpointSlices, HPAs and the rest, less patient than usual."""

    name: ClassVar[str] = "kube-controller-manager"
    flags = (
        *_QUICK, "--node-monitor-period=1s",
        "--horizontal-pod-autoscaler-sync-period=1s", "--horizontal-pod-autoscaler-initial-readiness-delay=1s",
        "--horizontal-pod-autoscaler-cpu-initialization-period=1s",
        "--horizontal-pod-autoscaler-downscale-stabilization=5s",
    )  # fmt: skip

    def own_flags(self) -> Iterable[str]:
        """Return where the keys are."""
        return (
            f"--service-account-private-key-file={self._identities.signing_key}",
            f"--root-ca-file={self._identities.ca_file}",
        )


class Scheduler(_Component):
    """kube-scheduler."""

    name: ClassVar[str] = "kube-scheduler"
    flags = _QUICK


def kubeconfig(server: str, ca_file: Path, name: str, token: str, namespace: str) -> str:
    """Return a kubeconfig with one context, named after the user."""
    return yaml.safe_dump({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "loopback", "cluster": {"server": server, "certificate-authority": str(ca_file)}}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": "loopback", "user": name, "namespace": namespace}}],
        "current-context": name,
    })  # fmt: skip

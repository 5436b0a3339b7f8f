"""metrics.k8s.io in metrics-server's place: what the pods that are played use, as they say themselves.

The API server finds it through a Service of the type ExternalName, the one kind that leads out of the cluster.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from exporter.demo.controlplane.behaviour import Behaviour
from exporter.demo.controlplane.client import Raw
from exporter.demo.controlplane.kubelets import Kubelets
from exporter.demo.controlplane.status import now
from exporter.demo.ports import free_port

__all__ = ["UsageApi"]

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
_BASE = f"/apis/{GROUP}/{VERSION}"
_HOST = "127.0.0.1"


class UsageApi:
    """Serves it for as long as the context lasts.

    Args:
        folder: Where its certificate goes; made if missing.
        kubelets: Whose pods.
    """

    def __init__(self, folder: Path, kubelets: Kubelets) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._kubelets = kubelets
        self.port = free_port()
        app = web.Application()
        app.add_routes([
            web.get(_BASE, self._resources),
            web.get(f"{_BASE}/nodes", self._nodes),
            web.get(f"{_BASE}/pods", self._pods),
            web.get(f"{_BASE}/namespaces/{{namespace}}/pods", self._pods),
        ])  # fmt: skip
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(_certificate(self._folder / "usage.pem"))
        await web.TCPSite(self._runner, _HOST, self.port, ssl_context=context).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    def objects(self) -> list[Raw]:
        """Return what makes the API server ask here."""
        name = {"name": "metrics-server", "namespace": "kube-system"}
        spec = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": self.port}]}
        target = {
            "service": {**name, "port": self.port}, "group": GROUP, "version": VERSION, "insecureSkipTLSVerify": True,
            "groupPriorityMinimum": 100, "versionPriority": 100,
        }  # fmt: skip
        return [
            {"apiVersion": "v1", "kind": "Service", "metadata": name, "spec": spec},
            {
                "apiVersion": "apiregistration.k8s.io/v1",
                "kind": "APIService",
                "metadata": {"name": f"{VERSION}.{GROUP}"},
                "spec": target,
            },
        ]

    async def _resources(self, _: web.Request) -> web.Response:
        kinds = (("nodes", "NodeMetrics", False), ("pods", "PodMetrics", True))
        found = [
            {"name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get", "list"]}
            for name, kind, namespaced in kinds
        ]
        return web.json_response({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/{VERSION}", "resources": found,
        })  # fmt: skip

    async def _nodes(self, _: web.Request) -> web.Response:
        usage = {"cpu": "1", "memory": "4Gi"}
        return _list("NodeMetrics", [{"metadata": {"name": name}, "usage": usage} for name in self._kubelets.nodes()])

    async def _pods(self, request: web.Request) -> web.Response:
        namespace = request.match_info.get("namespace")
        selector = request.query.get("labelSelector", "")
        wanted = dict(part.split("=", 1) for part in selector.replace("==", "=").split(",") if "=" in part)
        return _list("PodMetrics", [
            _of(raw, behaviour) for raw, behaviour in self._kubelets.used()
            if namespace in {None, raw["metadata"]["namespace"]}
            and wanted.items() <= (raw["metadata"].get("labels") or {}).items()
        ])  # fmt: skip


def _of(raw: Raw, behaviour: Behaviour) -> Raw:
    usage = {"cpu": behaviour.cpu, "memory": behaviour.memory}
    meta = {name: raw["metadata"][name] for name in ("name", "namespace", "labels")}
    return {"metadata": meta, "containers": [{"name": one["name"], "usage": usage} for one in raw["spec"]["containers"]]}


def _list(kind: str, items: list[Raw]) -> web.Response:
    version = f"{GROUP}/{VERSION}"
    found = [{"kind": kind, "apiVersion": version, "timestamp": now(), "window": "10s", **item} for item in items]
    return web.json_response({"kind": f"{kind}List", "apiVersion": version, "metadata": {}, "items": found})


def _certificate(path: Path) -> Path:
    """Write a certificate of its own making, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "metrics-server")])
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - timedelta(hours=1))
        .not_valid_after(today + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(_HOST))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    path.chmod(0o600)
    return path

"""The services of the fleet as Deployments on a real Kubernetes control plane, which knows of no other cluster.

A pod's IP is a loopback address of its own; behind its port is the simulated service, for as long as the pod runs.
"""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

from exporter.demo.controlplane import programs
from exporter.demo.controlplane.client import ApiError, Raw
from exporter.demo.controlplane.kubelets import Kubelets
from exporter.demo.controlplane.plane import ControlPlane
from exporter.demo.controlplane.usage import UsageApi
from exporter.demo.controlplane.workloads import PORT_NAME, autoscaler, deployment, labels_of, service
from exporter.demo.golang import BuildError
from exporter.demo.processes import StartError

__all__ = ["GATEWAY_SECRET", "NAMESPACE", "SCALED", "DemoCluster", "build", "workload_of"]

NAMESPACE = "hafnium"
READER = "hafnium-exporter"
REPLICAS = 2
STUCK_SECONDS = 20
"""Until a rollout without progress is stuck; ten minutes are usual."""
SCALED = "screening"
"""The service with a HorizontalPodAutoscaler."""
GATEWAY_SECRET = "gateway-tls"  # noqa: S105 - a name
"""Where the gateway's certificate comes from."""

_READS = ("get", "list", "watch")
RULES = (
    {"apiGroups": [""], "resources": ["pods", "resourcequotas", "secrets"], "verbs": _READS},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": _READS},
    {"apiGroups": ["apps"], "resources": ["deployments", "statefulsets", "replicasets"], "verbs": _READS},
    {"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": _READS},
    {"apiGroups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": _READS},
    {"apiGroups": ["metrics.k8s.io"], "resources": ["pods"], "verbs": ["get", "list"]},
    {"apiGroups": [""], "resources": ["nodes"], "verbs": _READS},
)
"""What the exporter may read."""


def workload_of(name: str) -> str:
    """Return the Deployment of a service."""
    return f"{name}-service"


class DemoCluster:
    """The control plane, the player of kubelets, and the services on them. Nothing runs until `start`.

    Args:
        folder: Where data, keys, kubeconfigs and logs go.
        services: Port on 127.0.0.1 of each service.

    Attributes:
        plane: The control plane.
    """

    def __init__(self, folder: Path, services: Mapping[str, int]) -> None:
        if not programs.available():
            raise StartError("the control plane is not built")
        self.plane = ControlPlane(folder, programs.built())
        self._reader_config = self.plane.kubeconfig_path(READER, NAMESPACE)
        self._folder = folder
        self._services = dict(services)
        self._running = AsyncExitStack()

    async def start(self) -> None:
        """Start everything, and wait until every pod is ready.

        Raises:
            StartError: Something does not start.
        """
        runtime = _Forwarders({workload_of(name): port for name, port in self._services.items()})
        await self._running.enter_async_context(self.plane)
        kubelets = await self._running.enter_async_context(Kubelets(self.plane.client(), runtime=runtime, loopback=True))
        usage = await self._running.enter_async_context(UsageApi(self._folder / "usage", kubelets))
        await self.plane.apply(
            [*usage.objects(), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}]
        )
        await self.plane.as_user(READER, RULES, NAMESPACE, cluster=True, seconds=30 * 86400)
        await self.plane.apply(self._objects(), NAMESPACE)
        rollouts = (
            self.plane.kubectl(
                "rollout", "status", f"deployment/{workload_of(name)}", "--namespace", NAMESPACE, "--timeout=50s"
            )
            for name in self._services
        )
        await asyncio.gather(*rollouts)

    async def stop(self) -> None:
        """End everything."""
        await self._running.aclose()

    def access(self) -> dict[str, Any]:
        """Return the exporter's section `kubernetes`."""
        return {"kubeconfig": str(self._reader_config), "namespace": NAMESPACE}

    def instances(self, name: str) -> dict[str, Any]:
        """Return how the exporter finds a service and asks about it."""
        selector = ",".join(f"{label}={value}" for label, value in labels_of(workload_of(name)).items())
        pods = {"selector": selector, "port": PORT_NAME, "labels": ["node", "zone"]}
        return {
            "instances": {"kubernetes": pods},
            "min_ready": "50%",
            "probes": {"actuator": {}, "kubernetes": {"workload": workload_of(name)}},
        }

    async def reset(self, name: str) -> None:
        """Bring a service back to how it was at the start, with pods that are well."""
        await self.plane.kubelets.scale(NAMESPACE, workload_of(name), REPLICAS)
        await self.roll_out(name)
        for pod in await self.pods(name):
            await self.play(pod, state="running", cpu="50m")

    async def play(self, pod: str, **settings: str | float) -> None:
        """Let a pod behave otherwise; one that a rollout takes away meanwhile has nothing to play any more."""
        try:
            await self.plane.kubelets.play(NAMESPACE, pod, **settings)
        except ApiError as error:
            if error.status != 404:
                raise

    async def roll_out(self, name: str, version: str = "1.0.0", **play: str | float) -> None:
        """Roll a version of a service out, whose pods play something."""
        await self.plane.apply([self._deployment(name, version, **play)], NAMESPACE)

    async def store(self, certificate: Path, key: Path) -> None:
        """Put the gateway's certificate into its Secret."""
        files = {"tls.crt": certificate, "tls.key": key}
        data = {name: base64.b64encode(await asyncio.to_thread(file.read_bytes)).decode() for name, file in files.items()}
        secret = {
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": GATEWAY_SECRET}, "type": "kubernetes.io/tls",
            "data": data,
        }  # fmt: skip
        await self.plane.apply([secret], NAMESPACE)

    async def pods(self, name: str) -> list[str]:
        """Return the names of a service's pods."""
        found = await self.plane.kubelets.pods(NAMESPACE, f"app={workload_of(name)}")
        return [pod["metadata"]["name"] for pod in found if not pod["metadata"].get("deletionTimestamp")]

    def _objects(self) -> list[Raw]:
        found = [self._deployment(name) for name in self._services]
        found += [service(workload_of(name), port) for name, port in self._services.items()]
        return [*found, autoscaler(workload_of(SCALED), REPLICAS, REPLICAS + 1)]

    def _deployment(self, name: str, version: str = "1.0.0", **play: str | float) -> Raw:
        image = f"registry.example/{workload_of(name)}:{version}"
        return deployment(
            workload_of(name), REPLICAS, self._services[name], progress_deadline=STUCK_SECONDS, image=image, play=play
        )


async def build(progress: Callable[[str], None], stop: asyncio.Event) -> None:
    """Build the control plane's programs unless they are built.

    Args:
        progress: Told of each program.
        stop: Set: it is given up.

    Raises:
        StartError: Go is missing, or they cannot be fetched or do not compile.
    """
    if (missing := programs.missing()) is not None:
        raise StartError(missing)
    if programs.available():
        return
    given_up = threading.Event()
    progress("building Kubernetes' control plane, once: 7 minutes of CPU, 4 GB of disk meanwhile")
    loop = asyncio.get_running_loop()

    def tell(text: str) -> None:
        loop.call_soon_threadsafe(progress, text)

    building = asyncio.create_task(asyncio.to_thread(programs.built, tell, given_up))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({building, stopping}, return_when=asyncio.FIRST_COMPLETED)
        given_up.set()
        await building
    except BuildError as error:
        if not stop.is_set():
            raise StartError(str(error)) from error
    finally:
        given_up.set()
        stopping.cancel()


class _Forwarders:
    """What runs in the pods: a listener on the pod's IP that leads to the simulated service.

    Args:
        ports: Port on 127.0.0.1 by workload.
    """

    def __init__(self, ports: Mapping[str, int]) -> None:
        self._ports = ports
        self._servers: dict[str, asyncio.Server] = {}
        self._connections: dict[str, set[asyncio.Task[None]]] = {}

    async def start(self, pod: Raw, ip: str) -> None:
        """Listen."""
        port = self._ports.get(pod["metadata"]["labels"].get("app", ""))
        if port is None:
            return
        open_here = self._connections[ip] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(_forward(reader, writer, port))
            open_here.add(task)
            task.add_done_callback(lambda _: writer.close())  # also of one that is cancelled before it began
            task.add_done_callback(open_here.discard)

        self._servers[ip] = await asyncio.start_server(accept, ip, port)

    async def stop(self, ip: str) -> None:
        """Listen no more, and hang up."""
        server = self._servers.pop(ip, None)
        if server is not None:
            server.close()
        hung_up = tuple(self._connections.pop(ip, ()))
        for task in hung_up:
            task.cancel()
        await asyncio.gather(*hung_up, return_exceptions=True)
        await asyncio.sleep(0)  # the loop lets go of what was closed in its next turn


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    try:
        with suppress(OSError):
            theirs_in, theirs_out = await asyncio.open_connection("127.0.0.1", port)
            pipes = [asyncio.create_task(_pipe(*ends)) for ends in ((reader, theirs_out), (theirs_in, writer))]
            try:
                await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pipe in pipes:
                    pipe.cancel()
                theirs_out.close()
    finally:
        writer.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

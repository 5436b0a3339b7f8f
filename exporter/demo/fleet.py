"""The embedded fleet: every server of the demo, started and ended in order, and a configuration that probes them."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.demo.cluster import GATEWAY_SECRET, DemoCluster
from exporter.demo.ports import free_port
from exporter.demo.processes import StartError
from exporter.demo.servers.base import Server
from exporter.demo.servers.broker import BrokerServer
from exporter.demo.servers.daemon import ExporterServer
from exporter.demo.servers.gateway import Gateway
from exporter.demo.servers.keycloak import KeycloakServer
from exporter.demo.servers.pagerduty import PagerDuty
from exporter.demo.servers.postgres import PostgresServer
from exporter.demo.servers.prometheus import AlertmanagerServer, PrometheusServer
from exporter.demo.servers.springboot import SERVICES, SpringBootServer
from exporter.demo.servers.valkey import ValkeyServer
from exporter.demo.springboot.migrations import VERSIONS, schema_of

__all__ = ["Fleet", "Options", "exporter_config"]

FIRST_SERVICE_PORT = 8081
FACADE = "api-facade"
"""The service that needs all others."""
EXPORTER_PORT, PROMETHEUS_PORT, ALERTMANAGER_PORT, PAGERDUTY_PORT = 9818, 9090, 9093, 9099

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """How to run the fleet.

    Attributes:
        state: Folder for data, logs and the configuration; emptied at the start.
        free_ports: Use free ports instead of the usual ones.
        prometheus: Run Prometheus and Alertmanager, if they are installed.
        interval: Seconds between probes.
        timeout: Seconds that a probe may take; by default three, and never more than the interval.
        scrape_interval: Scrape and evaluate this often instead of as shipped.
        kubernetes: Run the services as Deployments on a control plane, whose programs are built.
        broker: Makes the broker of a folder.
        canary: Topic that a Kafka canary is flown to, which somebody makes; empty for none.
    """

    state: Path
    free_ports: bool = False
    prometheus: bool = True
    interval: float = 5.0
    timeout: float = 3.0
    scrape_interval: str | None = None
    kubernetes: bool = False
    broker: Callable[[Path], Server] = BrokerServer
    canary: str = ""


class Fleet:
    """All servers. Nothing runs until `start`."""

    def __init__(self, options: Options) -> None:
        self.options = options
        folder = options.state
        fixed = not options.free_ports
        self._taken: list[int] = []
        self._threads: list[asyncio.Task[None]] = []
        services = {name: self._port(FIRST_SERVICE_PORT + n, fixed) for n, name in enumerate(SERVICES)}
        exporter_port = self._port(EXPORTER_PORT, fixed)
        with_prometheus = options.prometheus and PrometheusServer.installed()
        with_alertmanager = with_prometheus and AlertmanagerServer.installed()
        prometheus_port = self._port(PROMETHEUS_PORT, fixed and with_prometheus)
        alertmanager_port = self._port(ALERTMANAGER_PORT, fixed and with_alertmanager)
        self.pagerduty = PagerDuty(self._port(PAGERDUTY_PORT, fixed))
        if self._taken:
            ports = ", ".join(map(str, self._taken))
            raise StartError(f"something listens on port {ports} of 127.0.0.1 already: end it, or use --ports free")
        self.postgres = PostgresServer(folder / "postgres")
        self.valkey = ValkeyServer(folder / "valkey")
        self.broker = options.broker(folder / "broker")
        self.springboot = SpringBootServer(folder / "springboot", self.postgres, self.valkey, self.broker, services)
        self.keycloak = KeycloakServer(folder / "keycloak")
        self.gateway = Gateway(folder / "gateway", free_port())
        self.cluster = DemoCluster(folder / "kubernetes", services) if options.kubernetes else None
        self.exporter = ExporterServer(
            folder / "exporter", exporter_port, exporter_config(self, options.interval, options.timeout)
        )
        self.alertmanager: AlertmanagerServer | None = None
        self.prometheus: PrometheusServer | None = None
        if with_alertmanager:
            self.alertmanager = AlertmanagerServer(folder / "alertmanager", alertmanager_port, self.pagerduty)
        if with_prometheus:
            self.prometheus = PrometheusServer(
                folder / "prometheus",
                prometheus_port,
                self.exporter.address,
                self.alertmanager.address if self.alertmanager else None,
                options.scrape_interval,
            )

    def _port(self, usual: int, fixed: bool) -> int:
        if not fixed:
            return free_port()
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", usual))
            except OSError:
                self._taken.append(usual)
        return usual

    @asynccontextmanager
    async def running(self, progress: Progress, stop: asyncio.Event | None = None) -> AsyncIterator[None]:
        """Run everything for as long as the block lasts; it ends in the opposite order, whatever happens.

        Args:
            progress: Told of each server that has started.
            stop: If it is set before everything runs, the rest is not waited for, and the block is entered.

        Raises:
            StartError: A server does not start.
        """
        try:
            await self._start_unless(stop or asyncio.Event(), progress)
            yield
        finally:
            await self._stop()

    async def in_thread(self, act: Callable[[], None]) -> None:
        """Start or end a server without blocking the loop. Cancelled, it goes on: the fleet waits for it at its end."""
        work = asyncio.create_task(asyncio.to_thread(act))
        self._threads.append(work)
        await asyncio.shield(work)

    def ended(self) -> Server | None:
        """Return a server that has ended although neither a fault nor the fleet ended it."""
        return next((server for server in self._servers() if server.child is not None and server.child.failed), None)

    @property
    def services(self) -> dict[str, int]:
        """Port of each service."""
        return self.springboot.ports

    def endpoints(self) -> dict[str, Any]:
        """Return where everything is, for people and tests."""
        return {
            "exporter": f"http://{self.exporter.address}",
            "services": {name: f"http://127.0.0.1:{port}" for name, port in self.services.items()},
            "postgres": self.postgres.address,
            "redis": self.valkey.address,
            "kafka": self.broker.address,
            "keycloak": f"http://{self.keycloak.address}{self.keycloak.issuer_path}",
            "gateway": f"127.0.0.1:{self.gateway.port}",
            "prometheus": f"http://{self.prometheus.address}" if self.prometheus else None,
            "alertmanager": f"http://{self.alertmanager.address}" if self.alertmanager else None,
            "pagerduty": self.pagerduty.url,
            "config": str(self.exporter.config_path),
            "kubeconfig": str(self.cluster.plane.admin.config) if self.cluster else None,
            "pids": [server.child.pid for server in self._servers() if server.child is not None],
        }

    def _servers(self) -> list[Server]:
        found = [
            self.postgres, self.valkey, self.broker, self.springboot, self.exporter, self.alertmanager, self.prometheus,
            self.keycloak,
        ]  # fmt: skip
        of_cluster = self.cluster.plane.servers if self.cluster is not None else ()
        return [server for server in (*of_cluster, *found) if server is not None]

    async def _start_unless(self, stop: asyncio.Event, progress: Progress) -> None:
        starting, stopping = asyncio.create_task(self._start(progress)), asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
        finally:
            for task in (starting, stopping):
                task.cancel()
            await asyncio.gather(starting, stopping, return_exceptions=True)

    async def _start(self, progress: Progress) -> None:
        async def start(server: Server) -> None:
            started = time.monotonic()
            await self.in_thread(server.start)
            progress(f"{server.name} at {server.address}, {time.monotonic() - started:.1f} s")

        await _all(start(self.postgres), start(self.valkey), start(self.broker), start(self.keycloak))
        await self.gateway.start()
        await self.pagerduty.start()
        await start(self.springboot)
        if self.cluster is not None:
            began = time.monotonic()
            await self.cluster.start()
            await self.cluster.store(self.gateway.certificate, self.gateway.key)
            progress(f"Kubernetes at {self.cluster.plane.server}, {time.monotonic() - began:.1f} s")
        await start(self.exporter)
        await _all(*(start(server) for server in (self.alertmanager, self.prometheus) if server is not None))
        (self.options.state / "endpoints.json").write_text(json.dumps(self.endpoints(), indent=2))

    async def _stop(self) -> None:
        while True:
            starting = [work for work in self._threads if not work.done()]
            await self._stop_servers()
            if not starting:
                break
            await asyncio.wait(starting, timeout=0.1)  # one may have had no process yet, and has one now
        await asyncio.gather(*self._threads, return_exceptions=True)
        await self.gateway.stop()
        await self.pagerduty.stop()

    async def _stop_servers(self) -> None:
        if self.cluster is not None:
            await self.cluster.stop()
        for server in reversed(self._servers()):
            await asyncio.to_thread(server.stop)


async def _all(*work: Any) -> None:
    """Wait for everything, and only then raise what failed: nothing is left half started in a thread."""
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


def exporter_config(fleet: Fleet, interval: float, timeout: float) -> dict[str, Any]:
    """Return a configuration that probes the fleet, as config/exporter.yml does the real one."""
    postgres = {
        "user": fleet.postgres.user, "password_file": str(fleet.postgres.password_file), "database": fleet.postgres.database,
        "flyway_expected": {schema_of(service): list(VERSIONS) for service in fleet.services},
    }  # fmt: skip
    shared = ["postgres", "redis", "kafka"]
    needs = dict.fromkeys(fleet.services, shared)
    needs["identity"] = [*shared, "keycloak"]
    needs[FACADE] = [*shared, *(name for name in fleet.services if name != FACADE), "keycloak"]
    keycloak = {
        "scheme": "http", "issuer_path": fleet.keycloak.issuer_path,
        "client": {"client_id": fleet.keycloak.client, "client_secret_file": str(fleet.keycloak.secret_file)},
    }  # fmt: skip
    kafka = {
        "groups": {"include": [".*-service"]}, "topics": {"include": [r"hafnium\..*"]},
        **({"canary": {"topic": fleet.options.canary}} if fleet.options.canary else {}),
    }  # fmt: skip
    secret = {"secret": GATEWAY_SECRET} if fleet.cluster is not None else {}
    return {
        "defaults": {
            "interval": f"{interval:g}s",
            "timeout": f"{min(timeout, interval):g}s",
            "confirm": {"failures": 3},
            "probes": {"actuator": {"groups": ["liveness", "readiness"]}},
        },
        "dependencies": {
            "postgres": {"instances": [fleet.postgres.address], "probes": {"postgres": postgres}},
            "redis": {"instances": [fleet.valkey.address], "probes": {"redis": {}}},
            "kafka": {"instances": [fleet.broker.address], "probes": {"kafka": kafka}},
            "keycloak": {"instances": [fleet.keycloak.address], "probes": {"oidc": keycloak}},
            "gateway": {
                "instances": [f"127.0.0.1:{fleet.gateway.port}"],
                "probes": {"tls": {"ca_file": str(fleet.gateway.authority), **secret}},
            },
        },
        **({"kubernetes": fleet.cluster.access()} if fleet.cluster is not None else {}),
        "services": {name: {**_instances(fleet, name), "depends_on": needs[name]} for name in fleet.services},
    }


def _instances(fleet: Fleet, name: str) -> dict[str, Any]:
    """Return where a service is, and how it is probed."""
    if fleet.cluster is not None:
        return fleet.cluster.instances(name)
    return {"instances": [f"127.0.0.1:{fleet.services[name]}"], "probes": {"actuator": {}}}

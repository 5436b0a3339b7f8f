"""The process of the simulated services, and the way to make something go wrong inside."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

from exporter.demo.ports import free_ports, listens
from exporter.demo.processes import ServerError
from exporter.demo.servers.base import Server
from exporter.demo.servers.postgres import PostgresServer
from exporter.demo.servers.valkey import ValkeyServer

__all__ = ["SERVICES", "SpringBootServer"]

SERVICES = ("identity", "screening", "monitoring", "case", "vault", "risk-engine", "signals", "api-facade")


class SpringBootServer(Server):
    """Eight services in one process.

    Args:
        directory: Where it keeps its log.
        postgres: Their database.
        valkey: Their cache.
        broker: Their broker.
        ports: Port of each service; free ones by default.
    """

    name: ClassVar[str] = "springboot"

    def __init__(
        self,
        directory: Path,
        postgres: PostgresServer,
        valkey: ValkeyServer,
        broker: Server,
        ports: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(directory)
        self.ports = dict(ports or zip(SERVICES, free_ports(len(SERVICES)), strict=True))
        self._spec = {
            "control_port": self.port,
            "postgres": {
                "host": postgres.host,
                "port": postgres.port,
                "user": postgres.user,
                "password_file": str(postgres.password_file),
                "database": postgres.database,
            },
            "redis": {"host": valkey.host, "port": valkey.port},
            "kafka": broker.address,
            "services": [{"name": name, "port": port} for name, port in self.ports.items()],
        }

    def prepare(self) -> None:
        """Write what it is told."""
        (self.directory / "spec.json").write_text(json.dumps(self._spec))

    def command(self) -> Iterable[str | Path]:
        """Return the command line."""
        return [sys.executable, "-m", "exporter.demo.springboot", "--spec", self.directory / "spec.json"]

    def ready(self) -> bool:
        """Tell whether every service listens; the control port comes last."""
        return listens(self.host, self.port)

    def stop(self) -> None:
        """End them without waiting for a consumer that is just joining its group: there is nothing to lose."""
        if self.child is not None:
            self.child.stop(1.0)

    def control(self, service: str, fault: str, *, on: bool) -> None:
        """Make something go wrong in a service, or right again. Blocking.

        Raises:
            ServerError: The services do not take the order.
        """
        body = json.dumps({"service": service, "fault": fault, "on": on}).encode()
        request = urllib.request.Request(f"http://{self.address}/fault", data=body, method="POST")
        refusal = f"the simulated services did not take {fault!r} of {service}"
        try:
            with urllib.request.urlopen(request, timeout=10):  # noqa: S310 - loopback
                pass
        except urllib.error.HTTPError as error:
            with error:
                raise ServerError(f"{refusal}: {error.read(500).decode(errors='replace')}") from error
        except OSError as error:
            raise ServerError(f"{refusal}: {error}") from error

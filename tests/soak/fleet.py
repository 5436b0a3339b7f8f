"""What is probed in a soak: the demo's fleet with a fault every few seconds, and targets that come, go and flap."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from bench.pods import NAMESPACE
from bench.processes import started, wait_for
from exporter.demo.faults import FAULTS
from exporter.demo.fleet import Fleet, Options, exporter_config
from exporter.demo.ports import free_port
from exporter.demo.servers.springboot import SERVICES
from tests.alerts.nameserver import NameServer, name_server
from tests.soak.exporter import SoakedExporter
from tests.soak.flapper import Flapper

__all__ = ["INTERVAL", "WITNESS", "SoakedFleet", "soaked_fleet"]

INTERVAL = 0.2
"""Seconds between attempts: 75 times as fast as the shipped 15 s."""

WITNESS = "witness"
"""A service that is up all the time."""

PROBED = SERVICES[:3]
"""The demo's services that are probed: each costs as much as all that is cheap together."""

_NAME = "churned.example"
_POOL = 60
"""Addresses that come and go, one after the other: each is away for long before it comes again."""

_LASTS = (1.0, 4.0)
"""Seconds that a fault lasts, and that pass until the next."""

_LEFT_OUT = frozenset({
    "gateway-down",  # its port could be somebody else's until it is back
    "last-unread", "slot-left", "db-slow", "redis-slow", "kafka-slow", "keycloak-slow",  # these take minutes to show
})  # fmt: skip

_FLAPPING: Mapping[str, Mapping[str, Any]] = {
    "actuator": {}, "tls": {}, "redis": {}, "kafka": {},
    "postgres": {"user": "nobody", "password": "nothing", "database": "none"},
    "oidc": {"scheme": "http", "issuer_path": "/realms/none"},
}  # fmt: skip


class SoakedFleet:
    """The fleet, and how it changes."""

    def __init__(
        self, fleet: Fleet, exporter: SoakedExporter, names: NameServer, actuators: int, flapper: Flapper, seed: int
    ) -> None:
        self.exporter = exporter
        self.flapper = flapper
        self.faults: dict[str, int] = {}
        self.names = names
        self.fleet = fleet
        self._actuators = actuators
        self._random = random.Random(seed)
        self._turn = 0

    def turn(self) -> None:
        """Let some instances come and others go, and write the configuration anew; of every fifth only half."""
        self._turn += 1
        self.names.addresses[_NAME] = [self._host(n) for n in range(4)]
        services = dict(self.exporter._config["services"])
        instances = [f"{self._host(n)}:{self._actuators}" for n in range(20, 24)]
        services["listed"] = {"instances": instances, "probes": {"actuator": {}}}
        turning = {**services[PROBED[0]], "labels": {"turn": "odd" if self._turn // 10 % 2 else "even"}}
        services[PROBED[0]] = turning
        self.exporter.write({"services": services})
        if self._turn % 5 == 0:
            self.exporter.spoil()

    def _host(self, number: int) -> str:
        at = (self._turn // 2 + number) % _POOL
        return f"127.2.0.{1 + at}" if number < 20 else f"127.3.0.{1 + at}"

    async def break_things(self) -> None:
        """Break something, mend it, and begin again, for ever."""
        possible = [fault for fault in FAULTS.values() if not fault.of_cluster and fault.name not in _LEFT_OUT]
        while True:
            fault, service = self._random.choice(possible), self._random.choice(PROBED)
            await fault.begin(self.fleet, service)
            try:
                await asyncio.sleep(self._random.uniform(*_LASTS))
            finally:
                await fault.end(self.fleet, service)
            self.faults[fault.name] = self.faults.get(fault.name, 0) + 1
            await asyncio.sleep(self._random.uniform(*_LASTS) / 2)


@asynccontextmanager
async def soaked_fleet(folder: Path, seed: int, environment: Mapping[str, str]) -> AsyncIterator[SoakedFleet]:
    """Run it all, the exporter included."""
    fleet = Fleet(Options(folder / "fleet", free_ports=True, prometheus=False, interval=INTERVAL, timeout=INTERVAL))
    flapper, actuators, apiserver = Flapper(seed), free_port(), free_port()
    with ExitStack() as stack:
        stack.callback(flapper.close)
        names = stack.enter_context(name_server())
        _start_actuators(stack, folder, actuators)
        kubeconfig = _start_apiserver(stack, folder, apiserver)
        config = _config(fleet, flapper, actuators, kubeconfig)
        exporter = SoakedExporter(folder / "exporter", config, names.address, environment)
        fleet.exporter = exporter
        soaked = SoakedFleet(fleet, exporter, names, actuators, flapper, seed)
        names.addresses[_NAME] = ["127.2.0.1"]
        async with fleet.running(lambda _: None):
            yield soaked


def _start_actuators(stack: ExitStack, folder: Path, port: int) -> None:
    command = [sys.executable, "-m", "bench.actuators", "--everywhere", str(port)]
    process = stack.enter_context(started(command, folder / "actuators.log"))
    wait_for(f"http://127.0.0.1:{port}/actuator/health", process, folder / "actuators.log", 60)


def _start_apiserver(stack: ExitStack, folder: Path, port: int) -> Path:
    """Run an API server of sixty pods, of which some change every second; return a kubeconfig for it."""
    log, url = folder / "apiserver.log", f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "bench.apiserver", str(port), "--pods", "60", "--services", "3"]
    wait_for(f"{url}/version", stack.enter_context(started(command, log)), log, 60)
    with urllib.request.urlopen(f"{url}/churn?rate=10&mix=all", data=b"", timeout=10):
        pass
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(
        json.dumps({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "soak", "cluster": {"server": url}}],
            "users": [{"name": "soak", "user": {"token": "soak"}}],
            "contexts": [{"name": "soak", "context": {"cluster": "soak", "user": "soak", "namespace": NAMESPACE}}],
            "current-context": "soak",
        })
    )  # fmt: skip
    return kubeconfig


def _config(fleet: Fleet, flapper: Flapper, actuators: int, kubeconfig: Path) -> dict[str, Any]:
    config = exporter_config(fleet, INTERVAL, INTERVAL)
    known = {*PROBED, *config["dependencies"]}
    services = {
        name: {**service, "depends_on": [each for each in service["depends_on"] if each in known]}
        for name, service in config["services"].items()
        if name in PROBED
    }
    steady = {"interval": "2s", "timeout": "2s", "confirm": {"failures": 5}}
    services[WITNESS] = {
        "instances": [f"127.0.0.{n}:{actuators}" for n in (2, 3, 4)], "probes": {"actuator": steady},
    }  # fmt: skip
    services["named"] = {
        "instances": {"dns": _NAME, "port": actuators, "refresh": "1s"}, "probes": {"actuator": {}},
    }  # fmt: skip
    selector = {"selector": "app=service-1,tier=backend"}
    services["pods"] = {
        "instances": [f"127.0.0.5:{actuators}"],
        "probes": {"actuator": {"interval": "5s"}, "kubernetes": {**selector, "interval": "1s", "timeout": "1s"}},
    }
    flapping = {
        f"flapping-{kind}": {"instances": [flapper.address], "probes": {kind: dict(settings)}}
        for kind, settings in _FLAPPING.items()
    }
    return {
        **config,
        "kubernetes": {"kubeconfig": str(kubeconfig), "namespace": NAMESPACE},
        "dependencies": {**config["dependencies"], **flapping},
        "services": services,
    }

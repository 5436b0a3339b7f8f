"""CPU of the whole daemon beside peers over the same actuators: Prometheus for the meters, blackbox_exporter for health."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from bench.actuators import COUNT, HEALTH, METERS
from bench.processes import cpu_seconds, started, wait_for
from exporter.demo.ports import free_port, free_ports

__all__ = [
    "CpuCost", "attempts_so_far", "get", "health_beside_blackbox", "installed", "running", "shipped_beside_prometheus",
    "spent", "url",
]  # fmt: skip

SHIPPED = Path(__file__).parent.parent / "config" / "exporter.yml"
"""The configuration whose actuator settings are measured."""

ROUNDS = 3
"""Turns that each program has; what it spent is summed."""

_ATTEMPTS = re.compile(rb'^probe_latency_seconds_count\{[^}]*outcome="(\w+)"[^}]*\} (\d+)$', re.MULTILINE)
_PARTS = re.compile(rb"^probe_part_success\{[^}]*\} 0$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class CpuCost:
    """What one program spent.

    Attributes:
        runs: Attempts or scrapes that came out well while it was measured.
        seconds: CPU seconds, user and system.
    """

    runs: int
    seconds: float

    def __add__(self, other: CpuCost) -> CpuCost:
        return CpuCost(self.runs + other.runs, self.seconds + other.seconds)

    @property
    def milliseconds(self) -> float:
        """CPU milliseconds for one."""
        return 1000 * self.seconds / self.runs


Measure = Callable[[Path, Sequence[int], float], CpuCost]


def shipped_beside_prometheus(folder: Path, duration: float, *, targets: int = 100) -> tuple[CpuCost, CpuCost]:
    """Measure whole attempts by the shipped settings, and Prometheus's scrapes of the metrics answer, every two seconds.

    Raises:
        RuntimeError: A part is missing, does not start, or something did not come out well.
    """
    settings = yaml.safe_load(SHIPPED.read_text())["defaults"]["probes"]["actuator"]
    return _in_turns(folder, duration, targets, _exporter(settings, interval=2.0, timeout=1.9), _prometheus)


def health_beside_blackbox(folder: Path, duration: float, *, targets: int = 250) -> tuple[CpuCost, CpuCost]:
    """Measure health requests alone, beside blackbox_exporter asked for the same; twice a second each."""
    return _in_turns(folder, duration, targets, _exporter({"metrics": False}, interval=0.5, timeout=0.4), _blackbox)


def _in_turns(folder: Path, duration: float, targets: int, one: Measure, other: Measure) -> tuple[CpuCost, CpuCost]:
    """Measure two programs against the same actuators, the one not running while the other is."""
    ports = free_ports(targets)
    log = folder / "actuators.log"
    costs = CpuCost(0, 0.0), CpuCost(0, 0.0)
    with started([sys.executable, "-m", "bench.actuators", *map(str, ports)], log) as actuators:
        for port in ports:
            wait_for(url(port, HEALTH), actuators, log)
        for _ in range(ROUNDS):
            share = duration / ROUNDS
            costs = costs[0] + one(folder, ports, share), costs[1] + other(folder, ports, share)
    return costs


def url(port: int, path: str = "") -> str:
    """Return a URL of the loopback address."""
    return f"http://127.0.0.1:{port}{path}"


def get(address: str) -> bytes:
    """Return what a URL answers."""
    with urllib.request.urlopen(address) as answer:  # noqa: S310 - a loopback URL
        return bytes(answer.read())


@contextmanager
def running(folder: Path, name: str, command: Sequence[str], ready: str) -> Iterator[int]:
    """Run a program as long as the block lasts; yields its process id once it is ready."""
    log = folder / f"{name}.log"
    with started(command, log) as process:
        wait_for(ready, process, log)
        yield process.pid


def spent(pid: int, duration: float, count: Callable[[], int]) -> CpuCost:
    """Measure for a while what a running program spends, and how much it did."""
    before, used = count(), cpu_seconds(pid)
    time.sleep(duration)
    seconds = cpu_seconds(pid) - used
    return CpuCost(count() - before, seconds)


# --- this project -------------------------------------------------------------------------------------------------------


def _exporter(settings: Mapping[str, Any], *, interval: float, timeout: float) -> Measure:
    def measure(folder: Path, ports: Sequence[int], duration: float) -> CpuCost:
        listen = free_port()
        with _daemon(folder, ports, listen, {"interval": interval, "timeout": timeout, **settings}) as pid:
            time.sleep(2 * interval)  # every connection is open now, and stays
            return spent(pid, duration, lambda: attempts_so_far(get(url(listen, "/metrics"))))

    return measure


def _daemon(folder: Path, ports: Sequence[int], listen: int, settings: Mapping[str, Any]) -> AbstractContextManager[int]:
    config = {
        "server": {"listen": f"127.0.0.1:{listen}"},
        "services": {
            f"service-{n}": {"instances": [f"127.0.0.1:{port}"], "probes": {"actuator": dict(settings)}}
            for n, port in enumerate(ports)
        },
    }
    path = folder / "exporter.yml"
    path.write_text(json.dumps(config))
    command = [sys.executable, "-m", "exporter", "serve", "--config", str(path), "--log-level", "warning"]
    return running(folder, "exporter", command, url(listen, "/-/ready"))


def attempts_so_far(exposition: bytes) -> int:
    """Count the attempts so far.

    Raises:
        RuntimeError: Not all came out up, or a part of one did not work.
    """
    found: dict[bytes, int] = {}
    for outcome, count in _ATTEMPTS.findall(exposition):
        found[outcome] = found.get(outcome, 0) + int(count)
    if found.keys() != {b"up"} or _PARTS.search(exposition):
        raise RuntimeError(f"not every attempt came out up, with all its parts: {found}")
    return found[b"up"]


# --- peers --------------------------------------------------------------------------------------------------------------


def installed(package: str, *names: str) -> str:
    """Return where a program is.

    Raises:
        RuntimeError: It is not installed; the text says of which Debian package it is.
    """
    for name in names:
        binary = shutil.which(name)
        if binary is not None:
            return binary
    raise RuntimeError(f"{names[0]} is not installed: apt-get install {package}")


def _prometheus(folder: Path, ports: Sequence[int], duration: float) -> CpuCost:
    """Measure Prometheus, which scrapes the same targets as often."""
    listen, path = free_port(), folder / "prometheus.yml"
    job = {
        "job_name": "actuators",
        "scrape_interval": "2s",
        "scrape_timeout": "1900ms",
        "metrics_path": METERS,
        "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}],
    }
    path.write_text(json.dumps({"scrape_configs": [job]}))
    command = [
        installed("prometheus", "prometheus"), f"--config.file={path}", f"--storage.tsdb.path={folder}/tsdb-{listen}",
        f"--web.listen-address=127.0.0.1:{listen}", "--log.level=error",
    ]  # fmt: skip
    with running(folder, "prometheus", command, url(listen, "/-/ready")) as pid:
        time.sleep(5)  # every series is there now: making them costs more than adding to them
        cost = spent(pid, duration, lambda: int(get(url(ports[0], COUNT))))
        if _value(listen, "count(up == 1 and scrape_samples_scraped > 400)") != len(ports):
            raise RuntimeError("not every scrape of Prometheus came out well")
        return cost


def _value(listen: int, expression: str) -> float:
    found = json.loads(get(url(listen, f"/api/v1/query?query={urllib.parse.quote(expression)}")))["data"]["result"]
    return float(found[0]["value"][1]) if found else 0.0


_BLACKBOX_RATE = 500.0
"""Probes a second that blackbox_exporter is asked for: as many as this project makes."""


def _blackbox(folder: Path, ports: Sequence[int], duration: float) -> CpuCost:
    """Measure blackbox_exporter with a module that asks for the same and looks at the same."""
    listen, path = free_port(), folder / "blackbox.json"
    modules = {"modules": {"health": {"prober": "http", "timeout": "4s", "http": {
        "preferred_ip_protocol": "ip4", "fail_if_body_not_matches_regexp": ['^{"status":"UP"']}}}}  # fmt: skip
    path.write_text(json.dumps(modules))
    command = [
        installed("prometheus-blackbox-exporter", "prometheus-blackbox-exporter", "blackbox_exporter"),
        f"--config.file={path}", f"--web.listen-address=127.0.0.1:{listen}", "--log.level=error",
    ]  # fmt: skip
    with running(folder, "blackbox", command, url(listen, "/-/healthy")) as pid:
        asyncio.run(_drive(listen, ports, 1.0))
        spent = cpu_seconds(pid)
        probes = asyncio.run(_drive(listen, ports, duration))
        return CpuCost(probes, cpu_seconds(pid) - spent)


async def _drive(listen: int, ports: Sequence[int], duration: float) -> int:
    """Ask blackbox_exporter for probes at the rate, as Prometheus does, over kept-alive connections; return how many."""
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession(base_url=url(listen)) as session:

        async def probe(port: int) -> None:
            async with session.get("/probe", params={"module": "health", "target": url(port, HEALTH)}) as answer:
                if b"\nprobe_success 1\n" not in await answer.read():
                    raise RuntimeError("blackbox_exporter reports a failed probe")

        started_at, count = loop.time(), int(duration * _BLACKBOX_RATE)
        async with asyncio.TaskGroup() as group:
            for n in range(count):
                await asyncio.sleep(max(0.0, started_at + n / _BLACKBOX_RATE - loop.time()))
                group.create_task(probe(ports[n % len(ports)]))
        return count

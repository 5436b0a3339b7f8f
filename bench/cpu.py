"""CPU per health probe: the daemon over kept-alive connections, and blackbox_exporter asked for the same."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bench.processes import cpu_seconds, started, wait_for
from exporter.demo.ports import free_port, free_ports

__all__ = ["CpuCost", "run"]

TARGETS = 250
RATE = 500.0
"""Probes a second, for both."""
_ATTEMPTS = re.compile(rb'^probe_latency_seconds_count\{[^}]*outcome="(\w+)"[^}]*\} (\d+)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class CpuCost:
    """What one program spent.

    Attributes:
        probes: Health probes that came out up while it was measured.
        seconds: CPU seconds, user and system.
    """

    probes: int
    seconds: float

    @property
    def milliseconds_per_probe(self) -> float:
        """CPU milliseconds for one probe."""
        return 1000 * self.seconds / self.probes


def run(folder: Path, duration: float) -> tuple[CpuCost, CpuCost]:
    """Measure the exporter and blackbox_exporter against the same actuators, in turns, the other one not running.

    Raises:
        RuntimeError: A part is missing, does not start, or a probe did not come out up.
    """
    ports = free_ports(TARGETS)
    log = folder / "actuators.log"
    with started([sys.executable, "-m", "bench.actuators", *map(str, ports)], log) as actuators:
        for port in ports:
            wait_for(_health(port), actuators, log)
        return _measure_exporter(folder, ports, duration), _measure_blackbox(folder, ports, duration)


def _measure_exporter(folder: Path, ports: Sequence[int], duration: float) -> CpuCost:
    with _exporter(folder, ports) as exporter:
        time.sleep(2 * TARGETS / RATE)  # every connection is open now, and stays
        before, spent = _attempts(exporter.listen), cpu_seconds(exporter.pid)
        time.sleep(duration)
        seconds = cpu_seconds(exporter.pid) - spent
        after = _attempts(exporter.listen)
    if after.keys() != {"up"}:
        raise RuntimeError(f"not every probe came out up: {after}")
    return CpuCost(after["up"] - before["up"], seconds)


def _measure_blackbox(folder: Path, ports: Sequence[int], duration: float) -> CpuCost:
    with _blackbox(folder) as blackbox:
        asyncio.run(_drive(blackbox.listen, ports, 1.0))
        spent = cpu_seconds(blackbox.pid)
        probes = asyncio.run(_drive(blackbox.listen, ports, duration))
        return CpuCost(probes, cpu_seconds(blackbox.pid) - spent)


@dataclass(frozen=True, slots=True)
class _Running:
    listen: int
    pid: int


@contextmanager
def _exporter(folder: Path, ports: Sequence[int]) -> Iterator[_Running]:
    """Run the real daemon with `TARGETS` actuator probes of health alone."""
    listen = free_port()
    config = {
        "server": {"listen": f"127.0.0.1:{listen}"},
        "defaults": {"interval": TARGETS / RATE, "timeout": 0.4},
        "services": {
            f"service-{n}": {"instances": [f"127.0.0.1:{port}"], "probes": {"actuator": {"metrics": False}}}
            for n, port in enumerate(ports)
        },
    }
    path, log = folder / "exporter.yml", folder / "exporter.log"
    path.write_text(json.dumps(config))
    command = [sys.executable, "-m", "exporter", "serve", "--config", str(path), "--log-level", "warning"]
    with started(command, log) as process:
        wait_for(f"http://127.0.0.1:{listen}/-/ready", process, log)
        yield _Running(listen, process.pid)


@contextmanager
def _blackbox(folder: Path) -> Iterator[_Running]:
    """Run blackbox_exporter with a module that asks for the same and looks at the same."""
    binary = shutil.which("prometheus-blackbox-exporter") or shutil.which("blackbox_exporter")
    if binary is None:
        raise RuntimeError("blackbox_exporter is not installed: apt-get install prometheus-blackbox-exporter")
    listen = free_port()
    modules = {"modules": {"health": {"prober": "http", "timeout": "4s", "http": {
        "preferred_ip_protocol": "ip4", "fail_if_body_not_matches_regexp": ['^{"status":"UP"']}}}}  # fmt: skip
    path, log = folder / "blackbox.json", folder / "blackbox.log"
    path.write_text(json.dumps(modules))
    command = [binary, f"--config.file={path}", f"--web.listen-address=127.0.0.1:{listen}", "--log.level=error"]
    with started(command, log) as process:
        wait_for(f"http://127.0.0.1:{listen}/-/healthy", process, log)
        yield _Running(listen, process.pid)


async def _drive(listen: int, ports: Sequence[int], duration: float) -> int:
    """Ask blackbox_exporter for probes at the rate, as Prometheus does, over kept-alive connections; return how many."""
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession(base_url=f"http://127.0.0.1:{listen}") as session:

        async def probe(port: int) -> None:
            async with session.get("/probe", params={"module": "health", "target": _health(port)}) as answer:
                if b"\nprobe_success 1\n" not in await answer.read():
                    raise RuntimeError("blackbox_exporter reports a failed probe")

        started_at, count = loop.time(), int(duration * RATE)
        async with asyncio.TaskGroup() as group:
            for n in range(count):
                await asyncio.sleep(max(0.0, started_at + n / RATE - loop.time()))
                group.create_task(probe(ports[n % len(ports)]))
        return count


def _health(port: int) -> str:
    return f"http://127.0.0.1:{port}/actuator/health"


def _attempts(listen: int) -> dict[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{listen}/metrics") as answer:
        text = answer.read()
    found: dict[str, int] = {}
    for outcome, count in _ATTEMPTS.findall(text):
        found[outcome.decode()] = found.get(outcome.decode(), 0) + int(count)
    return found

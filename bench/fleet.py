"""A fleet of 5,000 instances by the shipped settings: what it costs, how late it runs, how long the loop stands still.

Every instance has an address of its own, 127.x.y.z, and one process answers for all of them. `python -m bench.fleet`.
"""

from __future__ import annotations

import gzip
import json
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import yaml

from bench.processes import started, wait_for
from exporter.demo.ports import free_port

__all__ = ["FleetCost", "StartCost", "measure_fleet", "measure_start"]

SHIPPED = Path(__file__).parent.parent / "config" / "exporter.yml"
INTERVAL = 15.0
SETTLE = 2 * INTERVAL + 5
"""Seconds after the start until every connection is open and every target has been asked twice."""

ON_TIME_SECONDS = 0.05
"""How late an attempt may start, on a machine as fast as the limits are for."""

_LATENESS = re.compile(r'^probe_lateness_seconds_bucket\{[^}]*le="([^"]+)"\} (\d+)$', re.MULTILINE)
_VALUE = re.compile(r"^(\w+) (\S+)$", re.MULTILINE)
_SUCCESS = re.compile(r"^probe_success\{[^}]*\} ([01])$", re.MULTILINE)
_UNKNOWN = re.compile(r'^probe_unknown\{[^}]*reason="(\w+)"\} 1$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class FleetCost:
    """What the fleet cost.

    Attributes:
        instances: How many there were.
        cores: CPU seconds a second, user and system, the whole daemon.
        rss: Resident memory in MiB, between scrapes.
        within: How late an attempt may start, in seconds: the bound of a bucket of the lateness histogram.
        on_time: Share of attempts that started no later.
        start_stall: Longest stall of the event loop while it started, in seconds.
        steady_stall: The same while nothing happened.
        outage_stall: The same while every instance went away at once.
        outage_down: Instances that were told to be down then.
    """

    instances: int
    cores: float
    rss: float
    within: float
    on_time: float
    start_stall: float
    steady_stall: float
    outage_stall: float
    outage_down: int


@dataclass(frozen=True, slots=True)
class StartCost:
    """What the command line costs when there is nothing to do.

    Attributes:
        version: CPU seconds of `--version`.
        usage: CPU seconds of a wrong option.
        idle: CPU seconds a second of a daemon with nothing due.
    """

    version: float
    usage: float
    idle: float


def measure_fleet(
    folder: Path, duration: float, instances: int = 5000, services: int = 100, slowness: float = 1.0
) -> FleetCost:
    """Run the fleet and measure it.

    Args:
        slowness: How many times slower this machine is than the one that the limits are for.

    Raises:
        RuntimeError: Not every instance was up, or the daemon ended.
    """
    port, listen = free_port(), free_port()
    log = folder / "actuators.log"
    with started([sys.executable, "-m", "bench.actuators", "--everywhere", str(port)], log) as actuators:
        wait_for(f"http://127.0.0.1:{port}/actuator/health", actuators, log)
        with _daemon(folder, listen, _config(listen, port, instances, services)) as pid:
            start_stall = _worst_stall(listen, SETTLE)
            _expect_up(listen, instances)
            before, spent = _lateness(_scrape(listen)), _cpu_seconds(pid)
            began = time.monotonic()
            steady_stall = _worst_stall(listen, duration)
            time.sleep(1)  # what the last scrape took has been given back
            rss = _resident(pid) / 2**20
            cores = (_cpu_seconds(pid) - spent) / (time.monotonic() - began)
            within, on_time = _on_time(before, _lateness(_scrape(listen)), ON_TIME_SECONDS * slowness)
            _expect_up(listen, instances)
            actuators.send_signal(signal.SIGKILL)
            outage_stall = _worst_stall(listen, 2 * INTERVAL + 5)
            down = _SUCCESS.findall(_scrape(listen)).count("0")
    return FleetCost(instances, cores, rss, within, on_time, start_stall, steady_stall, outage_stall, down)


def measure_start(folder: Path) -> StartCost:
    """Measure the command line and an idle daemon."""
    listen = free_port()
    probes = {"actuator": {"interval": "1h"}}
    config = {
        "server": {"listen": f"127.0.0.1:{listen}"},
        "services": {"idle": {"instances": [f"127.0.0.1:{free_port()}"], "probes": probes}},
    }
    with _daemon(folder, listen, config) as pid:
        time.sleep(20)  # its first attempt is over
        spent = _cpu_seconds(pid)
        time.sleep(30)
        idle = (_cpu_seconds(pid) - spent) / 30
    return StartCost(_cpu_of("--version"), _cpu_of("check", "--no-such-option"), idle)


def _cpu_of(*arguments: str) -> float:
    """Return the CPU seconds of a command, the median of five: the first has cold caches."""
    found = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "exporter", *arguments]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)  # noqa: S603 - ours
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return sorted(found)[2]


def _config(listen: int, port: int, instances: int, services: int) -> dict[str, object]:
    shipped = yaml.safe_load(SHIPPED.read_text())
    defaults = shipped["defaults"]
    names = [f"127.{1 + n // 62500}.{n // 250 % 250}.{1 + n % 250}:{port}" for n in range(instances)]
    return {
        "server": {"listen": f"127.0.0.1:{listen}"},
        "limits": shipped["limits"],
        "defaults": {**defaults, "probes": {"actuator": defaults["probes"]["actuator"]}},
        "services": {f"service-{n}": {"instances": names[n::services], "probes": {"actuator": {}}} for n in range(services)},
    }


@contextmanager
def _daemon(folder: Path, listen: int, config: dict[str, object]) -> Iterator[int]:
    path, log = folder / f"exporter-{listen}.yml", folder / f"exporter-{listen}.log"
    path.write_text(json.dumps(config))
    command = [sys.executable, "-m", "exporter", "serve", "--config", str(path), "--log-level", "warning"]
    with started(command, log) as process:
        wait_for(f"http://127.0.0.1:{listen}/-/healthy", process, log)
        yield process.pid


def _cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of all threads of a process, to the nanosecond: proc(5), schedstat."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def _resident(pid: int) -> int:
    """Return the resident memory of a process in bytes: proc(5), statm."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def _scrape(listen: int) -> str:
    """Scrape as Prometheus does, compressed."""
    request = urllib.request.Request(f"http://127.0.0.1:{listen}/metrics", headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - a loopback URL
        return gzip.decompress(answer.read()).decode()


def _worst_stall(listen: int, seconds: float) -> float:
    """Return the longest stall in a stretch of time: the daemon tells that of the last 15 s, and is asked in between."""
    worst, until = 0.0, time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(min(10.0, max(0.1, until - time.monotonic())))
        worst = max(worst, _value(_scrape(listen), "probe_exporter_loop_lag_seconds"))
    return worst


def _value(exposition: str, name: str) -> float:
    return next(float(value) for found, value in _VALUE.findall(exposition) if found == name)


def _lateness(exposition: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for bound, count in _LATENESS.findall(exposition):
        found[bound] = found.get(bound, 0) + int(count)
    return found


def _on_time(before: dict[str, int], after: dict[str, int], most: float) -> tuple[float, float]:
    """Return the widest bucket that is no wider than what is allowed, and the share of attempts in it."""
    bound = max((bound for bound in after if float(bound) <= most), key=float)
    return float(bound), (after[bound] - before[bound]) / (after["+Inf"] - before["+Inf"])


def _expect_up(listen: int, instances: int) -> None:
    exposition = _scrape(listen)
    up = _SUCCESS.findall(exposition).count("1")
    if up != instances:
        reasons = _UNKNOWN.findall(exposition)
        counted = {reason: reasons.count(reason) for reason in set(reasons)}
        raise RuntimeError(f"{up} of {instances} instances are up; unknown: {counted}")


@click.command()
@click.option("--instances", default=5000, show_default=True)
@click.option("--duration", default=45.0, show_default=True, help="Seconds to measure for, once all is settled.")
def main(instances: int, duration: float) -> None:
    """Measure a fleet and the command line."""
    with tempfile.TemporaryDirectory() as folder:
        click.echo(measure_start(Path(folder)))
        click.echo(measure_fleet(Path(folder), duration, instances))


if __name__ == "__main__":
    main()

"""CPU of an attempt of the postgres probe beside a scrape of postgres_exporter, of the same server with the same role."""

from __future__ import annotations

import json
import shutil
import sys
import time
import urllib.request
from pathlib import Path

from bench.cpu import CpuCost
from bench.processes import cpu_seconds, started, wait_for
from exporter.demo.ports import free_port
from exporter.demo.servers.postgres import PostgresServer

__all__ = ["postgres_beside_postgres_exporter"]

INTERVAL = 0.1
"""Seconds between two attempts, and between two scrapes."""

WARM = 20
"""Attempts and scrapes that are made before it is measured."""


def postgres_beside_postgres_exporter(folder: Path, duration: float) -> tuple[CpuCost, CpuCost]:
    """Measure both, one after the other.

    Raises:
        RuntimeError: postgres_exporter is missing, one does not start, or something did not come out well.
    """
    with PostgresServer(folder / "postgres") as server:
        return _ours(folder, server, duration), _theirs(folder, server, duration)


def _ours(folder: Path, server: PostgresServer, duration: float) -> CpuCost:
    listen, path, log = free_port(), folder / "exporter.yml", folder / "exporter.log"
    settings = {
        "interval": INTERVAL, "timeout": INTERVAL, "user": server.user, "password_file": str(server.password_file),
        "database": server.database,
    }  # fmt: skip
    instance = f"{server.host}:{server.port}"
    config = {
        "server": {"listen": f"127.0.0.1:{listen}"},
        "services": {"database": {"instances": [instance], "probes": {"postgres": settings}}},
    }
    path.write_text(json.dumps(config))
    command = [sys.executable, "-m", "exporter", "serve", "--config", str(path), "--log-level", "warning"]
    with started(command, log) as process:
        wait_for(f"http://127.0.0.1:{listen}/-/ready", process, log)
        time.sleep(WARM * INTERVAL)
        before, spent = _attempts(listen), cpu_seconds(process.pid)
        time.sleep(duration)
        seconds = cpu_seconds(process.pid) - spent
        return CpuCost(_attempts(listen) - before, seconds)


def _attempts(listen: int) -> int:
    total = 0
    for line in _get(f"http://127.0.0.1:{listen}/metrics").splitlines():
        if line.startswith("probe_latency_seconds_count{"):
            if 'outcome="up"' not in line:
                raise RuntimeError(f"an attempt did not come out up: {line}")
            total += int(float(line.rpartition(" ")[2]))
    return total


def _theirs(folder: Path, server: PostgresServer, duration: float) -> CpuCost:
    binary = shutil.which("prometheus-postgres-exporter")
    if binary is None:
        raise RuntimeError("prometheus-postgres-exporter is not installed: apt-get install prometheus-postgres-exporter")
    listen, log = free_port(), folder / "postgres-exporter.log"
    login = f"{server.user}:{server.password}@{server.host}:{server.port}/{server.database}"
    source = f"DATA_SOURCE_NAME=postgresql://{login}?sslmode=disable"
    url = f"http://127.0.0.1:{listen}/metrics"
    with started([shutil.which("env") or "env", source, binary, f"--web.listen-address=127.0.0.1:{listen}"], log) as process:
        wait_for(url, process, log)
        for _ in range(WARM):
            _scrape(url)
        spent, end, scrapes = cpu_seconds(process.pid), time.monotonic() + duration, 0
        while time.monotonic() < end:
            _scrape(url)
            scrapes += 1
            time.sleep(INTERVAL)
        return CpuCost(scrapes, cpu_seconds(process.pid) - spent)


def _scrape(url: str) -> None:
    if "\npg_up 1\n" not in _get(url):
        raise RuntimeError("postgres_exporter reports that the server is down")


def _get(url: str) -> str:
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - a loopback URL
        return str(answer.read().decode())

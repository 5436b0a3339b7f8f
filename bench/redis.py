"""CPU of the redis probe beside redis_exporter, over the same Valkeys."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.cpu import CpuCost, attempts_so_far, get, installed, running, spent, url
from bench.processes import cpu_seconds
from exporter.demo.ports import free_port
from exporter.demo.servers.valkey import ValkeyServer

__all__ = ["redis_beside_redis_exporter"]

SERVERS = 20
ROUNDS = 3
INTERVAL = 0.2
"""Seconds between attempts of a server: 100 a second over all, so that the daemon's own cost is little of it."""

_UP = re.compile(rb"^redis_up 1$", re.MULTILINE)


def redis_beside_redis_exporter(folder: Path, duration: float) -> tuple[CpuCost, CpuCost]:
    """Measure attempts of the redis probe, and scrapes of redis_exporter, as many a second.

    Each connects anew for each of them, as both do as shipped. redis_exporter has one server of its own, which is what costs
    it least.

    Raises:
        RuntimeError: redis_exporter is missing, a part does not start, or something did not come out well.
    """
    binary = installed("prometheus-redis-exporter", "prometheus-redis-exporter", "redis_exporter")
    costs = CpuCost(0, 0.0), CpuCost(0, 0.0)
    with ExitStack() as stack:
        servers = [stack.enter_context(ValkeyServer(folder / f"valkey-{n}")) for n in range(SERVERS)]
        for _ in range(ROUNDS):
            share = duration / ROUNDS
            costs = costs[0] + _ours(folder, servers, share), costs[1] + _theirs(folder, binary, servers[0], share)
    return costs


def _ours(folder: Path, servers: Sequence[ValkeyServer], duration: float) -> CpuCost:
    listen, path = free_port(), folder / "redis.yml"
    instances = [f"{server.host}:{server.port}" for server in servers]
    config = {
        "server": {"listen": f"127.0.0.1:{listen}"},
        "dependencies": {"cache": {"instances": instances, "probes": {"redis": {"interval": INTERVAL, "timeout": 0.19}}}},
    }
    path.write_text(json.dumps(config))
    command = [sys.executable, "-m", "exporter", "serve", "--config", str(path), "--log-level", "warning"]
    with running(folder, "redis", command, url(listen, "/-/ready")) as pid:
        time.sleep(2 * INTERVAL)
        return spent(pid, duration, lambda: attempts_so_far(get(url(listen, "/metrics"))))


def _theirs(folder: Path, binary: str, server: ValkeyServer, duration: float) -> CpuCost:
    listen = free_port()
    command = [binary, f"-redis.addr=redis://{server.host}:{server.port}", f"-web.listen-address=127.0.0.1:{listen}"]
    with running(folder, "redis_exporter", command, url(listen, "/health")) as pid:
        _scrape(listen)
        before, began, count = cpu_seconds(pid), time.monotonic(), int(duration * SERVERS / INTERVAL)
        for n in range(count):
            time.sleep(max(0.0, began + n * INTERVAL / SERVERS - time.monotonic()))
            _scrape(listen)
        return CpuCost(count, cpu_seconds(pid) - before)


def _scrape(listen: int) -> None:
    if not _UP.search(get(url(listen, "/metrics"))):
        raise RuntimeError("redis_exporter does not reach its server")

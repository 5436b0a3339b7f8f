"""Cost of a scrape: of a daemon that keeps a whole fleet, over HTTP, and of prometheus_client over the same samples.

The daemon has really probed every instance by the shipped settings, so its families, labels and values are those that it
has at work; while it is scraped it has nothing else to do. CPU time is of all its threads: joining, compressing, sending.
"""

from __future__ import annotations

import gzip
import http.client
import json
import statistics
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from bench.actuators import HEALTH
from bench.processes import started, wait_for
from exporter.demo.ports import free_port

__all__ = ["AT_ONCE", "Cpu", "ScrapeCost", "fleet_of", "run"]

SHIPPED = Path(__file__).parent.parent / "config" / "exporter.yml"

SERIES = 100_000
"""Series that the daemon has, at least."""

AT_ONCE = 10
"""Scrapers that ask at the same moment."""

SERVICES = 50

ROUNDS = 15
PEER_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds, user and system, the median of several rounds.

    Attributes:
        whole: Of all threads of the process.
        loop: Of them, of the event loop's thread.
    """

    whole: float
    loop: float


@dataclass(frozen=True, slots=True)
class ScrapeCost:
    """What scrapes cost.

    Attributes:
        series: Series in the exposition.
        size: Bytes of it, plain.
        plain: One scrape.
        packed: One scrape, compressed.
        at_once: `AT_ONCE` scrapes at the same moment, compressed, together.
        client: CPU seconds of prometheus_client's generate_latest, handed the same samples ready-made.
        client_packed: The same, and compressing them as its own server does.
    """

    series: int
    size: int
    plain: Cpu
    packed: Cpu
    at_once: Cpu
    client: float
    client_packed: float

    @property
    def plain_ratio(self) -> float:
        """How many times cheaper a scrape is."""
        return self.client / self.plain.whole

    @property
    def packed_ratio(self) -> float:
        """How many times cheaper a compressed scrape is."""
        return self.client_packed / self.packed.whole

    @property
    def loop_ratio(self) -> float:
        """How many times less a compressed scrape holds the event loop up than prometheus_client would."""
        return self.client_packed / self.packed.loop

    @property
    def at_once_ratio(self) -> float:
        """How many scrapes it costs to answer `AT_ONCE` at the same moment."""
        return self.at_once.whole / self.packed.whole


def run(folder: Path) -> ScrapeCost:
    """Measure both.

    Raises:
        RuntimeError: A part does not start, an instance is not up, or the two do not tell the same.
    """
    with fleet_of(folder, SERIES) as (pid, port):
        plain = _median(pid, lambda: _scrape(port, "identity"))
        packed = _median(pid, lambda: _scrape(port, "gzip"))
        at_once = _median(pid, lambda: _scrape_at_once(port))
        exposition = _scrape(port, "identity")
    metrics = list(text_string_to_metric_families(exposition.decode()))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Ready(metrics))
    written = generate_latest(registry)
    if _samples(metrics) != _samples(text_string_to_metric_families(written.decode())):
        raise RuntimeError("the exporter and prometheus_client export different samples")
    return ScrapeCost(
        series=sum(len(metric.samples) for metric in metrics),
        size=len(exposition),
        plain=plain,
        packed=packed,
        at_once=at_once,
        client=_own_median(lambda: generate_latest(registry)),
        client_packed=_own_median(lambda: gzip.compress(generate_latest(registry))),
    )


class _Ready:
    """A collector whose metrics are there: what collecting them would cost is not counted, in prometheus_client's favour."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


@contextmanager
def fleet_of(folder: Path, series: int) -> Iterator[tuple[int, int]]:
    """Run a daemon until it has so many series, and nothing more to do; yield its process id and its port."""
    port, listen = free_port(), free_port()
    log = folder / "scrape-actuators.log"
    with started([sys.executable, "-m", "bench.actuators", "--everywhere", str(port)], log) as actuators:
        wait_for(f"http://127.0.0.1:{port}{HEALTH}", actuators, log)
        with _daemon(folder, listen, [f"127.1.0.1:{port}"]) as _:
            each = _count(_settled(listen, 1))
        instances = [f"127.1.{n // 250}.{1 + n % 250}:{port}" for n in range(series // each + 1)]
        with _daemon(folder, listen, instances) as pid:
            _settled(listen, len(instances))
            yield pid, listen


@contextmanager
def _daemon(folder: Path, listen: int, instances: list[str]) -> Iterator[int]:
    shipped = yaml.safe_load(SHIPPED.read_text())["defaults"]["probes"]["actuator"]
    config = {
        "server": {"listen": f"127.0.0.1:{listen}"},
        "defaults": {"probes": {"actuator": {**shipped, "interval": "6h", "timeout": "30s"}}},
        "services": {
            f"service-{n}": {"instances": some, "probes": {"actuator": {}}}
            for n in range(SERVICES)
            if (some := instances[n::SERVICES])
        },
    }
    path, log = folder / "scrape.yml", folder / "scrape.log"
    path.write_text(json.dumps(config))
    command = [sys.executable, "-m", "exporter", "serve", "--config", str(path), "--log-level", "warning"]
    with started(command, log) as process:
        wait_for(f"http://127.0.0.1:{listen}/-/healthy", process, log)
        yield process.pid


def _settled(port: int, instances: int) -> bytes:
    """Wait until every instance is up; return what is exported then.

    Raises:
        RuntimeError: They are not, in a minute.
    """
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        exposition = _scrape(port, "identity")
        up = sum(line.startswith(b"probe_success{") and line.endswith(b" 1") for line in exposition.split(b"\n"))
        if up == instances:
            return exposition
        time.sleep(0.5)
    raise RuntimeError(f"{up} of {instances} instances are up")


def _count(exposition: bytes) -> int:
    """Return how many series one target has."""
    return sum(b'target="' in line for line in exposition.split(b"\n"))


def _scrape(port: int, encoding: str) -> bytes:
    """Scrape as Prometheus does; return the body as it came."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics", headers={"Accept-Encoding": encoding})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if (answer.status, answer.getheader("Content-Encoding", "identity")) != (200, encoding):
        raise RuntimeError(f"a scrape came out {answer.status}")
    return body


def _scrape_at_once(port: int) -> None:
    """Scrape several times at the same moment.

    Raises:
        RuntimeError: They do not say the same.
    """
    gate = threading.Barrier(AT_ONCE)

    def one(_: int) -> int:
        gate.wait()
        return zlib.decompress(_scrape(port, "gzip"), wbits=31).count(b"\n")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        lines = set(pool.map(one, range(AT_ONCE)))
    if len(lines) != 1:
        raise RuntimeError(f"scrapes of one moment differ: {lines} lines")


def _median(pid: int, work: Callable[[], object]) -> Cpu:
    work()
    whole, loop = [], []
    for _ in range(ROUNDS):
        before = _cpu(pid)
        work()
        time.sleep(0.05)  # until the last thread has put its work down
        after = _cpu(pid)
        whole.append(after.whole - before.whole)
        loop.append(after.loop - before.loop)
    return Cpu(statistics.median(whole), statistics.median(loop))


def _cpu(pid: int) -> Cpu:
    """Read the CPU seconds of a process to the nanosecond: proc(5), schedstat. Its first thread is the event loop's."""
    tasks = {task.name: int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()}
    return Cpu(sum(tasks.values()) / 1e9, tasks[str(pid)] / 1e9)


def _own_median(work: Callable[[], object]) -> float:
    times = []
    for _ in range(PEER_ROUNDS):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return statistics.median(times)


def _samples(metrics: Iterable[Metric]) -> set[tuple[str, tuple[tuple[str, str], ...], float]]:
    return {(s.name, tuple(sorted(s.labels.items())), s.value) for metric in metrics for s in metric.samples}

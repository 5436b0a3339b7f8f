"""Watching 5,000 pods of which 100 change each second: memory over the idle process, and CPU beside the least there is.

The API server is played by a process of its own, over TLS, with pods as long as real ones: on two cores, the real one would
leave too little to what is measured. `python -m bench.kubernetes`.
"""

from __future__ import annotations

import json
import re
import ssl
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import trustme

from bench.apiserver import PODS
from bench.pods import NAMESPACE
from bench.processes import cpu_seconds, started, wait_for
from exporter.demo.ports import free_port

__all__ = ["KubernetesCost", "kubernetes_checks", "measure_kubernetes", "print_kubernetes"]

MAX_MEMORY_MIB = 60
MAX_CORES = 0.05
MAX_RATIO = 2.0

SETTLE = 20.0
"""Seconds until every probe has run once, and what starting took is over."""

_MEMORY = re.compile(r"^(VmRSS|VmHWM):\s+(\d+) kB$", re.MULTILINE)
_COUNTED = re.compile(r'^probe_kubernetes_pods\{[^}]*phase="running"[^}]*\} (\d+)$', re.MULTILINE)
_KNOWN = re.compile(r"^probe_discovery_instances\{[^}]*\} (\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class KubernetesCost:
    """What it costs to know of pods.

    Attributes:
        pods: How many there were.
        services: Of how many services.
        memory: Resident MiB over those of a daemon whose cluster has none.
        peak: The same at the highest, while they were listed.
        quiet: CPU seconds a second, user and system, the whole daemon, while none changes.
        cores: The same while they change.
        rate: Changes a second that were told meanwhile.
        size: Bytes of each.
        least: CPU seconds a second of a process that only decodes the same events with `json`, in the same seconds.
        decoding: CPU seconds of `json.loads` for one event, in a row.
    """

    pods: int
    services: int
    memory: float
    peak: float
    quiet: float
    cores: float
    rate: float
    size: float
    least: float
    decoding: float

    @property
    def ratio(self) -> float:
        """How many times more it is than decoding the same."""
        return self.cores / self.least


def measure_kubernetes(
    folder: Path, duration: float, pods: int = 5000, rate: float = 100.0, services: int = 50
) -> KubernetesCost:
    """Run the exporter over many pods.

    Raises:
        RuntimeError: A part does not start, or does not know of all pods.
    """
    authority = trustme.CA()
    certificate = folder / "apiserver.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    with _server(folder, certificate, 0, services) as server, _daemon(folder, server, services) as daemon:
        daemon.wait_for_pods(0)  # an idle process: all that is needed for pods, and none
        idle, idle_peak = daemon.memory()
    with _server(folder, certificate, pods, services) as server, _daemon(folder, server, services) as daemon:
        daemon.wait_for_pods(pods)
        memory, peak = daemon.memory()
        quiet = daemon.cores(duration / 2)
        with _watcher(folder, server) as watcher:
            server.ask(f"/churn?rate={rate}")
            time.sleep(2)
            before, spent, began = server.told(), cpu_seconds(watcher), time.monotonic()
            cores = daemon.cores(duration)
            after, seconds = server.told(), time.monotonic() - began
            least = (cpu_seconds(watcher) - spent) / seconds
        server.ask("/churn?rate=0")
        memory = max(memory, daemon.memory()[0])
        decoding = _decoding(server)
    events = after["events"] - before["events"]
    return KubernetesCost(
        pods=pods,
        services=services,
        memory=memory - idle,
        peak=peak - idle_peak,
        quiet=quiet,
        cores=cores,
        rate=events / seconds,
        size=(after["bytes"] - before["bytes"]) / events,
        least=least,
        decoding=decoding,
    )


@dataclass(frozen=True, slots=True)
class _Server:
    url: str
    context: ssl.SSLContext
    authority: Path

    def ask(self, path: str) -> bytes:
        """Ask by POST, which a list takes as well."""
        request = urllib.request.Request(self.url + path, method="POST")  # noqa: S310 - a loopback URL
        with urllib.request.urlopen(request, context=self.context) as answer:  # noqa: S310
            return bytes(answer.read())

    def told(self) -> dict[str, int]:
        """Return how many events, and bytes of them, were told."""
        return {str(key): int(value) for key, value in json.loads(self.ask("/told")).items()}


@dataclass(frozen=True, slots=True)
class _Daemon:
    pid: int
    listen: int

    def wait_for_pods(self, count: int, seconds: float = 120.0) -> None:
        """Wait until pods are counted and instances found, and a while.

        Raises:
            RuntimeError: They are not, in time.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            exposition = self._scrape()
            found = [sum(map(int, pattern.findall(exposition))) for pattern in (_COUNTED, _KNOWN)]
            if found == [count, count]:
                time.sleep(SETTLE)
                return
            time.sleep(1)
        raise RuntimeError(f"{found} pods and instances are known, and not {count}")

    def memory(self) -> tuple[float, float]:
        """Return MiB, now and at the highest."""
        found = dict(_MEMORY.findall(Path(f"/proc/{self.pid}/status").read_text()))
        return int(found["VmRSS"]) / 1024, int(found["VmHWM"]) / 1024

    def cores(self, seconds: float) -> float:
        """Return what it spends a second, for a while."""
        spent, began = cpu_seconds(self.pid), time.monotonic()
        time.sleep(seconds)
        return (cpu_seconds(self.pid) - spent) / (time.monotonic() - began)

    def _scrape(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.listen}/metrics") as answer:
            return str(answer.read().decode())


@contextmanager
def _server(folder: Path, certificate: Path, pods: int, services: int) -> Iterator[_Server]:
    port, log = free_port(), folder / "apiserver.log"
    command = [
        sys.executable, "-m", "bench.apiserver", str(port), "--pods", str(pods), "--services", str(services),
        "--certificate", str(certificate),
    ]  # fmt: skip
    authority = folder / "ca.pem"
    server = _Server(f"https://127.0.0.1:{port}", ssl.create_default_context(cafile=authority), authority)
    with started(command, log) as process:
        wait_for(f"{server.url}/version", process, log, context=server.context)
        yield server


@contextmanager
def _daemon(folder: Path, server: _Server, services: int) -> Iterator[_Daemon]:
    listen = free_port()
    path, log, kubeconfig = (folder / name for name in ("kubernetes.yml", "kubernetes.log", "kubeconfig"))
    kubeconfig.write_text(json.dumps(_kubeconfig(server)))
    selected = {f"service-{n}": f"app=service-{n},tier=backend" for n in range(services)}
    config = {
        "server": {"listen": f"127.0.0.1:{listen}"},
        "kubernetes": {"kubeconfig": str(kubeconfig), "namespace": NAMESPACE},
        "services": {
            name: {
                "instances": {"kubernetes": {"selector": selector, "port": "management"}},
                "probes": {"kubernetes": {}},
            }
            for name, selector in selected.items()
        },
    }
    path.write_text(json.dumps(config))
    command = [sys.executable, "-m", "exporter", "serve", "--config", str(path), "--log-level", "warning"]
    with started(command, log) as process:
        wait_for(f"http://127.0.0.1:{listen}/-/healthy", process, log)
        yield _Daemon(process.pid, listen)


def _kubeconfig(server: _Server) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "bench", "cluster": {"server": server.url, "certificate-authority": str(server.authority)}},
        ],
        "users": [{"name": "bench", "user": {"token": "bench"}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench", "namespace": NAMESPACE}}],
        "current-context": "bench",
    }


@contextmanager
def _watcher(folder: Path, server: _Server) -> Iterator[int]:
    version = json.loads(server.ask(f"{PODS}?limit=1"))["metadata"]["resourceVersion"]
    host, _, port = server.url.removeprefix("https://").partition(":")
    path = f"{PODS}?watch=1&resourceVersion={version}"
    command = [sys.executable, "-m", "bench.watcher", host, port, path, str(server.authority)]
    with started(command, folder / "watcher.log") as process:
        time.sleep(1)
        if process.poll() is not None:
            raise RuntimeError((folder / "watcher.log").read_text())
        yield process.pid


def _decoding(server: _Server) -> float:
    """Return what one event takes to decode, in a row: the median of several times all of a page."""
    items = json.loads(server.ask(f"{PODS}?limit=500"))["items"]
    lines = [json.dumps({"type": "MODIFIED", "object": item}, separators=(",", ":")).encode() for item in items]
    times = []
    for _ in range(5):
        began = time.process_time()
        for line in lines:
            json.loads(line)
        times.append((time.process_time() - began) / len(lines))
    return sorted(times)[2]


def print_kubernetes(cost: KubernetesCost, slowness: float = 1.0) -> None:
    """Print what it costs, beside its limits."""
    kilobytes, own = cost.size / 1000, 1e6 * cost.decoding
    changes = f"{cost.rate:.0f} changes a second of {kilobytes:.1f} kB each"
    click.echo(f"Watching {cost.pods:,} pods of {cost.services} services, {changes}:")
    click.echo(f"  memory             {cost.memory:8.1f} MiB  over a process without pods, at most {MAX_MEMORY_MIB}")
    click.echo(f"  at its highest     {cost.peak:8.1f} MiB  over the same, while they were listed, at most {MAX_MEMORY_MIB}")
    click.echo(f"  CPU                {100 * cost.cores:8.2f} %    of a core, at most {100 * MAX_CORES * slowness:.1f}")
    click.echo(f"  while all is quiet {100 * cost.quiet:8.2f} %    the probes alone")
    click.echo(f"  a bare watcher     {100 * cost.least:8.2f} %    TLS and json of the same ({own:.0f} µs each, in a row)")
    click.echo(f"  ratio              {cost.ratio:8.2f}      at most {MAX_RATIO}")


def kubernetes_checks(cost: KubernetesCost, slowness: float = 1.0) -> dict[str, bool]:
    """Say which limits are kept.

    Args:
        cost: What was measured.
        slowness: How many times slower this machine is than the one that the limits are for.
    """
    return {
        "memory of pods": max(cost.memory, cost.peak) <= MAX_MEMORY_MIB,
        "CPU of pods that change": cost.cores <= MAX_CORES * slowness,
        "CPU of pods that change, beside a bare watcher": cost.ratio <= MAX_RATIO,
    }


@click.command()
@click.option("--pods", default=5000, show_default=True)
@click.option("--rate", default=100.0, show_default=True, help="Changes a second.")
@click.option("--services", default=50, show_default=True)
@click.option("--duration", default=40.0, show_default=True, help="Seconds to measure for, once all is settled.")
def main(pods: int, rate: float, services: int, duration: float) -> None:
    """Measure what watching pods costs."""
    with tempfile.TemporaryDirectory() as folder:
        cost = measure_kubernetes(Path(folder), duration, pods, rate, services)
    print_kubernetes(cost)


if __name__ == "__main__":
    main()

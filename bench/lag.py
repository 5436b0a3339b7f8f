"""Lag of many groups of Apache Kafka: the daemon's CPU, time and memory beside `kafka-consumer-groups` in the same run.

`python -m bench.lag` measures it alone.
"""

from __future__ import annotations

import asyncio
import json
import re
import resource
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from aiokafka.protocol.commit import OffsetCommitRequest

from bench.processes import cpu_seconds, started, wait_for
from exporter.demo.ports import free_port
from tests.fixtures.kafkas import KafkaCluster, kafka_cluster

__all__ = ["SIZES", "LagCost", "Size", "lag_checks", "measure_lag", "print_lag"]

MAX_RATIO = 0.25
MAX_MEMORY_MIB = 400

ROUNDS = 3
"""Attempts that are measured, after the first, which makes every series."""

INTERVAL = 20.0

SCRAPES = 20
"""Scrapes that are measured, one after the other, while no attempt is under way."""

_LAG = re.compile(
    r'^probe_kafka_consumer_group_lag\{[^}]*group="([^"]*)",topic="([^"]*)",partition="([^"]*)"\} (\S+)$', re.MULTILINE
)
_RUNS = re.compile(r'^probe_latency_seconds_(count|sum)\{[^}]*probe="kafka"[^}]*\} (\S+)$', re.MULTILINE)
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is to read.

    Attributes:
        groups: Consumer groups, without members.
        commits: Of each.
        topics: Of 20 partitions each.
    """

    groups: int
    commits: int
    topics: int

    @property
    def partitions(self) -> list[tuple[str, int]]:
        """All partitions."""
        return [(f"topic-{topic:03}", number) for topic in range(self.topics) for number in range(PARTITIONS)]


PARTITIONS = 20

SIZES = (Size(500, 20, 25), Size(2000, 50, 100))


@dataclass(frozen=True, slots=True)
class LagCost:
    """What it costs to know every lag once.

    Attributes:
        size: How much there was.
        lags: Lags that the daemon exports.
        equal: Whether they are all those that the tool prints, and the same.
        attempt: CPU seconds of an attempt, the whole daemon, while nobody scrapes.
        scrape: CPU seconds of a scrape, the whole daemon, while no attempt is under way.
        wall: Seconds that an attempt takes.
        peak: Resident MiB of the daemon at the highest.
        tool_cpu: CPU seconds of the tool.
        tool_wall: Seconds that it takes.
    """

    size: Size
    lags: int
    equal: bool
    attempt: float
    scrape: float
    wall: float
    peak: float
    tool_cpu: float
    tool_wall: float

    @property
    def cpu(self) -> float:
        """CPU seconds of a round: an attempt and a scrape. A peer that reads as it is scraped does both at once."""
        return self.attempt + self.scrape

    @property
    def ratio(self) -> float:
        """CPU of a round as a share of the tool's."""
        return self.cpu / self.tool_cpu


def measure_lag(folder: Path, size: Size) -> LagCost:
    """Run a broker with so many commits, and the daemon beside it.

    Raises:
        RuntimeError: A part is missing, or does not start.
    """
    missing = [tool for tool in ("java", "javac", "mvn") if shutil.which(tool) is None]
    if missing:
        raise RuntimeError(f"{', '.join(missing)} missing: apt-get install default-jdk-headless maven")
    with kafka_cluster(folder / f"kafka-{size.groups}", 1) as cluster:
        asyncio.run(_fill(cluster, size))
        with _daemon(folder, cluster) as (pid, listen):
            before = _wait_for_rounds(listen, 1)
            spent = cpu_seconds(pid)
            time.sleep(ROUNDS * INTERVAL)
            cpu = cpu_seconds(pid) - spent
            after = _rounds(listen)
            scrape = _cost_of_scrapes(pid, listen)
            peak = int(_PEAK.findall(Path(f"/proc/{pid}/status").read_text())[0]) / 1024
            lags = {(group, topic, number): float(lag) for group, topic, number, lag in _LAG.findall(_scrape(listen))}
        used, began = _children(), time.monotonic()
        theirs = cluster.lags()
        tool_wall, tool_cpu = time.monotonic() - began, _children() - used
    rounds = after["count"] - before["count"]
    return LagCost(
        size=size,
        lags=len(lags),
        equal=lags == theirs,
        attempt=cpu / rounds,
        scrape=scrape,
        wall=(after["sum"] - before["sum"]) / rounds,
        peak=peak,
        tool_cpu=tool_cpu,
        tool_wall=tool_wall,
    )


def _children() -> float:
    """Return CPU seconds of children that have ended: the tool is one, the broker runs on."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def _fill(cluster: KafkaCluster, size: Size) -> None:
    """Make the topics, and let each group commit: a different slice of all partitions each."""
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.first.address, request_timeout_ms=120_000)
    await admin.start()
    try:
        names = sorted({topic for topic, _ in size.partitions})
        for at in range(0, len(names), 10):
            await admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names[at : at + 10]])
        node, room = await _coordinator(admin), asyncio.Semaphore(8)
        await asyncio.gather(*(_commit(admin, node, room, group, size) for group in range(size.groups)))
    finally:
        await admin.close()


async def _commit(admin: AIOKafkaAdminClient, node: int, room: asyncio.Semaphore, group: int, size: Size) -> None:
    partitions = size.partitions
    by_topic: dict[str, list[tuple[int, int, str]]] = {}
    for at in range(group * size.commits, (group + 1) * size.commits):
        topic, number = partitions[at % len(partitions)]
        by_topic.setdefault(topic, []).append((number, at % 7, ""))
    request = OffsetCommitRequest(f"group-{group:04}", -1, "", -1, list(by_topic.items()))
    deadline = time.monotonic() + 120
    async with room:
        while time.monotonic() < deadline:
            answer = await admin._client.send(node, request)
            if not any(error for _, numbers in answer.topics for _, error in numbers):
                return
            await asyncio.sleep(0.5)  # the topic of offsets is being made
    raise RuntimeError(f"group {group} cannot commit: {answer}")


async def _coordinator(admin: AIOKafkaAdminClient) -> int:
    """Return the one broker, once it coordinates groups."""
    while True:
        try:
            return int(await admin.find_coordinator("group-0000"))
        except KafkaError:
            await asyncio.sleep(0.5)


@contextmanager
def _daemon(folder: Path, cluster: KafkaCluster) -> Iterator[tuple[int, int]]:
    listen, path, log = free_port(), folder / "lag.yml", folder / "lag.log"
    config = {
        "server": {"listen": f"127.0.0.1:{listen}"},
        "services": {
            "events": {
                "instances": [cluster.first.address],
                "probes": {"kafka": {"interval": INTERVAL, "timeout": INTERVAL - 1}},
            }
        },
    }
    path.write_text(json.dumps(config))
    command = [sys.executable, "-m", "exporter", "serve", "--config", str(path), "--log-level", "warning"]
    with started(command, log) as process:
        wait_for(f"http://127.0.0.1:{listen}/-/healthy", process, log, seconds=120)
        yield process.pid, listen


def _scrape(listen: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{listen}/metrics") as answer:
        return str(answer.read().decode())


def _rounds(listen: int) -> Mapping[str, float]:
    """Return how many attempts are done, and the seconds that they took."""
    found = {"count": 0.0, "sum": 0.0}
    for what, value in _RUNS.findall(_scrape(listen)):
        found[what] += float(value)
    return found


def _wait_for_rounds(listen: int, count: int) -> Mapping[str, float]:
    """Wait until so many attempts are done, and return as `_rounds` does."""
    deadline = time.monotonic() + 3 * INTERVAL * (count + 1)
    while time.monotonic() < deadline:
        found = _rounds(listen)
        if found["count"] >= count:
            return found
        time.sleep(1)
    raise RuntimeError(f"{found['count']:.0f} attempts are done, and not {count}")


def _cost_of_scrapes(pid: int, listen: int) -> float:
    """Return the CPU seconds of a scrape, of those between two attempts.

    Raises:
        RuntimeError: They take so long that an attempt always comes between.
    """
    for _ in range(ROUNDS):
        rounds = _wait_for_rounds(listen, int(_rounds(listen)["count"]) + 1)  # one has just ended
        spent = cpu_seconds(pid)
        for _ in range(SCRAPES):
            _scrape(listen)
        cost = (cpu_seconds(pid) - spent) / SCRAPES
        if _rounds(listen) == rounds:
            return cost
    raise RuntimeError(f"{SCRAPES} scrapes take longer than the {INTERVAL:g} s between two attempts")


def print_lag(costs: list[LagCost]) -> None:
    """Print what it costs, beside its limits."""
    for cost in costs:
        size = cost.size
        click.echo(
            f"Lag of {size.groups:,} groups of Kafka, {size.commits} commits each, on {len(size.partitions):,} partitions:"
        )
        same = "the same as" if cost.equal else "NOT the same as"
        click.echo(f"  lags               {cost.lags:8,}      {same} kafka-consumer-groups prints")
        click.echo(f"  hafnium-exporter   {cost.cpu:8.2f} s    CPU of a round, whole daemon: an attempt and a scrape")
        click.echo(f"  an attempt         {cost.attempt:8.2f} s    CPU, while nobody scrapes; {cost.wall:.2f} s long")
        click.echo(f"  a scrape           {cost.scrape:8.3f} s    CPU, while no attempt is under way")
        click.echo(f"  the tool           {cost.tool_cpu:8.2f} s    CPU; {cost.tool_wall:.2f} s long")
        click.echo(f"  ratio              {cost.ratio:8.2f}      at most {MAX_RATIO}")
        click.echo(f"  at its highest     {cost.peak:8.0f} MiB  at most {MAX_MEMORY_MIB}")


def lag_checks(costs: list[LagCost]) -> dict[str, bool]:
    """Say which limits are kept."""
    return {
        "every lag": all(cost.equal for cost in costs),
        "CPU of lags, beside the tool": all(cost.ratio <= MAX_RATIO for cost in costs),
        "memory of lags": all(cost.peak <= MAX_MEMORY_MIB for cost in costs),
    }


@click.command()
def main() -> None:
    """Measure what knowing every lag costs."""
    with tempfile.TemporaryDirectory() as folder:
        costs = [measure_lag(Path(folder), size) for size in SIZES]
    print_lag(costs)
    sys.exit(not all(lag_checks(costs).values()))


if __name__ == "__main__":
    main()

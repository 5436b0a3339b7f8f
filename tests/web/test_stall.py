"""Readers of a real engine with thousands of targets: what they cost, and that the event loop goes on beside them."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import os
import time
from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from exporter.engine.views import FleetView, Neighbours, ServiceView, TargetView
from exporter.metrics.family import gauge
from exporter.probing.attempt import Attempt
from exporter.values import Address
from exporter.verdict import Verdict
from exporter.web.server import serve
from tests.engine.bench import Bench, down
from tests.pace import piece_of_work
from tests.web.conftest import ANYWHERE
from tests.web.samples import FakeBackend

FACT = gauge("probe_stall_fact", "A fact.", "number")
SERVICES = 100
READERS = 10
MOST_HELD = 3.0
"""Times what a fixed piece of work takes: about 20 ms where that takes seven."""

SHARED = 1.05
"""Seconds after which an answer is made anew: pages are shared for one."""


async def learn(attempt: Attempt) -> None:
    """Come out up, with as many facts as an actuator with its usual metrics gives."""
    for number in range(60):
        attempt.record(FACT, 1.5 * number, str(number))


class EngineBackend(FakeBackend):
    """A daemon with a real engine."""

    bench: Bench

    @property
    def edition(self) -> Hashable:
        return self.bench.engine.changes

    async def fleet(self) -> FleetView:
        self.lists += 1
        return FleetView(**dict(self.about()), services=await self.bench.engine.views())

    def names(self) -> list[str]:
        return self.bench.engine.names

    def kinds(self, service: str | None) -> list[str]:
        return self.bench.engine.kinds(service)

    async def service(self, name: str, most: int) -> ServiceView | None:
        return await self.bench.engine.view(name, most)

    def neighbours(self, name: str) -> Neighbours:
        return self.bench.engine.neighbours(name)

    def targets(self, service: str | None, probe: str | None, verdict: Verdict | None) -> Iterator[TargetView]:
        return self.bench.engine.target_views(service, probe, verdict)


@asynccontextmanager
async def daemon(targets: int) -> AsyncIterator[Address]:
    """Serve a fleet of so many targets, each with three attempts behind it; of each service one is down.

    The test run's own objects are frozen: walking them is not what is measured.
    """
    bench = Bench()
    bench.play = learn
    each = targets // SERVICES
    for n in range(SERVICES):
        bench.plays[f"h{n}-0:1"] = down
    services = ", ".join(
        f"s{n}: {{instances: [{', '.join(f'h{n}-{i}:1' for i in range(each))}], probes: {{actuator: {{interval: 6h}}}}}}"
        for n in range(SERVICES)
    )
    writer = asyncio.create_task(bench.engine._reconciler.run())
    await bench.configure(f"services: {{{services}}}")
    for n in range(SERVICES):
        for state in bench.engine.find(f"s{n}", "actuator"):
            for _ in range(3):
                await state.run(lateness=0.0, recheck=False)
    backend = EngineBackend()
    backend.bench = bench
    gc.collect()
    gc.freeze()
    async with serve(backend, ANYWHERE) as address:
        yield address
    gc.unfreeze()
    writer.cancel()
    await asyncio.gather(writer, return_exceptions=True)
    await bench.stop()


async def _longest_hold(stop: asyncio.Event) -> float:
    """Return the most CPU seconds that the loop's thread spent without giving this task its turn."""
    longest, before = 0.0, time.thread_time()
    while not stop.is_set():
        await asyncio.sleep(0)
        now = time.thread_time()
        longest, before = max(longest, now - before), now
    return longest


async def _curl(address: Address, path: str, output: Path, *options: str) -> None:
    """Read an answer into a file: taking it into this process would hold its loop up."""
    process = await asyncio.create_subprocess_exec("curl", "-sS", "-o", str(output), *options, f"http://{address}{path}")
    assert await process.wait() == 0


async def _held_by_readers(address: Address, path: str, files: list[Path], *options: str) -> float:
    """Return the most CPU seconds that readers at once hold the loop up."""
    stop = asyncio.Event()
    watch = asyncio.create_task(_longest_hold(stop))
    await asyncio.gather(*(_curl(address, path, file, *options) for file in files))
    stop.set()
    await asyncio.sleep(SHARED)
    return await watch


@pytest.mark.measures
async def test_ten_readers_of_five_thousand_targets_do_not_hold_the_loop_up(tmp_path: Path) -> None:
    """F12: ten readers at once held it for up to 0.47 s.

    In CPU time of the loop's thread, beside that of a fixed piece of work: neither a busy nor a slow machine matters. The
    clients are other processes.
    """
    most = MOST_HELD * piece_of_work()
    async with daemon(5000) as address:
        for path in ("/api/v1/services", "/api/v1/targets", "/api/v1/targets?verdict=down", "/", "/services/s3"):
            for options in ((), ("-H", "Accept-Encoding: gzip")):
                files = [tmp_path / str(n) for n in range(READERS)]
                for left in range(2, -1, -1):  # what holds it up does so each time, a neighbour of the machine does not
                    held = await _held_by_readers(address, path, files, *options)
                    if held < most:
                        break
                    assert left, (path, *options, held, most)
                texts = [gzip.decompress(file.read_bytes()) if options else file.read_bytes() for file in files]
                assert min(map(len, texts)) > 20_000
                if path == "/api/v1/targets":
                    assert {len(json.loads(text)["targets"]) for text in texts} == {5000}
                if path.endswith("down"):
                    assert {len(json.loads(text)["targets"]) for text in texts} == {SERVICES}


async def _cpu(targets: int) -> dict[str, float]:
    """Return the CPU seconds that a reader costs by path, all threads: the least of five; others can only add to it."""
    async with daemon(targets) as address:
        costs: dict[str, list[float]] = {"/": [], "/api/v1/services": []}
        for _ in range(5):
            for path, found in costs.items():
                before = time.process_time()
                await _curl(address, path, Path(os.devnull))
                found.append(time.process_time() - before)
            await asyncio.sleep(SHARED)
        return {path: min(found) for path, found in costs.items()}


@pytest.mark.measures
async def test_what_lists_services_costs_the_same_however_many_targets_they_have() -> None:
    """F12: 1.0 s of CPU at 5,000 targets. Fifteen targets of a service already fill what is shown of it; four times as many
    must not cost twice as much.
    """
    many, few = await _cpu(6000), await _cpu(1500)
    for path, cost in many.items():
        assert cost < 2.0 * few[path], path

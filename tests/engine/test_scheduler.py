"""The schedule, on a fake clock: fixed rate, spread, caps, rechecks, lateness, missed runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from exporter.engine.scheduler import JITTER, Scheduler

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]


@dataclass
class Recorder:
    """A job that notes when it ran."""

    key: str = "a"
    host: str = "h"
    interval: float = 10.0
    recheck: float = 2.5
    takes: float = 0.0
    failing: bool = False
    starts: list[float] = field(default_factory=list)
    lateness: list[float] = field(default_factory=list)
    rechecks: list[float] = field(default_factory=list)
    misses: int = 0
    running: int = 0
    most: int = 0

    async def run(self, *, lateness: float, recheck: bool) -> bool:
        now = asyncio.get_running_loop().time()
        (self.rechecks if recheck else self.starts).append(now)
        self.lateness.append(lateness)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.takes)
        finally:
            self.running -= 1
        return self.failing

    def missed(self) -> None:
        self.misses += 1


@asynccontextmanager
async def running(scheduler: Scheduler) -> AsyncIterator[None]:
    task = asyncio.create_task(scheduler.run())
    try:
        yield
    finally:
        task.cancel()
        await scheduler.drain(0.001)


def steady(per_host: int = 10, in_flight: int = 10) -> Scheduler:
    return Scheduler(in_flight, per_host, jitter=lambda: 0.0)


async def test_runs_keep_a_fixed_rate_whatever_they_take() -> None:
    job, scheduler = Recorder(takes=3.0), steady()
    scheduler.add(job)
    async with running(scheduler):
        await asyncio.sleep(100)
    gaps = [b - a for a, b in zip(job.starts, job.starts[1:], strict=False)]
    assert len(job.starts) == 10
    assert gaps == pytest.approx([10.0] * 9, abs=0.01)
    assert job.misses == 0


async def test_jitter_moves_runs_without_drift() -> None:
    shares = iter([0.0, 1.0, 0.5] * 10)
    job = Recorder()
    scheduler = Scheduler(10, 10, jitter=lambda: next(shares))
    scheduler.add(job)
    async with running(scheduler):
        await asyncio.sleep(95)
    offsets = [(start - job.starts[0]) % 10 for start in job.starts]
    assert max(offsets) <= JITTER * 10 + 0.01
    assert job.starts[3] - job.starts[0] == pytest.approx(30, abs=0.01)


async def test_jobs_are_spread_over_the_first_interval() -> None:
    jobs, scheduler = [Recorder(key=f"job{n}") for n in range(200)], steady(1000, 1000)
    for job in jobs:
        scheduler.add(job)
    async with running(scheduler):
        await asyncio.sleep(10.1)
    firsts = sorted(job.starts[0] for job in jobs)
    per_second = [sum(1 for first in firsts if second <= first < second + 1) for second in range(10)]
    assert all(5 <= n <= 40 for n in per_second)


async def test_a_run_that_overruns_is_never_doubled_and_the_miss_is_counted() -> None:
    job, scheduler = Recorder(takes=25.0), steady()
    scheduler.add(job)
    async with running(scheduler):
        await asyncio.sleep(65)
    assert job.most == 1
    assert job.misses >= 3


async def test_a_failing_job_is_rechecked_between_its_grid_times() -> None:
    job, scheduler = Recorder(failing=True), steady()
    scheduler.add(job)
    async with running(scheduler):
        await asyncio.sleep(40)
        grid, rechecks = len(job.starts), len(job.rechecks)
        job.failing = False
        await asyncio.sleep(5)
        settled = len(job.rechecks)
        await asyncio.sleep(30)
    assert grid == 4
    assert 9 <= rechecks <= 12
    assert len(job.rechecks) == settled
    gaps = [b - a for a, b in zip(job.starts, job.starts[1:], strict=False)]
    assert gaps == pytest.approx([10.0] * len(gaps), abs=0.01)


async def test_the_cap_per_host_holds_only_that_host_back_and_waiting_is_lateness() -> None:
    slow = [Recorder(key=f"slow{n}", host="slow", takes=4.0) for n in range(6)]
    quick = [Recorder(key=f"quick{n}", host="quick") for n in range(6)]
    scheduler = steady(per_host=1, in_flight=100)
    for job in slow + quick:
        scheduler.add(job)
    async with running(scheduler):
        await asyncio.sleep(60)
    assert max(late for job in quick for late in job.lateness) < 0.1
    assert max(late for job in slow for late in job.lateness) > 4.0


async def test_waiting_for_a_busy_host_takes_no_global_slot() -> None:
    slow = [Recorder(key=f"slow{n}", host="slow", takes=9.0, interval=100) for n in range(5)]
    other = Recorder(key="other", host="other")
    scheduler = steady(per_host=1, in_flight=2)
    for job in [*slow, other]:
        scheduler.add(job)
    async with running(scheduler):
        await asyncio.sleep(100)
    assert max(other.lateness) < 0.1


async def test_the_global_cap_holds() -> None:
    jobs = [Recorder(key=f"job{n}", host=f"h{n}", takes=3.0) for n in range(20)]
    scheduler = steady(in_flight=3)
    for job in jobs:
        scheduler.add(job)
    most = 0
    async with running(scheduler):
        for _ in range(300):
            await asyncio.sleep(0.1)
            most = max(most, sum(job.running for job in jobs))
    assert most == 3


async def test_removing_a_job_ends_its_run_and_its_schedule() -> None:
    job, scheduler = Recorder(takes=1000.0), steady()
    scheduler.add(job)
    async with running(scheduler):
        await asyncio.sleep(15)
        assert job.running == 1
        await scheduler.remove(job.key)
        assert job.running == 0
        await asyncio.sleep(50)
    assert len(job.starts) == 1
    assert len(scheduler) == 0
    assert scheduler.next_run(job.key) is None


async def test_a_key_is_scheduled_once() -> None:
    scheduler = steady()
    scheduler.add(Recorder())
    with pytest.raises(ValueError, match="scheduled already"):
        scheduler.add(Recorder())


async def test_draining_lets_runs_end_and_cancels_those_that_do_not() -> None:
    quick, stuck, scheduler = Recorder(key="q", takes=2.0), Recorder(key="s", host="x", takes=500.0), steady()
    scheduler.add(quick)
    scheduler.add(stuck)
    task = asyncio.create_task(scheduler.run())
    while not (quick.running and stuck.running):
        await asyncio.sleep(0.01)
    assert await scheduler.drain(5.0) == 1
    assert (quick.running, stuck.running) == (0, 0)
    runs = len(quick.starts)
    await asyncio.sleep(30)
    assert len(quick.starts) == runs
    task.cancel()


async def test_draining_with_nothing_in_flight_returns_at_once() -> None:
    assert await steady().drain(5.0) == 0

"""The schedule, on a fake clock: fixed rate, spread, caps, rechecks, lateness, missed runs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from exporter.config.models import Config
from exporter.engine.scheduler import JITTER, Scheduler
from exporter.engine.slots import Lane, Slots

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]


@dataclass
class Recorder:
    """A job that notes when it ran."""

    key: str = "a"
    host: str = "h"
    interval: float = 10.0
    recheck: float = 2.5
    timeout: float = 1.0
    lane: Lane = Lane.WELL
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

    def missed(self, count: int = 1) -> None:
        self.misses += count


@asynccontextmanager
async def running(scheduler: Scheduler) -> AsyncIterator[None]:
    task = asyncio.create_task(scheduler.run())
    try:
        yield
    finally:
        task.cancel()
        await scheduler.drain(0.001)


@asynccontextmanager
async def looked_at(scheduler: Scheduler) -> AsyncIterator[None]:
    """Run the schedule for a while, without ending it."""
    task = asyncio.create_task(scheduler.run())
    yield
    task.cancel()


def steady(per_host: int = 10, in_flight: int = 10) -> Scheduler:
    return scheduler_of(Slots(in_flight, per_host), jitter=lambda: 0.0)


def scheduler_of(slots: Slots, jitter: Callable[[], float]) -> Scheduler:
    def defect(key: object, error: Exception) -> None:
        raise AssertionError(f"{key} raised") from error

    return Scheduler(slots, defect, jitter)


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
    scheduler = scheduler_of(Slots(10, 10), jitter=lambda: next(shares))
    scheduler.add(job)
    async with running(scheduler):
        await asyncio.sleep(95)
    offsets = [(start - job.starts[0] + 0.001) % 10 for start in job.starts]
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
    assert 12 <= rechecks <= 15
    assert len(job.rechecks) == settled
    gaps = [b - a for a, b in zip(job.starts, job.starts[1:], strict=False)]
    assert gaps == pytest.approx([10.0] * len(gaps), abs=0.01)


async def test_a_recheck_never_makes_a_grid_run_late_or_missed() -> None:
    """F20: a service that takes long to say that it is down had a seventh of its runs missed, by its rechecks alone."""
    for takes, timeout in ((3.6, 5.0), (5.0, 5.0), (9.9, 10.0), (0.1, 10.0)):
        job, scheduler = Recorder(takes=takes, timeout=timeout, failing=True), steady()
        scheduler.add(job)
        async with running(scheduler):
            await asyncio.sleep(400)
        gaps = [b - a for a, b in zip(job.starts, job.starts[1:], strict=False)]
        assert job.misses == 0
        assert gaps == pytest.approx([10.0] * len(gaps), abs=0.05)
        assert max(job.lateness) < 0.05
        assert not any(recheck < start < recheck + takes for recheck in job.rechecks for start in job.starts)


async def test_a_recheck_comes_early_enough_to_end_before_the_grid_time() -> None:
    job, scheduler = Recorder(takes=1.0, timeout=7.0, recheck=5.0, failing=True), steady()
    scheduler.add(job)
    async with running(scheduler):
        await asyncio.sleep(21)
    assert job.rechecks[0] - job.starts[0] == pytest.approx(3.0, abs=0.05)


async def test_a_recheck_that_finds_no_place_in_time_is_left_to_the_grid() -> None:
    slots = Slots(1, 1)
    job, scheduler = Recorder(failing=True, lane=Lane.TROUBLED), scheduler_of(slots, lambda: 0.0)
    scheduler.add(job)
    async with running(scheduler):
        while not job.starts:
            await asyncio.sleep(0.1)
        await slots.take("other", Lane.TROUBLED)
        await asyncio.sleep(9)
        assert job.rechecks == []
        slots.give("other", Lane.TROUBLED)
        await asyncio.sleep(2)
    assert len(job.starts) == 2
    assert job.misses == 0


async def test_targets_that_hang_do_not_make_the_others_late() -> None:
    """F6, at the size that the shipped limits are for: interval 15 s, deadline 5 s."""
    targets, hanging, limits = 5000, 1000, Config().limits
    scheduler = scheduler_of(Slots(limits.max_in_flight, limits.max_in_flight_per_host), random.Random(7).random)
    jobs = [Recorder(key=f"t{n}", host=f"h{n}", interval=15.0, timeout=5.0, takes=0.005) for n in range(targets)]
    for job in jobs:
        scheduler.add(job)
    async with running(scheduler):
        await asyncio.sleep(15)
        for job in jobs:
            job.lateness.clear()
        for job in jobs[:hanging]:
            job.takes, job.failing, job.lane = 5.0, True, Lane.TROUBLED
        await asyncio.sleep(40)
    late = sorted(late for job in jobs[hanging:] for late in job.lateness)
    assert late[int(len(late) * 0.99)] < 0.5
    assert sum(job.misses for job in jobs[hanging:]) == 0


async def test_a_job_that_raises_is_told_and_runs_on() -> None:
    class Raising(Recorder):
        async def run(self, *, lateness: float, recheck: bool) -> bool:
            await super().run(lateness=lateness, recheck=recheck)
            raise ZeroDivisionError

    told: list[object] = []
    scheduler = Scheduler(Slots(1, 1), lambda key, error: told.append((key, type(error))), lambda: 0.0)
    job = Raising()
    scheduler.add(job)
    async with running(scheduler):
        await asyncio.sleep(35)
    assert len(job.starts) in {3, 4}
    assert told == [("a", ZeroDivisionError)] * len(job.starts)


async def test_grid_times_that_passed_while_the_loop_stood_still_are_missed_and_not_made_up_for() -> None:
    job, scheduler = Recorder(), steady()
    scheduler.add(job)
    async with looked_at(scheduler):
        await asyncio.sleep(5)
    await asyncio.sleep(60)  # a suspended machine: nothing looked at the schedule
    async with looked_at(scheduler):
        await asyncio.sleep(0.1)
        assert (len(job.starts), job.misses >= 5) in {(1, True), (2, True)}
        await asyncio.sleep(30)
    assert len(job.starts) <= 5


async def test_a_job_with_a_long_interval_first_runs_soon_and_then_at_a_place_of_its_own() -> None:
    jobs, scheduler = [Recorder(key=f"job{n}", host=f"{n}", interval=21_600.0) for n in range(200)], steady(1000, 1000)
    for job in jobs:
        scheduler.add(job)
    async with running(scheduler):
        await asyncio.sleep(15)
        assert all(len(job.starts) == 1 for job in jobs)
        await asyncio.sleep(21_600 + 15)
        assert all(len(job.starts) in {2, 3} for job in jobs)
        seconds = sorted(job.starts[1] for job in jobs)
    assert seconds[150] - seconds[50] > 0.3 * 21_600


async def test_a_job_whose_interval_changed_runs_soon_and_by_the_new_one() -> None:
    job, scheduler = Recorder(interval=21_600.0), steady()
    scheduler.add(job)
    async with running(scheduler):
        await asyncio.sleep(15)
        job.interval = 10.0
        scheduler.reschedule("a")
        await asyncio.sleep(100)
    assert 10 <= len(job.starts) <= 12
    assert job.misses == 0


async def test_a_new_interval_does_not_double_the_run_under_way() -> None:
    job, scheduler = Recorder(takes=30.0, timeout=40.0, interval=50.0), steady()
    scheduler.add(job)
    async with running(scheduler):
        while not job.running:
            await asyncio.sleep(0.1)
        job.interval = 10.0
        scheduler.reschedule("a")
        await asyncio.sleep(100)
    assert job.most == 1


async def test_the_queue_does_not_grow_with_jobs_that_come_and_go() -> None:
    scheduler = steady()
    for n in range(5000):
        scheduler.add(Recorder(key=f"pod{n}", interval=21_600.0))
        if n >= 10:
            await scheduler.remove(f"pod{n - 10}")
    assert len(scheduler) == 10
    assert len(scheduler._events) < 600


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
    slow = [Recorder(key=f"slow{n}", host="slow", takes=2.0, interval=14) for n in range(5)]
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


async def first_start(job: Recorder) -> float:
    while not job.starts:
        await asyncio.sleep(0.05)
    return job.starts[-1]


async def test_a_hastened_job_runs_at_once_outside_its_grid() -> None:
    job, scheduler = Recorder(), steady()
    scheduler.add(job)
    async with running(scheduler):
        began = await first_start(job)
        await asyncio.sleep(4)
        asked = asyncio.get_running_loop().time()
        scheduler.hasten("a")
        scheduler.hasten("unheard of")
        await asyncio.sleep(30)
    assert job.rechecks == [pytest.approx(asked, abs=0.01)]
    assert job.starts == pytest.approx([began + 10 * n for n in range(len(job.starts))], abs=0.05)
    assert job.misses == 0


async def test_a_job_is_hastened_once_in_two_seconds_at_the_most() -> None:
    job, scheduler = Recorder(interval=100.0), steady()
    scheduler.add(job)
    async with running(scheduler):
        await first_start(job)
        await asyncio.sleep(20)
        job.rechecks.clear()
        for _ in range(100):
            scheduler.hasten("a")
            await asyncio.sleep(0.1)
    gaps = [b - a for a, b in zip(job.rechecks, job.rechecks[1:], strict=False)]
    assert len(job.rechecks) == 5
    assert min(gaps) == pytest.approx(2.0, abs=0.11)


async def test_what_is_under_way_does_not_count_for_who_asks_now() -> None:
    job, scheduler = Recorder(takes=3.0), steady()
    scheduler.add(job)
    async with running(scheduler):
        began = await first_start(job)
        await asyncio.sleep(1)
        scheduler.hasten("a")
        await asyncio.sleep(4)
        assert job.rechecks == [pytest.approx(began + 3.0, abs=0.01)]
    assert job.most == 1


async def test_where_there_is_no_room_before_the_grid_run_it_comes_early() -> None:
    job, scheduler = Recorder(timeout=4.0, takes=4.0), steady()
    scheduler.add(job)
    async with running(scheduler):
        began = await first_start(job)
        await asyncio.sleep(7)
        scheduler.hasten("a")
        await asyncio.sleep(25)
    assert job.starts == pytest.approx([began, began + 7, began + 20, began + 30], abs=0.05)
    assert job.rechecks == []
    assert job.misses == 0


async def test_hastening_never_makes_a_grid_run_late_or_missed_nor_lets_one_go_by() -> None:
    for timeout, takes in ((1.0, 1.0), (5.0, 5.0), (5.0, 0.1), (10.0, 9.9), (10.0, 0.0)):
        job, scheduler = Recorder(timeout=timeout, takes=takes, failing=True), steady()
        scheduler.add(job)
        source = random.Random(3)
        async with running(scheduler):
            for _ in range(400):
                await asyncio.sleep(source.random() * 2)
                scheduler.hasten("a")
        assert job.misses == 0
        assert max(job.lateness) < 0.05
        assert job.most == 1
        gaps = [b - a for a, b in zip(job.starts, job.starts[1:], strict=False)]
        assert max(gaps) < 10.0 + min(timeout, 5.0) + 0.1


async def test_after_a_hastened_run_that_hung_the_recheck_does_not_wait_as_long_again() -> None:
    job, scheduler = Recorder(interval=100.0, timeout=5.0, takes=5.0, recheck=4.0), steady()
    scheduler.add(job)
    async with running(scheduler):
        await first_start(job)
        await asyncio.sleep(30)
        job.rechecks.clear()
        job.failing = True
        scheduler.hasten("a")
        await asyncio.sleep(16)
    assert job.rechecks[1] - job.rechecks[0] == pytest.approx(5.5, abs=0.05)
    assert job.rechecks[2] - job.rechecks[1] == pytest.approx(9.0, abs=0.05)


async def test_hastened_runs_take_none_of_the_places_of_those_that_are_well() -> None:
    slots = Slots(4, 4)
    jobs, scheduler = (
        [Recorder(key=f"j{n}", host=f"h{n}", interval=1000.0) for n in range(10)],
        scheduler_of(slots, lambda: 0.0),
    )
    for job in jobs:
        scheduler.add(job)
    async with running(scheduler):
        await asyncio.sleep(20)
        for job in jobs:
            job.takes = 50.0
            scheduler.hasten(job.key)
        await asyncio.sleep(1)
        assert slots.taken == 2


async def test_a_job_that_goes_while_it_is_hastened_leaves_nothing() -> None:
    job, scheduler = Recorder(takes=1.0), steady()
    scheduler.add(job)
    async with running(scheduler):
        await first_start(job)
        scheduler.hasten("a")
        await asyncio.sleep(1.5)
        await scheduler.remove("a")
        runs = len(job.starts) + len(job.rechecks)
        await asyncio.sleep(30)
    assert len(job.starts) + len(job.rechecks) == runs

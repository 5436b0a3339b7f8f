"""The schedule on the loop that the daemon runs on, where it differs from asyncio's own."""

from __future__ import annotations

import asyncio

import uvloop

from exporter.engine.scheduler import Scheduler
from exporter.engine.slots import Slots
from tests.engine.test_scheduler import Recorder, running


def test_a_job_may_be_hastened_twice_before_it_runs() -> None:
    """uvloop makes of what is due at once a handle that knows no time."""

    errors: list[BaseException] = []

    async def run() -> list[float]:
        job, scheduler = Recorder(interval=100.0), Scheduler(Slots(1, 1), lambda _, error: errors.append(error))
        scheduler.add(job)
        async with running(scheduler):
            await asyncio.sleep(0.01)
            scheduler.hasten("a")
            scheduler.hasten("a")
            await asyncio.sleep(0.05)
        return job.rechecks + job.starts

    assert len(uvloop.run(run())) == 1

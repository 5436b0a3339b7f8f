"""Stalls of the event loop are seen, whether attempts are under way or begin with the stall."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from exporter.engine.lag import IDLE_TICK, TICK, LoopLag


@pytest.fixture
async def lag() -> AsyncIterator[LoopLag]:
    lag = LoopLag()
    task = asyncio.create_task(lag.run())
    await asyncio.sleep(0)
    yield lag
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def stand_still(seconds: float) -> None:
    time.sleep(seconds)  # what no code of the exporter may do


async def test_a_stall_while_an_attempt_is_under_way_is_seen_whole(lag: LoopLag) -> None:
    loop = asyncio.get_running_loop()
    lag.begin()
    await asyncio.sleep(2 * TICK)
    started = loop.time()
    stand_still(0.3)
    assert lag.since(started) >= 0.3 - TICK  # even before the timer could be called
    await asyncio.sleep(2 * TICK)
    assert lag.since(started) >= 0.3 - TICK
    assert lag.recent() >= 0.3 - TICK
    assert lag.since(loop.time()) == 0.0  # one that is over is no excuse for what began after it
    lag.end()


async def test_a_stall_right_after_an_idle_exporter_begins_an_attempt_is_seen(lag: LoopLag) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(2 * TICK)
    started = loop.time()
    lag.begin()
    stand_still(0.3)
    await asyncio.sleep(0)
    assert lag.since(started) >= 0.3 - TICK
    lag.end()


async def test_an_idle_exporter_hardly_wakes(lag: LoopLag) -> None:
    await asyncio.sleep(0)
    assert lag._timer is not None
    assert lag._timer.when() - asyncio.get_running_loop().time() > IDLE_TICK / 2


@pytest.mark.looptime
async def test_without_a_stall_there_is_none() -> None:
    lag = LoopLag()
    task = asyncio.create_task(lag.run())
    lag.begin()
    await asyncio.sleep(30)
    assert lag.recent() == 0.0
    lag.end()
    task.cancel()

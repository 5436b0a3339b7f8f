"""The exporter's own process as metrics, sampled beside the scrape and not in it."""

from __future__ import annotations

import asyncio
import platform
import threading
from itertools import count

from prometheus_client import CollectorRegistry, ProcessCollector

from exporter import __version__
from exporter.engine.lag import LoopLag
from exporter.engine.memory import give_back
from exporter.metrics import core as m
from exporter.metrics.store import Store

__all__ = ["watch_process"]

_FAMILIES = {family.name: family for family in (m.CPU, m.RSS, m.VIRTUAL, m.STARTED, m.FDS, m.MAX_FDS)}

_GIVE_BACK_EVERY = 3
"""Samples after which free memory is returned to the system."""


async def watch_process(store: Store, lag: LoopLag, period: float = 10.0) -> None:
    """Sample CPU, memory, descriptors, tasks, threads and the loop's stalls, and return memory that is free, for ever."""
    owner = store.owner({})
    owner.put(m.BUILD, {(__version__, platform.python_version()): 1.0})
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    for turn in count(1):
        if turn % _GIVE_BACK_EVERY == 0:
            await asyncio.to_thread(give_back)
        for sample in await asyncio.to_thread(lambda: [s for family in registry.collect() for s in family.samples]):
            if sample.name in _FAMILIES:
                owner.put(_FAMILIES[sample.name], {(): sample.value})
        owner.put(m.LOOP_LAG, {(): lag.recent()})
        owner.put(m.TASKS, {(): float(len(asyncio.all_tasks()))})
        owner.put(m.THREADS, {(): float(threading.active_count())})
        await asyncio.sleep(period)

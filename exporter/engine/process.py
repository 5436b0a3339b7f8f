"""The exporter's own process as metrics, sampled beside the scrape and not in it."""

from __future__ import annotations

import asyncio
import platform

from prometheus_client import CollectorRegistry, ProcessCollector

from exporter import __version__
from exporter.engine.lag import LoopLag
from exporter.metrics import core as m
from exporter.metrics.store import Store

__all__ = ["watch_process"]

_FAMILIES = {family.name: family for family in (m.CPU, m.RSS, m.VIRTUAL, m.STARTED, m.FDS, m.MAX_FDS)}


async def watch_process(store: Store, lag: LoopLag, period: float = 10.0) -> None:
    """Sample CPU, memory, descriptors and the loop's stalls, for ever."""
    owner = store.owner({})
    owner.put(m.BUILD, {(__version__, platform.python_version()): 1.0})
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    while True:
        for sample in await asyncio.to_thread(lambda: [s for family in registry.collect() for s in family.samples]):
            if sample.name in _FAMILIES:
                owner.put(_FAMILIES[sample.name], {(): sample.value})
        owner.put(m.LOOP_LAG, {(): lag.recent()})
        await asyncio.sleep(period)

"""What the first paint of a large fleet costs the exporter: CPU time, and bytes."""

from __future__ import annotations

import asyncio
import gzip
import time

import pytest

from exporter.engine.views import About, FleetView
from exporter.web.filter import Filter
from exporter.web.page import REFRESH, _status
from exporter.web.summary import summarise
from exporter.web.templates import warm
from tests.engine.bench import Bench, down, running
from tests.web.samples import SEES

LARGE, SMALL = 1000, 50


def fleet_of(number: int) -> str:
    """Services of one instance each, of which every twentieth needs a dependency that is down."""
    services = "".join(
        f"  s{n:04}: {{instances: ['h{n}:1'], probes: {{tls: {{}}}}{', depends_on: [base]' if n % 20 == 0 else ''}}}\n"
        for n in range(number)
    )
    return f"dependencies:\n  base: {{instances: ['b:1'], probes: {{tls: {{}}}}}}\nservices:\n{services}"


async def page(bench: Bench) -> bytes:
    """Make the status page as the web server does, but for the thread."""
    about = About(
        generated_at=time.time(), version="0", config_loaded_at=0.0, config_error=None, sharing=None, prober=SEES,
        runbook=None, dashboard=None,
    )  # fmt: skip
    fleet = FleetView(**dict(about), services=await bench.engine.views())
    return _status(fleet, summarise(fleet), REFRESH, Filter()).encode()


async def cost_of(number: int) -> tuple[float, int, int]:
    """Return the least CPU time that the page of so many services took, its bytes, and its bytes as sent."""
    async with running() as bench:
        bench.plays = {"b:1": down, **{f"h{n}:1": down for n in range(0, number, 20)}}
        await bench.configure(fleet_of(number))
        async with asyncio.timeout(60):
            while bench.engine.unprobed or bench.engine.defects is None:
                await asyncio.sleep(0.05)
        costs = []
        for _ in range(7):
            before = time.process_time()
            made = await page(bench)
            costs.append(time.process_time() - before)
        return min(costs), len(made), len(gzip.compress(made))


@pytest.mark.measures
async def test_the_first_paint_of_a_thousand_services_is_cheap_and_bounded() -> None:
    """Real services, of which fifty are down. What is shown is bounded; what grows with the fleet is being counted."""
    warm()
    small, small_size, _ = await cost_of(SMALL)
    large, large_size, sent = await cost_of(LARGE)
    figures = (
        f"{large * 1e3:.0f} ms CPU, {large_size} bytes, {sent} sent; of {SMALL}: {small * 1e3:.0f} ms, {small_size} bytes"
    )
    assert large < 0.3, figures  # 0.1 where nothing runs beside it
    assert large < small * LARGE / SMALL, figures
    assert large_size < 2 * small_size, figures
    assert sent < 60_000, figures

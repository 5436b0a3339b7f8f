"""What an ownership makes of the engine: who is exported, who is only probed, and what a change of it leaves as it was."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from tests.engine.bench import Bench, down, running

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

FLEET = """
dependencies:
  cache: {instances: [cache:1], probes: {redis: {interval: 10s}}}
services:
  order: {instances: [order:1], depends_on: [cache], probes: {actuator: {interval: 10s}}}
  case: {instances: [case:1], depends_on: [cache], probes: {actuator: {interval: 10s}}}
"""


class Some:
    """An ownership of names."""

    def __init__(self, owned: str, needed: str = "") -> None:
        self.owned = owned.split()
        self.needed = [*self.owned, *needed.split()]

    def owns(self, service: str) -> bool:
        return service in self.owned

    def needs(self, service: str) -> bool:
        return service in self.needed


async def own(bench: Bench, owned: str, needed: str = "") -> None:
    bench.engine.own(Some(owned, needed))
    await bench.engine.settled()


def exported(bench: Bench) -> set[str]:
    text = bench.store.render().decode()
    return {line.partition('service="')[2].partition('"')[0] for line in text.splitlines() if 'service="' in line}


async def test_what_is_only_needed_is_probed_and_exported_by_nobody_here() -> None:
    async with running() as bench:
        await bench.configure(FLEET)
        await own(bench, "order", "cache")
        await asyncio.sleep(30)
        assert exported(bench) == {"order"}
        assert {target.service for time, target in bench.attempts if time > 15} == {"order", "cache"}
        assert bench.engine.names == ["order", "cache"]
        assert bench.values("probe_exporter_ready", "probe_exporter_ready") in ({}, {"": 1.0})


async def test_a_cause_is_found_in_what_is_only_needed() -> None:
    async with running() as bench:
        await own(bench, "order", "cache")
        await bench.configure(FLEET)
        await asyncio.sleep(20)
        bench.play = down
        await asyncio.sleep(40)
        assert bench.values("probe_incident", "incident") == {"cache": 1}
        assert bench.values("probe_suspected_cause", "dependency")["cache"] == 1
        assert exported(bench) == {"order"}
        assert bench.engine.incidents() == {"cache": ("cache", "order")}


async def test_what_changes_hands_keeps_its_verdict_and_its_counters() -> None:
    async with running() as bench:
        await bench.configure(FLEET)
        bench.plays["cache"] = bench.plays["cache:1"] = down
        await asyncio.sleep(40)
        failures = bench.lines('probe_failures_total{service="cache"')
        latency = bench.lines('probe_latency_seconds_count{service="cache"')
        assert bench.values("probe_service_up", "service") == {"cache": 0, "order": 1, "case": 1}
        await own(bench, "order", "cache")
        assert exported(bench) == {"order"}
        await own(bench, "order cache")
        assert exported(bench) == {"order", "cache"}
        assert bench.values("probe_service_up", "service") == {"cache": 0, "order": 1}
        assert bench.lines('probe_failures_total{service="cache"') == failures
        assert bench.lines('probe_latency_seconds_count{service="cache"') == latency
        await asyncio.sleep(20)  # and goes on being published where it is now
        assert bench.lines('probe_latency_seconds_count{service="cache"') != latency


async def test_what_is_moved_while_unexported_is_published_there() -> None:
    async with running() as bench:
        await own(bench, "order", "cache")
        await bench.configure(FLEET)
        await asyncio.sleep(20)
        await own(bench, "", "order cache")
        assert exported(bench) == set()
        await asyncio.sleep(20)
        assert exported(bench) == set()
        await own(bench, "case")
        assert exported(bench) == {"case"}
        assert bench.engine.names == ["case"]
        await asyncio.sleep(20)
        assert bench.values("probe_service_up", "service") == {"case": 1}


async def test_one_that_owns_nothing_is_ready_and_has_no_target() -> None:
    async with running() as bench:
        await own(bench, "")
        await bench.configure(FLEET)
        await asyncio.sleep(20)
        assert bench.engine.unprobed == 0
        assert bench.attempts == []
        assert bench.lines("probe_exporter_ready") == ["probe_exporter_ready 1"]


async def test_one_that_takes_over_has_asked_all_within_seconds() -> None:
    async with running() as bench:
        services = "".join(f"  s{n}: {{instances: [h{n}:1], probes: {{actuator: {{}}}}}}\n" for n in range(200))
        await own(bench, "")
        await bench.configure(f"services:\n{services}")
        taken_over = asyncio.get_running_loop().time()
        bench.engine.own(Some(" ".join(f"s{n}" for n in range(200))), 3.0)
        await asyncio.sleep(4.5)
        assert len(bench.values("probe_service_up", "service")) == 200
        assert bench.attempts[-1][0] - taken_over < 4.5
        await asyncio.sleep(60)
        times = [time for time, target in bench.attempts if target.name == "h7:1"]
        assert all(after - before < 20 for before, after in itertools.pairwise(times))
        seconds = {int(time) % 15 for time, _ in bench.attempts if time > taken_over + 20}
        assert len(seconds) == 15  # spread over the interval again

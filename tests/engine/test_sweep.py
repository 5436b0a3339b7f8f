"""Values that have aged go away by themselves, at the pace of what is watched."""

from __future__ import annotations

import asyncio

import pytest

from exporter.engine.target_series import Published
from exporter.metrics.store import Encoded
from tests.engine.bench import running

pytestmark = pytest.mark.looptime


@pytest.mark.parametrize(
    ("interval", "timeout", "kept", "withdrawn"),
    [(2, 1, 4.0, 9.0), (15, 5, 40.0, 56.0), (600, 5, 1700.0, 1900.0)],
)
async def test_what_completes_nothing_any_more_is_withdrawn_in_time(
    interval: int, timeout: int, kept: float, withdrawn: float
) -> None:
    async with running() as bench:
        probe = f"{{actuator: {{interval: {interval}s, timeout: {timeout}s}}}}"
        await bench.configure(f"services: {{case: {{instances: ['a:1'], probes: {probe}}}}}")
        await asyncio.sleep(interval + 16)
        bench.stall()
        await asyncio.sleep(kept - interval)
        assert bench.values("probe_success") == {"a:1": 1}
        await asyncio.sleep(withdrawn - kept + interval)
        assert bench.values("probe_success") == {}
        assert len(bench.lines("probe_unknown{")) == 1


async def test_what_is_added_with_a_shorter_interval_is_seen_at_the_pace_of_before_once() -> None:
    async with running() as bench:
        await bench.configure("services: {case: {instances: ['a:1'], probes: {actuator: {interval: 1h}}}}")
        await asyncio.sleep(60)
        fast = "{actuator: {interval: 1s, timeout: 1s}}"
        await bench.configure(f"services: {{case: {{instances: ['a:1', 'b:1'], probes: {fast}}}}}")
        await asyncio.sleep(1.5)
        assert bench.values("probe_success") == {"a:1": 1, "b:1": 1}
        bench.stall()
        await asyncio.sleep(4 + 5 + 1)
        assert bench.values("probe_success") == {}


def every(seconds: int) -> str:
    return f"services: {{case: {{instances: ['a:1'], probes: {{actuator: {{interval: {seconds}s, timeout: 1s}}}}}}}}"


async def test_no_reload_lets_a_frozen_value_live_on_and_on() -> None:
    async with running() as bench:
        await bench.configure(every(60))
        await asyncio.sleep(80)
        bench.stall()
        for number in range(8):
            await asyncio.sleep(25)
            await bench.configure(every(61 if number % 2 == 0 else 60))
        assert bench.values("probe_success") == {}


async def test_a_withdrawal_that_fails_leaves_nothing() -> None:
    async with running() as bench:
        await bench.configure(every(2))
        await asyncio.sleep(10)
        bench.stall()
        (state,) = bench.engine._targets()
        publish = state._series.publish
        failed: list[float] = []

        def once(samples: Published, encoded: Encoded | None = None) -> None:
            if not failed:
                failed.append(1)
                raise ZeroDivisionError("as the test says")
            publish(samples, encoded)

        state._series.publish = once  # type: ignore[method-assign] # a defect that nothing is known to have
        await asyncio.sleep(60)
        assert failed
        assert bench.values("probe_success") == {}
        assert bench.values("probe_service_up", "service") == {}
        assert bench.defects() == {"target": 1}

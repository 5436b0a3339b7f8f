"""A target's life: its series follow its attempts and never outlive them."""

from __future__ import annotations

import asyncio

import pytest

from exporter.engine.target import ProbeSeries, TargetState
from exporter.metrics.family import gauge
from exporter.metrics.store import Store
from exporter.probing.attempt import Attempt
from exporter.verdict import Failure, Reason, Stage, Verdict
from tests.conftest import ScriptedProbe

HEAP = gauge("probe_test_heap_bytes", "Heap.", "area")


async def up(attempt: Attempt) -> None:
    with attempt.phase(Stage.CONNECT):
        await asyncio.sleep(0)
    attempt.record(HEAP, 5.0, "heap")


async def down(attempt: Attempt) -> None:
    attempt.stage = Stage.CONNECT
    raise ConnectionRefusedError(111, "Connection refused")


async def unknown(attempt: Attempt) -> None:
    raise Failure(Stage.AUTH, Reason.AUTH, "password rejected")


async def broken_part(attempt: Attempt) -> None:
    async with attempt.part("metrics"):
        raise Failure(Stage.RECEIVE, Reason.TOO_LARGE)


class Bench:
    """A target on a store of its own."""

    def __init__(self, probe: ScriptedProbe) -> None:
        self.store = Store()
        self.changes: list[Verdict] = []
        kind = ProbeSeries(self.store, probe.target)
        self.state = TargetState(probe, self.store, kind, lambda _: 0.0, lambda s: self.changes.append(s.confirmed.verdict))

    async def attempt(self, times: int = 1, *, recheck: bool = False) -> bool:
        wants = False
        for _ in range(times):
            wants = await self.state.run(lateness=0.0, recheck=recheck)
        return wants

    def value(self, name: str, **labels: str) -> float | None:
        """Read one series from the store."""
        for line in self.store.series_of(name):
            text, _, value = line.decode().rpartition(" ")
            if all(f'{label}="{wanted}"' in text for label, wanted in labels.items()):
                return float(value)
        return None


async def test_before_the_first_attempt_a_target_says_that_it_is_unknown() -> None:
    bench = Bench(ScriptedProbe(up))
    assert bench.value("probe_success") is None
    assert bench.value("probe_unknown", reason="not_yet_probed") == 1
    assert bench.value("probe_runs_missed_total") == 0
    assert not bench.state.attempted


async def test_an_attempt_that_is_up_exports_verdict_facts_and_phases() -> None:
    bench = Bench(ScriptedProbe(up))
    assert not await bench.attempt()
    assert bench.value("probe_success") == 1
    assert bench.value("probe_unknown") is None
    assert bench.value("probe_test_heap_bytes", area="heap") == 5
    assert bench.value("probe_phase_seconds", phase="connect") is not None
    assert bench.value("probe_latency_seconds_count") is None  # histograms are one family
    lines = b"\n".join(bench.store.series_of("probe_latency_seconds"))
    assert b'probe_latency_seconds_count{service="identity",probe="scripted",outcome="up"} 1' in lines
    assert bench.value("probe_in_flight") == 0


async def test_down_is_confirmed_by_the_second_failure_and_facts_go_at_the_first() -> None:
    bench = Bench(ScriptedProbe(up, down))
    await bench.attempt()
    assert await bench.attempt()
    assert bench.value("probe_success") == 1
    assert bench.value("probe_test_heap_bytes") is None
    assert bench.value("probe_failures_total", stage="connect", reason="connect_refused") == 1
    await bench.attempt(recheck=True)
    assert bench.value("probe_success") == 0
    assert bench.value("probe_failures_total", stage="connect", reason="connect_refused") == 1
    assert bench.value("probe_rechecks_total", outcome="down") == 1
    assert bench.changes[-1] is Verdict.DOWN


async def test_unknown_withdraws_the_verdict_and_names_the_reason() -> None:
    bench = Bench(ScriptedProbe(up, unknown))
    await bench.attempt(2)
    assert bench.value("probe_success") is None
    assert bench.value("probe_unknown", reason="auth") == 1


async def test_a_part_that_fails_is_told_and_counted_and_the_verdict_stays() -> None:
    bench = Bench(ScriptedProbe(broken_part))
    await bench.attempt()
    assert bench.value("probe_success") == 1
    assert bench.value("probe_part_success", part="metrics") == 0
    assert bench.value("probe_part_failures_total", part="metrics", stage="receive", reason="too_large") == 1


async def test_last_success_outlives_failures() -> None:
    bench = Bench(ScriptedProbe(up, down))
    await bench.attempt()
    success = bench.value("probe_last_success_timestamp_seconds")
    await bench.attempt()
    assert bench.value("probe_last_success_timestamp_seconds") == success


@pytest.mark.looptime
async def test_a_target_that_completes_nothing_for_three_intervals_is_withdrawn() -> None:
    bench = Bench(ScriptedProbe(up, interval=10, timeout=5))
    await bench.attempt()
    loop = asyncio.get_running_loop()
    await asyncio.sleep(34)
    bench.state.sweep(loop.time())
    assert bench.value("probe_success") == 1
    await asyncio.sleep(2)
    bench.state.sweep(loop.time())
    assert bench.value("probe_success") is None
    assert bench.value("probe_unknown", reason="stale") == 1
    assert bench.value("probe_test_heap_bytes") is None
    await bench.attempt()
    assert bench.value("probe_success") == 1


async def test_closing_withdraws_all_series_and_closes_the_probe() -> None:
    probe = ScriptedProbe(up)
    bench = Bench(probe)
    await bench.attempt()
    bench.state.kind.close()
    await bench.state.close()
    assert bench.store.render() == b""
    assert probe.closed


async def test_a_run_apart_changes_nothing() -> None:
    bench = Bench(ScriptedProbe(up, down))
    await bench.attempt()
    before = bench.store.render()
    assert b"probe_success{" in await bench.state.run_apart()
    assert bench.store.render() == before


async def test_the_view_tells_what_people_need() -> None:
    bench = Bench(ScriptedProbe(up, down))
    await bench.attempt(3)
    view = bench.state.view(next_run=None)
    assert (view.verdict, view.stage, view.reason) == ("down", "connect", "connect_refused")
    assert [attempt.verdict for attempt in view.recents] == ["up", "down", "down"]


async def test_missed_runs_are_counted() -> None:
    bench = Bench(ScriptedProbe(up))
    bench.state.missed()
    assert bench.value("probe_runs_missed_total") == 1

"""A target's life: its series follow its attempts and never outlive them."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from exporter.engine.defects import Defects
from exporter.engine.lag import LoopLag
from exporter.engine.target import Engineering, Standing, TargetState
from exporter.engine.target_series import ProbeSeries
from exporter.engine.views import target_view
from exporter.metrics.family import gauge
from exporter.metrics.store import LARGE, Encoded, Owner, Samples, Store
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
        self.shared_series = ProbeSeries(self.store, probe.target)
        handed = Engineering(self.store, Defects(self.store), LoopLag(), lambda: True, {})
        self.state = TargetState(probe, handed, self.shared_series, self.changed)

    def changed(self, state: TargetState, before: Standing) -> None:
        self.changes.append(state.confirmed.verdict)

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


async def test_what_is_very_much_is_encoded_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop goes on meanwhile; what is published is whole, also when values change and series go."""
    threads: list[int] = []
    encode = Owner.encode

    def noting(owner: Owner, samples: Samples) -> Encoded:
        threads.append(threading.get_ident())
        return encode(owner, samples)

    monkeypatch.setattr(Owner, "encode", noting)
    counts = iter((3 * LARGE, 3 * LARGE, 2 * LARGE, 1))

    async def much(attempt: Attempt) -> None:
        count = next(counts)
        attempt.record_all({HEAP: {(str(number),): float(count + number) for number in range(count)}})

    bench = Bench(ScriptedProbe(much))
    for count in (3 * LARGE, 3 * LARGE, 2 * LARGE, 1):
        await bench.attempt()
        lines = list(bench.store.series_of("probe_test_heap_bytes"))
        assert len(lines) == count
        assert bench.value("probe_test_heap_bytes", area=str(count - 1)) == 2 * count - 1
        assert bench.value("probe_success") == 1
    assert len(threads) == 3
    assert threading.get_ident() not in threads


async def test_a_recheck_is_wanted_only_until_a_verdict_is_confirmed() -> None:
    """F6, F16: rechecks went on for as long as a target was down, and for rejected credentials."""
    bench = Bench(ScriptedProbe(up, down))
    assert [await bench.attempt() for _ in range(5)] == [False, True, False, False, False]
    assert not await Bench(ScriptedProbe(unknown)).attempt(3)
    back = Bench(ScriptedProbe(up, down, down, up, successes=3))
    assert [await back.attempt() for _ in range(6)] == [False, True, False, True, True, False]


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
    bench.shared_series.close()
    await bench.state.close()
    assert b'service="identity"' not in bench.store.render()
    assert probe.closed


async def bug(attempt: Attempt) -> None:
    raise ZeroDivisionError("a defect")


async def test_what_nobody_knows_is_the_probers_and_a_defect(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(ScriptedProbe(up, bug))
    await bench.attempt(2)
    assert bench.value("probe_success") is None
    assert bench.value("probe_unknown", reason="internal") == 1
    assert bench.value("probe_exporter_defects_total", where="probe") == 1
    assert caplog.text.count("Traceback") == 1


async def test_a_listener_that_raises_costs_the_target_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def raising(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    bench = Bench(ScriptedProbe(up, down))
    monkeypatch.setattr(bench.state, "_changed", raising)
    await bench.attempt(3)
    assert bench.value("probe_success") == 0
    assert bench.value("probe_exporter_defects_total", where="service") == 2
    assert caplog.text.count("Traceback") == 1


@pytest.mark.parametrize("where", ["record", "judge", "observe"])
async def test_whatever_raises_after_the_probe_the_verdict_is_not_frozen(
    where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """F2: a target went down while publishing raised, and `probe_success 1` stayed for ever, without a line in the log."""

    def raising(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a defect")

    async def mislabelled(attempt: Attempt) -> None:
        attempt.samples[HEAP] = {("a", "label", "too", "many"): 1.0}

    bench = Bench(ScriptedProbe(up, mislabelled if where == "record" else down))
    await bench.attempt()
    with monkeypatch.context() as patch:
        match where:
            case "judge":
                patch.setattr(type(bench.state.confirmed), "_down", raising)
            case "observe":
                patch.setattr(ProbeSeries, "observe", raising)
        for _ in range(4):
            await bench.attempt()
    assert bench.value("probe_success") is None
    assert bench.value("probe_unknown", reason="internal") == 1
    assert bench.value("probe_in_flight") == 0
    assert (bench.value("probe_exporter_defects_total", where="target") or 0) >= 1
    assert caplog.text.count("Traceback") == 1


async def test_when_not_even_the_verdict_can_be_withdrawn_nothing_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(ScriptedProbe(up))
    await bench.attempt()

    def raising(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    with monkeypatch.context() as patch:
        patch.setattr("exporter.engine.target.verdict_samples", raising)
        await bench.attempt()
    assert bench.value("probe_success") is None
    assert bench.value("probe_test_heap_bytes") is None
    await bench.attempt()
    assert bench.value("probe_success") == 1


async def test_a_probe_that_cannot_be_closed_is_a_defect_and_no_more() -> None:
    class Stuck(ScriptedProbe):
        async def close(self) -> None:
            raise ZeroDivisionError("a defect")

    bench = Bench(Stuck(up))
    await bench.state.close()
    assert bench.value("probe_exporter_defects_total", where="probe") == 1


async def test_what_is_remembered_of_attempts_holds_nothing_that_they_learnt() -> None:
    """F7, F21: twelve whole outcomes, and through their tracebacks all that was parsed, made 3 GB of twelve services."""

    class Parsed:
        pass

    kept: list[weakref.ref[Parsed]] = []

    async def large(attempt: Attempt) -> None:
        answer = Parsed()
        kept.append(weakref.ref(answer))
        async with attempt.part("metrics"):
            raise Failure(Stage.RECEIVE, Reason.TOO_LARGE, f"of {answer}")
        raise Failure(Stage.RECEIVE, Reason.TOO_LARGE)

    bench = Bench(ScriptedProbe(large))
    await bench.attempt(12)
    gc.collect()
    assert len(kept) == 12
    assert [ref() for ref in kept if ref() is not None] == []


async def test_the_view_tells_what_people_need() -> None:
    bench = Bench(ScriptedProbe(up, down))
    await bench.attempt(3)
    view = target_view(bench.state, None)
    assert (view.verdict, view.stage, view.reason) == ("down", "connect", "connect_refused")
    assert [attempt.verdict for attempt in view.recents] == ["up", "down", "down"]


async def test_missed_runs_are_counted() -> None:
    bench = Bench(ScriptedProbe(up))
    bench.state.missed()
    assert bench.value("probe_runs_missed_total") == 1

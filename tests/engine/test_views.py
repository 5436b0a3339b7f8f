"""What people are told of services and targets, and that it costs what is told."""

from __future__ import annotations

import asyncio
import sys
import time

import pytest

from exporter.engine.rollup import State
from exporter.engine.views import MOST_WORST, Suspected, TargetSummary, service_summary
from exporter.probing.attempt import Attempt
from exporter.verdict import Failure, Reason, Stage, Verdict
from tests.engine.bench import at, down, failed, running, unknown, up

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

FLEET = """
    dependencies: {db: {instances: {dns: db, port: 1}, probes: {redis: {}}}}
    services:
      case: {instances: {dns: case, port: 1}, depends_on: [db], probes: {actuator: {}, tls: {interval: 20s}}}
      broker: {instances: {dns: broker, port: 1}, depends_on: [db], probes: {actuator: {}}}
    """


async def broken_part(attempt: Attempt) -> None:
    async with attempt.part("metrics"):
        raise Failure(Stage.RECEIVE, Reason.TOO_LARGE)


async def test_the_list_of_services_tells_how_each_is_and_its_worst_targets() -> None:
    async with running() as bench:
        bench.names |= {"db": at("d"), "broker": at("b"), "case": at(*(f"c{n:02}" for n in range(20)))}
        bench.plays |= {"c03:1": down, "c07:1": broken_part, "c09:1": unknown}
        await bench.configure(FLEET)
        await asyncio.sleep(90)  # every target has had its say, confirmation included
        case, broker, db = await bench.engine.views()
    assert (case.name, case.verdict, case.state, case.reason) == ("case", Verdict.UP, State.DEGRADED, None)
    assert case.states == {"down": 2, "degraded": 2, "unknown": 2, "up": 34}
    assert case.probes == {"actuator": State.DEGRADED, "tls": State.DEGRADED}
    assert (case.failed_parts, case.pending, case.target_count) == (2, 0, 40)
    shown = [(target.target, target.probe) for target in case.targets]
    assert shown[:6] == [(f"{host}:1", kind) for host in ("c03", "c07", "c09") for kind in ("actuator", "tls")]
    assert len(shown) == MOST_WORST
    assert [attempt.verdict for attempt in case.recents][-1] is Verdict.DOWN
    assert (broker.state, broker.targets[0].state) == (State.UP, State.UP)
    assert db.kind == "dependency"


async def test_one_service_tells_of_all_its_targets_or_of_so_many() -> None:
    async with running() as bench:
        bench.names |= {"db": at("d"), "broker": at("b"), "case": at(*(f"c{n:02}" for n in range(20)))}
        bench.plays |= {"c03:1": down}
        await bench.configure(FLEET)
        await asyncio.sleep(90)
        whole, some = await bench.engine.view("case"), await bench.engine.view("case", 3)
        assert whole is not None
        assert some is not None
        assert len(whole.targets) == 40
        assert [target.target for target in some.targets] == [target.target for target in whole.targets[:3]]
        assert await bench.engine.view("nobody") is None
        asked = list(bench.engine.target_views("case", "actuator", Verdict.DOWN))
        assert [target.target for target in asked] == ["c03:1"]
        assert len(list(bench.engine.target_views(None, None, None))) == 42
        assert bench.engine.kinds() == ["actuator", "redis", "tls"]
        assert bench.engine.kinds("db") == ["redis"]
        assert bench.engine.neighbours("case").needs == {"db": State.UP}
        assert bench.engine.neighbours("db").needed_by == {"case": State.DEGRADED, "broker": State.UP}


async def test_a_service_tells_when_it_was_checked_and_will_be_and_how_slow_it_is() -> None:
    async with running() as bench:
        bench.names |= {"db": at("d"), "broker": at("b"), "case": at("c1", "c2", "c3")}
        await bench.configure(FLEET)
        await asyncio.sleep(90)
        for view in await bench.engine.views():
            whole = await bench.engine.view(view.name)
            assert whole is not None
            assert view.duration == max(target.duration or 0 for target in whole.targets)
            assert view.last_run == min(target.last_run or 0 for target in whole.targets)
            assert view.next_run is not None
            assert min(target.next_run or 0 for target in whole.targets) <= view.next_run + 1.0  # two readings of two clocks


@pytest.mark.parametrize(
    ("first", "then", "reason"),
    [
        (None, None, Reason.NOT_DISCOVERED),
        (failed(), None, Reason.NOT_DISCOVERED),
        (at("c1"), failed("c1"), Reason.PROBER_DNS),
    ],
)
async def test_an_unknown_service_says_why(first: object, then: object, reason: Reason) -> None:
    """The last: its only instance is up, two are wanted, and it cannot be told any more whether there are others."""
    text = "services: {case: {instances: {dns: case, port: 1}, min_ready: 2, probes: {actuator: {}}}}"
    async with running() as bench:
        bench.names |= {"case": first} if first is not None else {}  # type: ignore[dict-item] # of the parameters
        await bench.configure(text)
        await asyncio.sleep(20)
        if then is not None:
            await bench.say("case", then)  # type: ignore[arg-type] # of the parameters
        [view] = await bench.engine.views()
        assert (view.verdict, view.reason) == (Verdict.UNKNOWN, reason)
        assert bench.lines("probe_service_unknown{") == [f'probe_service_unknown{{service="case",reason="{reason}"}} 1']


async def test_since_is_when_the_verdict_changed_and_changes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as bench:
        moment = time.time()
        monkeypatch.setattr("exporter.engine.service.time.time", lambda: moment + asyncio.get_running_loop().time())
        await bench.configure("services: {case: {instances: [h:1], probes: {actuator: {}}}}")
        await asyncio.sleep(90)
        [before] = await bench.engine.views()
        changes = bench.engine.changes
        await asyncio.sleep(90)
        [same] = await bench.engine.views()
        assert (same.since, bench.engine.changes) == (before.since, changes)
        bench.play = broken_part
        await asyncio.sleep(90)
        [degraded] = await bench.engine.views()
        assert (degraded.state, degraded.since, degraded.failed_parts) == (State.DEGRADED, before.since, 1)
        assert bench.engine.changes == changes + 1
        bench.play = down
        await asyncio.sleep(90)
        [after] = await bench.engine.views()
        assert after.verdict is Verdict.DOWN
        assert after.since > before.since + 60
        bench.play = up
        await asyncio.sleep(90)
        [again] = await bench.engine.views()
        assert (again.verdict, again.failed_parts) == (Verdict.UP, 0)
        assert again.since > after.since


async def _cost(instances: int) -> int:
    """Return how many calls it takes to tell of a service with so many instances, a tenth of them down."""
    async with running() as bench:
        names = [f"h{n}" for n in range(instances)]
        bench.names["case"] = at(*names)
        bench.plays |= dict.fromkeys([f"{name}:1" for name in names[::10]], down)
        await bench.configure("services: {case: {instances: {dns: case, port: 1}, probes: {actuator: {}}}}")
        await asyncio.sleep(45)
        service = bench.engine._reconciler.services["case"]
        assert service.rollup.states["down"] == len(names[::10])
        _ = service.rollup.slowest  # sought anew once a round at the most
        calls = 0

        def count(_frame: object, event: str, _argument: object) -> None:
            nonlocal calls
            calls += event in {"call", "c_call"}

        due = bench.engine._due()
        sys.setprofile(count)
        view = service_summary(service, due, Suspected())
        sys.setprofile(None)
        assert [type(target) for target in view.targets] == [TargetSummary] * MOST_WORST
        return calls


async def test_a_service_costs_what_is_told_of_it_and_not_what_it_has() -> None:
    """F12: every answer was made of the views of all targets: 1.0 s of CPU at 5,000, also for one service."""
    few = await _cost(120)
    assert await _cost(3000) < 1.1 * few

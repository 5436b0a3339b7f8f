"""What must stay true while labels, instances, sources and settings change, and libraries misbehave."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from exporter.config.models import Instances
from exporter.discovery import source_of
from exporter.discovery.source import Source
from exporter.engine.slots import Lane, Slots
from exporter.metrics.family import gauge
from exporter.net.http import HttpClient
from exporter.net.resolver import Resolver
from exporter.probing.attempt import Attempt
from exporter.probing.probe import SharedClients
from exporter.verdict import Failure, Reason, Stage
from tests.engine.bench import Bench, Played, at, down, hang, running

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

ODD = gauge("probe_test_attack_odd", "A family that a probe gives the wrong labels.", "one")
FEW = "limits: {max_in_flight_per_host: 2}\n"


async def mislabelled(attempt: Attempt) -> None:
    """Record what cannot be published."""
    attempt.samples[ODD] = {("one", "too many"): 1.0}


async def test_the_cause_of_a_service_that_is_down_stays_when_its_labels_change() -> None:
    async with running() as bench:
        bench.play = down
        await bench.configure("services: {case: {instances: ['a:1'], probes: {actuator: {}}}}")
        await asyncio.sleep(40)
        assert len(bench.lines("probe_suspected_cause{")) == 1
        await bench.configure("services: {case: {labels: {team: x}, instances: ['a:1'], probes: {actuator: {}}}}")
        await asyncio.sleep(5)
        assert bench.values("probe_service_up", "team") == {"x": 0}
        assert len(bench.lines("probe_suspected_cause{")) == 1


async def test_labels_in_another_order_are_the_same_series() -> None:
    async with running() as bench:
        await bench.configure("services: {case: {labels: {x: '1', y: '2'}, instances: ['a:1'], probes: {actuator: {}}}}")
        await asyncio.sleep(20)
        text = "services: {case: {labels: {y: '2', x: '1'}, instances: ['a:1', 'b:1'], probes: {actuator: {}}}}"
        await bench.configure(text)
        await asyncio.sleep(20)
        counts = Counter(
            (line.partition("{")[0], frozenset(line.partition("{")[2].partition("}")[0].split(",")))
            for line in bench.lines("probe_")
        )
        assert [series for series, number in counts.items() if number > 1] == []


@pytest.mark.parametrize("seconds", [3, 6, 9, 12, 15, 18, 21])
async def test_targets_of_one_host_that_hang_are_removed_without_a_defect(seconds: int) -> None:
    many = ", ".join(f"'a:{port}'" for port in range(1, 12))
    async with running() as bench:
        bench.play = hang
        await bench.configure(f"{FEW}services: {{case: {{instances: [{many}], probes: {{actuator: {{}}}}}}}}")
        await asyncio.sleep(seconds)
        await bench.configure(FEW + "services: {case: {instances: ['b:1'], probes: {actuator: {}}}}")
        assert bench.defects() == {}


@pytest.mark.parametrize("seconds", [3, 6, 9, 12, 15, 18, 21])
async def test_draining_targets_of_one_host_that_hang_is_no_defect(seconds: int) -> None:
    many = ", ".join(f"'a:{port}'" for port in range(1, 12))
    async with running() as bench:
        bench.play = hang
        await bench.configure(f"{FEW}services: {{case: {{instances: [{many}], probes: {{actuator: {{}}}}}}}}")
        await asyncio.sleep(seconds)
        await bench.engine.drain(0.1)
        assert bench.defects() == {}


async def test_a_run_that_waits_for_its_host_can_be_cancelled_together_with_the_one_it_waits_for() -> None:
    slots = Slots(10, 1)

    async def hold() -> None:
        await slots.take("h", Lane.WELL)
        try:
            await asyncio.sleep(3600)
        finally:
            slots.give("h", Lane.WELL)

    tasks = [asyncio.create_task(hold()) for _ in range(2)]
    await asyncio.sleep(1)
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in ended] == [asyncio.CancelledError] * 2


async def test_readiness_comes_though_what_one_target_says_cannot_be_published() -> None:
    async with running() as bench:
        bench.plays["a:1"] = mislabelled
        await bench.configure("services: {case: {instances: ['a:1', 'b:1'], probes: {actuator: {}}}}")
        await asyncio.sleep(300)
        assert bench.engine.unprobed == 0


async def test_the_reason_of_a_target_with_a_lasting_defect_does_not_flap() -> None:
    async with running() as bench:
        bench.play = mislabelled
        await bench.configure("services: {case: {instances: ['a:1'], probes: {actuator: {}}}}")
        await asyncio.sleep(30)
        seen = set()
        for _ in range(200):
            await asyncio.sleep(0.5)
            seen |= set(bench.values("probe_unknown", "reason"))
        assert seen == {"internal"}


async def test_what_is_believed_outlives_a_shorter_interval() -> None:
    async with running() as bench:
        await bench.configure("services: {case: {instances: ['a:1'], probes: {actuator: {interval: 1h}}}}")
        await asyncio.sleep(1800)
        assert bench.values("probe_success") == {"a:1": 1}
        await bench.configure("services: {case: {instances: ['a:1'], probes: {actuator: {interval: 15s}}}}")
        for _ in range(40):
            assert bench.values("probe_success") == {"a:1": 1}
            await asyncio.sleep(0.5)


class _Silent(Resolver):
    """A resolver that can be made to fail."""

    broken = False

    async def resolve(self, host: str, *, fresh: bool = False) -> tuple[str, ...]:
        if self.broken:
            raise Failure(Stage.RESOLVE, Reason.PROBER_DNS, "no answer")
        return ("10.0.0.1", "10.0.0.2")


async def test_a_changed_refresh_while_the_name_server_is_silent_takes_no_instance_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolver = _Silent()
    shared = SharedClients(HttpClient(resolver), resolver)

    def make(self: Bench, settings: Instances, _: SharedClients) -> Source:
        return source_of(settings, shared)

    monkeypatch.setattr(Bench, "_make_source", make)
    text = "services: {case: {instances: {dns: case, port: 1, refresh: %s}, probes: {actuator: {}}}}"
    async with running() as bench:
        await bench.configure(text % "30s")
        await asyncio.sleep(40)
        assert set(bench.values("probe_success")) == {"10.0.0.1:1", "10.0.0.2:1"}
        resolver.broken = True
        await bench.configure(text % "60s")
        await asyncio.sleep(20)
        assert set(bench.values("probe_success")) == {"10.0.0.1:1", "10.0.0.2:1"}
    await shared.close()


async def test_a_probe_that_does_not_close_holds_up_no_other_service(monkeypatch: pytest.MonkeyPatch) -> None:
    never = asyncio.Event()

    async def close(self: Played) -> None:
        self.closed = True
        if self.target.name == "a:1":
            await never.wait()

    monkeypatch.setattr(Played, "close", close)
    async with running() as bench:
        bench.names["case"] = at("a")
        bench.names["other"] = at("b")
        text = (
            "services: {case: {instances: {dns: case, port: 1}, probes: {actuator: {}}},"
            " other: {instances: {dns: other, port: 1}, probes: {actuator: {}}}}"
        )
        await bench.configure(text)
        await asyncio.sleep(20)
        bench.reports["case"](at())
        await asyncio.sleep(20)
        bench.reports["other"](at("c"))
        await asyncio.sleep(60)
        found = set(bench.values("probe_interval_seconds"))
        never.set()
        await asyncio.sleep(1)
        assert found == {"c:1"}


async def test_a_run_that_takes_no_cancellation_holds_up_no_other_service_and_leaves_no_frozen_series() -> None:
    async def stubborn(attempt: Attempt) -> None:
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue

    free = asyncio.Event()
    async with running() as bench:
        bench.names["case"] = at("a")
        bench.names["other"] = at("b")
        text = (
            "services: {case: {instances: {dns: case, port: 1}, probes: {actuator: {}}},"
            " other: {instances: {dns: other, port: 1}, probes: {actuator: {}}}}"
        )
        await bench.configure(text)
        await asyncio.sleep(20)
        bench.plays["a:1"] = stubborn
        await asyncio.sleep(20)
        bench.reports["case"](at())
        await asyncio.sleep(20)
        bench.reports["other"](at("c"))
        await asyncio.sleep(100)
        found = set(bench.values("probe_success"))
        free.set()
        await asyncio.sleep(1)
        assert found == {"c:1"}

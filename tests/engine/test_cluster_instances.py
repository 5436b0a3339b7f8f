"""What the engine makes of instances that a cluster tells of: reused names, rollouts, floors."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from exporter.discovery.source import Discovered, Instance
from exporter.values import Address
from tests.engine.bench import Bench, down, failed, running, up

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

TEXT = "services: {case: {instances: {dns: case, port: 1}, min_ready: %s, probes: {actuator: {}}}}"


def instance(name: str, *, uid: str = "", host: str = "10.0.0.1", terminating: bool = False) -> Instance:
    return Instance(name, Address(host, 8081), uid=uid or f"uid-{name}", terminating=terminating)


def found(*names: str, wanted: int | None = None, leaving: tuple[str, ...] = ()) -> Discovered:
    return Discovered(tuple(instance(name, terminating=name in leaving) for name in names), wanted=wanted)


async def service_up(bench: Bench) -> float | None:
    await asyncio.sleep(40)
    return bench.values("probe_service_up", "service").get("case")


async def test_another_pod_of_the_same_name_begins_anew() -> None:
    async with running() as bench:
        bench.plays["case-0"] = down
        bench.names["case"] = Discovered((instance("case-0", uid="old"),))
        await bench.configure(TEXT % 1)
        await asyncio.sleep(40)
        assert bench.values("probe_success") == {"case-0": 0.0}
        bench.plays["case-0"] = up
        await bench.say("case", Discovered((instance("case-0", uid="new"),)))
        assert bench.values("probe_success") == {}  # what was believed of the old one is not believed of this one
        assert bench.values("probe_unknown") == {"case-0": 1.0}
        assert sum(probe.closed for probe in bench.built) >= 1
        await asyncio.sleep(40)
        assert bench.values("probe_success") == {"case-0": 1.0}
        assert not bench.defects()


async def test_another_address_of_the_same_pod_does_not() -> None:
    async with running() as bench:
        bench.names["case"] = Discovered((instance("case-0"),))
        await bench.configure(TEXT % 1)
        await asyncio.sleep(40)
        await bench.say("case", Discovered((instance("case-0", host="10.0.0.9"),)))
        assert bench.values("probe_success") == {"case-0": 1.0}


async def test_what_is_terminating_is_not_probed_and_does_not_count() -> None:
    async with running() as bench:
        bench.names["case"] = found("case-1", "case-2", leaving=("case-2",))
        bench.plays["case-2"] = down
        await bench.configure(TEXT % 1)
        assert await service_up(bench) == 1.0
        assert bench.values("probe_success") == {"case-1": 1.0}
        await bench.say("case", found("case-1", "case-2", leaving=("case-1", "case-2")))
        assert bench.values("probe_service_up", "service") == {"case": 0.0}  # all are on their way out: nobody serves


async def test_no_pods_at_all_are_down_whatever_the_floor() -> None:
    for floor in ("1", "50%", "desired"):
        async with running() as bench:
            bench.names["case"] = found(wanted=0)
            await bench.configure(TEXT % floor)
            assert bench.values("probe_service_up", "service") == {"case": 0.0}, floor


async def test_the_pods_that_a_rollout_has_too_many_are_no_trouble() -> None:
    async with running() as bench:
        bench.plays["case-5"] = down  # new, and not ready yet
        bench.names["case"] = found("case-1", "case-2", "case-3", "case-4", "case-5", wanted=4)
        await bench.configure(TEXT % "desired")
        assert await service_up(bench) == 1.0


@pytest.mark.parametrize(
    ("floor", "wanted", "running_pods", "verdict"),
    [
        ("desired", 4, 3, 0.0),
        ("desired", 4, 4, 1.0),
        ("50%", 4, 2, 1.0),
        ("50%", 4, 1, 0.0),
        ("50%", 5, 2, 0.0),
        ("50%", None, 2, 1.0),
        ("100%", None, 2, 1.0),
        ("0%", 4, 1, 1.0),
    ],
)
async def test_a_floor_is_of_what_is_wanted(floor: str, wanted: int | None, running_pods: int, verdict: float) -> None:
    async with running() as bench:
        bench.names["case"] = found(*(f"case-{number}" for number in range(running_pods)), wanted=wanted)
        await bench.configure(TEXT % floor)
        assert await service_up(bench) == verdict


async def test_when_more_are_wanted_the_verdict_follows_at_once() -> None:
    async with running() as bench:
        bench.names["case"] = found("case-1", "case-2", wanted=2)
        await bench.configure(TEXT % "desired")
        assert await service_up(bench) == 1.0
        await bench.say("case", found("case-1", "case-2", wanted=5))
        assert bench.values("probe_service_up", "service") == {"case": 0.0}


async def test_what_is_wanted_outlives_a_source_that_cannot_tell() -> None:
    async with running() as bench:
        bench.names["case"] = found("case-1", wanted=2)
        await bench.configure(TEXT % "desired")
        assert await service_up(bench) == 0.0
        await bench.say("case", replace(failed(), wanted=None))
        view = await bench.engine.view("case", 1)
        assert view is not None
        assert view.min_ready == 2
        assert bench.values("probe_success") == {"case-1": 1.0}
        assert bench.values("probe_discovery_success", "service") == {"case": 0.0}

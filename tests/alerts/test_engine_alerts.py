"""The engine and the shipped rules together: what goes wrong rings once, under the right name, and stops when it is over.

The rules' own tests are of series made up by hand; here the engine makes them.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from exporter.alerts.model import SELF
from exporter.verdict import Failure, Reason, Stage
from tests.alerts.recorded import Recording
from tests.engine.bench import Bench, at, broken, down, failed, running, unknown, up

# The fewer empty turns before the clock leaps the faster: the engine wakes up 20 times a second, over hours in all.
pytestmark = [pytest.mark.asyncio, pytest.mark.looptime(noop_cycles=4), pytest.mark.usefixtures("clock")]

FLEET = """
services:
  vault: {instances: ["vault:1"], probes: {actuator: {}}}
  case: {instances: {dns: case, port: 1}, probes: {actuator: {}}}
"""
SLOW = """
defaults: {interval: 5s, timeout: 4s}
dependencies: {redis: {instances: ["redis:1"], probes: {redis: {}}}}
services:
"""


async def begin(bench: Bench, text: str = FLEET) -> Recording:
    """Run a fleet, well for two minutes."""
    recording = Recording(bench)
    bench.names.setdefault("case", at("a", "b"))
    await bench.configure(text)
    await recording.go_on(2)
    return recording


async def test_a_fleet_that_is_well_is_quiet(tmp_path: Path) -> None:
    async with running() as bench:
        recording = await begin(bench)
        await recording.go_on(30)
        recording.expect(tmp_path, fired=[])


async def test_services_that_take_long_to_say_that_they_are_down_do_not_make_the_prober_late(tmp_path: Path) -> None:
    """F20: with a dead database every service took seconds to say so, and ProbeLate rang for each of them."""
    chance = random.Random(20)

    async def slowly_down(_: object) -> None:
        await asyncio.sleep(chance.uniform(2.5, 3.6))
        raise Failure(Stage.CHECK, Reason.REPORTED_DOWN, "db")

    names = [f"service-{number}" for number in range(8)]
    text = SLOW + "".join(
        f'  {name}: {{instances: ["{name}:1"], depends_on: [redis], probes: {{actuator: {{}}}}}}\n' for name in names
    )
    async with running() as bench:
        recording = await begin(bench, text)
        bench.play = slowly_down
        await recording.go_on(20)
        assert set(bench.values("probe_runs_missed_total").values()) == {0}
        bench.play = up
        await recording.go_on(5)
        recording.expect(tmp_path, fired=[("ServiceDown", name) for name in (*names, "redis")])


async def test_runs_that_are_missed_do_ring(tmp_path: Path) -> None:
    """The case above could be quiet for want of ears."""
    async with running() as bench:
        recording = await begin(bench)
        (state,) = bench.engine.find("vault", "actuator")
        for _ in range(32):
            state.missed()
            await recording.go_on(0.25)
        recording.expect(tmp_path, fired=[("ProbeLate", "vault")], firing=[("ProbeLate", "vault")])


async def test_a_service_whose_instances_were_never_known_rings_until_they_are(tmp_path: Path) -> None:
    """F25: it had no series at all, and no alert ever."""
    async with running() as bench:
        bench.names["case"] = failed()
        recording = await begin(bench)
        await recording.go_on(8)
        recording.expect(tmp_path, fired=[("ServiceUnknown", "case")], firing=[("ServiceUnknown", "case")])
        await bench.say("case", at("a"))
        await recording.go_on(3)
        recording.expect(tmp_path, fired=[("ServiceUnknown", "case")])


async def test_a_fleet_none_of_which_was_ever_known_rings_once(tmp_path: Path) -> None:
    async with running() as bench:
        bench.names["case"] = failed()
        recording = await begin(bench, "\n".join(line for line in FLEET.splitlines() if "vault" not in line))
        await recording.go_on(20)
        recording.expect(tmp_path, fired=[("ExporterNoTargets", SELF)], firing=[("ExporterNoTargets", SELF)])


async def test_a_source_that_fails_later_rings_and_nothing_is_down(tmp_path: Path) -> None:
    async with running() as bench:
        recording = await begin(bench)
        await bench.say("case", failed("a", "b"))
        await recording.go_on(30)
        recording.expect(tmp_path, fired=[("DiscoveryFailing", "case")], firing=[("DiscoveryFailing", "case")])
        await bench.say("case", at("a", "b"))
        await recording.go_on(2)
        recording.expect(tmp_path, fired=[("DiscoveryFailing", "case")])


async def test_instances_that_fail_while_their_source_does_are_not_kept_quiet(tmp_path: Path) -> None:
    """Nobody can tell whether others are up, so it cannot be down; that it may be is said, and said once."""
    async with running() as bench:
        recording = await begin(bench)
        await bench.say("case", failed("a", "b"))
        bench.plays = {"a:1": down, "b:1": down}
        await recording.go_on(30)
        both = [("DiscoveryFailing", "case"), ("ServiceUnknown", "case")]
        recording.expect(tmp_path, fired=both, firing=both)


async def test_a_target_whose_probe_cannot_be_made_rings_and_those_that_run_stay_up(tmp_path: Path) -> None:
    async with running() as bench:
        bench.unbuildable.add("c:1")
        recording = await begin(bench)
        await bench.say("case", at("a", "b", "c"))
        await recording.go_on(20)
        assert bench.values("probe_service_up", "service") == {"vault": 1, "case": 1}
        recording.expect(tmp_path, fired=[("TargetsNotCurrent", "case")], firing=[("TargetsNotCurrent", "case")])
        bench.unbuildable.clear()
        await recording.go_on(3)
        recording.expect(tmp_path, fired=[("TargetsNotCurrent", "case")])


async def test_a_target_that_cannot_be_told_rings_as_that_alone(tmp_path: Path) -> None:
    """Its last success grows old too, and the service has no verdict either: one cause, one alert."""
    async with running() as bench:
        recording = await begin(bench)
        bench.plays["vault:1"] = unknown
        await recording.go_on(40)
        recording.expect(tmp_path, fired=[("ProbeUnknown", "vault")], firing=[("ProbeUnknown", "vault")])


async def test_a_target_that_could_never_be_told_rings_as_that_alone(tmp_path: Path) -> None:
    async with running() as bench:
        bench.plays["vault:1"] = unknown
        recording = await begin(bench)
        await recording.go_on(40)
        recording.expect(tmp_path, fired=[("ProbeUnknown", "vault")], firing=[("ProbeUnknown", "vault")])


async def test_a_defect_rings_and_what_it_cost_is_over_before(tmp_path: Path) -> None:
    async with running() as bench:
        recording = await begin(bench)
        bench.plays["vault:1"] = broken
        await recording.go_on(0.5)
        bench.plays.clear()
        await recording.go_on(5)
        recording.expect(tmp_path, fired=[("ExporterDefect", SELF)], firing=[("ExporterDefect", SELF)])
        await recording.go_on(12)
        recording.expect(tmp_path, fired=[("ExporterDefect", SELF)])


async def test_a_service_with_probes_that_are_not_vital_pages_too(tmp_path: Path) -> None:
    """A gateway with certificates alone had no verdict, and never paged."""
    gateway = 'dependencies: {gateway: {instances: ["gateway:1"], probes: {tls: {interval: 1m}}}}\n'
    async with running() as bench:
        recording = await begin(bench, gateway + FLEET)
        bench.plays["gateway:1"] = down
        await recording.go_on(25)
        recording.expect(tmp_path, fired=[("ServiceDown", "gateway")], firing=[("ServiceDown", "gateway")])


async def test_one_instance_of_several_that_stays_down_rings_without_a_page(tmp_path: Path) -> None:
    async with running() as bench:
        recording = await begin(bench)
        bench.plays["a:1"] = down
        await recording.go_on(20)
        recording.expect(tmp_path, fired=[("ProbeStale", "case")], firing=[("ProbeStale", "case")])

"""Incidents while instances come and go, and while services stop telling what is wrong with them."""

from __future__ import annotations

import asyncio
import time

import pytest

from exporter.actuator.health_samples import COMPONENT_UP
from exporter.diagnosis.model import Snapshot
from exporter.engine import diagnostician
from exporter.engine.service import ServiceState
from exporter.engine.target import TargetState
from exporter.probing.attempt import Attempt
from exporter.verdict import Failure, Reason, Stage
from tests.engine.bench import at, down, running
from tests.engine.test_incidents import FLEET, PASSWORD, SERVICES, incidents, says_down, until

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

CHURN = f"""
dependencies:
  postgres: {{instances: [postgres:1], probes: {{postgres: {{{PASSWORD}, interval: 10m, recheck_interval: 3s}}}}}}
services:
  case: {{instances: {{dns: case, port: 1}}, depends_on: [postgres], probes: {{actuator: {{}}}}}}
"""


async def test_what_is_needed_is_asked_though_an_instance_left_while_it_was_in_doubt() -> None:
    async with running() as bench:
        bench.names["case"] = at("a")
        await bench.configure(CHURN)
        await asyncio.sleep(30)
        bench.plays["a:1"] = down
        before = len(bench.attempts)
        while not any(target.service == "case" for _, target in bench.attempts[before:]):
            await asyncio.sleep(0.05)
        await bench.say("case", at("b"))
        await asyncio.sleep(60)
        assert incidents(bench) == {}
        bench.play = down
        await until(bench, {"case", "postgres"}, 45.0)
        assert incidents(bench) == {"case": "postgres", "postgres": "postgres"}


async def test_what_is_probed_seldom_is_confirmed_down_together_with_what_needs_it() -> None:
    async with running() as bench:
        bench.names["case"] = at("a")
        await bench.configure(CHURN.replace(", recheck_interval: 3s", ""))
        await asyncio.sleep(60)
        bench.play = down
        await until(bench, {"case", "postgres"}, 45.0)
        assert incidents(bench) == {"case": "postgres", "postgres": "postgres"}


@pytest.mark.parametrize("name", ["", " ", "\u200b", "\x00"])
async def test_a_component_without_a_name_names_no_incident(name: str) -> None:
    async def says(attempt: Attempt) -> None:
        attempt.record(COMPONENT_UP, 0, name)
        raise Failure(Stage.CHECK, Reason.REPORTED_DOWN, "status DOWN")

    async with running() as bench:
        await bench.configure(FLEET)
        await asyncio.sleep(30)
        bench.plays |= {"case:1": says, "vault:1": says}
        await asyncio.sleep(60)
        assert incidents(bench) == {"case": "case", "vault": "vault"}


async def test_an_attempt_costs_the_same_however_many_instances_of_its_service_are_in_doubt() -> None:
    many = ", ".join(f"'h{number}:1'" for number in range(3000))
    async with running() as bench:
        await bench.configure(f"services: {{case: {{instances: [{many}], probes: {{actuator: {{}}}}}}}}")
        await asyncio.sleep(31)
        spent, watched = [0.0], bench.engine._diagnostician
        original = watched.completed

        def measured(service: ServiceState, state: TargetState) -> None:
            began = time.thread_time()
            original(service, state)
            spent[0] += time.thread_time() - began

        watched.completed = measured  # type: ignore[method-assign] # each is measured
        bench.play = down
        began = time.thread_time()
        await asyncio.sleep(24)
        assert spent[0] < 0.3 * (time.thread_time() - began)
        assert incidents(bench) == {"case": "case"}


@pytest.mark.parametrize("after", range(0, 15, 4))
@pytest.mark.parametrize("named", ["postgres", "db"])
async def test_who_is_first_to_say_that_a_database_is_down_waits_for_the_others(after: float, named: str) -> None:
    """One incident, where no probe sees it: none is configured, or it answers the exporter and not the services."""
    text = FLEET.partition("  api-facade")[0]
    if named == "db":
        own = f"  postgres: {{instances: [postgres:1], probes: {{postgres: {{{PASSWORD}}}}}}}\n"
        text = text.replace(own, "").replace("[postgres, redis]", "[redis]")
    async with running() as bench:
        await bench.configure(text)
        await asyncio.sleep(30 + after)
        bench.plays |= {f"{name}:1": says_down for name in SERVICES}
        await asyncio.sleep(60)
        assert incidents(bench) == dict.fromkeys(SERVICES, named)


async def test_a_diagnosis_that_fails_leaves_nothing_said_of_what_has_recovered(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Snapshot) -> None:
        raise RuntimeError("a defect")

    async with running() as bench:
        await bench.configure(FLEET)
        await asyncio.sleep(30)
        bench.plays |= {f"{name}:1": down for name in ("postgres", *SERVICES)}
        await asyncio.sleep(60)
        assert bench.engine.incidents()
        monkeypatch.setattr(diagnostician, "examine", broken)
        bench.plays.clear()
        await asyncio.sleep(60)
        assert bench.engine.incidents() == {}
        assert not list(bench.store.series_of("probe_suspected_cause"))

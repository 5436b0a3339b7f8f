"""The engine and ServiceDown over time: one cause rings once, under its own name, and nothing but recovery ends it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from exporter.actuator.health_samples import COMPONENT_UP
from exporter.probing.attempt import Attempt
from exporter.verdict import Failure, Reason, Stage
from tests.alerts.recorded import Recording
from tests.engine.bench import Bench, down, running, unknown

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime(noop_cycles=4), pytest.mark.usefixtures("clock")]

POSTGRES = 'dependencies: {postgres: {instances: ["postgres:1"], probes: {postgres: {user: u, password: p, database: d}}}}'
NEEDY = '  {name}: {{instances: ["{name}:1"], depends_on: [postgres], probes: {{actuator: {{}}}}}}'
ALONE = '  signals: {instances: ["signals:1"], probes: {actuator: {}}}'
VAULT, CASE = NEEDY.format(name="vault"), NEEDY.format(name="case")
FLEET = "\n".join((POSTGRES, "services:", VAULT, CASE, ALONE))

OF_POSTGRES = {("postgres", "postgres"): 1, ("vault", "postgres"): 1, ("case", "postgres"): 1}


async def says_down(attempt: Attempt) -> None:
    """Say that the database cannot be reached."""
    attempt.record(COMPONENT_UP, 0, "db")
    raise Failure(Stage.CHECK, Reason.REPORTED_DOWN, "status DOWN: db")


def break_database(bench: Bench) -> None:
    bench.plays |= {"postgres:1": down, "vault:1": says_down, "case:1": says_down}


@asynccontextmanager
async def fleet(recording: Recording | None = None) -> AsyncIterator[tuple[Bench, Recording]]:
    """Run an exporter of the fleet; what is scraped goes on in a recording that there is."""
    async with running() as bench:
        if recording is None:
            recording = Recording(bench)
        recording.bench = bench
        await bench.configure(FLEET)
        yield bench, recording


async def outage(bench: Bench, recording: Recording, minutes: float) -> None:
    """Let the database die after two minutes in which all is well, and so much time pass."""
    await recording.go_on(2)
    break_database(bench)
    await recording.go_on(minutes)


async def recovery(bench: Bench, recording: Recording, folder: Path) -> None:
    """Mend everything: what has rung for the database ends, and nothing has rung beside it."""
    bench.plays.clear()
    await recording.go_on(4)
    recording.expect_pages(folder, rings=OF_POSTGRES)


async def test_a_dead_database_is_one_incident_of_all_that_need_it(tmp_path: Path) -> None:
    async with fleet() as (bench, recording):
        await outage(bench, recording, 10)
        recording.expect_pages(tmp_path, rings=OF_POSTGRES, firing=OF_POSTGRES)
        await recovery(bench, recording, tmp_path)


async def test_what_stays_down_when_the_root_is_back_rings_under_its_own_name(tmp_path: Path) -> None:
    async with fleet() as (bench, recording):
        await outage(bench, recording, 5)
        bench.plays = {"case:1": down}
        await recording.go_on(10)
        recording.expect_pages(tmp_path, rings=OF_POSTGRES | {("case", "case"): 1}, firing=[("case", "case")])


async def test_another_fault_within_is_another_incident(tmp_path: Path) -> None:
    async with fleet() as (bench, recording):
        await outage(bench, recording, 3)
        bench.plays["signals:1"] = down
        await recording.go_on(5)
        both = OF_POSTGRES | {("signals", "signals"): 1}
        recording.expect_pages(tmp_path, rings=both, firing=both)


@pytest.mark.parametrize("minutes", [0.5, 20])
async def test_an_exporter_that_is_frozen_ends_nothing_and_rings_nothing_anew(tmp_path: Path, minutes: float) -> None:
    async with fleet() as (bench, recording):
        await outage(bench, recording, 3)
        recording.frozen(minutes)
        recording.expect_pages(tmp_path, rings=OF_POSTGRES, firing=OF_POSTGRES)
        await recording.go_on(5)
        recording.expect_pages(tmp_path, rings=OF_POSTGRES, firing=OF_POSTGRES)
        await recovery(bench, recording, tmp_path)


@pytest.mark.parametrize("minutes", [0.5, 20])
async def test_one_that_is_killed_and_started_anew_ends_nothing_and_rings_nothing_anew(
    tmp_path: Path, minutes: float
) -> None:
    async with fleet() as (bench, recording):
        await outage(bench, recording, 3)
    await recording.blind(minutes)
    recording.expect_pages(tmp_path, rings=OF_POSTGRES, firing=OF_POSTGRES)
    async with fleet(recording) as (bench, _):
        break_database(bench)
        await recording.go_on(5)
        recording.expect_pages(tmp_path, rings=OF_POSTGRES, firing=OF_POSTGRES)
        await recovery(bench, recording, tmp_path)


async def test_what_recovered_while_nobody_watched_ends_when_somebody_does(tmp_path: Path) -> None:
    async with fleet() as (bench, recording):
        await outage(bench, recording, 3)
    await recording.blind(5)
    async with fleet(recording) as (bench, _):
        await recording.go_on(4)
        recording.expect_pages(tmp_path, rings=OF_POSTGRES)


async def test_a_prometheus_with_an_empty_disk_finds_the_same_incidents(tmp_path: Path) -> None:
    """The same labels are the same alerts to Alertmanager, and their group the same incident to PagerDuty."""
    async with fleet() as (bench, before):
        await outage(bench, before, 5)
        after = Recording(bench)
        await after.go_on(0.25)
        after.expect_pages(tmp_path, rings=OF_POSTGRES, firing=OF_POSTGRES)
        await recovery(bench, after, tmp_path)


async def test_a_service_that_is_not_configured_any_more_ends_and_nothing_else_does(tmp_path: Path) -> None:
    async with fleet() as (bench, recording):
        await outage(bench, recording, 3)
        await bench.configure(FLEET.replace(CASE + "\n", ""))
        await recording.go_on(4)
        left = {pair: count for pair, count in OF_POSTGRES.items() if pair[0] != "case"}
        recording.expect_pages(tmp_path, rings=OF_POSTGRES, firing=left)


async def test_a_verdict_that_is_withdrawn_ends_nothing(tmp_path: Path) -> None:
    """As where the password is changed in the middle: nobody can tell, so it may be down still."""
    async with fleet() as (bench, recording):
        await outage(bench, recording, 3)
        bench.plays = dict.fromkeys(bench.plays, unknown)
        await recording.go_on(10)
        recording.expect_pages(tmp_path, rings=OF_POSTGRES, firing=OF_POSTGRES)
        await recovery(bench, recording, tmp_path)


async def test_a_service_that_comes_and_goes_within_a_minute_rings_once(tmp_path: Path) -> None:
    async with fleet() as (bench, recording):
        await recording.go_on(2)
        for _ in range(8):
            bench.plays = {"signals:1": down}
            await recording.go_on(0.75)
            bench.plays = {}
            await recording.go_on(0.5)
        recording.expect_pages(tmp_path, rings={("signals", "signals"): 1}, firing=[("signals", "signals")])

"""From the first failure to the incident: who is asked at once, what is told, and how long it takes, on a fake clock."""

from __future__ import annotations

import asyncio
import time

import pytest

from exporter.actuator.health_samples import COMPONENT_UP
from exporter.probing.attempt import Attempt
from exporter.verdict import Failure, Reason, Stage
from tests.engine.bench import Bench, at, down, hang, running, unknown, up

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

SERVICES = ("identity", "screening", "monitoring", "case", "vault", "risk-engine", "signals")
ACTUATOR = "probes: {actuator: {}}"
PASSWORD = "user: u, password: p, database: d"
FLEET = "\n".join([
    "dependencies:",
    f"  postgres: {{instances: [postgres:1], probes: {{postgres: {{{PASSWORD}}}}}}}",
    "  redis: {instances: [redis:1], probes: {redis: {}}}",
    "services:",
    *(f"  {name}: {{instances: ['{name}:1'], depends_on: [postgres, redis], {ACTUATOR}}}" for name in SERVICES),
    f"  api-facade: {{instances: ['api-facade:1'], depends_on: [{', '.join(SERVICES)}], {ACTUATOR}}}",
])  # fmt: skip
ALL = ("postgres", *SERVICES, "api-facade")


async def says_down(attempt: Attempt) -> None:
    """Say that the database cannot be reached."""
    attempt.record(COMPONENT_UP, 0, "db")
    raise Failure(Stage.CHECK, Reason.REPORTED_DOWN, "status DOWN: db")


def fail(bench: Bench, database: object = down) -> None:
    """Have the database fail, and what needs it."""
    bench.plays |= {f"{name}:1": says_down for name in (*SERVICES, "api-facade")}
    bench.plays["postgres:1"] = database  # type: ignore[assignment] # one of the plays


def incidents(bench: Bench) -> dict[str, str]:
    return {
        line.partition('service="')[2].partition('"')[0]: line.partition('incident="')[2].partition('"')[0]
        for line in bench.lines("probe_incident{")
    }


async def until(bench: Bench, names: set[str], seconds: float) -> float:
    """Wait until these have an incident; return how long it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while incidents(bench).keys() != names:
        assert loop.time() - began < seconds, incidents(bench)
        await asyncio.sleep(0.05)
    return loop.time() - began


@pytest.mark.parametrize("database", [down, hang])
@pytest.mark.parametrize("after", [0.0, 4.0, 8.0, 12.0])
async def test_one_dead_database_is_one_incident_of_all_that_need_it(database: object, after: float) -> None:
    """Shipped interval: 15 s to the first failure, 5 s that it hangs, 3.75 s to the second, 5 s again, and at most 10 s."""
    async with running() as bench:
        await bench.configure(FLEET)
        await asyncio.sleep(30 + after)
        assert incidents(bench) == {}
        fail(bench, database)
        await until(bench, set(ALL), 38.0)
        assert incidents(bench) == dict.fromkeys(ALL, "postgres")
        assert bench.engine.incidents() == {"postgres": tuple(sorted(ALL))}
        causes = bench.lines("probe_suspected_cause{")
        assert sum('cause="dependency_down",dependency="postgres"' in line for line in causes) == 8
        (own,) = bench.engine.diagnoses()["postgres"]
        assert own.takes_down == tuple(sorted(set(ALL) - {"postgres"}))
        assert all(value == 0 for value in bench.values("probe_runs_missed_total").values())
        assert bench.defects() == {}


@pytest.mark.parametrize("after", [0.0, 6.0, 10.0, 14.0])
async def test_all_of_an_incident_is_there_when_the_first_of_it_is(after: float) -> None:
    """So that the first page says how far it reaches, in whatever order they came down."""
    async with running() as bench:
        await bench.configure(FLEET)
        await asyncio.sleep(30 + after)
        fail(bench)
        while not incidents(bench):
            await asyncio.sleep(0.02)
        assert incidents(bench) == dict.fromkeys(ALL, "postgres")


async def test_the_first_failure_asks_what_is_needed_and_not_more() -> None:
    async with running() as bench:
        await bench.configure(FLEET.replace("probes: {redis: {}}", "probes: {redis: {interval: 10m}}"))
        await asyncio.sleep(60)
        bench.attempts.clear()
        bench.plays["case:1"] = down
        loop, failed = asyncio.get_running_loop(), 0.0
        for _ in range(400):
            await asyncio.sleep(0.05)
            failed = next((when for when, target in bench.attempts if target.service == "case"), 0.0)
            if failed:
                break
        await asyncio.sleep(0.2)
        asked = [when for when, target in bench.attempts if target.service == "redis"]
        assert [when - failed for when in asked] == [pytest.approx(0, abs=0.1)]
        assert not any(
            when >= failed and target.service == "vault" and when - failed < 0.01 for when, target in bench.attempts
        )
        assert loop.time() >= failed


async def test_a_service_alone_is_an_incident_of_its_own_and_says_why() -> None:
    async with running() as bench:
        await bench.configure(FLEET)
        await asyncio.sleep(30)
        bench.plays["case:1"] = says_down
        bench.plays["api-facade:1"] = down
        await until(bench, {"case", "api-facade"}, 36.0)
        assert incidents(bench) == {"case": "case", "api-facade": "case"}
        (found,) = bench.engine.diagnoses()["case"]
        assert [(each.cause.name, each.dependency) for each in found.causes] == [("dependency_unreachable", "postgres")]
        assert bench.lines('probe_suspected_cause_evidence{service="case"') == [
            'probe_suspected_cause_evidence{service="case",cause="dependency_unreachable",dependency="postgres",'
            'evidence="health component db"} 0'
        ]


async def test_it_is_kept_while_it_cannot_be_told_and_left_when_the_root_is_well_for_a_minute() -> None:
    async with running() as bench:
        await bench.configure(FLEET)
        await asyncio.sleep(30)
        fail(bench)
        await until(bench, set(ALL), 38.0)
        bench.plays["case:1"] = unknown
        await asyncio.sleep(16)
        assert incidents(bench).keys() == set(ALL) - {"case"}
        bench.plays["case:1"] = down
        await asyncio.sleep(16)
        assert incidents(bench)["case"] == "postgres"
        bench.plays.clear()
        bench.plays["case:1"] = down
        await until(bench, {"case"}, 16.0)
        assert incidents(bench) == {"case": "postgres"}
        await asyncio.sleep(70)
        assert incidents(bench) == {"case": "case"}
        bench.plays.clear()
        await until(bench, set(), 16.0)
        await asyncio.sleep(0.3)
        assert bench.lines("probe_suspected_cause") == []
        assert bench.engine.diagnoses() == {}


async def test_an_exporter_that_was_restarted_names_the_same_incident() -> None:
    async with running() as bench:
        fail(bench)
        await bench.configure(FLEET)
        await until(bench, set(ALL), 45.0)
        assert incidents(bench) == dict.fromkeys(ALL, "postgres")


async def test_a_database_that_nobody_configured_is_named_by_what_services_say() -> None:
    text = FLEET.replace(f"  postgres: {{instances: [postgres:1], probes: {{postgres: {{{PASSWORD}}}}}}}\n", "")
    async with running() as bench:
        await bench.configure(text.replace("[postgres, redis]", "[redis]"))
        await asyncio.sleep(30)
        bench.plays |= {f"{name}:1": says_down for name in (*SERVICES, "api-facade")}
        await until(bench, set(ALL) - {"postgres"}, 38.0)
        assert set(incidents(bench).values()) == {"db"}
        assert all('cause="dependency_down",dependency="db"' in line for line in bench.lines("probe_suspected_cause{"))


async def test_ready_once_all_has_been_told_and_not_while_a_reload_is_brought_about() -> None:
    async with running() as bench:
        assert bench.lines("probe_exporter_ready") == ["probe_exporter_ready 0"]
        bench.names["slow"] = at("slow")
        await bench.configure(FLEET)
        assert bench.lines("probe_exporter_ready") == ["probe_exporter_ready 1"]
        told = set(bench.values("probe_service_up", "service")) | set(bench.values("probe_service_unknown", "service"))
        assert told == {*ALL, "redis"}
        from tests.engine.bench import config  # noqa: PLC0415 - used here alone

        bench.engine.configure(config(FLEET.replace("[redis:1]", "[redis:2]")))
        assert bench.lines("probe_exporter_ready") == ["probe_exporter_ready 0"]
        await bench.engine.settled()
        assert bench.lines("probe_exporter_ready") == ["probe_exporter_ready 1"]
        bench.engine.configure(config(FLEET.replace("[redis:1]", "[redis:2]")))
        assert bench.lines("probe_exporter_ready") == ["probe_exporter_ready 1"]


async def test_bad_probes_now_and_then_are_no_incident() -> None:
    async with running() as bench:
        await bench.configure(FLEET)
        await asyncio.sleep(30)
        for turn in range(20):
            name = (*SERVICES, "postgres")[turn % 8]
            bench.plays[f"{name}:1"] = down
            before = len(bench.attempts)
            while not any(target.service == name for _, target in bench.attempts[before:]):
                await asyncio.sleep(0.05)
            bench.plays[f"{name}:1"] = up
            await asyncio.sleep(5)
            assert incidents(bench) == {}


async def test_an_outage_of_thousands_costs_little_and_ends_in_one_incident() -> None:
    """The loop is held up for no longer than a slice, and the diagnosis takes a small share of what the attempts take."""
    many = ", ".join(f"'h{number}:1'" for number in range(500))
    services = "".join(
        f"  s{n}: {{instances: [{many.replace('h', f's{n}h')}], depends_on: [redis], probes: {{actuator: {{}}}}}}\n"
        for n in range(10)
    )
    async with running() as bench:
        await bench.configure(
            f"dependencies: {{redis: {{instances: [redis:1], probes: {{redis: {{}}}}}}}}\nservices:\n{services}"
        )
        await asyncio.sleep(15.5)
        bench.play = down
        rounds: list[float] = []
        diagnostician = bench.engine._diagnostician
        original = diagnostician._round

        async def measured() -> None:
            began = time.thread_time()
            await original()
            rounds.append(time.thread_time() - began)

        diagnostician._round = measured  # type: ignore[method-assign] # each is measured
        began, counted = time.thread_time(), len(bench.attempts)
        await asyncio.sleep(24)
        whole = time.thread_time() - began
        assert len(bench.attempts) - counted > 8_000
        assert set(incidents(bench).values()) == {"redis"}
        assert len(incidents(bench)) == 11
        assert sum(rounds) < 0.2 * whole
        assert all(value == 0 for value in bench.values("probe_runs_missed_total").values())


def causes_of(bench: Bench, name: str) -> list[tuple[str, str]]:
    return [(each.cause.name, each.dependency) for each in bench.engine.diagnoses()[name][0].causes]


async def test_what_was_down_before_its_database_stays_its_own_and_the_rest_is_one_incident() -> None:
    async with running() as bench:
        await bench.configure(FLEET)
        await asyncio.sleep(30)
        bench.plays["case:1"] = down
        await asyncio.sleep(120)
        assert incidents(bench) == {"case": "case"}
        fail(bench)
        bench.plays["case:1"] = down
        await until(bench, set(ALL), 38.0)
        assert incidents(bench) == dict.fromkeys(ALL, "postgres") | {"case": "case"}
        assert causes_of(bench, "case") == [("connect_refused", ""), ("dependency_down", "postgres")]
        assert causes_of(bench, "vault") == [("dependency_down", "postgres")]
        assert bench.engine.diagnoses()["postgres"][0].takes_down == tuple(sorted(set(ALL) - {"postgres", "case"}))
        told = bench.lines('probe_suspected_cause{service="case",cause="connect_refused"')
        assert [line.rpartition(" ")[2] for line in told] == ["1"]


@pytest.mark.parametrize("database", [down, hang])
async def test_who_crashes_of_a_dead_database_is_explained_by_it_also_where_that_comes_and_goes(database: object) -> None:
    """It hangs for as long as its deadline is before it is called down, and the services say so sooner."""
    async with running() as bench:
        await bench.configure(FLEET.replace(PASSWORD, f"{PASSWORD}, interval: 2m, timeout: 100s"))
        await asyncio.sleep(150)
        fail(bench, database)
        bench.plays["case:1"] = down
        await until(bench, set(ALL), 330.0)
        assert causes_of(bench, "case") == [("dependency_down", "postgres")]
        bench.plays["postgres:1"] = up
        while incidents(bench).get("postgres"):
            await asyncio.sleep(0.5)
        await asyncio.sleep(10)
        bench.plays["postgres:1"] = down
        while not incidents(bench).get("postgres"):
            await asyncio.sleep(0.5)
        assert causes_of(bench, "case")[0] == ("dependency_down", "postgres")
        assert bench.defects() == {}

"""The actuator probe's further parts through the whole probe: the main port, migrations, warm and cold connections."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from exporter.actuator import connections, flyway, mainport, recording
from exporter.metrics.family import Family
from exporter.probes import actuator
from exporter.probing.probe import SharedClients
from exporter.probing.runner import Outcome, run_probe
from exporter.verdict import Failure, Reason, Stage, Verdict
from tests.net.servers import Certificates, Route, Served, answer, serve, serve_raw
from tests.probes.doing import make, on_uvloop

HEALTH = "/actuator/health"
PROMETHEUS = "/actuator/prometheus"
FLYWAY = "/actuator/flyway"


def health(body: object, status: int = 200) -> web.Response:
    return answer(json.dumps(body), status, Content_Type="application/vnd.spring-boot.actuator.v3+json")


UP = health({"status": "UP"})
DOWN = health({"status": "DOWN", "components": {"db": {"status": "DOWN"}}}, 503)


def values(outcome: Outcome, family: Family) -> dict[tuple[str, ...], float]:
    return dict(outcome.samples.get(family, {}))


def why(failure: Failure | None) -> tuple[Stage, Reason, str] | None:
    return (failure.stage, failure.reason, failure.detail) if failure else None


def hanging(_request: web.Request) -> Any:
    return asyncio.get_running_loop().create_future()


# --- the main port ------------------------------------------------------------------------------------------------------


class Ports:
    """A management port that is up, and a main port; attempts of one probe of both."""

    def __init__(self, shared: SharedClients, management: Served, main: Served) -> None:
        self.management, self.main = management, main
        self._shared = shared

    async def probed(self, timeout: float = 5.0, main: dict[str, Any] | None = None, **settings: Any) -> Outcome:
        settings = {"metrics": False, "main": {"port": self.main.port, "paths": ["/livez"]} | (main or {})} | settings
        return await run_probe(make("actuator", self._shared, "127.0.0.1", self.management.port, **settings), timeout)


@asynccontextmanager
async def ports(shared: SharedClients, main: dict[str, Route], health: Route = UP) -> AsyncIterator[Ports]:
    async with serve({HEALTH: health}) as management, serve(main) as served:
        yield Ports(shared, management, served)


async def test_an_instance_whose_main_port_answers_is_up(shared: SharedClients) -> None:
    async with ports(shared, {"/livez": UP, "/shop": answer("<html>welcome", Content_Type="text/html")}) as both:
        outcome = await both.probed(main={"paths": ["/livez", "/shop"]})
    assert (outcome.verdict, outcome.parts) == (Verdict.UP, {"main": None})
    assert values(outcome, mainport.UP) == {("/livez",): 1, ("/shop",): 1}
    assert values(outcome, mainport.STATUS_CODE) == {("/livez",): 200, ("/shop",): 200}
    assert sorted(both.main.paths()) == ["/livez", "/shop"]


@pytest.mark.parametrize(
    ("response", "reason", "detail", "verdict"),
    [
        (answer("<h1>503", 503), Reason.HTTP_STATUS, "HTTP 503", Verdict.DOWN),
        (answer("", 302, Location="/login"), Reason.REDIRECT, "HTTP 302 to /login", Verdict.DOWN),
        (DOWN, Reason.REPORTED_DOWN, "status DOWN: db", Verdict.DOWN),
        (health({"status": "DOWN"}, 200), Reason.REPORTED_DOWN, "status DOWN", Verdict.DOWN),
        (answer("", 401), Reason.AUTH, "HTTP 401: the endpoint wants other credentials", Verdict.UNKNOWN),
    ],
)
async def test_a_main_port_that_does_not_answer_well_turns_the_verdict_and_names_the_path(
    shared: SharedClients, response: web.Response, reason: Reason, detail: str, verdict: Verdict
) -> None:
    async with ports(shared, {"/livez": response}) as both:
        outcome = await both.probed()
    assert outcome.verdict is verdict
    assert why(outcome.failure) == (Stage.CHECK, reason, f"main port /livez: {detail}")
    assert outcome.parts == {"main": outcome.failure}
    assert values(outcome, mainport.UP) == {("/livez",): 0}
    assert values(outcome, actuator.STATUS_CODE) == {(): 200}, "the actuator's own is not mixed with it"


async def test_a_main_port_that_refuses_is_down_while_the_actuator_is_up(shared: SharedClients) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        async with ports(shared, {}) as both:
            outcome = await both.probed(main={"port": bound.getsockname()[1]})
    assert why(outcome.failure) == (Stage.CONNECT, Reason.CONNECT_REFUSED, "main port /livez: Connection refused")
    assert outcome.verdict is Verdict.DOWN


async def test_a_main_port_that_hangs_is_down_in_time_and_by_its_own_name(shared: SharedClients) -> None:
    """Its failure is not the health's, whose phases and code are there, and ahead of the attempt's deadline."""
    async with ports(shared, {"/livez": hanging, "/readyz": UP}) as both:
        outcome = await both.probed(1.2, main={"paths": ["/livez", "/readyz"]})
    assert why(outcome.failure) == (Stage.WAIT, Reason.TIMEOUT, "main port /livez: no answer within the deadline")
    assert outcome.duration < 1.2
    assert outcome.phases[Stage.WAIT] < 0.5
    assert values(outcome, actuator.STATUS_CODE) == {(): 200}
    assert values(outcome, mainport.UP) == {("/livez",): 0, ("/readyz",): 1}


async def test_where_both_are_down_the_applications_own_word_comes_first(shared: SharedClients) -> None:
    async with ports(shared, {"/livez": answer("", 500)}, health=DOWN) as both:
        outcome = await both.probed()
    assert why(outcome.failure) == (Stage.CHECK, Reason.REPORTED_DOWN, "status DOWN: db")
    assert why(outcome.parts["main"]) == (Stage.CHECK, Reason.HTTP_STATUS, "main port /livez: HTTP 500")


async def test_health_that_hangs_still_has_its_main_port_asked(shared: SharedClients) -> None:
    """It says whether users are served meanwhile."""
    async with ports(shared, {"/livez": UP}, health=hanging) as both:
        outcome = await both.probed(1.0)
    assert why(outcome.failure) == (Stage.WAIT, Reason.TIMEOUT, "no answer within 1 s")
    assert values(outcome, mainport.UP) == {("/livez",): 1}


async def test_credentials_are_never_sent_to_the_main_port(shared: SharedClients) -> None:
    async with ports(shared, {"/livez": UP, "/readyz": answer("", 401, WWW_Authenticate="Basic")}) as both:
        await both.probed(
            main={"paths": ["/livez", "/readyz"]},
            auth={"basic": {"username": "prober", "password": "s3cret"}},
            headers={"X-Probe-Key": "k3y"},
        )
    assert both.management.requests[0].headers["X-Probe-Key"] == "k3y"
    assert "Authorization" in both.management.requests[0].headers
    assert len(both.main.requests) == 2
    for request in both.main.requests:
        assert {name.lower() for name in request.headers} <= {"host", "accept", "accept-encoding", "user-agent"}


async def test_a_redirect_of_the_main_port_is_not_followed(shared: SharedClients) -> None:
    async with serve({"/": UP}) as other:
        elsewhere = answer("", 302, Location=f"http://127.0.0.1:{other.port}/")
        async with ports(shared, {"/livez": elsewhere}) as both:
            outcome = await both.probed()
    assert outcome.verdict is Verdict.DOWN
    assert (len(both.main.requests), other.requests) == (1, [])


# --- migrations ---------------------------------------------------------------------------------------------------------


def migrations(*states: str) -> web.Response:
    found = [{"type": "SQL", "version": str(number), "state": state} for number, state in enumerate(states, 1)]
    return health({"contexts": {"application": {"flywayBeans": {"flyway": {"migrations": found}}}}})


def meters(text: str) -> web.Response:
    return answer(text, Content_Type="text/plain;version=0.0.4;charset=utf-8")


def started(at: float) -> web.Response:
    return meters(f"process_start_time_seconds {at}\n")


class Migrated:
    """A probe of one application, attempt after attempt; the application's answers may be changed in between."""

    def __init__(self, shared: SharedClients, served: Served, routes: dict[str, Route], settings: dict[str, Any]) -> None:
        self.routes, self.served = routes, served
        self._probe = make("actuator", shared, "127.0.0.1", served.port, **settings)

    async def attempt(self, timeout: float = 5.0) -> Outcome:
        return await run_probe(self._probe, timeout)

    @property
    def asked(self) -> int:
        """Questions for migrations so far."""
        return self.served.paths().count(FLYWAY)


@asynccontextmanager
async def migrated(shared: SharedClients, answered: Route | None, **settings: Any) -> AsyncIterator[Migrated]:
    routes: dict[str, Route] = {HEALTH: UP, PROMETHEUS: started(1000)}
    if answered is not None:
        routes[FLYWAY] = answered
    async with serve(routes) as served:
        yield Migrated(shared, served, routes, settings)


async def test_migrations_are_recorded_beside_the_meters(shared: SharedClients) -> None:
    async with migrated(shared, migrations("SUCCESS", "PENDING")) as application:
        outcome = await application.attempt()
    assert (outcome.verdict, outcome.parts) == (Verdict.UP, {"metrics": None, "flyway": None})
    assert values(outcome, flyway.VERSION) == {("flyway", "expected", "2"): 1, ("flyway", "applied", "1"): 1}
    assert values(outcome, flyway.BEHIND) == {("flyway",): 1}


async def test_migrations_are_asked_for_every_twentieth_time_and_hold_in_between(shared: SharedClients) -> None:
    async with migrated(shared, migrations("SUCCESS", "PENDING")) as application:
        asked, behind = [], []
        for number in range(41):
            if number == 5:
                application.routes[FLYWAY] = migrations("SUCCESS", "SUCCESS")
            outcome = await application.attempt()
            assert outcome.parts["flyway"] is None
            asked.append(application.asked)
            behind.append(values(outcome, flyway.BEHIND)[("flyway",)])
    assert asked == [1] * 20 + [2] * 20 + [3]
    assert behind == [1] * 20 + [0] * 21


@pytest.mark.parametrize("meter", ["process_start_time_seconds {0}\n", "process_uptime_seconds {1}\n"])
async def test_migrations_are_asked_for_again_after_a_restart(shared: SharedClients, meter: str) -> None:
    async with migrated(shared, migrations("SUCCESS", "PENDING")) as application:
        application.routes[PROMETHEUS] = meters(meter.format(1000, 500))
        await application.attempt()
        await application.attempt()
        assert application.asked == 1
        application.routes |= {PROMETHEUS: meters(meter.format(2000, 5)), FLYWAY: migrations("SUCCESS", "SUCCESS")}
        found = [await application.attempt() for _ in range(3)]
    assert values(found[0], recording.RESTARTS) == {(): 1}
    assert [values(outcome, flyway.BEHIND) for outcome in found[1:]] == [{("flyway",): 0}] * 2
    assert application.asked == 2


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_an_application_that_does_not_expose_them_is_left_alone(shared: SharedClients, status: int) -> None:
    """Nothing fails, and nothing is said of migrations."""
    async with migrated(shared, answer("", status)) as application:
        found = [await application.attempt() for _ in range(21)]
    for outcome in found:
        assert (outcome.verdict, outcome.parts) == (Verdict.UP, {"metrics": None})
        assert not set(outcome.samples) & set(flyway.METRICS)
    assert application.asked == 2


@pytest.mark.parametrize(
    ("response", "reason", "detail"),
    [
        (answer("", 500), Reason.HTTP_STATUS, "flyway: HTTP 500"),
        (answer("", 302, Location="/login"), Reason.REDIRECT, "flyway: HTTP 302 to /login"),
        (answer("<html>log in", Content_Type="text/html"), Reason.MALFORMED, "flyway: the answer is not what"),
        (answer('{"contexts":' + "[" * 100_000), Reason.MALFORMED, "flyway: the answer is not what"),
        (migrations(*["SUCCESS"] * 10_001), Reason.TOO_LARGE, "flyway: more than 10000 migrations"),
        (answer(b" " * 2_000_001), Reason.TOO_LARGE, "the answer is longer than 2000000 bytes"),
    ],
    ids=["500", "redirect", "html", "deep", "many", "long"],
)
async def test_migrations_that_cannot_be_read_fail_their_part_alone(
    shared: SharedClients, response: web.Response, reason: Reason, detail: str
) -> None:
    async with migrated(shared, response, max_metrics_bytes=2_000_000) as application:
        found = [await application.attempt() for _ in range(2)]
    for outcome in found:
        assert (outcome.verdict, outcome.parts["metrics"]) == (Verdict.UP, None)
        part = outcome.parts["flyway"]
        assert part is not None
        assert (part.reason, part.detail[: len(detail)]) == (reason, detail)
        assert values(outcome, recording.STARTED) == {(): 1000}
        assert not set(outcome.samples) & set(flyway.METRICS)


async def test_migrations_that_hang_fail_their_part_alone_and_not_each_attempt(shared: SharedClients) -> None:
    async with migrated(shared, hanging) as application:
        first, second = await application.attempt(0.5), await application.attempt(5)
    assert (first.verdict, second.verdict) == (Verdict.UP, Verdict.UP)
    assert why(first.parts["flyway"]) == (Stage.WAIT, Reason.TIMEOUT, "no answer within the deadline")
    assert second.parts["flyway"] == first.parts["flyway"]
    assert (application.asked, second.duration < 1) == (1, True)


async def test_an_application_that_is_down_is_not_asked_and_keeps_what_was_known(shared: SharedClients) -> None:
    """The answer would take connections of a pool that may have none left."""
    async with migrated(shared, migrations("SUCCESS")) as application:
        application.routes[HEALTH] = DOWN
        assert "flyway" not in (await application.attempt()).parts
        assert application.asked == 0
        application.routes[HEALTH] = UP
        assert values(await application.attempt(), flyway.BEHIND) == {("flyway",): 0}
        application.routes[HEALTH] = DOWN
        assert values(await application.attempt(), flyway.BEHIND) == {("flyway",): 0}
    assert application.asked == 1


@pytest.mark.parametrize("settings", [{"flyway": False}, {"metrics": False}])
async def test_migrations_can_be_left_out(shared: SharedClients, settings: dict[str, Any]) -> None:
    async with migrated(shared, migrations("SUCCESS"), **settings) as application:
        assert "flyway" not in (await application.attempt()).parts
    assert application.asked == 0


async def test_a_long_answer_is_read_in_a_thread(shared: SharedClients, monkeypatch: pytest.MonkeyPatch) -> None:
    threaded: list[Callable[..., object]] = []
    real = asyncio.to_thread

    async def noting(function: Callable[..., object], *args: object) -> object:
        threaded.append(function)
        return await real(function, *args)

    monkeypatch.setattr(asyncio, "to_thread", noting)
    async with migrated(shared, migrations(*["SUCCESS"] * 9_000)) as application:
        outcome = await application.attempt()
    assert values(outcome, flyway.VERSION)[("flyway", "applied", "9000")] == 1
    assert threaded == [flyway.parse]


async def test_a_fallback_that_was_cut_short_makes_no_ratio(shared: SharedClients) -> None:
    """Or all collections since the start would count as of one interval."""

    def metric(value: float) -> web.Response:
        measured = [{"statistic": statistic, "value": value} for statistic in ("VALUE", "TOTAL_TIME", "COUNT")]
        return health({"name": "x", "measurements": measured, "availableTags": []})

    base = "/actuator/metrics"
    routes: dict[str, Route] = {
        HEALTH: UP,
        base: health({"names": ["process.uptime", "jvm.gc.pause", "hikaricp.connections.active"]}),
        f"{base}/process.uptime": metric(100),
        f"{base}/jvm.gc.pause": metric(50),
        f"{base}/hikaricp.connections.active": metric(1),
    }
    async with serve(routes) as served:
        probe = make("actuator", shared, "127.0.0.1", served.port, flyway=False)
        await run_probe(probe, 5)
        routes |= {f"{base}/process.uptime": metric(110), f"{base}/hikaricp.connections.active": answer("", 500)}
        short = await run_probe(probe, 5)
        routes |= {f"{base}/process.uptime": metric(120), f"{base}/hikaricp.connections.active": metric(1)}
        whole = await run_probe(probe, 5)
    assert short.parts["metrics"] is not None
    assert values(short, recording.GC_SECONDS) == values(short, recording.GC_RATIO) == {}
    assert values(short, recording.RESTARTS) == {(): 0}
    assert values(whole, recording.GC_RATIO) == {(): 0}


# --- warm and cold connections ------------------------------------------------------------------------------------------


class Keeping:
    """A server that keeps connections, counts them, and takes no new ones while told not to."""

    def __init__(self) -> None:
        self.open = 0
        self.taking = True
        self.body = b'{"status":"UP"}'

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.taking:
            return
        self.open += 1
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(self.body), self.body))
        finally:
            self.open -= 1


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def warm_and_cold(shared: SharedClients, attempts: int, **settings: Any) -> tuple[list[Outcome], list[int], int]:
    """Outcomes, connections made after each, and how many were left open at the end."""
    server = Keeping()
    outcomes, made = [], []
    async with serve_raw(server) as served:
        probe = make("actuator", shared, "127.0.0.1", served.port, metrics=False, **settings)
        for _ in range(attempts):
            outcomes.append(await run_probe(probe, 5))
            made.append(served.connections)
        await until(lambda: server.open <= 1)
        left = server.open
        await shared.close()
        await until(lambda: server.open == 0)
    return outcomes, made, left


async def test_after_so_many_warm_attempts_one_makes_a_new_connection(shared: SharedClients) -> None:
    """Which is closed, and the kept one is used again."""
    outcomes, made, left = await warm_and_cold(shared, 10, cold_every=3)
    assert {outcome.verdict for outcome in outcomes} == {Verdict.UP}
    assert made == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3]
    reused = [values(outcome, actuator.REUSED)[()] for outcome in outcomes]
    assert reused == [0, 1, 1, 1, 0, 1, 1, 1, 0, 1]
    assert left == 1
    for outcome, warm in zip(outcomes, reused, strict=True):
        assert (Stage.CONNECT in outcome.phases) == (not warm)


async def test_zero_makes_no_new_connection_on_purpose(shared: SharedClients) -> None:
    _, made, _ = await warm_and_cold(shared, 30, cold_every=0)
    assert made[-1] == 1


async def test_exchanges_over_new_and_kept_connections_are_told_apart(shared: SharedClients) -> None:
    outcomes, _, _ = await warm_and_cold(shared, 4, cold_every=2)
    first, second, third, fourth = outcomes

    def seconds(outcome: Outcome, connection: str) -> float:
        return outcome.samples[connections.EXCHANGE_SECONDS][(connection,)]

    assert set(values(first, connections.EXCHANGE_SECONDS)) == {("cold",)}
    assert seconds(first, "cold") == pytest.approx(sum(first.phases.values()))
    assert values(first, connections.CONNECT_SECONDS)[()] == pytest.approx(first.phases[Stage.CONNECT])
    assert seconds(second, "warm") == pytest.approx(sum(second.phases.values()))
    assert seconds(third, "cold") == seconds(second, "cold") == seconds(first, "cold"), "held until the next one"
    assert seconds(fourth, "warm") == seconds(third, "warm")
    assert seconds(fourth, "cold") == pytest.approx(sum(fourth.phases.values()))
    assert values(fourth, connections.CONNECT_SECONDS)[()] == pytest.approx(fourth.phases[Stage.CONNECT])


async def test_an_application_that_takes_no_new_connections_is_down_until_it_does(shared: SharedClients) -> None:
    """The kept one would still work: users who come anew are not served."""
    server = Keeping()
    async with serve_raw(server) as served:
        probe = make("actuator", shared, "127.0.0.1", served.port, metrics=False, cold_every=2)
        found = [await run_probe(probe, 5) for _ in range(3)]
        server.taking = False
        found += [await run_probe(probe, 5) for _ in range(3)]
        assert server.open == 1, "the kept one is not closed for it"
        server.taking = True
        found += [await run_probe(probe, 5) for _ in range(2)]
    reasons = [outcome.failure.reason if outcome.failure else None for outcome in found]
    assert reasons == [None] * 3 + [Reason.CONNECTION_CLOSED] * 3 + [None] * 2
    assert [sorted(values(outcome, connections.EXCHANGE_SECONDS)) for outcome in found[2:]] == [
        [("cold",), ("warm",)], [], [], [], [("cold",), ("warm",)], [("cold",), ("warm",)]
    ]  # fmt: skip
    assert [values(outcome, actuator.REUSED) for outcome in found[6:]] == [{(): 0}, {(): 1}]


async def test_what_a_failing_cold_exchange_would_have_shown_is_withdrawn(shared: SharedClients) -> None:
    server = Keeping()
    async with serve_raw(server) as served:
        probe = make("actuator", shared, "127.0.0.1", served.port, metrics=False, cold_every=1)
        await run_probe(probe, 5)
        await run_probe(probe, 5)
        server.taking = False
        failed = await run_probe(probe, 5)
        server.taking = True
        worked = await run_probe(probe, 5)
    assert not set(failed.samples) & {connections.EXCHANGE_SECONDS, connections.CONNECT_SECONDS, actuator.REUSED}
    assert values(worked, connections.CONNECT_SECONDS)[()] == pytest.approx(worked.phases[Stage.CONNECT])


async def test_a_new_connection_that_hangs_is_a_timeout_and_stays_due(shared: SharedClients) -> None:
    stuck = False

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if stuck:
            await asyncio.Event().wait()
        await Keeping()(reader, writer)

    async with serve_raw(talk) as served:
        probe = make("actuator", shared, "127.0.0.1", served.port, metrics=False, cold_every=1)
        await run_probe(probe, 5)
        await run_probe(probe, 5)
        stuck = True
        found = [await run_probe(probe, 0.2) for _ in range(2)]
        assert served.connections == 3
    assert [why(outcome.failure) for outcome in found] == [(Stage.WAIT, Reason.TIMEOUT, "no answer within 0.2 s")] * 2


async def test_a_server_that_keeps_no_connections_has_cold_exchanges_alone(shared: SharedClients) -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 15\r\n\r\n{"status":"UP"}')

    async with serve_raw(once) as served:
        probe = make("actuator", shared, "127.0.0.1", served.port, metrics=False, cold_every=1)
        found = [await run_probe(probe, 5) for _ in range(3)]
    assert [set(values(outcome, connections.EXCHANGE_SECONDS)) for outcome in found] == [{("cold",)}] * 3
    assert [values(outcome, actuator.REUSED) for outcome in found] == [{(): 0}] * 3
    assert served.connections == 3


async def test_an_application_that_says_down_over_a_new_connection_does_take_new_ones(shared: SharedClients) -> None:
    """Its answer came: the next attempt may use the kept one."""
    server = Keeping()
    async with serve_raw(server) as served:
        probe = make("actuator", shared, "127.0.0.1", served.port, metrics=False, cold_every=1)
        await run_probe(probe, 5)
        await run_probe(probe, 5)
        server.body = b'{"status":"DOWN"}'
        cold, warm = await run_probe(probe, 5), await run_probe(probe, 5)
    assert (cold.verdict, warm.verdict) == (Verdict.DOWN, Verdict.DOWN)
    assert (values(cold, actuator.REUSED), values(warm, actuator.REUSED)) == ({(): 0}, {(): 1})


def test_on_the_exporters_own_loop_new_tls_connections_are_made_and_closed(tmp_path: Path) -> None:
    """Closing one under TLS takes a farewell, which must not leave it open."""
    certificates = Certificates(tmp_path)
    tls = {"ca_file": str(certificates.ca_file)}
    server = Keeping()

    async def steps(shared: SharedClients) -> tuple[list[float], list[bool], int]:
        async with serve_raw(server, certificates.server()) as served:
            probe = make("actuator", shared, "127.0.0.1", served.port, scheme="https", tls=tls, metrics=False, cold_every=1)
            found = [await run_probe(probe, 5) for _ in range(5)]
            await until(lambda: server.open == 1)
            await shared.close()
            await until(lambda: server.open == 0)
        reused = [values(outcome, actuator.REUSED)[()] for outcome in found]
        return reused, [Stage.TLS in outcome.phases for outcome in found], served.connections

    reused, handshakes, made = on_uvloop(steps)
    assert reused == [0, 1, 0, 1, 0]
    assert handshakes == [True, False, True, False, True]
    assert made == 3


async def test_the_main_port_takes_turns_as_the_actuator_does(shared: SharedClients) -> None:
    main = Keeping()
    async with serve({HEALTH: UP}) as management, serve_raw(main) as served:
        probe = make(
            "actuator", shared, "127.0.0.1", management.port, metrics=False, cold_every=2,
            main={"port": served.port, "paths": ["/livez"]},
        )  # fmt: skip
        found = [await run_probe(probe, 5) for _ in range(4)]
        assert served.connections == 2
        await run_probe(probe, 5)
        await run_probe(probe, 5)
        main.taking = False
        found += [await run_probe(probe, 5) for _ in range(2)]
    reasons = [outcome.failure.reason if outcome.failure else None for outcome in found]
    assert reasons == [None] * 4 + [Reason.CONNECTION_CLOSED] * 2

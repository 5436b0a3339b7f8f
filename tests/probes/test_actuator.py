"""The actuator probe against real servers: what it records, how it judges, and what it survives."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aiohttp import web
from pydantic import ValidationError

from exporter.actuator import health_samples, meter_reader, recording
from exporter.clients.spring import prometheus_text
from exporter.metrics.family import Family
from exporter.probes import actuator
from exporter.probes.actuator import ActuatorProbe, ActuatorSettings
from exporter.probing.probe import SharedClients, Target
from exporter.probing.runner import Outcome, run_probe
from exporter.values import Address
from exporter.verdict import Reason, Stage, Verdict
from tests.net.servers import Certificates, Route, answer, says, serve, serve_raw

HEALTH = "/actuator/health"
PROMETHEUS = "/actuator/prometheus"
METRICS = "/actuator/metrics"

UP = {
    "status": "UP",
    "groups": ["liveness", "readiness"],
    "components": {
        "db": {"status": "UP", "components": {"ds1": {"status": "UP", "details": {"database": "PostgreSQL"}}}},
        "redis": {"status": "UP", "details": {"version": "7.2"}},
    },
}
DOWN = {
    "status": "DOWN",
    "components": {"db": {"status": "DOWN", "details": {"error": "X: connection refused"}}, "redis": {"status": "UP"}},
}
BUCKETS = """\
http_server_requests_seconds_bucket{{outcome="SUCCESS",uri="/",le="0.1"}} {0}
http_server_requests_seconds_bucket{{outcome="SUCCESS",uri="/",le="1.0"}} {1}
http_server_requests_seconds_bucket{{outcome="SUCCESS",uri="/",le="+Inf"}} {1}
"""
METERS = """\
http_server_requests_seconds_count{outcome="SUCCESS",status="200",uri="/"} 10
http_server_requests_seconds_sum{outcome="SUCCESS",status="200",uri="/"} 2.5
hikaricp_connections_active{pool="main"} 3
hikaricp_connections_max{pool="main"} 10
jvm_memory_used_bytes{area="heap",id="Eden"} 100
jvm_memory_max_bytes{area="heap",id="Eden"} -1
process_uptime_seconds 12.5
"""


def health(body: object, status: int = 200) -> web.Response:
    return answer(json.dumps(body), status, Content_Type="application/vnd.spring-boot.actuator.v3+json")


def meters(text: str, status: int = 200) -> web.Response:
    return answer(text, status, Content_Type="text/plain;version=0.0.4;charset=utf-8")


def probe_of(shared: SharedClients, at: int, host: str = "127.0.0.1", **settings: Any) -> ActuatorProbe:
    """A probe of the server at this port."""
    address = Address(host, at)
    target = Target("identity", "actuator", str(address), (address,))
    return ActuatorProbe(target, ActuatorSettings.model_validate({"metrics": False, "flyway": False} | settings), shared)


def values(outcome: Outcome, family: Family) -> dict[tuple[str, ...], float]:
    return dict(outcome.samples.get(family, {}))


def failure(outcome: Outcome) -> tuple[Stage, Reason]:
    assert outcome.failure is not None
    return outcome.failure.stage, outcome.failure.reason


async def probed(shared: SharedClients, routes: dict[str, Route], timeout: float = 5.0, **settings: Any) -> Outcome:
    """One attempt against a server with these routes."""
    async with serve(routes) as served:
        return await run_probe(probe_of(shared, served.port, **settings), timeout)


# --- health -------------------------------------------------------------------------------------------------------------


async def test_an_up_application_is_recorded_with_its_components_and_phases(shared: SharedClients) -> None:
    outcome = await probed(shared, {HEALTH: health(UP)})
    assert outcome.verdict is Verdict.UP
    assert values(outcome, actuator.STATUS_CODE) == {(): 200}
    assert values(outcome, actuator.REUSED) == {(): 0}
    assert values(outcome, health_samples.STATUS) == {("UP",): 1}
    assert values(outcome, health_samples.COMPONENT_UP) == {("db",): 1, ("db/ds1",): 1, ("redis",): 1}
    assert values(outcome, health_samples.COMPONENT_STATUS) == {("db", "UP"): 1, ("db/ds1", "UP"): 1, ("redis", "UP"): 1}
    assert set(outcome.phases) == {Stage.CONNECT, Stage.SEND, Stage.WAIT, Stage.RECEIVE}
    assert set(outcome.samples) <= set(ActuatorProbe.metrics)
    assert outcome.parts == {}


async def test_a_down_application_is_down_and_its_components_say_why(shared: SharedClients) -> None:
    outcome = await probed(shared, {HEALTH: health(DOWN, 503)})
    assert outcome.failure is not None
    assert failure(outcome) == (Stage.CHECK, Reason.REPORTED_DOWN)
    assert outcome.failure.detail == "status DOWN: db (X: connection refused)"
    assert values(outcome, actuator.STATUS_CODE) == {(): 503}
    assert values(outcome, health_samples.COMPONENT_UP) == {("db",): 0, ("redis",): 1}
    assert values(outcome, health_samples.COMPONENT_STATUS) == {("db", "DOWN"): 1, ("redis", "UP"): 1}


@pytest.mark.parametrize(
    ("body", "code", "verdict"),
    [
        ({"status": "UP"}, 200, Verdict.UP),
        ({"status": "UP"}, 503, Verdict.UP),
        ({"status": "DOWN"}, 200, Verdict.DOWN),
        ({"status": "UNKNOWN"}, 200, Verdict.UP),
        ({"status": "OUT_OF_SERVICE"}, 503, Verdict.DOWN),
        ({"status": "DEGRADED"}, 200, Verdict.UP),
        ({"status": "DEGRADED"}, 500, Verdict.DOWN),
        ({"status": "UP"}, 302, Verdict.UP),
        ({"status": "UP"}, 401, Verdict.UP),
    ],
)
async def test_the_body_decides_where_there_is_one(shared: SharedClients, body: object, code: int, verdict: Verdict) -> None:
    """Custom http-mappings make the code say anything."""
    outcome = await probed(shared, {HEALTH: health(body, code)})
    assert outcome.verdict is verdict
    assert values(outcome, actuator.STATUS_CODE) == {(): code}


async def test_statuses_that_mean_down_can_be_configured(shared: SharedClients) -> None:
    routes: dict[str, Route] = {HEALTH: health({"status": "FATAL", "components": {"a": {"status": "FATAL"}}})}
    outcome = await probed(shared, routes, down_statuses=["DOWN", "FATAL"])
    assert failure(outcome) == (Stage.CHECK, Reason.REPORTED_DOWN)
    assert values(outcome, health_samples.COMPONENT_UP) == {("a",): 0}


@pytest.mark.parametrize(
    ("response", "reason", "verdict"),
    [
        (answer("", 404), Reason.HTTP_STATUS, Verdict.DOWN),
        (answer('{"status":500,"error":"Internal Server Error"}', 500), Reason.HTTP_STATUS, Verdict.DOWN),
        (answer("<html>", 502), Reason.HTTP_STATUS, Verdict.DOWN),
        (answer("", 302, Location="/login"), Reason.REDIRECT, Verdict.DOWN),
        (answer("", 401), Reason.AUTH, Verdict.UNKNOWN),
        (answer('{"status":403}', 403), Reason.AUTH, Verdict.UNKNOWN),
        (answer("<html>welcome", 200), Reason.MALFORMED, Verdict.DOWN),
        (answer("", 200), Reason.MALFORMED, Verdict.DOWN),
        (answer("", 204), Reason.MALFORMED, Verdict.DOWN),
        (answer('{"status":"UP"', 200), Reason.MALFORMED, Verdict.DOWN),
        (answer("[" * 100_000, 200), Reason.MALFORMED, Verdict.DOWN),
    ],
)
async def test_without_a_usable_body_the_code_decides(
    shared: SharedClients, response: web.Response, reason: Reason, verdict: Verdict
) -> None:
    outcome = await probed(shared, {HEALTH: response})
    assert failure(outcome) == (Stage.CHECK, reason)
    assert outcome.verdict is verdict
    assert values(outcome, actuator.STATUS_CODE) == {(): response.status}
    assert values(outcome, health_samples.STATUS) == {}


async def test_the_connection_is_kept_between_attempts(shared: SharedClients) -> None:
    async with serve({HEALTH: health(UP)}) as served:
        probe = probe_of(shared, served.port)
        first, second = await run_probe(probe, 5), await run_probe(probe, 5)
    assert (values(first, actuator.REUSED), values(second, actuator.REUSED)) == ({(): 0}, {(): 1})
    assert set(second.phases) == {Stage.SEND, Stage.WAIT, Stage.RECEIVE}


async def test_what_changes_between_attempts_is_seen_and_what_vanishes_is_gone(shared: SharedClients) -> None:
    """Also though trees are kept to be reused while they are the same."""
    routes: dict[str, Route] = {HEALTH: health(UP)}
    async with serve(routes) as served:
        probe = probe_of(shared, served.port)
        first, same = await run_probe(probe, 5), await run_probe(probe, 5)
        routes[HEALTH] = health(UP, 500)
        other_code = await run_probe(probe, 5)
        routes[HEALTH] = health(DOWN, 503)
        down = await run_probe(probe, 5)
        routes[HEALTH] = answer("", 500)
        gone = await run_probe(probe, 5)
        routes[HEALTH] = health(UP)
        again = await run_probe(probe, 5)
    assert (
        values(first, health_samples.COMPONENT_UP)
        == values(same, health_samples.COMPONENT_UP)
        == values(again, health_samples.COMPONENT_UP)
    )
    assert values(other_code, actuator.STATUS_CODE) == {(): 500}
    assert values(down, health_samples.COMPONENT_UP) == {("db",): 0, ("redis",): 1}
    assert values(gone, health_samples.COMPONENT_UP) == {}
    assert [outcome.verdict for outcome in (same, down, gone, again)] == [Verdict.UP, Verdict.DOWN, Verdict.DOWN, Verdict.UP]


@pytest.mark.parametrize(
    ("said", "stage", "reason"),
    [
        (b"", Stage.WAIT, Reason.CONNECTION_CLOSED),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{", Stage.RECEIVE, Reason.CONNECTION_CLOSED),
        (b"\x15\x03\x01\x00\x02\x02\x0a", Stage.WAIT, Reason.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b", Stage.RECEIVE, Reason.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 2000, Stage.RECEIVE, Reason.TOO_LARGE),
    ],
)
async def test_an_answer_that_is_broken_is_down_with_its_reason(
    shared: SharedClients, said: bytes, stage: Stage, reason: Reason
) -> None:
    """Meters are not asked for then: the same would happen again."""
    async with serve_raw(says(said)) as served:
        outcome = await run_probe(probe_of(shared, served.port, max_health_bytes=1024, metrics=True), 5)
    assert failure(outcome) == (stage, reason)
    assert outcome.verdict is Verdict.DOWN
    assert {Stage.CONNECT, stage} <= set(outcome.phases)
    assert outcome.parts == {}


@pytest.mark.parametrize("settings", [{}, {"metrics": True}])
async def test_a_connection_that_is_refused_is_down(shared: SharedClients, settings: dict[str, Any]) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        outcome = await run_probe(probe_of(shared, bound.getsockname()[1], **settings), 5)
    assert failure(outcome) == (Stage.CONNECT, Reason.CONNECT_REFUSED)
    assert set(outcome.phases) == {Stage.CONNECT}
    assert (outcome.parts, outcome.samples) == ({}, {})


@pytest.mark.parametrize("settings", [{}, {"metrics": True}])
async def test_a_server_that_hangs_is_down_at_the_deadline_with_the_phases_before(
    shared: SharedClients, settings: dict[str, Any]
) -> None:
    async with serve_raw(says(b"", then_hang=True)) as served:
        outcome = await run_probe(probe_of(shared, served.port, **settings), 0.3)
    assert failure(outcome) == (Stage.WAIT, Reason.TIMEOUT)
    assert {Stage.CONNECT, Stage.SEND, Stage.WAIT} <= set(outcome.phases)
    assert outcome.phases[Stage.WAIT] == pytest.approx(0.3, abs=0.15)
    assert outcome.duration < 1.0


async def test_an_answer_that_trickles_is_down_at_the_deadline(shared: SharedClients) -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
        while True:
            writer.write(b" ")
            await asyncio.sleep(0.02)

    async with serve_raw(trickle) as served:
        outcome = await run_probe(probe_of(shared, served.port), 0.3)
    assert failure(outcome) == (Stage.RECEIVE, Reason.TIMEOUT)


# --- reaching it --------------------------------------------------------------------------------------------------------


async def test_management_port_base_path_and_headers_are_used(shared: SharedClients) -> None:
    routes: dict[str, Route] = {"/manage/health": health(UP), "/manage/prometheus": meters(METERS)}
    async with serve(routes) as served:
        probe = probe_of(
            shared, 1, port=served.port, base_path="/manage/", headers={"Authorization": "Bearer s3cret"}, metrics=True
        )
        outcome = await run_probe(probe, 5)
    assert outcome.verdict is Verdict.UP
    assert outcome.parts == {"metrics": None}
    assert [request.headers["Authorization"] for request in served.requests] == ["Bearer s3cret"] * 2
    assert "actuator.v3+json" in served.requests[0].headers["Accept"]
    assert served.requests[1].headers["Accept"] == "text/plain;version=0.0.4"
    assert "s3cret" not in repr(probe.settings)


async def test_the_root_can_be_the_base_path(shared: SharedClients) -> None:
    outcome = await probed(shared, {"/health": health(UP)}, base_path="/")
    assert outcome.verdict is Verdict.UP


def test_an_ipv6_address_becomes_a_url(shared: SharedClients) -> None:
    assert str(probe_of(shared, 8081, "::1")._health_url) == "http://[::1]:8081/actuator/health"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


async def test_https_has_a_tls_phase(shared: SharedClients, certificates: Certificates) -> None:
    async with serve({HEALTH: health(UP)}, certificates.server()) as served:
        outcome = await run_probe(
            probe_of(shared, served.port, scheme="https", tls={"ca_file": str(certificates.ca_file)}), 5
        )
    assert outcome.verdict is Verdict.UP
    assert set(outcome.phases) == {Stage.CONNECT, Stage.TLS, Stage.SEND, Stage.WAIT, Stage.RECEIVE}


async def test_https_verifies_the_configured_name(shared: SharedClients, certificates: Certificates) -> None:
    tls = {"ca_file": str(certificates.ca_file), "server_name": "identity.example.test"}
    async with serve({HEALTH: health(UP)}, certificates.server("identity.example.test")) as served:
        assert (await run_probe(probe_of(shared, served.port, scheme="https", tls=tls), 5)).verdict is Verdict.UP


@pytest.mark.parametrize(
    ("name", "expired", "trusted", "reason"),
    [
        ("127.0.0.1", False, False, Reason.TLS_UNTRUSTED),
        ("127.0.0.1", True, True, Reason.TLS_EXPIRED),
        ("other.example.test", False, True, Reason.TLS_NAME_MISMATCH),
    ],
)
async def test_a_certificate_that_does_not_hold_is_down_and_leaves_the_phases_before(
    shared: SharedClients,
    certificates: Certificates,
    tmp_path: Path,
    name: str,
    expired: bool,
    trusted: bool,
    reason: Reason,
) -> None:
    roots = certificates.ca_file if trusted else Certificates(tmp_path).ca_file
    async with serve({HEALTH: health(UP)}, certificates.server(name, expired=expired)) as served:
        outcome = await run_probe(probe_of(shared, served.port, scheme="https", tls={"ca_file": str(roots)}), 5)
    assert failure(outcome) == (Stage.TLS, reason)
    assert set(outcome.phases) == {Stage.CONNECT, Stage.TLS}


@pytest.mark.parametrize(
    "settings",
    [
        {"scheme": "ftp"},
        {"port": 0},
        {"base_path": "actuator"},
        {"base_path": "/a?b"},
        {"groups": ["a/b"]},
        {"headers": {"Accept": "x"}},
        {"headers": {"accept-encoding": "gzip"}},
        {"headers": {"X Y": "x"}},
        {"headers": {"X": "a\r\nb: c"}},
        {"down_statuses": ["UP"]},
        {"down_statuses": [""]},
        {"max_health_bytes": 1},
        {"unknown": 1},
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        ActuatorSettings.model_validate(settings)
    assert len(caught.value.errors()) == 1


# --- meters -------------------------------------------------------------------------------------------------------------


async def test_meters_are_read_beside_the_health(shared: SharedClients) -> None:
    async with serve({HEALTH: health(UP), PROMETHEUS: meters(METERS)}) as served:
        outcome = await run_probe(probe_of(shared, served.port, metrics=True), 5)
    assert outcome.verdict is Verdict.UP
    assert outcome.parts == {"metrics": None}
    assert values(outcome, recording.REQUESTS) == {("SUCCESS",): 10}
    assert values(outcome, recording.REQUEST_SECONDS) == {(): 2.5}
    assert values(outcome, recording.CONNECTIONS) == {("main", "active"): 3}
    assert values(outcome, recording.CONNECTIONS_MAX) == {("main",): 10}
    assert values(outcome, recording.MEMORY_USED) == {("heap",): 100}
    assert values(outcome, recording.MEMORY_MAX) == {}
    assert values(outcome, recording.UPTIME) == {(): 12.5}
    included = served.requests[1].query["includedNames"].split(",")
    assert {"http_server_requests_seconds", "http_server_requests_seconds_count"} <= set(included)
    assert set(outcome.phases) == {Stage.CONNECT, Stage.SEND, Stage.WAIT, Stage.RECEIVE}, "a part's phases are its own"


async def test_a_down_application_still_has_its_meters_read(shared: SharedClients) -> None:
    outcome = await probed(shared, {HEALTH: health(DOWN, 503), PROMETHEUS: meters(METERS)}, metrics=True)
    assert failure(outcome) == (Stage.CHECK, Reason.REPORTED_DOWN)
    assert values(outcome, recording.CONNECTIONS) == {("main", "active"): 3}
    assert outcome.parts == {"metrics": None}


def hanging(_request: web.Request) -> Awaitable[web.StreamResponse]:
    return asyncio.get_running_loop().create_future()


async def test_health_that_hangs_still_has_its_meters_read(shared: SharedClients) -> None:
    """An exhausted pool hangs the database indicator; the pool's numbers are what one then wants."""
    outcome = await probed(shared, {HEALTH: hanging, PROMETHEUS: meters(METERS)}, timeout=0.8, metrics=True)
    assert failure(outcome) == (Stage.WAIT, Reason.TIMEOUT)
    assert outcome.parts == {"metrics": None}
    assert values(outcome, recording.CONNECTIONS) == {("main", "active"): 3}
    assert outcome.phases[Stage.WAIT] > 0.5


async def test_slow_health_is_still_judged_by_its_answer(shared: SharedClients) -> None:
    async def slow(_request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.6)
        return health(DOWN, 503)

    outcome = await probed(shared, {HEALTH: slow, PROMETHEUS: meters(METERS)}, timeout=1.2, metrics=True)
    assert failure(outcome) == (Stage.CHECK, Reason.REPORTED_DOWN)
    assert values(outcome, recording.UPTIME) == {(): 12.5}


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (meters("", 500), Reason.HTTP_STATUS),
        (meters("", 401), Reason.AUTH),
        (answer("", 302, Location="/login"), Reason.REDIRECT),
        (answer("<html>", 200, Content_Type="text/html"), Reason.MALFORMED),
        (meters("x" * 2000), Reason.TOO_LARGE),
    ],
)
async def test_meters_that_cannot_be_read_do_not_turn_the_verdict(
    shared: SharedClients, response: web.Response, reason: Reason
) -> None:
    outcome = await probed(shared, {HEALTH: health(UP), PROMETHEUS: response}, metrics=True, max_metrics_bytes=1024)
    assert outcome.verdict is Verdict.UP
    part = outcome.parts["metrics"]
    assert part is not None
    assert part.reason is reason


async def test_meters_that_hang_do_not_turn_the_verdict(shared: SharedClients) -> None:
    outcome = await probed(shared, {HEALTH: health(UP), PROMETHEUS: hanging}, timeout=0.5, metrics=True)
    assert outcome.verdict is Verdict.UP
    part = outcome.parts["metrics"]
    assert part is not None
    assert (part.stage, part.reason) == (Stage.WAIT, Reason.TIMEOUT)


async def test_a_long_answer_is_read_in_pieces_between_which_the_loop_has_its_turn(
    shared: SharedClients, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces: list[int] = []
    read = prometheus_text.Reader.read

    def noting(reader: prometheus_text.Reader, piece: bytes) -> None:
        pieces.append(len(piece))
        read(reader, piece)

    monkeypatch.setattr(prometheus_text.Reader, "read", noting)
    body = METERS + "other_total 1\n" * 40_000
    outcome = await probed(shared, {HEALTH: health(UP), PROMETHEUS: meters(body)}, metrics=True)
    assert outcome.parts == {"metrics": None}
    assert values(outcome, recording.UPTIME) == {(): 12.5}
    assert len(pieces) > 5
    assert max(pieces) < 140_000


async def test_p99_comes_from_the_histogram_between_two_attempts(shared: SharedClients) -> None:
    """Not from the quantiles that are there too, nor from a day of requests before."""
    quantiles = 'http_server_requests_seconds{uri="/",quantile="0.99"} 7.5\n'
    routes: dict[str, Route] = {HEALTH: health(UP), PROMETHEUS: meters(BUCKETS.format(1e6, 1e6) + quantiles)}
    async with serve(routes) as served:
        probe = probe_of(shared, served.port, metrics=True)
        first = await run_probe(probe, 5)
        routes[PROMETHEUS] = meters(BUCKETS.format(1e6, 1e6 + 100) + quantiles)
        second = await run_probe(probe, 5)
        third = await run_probe(probe, 5)
    assert values(first, recording.REQUEST_P99) == {}
    assert values(second, recording.REQUEST_P99) == {("histogram",): pytest.approx(0.991)}
    assert values(third, recording.REQUEST_P99) == {}, "nothing was served in between"


async def test_p99_comes_from_quantiles_where_there_is_no_histogram(shared: SharedClients) -> None:
    line = 'http_server_requests_seconds{{uri="/{}",quantile="0.99"}} {}\n'
    body = line.format("a", 0.5) + line.format("b", 0.7)
    outcome = await probed(shared, {HEALTH: health(UP), PROMETHEUS: meters(body)}, metrics=True)
    assert values(outcome, recording.REQUEST_P99) == {("quantile",): 0.7}


async def test_p99_is_the_probes_own_where_there_is_neither(shared: SharedClients) -> None:
    async with serve({HEALTH: health(UP), PROMETHEUS: meters(METERS)}) as served:
        probe = probe_of(shared, served.port, metrics=True)
        outcomes = [await run_probe(probe, 5) for _ in range(21)]
    assert values(outcomes[0], recording.REQUEST_P99) == {}
    (labels,) = values(outcomes[-1], recording.REQUEST_P99)
    assert labels == ("own",)
    assert 0 < values(outcomes[-1], recording.REQUEST_P99)[labels] < 1


async def test_the_applications_p99_replaces_the_probes_own(shared: SharedClients) -> None:
    """There is never more than one source in one attempt."""
    routes: dict[str, Route] = {HEALTH: health(UP), PROMETHEUS: meters(METERS)}
    async with serve(routes) as served:
        probe = probe_of(shared, served.port, metrics=True)
        for _ in range(20):
            await run_probe(probe, 5)
        routes[PROMETHEUS] = meters('http_server_requests_seconds{quantile="0.99"} 0.5\n')
        outcome = await run_probe(probe, 5)
        routes[PROMETHEUS] = meters("", 500)
        unread = await run_probe(probe, 5)
    assert values(outcome, recording.REQUEST_P99) == {("quantile",): 0.5}
    assert values(unread, recording.REQUEST_P99) == {}, "a failed reading does not change the source"


def metric(name: str, value: float, statistic: str = "VALUE", **tags: str) -> web.Response:
    body = {
        "name": name,
        "measurements": [{"statistic": statistic, "value": value}],
        "availableTags": [{"tag": tag, "values": [item]} for tag, item in tags.items()],
    }
    return health(body)


async def test_the_metrics_endpoint_is_asked_where_prometheus_is_not_exposed(shared: SharedClients) -> None:
    routes: dict[str, Route] = {
        HEALTH: health(UP),
        METRICS: health(
            {"names": ["process.uptime", "hikaricp.connections.active", "jvm.memory.used", "jvm.gc.pause", "x"]}
        ),
        f"{METRICS}/process.uptime": metric("process.uptime", 12.5),
        f"{METRICS}/hikaricp.connections.active": metric("hikaricp.connections.active", 3, pool="main"),
        f"{METRICS}/jvm.memory.used": metric("jvm.memory.used", 100, id="Eden"),
    }
    async with serve(routes) as served:
        probe = probe_of(shared, served.port, metrics=True)
        outcome = await run_probe(probe, 5)
        await run_probe(probe, 5)
    assert outcome.parts == {"metrics": None}
    assert values(outcome, recording.UPTIME) == {(): 12.5}
    assert values(outcome, recording.CONNECTIONS) == {("main", "active"): 3}
    assert values(outcome, recording.MEMORY_USED) == {("heap",): 100, ("nonheap",): 100}
    assert values(outcome, recording.GC_PAUSES) == {}
    asked = [request.query.getall("tag", []) for request in served.requests if isinstance(request, web.BaseRequest)]
    assert ["area:heap"] in asked
    assert served.paths().count(PROMETHEUS) == 1, "it is not asked for again at once"


async def test_prometheus_is_asked_again_after_a_while(shared: SharedClients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter_reader, "FALLBACK_RUNS", 2)
    routes: dict[str, Route] = {HEALTH: health(UP), METRICS: health({"names": []})}
    async with serve(routes) as served:
        probe = probe_of(shared, served.port, metrics=True)
        for _ in range(2):
            await run_probe(probe, 5)
        routes[PROMETHEUS] = meters(METERS)
        outcome = await run_probe(probe, 5)
    assert values(outcome, recording.UPTIME) == {(): 12.5}


async def test_an_application_that_exposes_neither_says_so(shared: SharedClients) -> None:
    outcome = await probed(shared, {HEALTH: health(UP)}, metrics=True)
    assert outcome.verdict is Verdict.UP
    part = outcome.parts["metrics"]
    assert part is not None
    assert (part.reason, part.detail) == (Reason.HTTP_STATUS, "HTTP 404: neither prometheus nor metrics is exposed")


async def test_meters_read_before_the_fallback_failed_are_kept(shared: SharedClients) -> None:
    routes: dict[str, Route] = {
        HEALTH: health(UP),
        METRICS: health({"names": ["process.uptime", "process.start.time"]}),
        f"{METRICS}/process.uptime": metric("process.uptime", 12.5),
        f"{METRICS}/process.start.time": answer("", 500),
    }
    outcome = await probed(shared, routes, metrics=True)
    assert values(outcome, recording.UPTIME) == {(): 12.5}
    part = outcome.parts["metrics"]
    assert part is not None
    assert part.detail == "metrics/process.start.time: HTTP 500"


# --- groups -------------------------------------------------------------------------------------------------------------


async def test_groups_are_recorded_and_do_not_decide(shared: SharedClients) -> None:
    routes: dict[str, Route] = {
        HEALTH: health(UP),
        f"{HEALTH}/liveness": health({"status": "UP"}),
        f"{HEALTH}/readiness": health({"status": "OUT_OF_SERVICE"}, 503),
    }
    outcome = await probed(shared, routes, groups=["liveness", "readiness"])
    assert outcome.verdict is Verdict.UP
    assert values(outcome, actuator.GROUP_UP) == {("liveness",): 1, ("readiness",): 0}
    assert outcome.parts == {"groups": None}


async def test_a_group_that_is_not_there_fails_the_part_and_spares_the_others(shared: SharedClients) -> None:
    routes: dict[str, Route] = {
        HEALTH: health(UP),
        f"{HEALTH}/liveness": health({"status": "UP"}),
        PROMETHEUS: meters(METERS),
    }
    outcome = await probed(shared, routes, groups=["custom", "liveness"], metrics=True)
    assert outcome.verdict is Verdict.UP
    assert values(outcome, actuator.GROUP_UP) == {("liveness",): 1}
    part = outcome.parts["groups"]
    assert part is not None
    assert (part.reason, part.detail) == (Reason.HTTP_STATUS, "group custom: HTTP 404")
    assert outcome.parts["metrics"] is None


# --- lifecycle ----------------------------------------------------------------------------------------------------------


async def test_cancelling_an_attempt_leaves_nothing_running(shared: SharedClients) -> None:
    asked = asyncio.Event()

    async def hang(request: web.Request) -> web.StreamResponse:
        asked.set()
        return await hanging(request)

    async with serve({HEALTH: hang}) as served:
        attempt = asyncio.create_task(run_probe(probe_of(shared, served.port, metrics=True), 5))
        await asyncio.wait_for(asked.wait(), 5)
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("health of")]


def test_it_does_the_same_under_uvloop(certificates: Certificates) -> None:
    async def main() -> tuple[Outcome, Outcome, Outcome]:
        shared = SharedClients.open()
        tls = {"ca_file": str(certificates.ca_file)}
        try:
            async with serve({HEALTH: health(DOWN, 503), PROMETHEUS: meters(METERS)}, certificates.server()) as served:
                probe = probe_of(shared, served.port, scheme="https", tls=tls, metrics=True)
                first, second = await run_probe(probe, 5), await run_probe(probe, 5)
            async with serve({HEALTH: hanging, PROMETHEUS: meters(METERS)}) as served:
                hung = await run_probe(probe_of(shared, served.port, metrics=True), 0.8)
        finally:
            await shared.close()
        return first, second, hung

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        first, second, hung = runner.run(main())
    assert failure(first) == failure(second) == (Stage.CHECK, Reason.REPORTED_DOWN)
    assert set(first.phases) == {Stage.CONNECT, Stage.TLS, Stage.SEND, Stage.WAIT, Stage.RECEIVE}
    assert set(second.phases) == {Stage.SEND, Stage.WAIT, Stage.RECEIVE}
    assert second.phases[Stage.WAIT] > 0
    assert values(second, recording.CONNECTIONS) == {("main", "active"): 3}
    assert failure(hung) == (Stage.WAIT, Reason.TIMEOUT)
    assert values(hung, recording.CONNECTIONS) == {("main", "active"): 3}

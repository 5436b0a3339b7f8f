"""Hostile answers against the actuator probe as a whole: verdict, stage and reason of each, in bounded time and memory.

The first table is of the exchange: each of its rows is served by each endpoint that the probe asks. The others are of what
an answer says. After every row the exposition is still read by parsers of both formats.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from exporter.clients.spring import prometheus_text
from exporter.engine.defects import Defects
from exporter.engine.lag import LoopLag
from exporter.engine.target import Engineering, TargetState
from exporter.engine.target_series import ProbeSeries
from exporter.metrics.store import Encoded, Store
from exporter.probing.probe import Probe, SharedClients
from exporter.probing.runner import Outcome
from exporter.verdict import Failure, Reason, Stage, Verdict
from tests.fixtures.formats import Read, exported
from tests.net.servers import serve_raw
from tests.probes.doing import make

MAX_BYTES = 1_048_576
MEMORY = 3 * MAX_BYTES
"""Most that an attempt may take at once, in bytes. Both ends are in one process: it is of server and probe."""

SOON = 5.0
"""Seconds in which an answer is judged that is not slow itself, on a busy machine and while memory is traced."""

DEADLINE = 10.0

Write = Callable[[bytes], Awaitable[None]]
Say = Callable[[Write], Awaitable[None]]

UP = b'{"status":"UP"}'
UP_SHOWN: dict[str, dict[tuple[str, ...], float]] = {"probe_actuator_status": {("UP",): 1}}
METERS = b"process_uptime_seconds 12.5\n"
FLYWAY = b'{"contexts":{}}'
PATHS = {
    "health": "/actuator/health",
    "prometheus": "/actuator/prometheus",
    "metrics": "/actuator/metrics",
    "flyway": "/actuator/flyway",
    "main": "/livez",
}
PARTS = {"prometheus": "metrics", "metrics": "metrics", "flyway": "flyway", "main": "main"}


# --- ways to say something ----------------------------------------------------------------------------------------------


def says(*pieces: bytes) -> Say:
    """Say this."""

    async def say(write: Write) -> None:
        for piece in pieces:
            await write(piece)

    return say


def endless(head: bytes, pieces: Iterable[bytes], pause: float = 0.0) -> Say:
    """Say this, and then go on and on."""

    async def say(write: Write) -> None:
        await write(head)
        for piece in pieces:
            await write(piece)
            await asyncio.sleep(pause)

    return say


def ok(body: bytes, content_type: str = "application/json", status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (
        status.encode(), content_type.encode(), len(body), body
    )  # fmt: skip


MEGABYTES = 50
CHUNK = b"a" * 65_536
FIFTY = [CHUNK] * (MEGABYTES * 16)
BOMB = gzip.compress(bytes(20_000_000))
HTML = b"<!DOCTYPE html><html><body><h1>Please log in</h1></body></html>"
ELSEWHERE = b"@elsewhere@"


# --- what is said, and what must come of it -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Exchange:
    """A row of the table of exchanges.

    Attributes:
        name: What is hostile.
        say: How it is said.
        stage: Where it must end.
        reason: What it must be called.
        detail: What people must be told.
        timeout: The attempt's deadline, seconds.
        kept: The connection may be used again, where the answer came whole.
        but: Endpoints that judge otherwise.
    """

    name: str
    say: Say
    stage: Stage
    reason: Reason
    detail: str
    timeout: float = DEADLINE
    kept: bool = False
    but: dict[str, tuple[Stage, Reason, str] | None] = field(default_factory=dict)

    def expected(self, endpoint: str) -> tuple[Stage, Reason, str] | None:
        return self.but.get(endpoint, (self.stage, self.reason, self.detail))


def late(endpoint: str, timeout: float) -> str:
    """What is said of a timeout: only the health is asked under the attempt's own deadline."""
    return f"no answer within {timeout:g} s" if endpoint == "health" else "no answer within the deadline"


NOT_WHOLE = "the connection was closed before the answer was whole"
TOO_LONG = f"the answer is longer than {MAX_BYTES} bytes"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = itertools.repeat(b"10000\r\n" + CHUNK + b"\r\n")

EXCHANGES = [
    Exchange(
        "a content length that is longer than the body",
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + UP),
        Stage.RECEIVE, Reason.CONNECTION_CLOSED, NOT_WHOLE,
    ),
    Exchange(
        "a chunk that is cut",
        says(CHUNKED + b"ff\r\n" + UP),
        Stage.RECEIVE, Reason.CONNECTION_CLOSED, NOT_WHOLE,
    ),
    Exchange(
        "chunks without the last",
        says(CHUNKED + b"f\r\n" + UP + b"\r\n"),
        Stage.RECEIVE, Reason.CONNECTION_CLOSED, NOT_WHOLE,
    ),
    Exchange("nothing", says(), Stage.WAIT, Reason.CONNECTION_CLOSED, "the server closed the connection without an answer"),
    Exchange(
        "headers that are cut",
        says(b"HTTP/1.1 200 OK\r\nContent-Type: appl"),
        Stage.WAIT, Reason.CONNECTION_CLOSED, "the server closed the connection without an answer",
    ),
    Exchange(
        "another protocol",
        says(b"SSH-2.0-OpenSSH_9.2\r\n"),
        Stage.WAIT, Reason.PROTOCOL, "not an HTTP answer",
    ),
    Exchange(
        "50 MB that are announced",
        endless(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (MEGABYTES << 20), FIFTY),
        Stage.RECEIVE, Reason.TOO_LARGE, TOO_LONG,
    ),
    Exchange(
        "50 MB that are not announced",
        endless(b"HTTP/1.1 200 OK\r\n\r\n", FIFTY),
        Stage.RECEIVE, Reason.TOO_LARGE, TOO_LONG,
    ),
    Exchange("chunks without end", endless(CHUNKED, CHUNKS), Stage.RECEIVE, Reason.TOO_LARGE, TOO_LONG),
    Exchange(
        "a length beyond all numbers",
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999999\r\n\r\n"),
        Stage.WAIT, Reason.PROTOCOL, "not an HTTP answer",
    ),
    Exchange(
        "a length below zero",
        says(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n" + UP),
        Stage.WAIT, Reason.PROTOCOL, "not an HTTP answer",
    ),
    Exchange(
        "a byte of the body now and then",
        endless(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", itertools.repeat(b" "), 0.05),
        Stage.RECEIVE, Reason.TIMEOUT, "", timeout=0.6,
    ),
    Exchange(
        "a byte of a header now and then",
        endless(b"HTTP/1.1 200 OK\r\nX: ", itertools.repeat(b"a"), 0.05),
        Stage.WAIT, Reason.TIMEOUT, "", timeout=0.6,
    ),
    Exchange(
        "headers without end",
        endless(b"HTTP/1.1 200 OK\r\n", itertools.repeat(b"X-Header: value\r\n" * 100)),
        Stage.WAIT, Reason.PROTOCOL, "not an HTTP answer",
    ),
    Exchange(
        "a header line without end",
        endless(b"HTTP/1.1 200 OK\r\nX: ", itertools.repeat(CHUNK)),
        Stage.WAIT, Reason.PROTOCOL, "not an HTTP answer",
    ),
    Exchange(
        "a status line without end",
        endless(b"HTTP/1.1 200 ", itertools.repeat(CHUNK)),
        Stage.WAIT, Reason.PROTOCOL, "not an HTTP answer",
    ),
    Exchange(
        "informational answers without end",
        endless(b"", itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 10), 0.01),
        Stage.WAIT, Reason.TIMEOUT, "", timeout=0.6,
    ),
    Exchange(
        "a gzip bomb though identity was asked for",
        says(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB), BOMB),
        Stage.RECEIVE, Reason.PROTOCOL, "the answer is compressed, which was not asked for",
        kept=True,
    ),
    Exchange(
        "a gzip bomb that is not called one",
        says(ok(BOMB)),
        Stage.CHECK, Reason.MALFORMED, "", kept=True, but={"main": None},
    ),
    Exchange(
        "a redirect to itself",
        says(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"),
        Stage.CHECK, Reason.REDIRECT, "HTTP 302 to /", kept=True,
    ),
    Exchange(
        "a redirect to another host",
        says(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: " + ELSEWHERE + b"\r\nContent-Length: 0\r\n\r\n"),
        Stage.CHECK, Reason.REDIRECT, "HTTP 307 to http://127.0.0.1:", kept=True,
    ),
    Exchange(
        "a login page",
        says(ok(HTML, "text/html;charset=UTF-8")),
        Stage.CHECK, Reason.MALFORMED, "", kept=True, but={"main": None},
    ),
    Exchange(
        "a proxy's 502",
        says(ok(b"<html><h1>502 Bad Gateway</h1></html>", "text/html", "502 Bad Gateway")),
        Stage.CHECK, Reason.HTTP_STATUS, "HTTP 502", kept=True,
    ),
    Exchange(
        "JSON 100,000 levels deep",
        says(ok(b'{"status":' + b"[" * 100_000 + b"]" * 100_000 + b"}")),
        Stage.CHECK, Reason.MALFORMED, "", kept=True, but={"main": None},
    ),
    Exchange(
        "an answer to nobody after the answer",
        says(ok(HTML, "text/html") * 2),
        Stage.CHECK, Reason.MALFORMED, "", but={"main": None},
    ),
]  # fmt: skip


# --- the application and the probe of it --------------------------------------------------------------------------------


class Application:
    """Answers well, but for one path, for which it says something hostile."""

    def __init__(self) -> None:
        self.answers: dict[str, Say] = {
            PATHS["health"]: says(ok(UP)),
            PATHS["prometheus"]: says(ok(METERS, "text/plain;version=0.0.4")),
            PATHS["metrics"]: says(ok(b'{"names":[]}')),
            PATHS["flyway"]: says(ok(FLYWAY)),
            PATHS["main"]: says(ok(UP)),
        }
        self.hostile: str | None = None
        self.closes = False
        self.elsewhere = b""
        self.left = asyncio.Event()
        """The connection that the hostile answer went over is closed."""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def write(data: bytes) -> None:
            writer.write(data.replace(ELSEWHERE, self.elsewhere) if len(data) < 1000 else data)
            await writer.drain()

        while True:
            path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode().partition("?")[0]
            say = self.answers.get(path, says(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))
            if path != self.hostile:
                await say(write)
                continue
            try:
                await say(write)
                while not self.closes and await reader.read(1000):
                    pass
            finally:
                self.left.set()
            return


class Kept(TargetState):
    """A target that keeps its last outcome whole."""

    outcome: Outcome

    def _complete(self, outcome: Outcome, lateness: float, *, recheck: bool, encoded: Encoded | None) -> None:
        self.outcome = outcome
        super()._complete(outcome, lateness, recheck=recheck, encoded=encoded)


def kept(probe: Probe[Any], store: Store, series: ProbeSeries) -> Kept:
    return Kept(probe, Engineering(store, Defects(store), LoopLag(), lambda: True, {}), series, lambda _state, _before: None)


class Seen:
    """What came of an attempt: the failure by endpoint, the exposition, the cost."""

    def __init__(self, state: Kept, store: Store, seconds: float, peak: int) -> None:
        self.outcome = state.outcome
        self.seconds = seconds
        self.peak = peak
        self.exposition: Read = exported(store)

    def of(self, endpoint: str) -> Failure | None:
        return self.outcome.failure if endpoint == "health" else self.outcome.parts[PARTS[endpoint]]

    def values(self, name: str) -> dict[tuple[str, ...], float]:
        """Values by the labels that are not the target's."""
        base = {"service", "probe", "target"}
        return {
            tuple(text for label, text in labels if label not in base): value
            for (found, labels), value in self.exposition.items()
            if found == name
        }


async def attempted(shared: SharedClients, application: Application, port: int, timeout: float, **settings: Any) -> Seen:
    """One attempt of a target, as the exporter makes it, with its memory traced. The connections are warm."""
    main = {"port": port, "paths": [PATHS["main"]]}
    limits = {"max_health_bytes": MAX_BYTES, "max_metrics_bytes": MAX_BYTES}
    probe = make("actuator", shared, "127.0.0.1", port, timeout=timeout, main=main, **(limits | settings))
    store = Store()
    hostile, application.hostile = application.hostile, None
    warm = make("actuator", shared, "127.0.0.1", port, timeout=5, main=main)
    kind = ProbeSeries(store, warm.target)
    before = application.answers
    application.answers = Application().answers
    await kept(warm, Store(), kind).run(lateness=0, recheck=False)
    application.answers, application.hostile = before, hostile
    state = kept(probe, store, kind)
    tracemalloc.start()
    try:
        started = time.monotonic()
        await state.run(lateness=0, recheck=False)
        seconds = time.monotonic() - started
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return Seen(state, store, seconds, peak)


async def nobody(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Take a connection, and close it."""


# --- the table of exchanges ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", PATHS)
@pytest.mark.parametrize("row", EXCHANGES, ids=lambda row: row.name)
async def test_a_hostile_exchange_has_its_reason_at_every_endpoint(
    shared: SharedClients, row: Exchange, endpoint: str
) -> None:
    application = Application()
    application.hostile = PATHS[endpoint]
    application.closes = row.reason is Reason.CONNECTION_CLOSED
    application.answers[PATHS[endpoint]] = row.say
    if endpoint == "metrics":
        del application.answers[PATHS["prometheus"]]
    async with serve_raw(nobody) as elsewhere, serve_raw(application) as served:
        application.elsewhere = b"http://127.0.0.1:%d/" % elsewhere.port
        seen = await attempted(shared, application, served.port, row.timeout)
        if not row.kept:
            async with asyncio.timeout(DEADLINE):
                await application.left.wait()  # none that may still bring something is kept
    failure, expected = seen.of(endpoint), row.expected(endpoint)
    if expected is None:
        assert failure is None
    else:
        assert failure is not None
        stage, reason, detail = expected
        assert (failure.stage, failure.reason) == (stage, reason)
        assert (detail or (late(endpoint, row.timeout) if reason is Reason.TIMEOUT else "")) in failure.detail
        assert failure.detail
        assert len(failure.detail) <= Failure.MAX_DETAIL
    decides = endpoint in {"health", "main"} and expected is not None
    assert seen.outcome.verdict is (Verdict.DOWN if decides else Verdict.UP)
    if not decides:
        assert seen.values("probe_actuator_status") == {("UP",): 1}
    others = {part for part, found in seen.outcome.parts.items() if found is not None} - {PARTS.get(endpoint)}
    assert others == set(), "one endpoint's answer does not spoil another's"
    assert elsewhere.connections == 0, "nobody is sent elsewhere"
    assert seen.seconds < (row.timeout + 0.5 if row.reason is Reason.TIMEOUT else SOON)
    assert seen.peak < MEMORY


# --- what the health says -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Content:
    """A row of a table of contents.

    Attributes:
        name: What is hostile.
        body: The answer.
        reason: What it must be called; None where it must be taken.
        detail: What people must be told.
        shown: What must then be exported, by the name of a family: values by labels.
        memory: Most that the attempt may take, in bytes.
    """

    name: str
    body: bytes
    reason: Reason | None = None
    detail: str = ""
    shown: dict[str, dict[tuple[str, ...], float]] = field(default_factory=dict)
    memory: int = MEMORY


async def answered(shared: SharedClients, endpoint: str, body: bytes, content_type: str, **settings: Any) -> Seen:
    application = Application()
    application.answers[PATHS[endpoint]] = says(ok(body, content_type))
    async with serve_raw(application) as served:
        return await attempted(shared, application, served.port, DEADLINE, **settings)


def judged(seen: Seen, endpoint: str, row: Content) -> None:
    failure = seen.of(endpoint)
    if row.reason is None:
        assert failure is None
    else:
        assert failure is not None
        assert (failure.stage, failure.reason) == (Stage.CHECK, row.reason)
        assert row.detail in failure.detail
    for name, values in row.shown.items():
        assert seen.values(name) == values, name
    assert seen.seconds < SOON
    assert seen.peak < row.memory


def component(name: str) -> bytes:
    return json.dumps({"status": "UP", "components": {name: {"status": "UP"}}}).encode()


def named(name: str) -> dict[str, dict[tuple[str, ...], float]]:
    return {"probe_actuator_component_up": {(name,): 1}}


WIDE = b'{"status":"UP","components":{' + b",".join(b'"%d":{"status":"UP"}' % n for n in range(40_000)) + b"}}"

HEALTHS = [
    Content("NaN", b'{"status":"UP","details":{"free":NaN}}', Reason.MALFORMED, "NaN is not JSON"),
    Content("Infinity", b'{"status":"UP","details":{"free":-Infinity}}', Reason.MALFORMED, "Infinity is not JSON"),
    Content("1e400", b'{"status":"UP","details":{"free":1e400}}', shown=UP_SHOWN),
    Content("a number of 100,000 digits", b'{"status":"UP","x":' + b"9" * 100_000 + b"}", shown=UP_SHOWN),
    Content("a status that is a number", b'{"status":1e400}', Reason.MALFORMED, "the JSON has no health status"),
    Content("invalid UTF-8", b'{"status":"\xff\xfe"}', Reason.MALFORMED, "not JSON"),
    Content("NUL beside the JSON", UP + b"\x00", Reason.MALFORMED, "not JSON"),
    Content("NUL in a name", component("a\x00b"), shown=named("a\\x00b")),
    Content("quotes in a name", component('"} 1 #'), shown=named('"} 1 #')),
    Content("line ends in a name", component("a\nprobe_success 0\r\n"), shown=named("a\nprobe_success 0\\x0d\n")),
    Content("backslashes in a name", component("\\n\\"), shown=named("\\n\\")),
    Content("a lone surrogate in a name", b'{"status":"UP","components":{"\\ud800":{"status":"UP"}}}', shown=named("?")),
    Content("a name of 10 kB", component("n" * 10_000), shown=named("n" * 128)),
    Content("a status of 10 kB", b'{"status":"%b"}' % (b"S" * 10_000), shown={"probe_actuator_status": {("S" * 64,): 1}}),
    Content("an empty name", component(""), shown=named("")),
    Content(
        "components 150 levels deep",
        b'{"status":"UP","components":{"a":' * 150 + UP + b"}}" * 150,
        shown={"probe_actuator_status": {("UP",): 1}},
    ),
    Content(
        "40,000 components",
        WIDE,
        shown={"probe_actuator_status": {("UP",): 1}},
        memory=25 * len(WIDE),  # what a tree of JSON takes in Python
    ),
]


@pytest.mark.parametrize("row", HEALTHS, ids=lambda row: row.name)
async def test_a_health_with_hostile_content_is_taken_or_has_its_reason(shared: SharedClients, row: Content) -> None:
    seen = await answered(shared, "health", row.body, "application/json")
    judged(seen, "health", row)
    assert seen.outcome.verdict is (Verdict.UP if row.reason is None else Verdict.DOWN)
    migrations = {"flyway": None} if row.reason is None else {}  # an application that is down is not asked for them
    assert seen.outcome.parts == {"main": None, "metrics": None} | migrations
    assert len(seen.values("probe_actuator_component_up")) <= 2000


# --- what the meters say ------------------------------------------------------------------------------------------------

UPTIME, REQUESTS, POOL = "probe_process_uptime_seconds", "probe_http_server_requests_total", "probe_hikari_connections_max"


def pool(name: bytes) -> bytes:
    return b'hikaricp_connections_max{pool="%b"} 10\n' % name + METERS


def pools(name: str) -> dict[str, dict[tuple[str, ...], float]]:
    return {POOL: {(name,): 10}, UPTIME: {(): 12.5}}


def first_pools(number: int) -> dict[tuple[str, ...], float]:
    return {(f"{at:04}",): 10 for at in range(number)}


def meter_of(value: bytes) -> bytes:
    """Every kind of meter with this value, and one good sample."""
    return b"".join(
        name + b" " + value + b"\n"
        for name in (
            b'http_server_requests_seconds_count{outcome="SUCCESS"}', b"http_server_requests_seconds_sum",
            b'http_server_requests_seconds_bucket{le="0.1"}', b'http_server_requests_seconds_bucket{le="+Inf"}',
            b'http_server_requests_seconds{quantile="0.99"}', b'hikaricp_connections_active{pool="p"}',
            b'hikaricp_connections_max{pool="p"}', b'hikaricp_connections_timeout_total{pool="p"}',
            b'jvm_memory_used_bytes{area="heap"}', b'jvm_memory_max_bytes{area="heap"}',
            b'jvm_memory_committed_bytes{area="heap"}', b"jvm_gc_pause_seconds_count", b"jvm_gc_pause_seconds_sum",
            b'cache_gets_total{cache="c",result="hit"}', b"process_uptime_seconds", b"process_start_time_seconds",
            b'kafka_consumer_fetch_manager_records_lag{topic="t"}',
        )
    ) + b'http_server_requests_seconds_count{outcome="CLIENT_ERROR"} 7\n'  # fmt: skip


ABSENT = (
    UPTIME, POOL, "probe_http_server_request_seconds_total", "probe_http_server_request_duration_seconds_count",
    "probe_http_server_request_p99_seconds", "probe_hikari_connections", "probe_hikari_saturation_ratio",
    "probe_jvm_memory_used_bytes", "probe_jvm_memory_max_bytes", "probe_jvm_gc_pause_seconds_total",
    "probe_cache_gets_total", "probe_process_start_timestamp_seconds", "probe_kafka_client_records_lag",
)  # fmt: skip
GOOD_ALONE: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in ABSENT}
GOOD_ALONE[REQUESTS] = {("CLIENT_ERROR",): 7}

SERIES = b"".join(b'other{uri="/%d"} 1\n' % number for number in range(200_000))
WANTED = b"".join(b'jvm_memory_used_bytes{id="%d"} 1\n' % number for number in range(60_000))
JUST_SMALL_ENOUGH = b"".join(b'jvm_memory_used_bytes{area="heap",id="%d"} 1\n' % number for number in range(45_000))

TEXTS = [
    Content("NaN everywhere", meter_of(b"NaN"), shown=GOOD_ALONE),
    Content("+Inf everywhere", meter_of(b"+Inf"), shown=GOOD_ALONE),
    Content("-Inf everywhere", meter_of(b"-Inf"), shown=GOOD_ALONE),
    Content("1e400 everywhere", meter_of(b"1e400"), shown=GOOD_ALONE),
    Content("-1 where it must be positive", meter_of(b"-1"), shown=GOOD_ALONE),
    Content("sums beyond all numbers", meter_of(b"1.7e308") * 2, shown={REQUESTS: {("CLIENT_ERROR",): 14}, UPTIME: {}}),
    Content("words for numbers", meter_of(b"many"), shown=GOOD_ALONE),
    Content("quotes in a label", pool(rb'a\"} 5'), shown=pools('a"} 5')),
    Content("line ends in a label", pool(rb"a\nprobe_success 0\r"), shown=pools("a\nprobe_success 0\\r")),
    Content("backslashes in a label", pool(rb"\\n\\"), shown=pools("\\n\\")),
    Content("a label that never ends", b'hikaricp_connections_max{pool="' + b"p" * 500_000 + b"\n" + METERS, shown={
        POOL: {}, UPTIME: {(): 12.5},
    }),
    Content("a label of 10 kB", pool(b"p" * 10_000), shown=pools("p" * 200)),
    Content("invalid UTF-8", pool(b"\xff\xfe\xc3"), shown=pools("\ufffd" * 3)),
    Content("NUL", pool(b"a\x00b"), shown=pools("a\\x00b")),
    Content("NULs and nothing else", bytes(500_000), shown={UPTIME: {}}),
    Content("no line end", b"x" * 500_000, shown={UPTIME: {}}),
    Content(
        "a histogram that contradicts itself",
        b'http_server_requests_seconds_bucket{le="0.1"} 9\nhttp_server_requests_seconds_bucket{le="0.5"} 3.5\n'
        b'http_server_requests_seconds_bucket{le="+Inf"} 1\n',
        shown={"probe_http_server_request_duration_seconds_bucket": {("0.1",): 9, ("0.5",): 9, ("+Inf",): 9}},
    ),
    Content(
        "20,000 bounds of a histogram",
        b"".join(b'http_server_requests_seconds_bucket{le="%d.5"} 1\n' % number for number in range(20_000)) + METERS,
        shown={"probe_http_server_request_duration_seconds_bucket": {}, UPTIME: {(): 12.5}},
        memory=12 * MAX_BYTES,
    ),
    Content(
        "1,000 pools",
        b"".join(pool(b"%04d" % number) for number in range(1000)),
        shown={POOL: first_pools(200)},
    ),
    Content(
        "200,000 series", SERIES, Reason.TOO_LARGE, "more than 100000 lines of metrics", {UPTIME: {}}, 3 * len(SERIES)
    ),
    Content(
        "60,000 series that are wanted",
        WANTED, Reason.TOO_LARGE, "more than 50000 samples of the wanted metrics", {UPTIME: {}}, 12 * len(WANTED),
    ),
    Content(
        "as many series as are read",
        JUST_SMALL_ENOUGH, shown={"probe_jvm_memory_used_bytes": {("heap",): 45_000}}, memory=9 * len(JUST_SMALL_ENOUGH),
    ),
]  # fmt: skip


@pytest.mark.parametrize("row", TEXTS, ids=lambda row: row.name)
async def test_meters_with_hostile_content_are_taken_or_have_their_reason(shared: SharedClients, row: Content) -> None:
    seen = await answered(
        shared, "prometheus", row.body, "text/plain;version=0.0.4", max_metrics_bytes=8 * MAX_BYTES
    )  # fmt: skip
    judged(seen, "prometheus", row)
    assert seen.outcome.verdict is Verdict.UP
    assert seen.values("probe_part_success") == {("metrics",): row.reason is None, ("main",): 1, ("flyway",): 1}


async def test_200000_series_are_refused_before_they_are_parsed(shared: SharedClients) -> None:
    """In a small part of the time that reading them takes."""
    started = time.process_time()
    with pytest.raises(Failure):
        prometheus_text.parse(SERIES, {"other": ("uri",)})
    refused = time.process_time() - started
    started = time.process_time()
    prometheus_text.parse(SERIES, {"other": ("uri",)}, max_lines=10**6, max_samples=10**6)
    assert refused < 0.05 * (time.process_time() - started)


# --- what the metrics endpoint says -------------------------------------------------------------------------------------


def measured(value: bytes) -> bytes:
    return b'{"name":"process.uptime","measurements":[{"statistic":"VALUE","value":%b}],"availableTags":[]}' % value


NUMBERS = [
    Content("a number", measured(b"12.5"), shown={UPTIME: {(): 12.5}}),
    Content("NaN", measured(b"NaN"), shown={UPTIME: {}}),
    Content("NaN as Jackson writes it", measured(b'"NaN"'), shown={UPTIME: {}}),
    Content("Infinity", measured(b"Infinity"), shown={UPTIME: {}}),
    Content("1e400", measured(b"1e400"), shown={UPTIME: {}}),
    Content("an integer of 400 digits", measured(b"9" * 400), shown={UPTIME: {}}),
    Content("an integer of 5,000 digits", measured(b"9" * 5000), Reason.MALFORMED, "not JSON", {UPTIME: {}}),
    Content("-1 where it must be positive", measured(b"-1"), shown={UPTIME: {}}),
    Content("true", measured(b"true"), shown={UPTIME: {}}),
    Content("an object", measured(b"{}"), shown={UPTIME: {}}),
    Content("100,000 levels", measured(b"[" * 100_000), Reason.MALFORMED, "nested too deeply", {UPTIME: {}}),
    Content("invalid UTF-8", measured(b'"\xff"'), Reason.MALFORMED, "not JSON", {UPTIME: {}}),
    Content("NUL", measured(b"\x00"), Reason.MALFORMED, "not JSON", {UPTIME: {}}),
    Content("measurements that are none", b'{"measurements":{"a":1},"availableTags":7}', shown={UPTIME: {}}),
]


@pytest.mark.parametrize("row", NUMBERS, ids=lambda row: row.name)
async def test_numbers_with_hostile_content_are_left_out_or_have_their_reason(shared: SharedClients, row: Content) -> None:
    application = Application()
    del application.answers[PATHS["prometheus"]]
    application.answers |= {
        PATHS["metrics"]: says(ok(b'{"names":["process.uptime",null,5,"\\ud800"]}')),
        f"{PATHS['metrics']}/process.uptime": says(ok(row.body)),
    }
    async with serve_raw(application) as served:
        seen = await attempted(shared, application, served.port, DEADLINE)
    judged(seen, "metrics", row)
    assert seen.outcome.verdict is Verdict.UP

"""What a long Prometheus answer costs the event loop, through the whole probe, on the loop that the exporter runs on."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.actuator import recording
from exporter.probing.probe import SharedClients
from exporter.probing.runner import Outcome, run_probe
from exporter.verdict import Verdict
from tests.actuator.test_recording import MICROMETER
from tests.probes.doing import make, on_uvloop

pytestmark = pytest.mark.measures

SHARE = 1 / 30
"""Of the time that prometheus_client's parser takes for the same text, on the same machine: what the loop's thread may."""


def long_answer() -> bytes:
    """Write a megabyte of 10,000 lines, of which nearly all are buckets of URIs: the most that there is to read."""
    tags = 'application="shop",error="none",exception="none",method="GET",outcome="SUCCESS",status="200",uri="/api/{:03}"'
    line = "http_server_requests_seconds_{}{{" + tags + "{}}} {}\n"
    lines = ["process_uptime_seconds 12.5\n", "process_start_time_seconds 1.7E9\n"]
    for uri in range(143):
        for number, bound in enumerate(MICROMETER, 1):
            le = "+Inf" if bound == MICROMETER[-1] else repr(bound)
            lines.append(line.format("bucket", uri, f',le="{le}"', float(number)))
        lines.append(line.format("count", uri, "", float(len(MICROMETER))))
        lines.append(line.format("sum", uri, "", 0.5))
    return "".join(lines).encode()


@contextmanager
def apart(answers: Mapping[bytes, bytes]) -> Iterator[int]:
    """Serve these from threads of their own, over kept connections: what the server costs is not the probe's."""
    opened: list[socket.socket] = []

    def talk(connection: socket.socket) -> None:
        with suppress(OSError), connection.makefile("rb") as lines:
            while request := lines.readline():
                while lines.readline().strip():
                    pass
                connection.sendall(answers[request.split()[1].partition(b"?")[0]])

    def accept(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                opened.append(connection)
                threads.append(threading.Thread(target=talk, args=(connection,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threads = [threading.Thread(target=accept, args=(listening,))]
        threads[0].start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)  # wakes accept
            threads[0].join(5)
            for connection in opened:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()
            for thread in threads:
                thread.join(5)
                assert not thread.is_alive()


def http(body: bytes, content_type: str) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@contextmanager
def untraced() -> Iterator[None]:
    """Without coverage's tracer, which would be measured too."""
    tracing = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracing)


def cost_of_parsing(text: str) -> float:
    """Return the seconds of this thread that the usual parser takes, which reads every label of every line."""
    started = time.thread_time()
    assert sum(1 for _ in text_string_to_metric_families(text)) > 1
    return time.thread_time() - started


@pytest.mark.parametrize("chunked", [False, True])
def test_a_megabyte_of_metrics_costs_the_event_loop_a_thirtieth_of_parsing_it(chunked: bool) -> None:
    body = long_answer()
    assert len(body) > 1_000_000
    assert body.count(b"\n") > 10_000
    prometheus = http(body, "text/plain;version=0.0.4;charset=utf-8")
    if chunked:  # in pieces of 8 kB, as Tomcat writes what it does not know the length of
        pieces = [body[at : at + 8192] for at in range(0, len(body), 8192)]
        prometheus = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain;version=0.0.4\r\nTransfer-Encoding: chunked\r\n\r\n"
        prometheus += b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    answers = {
        b"/actuator/health": http(b'{"status":"UP"}', "application/json"),
        b"/actuator/prometheus": prometheus,
        b"/actuator/flyway": http(b'{"contexts":{}}', "application/json"),
    }

    async def steps(shared: SharedClients) -> tuple[list[float], Outcome]:
        probe = make("actuator", shared, "127.0.0.1", port)
        for _ in range(3):
            await run_probe(probe, 5)
        costs = []
        for _ in range(5):
            await asyncio.sleep(0.01)  # what the attempt before left behind is not this one's
            started = time.thread_time()
            outcome = await run_probe(probe, 5)
            costs.append(time.thread_time() - started)
        return costs, outcome

    with apart(answers) as port, untraced():
        costs, outcome = on_uvloop(steps)
        parsing = min(cost_of_parsing(body.decode()) for _ in range(2))
    assert (outcome.verdict, outcome.parts) == (Verdict.UP, {"metrics": None, "flyway": None})
    assert outcome.samples[recording.REQUEST_DURATION][("count",)] == 143 * len(MICROMETER)
    assert outcome.samples[recording.UPTIME] == {(): 12.5}
    assert min(costs) < SHARE * parsing, (costs, parsing)

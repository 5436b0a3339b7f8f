"""Servers behind the services die, hang and come back; the services say so, go on, and end when they are told."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.demo.ports import free_ports
from exporter.demo.servers.base import Server
from exporter.demo.servers.broker import BrokerServer
from exporter.demo.servers.postgres import PostgresServer
from exporter.demo.servers.springboot import SERVICES, SpringBootServer
from exporter.demo.servers.valkey import ValkeyServer
from tests.fixtures.springboot import SpringFleet
from tests.springboot.asking import get, meter, statuses, until

BEHIND: dict[str, Callable[[SpringFleet], Server]] = {
    "db": lambda fleet: fleet.postgres,
    "redis": lambda fleet: fleet.valkey,
    "kafka": lambda fleet: fleet.broker,
}
ERRORS = {
    ("db", "kill"): "org.springframework.jdbc.CannotGetJdbcConnectionException: Failed to obtain JDBC Connection",
    ("db", "pause"): "org.springframework.jdbc.CannotGetJdbcConnectionException: Failed to obtain JDBC Connection",
    ("redis", "kill"): "org.springframework.data.redis.RedisConnectionFailureException: Unable to connect to Redis",
    ("redis", "pause"): "org.springframework.dao.QueryTimeoutException: Redis command timed out",
    (
        "kafka",
        "kill",
    ): "java.util.concurrent.TimeoutException: Timed out waiting for a node assignment. Call: describeCluster",
    (
        "kafka",
        "pause",
    ): "java.util.concurrent.TimeoutException: Timed out waiting for a node assignment. Call: describeCluster",
}


@pytest.mark.parametrize(("component", "how"), ERRORS)
def test_a_server_that_fails_is_a_component_down_and_503_until_it_is_back(
    component: str, how: str, own_spring: SpringFleet
) -> None:
    """Nothing else changes, no answer takes long, and the work goes on where it stopped."""
    ports, server = own_spring.ports.values(), BEHIND[component](own_spring)
    until(lambda: all(set(statuses(port).values()) == {"UP"} for port in ports), 15, "everything is up")
    getattr(server, how)()
    for port in ports:
        until(lambda: statuses(port)[component] == "DOWN", 10, f"{component} is down")  # noqa: B023 - it is called at once
        answer = get(port, "/health")
        assert (answer.status, answer.json["status"]) == (503, "DOWN")
        assert answer.seconds < 2
        assert [name for name, part in answer.json["components"].items() if part["status"] != "UP"] == [component]
        assert answer.json["components"][component]["details"] == {"error": ERRORS[component, how]}
        for path in ("/prometheus", "/health/liveness", "/health/readiness", "/metrics"):
            fine = get(port, path)
            assert (fine.status, fine.seconds < 0.5) == (200, True)
    (server.start if how == "kill" else server.resume)()
    until(lambda: all(set(statuses(port).values()) == {"UP"} for port in ports), 20, "everything is up again")
    names = ("spring_kafka_listener_seconds_count", "cache_gets_total", "hikaricp_connections_usage_seconds_count")
    for port in ports:
        before = {name: meter(port, name) for name in names}
        until(lambda: all(meter(port, name) > before[name] + 1 for name in names), 40, "work goes on")  # noqa: B023 - as above
        until(lambda: meter(port, "kafka_consumer_fetch_manager_records_lag_max") <= 2, 20, "the backlog is worked off")  # noqa: B023 - as above


def test_without_a_database_requests_fail_after_the_connection_timeout_and_flyway_is_500(own_spring: SpringFleet) -> None:
    port = own_spring.ports["risk-engine"]
    own_spring.valkey.kill()  # every request needs the database
    own_spring.postgres.kill()
    failed = {"uri": "/api/profiles/{id}", "status": "500", "exception": "CannotGetJdbcConnectionException"}
    until(lambda: meter(port, "http_server_requests_seconds_count", **failed) > 2, 15, "requests fail")
    count = meter(port, "http_server_requests_seconds_count", **failed)
    assert 0.9 < meter(port, "http_server_requests_seconds_sum", **failed) / count < 1.6
    assert meter(port, "hikaricp_connections_timeout_total") > 2
    assert meter(port, "hikaricp_connections_pending") >= 1
    assert meter(port, "hikaricp_connections") == 0
    answer = get(port, "/flyway")
    assert (answer.status, answer.json["error"]) == (500, "Internal Server Error")


@pytest.fixture
def spec(tmp_path: Path) -> SpringBootServer:
    """Eight services whose servers were never started."""
    servers = PostgresServer(tmp_path / "p"), ValkeyServer(tmp_path / "v"), BrokerServer(tmp_path / "b")
    servers[0].password_file.write_text("none")
    made = SpringBootServer(tmp_path, *servers, dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True)))
    made.prepare()
    return made


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_with_nothing_behind_them_all_listen_in_time_say_so_and_end_in_time(number: int, spec: SpringBootServer) -> None:
    began = time.monotonic()
    command = [str(part) for part in spec.command()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert process.stdout.readline() == "READY\n"
            assert time.monotonic() - began < 6
            for port in spec.ports.values():
                found = statuses(port)
                assert {found[name] for name in ("", "db", "redis", "kafka")} == {"DOWN"}
                assert get(port, "/health/liveness").status == 200
            process.send_signal(number)
            asked = time.monotonic()
            assert process.wait(10) == 0
            assert time.monotonic() - asked < 3
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()


@pytest.mark.parametrize("how", ["ready", "paused"])
def test_it_ends_in_time_also_while_every_server_hangs(how: str, own_spring: SpringFleet) -> None:
    child = own_spring.server.child
    assert child is not None
    if how == "paused":
        for server in (own_spring.postgres, own_spring.valkey, own_spring.broker):
            server.pause()
        until(lambda: statuses(own_spring.ports["identity"])["db"] == "DOWN", 10, "it hangs")
    began = time.monotonic()
    child.stop(3.0)
    assert time.monotonic() - began < 2.9  # it was not killed
    assert "Traceback" not in child.log_tail(20_000)


def test_a_port_that_is_taken_is_an_error_and_the_process_ends(spec: SpringBootServer, spring_fleet: SpringFleet) -> None:
    spec.ports["vault"] = spring_fleet.ports["vault"]
    other = SpringBootServer(spec.directory, spring_fleet.postgres, spring_fleet.valkey, spring_fleet.broker, spec.ports)
    other.prepare()
    done = subprocess.run([str(part) for part in other.command()], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode != 0
    assert "address already in use" in done.stderr
    assert "READY" not in done.stdout


def test_a_spec_with_a_mistake_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text('{"control_port": 1, "colour": "red"}')
    command = [sys.executable, "-m", "exporter.demo.springboot", "--spec", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode != 0
    assert "colour" in done.stderr


def test_eight_idle_services_take_less_than_15_percent_of_a_core(spring_fleet: SpringFleet) -> None:
    child = spring_fleet.server.child
    assert child is not None

    def used() -> float:
        ticks = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return sum(map(int, ticks)) / 100

    before, began = used(), time.monotonic()
    time.sleep(4)
    assert (used() - before) / (time.monotonic() - began) < 0.15

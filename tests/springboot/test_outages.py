"""Servers behind the services die, hang and come back; the services say so, go on, and end when they are told."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.demo.ports import free_ports
from exporter.demo.servers.broker import BrokerServer
from exporter.demo.servers.postgres import PostgresServer
from exporter.demo.servers.springboot import SERVICES, SpringBootServer
from exporter.demo.servers.valkey import ValkeyServer
from tests.fixtures.springboot import SpringFleet
from tests.springboot.asking import get, meter, statuses
from tests.waiting import until


def whole(fleet: SpringFleet) -> bool:
    """Tell whether every component of every service is up."""
    return all(set(statuses(port).values()) == {"UP"} for port in fleet.ports.values())


def show_down(fleet: SpringFleet, component: str, error: str) -> None:
    """See every service say that this component is down, and nothing else change."""
    for port in fleet.ports.values():
        until(lambda: statuses(port)[component] == "DOWN", 30, f"{component} is down")  # noqa: B023 - it is called at once
        answer = get(port, "/health")
        assert (answer.status, answer.json["status"]) == (503, "DOWN")
        assert [name for name, part in answer.json["components"].items() if part["status"] != "UP"] == [component]
        assert answer.json["components"][component]["details"] == {"error": error}
        for path in ("/prometheus", "/health/liveness", "/health/readiness", "/metrics"):
            assert get(port, path).status == 200


def see_work_go_on(fleet: SpringFleet) -> None:
    """See the services take up their work where it stopped."""
    until(lambda: whole(fleet), 60, "everything is up again")
    names = ("spring_kafka_listener_seconds_count", "cache_gets_total", "hikaricp_connections_usage_seconds_count")
    for port in fleet.ports.values():
        before = {name: meter(port, name) for name in names}
        until(lambda: all(meter(port, name) > before[name] + 1 for name in names), 60, "work goes on")  # noqa: B023 - as above


def test_a_database_that_dies_is_a_component_down_until_it_is_back(own_spring: SpringFleet) -> None:
    until(lambda: whole(own_spring), 30, "everything is up")
    own_spring.postgres.kill()
    show_down(
        own_spring, "db", "org.springframework.jdbc.CannotGetJdbcConnectionException: Failed to obtain JDBC Connection"
    )
    answer = get(own_spring.ports["risk-engine"], "/flyway")
    assert (answer.status, answer.json["error"]) == (500, "Internal Server Error")
    own_spring.postgres.start()
    see_work_go_on(own_spring)


def test_a_cache_that_hangs_is_a_component_down_until_it_goes_on(own_spring: SpringFleet) -> None:
    until(lambda: whole(own_spring), 30, "everything is up")
    own_spring.valkey.pause()
    show_down(own_spring, "redis", "org.springframework.dao.QueryTimeoutException: Redis command timed out")
    own_spring.valkey.resume()
    see_work_go_on(own_spring)


@pytest.fixture
def spec(tmp_path: Path) -> SpringBootServer:
    """Eight services whose servers were never started."""
    servers = PostgresServer(tmp_path / "p"), ValkeyServer(tmp_path / "v"), BrokerServer(tmp_path / "b")
    servers[0].password_file.write_text("none")
    made = SpringBootServer(tmp_path, *servers, dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True)))
    made.prepare()
    return made


def test_with_nothing_behind_them_all_listen_say_so_and_end_when_told(spec: SpringBootServer) -> None:
    command = [str(part) for part in spec.command()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert process.stdout.readline() == "READY\n"
            for port in spec.ports.values():
                found = statuses(port)
                assert {found[name] for name in ("", "db", "redis", "kafka")} == {"DOWN"}
                assert get(port, "/health/liveness").status == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()


def test_it_ends_when_told_also_while_every_server_hangs(own_spring: SpringFleet) -> None:
    """Of itself: nobody kills it here."""
    child = own_spring.server.child
    assert child is not None
    assert child.pid is not None
    for server in (own_spring.postgres, own_spring.valkey, own_spring.broker):
        server.pause()
    until(lambda: statuses(own_spring.ports["identity"])["db"] == "DOWN", 30, "it hangs")
    os.kill(child.pid, signal.SIGTERM)
    until(lambda: not child.running, 30, "it has ended")
    assert "Traceback" not in child.log_tail(20_000)


def test_a_port_that_is_taken_is_an_error_and_the_process_ends(spec: SpringBootServer) -> None:
    with socket.create_server(("127.0.0.1", spec.ports["vault"])):
        command = [str(part) for part in spec.command()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode != 0
    assert "address already in use" in done.stderr
    assert "READY" not in done.stdout


def test_a_spec_with_a_mistake_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text('{"control_port": 1, "colour": "red"}')
    command = [sys.executable, "-m", "exporter.demo.springboot", "--spec", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode != 0
    assert "colour" in done.stderr

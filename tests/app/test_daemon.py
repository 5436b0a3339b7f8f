"""The daemon whole: its start, its verdicts over real servers, reload, and its end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from aiohttp import encode_basic_auth

from exporter.demo.ports import free_port
from exporter.demo.servers.valkey import ValkeyServer
from tests.app.daemon import Daemon
from tests.waiting import SLACK

FAST = {"interval": "500ms", "timeout": "300ms", "recheck_interval": "200ms"}


def config(**ports: int) -> dict[str, Any]:
    services = {name: {"instances": [f"127.0.0.1:{port}"], "probes": {"redis": {}}} for name, port in ports.items()}
    return {"defaults": FAST, "dependencies": services}


@pytest.fixture
def daemon(own_valkey: ValkeyServer, tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path, config(cache=own_valkey.port)) as daemon:
        daemon.start()
        yield daemon


def test_the_exposition_is_valid_and_tells_the_truth(daemon: Daemon, own_valkey: ValkeyServer) -> None:
    text = daemon.request("/metrics")[1]
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    labels = {"service": "cache", "probe": "redis", "target": own_valkey.address}
    assert daemon.value("probe_success", **labels) == 1
    assert daemon.value("probe_service_up", service="cache") == 1
    assert daemon.value("probe_interval_seconds", **labels) == 0.5
    assert abs((daemon.value("probe_last_run_timestamp_seconds", **labels) or 0) - time.time()) < 5
    assert daemon.value("probe_exporter_config_last_reload_successful") == 1


def test_a_server_that_dies_is_down_when_confirmed_and_recovers(daemon: Daemon, own_valkey: ValkeyServer) -> None:
    own_valkey.kill()
    daemon.wait(lambda: daemon.value("probe_success", service="cache") == 0)
    assert daemon.value("probe_service_up", service="cache") == 0
    assert daemon.value("probe_redis_memory_used_bytes", service="cache") is None
    assert daemon.api("/api/v1/services/cache")["verdict"] == "down"
    own_valkey.start()
    daemon.wait(lambda: daemon.value("probe_success", service="cache") == 1)
    failures = daemon.value("probe_failures_total", service="cache", stage="connect", reason="connect_refused")
    assert failures is not None
    assert failures >= 1


def attempts(daemon: Daemon) -> float:
    """Return how many attempts on the cache have been counted."""
    found = daemon.metrics().items()
    return sum(v for (n, have), v in found if n == "probe_latency_seconds_count" and ("service", "cache") in have)


def test_a_target_that_is_no_longer_configured_loses_its_series_and_the_others_keep_their_state(
    daemon: Daemon, own_valkey: ValkeyServer
) -> None:
    daemon.write(config(cache=own_valkey.port, other=free_port()))
    daemon.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr] # it runs
    daemon.wait(lambda: daemon.value("probe_success", service="other") == 0)
    daemon.wait(lambda: attempts(daemon) > 2)
    before = attempts(daemon)
    daemon.write(config(cache=own_valkey.port))
    assert daemon.request("/-/reload", "POST")[0] == 200
    assert {dict(have).get("service") for _, have in daemon.metrics()} == {None, "cache"}
    assert attempts(daemon) >= before


def test_a_bad_reload_keeps_the_old_configuration_and_says_why(daemon: Daemon, own_valkey: ValkeyServer) -> None:
    daemon.path.write_text("services: {cache: {instances: [nowhere], probes: {reddis: {}}}}")
    status, body = daemon.request("/-/reload", "POST")
    assert status == 400
    assert b"exporter.yml:1:32: services.cache.instances[0]: expected host:port" in body
    assert b"unknown key; did you mean 'redis'?" in body
    assert daemon.value("probe_exporter_config_last_reload_successful") == 0
    assert daemon.value("probe_success", service="cache", target=own_valkey.address) == 1
    assert "did you mean" in daemon.request("/")[1].decode()
    daemon.write(config(cache=own_valkey.port))
    assert daemon.request("/-/reload", "POST")[0] == 200
    assert daemon.value("probe_exporter_config_last_reload_successful") == 1


def test_who_may_do_what_and_by_which_name_changes_with_a_reload(tmp_path: Path) -> None:
    hashed = bcrypt.hashpw(b"password", bcrypt.gensalt(4)).decode()
    (tmp_path / "web.yml").write_text(f"basic_auth_users: {{alice: {hashed}}}")
    probed = {"services": {"a": {"instances": ["127.0.0.1:9"], "probes": {"tls": {}}}}}

    def asked(path: str, host: str = "localhost") -> int:
        request = urllib.request.Request(f"http://127.0.0.1:{daemon.port}{path}", headers={"Host": host, **login})
        try:
            with urllib.request.urlopen(request, timeout=10 * SLACK) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def reloaded(server: dict[str, Any]) -> None:
        before = daemon.log.count("configuration reloaded")
        daemon.write({**probed, "server": {"listen": f"127.0.0.1:{daemon.port}", **server}})
        os.kill(daemon.pid, signal.SIGHUP)
        daemon.wait(lambda: daemon.log.count("configuration reloaded") > before)

    login = {"Authorization": encode_basic_auth("alice", "password")}
    with Daemon(tmp_path, probed, "--web.config.file", str(tmp_path / "web.yml")) as daemon:
        daemon.launch()
        daemon.wait(lambda: daemon.status("/-/healthy") == 401)
        assert [asked("/metrics"), asked("/"), asked("/", "exporter.example.com")] == [200, 200, 200]
        reloaded({"roles": {"scrape": ["bob"]}, "hosts": ["other.example.com"], "listen": "127.0.0.1:9"})
        assert [asked("/metrics"), asked("/"), asked("/", "exporter.example.com")] == [403, 200, 421]
        assert "take effect at the next start" in daemon.log
        reloaded({"roles": {"pages": ["bob"]}, "hosts": ["exporter.example.com"]})
        assert [asked("/metrics"), asked("/"), asked("/metrics", "exporter.example.com")] == [200, 403, 200]
        reloaded({})
        assert [asked("/metrics"), asked("/"), asked("/", "exporter.example.com")] == [200, 200, 200]
        assert daemon.stop() == 0


def test_a_reload_that_is_asked_for_while_it_starts_is_made(tmp_path: Path) -> None:
    def probed(name: str) -> dict[str, Any]:
        return {"services": {name: {"instances": ["127.0.0.1:9"], "probes": {"tls": {}}}}}

    with Daemon(tmp_path, probed("before")) as daemon:
        daemon.launch()
        daemon.wait(lambda: "may be open" in daemon.log)  # it has read its configuration, and is not yet up
        daemon.write(probed("after"))
        os.kill(daemon.pid, signal.SIGHUP)
        daemon.wait(lambda: "configuration reloaded" in daemon.log)  # service by service: until then there may be both
        assert daemon.status("/api/v1/services/after") == 200
        assert daemon.status("/api/v1/services/before") == 404
        assert daemon.stop() == 0


@pytest.mark.parametrize("health", ["127.0.0.1", "0.0.0.0"])
def test_health_on_the_port_of_the_rest_is_told_as_that(tmp_path: Path, health: str) -> None:
    port = free_port()
    daemon = Daemon(tmp_path, {}, "--listen", f"127.0.0.1:{port}")
    server = {"listen": f"127.0.0.1:{daemon.port}", "health_listen": f"{health}:{port}"}
    daemon.write({"server": server, "services": {"a": {"instances": ["127.0.0.1:9"], "probes": {"tls": {}}}}})
    with daemon:
        daemon.launch()
        assert daemon.process is not None
        assert daemon.process.wait(20 * SLACK) == 1
    assert f"cannot listen on {health}:{port}: the endpoints listen there, too" in daemon.log


def test_a_probe_on_demand_runs_what_is_configured_and_nothing_else(daemon: Daemon) -> None:
    status, body = daemon.request("/probe?service=cache&probe=redis")
    assert status == 200
    assert re.search(rb'^probe_success\{service="cache",probe="redis",[^}]*\} 1$', body, re.MULTILINE)
    assert daemon.request("/probe?service=cache&probe=actuator")[0] == 404
    assert daemon.request("/probe?target=http://127.0.0.1:1/")[0] == 400


def test_sigterm_lets_a_run_in_flight_end_and_closes_everything(own_valkey: ValkeyServer, tmp_path: Path) -> None:
    slow = {"interval": "4s", "timeout": "2s"}
    with Daemon(tmp_path, {**config(cache=own_valkey.port), "defaults": slow}) as daemon:
        daemon.start()
        own_valkey.pause()
        daemon.wait(lambda: daemon.value("probe_in_flight", service="cache") == 1, 15)
        assert daemon.stop() == 0
        assert "stopped; 0 runs cancelled" in daemon.log
        assert "Traceback" not in daemon.log


def test_a_run_that_outlasts_the_drain_deadline_is_cancelled(own_valkey: ValkeyServer, tmp_path: Path) -> None:
    with Daemon(tmp_path, config(cache=own_valkey.port)) as daemon:
        daemon.write(
            {
                **config(cache=own_valkey.port),
                "defaults": {"interval": "6s", "timeout": "6s"},
                "server": {"listen": f"127.0.0.1:{daemon.port}", "drain_timeout": "300ms"},
            }
        )
        own_valkey.pause()
        daemon.start(ready=False)
        assert daemon.status("/-/ready") == 503
        daemon.wait(lambda: daemon.value("probe_in_flight", service="cache") == 1, 25)
        assert daemon.stop(signal.SIGINT) == 0
        assert "stopped; 1 runs cancelled" in daemon.log


def test_a_port_that_is_taken_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        daemon = Daemon(tmp_path, config(cache=free_port()), loop_port=port)
        done = subprocess.run(
            [sys.executable, "-m", "exporter", "serve", "--config", str(daemon.path)],
            capture_output=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use".encode() in done.stderr
    assert b"Traceback" not in done.stderr


def test_sigterm_while_it_starts_ends_it_also_as_process_1_of_a_container(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, config(cache=free_port()))
    serve = [sys.executable, "-m", "exporter", "serve", "--config", str(daemon.path)]
    command = ["unshare", "--user", "--pid", "--fork", "--map-root-user", "--kill-child", *serve]
    daemon.process = outer = subprocess.Popen(command)
    with daemon:
        daemon.wait(lambda: any(_catches(signal.SIGTERM, child) for child in _children(outer.pid)))
        (child,) = _children(outer.pid)
        os.kill(child, signal.SIGTERM)
        assert outer.wait(20 * SLACK) == 128 + signal.SIGTERM


def _children(process: int) -> list[int]:
    return [int(number) for number in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def _catches(number: int, process: int) -> bool:
    (caught,) = re.findall(r"^SigCgt:\t(\w+)$", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    return bool(int(caught, 16) >> (number - 1) & 1)


def test_standard_streams_that_are_closed_are_nobody_elses(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, config(cache=free_port()))
    started = [sys.executable, "-m", "exporter", "serve", "--config", str(daemon.path)]
    shell = ["setpriv", "--pdeathsig", "KILL", "sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh", *started]
    daemon.process = subprocess.Popen(shell)
    with daemon:
        daemon.wait(lambda: daemon.status("/-/healthy") == 200)
        folder = Path(f"/proc/{daemon.process.pid}/fd")
        assert {str((folder / str(number)).readlink()) for number in range(3)} == {"/dev/null"}
        assert daemon.stop() == 0


def test_descriptors_do_not_grow(daemon: Daemon, own_valkey: ValkeyServer) -> None:
    assert daemon.process is not None
    folder = f"/proc/{daemon.process.pid}/fd"
    own_valkey.pause()
    time.sleep(1)
    own_valkey.resume()
    daemon.wait(lambda: daemon.value("probe_success", service="cache") == 1)
    before = len(os.listdir(folder))  # noqa: PTH208 - of another process
    for _ in range(10):
        daemon.request("/metrics")
        time.sleep(0.2)
    assert len(os.listdir(folder)) <= before + 2  # noqa: PTH208 - of another process

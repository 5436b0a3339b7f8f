"""The demo as a whole: it says where to look, leaves nothing behind however it ends, and says what is in its way."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from exporter.cli.main import cli
from exporter.demo import fleet as fleets
from exporter.demo.faults import parse_order
from exporter.demo.fleet import Fleet, Options
from exporter.demo.main import _in_words, _say_where, run_demo
from exporter.demo.ports import listens
from exporter.demo.processes import StartError, bound, descendants
from exporter.demo.servers.prometheus import AlertmanagerServer, PrometheusServer
from exporter.demo.servers.springboot import SERVICES
from tests.demo.running import fetch
from tests.demo.watching import state, wait_until_gone
from tests.waiting import until


class Demo:
    """A demo in a process of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.state = folder / "state"
        self.output_path = folder / "output"
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "exporter",
            "demo",
            "--ports",
            "free",
            "--state",
            self.state,
            *arguments,
        ]
        with self.output_path.open("wb") as output:
            self.process = subprocess.Popen(bound(command), stdout=output, stderr=subprocess.STDOUT, start_new_session=True)

    @property
    def output(self) -> str:
        return self.output_path.read_text()

    @property
    def endpoints(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.state / "endpoints.json").read_text())
        return found

    def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)

    def until_says(self, text: str, seconds: float = 60.0) -> None:
        self.until(lambda: text in self.output, seconds)

    def end(self, number: int) -> int:
        """End it, see that nothing of it is left, and return its exit code."""
        family = descendants(self.process.pid)
        self.process.send_signal(number)
        code = self.process.wait(60)
        wait_until_gone(*family)
        return code


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    demos: list[Demo] = []

    def begin(*arguments: str) -> Demo:
        demos.append(Demo(tmp_path, *arguments))
        return demos[-1]

    yield begin
    for demo in demos:
        demo.process.kill()
        demo.process.wait()


def _is_free(address: str) -> bool:
    host, _, port = address.partition(":")
    return not listens(host, int(port))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGKILL, -9)])
def test_however_it_ends_no_process_stays_behind(number: int, code: int, start: Callable[..., Demo]) -> None:
    """Also while a server hangs, which is when it sees nothing of its parent's end."""
    demo = start("--fault", "db-hung@0", "--fault", "kafka-hung@0")
    demo.until_says("fault db-hung")
    demo.until_says("fault kafka-hung")
    where = demo.endpoints
    for name in ("exporter", "prometheus", "alertmanager", "pagerduty"):
        assert where[name] in demo.output
        assert fetch(where[name])
    assert b"probe_success" in fetch(f"{where['exporter']}/metrics")
    demo.until(lambda: state(where["pids"][0]) == "T")  # PostgreSQL
    assert len(descendants(demo.process.pid)) > 10  # with its backends
    assert demo.end(number) == code
    for address in (where["postgres"], where["exporter"].removeprefix("http://")):
        until(partial(_is_free, address), 5, "a process that is gone closes its sockets")
    assert ("everything has ended" in demo.output) is (code == 0)


def test_interrupted_while_it_starts_it_ends_at_once(start: Callable[..., Demo]) -> None:
    demo = start("--no-prometheus")
    demo.until_says("springboot at")  # the exporter takes seconds to probe everything
    assert demo.end(signal.SIGTERM) == 0
    assert "exporter at" not in demo.output
    assert not (demo.state / "endpoints.json").exists()


def test_it_ends_by_itself_and_refuses_a_second_in_its_folder(start: Callable[..., Demo]) -> None:
    demo = start("--no-prometheus", "--duration", "2s")
    demo.until_says("springboot at")
    second = CliRunner().invoke(cli, ["demo", "--state", str(demo.state), "--ports", "free"])
    assert f"another demo runs in {demo.state}: end it, or choose another with --state" in second.output
    assert second.exit_code != 0
    assert demo.process.wait(60) == 0
    assert "left out: --no-prometheus" in demo.output
    assert "2 s are over" in demo.output


def test_a_server_that_ends_by_itself_is_named_and_ends_the_demo(start: Callable[..., Demo]) -> None:
    demo = start("--no-prometheus")
    demo.until_says("Ctrl-C ends everything")
    family = descendants(demo.process.pid)
    os.kill(demo.endpoints["pids"][3], signal.SIGKILL)  # the services
    assert demo.process.wait(60) == 3
    assert "Error: springboot has ended; its log ends with:" in demo.output
    wait_until_gone(*family)


@pytest.mark.parametrize("broken", ["FIRST_SERVICE_PORT", "EXPORTER_PORT", "PROMETHEUS_PORT", "PAGERDUTY_PORT"])
def test_a_port_in_use_is_named(broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_SERVICE_PORT", "EXPORTER_PORT", "PROMETHEUS_PORT", "ALERTMANAGER_PORT", "PAGERDUTY_PORT"):
        monkeypatch.setattr(fleets, name, 0)  # any port; those of services follow it
    monkeypatch.setattr(fleets, "SERVICES", SERVICES[:1])
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        monkeypatch.setattr(fleets, broken, port)
        with pytest.raises(StartError, match=f"something listens on port {port} .* already: end it, or use --ports free"):
            Fleet(Options(tmp_path))
        if broken == "PROMETHEUS_PORT":
            Fleet(Options(tmp_path, prometheus=False))  # a Prometheus of one's own is in nobody's way then


def test_what_is_not_installed_is_left_out_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AlertmanagerServer, "installed", staticmethod(lambda: False))
    alone = Fleet(Options(tmp_path / "a", free_ports=True))
    assert alone.prometheus is not None
    monkeypatch.setattr(PrometheusServer, "installed", staticmethod(lambda: False))
    console = Console(file=io.StringIO(), width=200)
    _say_where(Fleet(Options(tmp_path / "b", free_ports=True)), console)
    assert isinstance(console.file, io.StringIO)
    said = re.sub(" +", " ", console.file.getvalue())
    assert "Prometheus not installed: apt-get install prometheus\n" in said
    assert "Alertmanager not installed: apt-get install prometheus-alertmanager\n" in said


def test_a_failing_start_ends_what_had_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(descendants(os.getpid()))  # servers of other tests
    started: list[int] = []

    def fail(server: Any) -> None:
        started.extend(descendants(os.getpid()))
        raise StartError(f"{server.name} does not start")

    monkeypatch.setattr("exporter.demo.servers.springboot.SpringBootServer.prepare", fail)
    with pytest.raises(StartError, match="springboot does not start"):
        run_demo(Options(tmp_path, free_ports=True, prometheus=False), [parse_order("db-down")], None, Console(quiet=True))
    assert len(set(started) - before) >= 3
    wait_until_gone(*set(started) - before)


def test_pages_are_put_into_words() -> None:
    trigger = {"event_action": "trigger", "dedup_key": "k", "payload": {"severity": "critical", "summary": "vault is down"}}
    resolve = {"event_action": "resolve", "dedup_key": "k"}
    assert _in_words(trigger, [trigger]) == "critical: vault is down"
    assert _in_words(resolve, [trigger, resolve]) == "resolved: vault is down"
    assert _in_words(resolve, [resolve]) == "resolved: k"

"""`hafnium-exporter demo` as people run it: it shows a whole fleet, pages when a service dies, and leaves nothing behind."""

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
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from exporter.cli.main import cli
from exporter.demo import fleet as fleets
from exporter.demo.faults import FAULTS, parse_order
from exporter.demo.fleet import Fleet, Options
from exporter.demo.main import _in_words, _say_where, run_demo
from exporter.demo.processes import ServerError, StartError, bound, descendants
from exporter.demo.servers.prometheus import AlertmanagerServer, PrometheusServer
from exporter.demo.servers.springboot import SERVICES
from tests.demo.watching import Seen, wait_until_gone

EVERYTHING = {*SERVICES, "postgres", "redis", "kafka", "gateway"}


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        body: bytes = answer.read()
        return body


class Demo:
    """A demo in a process of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.state = folder / "state"
        self.output_path = folder / "output"
        command = [sys.executable, "-m", "exporter", "demo", "--ports", "free", "--state", self.state, *arguments]
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

    def end(self, number: int = signal.SIGTERM) -> int:
        """End it, see that nothing of it is left, and return its exit code."""
        family = descendants(self.process.pid)
        self.process.send_signal(number)
        code = self.process.wait(20)
        wait_until_gone(family)
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


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo in which a service dies at once. The page takes its time, so other tests go on meanwhile."""
    running = Demo(tmp_path_factory.mktemp("demo"), "--fault", "service-down:vault@0")
    try:
        running.until_says("Ctrl-C ends everything")
        yield running
    finally:
        assert running.end() == 0


def test_everything_is_probed_and_everything_but_the_fault_is_up(demo: Demo) -> None:
    demo.until(lambda: Seen(demo.endpoints["exporter"]).down("vault"))
    seen = Seen(demo.endpoints["exporter"])
    assert seen.services("probe_success") == EVERYTHING
    assert [service for service in sorted(EVERYTHING) if seen.down(service)] == ["vault"]
    assert seen.values("probe_tls_verified") == [1.0]


def test_what_it_serves_is_sound(demo: Demo) -> None:
    body = fetch(f"{demo.endpoints['exporter']}/metrics")
    checked = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, b"")


def test_it_says_where_to_look(demo: Demo) -> None:
    where = demo.endpoints
    for url in (where["exporter"] + "/", where["exporter"] + "/metrics", where["pagerduty"] + "/"):
        assert url in demo.output
        assert fetch(url)
    for name in ("prometheus", "alertmanager"):
        assert where[name] in demo.output
        assert fetch(f"{where[name]}/-/ready")
    assert "fault service-down:vault: a service's port is closed" in demo.output


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -9)])
def test_however_it_ends_no_process_stays_behind(number: int, code: int, start: Callable[..., Demo]) -> None:
    """Also while a server hangs, which is when it sees nothing of its parent's end."""
    demo = start("--fault", "db-hung@0", "--fault", "kafka-hung@0")
    demo.until_says("fault db-hung")
    demo.until_says("fault kafka-hung")
    postgres = demo.endpoints["pids"][0]
    demo.until(lambda: Path(f"/proc/{postgres}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    assert len(descendants(demo.process.pid)) > 10
    assert demo.end(number) == code
    for address in (demo.endpoints["postgres"], demo.endpoints["exporter"].removeprefix("http://")):
        with socket.socket() as probe:
            host, port = address.split(":")
            assert probe.connect_ex((host, int(port))) != 0
    assert ("everything has ended" in demo.output) is (code == 0)


def test_interrupted_while_it_starts_it_ends_at_once(start: Callable[..., Demo]) -> None:
    demo = start("--no-prometheus")
    demo.until_says("springboot at")  # the exporter takes seconds to probe everything
    began = time.monotonic()
    assert demo.end() == 0
    assert time.monotonic() - began < 4
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
    assert demo.process.wait(20) == 3
    assert "Error: springboot has ended; its log ends with:" in demo.output
    wait_until_gone(family)


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


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ServerError, match="holds other files: choose another with --state"):
        run_demo(Options(tmp_path), [], None, Console(file=io.StringIO()))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_failing_start_ends_what_had_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def fail(server: Any) -> None:
        started.extend(descendants(os.getpid()))
        raise StartError(f"{server.name} does not start")

    monkeypatch.setattr("exporter.demo.servers.springboot.SpringBootServer.prepare", fail)
    with pytest.raises(StartError, match="springboot does not start"):
        run_demo(Options(tmp_path, free_ports=True, prometheus=False), [parse_order("db-down")], None, Console(quiet=True))
    assert len(started) >= 3
    wait_until_gone(set(started) - set(descendants(os.getpid())))


def test_the_faults_are_listed_and_a_wrong_one_is_bad_usage() -> None:
    listed = CliRunner().invoke(cli, ["demo", "--list-faults"])
    assert [re.split(r"[\s\[]", line)[0] for line in listed.output.splitlines()] == list(FAULTS)
    wrong = CliRunner().invoke(cli, ["demo", "--fault", "zzz"])
    assert wrong.exit_code == 2
    assert "unknown fault 'zzz'; there are db-down, db-hung" in re.sub(r"\s+", " ", wrong.output)


def test_pages_are_put_into_words() -> None:
    trigger = {"event_action": "trigger", "dedup_key": "k", "payload": {"severity": "critical", "summary": "vault is down"}}
    resolve = {"event_action": "resolve", "dedup_key": "k"}
    assert _in_words(trigger, [trigger]) == "critical: vault is down"
    assert _in_words(resolve, [trigger, resolve]) == "resolved: vault is down"
    assert _in_words(resolve, [resolve]) == "resolved: k"


def test_a_service_that_died_pages_through_the_shipped_rules_and_routes(demo: Demo) -> None:
    """By now the rule's 45 seconds have mostly gone by."""

    def paged() -> list[dict[str, Any]]:
        events = json.loads(fetch(f"{demo.endpoints['pagerduty']}/"))["events"]
        return [event for event in events if (event.get("payload") or {}).get("class") == "ServiceDown"]

    demo.until(lambda: bool(paged()), 150)
    (page,) = paged()
    assert page["event_action"] == "trigger"
    assert (page["payload"]["severity"], page["payload"]["component"]) == ("critical", "vault")
    demo.until_says("page  critical: ")

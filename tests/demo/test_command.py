"""`hafnium-exporter demo` as a person runs it: it comes up, plays its faults, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.demo.running import fetch, until
from tests.demo.watching import wait_until_gone


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "exporter", "demo", "--state", str(folder / "state"), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def endpoints(folder: Path) -> dict[str, object]:
    path = folder / "state" / "endpoints.json"
    until(lambda: path.exists() and path.read_text().strip().endswith("}"), 60, "the demo is up")
    return dict(json.loads(path.read_text()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_demo_however_it_ends(number: int, tmp_path: Path) -> None:
    with started(tmp_path, "--ports", "free", "--fault", "redis-hung@0") as process:
        where = endpoints(tmp_path)
        assert b"probe_success" in fetch(f"{where['exporter']}/metrics")
        pids = where["pids"]
        assert isinstance(pids, list)
        assert len(pids) == 7  # with Prometheus and Alertmanager
        time.sleep(0.5)
        os.kill(process.pid, number)
        code = process.wait(30)
        output = process.stdout.read() if process.stdout else ""
    for pid in pids:
        wait_until_gone(pid)
    if number != signal.SIGKILL:
        assert code == 0, output
        assert "everything has ended" in output
        assert "fault redis-hung: Valkey takes connections and answers nothing" in output
        assert "Traceback" not in output


def test_it_ends_by_itself_after_its_duration(tmp_path: Path) -> None:
    with started(tmp_path, "--ports", "free", "--no-prometheus", "--duration", "2s") as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "2 s are over" in output
    assert "/metrics" in output


def test_a_usual_port_that_is_taken_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8085))
            taken.listen()
        except OSError:  # somebody else has it, which does as well
            taken.close()
        with started(tmp_path) as process:
            output, _ = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "8085" in output
    assert "use --ports free" in output
    assert "Traceback" not in output


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "thesis.txt").write_text("years of work")
    with started(tmp_path, "--ports", "free") as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "holds other files" in output
    assert (tmp_path / "state" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--fault", "db-dwon"], "did you mean db-down?"), (["--duration", "soon"], "expected a duration")],
)
def test_bad_usage_says_what_to_do(arguments: list[str], message: str, tmp_path: Path) -> None:
    with started(tmp_path, *arguments) as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 3
    assert message in output
    assert not (tmp_path / "state").exists()


def test_the_list_of_faults_is_for_people(tmp_path: Path) -> None:
    with started(tmp_path, "--list-faults") as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "db-down " in output
    assert "service-slow[:SERVICE]" in output

"""`config init`, as it is typed: what it writes, what it says, and what it leaves alone."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from tests.cli.terminal import EXPORTER, Terminal
from tests.scaffold.applications import application
from tests.scaffold.test_spring import FULL


@contextmanager
def running(answers: dict[str, Any]) -> Iterator[int]:
    """Run an application in a thread of its own."""
    loop = asyncio.new_event_loop()
    serving = application(answers)
    port = loop.run_until_complete(serving.__aenter__())
    thread = Thread(target=loop.run_forever)
    thread.start()
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(serving.__aexit__(None, None, None))
        loop.close()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Give the port of an application that uses PostgreSQL and Redis."""
    with running(FULL) as found:
        yield found


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        [*EXPORTER, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=180, env=environment,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_it_writes_what_is_valid_and_says_what_comes_next(port: int, tmp_path: Path) -> None:
    done = run(tmp_path, "config", "init", f"http://127.0.0.1:{port}", "postgres://monitor@db/app", "redis://cache")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "wrote config/exporter.yml: 1 service and 2 dependencies",
        "put a password into secrets/postgres-password (mode 0600)",
        "next: hafnium-exporter check",
    ]
    validated = run(tmp_path, "config", "validate")
    assert validated.stdout == "config/exporter.yml: ok: 1 service, 2 dependencies\n"
    written = yaml.safe_load((tmp_path / "config" / "exporter.yml").read_text())
    assert written["services"]["case"]["depends_on"] == ["postgres", "redis"]
    assert [each.name for each in (tmp_path / "config").iterdir()] == ["exporter.yml"]


def test_what_is_there_stays_as_it_is(port: int, tmp_path: Path) -> None:
    file = tmp_path / "exporter.yml"
    file.write_text("mine")
    for output in (file, tmp_path / "link.yml"):
        if output != file:
            output.symlink_to(tmp_path / "nowhere")
        done = run(tmp_path, "config", "init", f"http://127.0.0.1:{port}", "--output", str(output))
        assert (done.returncode, done.stdout) == (3, "")
        assert "is there already and stays as it is" in done.stderr
    assert file.read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_a_dash_prints_and_writes_nothing(port: int, tmp_path: Path) -> None:
    done = run(tmp_path, "config", "init", f"http://127.0.0.1:{port}", f"http://localhost:{port}", "--output", "-")
    assert (done.returncode, done.stderr) == (0, "")
    assert yaml.safe_load(done.stdout)["services"]["case"]["instances"] == [f"127.0.0.1:{port}", f"localhost:{port}"]
    assert "case uses postgres, which nothing here probes" in done.stdout.replace("\n# ", " ")
    assert list(tmp_path.iterdir()) == []


def test_every_application_that_fails_is_named_and_nothing_is_written(port: int, tmp_path: Path) -> None:
    urls = [f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port}/nowhere", "http://127.0.0.1:1"]
    done = run(tmp_path, "config", "init", *urls)
    assert (done.returncode, done.stdout) == (3, "")
    assert "no actuator at /nowhere" in done.stderr
    assert "127.0.0.1:1 cannot be asked" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_at_a_terminal_it_asks_for_urls_and_for_what_services_use(port: int, tmp_path: Path) -> None:
    with Terminal([*EXPORTER, "config", "init"], tmp_path) as terminal:
        terminal.until("URL: ")
        terminal.enter(f"127.0.0.1:{port} mysql://db\n")
        terminal.until("mysql is no URL of what can be probed")
        terminal.enter("\n")
        terminal.until("case uses PostgreSQL; Spring does not tell where it is.")
        terminal.until("empty to leave it out: ")
        terminal.enter("postgres://monitor@db/app\n")
        terminal.until("case uses Redis")
        terminal.enter("\n")
        assert terminal.end() == 0, terminal.text
    assert "wrote config/exporter.yml: 1 service and 1 dependency" in terminal.text
    text = (tmp_path / "config" / "exporter.yml").read_text()
    assert yaml.safe_load(text)["services"]["case"]["depends_on"] == ["postgres"]
    assert "case uses redis, which nothing here probes" in text.replace("\n# ", " ")


def test_ctrl_c_while_it_asks_leaves_nothing(tmp_path: Path) -> None:
    with Terminal([*EXPORTER, "config", "init"], tmp_path) as terminal:
        terminal.until("URL: ")
        terminal.settle()
        terminal.enter("\x03")
        assert terminal.end() == 130
    assert "Traceback" not in terminal.text
    assert list(tmp_path.iterdir()) == []

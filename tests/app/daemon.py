"""The daemon as users run it: a process of its own, with a configuration file and a free port."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import yaml

from exporter.demo.ports import free_port
from exporter.demo.processes import descendants
from tests.scraped import Series, everything, only_one, samples_of
from tests.waiting import SLACK


def pid_of_exporter(started: int) -> int:
    """Return which is the exporter, of a process that was started and those that it started: the first of Python."""
    python = Path(sys.executable).resolve()
    for pid in (started, *descendants(started)):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/exe").readlink() == python:
                return pid
    return started


class Daemon:
    """`python -m exporter serve`.

    Attributes:
        wrap: What it is started by: a command that runs the one that follows, as `prlimit` does.
        environment: Its environment.
        named: How the command line names its configuration.
        working: Its working directory; None: that of the tests.
        log_to: What it writes its log to; None: its log file.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], *options: str, loop_port: int | None = None) -> None:
        self.options = options
        self.wrap: Sequence[str] = ()
        self.environment: Mapping[str, str] = {**os.environ, "PYTHONWARNINGS": "error"}
        self.named: str | None = None
        self.working: Path | None = None
        self.log_to: IO[bytes] | int | None = None
        self.port = loop_port or free_port()
        self.path = folder / "exporter.yml"
        self.log_path = folder / "exporter.log"
        self.write(config)
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, config: Mapping[str, Any]) -> None:
        """Write the configuration."""
        self.path.write_text(yaml.safe_dump({"server": {"listen": f"127.0.0.1:{self.port}"}, **config}))

    def start(self, *, ready: bool = True) -> None:
        """Start it, and wait until it is ready or at least answers."""
        self.launch()
        self.wait(lambda: self.status("/-/ready" if ready else "/-/healthy") == 200)

    def launch(self) -> None:
        """Start it, and wait for nothing."""
        serve = [sys.executable, "-m", "exporter", "serve", "--config", self.named or str(self.path)]
        command = ["setpriv", "--pdeathsig", "KILL", *self.wrap, *serve, "--web.enable-lifecycle", *self.options]
        with self.log_path.open("ab") as log:
            out = log if self.log_to is None else self.log_to
            self.process = subprocess.Popen(
                command, stdout=out, stderr=out, env=dict(self.environment), cwd=self.working, stdin=subprocess.DEVNULL
            )

    @property
    def pid(self) -> int:
        """The process of the exporter itself, whatever it was started by."""
        assert self.process is not None
        return pid_of_exporter(self.process.pid)

    def wait(self, condition: Any, seconds: float = 20.0) -> None:
        """Wait for something to become true, which on an idle machine takes less than these seconds."""
        deadline = time.monotonic() + SLACK * seconds
        while not condition():
            assert self.process is not None
            assert self.process.poll() is None, f"the daemon ended:\n{self.log}"
            assert time.monotonic() < deadline, f"not in time:\n{self.log}"
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; return its exit code."""
        assert self.process is not None
        os.kill(self.pid, number)
        return self.process.wait(20 * SLACK)

    @property
    def log(self) -> str:
        """What it logged."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def request(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        """Ask it; return status and body."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except OSError:
            return 0, b""

    def status(self, path: str) -> int:
        """Return the status of a path; 0 where nobody answers."""
        return self.request(path)[0]

    def metrics(self) -> Series:
        """Scrape it."""
        return everything(self.request("/metrics")[1])

    def value(self, name: str, **labels: str) -> float | None:
        """Return the one sample that has these labels, or None."""
        return only_one(samples_of(self.request("/metrics")[1], name, **labels), f"{name}{labels}")

    def api(self, path: str) -> Any:
        """Ask the JSON API."""
        return json.loads(self.request(path)[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

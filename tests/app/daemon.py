"""The daemon as users run it: a process of its own, with a configuration file and a free port."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from prometheus_client.parser import text_string_to_metric_families

from exporter.demo.ports import free_port
from tests.waiting import SLACK

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Daemon:
    """`python -m exporter serve`."""

    def __init__(self, folder: Path, config: Mapping[str, Any], *options: str, loop_port: int | None = None) -> None:
        self.options = options
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
        command = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "exporter", "serve", "--config", str(self.path)]
        command += ["--web.enable-lifecycle", *self.options]
        environment = {**os.environ, "PYTHONWARNINGS": "error"}
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        self.wait(lambda: self.status("/-/ready" if ready else "/-/healthy") == 200)

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
        self.process.send_signal(number)
        return self.process.wait(20 * SLACK)

    @property
    def log(self) -> str:
        """What it logged."""
        return self.log_path.read_text() if self.log_path.exists() else ""

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
        families = text_string_to_metric_families(self.request("/metrics")[1].decode())
        return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}

    def value(self, name: str, **labels: str) -> float | None:
        """Return the one sample that has these labels, or None."""
        found = [v for (n, have), v in self.metrics().items() if n == name and labels.items() <= dict(have).items()]
        assert len(found) <= 1, f"{name}{labels}: {len(found)} series"
        return found[0] if found else None

    def api(self, path: str) -> Any:
        """Ask the JSON API."""
        return json.loads(self.request(path)[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

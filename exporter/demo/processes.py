"""Child processes that cannot outlive their parent, and that can be stopped, paused and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

__all__ = ["Child", "StartError", "free_port", "free_ports"]

_OPEN_PORTS: set[int] = set()
"""Ports handed out by this process: the kernel may offer one again before its server listens."""


class StartError(RuntimeError):
    """A server did not start; the text says which, and what its log ends with."""


def free_port() -> int:
    """Return a loopback port that nobody listens on, and that was not handed out before."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in _OPEN_PORTS:
            _OPEN_PORTS.add(port)
            return port


def free_ports(count: int) -> list[int]:
    """Return several free ports."""
    return [free_port() for _ in range(count)]


class Child:
    """A child process with a log file. The kernel kills it when this process ends, however it ends.

    Args:
        name: What people call it.
        command: Program and arguments.
        log: File for its output, appended to.
        environment: Variables beside those of this process.
        as_nobody: Run in a user namespace as nobody if this process is root, for servers that refuse to run as root. Files
            stay owned by whoever started it, and no user has to exist.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        as_nobody: bool = False,
    ) -> None:
        self.name = name
        self._command = [*(nobody() if as_nobody else ()), "setpriv", "--pdeathsig", "KILL", "--", *map(str, command)]
        self._log = log
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def running(self) -> bool:
        """Whether it runs; a paused process does."""
        return self.pid is not None

    def start(self, ready: Callable[[], bool] | None = None, seconds: float = 30.0) -> None:
        """Start it, and wait until `ready` says so. Blocking.

        Raises:
            StartError: It could not be started, ended, or was not ready in time.
        """
        if self.running:
            raise StartError(f"{self.name} is running already")
        try:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **(self._environment or {})},
                    start_new_session=True,
                )
        except OSError as error:
            raise StartError(f"{self.name}: cannot start {self._command[0]}: {error.strerror}") from error
        deadline = time.monotonic() + seconds
        while ready is not None and not ready():
            if not self.running or time.monotonic() > deadline:
                how = "is not ready" if self.running else f"ended with code {self._process.returncode}"
                self.stop(0)
                raise StartError(f"{self.name} {how}; its log ends with:\n{self.log_tail()}")
            time.sleep(0.02)

    def stop(self, seconds: float = 5.0, number: int = signal.SIGTERM) -> None:
        """End it: ask, wait, then kill with everything it started. Blocking."""
        process, self._process = self._process, None
        if process is None:
            return
        self._paused = False
        family = [process.pid, *_descendants(process.pid)]
        if seconds and process.poll() is None:
            self._signal([process.pid], number)
            self._signal(family, signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
        if process.poll() is None:
            self._signal([*family, *_descendants(process.pid)], signal.SIGKILL)
        process.wait()

    def pause(self) -> None:
        """Stop it from running, with everything it started: connections stay open and nothing answers."""
        if self.pid is not None:
            self._signal([self.pid, *_descendants(self.pid)], signal.SIGSTOP)
            self._paused = True

    def resume(self) -> None:
        """Let it run again."""
        if self.pid is not None and self._paused:
            self._signal([self.pid, *_descendants(self.pid)], signal.SIGCONT)
            self._paused = False

    def log_tail(self, size: int = 1500) -> str:
        """Return the end of its log."""
        with contextlib.suppress(OSError):
            return self._log.read_bytes()[-size:].decode(errors="replace").strip()
        return ""

    @staticmethod
    def _signal(pids: Sequence[int], number: int) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def nobody() -> list[str]:
    """Return the prefix of a command that runs it as nobody, if this process is root."""
    return ["unshare", "--user", "--map-user=65534", "--map-group=65534", "--"] if os.geteuid() == 0 else []


def _descendants(pid: int) -> list[int]:
    """List children and their children: proc(5), task/*/children."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, path.read_text().split()):
                found += [child, *_descendants(child)]
    return found


def listens(host: str, port: int) -> bool:
    """Tell whether something accepts connections. Blocking, for up to a fifth of a second."""
    try:
        with socket.create_connection((host, port), timeout=0.2):
            return True
    except OSError:
        return False

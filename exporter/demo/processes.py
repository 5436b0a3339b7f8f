"""Child processes that cannot outlive their parent, and that can be stopped, paused and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from exporter.demo.ports import free_port, free_ports, listens  # for those who have always found them here

__all__ = ["Child", "ServerError", "StartError", "bound", "descendants", "free_port", "free_ports", "listens"]


class ServerError(RuntimeError):
    """A server does not do what it is asked to; the text says which, and why."""


class StartError(ServerError):
    """A server did not start; the text says which, and what its log ends with."""


class Child:
    """A child process with a log file. The kernel kills it when this process ends, however it ends.

    Args:
        name: What people call it.
        command: Program and arguments.
        log: File for its output, appended to.
        environment: Variables beside those of this process.
        as_nobody: Run as nobody if this process is root, for servers that refuse to run as root.
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
        self._command = bound(command, as_nobody=as_nobody)
        self._log = log
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._throttle: _Throttle | None = None

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        process = self._process  # `stop` may be called in another thread
        return process.pid if process is not None and process.poll() is None else None

    @property
    def running(self) -> bool:
        """Whether it runs; a paused process does."""
        return self.pid is not None

    @property
    def failed(self) -> bool:
        """Whether it has ended although nobody ended it."""
        process = self._process
        return process is not None and process.poll() is not None

    def start(self, ready: Callable[[], bool] | None = None, seconds: float = 30.0) -> None:
        """Start it, and wait until `ready` says so. Blocking.

        Raises:
            StartError: It could not be started, ended or was stopped meanwhile, or was not ready in time.
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
        if ready is not None:
            self.await_ready(ready, seconds)

    def await_ready(self, ready: Callable[[], bool], seconds: float = 30.0) -> None:
        """Wait until `ready` says so. Blocking.

        Raises:
            StartError: It ended or was stopped meanwhile, or was not ready in time.
        """
        process = self._process
        deadline = time.monotonic() + seconds
        while not ready():
            if process is None or self._process is not process:
                raise StartError(f"{self.name} was stopped while it started")
            if process.poll() is not None or time.monotonic() > deadline:
                how = "is not ready" if process.returncode is None else f"ended with code {process.returncode}"
                self.stop(0)
                raise StartError(f"{self.name} {how}; its log ends with:\n{self.log_tail()}")
            time.sleep(0.02)

    def stop(self, seconds: float = 5.0, number: int = signal.SIGTERM) -> None:
        """End it: ask, wait, then kill what is left of it and of what it started. Blocking; any thread may call it."""
        process, self._process = self._process, None
        self._unthrottle()
        if process is None:
            return
        family = [process.pid, *descendants(process.pid)]
        if seconds and process.poll() is None:
            self._signal([process.pid], number)
            self._thaw(family)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
        if process.poll() is None:
            self._signal([*family, *descendants(process.pid)], signal.SIGKILL)
        process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # children that it left behind are still in its group
        self._thaw(())

    def pause(self) -> None:
        """Stop it from running, with everything it started: connections stay open and nothing answers."""
        pid = self.pid
        if pid is None or self._guard is not None:
            return
        frozen: set[int] = set()
        while more := {pid, *descendants(pid)} - frozen:  # until none was born meanwhile
            self._signal(more, signal.SIGSTOP)
            frozen |= more
        self._guard = _guard(frozen)

    def throttle(self, stopped: float, running: float) -> None:
        """Let it run in turns only, as a container does that has used up its share of the CPU: it answers, but late.

        Args:
            stopped: Seconds of each turn in which it does not run.
            running: Seconds in which it does.
        """
        if self._throttle is None:
            self._throttle = _Throttle(self, stopped, running)

    def resume(self) -> None:
        """Let it run again."""
        self._unthrottle()
        self.thaw()

    def thaw(self) -> None:
        """End a pause; a throttle goes on."""
        if self.pid is not None and self._guard is not None:
            self._thaw([self.pid, *descendants(self.pid)])

    def log_tail(self, size: int = 1500) -> str:
        """Return the end of its log."""
        with contextlib.suppress(OSError):
            return self._log.read_bytes()[-size:].decode(errors="replace").strip()
        return ""

    def _unthrottle(self) -> None:
        throttle, self._throttle = self._throttle, None
        if throttle is not None:
            throttle.end()

    def _thaw(self, pids: Iterable[int]) -> None:
        self._signal(pids, signal.SIGCONT)
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.communicate()

    @staticmethod
    def _signal(pids: Iterable[int], number: int) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


class _Throttle:
    """Pauses a child and lets it go on, in turns, in a thread of its own."""

    def __init__(self, child: Child, stopped: float, running: float) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(child, stopped, running), name="throttle", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Let the child run for good."""
        self._over.set()
        self._thread.join()

    def _run(self, child: Child, stopped: float, running: float) -> None:
        while child.running and not self._over.is_set():
            child.pause()
            self._over.wait(stopped)
            child.thaw()
            self._over.wait(running)


def bound(command: Iterable[str | Path], *, as_nobody: bool = False) -> list[str]:
    """Return a command that the kernel ends when its parent ends, and that runs as nobody if root calls it and asks so."""
    return [*(_nobody() if as_nobody else ()), "setpriv", "--pdeathsig", "KILL", "--", *map(str, command)]


def _nobody() -> Sequence[str]:
    if os.geteuid() != 0:
        return ()
    if _namespaces_allowed():
        return _NAMESPACE
    return _SETUID


_NAMESPACE = ("unshare", "--user", "--map-user=65534", "--map-group=65534", "--")
"""Nobody inside, root outside: files stay owned by whoever started it, below a folder of root's too."""

_SETUID = (
    "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
    "--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override", "--",
)  # fmt: skip
"""For containers that forbid user namespaces. The one capability kept lets it reach files below a folder of root's."""


@cache
def _namespaces_allowed() -> bool:
    try:
        return subprocess.run([*_NAMESPACE, "true"], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def _guard(pids: Iterable[int]) -> subprocess.Popen[bytes]:
    """Start a shell that lets stopped processes go on when its input is closed: on `resume`, or because this process ended.

    The kernel kills a child of this process, but not its children. They end when they see that their parent has, which they
    cannot while they are stopped.
    """
    return subprocess.Popen(
        ["sh", "-c", 'read -r _; kill -CONT "$@"', "guard", *map(str, pids)],  # noqa: S607 - POSIX has it on the PATH
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def descendants(pid: int) -> list[int]:
    """List children and their children: proc(5), task/*/children."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, path.read_text().split()):
                found += [child, *descendants(child)]
    return found

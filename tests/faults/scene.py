"""What a fault is played in: a daemon of its own, targets of which the truth is known, and a watch over what it tells."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import IO, Any

from bench.processes import started
from exporter.demo.ports import free_port, listens
from exporter.demo.servers.valkey import ValkeyServer
from tests.app.daemon import Daemon
from tests.faults.model import Wrong
from tests.soak.scrapes import Counters, Scrape
from tests.waiting import SLACK, until

__all__ = ["DEAD", "IN_NAMESPACE", "WELL", "Scene", "Targets", "Watch", "targets"]

WELL = ("alpha", "beta", "gamma", "cache")
"""Services that are up all the time."""
DEAD = "dead"
"""A service that is down all the time."""

PACE = {"interval": "1s", "timeout": "1s", "recheck_interval": "250ms", "confirm": {"failures": 3}}
"""Three failures of a second each: a target that a busy machine keeps from answering for a moment is not told down."""

IN_NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount", "--propagation", "private", "--", "sh", "-euc")
"""Runs a shell command where it may mount what it likes, without being root outside; its `$0` and arguments follow."""

_EVERY = 0.2


class Targets:
    """Targets of which the truth is known: actuators on several addresses, a Valkey, and a port on which nobody listens."""

    def __init__(self, folder: Path, actuators: int, valkey: ValkeyServer) -> None:
        self.folder = folder
        self.actuators = actuators
        self.valkey = valkey
        self.closed = free_port()

    def config(self, **more: Any) -> dict[str, Any]:
        """Return a configuration that probes them; what is given is merged into its sections."""
        probes: dict[str, Any] = {"probes": {"actuator": {}}}
        services: dict[str, Any] = {
            name: {"instances": [f"127.0.0.{number}:{self.actuators}"], **probes} for number, name in enumerate(WELL[:3], 2)
        }
        services[DEAD] = {"instances": [f"127.0.0.1:{self.closed}"], **probes}
        made: dict[str, Any] = {
            "defaults": PACE,
            "dependencies": {WELL[3]: {"instances": [self.valkey.address], "probes": {"redis": {}}}},
            "services": services,
        }
        for section, content in more.items():
            made[section] = {**made.get(section, {}), **content}
        return made


@contextmanager
def targets(folder: Path) -> Iterator[Targets]:
    """Run the targets."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [sys.executable, "-m", "bench.actuators", "--everywhere", str(port)]
    with started(command, folder / "actuators.log"), ValkeyServer(folder / "valkey") as valkey:
        until(lambda: listens("127.0.0.2", port), 20, "the actuators listen")
        yield Targets(folder, port, valkey)


class Watch:
    """Scrapes all the time, and holds every answer to what must be true of each, whatever goes wrong.

    A service that is up is never told down, nor the dead one up; the exporter's own counters only grow; there is no defect.
    """

    def __init__(self, port: int) -> None:
        self.problems: list[str] = []
        self.scrapes = 0
        self.worst = 0.0
        self.last: Scrape | None = None
        self.defects_allowed = False
        self._port = port
        self._counters = Counters()
        self._answered = time.monotonic()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> None:
        """End, after the scrape that is under way."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def restarted(self) -> None:
        """Take in that the process is another."""
        with self._lock:
            self._counters.restarted()

    def forgive(self) -> None:
        """Begin to measure the gap between answers anew."""
        self.worst, self._answered = 0.0, time.monotonic()

    def scrape(self) -> Scrape | None:
        """Scrape once; None where there is no answer."""
        at = time.monotonic()
        connection = HTTPConnection("127.0.0.1", self._port, timeout=5 * SLACK)
        try:
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            text = answer.read().decode()
        except OSError:
            return None
        finally:
            connection.close()
        return Scrape.of(at, text) if answer.status == 200 else None

    def _run(self) -> None:
        while not self._over.is_set():
            with self._lock:
                try:
                    scrape = self.scrape()
                except Exception as error:  # an answer that is none
                    self._complain(f"a scrape that is none: {type(error).__name__}: {error}")
                    scrape = None
                if scrape is not None:
                    self._take(scrape)
            self._over.wait(_EVERY)

    def _take(self, scrape: Scrape) -> None:
        now = time.monotonic()
        self.worst, self._answered = max(self.worst, now - self._answered), now
        self.scrapes += 1
        self.last = scrape
        for name in WELL:
            if 0 in scrape.values("probe_success", service=name) or 0 in scrape.values("probe_service_up", service=name):
                self._complain(f"{name} was told down, and was up")
        if 1 in scrape.values("probe_success", service=DEAD) or 1 in scrape.values("probe_service_up", service=DEAD):
            self._complain("the dead service was told up")
        for text in self._counters.take(scrape):
            self._complain(text)
        if not self.defects_allowed and scrape.total("probe_exporter_defects_total"):
            self._complain("a defect was counted")

    def _complain(self, text: str) -> None:
        if text not in self.problems:
            self.problems.append(text)


class Scene:
    """One fault's own daemon, before its targets.

    Args:
        folder: Where it keeps its files.
        targets: What it probes.
        long: Whether there is time to wait as long as the row in the documentation says.
    """

    def __init__(self, folder: Path, targets: Targets, *, long: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.targets = targets
        self.long = long
        self.stack = ExitStack()
        self.daemon = Daemon(folder, targets.config())
        self.watch = Watch(self.daemon.port)
        self.traceback_allowed = False

    def start(
        self,
        *,
        wrap: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
        options: Sequence[str] = (),
        log_to: IO[bytes] | int | None = None,
        settled: bool = True,
    ) -> None:
        """Start the daemon and the watch, and wait until every verdict is right."""
        daemon = self.daemon
        daemon.wrap, daemon.options, daemon.log_to = wrap, tuple(options), log_to
        if environment is not None:
            daemon.environment = environment
        if config is not None:
            daemon.write(config)
        daemon.launch()
        self.watch.start()
        if settled:
            self.settled()

    def settled(self, seconds: float = 20.0) -> None:
        """Wait until every verdict is right, and it says that it is ready.

        Raises:
            Wrong: That was not in time, or it ended.
        """
        try:
            self.wait(self._is_right, seconds, "every verdict is right again")
        except Wrong as error:
            raise Wrong(f"{error}; {self._told()}") from None
        self.wait(lambda: self.daemon.status("/-/ready") == 200, seconds, "it is ready")

    def _is_right(self) -> bool:
        scrape = self.watch.scrape()
        if scrape is None:
            return False
        told = [scrape.values("probe_success", service=name) for name in (*WELL, DEAD)]
        return told == [[1], [1], [1], [1], [0]]

    def _told(self) -> str:
        """Say what it tells instead."""
        scrape = self.watch.last
        if scrape is None:
            return "it was never scraped"
        unknown = [
            name.partition("{")[2] for service in (*WELL, DEAD) for name, _ in scrape.find("probe_unknown", service=service)
        ]
        lag = scrape.total("probe_exporter_loop_lag_seconds")
        return f"{self.watch.scrapes} scrapes, unknown are {unknown}, the loop stood still for {lag:.2f} s"

    def wait(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        """Wait for what takes less than these seconds on an idle machine.

        Raises:
            Wrong: It did not become true in time, or the daemon ended.
        """
        deadline = time.monotonic() + SLACK * seconds
        while not condition():
            process = self.daemon.process
            if process is not None and process.poll() is not None:
                raise Wrong(f"it ended with {process.returncode}, before {what}")
            if time.monotonic() > deadline:
                raise Wrong(f"not within {SLACK * seconds:g} s: {what}")
            time.sleep(0.05)

    def says(self, text: str, seconds: float = 10.0) -> None:
        """Wait until its log has a text."""
        self.wait(lambda: text in self.daemon.log, seconds, f"the log says {text!r}")

    def holds(self, condition: object, what: str) -> None:
        """Demand something.

        Raises:
            Wrong: It does not hold.
        """
        if not condition:
            raise Wrong(what)

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of the first series of a name that has these labels."""
        scrape = self.watch.scrape()
        return next(iter(scrape.values(name, **labels)), None) if scrape is not None else None

    def watched(self, seconds: float) -> None:
        """Let so many seconds pass; fewer where there is no time."""
        time.sleep(seconds if self.long else min(seconds, 3.0))

    def send(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.daemon.pid, number)

    def reload(self) -> int:
        """Have it reload; return the status."""
        return self.daemon.request("/-/reload", "POST")[0]

    def ends(self, expected: int = 0, number: int = signal.SIGTERM) -> None:
        """End it by a signal.

        Raises:
            Wrong: It did not end, or with another code.
        """
        self.watch.end()
        try:
            code = self.daemon.stop(number)
        except Exception as error:
            raise Wrong("it does not end") from error
        self.holds(code == expected, f"it ended with {code} and not with {expected}")

    def close(self) -> None:
        """End everything, whatever happened."""
        self.watch.end()
        self.stack.close()
        process = self.daemon.process
        if process is not None and process.poll() is None:
            self.send(signal.SIGKILL)
            process.kill()
            process.wait()

"""What an exporter tells of a fleet on all of its surfaces: metrics, verdicts, the status page, and `check` beside it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from typing import Any

import yaml

from tests.app.daemon import Daemon
from tests.waiting import SLACK

EXIT = {"up": 0, "degraded": 1, "down": 2, "unknown": 3}
"""Exit code of `check` by the state of the one service that it is asked for."""

_SERVICE_UP = {"up": 1.0, "degraded": 1.0, "down": 0.0, "unknown": None}

PATIENT = {"interval": "20s", "timeout": "20s"}
"""Deadlines of `check` on a machine that is busy; the daemon's attempts are as short as tests want them."""


@dataclass(frozen=True)
class Checked:
    """What `check` printed for one service.

    Attributes:
        exit_code: Its exit code.
        found: The service, as in its JSON.
    """

    exit_code: int
    found: Mapping[str, Any]

    @property
    def notes(self) -> str:
        """What it says is wrong."""
        return "; ".join(self.found["notes"])

    def up(self, probe: str) -> int:
        """Return how many targets of a probe are up."""
        return sum(each["probe"] == probe and each["verdict"] == "up" for each in self.found["targets"])


class Watched:
    """A daemon, and a person who asks it and runs `check` with the same configuration."""

    def __init__(self, daemon: Daemon, config: Mapping[str, Any]) -> None:
        self.daemon = daemon
        self._check = daemon.path.parent / "check.yml"
        self._check.write_text(yaml.safe_dump({**config, "defaults": {**config["defaults"], **PATIENT}}))

    def value(self, name: str, **labels: str) -> float | None:
        """Return the one sample that has these labels, or None."""
        return self.daemon.value(name, **labels)

    def service(self, name: str) -> dict[str, Any]:
        """Return a service as the JSON API has it."""
        found: dict[str, Any] = self.daemon.api(f"/api/v1/services/{name}")
        return found

    def targets(self, service: str, probe: str) -> dict[str, dict[str, Any]]:
        """Return the targets of one probe by their names."""
        return {each["target"]: each for each in self.service(service)["targets"] if each["probe"] == probe}

    def target(self, service: str, probe: str = "kubernetes") -> dict[str, Any]:
        """Return the only target of a probe."""
        (found,) = self.targets(service, probe).values()
        return found

    def page(self, path: str) -> str:
        """Return what a page says, in one line."""
        html = self.daemon.request(path)[1].decode()
        return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", html)))

    def check(self, service: str) -> Checked:
        """Run `check` for one service."""
        command = [sys.executable, "-m", "exporter", "check", "--config", str(self._check), "--output", "json"]
        done = subprocess.run(
            [*command, "--timeout", "20s", service], capture_output=True, text=True, check=False, timeout=60 * SLACK
        )
        assert done.stdout, done.stderr
        return Checked(done.returncode, json.loads(done.stdout)["services"][0])

    def until(self, complaints: Callable[[], Iterable[str]], what: str, seconds: float = 15.0) -> None:
        """Wait until nothing is wrong any more, which on an idle machine takes less than these seconds."""
        deadline = time.monotonic() + SLACK * seconds
        while found := list(complaints()):
            assert time.monotonic() < deadline, f"{what}: not within {SLACK * seconds:g} s: {'; '.join(found)}"
            time.sleep(0.1)

    def until_metrics(self, wanted: Mapping[str, float | None], what: str, seconds: float = 15.0, **labels: str) -> None:
        """Wait until metrics have these values, such as `{"probe_kubernetes_pods{phase=running}": 2}`; None: no such series.

        Args:
            wanted: The values.
            what: What is being waited for.
            seconds: How long that takes.
            labels: That all of them have.
        """

        def complaints() -> Iterator[str]:
            scrape = self.daemon.metrics()
            for series, value in wanted.items():
                name, _, own = series.rstrip("}").partition("{")
                chosen = labels | dict(part.split("=", 1) for part in own.split(",") if part)
                found = [one for (n, have), one in scrape.items() if n == name and chosen.items() <= dict(have).items()]
                if found != ([] if value is None else [value]):
                    yield f"{series} is {found}, not {value}"

        self.until(complaints, what, seconds)

    def until_told(self, service: str, state: str, *words: str, seconds: float = 15.0, check: str | None = None) -> Checked:
        """Wait until metrics, verdicts, page and `check` say the same of a service, and say all these words of why.

        Args:
            service: Which.
            state: `up`, `degraded`, `down` or `unknown`.
            words: What people must be told on the page of the service, and by `check`.
            seconds: How long it takes until the daemon says it.
            check: What `check` finds, where that is something else, since it knows nothing of what was before.

        Returns:
            What `check` said.
        """
        self.until(lambda: self._daemon_complaints(service, state, words), f"{service} is {state}", seconds)
        said: list[Checked] = []

        def complaints() -> Iterator[str]:
            said.append(self.check(service))
            yield from _check_complaints(said[-1], check or state, words)

        self.until(complaints, f"check says that {service} is {check or state}", seconds=30)
        return said[-1]

    @contextmanager
    def throughout(self, what: str, complaints: Callable[[], Iterable[str]]) -> Iterator[None]:
        """Look again and again for as long as the block lasts; fail with the first thing that was wrong."""
        ended, found = threading.Event(), list[str]()

        def look() -> None:
            while not ended.wait(0.1):
                try:
                    found.extend(complaints())
                except Exception as error:
                    found.append(repr(error))

        thread = threading.Thread(target=look, name=what)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(60)
        assert not found, f"{what}: {found[0]} ({len(found)} times)"

    def _daemon_complaints(self, service: str, state: str, words: Iterable[str]) -> Iterator[str]:
        told, up = self.service(service), self.value("probe_service_up", service=service)
        if up != _SERVICE_UP[state]:
            yield f"probe_service_up is {up}"
        if told["state"] != state:
            yield f"its state is {told['state']}"
        page = self.page(f"/services/{service}")
        if f"{service}: {state} " not in page:
            yield f"the page says: {page[:40]}"
        for word in words:
            if word not in page:
                yield f"the page does not say {word!r}: {page}"


def _check_complaints(said: Checked, state: str, words: Iterable[str]) -> Iterator[str]:
    if said.exit_code != EXIT[state]:
        yield f"its exit code is {said.exit_code}: {said.notes}"
    verdict = "up" if state == "degraded" else state
    if said.found["verdict"] != verdict or said.found["degraded"] is not (state == "degraded"):
        yield f"it says {said.found['verdict']}, degraded: {said.found['degraded']}"
    for word in words:
        if word not in said.notes:
            yield f"it does not say {word!r}: {said.notes}"

"""A soak: the fleet, the users, the samples, and the verdict over them."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.soak.exporter import SoakedExporter
from tests.soak.fleet import WITNESS, soaked_fleet
from tests.soak.scrapes import Counters, Scrape
from tests.soak.trend import growth
from tests.soak.users import PATIENCE, User, ask

__all__ = ["ATTEMPTS_OF_A_DAY", "Report", "Sample", "judge", "soak"]

ATTEMPTS_OF_A_DAY = 5760
"""Attempts on a target in a day, at the shipped interval of 15 s."""

_SHORT = 300.0
"""Seconds below which a soak is one that fills its caches still: it tells leaks that are fast."""

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Sample:
    """What the process had at a moment.

    Attributes:
        at: When, by a monotonic clock.
        memory: Resident bytes.
        descriptors: Open file descriptors.
        threads: Threads.
        tasks: Tasks of its event loop, as it tells.
        series: Series of the scrape.
    """

    at: float
    memory: float
    descriptors: float
    threads: float
    tasks: float
    series: float


QUANTITIES = ("memory", "descriptors", "threads", "tasks", "series")


def tolerances(seconds: float, samples: Sequence[Sample]) -> Mapping[str, float]:
    """Return by how much each quantity may grow from the end of the warm-up to the end of the soak.

    Series and tasks come and go with targets, so theirs is a share of what there is.
    """
    series, tasks = (median(getattr(each, name) for each in samples) for name in ("series", "tasks"))
    short = seconds < _SHORT  # and then what fills in the beginning is still filling
    return {
        "memory": (24 if short else 8) * _MIB,
        "descriptors": 20.0 if short else 10.0,
        "threads": 4.0 if short else 2.0,
        "tasks": max(10.0, tasks / (3 if short else 10)),
        "series": series / (3 if short else 10),
    }


def warmed_up(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Leave out the first two minutes, or the first two fifths of a short soak."""
    whole = samples[-1].at - samples[0].at if samples else 0.0
    return [each for each in samples if each.at - samples[0].at >= min(120.0, 0.4 * whole)]


def judge(samples: Sequence[Sample]) -> list[str]:
    """Return what has grown beyond its tolerance, for people."""
    if len(samples) < 8:
        return [f"only {len(samples)} samples: nothing can be told of what grows"]
    warm = warmed_up(samples)
    most = tolerances(samples[-1].at - samples[0].at, warm)
    grown = {name: growth([(each.at, getattr(each, name)) for each in warm]) for name in QUANTITIES}
    return [f"{name} grew by {by:,.0f}, and may by {most[name]:,.0f}" for name, by in grown.items() if by > most[name]]


@dataclass(slots=True)
class Report:
    """What came of a soak.

    Attributes:
        seconds: How long it took.
        samples: One for each scrape.
        problems: What was not right; none if all was.
        done: How often each thing was done.
        attempts: Attempts, all together.
        steadiest: Attempts on the target that was there all the time and had most.
    """

    seconds: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)
    attempts: int = 0
    steadiest: int = 0

    @property
    def days(self) -> float:
        """Days at the shipped interval in which as many attempts are made on a target."""
        return self.steadiest / ATTEMPTS_OF_A_DAY

    def add(self, problems: Iterable[str]) -> None:
        """Note what is not right, each thing once."""
        self.problems += [each for each in dict.fromkeys(problems) if each not in self.problems]


class _Scraper:
    """Scrapes, samples, and holds each scrape to what must be true of all."""

    def __init__(self, exporter: SoakedExporter, report: Report) -> None:
        self._exporter = exporter
        self._process = exporter.process
        self._counters = Counters()
        self._report = report
        self.last: bytes = b""
        self.longest = 0.0
        self._answered: float | None = None

    def scrape(self) -> int:
        """Scrape once; return the status."""
        at = time.monotonic()
        status, body = ask(self._exporter.port, "/metrics")
        if status != 200:
            return status
        now = time.monotonic()
        self.longest = max(self.longest, now - (self._answered if self._answered is not None else now))
        self._answered, self.last = now, body
        scrape = Scrape.of(at, body.decode())
        self._report.add(self._counters.take(scrape))
        self._report.add(self._untrue(scrape))
        tasks = scrape.total("probe_exporter_tasks")
        if tasks:
            process = self._process
            self._report.samples.append(
                Sample(at, process.memory(), process.descriptors(), process.threads(), tasks, len(scrape.series))
            )
        return status

    def _untrue(self, scrape: Scrape) -> Iterable[str]:
        if scrape.total("probe_exporter_defects_total"):
            yield "a defect was counted: the log has it"
        if 0 in scrape.values("probe_success", service=WITNESS) or 0 in scrape.values("probe_service_up", service=WITNESS):
            yield f"{WITNESS} was told down, and was up"


async def soak(folder: Path, seconds: float, seed: int = 1, environment: Mapping[str, str] | None = None) -> Report:
    """Soak the exporter for so many seconds.

    Args:
        folder: Where everything keeps its files.
        seconds: How long, once all is up.
        seed: Which faults come in which order.
        environment: Variables for the exporter beside those of this process.

    Raises:
        ServerError: A server of the fleet does not start.
    """
    report = Report()
    async with soaked_fleet(folder, seed, environment or {}) as fleet:
        exporter = fleet.exporter
        scraper = _Scraper(exporter, report)
        users = _users(exporter, scraper, fleet.turn)
        began = time.monotonic()
        breaking = asyncio.create_task(fleet.break_things())
        for user in users:
            user.start()
        try:
            await asyncio.wait({breaking}, timeout=seconds)
        finally:
            report.seconds = time.monotonic() - began
            for user in users:
                await asyncio.to_thread(user.end)
            breaking.cancel()
            [broken] = await asyncio.gather(breaking, return_exceptions=True)
        if isinstance(broken, Exception):
            report.add([f"the soak's own faults ended: {broken}"])
        await asyncio.to_thread(_conclude, exporter, scraper, users, report)
        report.done["faults of targets"] = sum(fleet.faults.values())
        report.done["kinds of faults"] = len(fleet.faults)
        report.done["connections to the flapping target"] = fleet.flapper.served
    return report


def _users(exporter: SoakedExporter, scraper: _Scraper, turn: Callable[[], None]) -> list[User]:
    port = exporter.port
    pages = itertools.cycle(
        ("/", "/?service=identity", "/api/v1/services", "/api/v1/targets", "/api/v1/services/case", "/-/ready")
    )
    asked = itertools.cycle(("service=redis&probe=redis", "service=kafka&probe=kafka", "service=flapping-tls&probe=tls"))

    def reload() -> int:
        turn()
        return ask(port, "/-/reload", "POST")[0]

    return [
        User("scrape", 1.0, scraper.scrape),
        User("page", 0.5, lambda: ask(port, next(pages))[0], frozenset({200, 404, 503})),
        User("probe on demand", 2.0, lambda: ask(port, f"/probe?{next(asked)}")[0]),
        User("reload", 1.0, reload, frozenset({200, 400})),
    ]


def _conclude(exporter: SoakedExporter, scraper: _Scraper, users: Iterable[User], report: Report) -> None:
    """See how it stands at the end, and end it."""
    for user in users:
        report.done[user.name] = user.times
        report.add(user.failures)
    if scraper.longest > PATIENCE:
        report.add([f"a gap of {scraper.longest:.1f} s between scrapes"])
    checked = subprocess.run(["promtool", "check", "metrics"], input=scraper.last, capture_output=True, check=False)
    if checked.returncode:
        report.add([f"promtool: {(checked.stdout + checked.stderr).decode()[:300]}"])
    last = Scrape.of(0.0, scraper.last.decode())
    report.attempts = int(last.total("probe_latency_seconds_count"))
    each = ("postgres", "redis", "kafka", "keycloak")
    report.steadiest = max(int(last.total("probe_latency_seconds_count", service=name)) for name in each)
    report.add(judge(report.samples))
    exporter.stop()
    if "Traceback" in exporter.log:
        report.add(["there is a traceback in the log"])
    if "stopped; " not in exporter.log:
        report.add(["it did not end by itself at SIGTERM"])

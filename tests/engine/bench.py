"""An engine whose probes and sources do what a test says, on a fake clock, and what it exports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from exporter.config.document import parse_document
from exporter.config.loader import validate
from exporter.config.models import Config, Instances
from exporter.discovery import source_of
from exporter.discovery.source import Discovered, Instance, Report, Source
from exporter.engine.engine import Engine
from exporter.engine.targets import Wanted
from exporter.metrics.store import Store
from exporter.net.http import HttpClient
from exporter.net.resolver import Resolver
from exporter.probes import probe_types
from exporter.probing.attempt import Attempt
from exporter.probing.probe import Probe, ProbeSettings, Scope, SharedClients, Target
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage

Play = Callable[[Attempt], Awaitable[None]]


async def up(attempt: Attempt) -> None:
    """Come out up."""


async def down(attempt: Attempt) -> None:
    """Come out down."""
    raise Failure(Stage.CONNECT, Reason.CONNECT_REFUSED, "as the test says")


async def unknown(attempt: Attempt) -> None:
    """Come out unknown."""
    raise Failure(Stage.AUTH, Reason.AUTH, "as the test says")


async def broken(attempt: Attempt) -> None:
    """Raise what nobody knows."""
    raise ZeroDivisionError("a defect")


async def hang(attempt: Attempt) -> None:
    """Answer never."""
    attempt.stage = Stage.WAIT
    await asyncio.sleep(3600)


class Played(Probe[ProbeSettings]):
    """A probe that does what its bench says of its target at the moment."""

    kind = "played"
    settings_type = ProbeSettings
    retargets = False

    def __init__(self, target: Target, settings: ProbeSettings, bench: Bench) -> None:
        super().__init__(target, settings, bench.shared)
        self.bench = bench
        self.closed = False

    async def check(self, attempt: Attempt) -> None:
        if self.closed:
            self.bench.violations.append(f"{self.target}: a probe that was closed is used")
        self.bench.attempts.append((asyncio.get_running_loop().time(), self.target))
        await self.bench.plays.get(self.target.name, self.bench.play)(attempt)
        if self.closed:
            self.bench.violations.append(f"{self.target}: a probe was closed while it was in use")

    def retarget(self, target: Target) -> bool:
        if self.retargets:
            self.target = target
        return self.retargets

    async def close(self) -> None:
        self.closed = True


class PlayedOfService(Played):
    """The same for probes that have a service as a whole for their target; it takes new addresses in."""

    scope = Scope.SERVICE
    retargets = True


class PlayedSource:
    """A source that says what its bench makes it say."""

    def __init__(self, name: str, bench: Bench) -> None:
        self.name = name
        self.bench = bench

    async def run(self, report: Report) -> None:
        self.bench.reports[self.name] = report
        found = self.bench.names.get(self.name)
        if found is not None:
            report(found)
        self.bench.ends[self.name] = asyncio.Event()
        await self.bench.ends[self.name].wait()
        raise ZeroDivisionError("a source with a defect")


def at(*hosts: str, port: int = 1) -> Discovered:
    """Say that these are the instances."""
    return Discovered(tuple(Instance.at(Address(host, port)) for host in hosts))


def failed(*hosts: str) -> Discovered:
    """Say that nobody can tell, and that these were known last."""
    return Discovered(at(*hosts).instances, Failure(Stage.RESOLVE, Reason.PROBER_DNS, "as the test says"))


def config(text: str) -> Config:
    """Read a configuration."""
    return validate(parse_document(text, "exporter.yml", {}))


class Bench:
    """The engine and its surroundings.

    Attributes:
        plays: What the probe of a target does, by the target's name; `play` where nothing is said.
        names: What the source of a DNS name says when it begins; `say` makes it say more.
        attempts: When which target was probed.
        built: Every probe that was made.
        ends: Set to make the source of a name raise.
        unbuildable: Names of targets whose probes cannot be made.
        violations: What probes saw that must not be.
    """

    def __init__(self) -> None:
        self.plays: dict[str, Play] = {}
        self.play: Play = up
        self.names: dict[str, Discovered] = {}
        self.reports: dict[str, Report] = {}
        self.ends: dict[str, asyncio.Event] = {}
        self.violations: list[str] = []
        self.attempts: list[tuple[float, Target]] = []
        self.built: list[Played] = []
        self.unbuildable: set[str] = set()
        self.store = Store()
        resolver = Resolver()
        self.shared = SharedClients(HttpClient(resolver), resolver)
        self.engine = Engine(
            self.store, self.shared, Config().limits, make_probe=self._make_probe, make_source=self._make_source
        )
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Run the engine's tasks, but for the one that measures stalls: a fake clock has none, and it wakes often."""
        tasks = self.engine.tasks()
        tasks.pop("loop lag").close()
        self._tasks = [asyncio.create_task(work, name=name) for name, work in tasks.items()]

    async def stop(self) -> None:
        """End everything."""
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.engine.drain(0.01)
        await self.engine.close()
        await self.shared.close()
        assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended
        assert all(probe.closed for probe in self.built), "a probe was left open"

    def stall(self) -> None:
        """Let no attempt begin any more."""
        next(task for task in self._tasks if task.get_name() == "scheduler").cancel()

    async def configure(self, text: str) -> None:
        """Put a configuration to use."""
        wanted = config(text)
        await self.engine.check(wanted)
        self.engine.configure(wanted)
        await self.engine.settled()

    async def say(self, name: str, found: Discovered) -> None:
        """Make the source of a DNS name report."""
        self.names[name] = found
        self.reports[name](found)
        await self.engine.settled()

    def lines(self, start: str) -> list[str]:
        """Return the exported series that start like this."""
        text = self.store.render(openmetrics=False).decode()
        return [line for line in text.splitlines() if line.startswith(start)]

    def values(self, family: str, label: str = "target") -> dict[str, float]:
        """Return one family by one of its labels."""
        found = {}
        for line in self.lines(f"{family}{{"):
            text, _, value = line.rpartition(" ")
            found[text.partition(f'{label}="')[2].partition('"')[0]] = float(value)
        return found

    def defects(self) -> Mapping[str, float]:
        """Return where there were defects."""
        return {where: count for where, count in self.values("probe_exporter_defects_total", "where").items() if count}

    def _make_probe(self, wanted: Wanted, _: SharedClients) -> Played:
        from exporter.config.errors import ConfigError, Problem  # noqa: PLC0415 - used here alone

        if wanted.target.name in self.unbuildable:
            raise ConfigError([Problem(str(wanted.target), 0, 0, "", "as the test says")])
        of_service = probe_types()[wanted.target.probe].scope is Scope.SERVICE
        probe = (PlayedOfService if of_service else Played)(wanted.target, wanted.settings, self)
        self.built.append(probe)
        return probe

    def _make_source(self, settings: Instances, shared: SharedClients) -> Source:
        return PlayedSource(settings.dns, self) if settings.dns is not None else source_of(settings, shared)


@asynccontextmanager
async def running() -> AsyncIterator[Bench]:
    """Run an engine."""
    bench = Bench()
    bench.start()
    try:
        yield bench
    finally:
        await bench.stop()

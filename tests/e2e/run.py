"""Runs rows: those of services side by side in one stack, others alone in theirs, several stacks at once."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from exporter.demo.servers.springboot import SERVICES
from tests.e2e.judge import Result, judge
from tests.e2e.row import Row, filled
from tests.e2e.scene import Scene
from tests.e2e.stack import Stack, running_stack

__all__ = ["run_rows", "waves"]

Told = Callable[[Result], None]
_SPARE = SERVICES[1:-1]
"""Services of which one may be broken beside others: none but the facade needs them, and Keycloak they do not need."""


@dataclass
class Wave:
    """Rows that go on at the same time in one stack, each with services of its own."""

    rows: list[Row] = field(default_factory=list)

    def takes(self, row: Row) -> bool:
        """Tell whether a row fits in: there are services for it, and its incidents are nobody else's here."""
        if not self.rows:
            return True
        if row.is_alone or any(other.is_alone for other in self.rows):
            return False
        mine, theirs = _shared(row), {name for other in self.rows for name in _shared(other)}
        free = [name for name in _SPARE if name not in mine | theirs]
        wanted = sum(other.services for other in self.rows) + row.services
        return _kind(row) == _kind(self.rows[0]) and wanted <= len(free) and not mine & theirs

    @property
    def services(self) -> list[Sequence[str]]:
        """What each row breaks: services that none of them asks for by name."""
        if self.rows[0].is_alone:
            return [SERVICES[: self.rows[0].services]]
        named = {name for row in self.rows for name in _shared(row)}
        free = iter([name for name in _SPARE if name not in named])
        return [list(islice(free, row.services)) for row in self.rows]

    @property
    def kubernetes(self) -> bool:
        """Whether its rows need a control plane."""
        return self.rows[0].kubernetes

    @property
    def kafka(self) -> bool:
        """Whether its rows need a broker of Apache Kafka."""
        return self.rows[0].kafka

    @property
    def valkeys(self) -> bool:
        """Whether its rows need Valkeys beside the fleet's one."""
        return self.rows[0].valkeys

    @property
    def databases(self) -> bool:
        """Whether its rows need PostgreSQLs beside the fleet's one."""
        return self.rows[0].databases

    @property
    def brokers(self) -> bool:
        """Whether its rows need a cluster of brokers beside the fleet's one."""
        return self.rows[0].brokers

    @property
    def hurry(self) -> int:
        """How many times faster its rows want to run."""
        return self.rows[0].hurry

    @property
    def spoils(self) -> bool:
        """Whether its stack is of no use afterwards."""
        return any(row.spoils for row in self.rows)


def waves(rows: Iterable[Row]) -> list[Wave]:
    """Put rows together that may go on side by side; the longest first."""
    found: list[Wave] = []
    for row in rows:
        wave = next((wave for wave in found if wave.takes(row)), None)
        if wave is None:
            wave = Wave()
            found.append(wave)
        wave.rows.append(row)
    return sorted(found, key=lambda wave: -max(row.patience * row.hurry for row in wave.rows))


async def run_rows(rows: Sequence[Row], state: Path, stacks: int, told: Told, hurry: int | None = None) -> list[Result]:
    """Run rows, and return what came of each, in their order.

    Args:
        rows: Which.
        state: Folder for the data of the stacks.
        stacks: How many run at once.
        told: Told of each that is over.
        hurry: How many times faster than shipped; by default as each row says.
    """
    left, starting = deque(waves(rows)), asyncio.Lock()
    results: dict[str, Result] = {}

    def keep(result: Result) -> None:
        results[result.row] = result
        told(result)

    async def work(number: int) -> None:
        while left:
            await _on_one_stack(left, state / f"stack-{number}", hurry, keep, starting)

    await asyncio.gather(*(work(number) for number in range(min(stacks, len(left)))))
    return [results[row.name] for row in rows]


async def _on_one_stack(left: deque[Wave], state: Path, hurry: int | None, keep: Told, starting: asyncio.Lock) -> None:
    """Run waves on a stack until none is left, or it is of no more use.

    As shipped, rules look back for hours: each wave has a stack of its own. Faster ones share it. Stacks start one after the
    other: it is most of what they cost.
    """
    first = left.popleft()
    wave: Wave | None = first
    async with AsyncExitStack() as ending:
        async with starting:
            stack = await ending.enter_async_context(
                running_stack(
                    state,
                    hurry or first.hurry,
                    kubernetes=first.kubernetes,
                    kafka=first.kafka,
                    valkeys=first.valkeys,
                    databases=first.databases,
                    brokers=first.brokers,
                )
            )
        wrong = await stack.quiet()
        while wave is not None:
            for result in await _play(wave, stack):
                if wrong is not None:
                    result.problems.append(f"its stack was not well at the start: {wrong}")
                keep(result)
            if stack.hurry == 1 or wave.spoils or wrong is not None:
                return
            wave = next((w for w in left if (hurry or w.hurry) == stack.hurry and _parts(w) == _parts(first)), None)
            if wave is not None:
                left.remove(wave)
            wrong = await stack.quiet() if wave is not None else None


async def _play(wave: Wave, stack: Stack) -> list[Result]:
    scenes = [Scene(row, stack, services) for row, services in zip(wave.rows, wave.services, strict=True)]
    await asyncio.gather(*(scene.run() for scene in scenes))
    over = time.monotonic()
    for scene in scenes:
        scene.ended = over  # what comes late is somebody's too
    return [judge(scene, [other for other in scenes if other is not scene]) for scene in scenes]


def _parts(of: Row | Wave) -> tuple[bool, ...]:
    """Return what a stack has to have beside the fleet."""
    return of.kubernetes, of.kafka, of.valkeys, of.databases, of.brokers


def _kind(row: Row) -> tuple[object, ...]:
    """Return what rows have in common that go on side by side: their kind of stack, and about how long they take."""
    return row.hurry, row.spoils, _parts(row), row.patience > 300


def _shared(row: Row) -> set[str]:
    """Return what a row may share with another: dependencies, and incidents that are named after them."""
    return {owed.incident for owed in row.owed if filled(owed.incident, ["x"] * row.services) == owed.incident} | row.parts

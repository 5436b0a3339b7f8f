"""A probe of an application under test, kept between attempts, and its samples by name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from exporter.actuator.recording import REQUEST_P99
from exporter.metrics.family import Family
from exporter.probing.probe import SharedClients
from exporter.probing.runner import Outcome, run_probe
from tests.fixtures.boot_applications import Application
from tests.probes.doing import make

__all__ = ["Reader", "ask_often", "series"]

DEADLINE = 30.0


class Reader:
    """Reads one application, as often as a test wants."""

    def __init__(self, shared: SharedClients, application: Application, deadline: float = DEADLINE, **settings: Any) -> None:
        self._deadline = deadline
        self._probe = make(
            "actuator",
            shared,
            "127.0.0.1",
            application.port,
            port=application.management_port,
            base_path=application.base_path,
            timeout=deadline,
            interval=2 * deadline,
            **settings,
        )

    async def __call__(self) -> Outcome:
        """Make one attempt."""
        return await run_probe(self._probe, self._deadline)

    async def until(self, happened: Callable[[Outcome], bool], seconds: float = 60.0) -> Outcome:
        """Make attempts until one shows what is waited for."""
        async with asyncio.timeout(seconds):
            while not happened(outcome := await self()):
                await asyncio.sleep(0.2)
        return outcome


def series(outcome: Outcome, family: Family) -> dict[tuple[str, ...], float]:
    """Return the samples of a family by label values."""
    return dict(outcome.samples.get(family, {}))


def p99(outcome: Outcome) -> dict[tuple[str, ...], float]:
    """Return the latency by its source."""
    return series(outcome, REQUEST_P99)


async def ask_often(application: Application, path: str, times: int) -> None:
    """Let the application serve a path many times, eight at once."""

    def ask_all() -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: application.get(path), range(times)))

    await asyncio.to_thread(ask_all)

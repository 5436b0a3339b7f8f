"""What every test may use."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import settings

from exporter.masking import forget
from exporter.probing.attempt import Attempt
from exporter.probing.probe import Confirmation, Probe, ProbeSettings, SharedClients, Target
from exporter.values import Address

# With it jsonschema compiles grammars of addresses at import: seconds of each process, and no schema here has such a format.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment] # so an import fails, says Python's reference

# A neighbour may take the machine during any example: who means a time says so.
settings.register_profile("whatever the machine does", deadline=None)
settings.load_profile("whatever the machine does")

pytest_plugins = [
    "tests.side_by_side",
    "tests.fixtures.servers",
    "tests.fixtures.valkeys",
    "tests.fixtures.control_plane",
    "tests.fixtures.deployers",
    "tests.fixtures.image",
    "tests.fixtures.keycloak",
    "tests.fixtures.springboot",
    "tests.conformance.subjects",
]


@pytest.fixture(scope="session", autouse=True)
def _no_stray_loop() -> None:
    """Keep looptime's hook from making an event loop that nobody closes when the first test is not a coroutine."""
    asyncio.set_event_loop(None)


@pytest.fixture(autouse=True)
def _no_secrets_of_others() -> None:
    """Forget the passwords of tests before: they are words that others tell."""
    forget()


@pytest.fixture
async def shared() -> AsyncIterator[SharedClients]:
    """The clients that probes share, closed after the test."""
    opened = SharedClients.open()
    yield opened
    await opened.close()


Step = Callable[[Attempt], Awaitable[None]]


class ScriptedProbe(Probe[ProbeSettings]):
    """A probe that does what a test tells it, one step for each attempt; the last step repeats."""

    kind = "scripted"
    settings_type = ProbeSettings

    def __init__(
        self, *steps: Step, failures: int = 2, successes: int = 1, interval: float = 10.0, timeout: float = 5.0
    ) -> None:
        settings = ProbeSettings(
            interval=interval, timeout=timeout, confirm=Confirmation(failures=failures, successes=successes)
        )
        target = Target("identity", "scripted", "127.0.0.1:1", (Address("127.0.0.1", 1),))
        super().__init__(target, settings, SharedClients.__new__(SharedClients))
        self.steps = list(steps)
        self.attempts = 0
        self.closed = False

    async def check(self, attempt: Attempt) -> None:
        step = self.steps[min(self.attempts, len(self.steps) - 1)]
        self.attempts += 1
        await step(attempt)

    async def close(self) -> None:
        self.closed = True

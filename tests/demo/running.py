"""The demo's fleet, run by a test: its event loop in a thread, so that tests can break things at their time."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from exporter.demo.faults import FAULTS
from exporter.demo.fleet import Fleet, Options
from tests.scraped import Labels, only_one, samples_of


class RunningFleet:
    """A fleet that runs, and what people would look at."""

    def __init__(self, fleet: Fleet, loop: asyncio.AbstractEventLoop) -> None:
        self.fleet = fleet
        self._loop = loop

    @contextmanager
    def fault(self, name: str, service: str = "identity") -> Iterator[None]:
        """Break something for as long as the block lasts."""
        fault = FAULTS[name]
        asyncio.run_coroutine_threadsafe(fault.begin(self.fleet, service), self._loop).result(240)  # type: ignore[arg-type] # acts are coroutines
        try:
            yield
        finally:
            asyncio.run_coroutine_threadsafe(fault.end(self.fleet, service), self._loop).result(240)  # type: ignore[arg-type] # acts are coroutines

    def get(self, path: str) -> bytes:
        """Ask the exporter."""
        return fetch(f"http://{self.fleet.exporter.address}{path}")

    def values(self, name: str, **labels: str) -> dict[Labels, float]:
        """Return the samples of a metric that have these labels."""
        return samples_of(self.get("/metrics"), name, **labels)

    def value(self, name: str, **labels: str) -> float | None:
        """Return the one sample that has these labels, or None."""
        return only_one(self.values(name, **labels), f"{name}{labels}")

    def verdicts(self) -> dict[str, str]:
        """Return every service's verdict."""
        return {service["name"]: service["verdict"] for service in json.loads(self.get("/api/v1/services"))["services"]}

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Ask Prometheus; fail if it does not understand."""
        assert self.fleet.prometheus is not None
        encoded = urllib.parse.urlencode({"query": expression})
        answer = json.loads(fetch(f"http://{self.fleet.prometheus.address}/api/v1/query?{encoded}"))
        assert answer["status"] == "success", answer
        return list(answer["data"]["result"])


def fetch(url: str) -> bytes:
    """Get a URL."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return bytes(answer.read())


@contextmanager
def running(options: Options) -> Iterator[RunningFleet]:
    """Run a fleet for as long as the block lasts."""
    up, down = threading.Event(), threading.Event()
    found: list[RunningFleet] = []
    errors: list[BaseException] = []

    async def run() -> None:
        fleet = Fleet(options)
        async with fleet.running(lambda _: None):
            found.append(RunningFleet(fleet, asyncio.get_running_loop()))
            up.set()
            await asyncio.to_thread(down.wait)

    def main() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            errors.append(error)
        finally:
            up.set()

    thread = threading.Thread(target=main, name="fleet")
    thread.start()
    try:
        assert up.wait(600)
        if errors:
            raise errors[0]
        yield found[0]
    finally:
        down.set()
        thread.join(60)
    assert not errors, errors

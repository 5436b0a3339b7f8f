"""Asking a service: raw HTTP, its own meters, and the exporter's probe."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exporter.metrics.family import Family
from exporter.probing.probe import SharedClients
from exporter.probing.runner import Outcome
from tests.probes.doing import attempt, make
from tests.scraped import samples_of

V2 = "application/vnd.spring-boot.actuator.v2+json"
V3 = "application/vnd.spring-boot.actuator.v3+json"


@dataclass(frozen=True)
class Answer:
    """An answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def get(port: int, path: str, accept: str | None = None, method: str = "GET", timeout: float = 10.0) -> Answer:
    """Ask for a path below /actuator."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, f"/actuator{path}", headers={} if accept is None else {"Accept": accept})
        answer = connection.getresponse()
        body = answer.read()
        return Answer(answer.status, dict(answer.headers.items()), body, time.monotonic() - began)
    finally:
        connection.close()


def meter(port: int, name: str, **labels: str) -> float:
    """Return the sum of a service's samples of this name that have these labels."""
    return sum(samples_of(get(port, "/prometheus").body, name, **labels).values())


def statuses(port: int) -> dict[str, str]:
    """Return the status of each component at the top, and of the whole under the empty name."""
    tree = get(port, "/health").json
    return {"": tree["status"], **{name: part["status"] for name, part in tree["components"].items()}}


def probe(port: int, timeout: float = 5.0) -> Outcome:
    """Make one attempt of the exporter's own probe, with groups and meters."""

    async def run() -> Outcome:
        shared = SharedClients.open()
        try:
            groups = ("liveness", "readiness")
            return await attempt(make("actuator", shared, "127.0.0.1", port, groups=groups), timeout)
        finally:
            await shared.close()

    return asyncio.run(run())


def told(outcome: Outcome, family: Family, *labels: str) -> float | None:
    """Return a sample that the probe recorded, or None."""
    return outcome.samples.get(family, {}).get(labels)

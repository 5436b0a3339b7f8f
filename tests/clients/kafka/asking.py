"""Shorthands for tests that run the probe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from exporter.metrics.family import Family
from exporter.probes.kafka import KafkaProbe, KafkaSettings
from exporter.probing.probe import SharedClients, Target
from exporter.probing.runner import Outcome, run_probe
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage

__all__ = ["descriptors", "failure", "once", "part", "probe_of", "values", "why"]


def probe_of(shared: SharedClients, *ports: int, host: str = "127.0.0.1", **settings: Any) -> KafkaProbe:
    """A probe of the cluster with these bootstrap ports."""
    target = Target("events", "kafka", "events", tuple(Address(host, port) for port in ports))
    return KafkaProbe(target, KafkaSettings.model_validate(settings), shared)


async def once(shared: SharedClients, *ports: int, timeout: float = 5.0, **settings: Any) -> Outcome:
    """Run a new probe once and close it."""
    probe = probe_of(shared, *ports, **settings)
    try:
        return await run_probe(probe, timeout)
    finally:
        await probe.close()


def values(outcome: Outcome, family: Family) -> dict[tuple[str, ...], float]:
    """The samples of a family."""
    return dict(outcome.samples.get(family, {}))


def why(failure: Failure | None) -> tuple[Stage, Reason] | None:
    """Stage and reason, or None for success."""
    return None if failure is None else (failure.stage, failure.reason)


def failure(outcome: Outcome) -> tuple[Stage, Reason] | None:
    """Why the attempt is not up."""
    return why(outcome.failure)


def part(outcome: Outcome, name: str) -> tuple[Stage, Reason] | None:
    """How an optional part ended."""
    return why(outcome.parts[name])


def descriptors() -> int:
    """How many files and sockets this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())

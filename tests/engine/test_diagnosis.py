"""Likely causes: a dependency that is down too comes before what a service's own probes say."""

from __future__ import annotations

import asyncio

import pytest

from exporter.engine.diagnosis import Cause, causes
from tests.engine.test_fleet import Bench, bench, config

__all__ = ["bench"]


@pytest.mark.parametrize(
    ("depends_on", "down", "reasons", "expected"),
    [
        ((), {"a"}, {"timeout"}, {("timeout", "")}),
        (("db", "cache"), {"a", "db"}, {"reported_down"}, {("dependency_down", "db")}),
        (("db", "cache"), {"a", "db", "cache"}, {"timeout"}, {("dependency_down", "db"), ("dependency_down", "cache")}),
        (("db",), {"a"}, {"timeout", "connect_refused"}, {("timeout", ""), ("connect_refused", "")}),
    ],
)
def test_causes(depends_on: tuple[str, ...], down: set[str], reasons: set[str], expected: set[Cause]) -> None:
    assert causes(depends_on, down, reasons) == expected


async def test_the_cause_is_told_while_a_service_is_down_and_withdrawn_after(bench: Bench) -> None:
    text = """
        dependencies: {db: {instances: {dns: db, port: 1}, probes: {tls: {}, redis: {}}}}
        services:
          case: {instances: {dns: case, port: 1}, depends_on: [db], probes: {actuator: {}}}
        """
    bench.names.answer = ()
    await bench.fleet.apply(config(text))  # no instance at all is down
    task = asyncio.create_task(bench.fleet.sweep())
    await asyncio.sleep(1.2)
    assert sorted(bench.lines("probe_suspected_cause{")) == [
        'probe_suspected_cause{service="case",cause="dependency_down",dependency="db"} 1',
        'probe_suspected_cause{service="db",cause="no_instances",dependency=""} 1',
    ]
    bench.names.answer = ("10.0.0.1",)
    await bench.fleet.apply(
        config(text.replace("dns: db, port: 1", "dns: db, port: 2").replace("dns: case, port: 1", "dns: case, port: 2"))
    )
    await asyncio.sleep(1.2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert bench.lines("probe_suspected_cause{") == []

"""The fleet: instances that come and go by DNS, configurations that change, and what is kept when something fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from exporter.config.document import parse_document
from exporter.config.errors import ConfigError
from exporter.config.loader import validate
from exporter.config.models import Config, Instances
from exporter.engine.discovery import Found, discover
from exporter.engine.fleet import Fleet
from exporter.engine.lag import LoopLag
from exporter.engine.scheduler import Scheduler
from exporter.metrics.store import Store
from exporter.net.http import HttpClient
from exporter.net.resolver import Resolver
from exporter.probing.probe import SharedClients
from exporter.values import Address
from exporter.verdict import Failure, Reason, Stage

NAMED = Instances(dns="case-service", port=8084)
ONE = Found((Address("10.0.0.1", 8084),), complete=True, asked_at=0.0)


class Names(Resolver):
    """A resolver that answers what a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.answer: tuple[str, ...] | Failure | None = ("10.0.0.1",)

    async def resolve(self, host: str, *, fresh: bool = False) -> tuple[str, ...]:
        if self.answer is None:
            await asyncio.sleep(3600)
        if isinstance(self.answer, Failure):
            raise self.answer
        return self.answer or ()


def failure(reason: Reason) -> Failure:
    return Failure(Stage.RESOLVE, reason, "as the test says")


async def test_every_address_of_a_name_is_an_instance() -> None:
    names = Names()
    names.answer = ("10.0.0.1", "10.0.0.2")
    found = await discover(NAMED, names, None)
    assert (found.addresses, found.complete) == ((Address("10.0.0.1", 8084), Address("10.0.0.2", 8084)), True)


async def test_a_name_that_is_gone_has_no_instances() -> None:
    names = Names()
    names.answer = failure(Reason.DNS_NOT_FOUND)
    found = await discover(NAMED, names, ONE)
    assert (found.addresses, found.complete) == ((), True)


@pytest.mark.parametrize("answer", [failure(Reason.PROBER_DNS), None], ids=["no-answer", "hangs"])
async def test_where_the_resolver_fails_the_last_list_stays_and_is_not_believed_whole(answer: Any) -> None:
    names = Names()
    names.answer = answer
    found = await discover(NAMED, names, ONE, timeout=0.05)
    assert (found.addresses, found.complete) == (ONE.addresses, False)
    found = await discover(NAMED, names, None, timeout=0.05)
    assert (found.addresses, found.complete) == ((), False)


class Bench:
    """A fleet on a scheduler that runs nothing, and what it exports."""

    def __init__(self) -> None:
        self.names = Names()
        self.store = Store()
        self.scheduler = Scheduler(10, 10)
        self.shared = SharedClients(HttpClient(self.names), self.names)
        self.fleet = Fleet(self.store, self.shared, self.scheduler, LoopLag())

    def lines(self, start: str) -> list[str]:
        text = self.store.render(openmetrics=False).decode()
        return [line for line in text.splitlines() if line.startswith(start)]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.fleet.close()
    await bench.shared.close()


def config(text: str) -> Config:
    return validate(parse_document(text, "exporter.yml", {}))


BY_NAME = "services: {case: {instances: {dns: case-service, port: 8084, refresh: 100ms}, probes: {actuator: {}}}}"


async def refreshed(bench: Bench) -> None:
    """Let the fleet look at its names once."""
    task = asyncio.create_task(bench.fleet.rediscover())
    await asyncio.sleep(1.2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_instances_come_and_go_with_their_name_and_take_their_series_along(bench: Bench) -> None:
    await bench.fleet.apply(config(BY_NAME))
    assert len(bench.scheduler) == 1
    bench.names.answer = ("10.0.0.2", "10.0.0.3")
    await refreshed(bench)
    assert {line.split('target="')[1].split('"')[0] for line in bench.lines("probe_interval_seconds{")} == {
        "10.0.0.2:8084",
        "10.0.0.3:8084",
    }
    bench.names.answer = failure(Reason.DNS_NOT_FOUND)
    await refreshed(bench)
    assert len(bench.scheduler) == 0
    assert bench.lines("probe_interval_seconds{") == []
    assert bench.lines("probe_service_up") == ['probe_service_up{service="case"} 0']  # nobody runs it


async def test_a_resolver_that_fails_makes_nobody_down(bench: Bench) -> None:
    bench.names.answer = failure(Reason.PROBER_DNS)
    await bench.fleet.apply(config(BY_NAME))
    assert bench.lines("probe_service_up") == []
    bench.names.answer = ("10.0.0.1",)
    await refreshed(bench)
    bench.names.answer = failure(Reason.PROBER_DNS)
    await refreshed(bench)
    assert len(bench.scheduler) == 1


async def test_new_instances_that_cannot_be_probed_leave_what_runs(bench: Bench, tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    tls = f"{{scheme: https, tls: {{ca_file: {bundle}}}}}"
    bundle.write_text("not a certificate")
    with pytest.raises(ConfigError, match="case/actuator"):
        await bench.fleet.apply(config(BY_NAME.replace("{actuator: {}}", f"{{actuator: {tls}}}")))
    assert len(bench.scheduler) == 0
    trustme.CA().cert_pem.write_to_path(bundle)
    await bench.fleet.apply(config(BY_NAME.replace("{actuator: {}}", f"{{actuator: {tls}}}")))
    bundle.unlink()
    bench.names.answer = ("10.0.0.1", "10.0.0.2")
    await refreshed(bench)
    assert [line.split('target="')[1].split('"')[0] for line in bench.lines("probe_interval_seconds{")] == ["10.0.0.1:8084"]


async def test_a_change_touches_only_what_changed(bench: Bench) -> None:
    both = "services: {a: {instances: [h:1], probes: {actuator: {}}}, b: {instances: [h:2], probes: {actuator: {}}}}"
    await bench.fleet.apply(config(both))
    (kept,), (other,) = bench.fleet.find("a", "actuator"), bench.fleet.find("b", "actuator")
    await bench.fleet.apply(
        config(both.replace("[h:2], probes: {actuator: {}}", "[h:2], probes: {actuator: {interval: 9s}}"))
    )
    assert bench.fleet.find("a", "actuator") == [kept]
    assert bench.fleet.find("b", "actuator") != [other]
    await bench.fleet.apply(config("services: {a: {instances: [h:1], labels: {tier: x}, probes: {actuator: {}}}}"))
    assert bench.fleet.find("b", "actuator") == []
    assert all('tier="x"' in line for line in bench.lines("probe_unknown{"))
    assert bench.fleet.known() == [("a", "actuator")]


async def test_what_nobody_refreshes_becomes_stale(bench: Bench) -> None:
    text = "services: {a: {instances: [h:1], probes: {actuator: {interval: 100ms, timeout: 50ms}}}}"
    await bench.fleet.apply(config(text))
    task = asyncio.create_task(bench.fleet.sweep())
    await asyncio.sleep(1.3)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [line.split('reason="')[1].split('"')[0] for line in bench.lines("probe_unknown{")] == ["stale"]

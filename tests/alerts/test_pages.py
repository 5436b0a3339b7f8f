"""What a person is paged with: the shipped Alertmanager configuration in a real Alertmanager, against a PagerDuty stub."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.alerts.pager import KEYS, Alertmanager, Pager, alert, alertmanager, pager

Stack = tuple[Pager, Alertmanager]


@pytest_asyncio.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with pager() as stub, alertmanager(stub.url, tmp_path) as running:
        yield stub, running


async def test_a_critical_alert_pages_once_for_each_service_and_resolves_the_same_incident(stack: Stack) -> None:
    stub, running = stack
    await running.post(
        alert("ServiceDown", "critical", summary="vault is down", service="vault"),
        alert("ServiceDown", "critical", summary="case is down", service="case"),
    )
    await stub.until(lambda: len(stub.of("ServiceDown")) >= 2)
    pages = {event["payload"]["source"]: event for event in stub.of("ServiceDown")}
    page = pages["vault"]
    assert set(pages) == {"vault", "case"}
    assert page["routing_key"] == KEYS["pagerduty-critical"]
    assert page["payload"]["severity"] == "critical"
    assert page["payload"]["summary"] == "vault is down"
    assert page["payload"]["component"] == "vault"
    assert page["client"] == "hafnium-exporter"
    assert page["links"] == [{"href": "http://grafana:3000/d/hafnium-fleet?viewPanel=1", "text": "Dashboard"}]
    assert page["payload"]["custom_details"]["description"] == "ServiceDown described\n"
    assert page["dedup_key"] != pages["case"]["dedup_key"]

    await running.post(alert("ServiceDown", "critical", ended=True, service="vault"))
    await stub.until(lambda: bool(stub.of("ServiceDown", "resolve")))
    assert [event["dedup_key"] for event in stub.of("ServiceDown", "resolve")] == [page["dedup_key"]]


async def test_a_warning_goes_to_the_low_urgency_key_and_one_without_severity_is_an_error(stack: Stack) -> None:
    stub, running = stack
    nameless = alert("Odd", "warning")
    del nameless["labels"]["severity"]
    await running.post(alert("MemoryPressure", "warning", service="vault", target="a:1"), nameless)
    await stub.until(lambda: bool(stub.of("MemoryPressure") and stub.of("Odd")))
    (warning,), (odd,) = stub.of("MemoryPressure"), stub.of("Odd")
    assert (warning["routing_key"], warning["payload"]["severity"]) == (KEYS["pagerduty-warning"], "warning")
    assert (odd["routing_key"], odd["payload"]["severity"]) == (KEYS["pagerduty-warning"], "error")
    assert odd["payload"]["source"] == "hafnium-exporter"


async def test_many_instances_are_one_incident_of_bounded_size(stack: Stack) -> None:
    stub, running = stack
    await running.post(
        *(
            alert("ProbeStale", "warning", summary=f"{n} is late " + "x" * 500, service="vault", target=f"host-{n}:8080")
            for n in range(300)
        )
    )
    whole = "ProbeStale of vault: 300 alerts"  # the first message may leave before the last alert has arrived
    await stub.until(lambda: any(event["payload"]["summary"] == whole for event in stub.of("ProbeStale")))
    event = stub.of("ProbeStale")[-1]
    assert len({event["dedup_key"] for event in stub.events}) == 1
    assert len(event["payload"]["custom_details"]["firing"].splitlines()) == 50
    assert len(json.dumps(event)) < 100_000


async def test_a_warning_that_ends_while_its_service_is_down_is_resolved(stack: Stack) -> None:
    """The reason for having no inhibition: Alertmanager would hold this resolve back, and the incident stay open."""
    stub, running = stack
    await running.post(alert("HighLatencyP99", "warning", service="vault", target="a:1"))
    await stub.until(lambda: bool(stub.of("HighLatencyP99")))
    await running.post(alert("ServiceDown", "critical", service="vault"))
    await stub.until(lambda: bool(stub.of("ServiceDown")))
    await running.post(alert("HighLatencyP99", "warning", ended=True, service="vault", target="a:1"))
    await stub.until(lambda: bool(stub.of("HighLatencyP99", "resolve")))


@pytest.mark.parametrize("name", ["DiscoveryFailing", "ServiceUnknown", "TargetsNotCurrent"])
async def test_what_one_name_server_or_file_does_to_many_services_is_one_incident(name: str, stack: Stack) -> None:
    stub, running = stack
    services = ("vault", "case", "signals")
    await running.post(*(alert(name, "warning", service=service) for service in services))
    await stub.until(lambda: bool(stub.of(name)))
    await running.post(*(alert(name, "warning", ended=True, service=service) for service in services))
    await stub.until(lambda: bool(stub.of(name, "resolve")))
    assert len({event["dedup_key"] for event in stub.events}) == 1
    page = stub.of(name)[-1]
    assert (page["routing_key"], page["payload"]["severity"]) == (KEYS["pagerduty-warning"], "warning")
    assert page["payload"]["source"] == "hafnium-exporter"


async def test_the_watchdog_reaches_the_dead_mans_switch_and_never_pages(stack: Stack) -> None:
    stub, running = stack
    await running.post(alert("Watchdog", "none"))
    await stub.until(lambda: bool(stub.beats))
    assert stub.beats[0]["alerts"][0]["labels"]["alertname"] == "Watchdog"
    assert stub.events == []

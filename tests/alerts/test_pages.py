"""What a person is paged with: the shipped Alertmanager configuration in a real Alertmanager, against a PagerDuty stub."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.alerts.pager import Alertmanager, Pager, alert, alertmanager, alertmanager_config, key_of, pager
from tests.alerts.tools import Tools

Stack = tuple[Pager, Alertmanager]
Alert = dict[str, Any]

CRITICAL, WARNING, DBA, SECOPS = (key_of(f"pagerduty-{name}") for name in ("critical", "warning", "dba", "secops"))
SERVICES = ("api-facade", "case", "identity", "monitoring", "risk-engine", "screening", "signals", "vault")
WHOLE = "postgres is down: 8 services with it"
MOST_DETAILS, MOST_SUMMARY = 512_000, 1_024
"""Bytes and characters that PagerDuty takes."""


@pytest_asyncio.fixture
async def stack(tools: Tools, tmp_path: Path) -> AsyncIterator[Stack]:
    async with pager() as stub, alertmanager(stub.url, tmp_path, tools.alertmanager) as running:
        yield stub, running
        assert running.complaints() == []


def down(service: str, incident: str, summary: str = "", **others: Any) -> Alert:
    """Make the ServiceDown of a service; of one incident all say the incident's summary."""
    labels = {"service": service, "incident": incident, "team": "on-call", **others}
    return alert("ServiceDown", "critical", summary=summary or f"{incident} is down", **labels)


def summary(event: dict[str, Any]) -> str:
    return str(event["payload"]["summary"])


def triggers(stub: Pager, key: str = CRITICAL) -> list[dict[str, Any]]:
    return [event for event in stub.events if event["event_action"] == "trigger" and event["routing_key"] == key]


def resolves(stub: Pager, key: str = CRITICAL) -> list[dict[str, Any]]:
    return [event for event in stub.events if event["event_action"] == "resolve" and event["routing_key"] == key]


def firing(event: dict[str, Any]) -> set[str]:
    """Return the services that an event says are down."""
    return {line.split()[1] for line in event["payload"]["custom_details"]["firing"].splitlines()}


def last_is(stub: Pager, expected: str, services: int, key: str = CRITICAL) -> Callable[[], bool]:
    """Tell whether the newest trigger has this title and lists as many services."""
    return lambda: (
        bool(found := triggers(stub, key)) and summary(found[-1]) == expected and len(firing(found[-1])) == services
    )


def said(stub: Pager, action: str) -> bool:
    return any(event["event_action"] == action for event in stub.events)


def both(heard: Callable[[Pager, str], list[Alert]], stub: Pager, key: str) -> bool:
    """Tell whether a team has heard of two alerts, and on-call of one."""
    return len(heard(stub, key)) >= 2 and bool(heard(stub, CRITICAL))


async def test_one_cause_is_one_page_that_says_cause_and_extent(stack: Stack) -> None:
    stub, running = stack
    await running.post(*(down(name, "postgres", WHOLE) for name in (*SERVICES, "postgres")))
    await stub.until(lambda: bool(triggers(stub)))
    (page,) = triggers(stub)
    assert summary(page) == WHOLE
    assert firing(page) == {*SERVICES, "postgres"}
    assert (page["payload"]["severity"], page["payload"]["source"]) == ("critical", "postgres")
    assert page["client"] == "hafnium-exporter"
    assert {"href": "https://runbooks.test/#servicedown", "text": "Runbook"} in page["links"]
    assert {link["href"].partition("://")[0] for link in page["links"]} <= {"http", "https"}
    details = page["payload"]["custom_details"]
    assert details["cause"].strip() == "ServiceDown caused"
    assert details["action"].strip() == "ServiceDown to be mended"


async def test_it_grows_and_shrinks_in_place_and_is_resolved_when_all_of_it_is(stack: Stack) -> None:
    stub, running = stack
    small = "postgres is down: 2 services with it"
    first = ("case", "vault", "postgres")
    await running.post(*(down(name, "postgres", small) for name in first))
    await stub.until(last_is(stub, small, 3))
    await running.post(*(down(name, "postgres", WHOLE) for name in (*SERVICES, "postgres")))
    await stub.until(last_is(stub, WHOLE, 9))
    await running.post(*(down(name, "postgres", WHOLE, ended=True) for name in SERVICES if name not in first))
    await running.post(*(down(name, "postgres", small) for name in first))
    await stub.until(last_is(stub, small, 3))
    await running.post(down("postgres", "postgres", small, ended=True))
    await stub.until(lambda: firing(triggers(stub)[-1]) == {"case", "vault"})
    assert resolves(stub) == []
    assert summary(triggers(stub)[-1]) == small
    await running.post(*(down(name, "postgres", small, ended=True) for name in ("case", "vault")))
    await stub.until(lambda: bool(resolves(stub)))
    assert len({event["dedup_key"] for event in stub.events}) == 1


async def test_two_causes_are_two_pages_and_each_is_resolved_by_itself(stack: Stack) -> None:
    stub, running = stack
    await running.post(down("case", "postgres"), down("postgres", "postgres"), down("vault", "vault"))
    await stub.until(lambda: len(triggers(stub)) >= 2)
    pages = {event["payload"]["source"]: event for event in triggers(stub)}
    assert {name: summary(page) for name, page in pages.items()} == {
        "postgres": "postgres is down",
        "vault": "vault is down",
    }
    await running.post(down("vault", "vault", ended=True))
    await stub.until(lambda: bool(resolves(stub)))
    assert [event["dedup_key"] for event in resolves(stub)] == [pages["vault"]["dedup_key"]]


async def test_a_service_that_stays_down_when_the_root_is_back_pages_under_its_own_name(stack: Stack) -> None:
    """Its `incident` changes, so the alert of the old name ends and another begins."""
    stub, running = stack
    await running.post(down("case", "postgres"), down("postgres", "postgres"))
    await stub.until(lambda: bool(triggers(stub)))
    await running.post(
        down("case", "postgres", ended=True),
        down("postgres", "postgres", ended=True),
        down("case", "case", "case is down: timeout"),
    )
    await stub.until(lambda: bool(resolves(stub)) and len(triggers(stub)) >= 2)
    assert [event["dedup_key"] for event in resolves(stub)] == [triggers(stub)[0]["dedup_key"]]
    assert summary(triggers(stub)[-1]) == "case is down: timeout"


async def test_the_root_titles_the_page_whoever_comes_first(stack: Stack) -> None:
    stub, running = stack
    await running.post(down("a-first", "postgres", "of a symptom"), down("postgres", "postgres", "of the root"))
    await stub.until(lambda: bool(triggers(stub)))
    assert summary(triggers(stub)[-1]) == "of the root"


@pytest.mark.parametrize("count", [1, 2, 300])
async def test_a_groups_page_says_what_and_why_whatever_its_size(stack: Stack, count: int) -> None:
    stub, running = stack
    filler = " and much more of the same kind" * 100
    alerts = [
        alert("ProbeStale", "warning", summary=f"A probe of vault no longer succeeds: host-{n}", service="vault",
              incident="vault", team="on-call", target=f"host-{n:03}:8080")
        for n in range(count)
    ]  # fmt: skip
    for each in alerts:
        each["annotations"] |= {"description": f"described{filler}", "cause": f"caused{filler}"}
    await running.post(*alerts)
    listed = min(count, 50)
    await stub.until(lambda: bool(found := triggers(stub, WARNING)) and len(_targets(found[-1])) == listed)
    await stub.until(lambda: count == 1 or f"{count} alerts" in summary(triggers(stub, WARNING)[-1]))
    event = triggers(stub, WARNING)[-1]
    assert len({event["dedup_key"] for event in stub.events}) == 1
    assert summary(event).startswith("A probe of vault no longer succeeds: host-")
    assert "caused" in event["payload"]["custom_details"]["cause"]
    assert len(summary(event)) <= MOST_SUMMARY
    assert len(json.dumps(event["payload"]["custom_details"])) < MOST_DETAILS
    assert event["payload"]["source"] == "vault"


def _targets(event: dict[str, Any]) -> list[str]:
    return list(event["payload"]["custom_details"]["firing"].splitlines())


async def test_three_hundred_services_of_one_cause_are_one_page_of_bounded_size(stack: Stack) -> None:
    stub, running = stack
    title = "postgres is down: 300 services with it"
    names = [f"service-{n}" for n in range(300)]
    alerts = [down(name, "postgres", title) for name in (*names, "postgres")]
    for each in alerts:
        each["annotations"]["description"] = f"{each['labels']['service']} is down. Down with it: {', '.join(names)}"
    await running.post(*alerts)
    await stub.until(lambda: bool(triggers(stub)))
    page = triggers(stub)[-1]
    assert summary(page) == title
    assert len(json.dumps(page["payload"]["custom_details"])) < MOST_DETAILS


async def test_a_summary_longer_than_is_taken_is_cut_and_still_arrives(stack: Stack) -> None:
    stub, running = stack
    await running.post(down("vault", "vault", "vault is down: " + "pool exhausted, " * 200))
    await stub.until(lambda: bool(triggers(stub)))
    assert summary(triggers(stub)[-1]).startswith("vault is down: pool exhausted")
    assert len(summary(triggers(stub)[-1])) <= MOST_SUMMARY


@pytest.mark.parametrize("labels", [{}, {"service": "vault"}, {"service": "vault", "incident": "vault", "team": "on-call"}])
@pytest.mark.parametrize("severity", ["critical", "warning", ""])
async def test_whatever_fires_is_seen_and_resolved(stack: Stack, labels: dict[str, str], severity: str) -> None:
    """Also alerts with fewer labels and no annotations, as people add them: a template that fails would send nothing."""
    stub, running = stack
    for ended in (False, True):
        bare = alert("Odd", severity, ended=ended, **labels)
        bare["annotations"] = {}
        if not severity:
            del bare["labels"]["severity"]
        await running.post(bare)
        await stub.until(partial(said, stub, "resolve" if ended else "trigger"))
    key = CRITICAL if severity == "critical" else WARNING
    assert {event["routing_key"] for event in stub.events} == {key}
    (page,) = triggers(stub, key)
    assert "Odd" in summary(page)
    assert page["payload"]["severity"] == (severity or "error")
    assert page["payload"]["source"]


@pytest.mark.parametrize(("team", "key"), [("dba", DBA), ("secops", SECOPS)])
async def test_a_team_gets_its_warnings_alone_and_critical_ones_beside_on_call(stack: Stack, team: str, key: str) -> None:
    stub, running = stack
    for ended in (False, True):
        await running.post(
            alert("OfTheirs", "warning", ended=ended, service="postgres", incident="postgres", team=team),
            down("postgres", "postgres", ended=ended, team=team),
        )
        heard = resolves if ended else triggers
        await stub.until(partial(both, heard, stub, key))
    assert {event["routing_key"] for event in stub.events} == {CRITICAL, key}
    assert {summary(event) for event in triggers(stub)} == {"postgres is down"}
    assert {summary(event) for event in triggers(stub, key)} == {"OfTheirs summary", "postgres is down"}
    assert len({event["dedup_key"] for event in stub.events}) == 3


async def test_a_warning_that_ends_while_its_service_is_down_is_resolved(stack: Stack) -> None:
    """The reason for having no inhibition: Alertmanager would hold this resolve back, and the incident stay open."""
    stub, running = stack
    slow = partial(alert, "HighLatencyP99", "warning", service="vault", incident="vault", team="on-call")
    await running.post(slow())
    await stub.until(lambda: bool(triggers(stub, WARNING)))
    await running.post(down("vault", "vault"))
    await stub.until(lambda: bool(triggers(stub)))
    await running.post(slow(ended=True))
    await stub.until(lambda: bool(resolves(stub, WARNING)))


def test_nothing_is_muted(tmp_path: Path) -> None:
    config = alertmanager_config("http://127.0.0.1:1", tmp_path)
    assert not {"inhibit_rules", "mute_time_intervals", "time_intervals"} & set(config)
    assert "active_time_intervals" not in json.dumps(config)
    assert "mute_time_intervals" not in json.dumps(config)
    assert all(
        section["send_resolved"] for receiver in config["receivers"] for section in receiver.get("pagerduty_configs", ())
    )


async def test_the_watchdog_reaches_the_dead_mans_switch_and_never_pages(stack: Stack) -> None:
    stub, running = stack
    await running.post(alert("Watchdog", "none"))
    await stub.until(lambda: bool(stub.beats))
    assert stub.beats[0]["alerts"][0]["labels"]["alertname"] == "Watchdog"
    assert stub.events == []

"""The harness itself: what it calls right and wrong, how it puts rows together, what it writes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from exporter.demo.faults import FAULTS, Fault
from exporter.demo.servers.pagerduty import Incident, PagerDuty
from tests.e2e import table
from tests.e2e.hurry import hurried, hurried_routes, hurried_rules
from tests.e2e.judge import Result, judge
from tests.e2e.matrix import ROWS
from tests.e2e.row import ON_CALL, Owed, Row
from tests.e2e.run import waves
from tests.e2e.scene import Broken, Scene, begin, end
from tests.e2e.stack import Firing, Stack

OWED = Owed("ServiceDown", "{0}", "^{0} is down", "refused")
ROW = Row("service-down", "{0} killed", (), [OWED], services=1)
START = time.monotonic()


def event(summary: str, source: str, alert: str = "ServiceDown", cause: str = "connect refused") -> dict[str, Any]:
    details = {"cause": cause, "firing": f"{alert} {source}\n"}
    return {"payload": {"summary": summary, "source": source, "class": alert, "custom_details": details}}


def incident(opened: float, resolved: float | None, *events: dict[str, Any], receiver: str = ON_CALL) -> Incident:
    until = None if resolved is None else START + resolved
    return Incident(receiver, "key", START + opened, list(events or [event("case is down: connect refused", "case")]), until)


def scene(*incidents: Incident, row: Row = ROW, services: Sequence[str] = ("case",), hurry: int = 1) -> Scene:
    """Make a row that is over: broken from 0 to 100, looked at until 300."""
    pagerduty = PagerDuty(1, incidents=list(incidents), beats=1)
    fired = [Firing({"alertname": "ServiceDown", "service": "case"}, START + 40, START + 160)]
    fleet = SimpleNamespace(pagerduty=pagerduty)
    stack = SimpleNamespace(fleet=fleet, hurry=hurry, fired=fired, seconds=lambda shipped: shipped / hurry)
    made = Scene(row, cast(Stack, stack), services, began=START)
    made.broken.append(Broken("service-down:case", START, START + 100))
    made.ended = START + 300
    return made


RIGHT = incident(40, 180)


def test_what_is_owed_and_nothing_else_is_right() -> None:
    result = judge(scene(RIGHT))
    assert result.problems == []
    assert (result.seconds, result.resolves, result.pages, result.low) == ([40.0], [80.0], 1, 0)
    assert (result.fired, result.cause, result.titles) == (["ServiceDown"], True, ["case is down: connect refused"])


@pytest.mark.parametrize(
    ("incidents", "problem"),
    [
        ([], "ServiceDown of case: opened 0 times, owed 1"),
        ([RIGHT, incident(200, 250)], "ServiceDown of case: opened 2 times, owed 1"),
        ([incident(80, 180)], "paged after 80 s, owed within 75 s"),
        ([incident(40, None)], "was not resolved"),
        ([incident(40, 90)], "was resolved 10 s before service-down:case was mended"),
        ([incident(40, 180, event("2 alerts", "case"))], "its title is '2 alerts', expected '^case is down'"),
        ([incident(40, 180, event("case is down", "case", cause="unknown"))], "its first event does not say 'refused'"),
        ([RIGHT, incident(60, 180, event("vault is down", "vault"))], "not owed: pagerduty-critical: vault is down"),
        (
            [RIGHT, incident(60, 180, event("late", "case", "ProbeLate"), receiver="pagerduty-warning")],
            "not owed: pagerduty-warning: late (ProbeLate)",
        ),
        ([incident(40, 180, receiver="pagerduty-warning")], "ServiceDown of case: opened 0 times, owed 1"),
    ],
)
def test_what_is_not_right_is_said(incidents: list[Incident], problem: str) -> None:
    problems = judge(scene(*incidents)).problems
    assert any(problem in found for found in problems), problems


def test_the_cause_must_be_told_first_and_the_title_in_the_end() -> None:
    grown = incident(40, 180, event("opened", "case"), event("case is down: connect refused", "case", cause="unknown"))
    assert judge(scene(grown)).problems == []


def test_an_event_that_pagerduty_refused_and_a_story_that_broke_off_are_not_right() -> None:
    made = scene(RIGHT)
    made.stack.fleet.pagerduty.refused.append(["payload is required"])
    made.error = "ServerError: gone"
    assert judge(made).problems == ["PagerDuty refused: payload is required", "the story broke off: ServerError: gone"]


def test_without_a_beat_for_the_dead_mans_switch_nothing_is_right() -> None:
    made = scene(RIGHT)
    made.stack.fleet.pagerduty.beats = 0
    assert judge(made).problems == ["the Watchdog has not reached the dead man's switch"]


def test_what_may_come_is_not_counted_as_not_owed() -> None:
    late = incident(60, 180, event("late", "case", "ProbeLate"), receiver="pagerduty-warning")
    assert judge(scene(RIGHT, late, row=replace(ROW, may=frozenset({"ProbeLate"})))).problems == []


def test_of_rows_side_by_side_each_answers_for_its_own_and_all_for_what_is_nobodys() -> None:
    theirs, nobodys = incident(50, 180, event("vault is down", "vault")), incident(60, 180, event("x is down", "x"))
    all_of_them = [RIGHT, theirs, nobodys]
    ours, others = scene(*all_of_them), scene(*all_of_them, services=("vault",))
    for made, other in ((ours, others), (others, ours)):
        assert judge(made, [other]).not_owed == ["pagerduty-critical: x is down"]


def test_the_second_time_counts_from_the_second_fault_and_a_mark_from_itself() -> None:
    twice = scene(RIGHT, incident(250, 290), row=replace(ROW, owed=[replace(OWED, times=(2, 2))]))
    twice.broken.append(Broken("service-down:case", START + 200, START + 260))
    assert (judge(twice).seconds, judge(twice).problems) == ([40.0, 50.0], [])
    late = scene(incident(200, 290), row=replace(ROW, owed=[replace(OWED, since="silence over")]))
    late.marks["silence over"] = START + 180
    assert (judge(late).seconds, judge(late).problems) == ([20.0], [])


async def test_whatever_happens_what_was_broken_is_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    async def note(_: object, service: str) -> None:
        done.append(service)

    async def fail(_: Scene) -> None:
        raise RuntimeError("no")

    for name in ("service-down", "service-hung"):
        monkeypatch.setitem(FAULTS, name, Fault(name, "", note, note, of_service=True))
    row = replace(ROW, story=(begin("service-down"), begin("service-hung"), end("service-down"), fail))
    made = Scene(row, cast(Stack, SimpleNamespace(fleet=None)), ("case",))
    await made.run()
    assert (done, made.error) == (["case"] * 4, "RuntimeError: no")
    assert all(broken.until is not None for broken in made.broken)


def test_rows_of_services_share_a_stack_and_others_are_alone() -> None:
    found = waves(ROWS.values())
    assert sorted(row.name for wave in found for row in wave.rows) == sorted(ROWS)
    for wave in found:
        used = [service for services in wave.services for service in services]
        assert len(used) == len(set(used))
        if len(wave.rows) > 1:
            assert not any(row.is_alone for row in wave.rows)
            parts = [part for row in wave.rows for part in row.parts]
            assert len(parts) == len(set(parts))
            assert "api-facade" not in used
    assert max(len(wave.rows) for wave in found) >= 7


def test_there_are_fifty_rows_and_each_owes_what_an_alert_can_give() -> None:
    assert len(ROWS) >= 50
    shipped = {rule.get("alert") for rule in rules()}
    owed = {owed.alert for row in ROWS.values() for owed in row.owed} | {name for row in ROWS.values() for name in row.may}
    assert owed - shipped == set()


def rules() -> list[dict[str, Any]]:
    files = sorted((Path(__file__).parents[2] / "alerts" / "rules").glob("*.yml"))
    return [rule for file in files for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


@pytest.mark.parametrize(
    ("shipped", "faster"), [("15s", "1000ms"), ("1m", "4000ms"), ("1h30m", "360000ms"), ("0s", "0s"), ("500ms", "33ms")]
)
def test_a_duration_is_divided(shipped: str, faster: str) -> None:
    assert hurried(shipped, 15) == faster


def test_rules_and_routes_keep_everything_but_their_waits(tmp_path: Path) -> None:
    rule = {
        "alert": "A", "for": "30s", "keep_firing_for": "1m", "labels": {"for": "30s"},
        "expr": 'last_over_time(x{a="[40s]x"}[40s] offset 30s) > rate(y[5m:30s])[1h:] > 30',
        "annotations": {"summary": "{{ printf `x{service=%q}[45s]` $labels.service | query }} for 30s"},
    }  # fmt: skip
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "g", "interval": "5s", "rules": [rule]}]}))
    (group,) = hurried_rules([path], 10)["groups"]
    assert group["interval"] == "500ms"
    (faster,) = group["rules"]
    assert (faster["for"], faster["keep_firing_for"]) == ("3000ms", "6000ms")
    assert faster["expr"].endswith("[4000ms] offset 3000ms) > rate(y[30000ms:3000ms])[360000ms:] > 30")
    assert faster["annotations"] == {"summary": "{{ printf `x{service=%q}[4500ms]` $labels.service | query }} for 30s"}
    config = {"route": {"group_wait": "5s", "routes": [{"group_interval": "30s", "repeat_interval": "4h"}]}, "receivers": []}
    assert hurried_routes(config, 5) == {
        "route": {"group_wait": "1000ms", "routes": [{"group_interval": "6000ms", "repeat_interval": "4h"}]},
        "receivers": [],
    }  # fmt: skip


def test_the_table_says_what_came_and_what_is_not_right(tmp_path: Path) -> None:
    good = judge(scene(RIGHT))
    bad = Result("db-down", "postgres | killed", ["ServiceDown"], problems=["late"], cause=False)
    for result in (good, bad):
        table.save(result, tmp_path)
    kept = table.read(["db-down", "service-down", "twice"], tmp_path)
    assert kept == [bad, good]
    page = table.render(["db-down", "service-down"], kept)
    assert "1 of 2 rows are right." in page
    assert "Not run yet" not in page
    assert "Not run yet: `twice`." in table.render(["db-down", "service-down", "twice"], kept)
    assert "| `db-down` postgres \\| killed | ServiceDown | nothing | – | 0 | 0 | 0 | – | **no** | – | **no** |" in page
    assert "- **db-down**: late" in page
    row = (
        "`service-down` case killed | ServiceDown | ServiceDown | 40 | 1 | 0 | 0 | case is down: connect refused | yes | 80"
    )
    assert f"| {row} | yes |" in page


def test_what_the_page_says_of_rows_that_did_not_run_stays() -> None:
    names = ["db-down", "service-down"]
    good, bad = judge(scene(RIGHT)), Result("db-down", "postgres killed", ["ServiceDown"], problems=["late"])
    page = table.render(names, [good, bad])
    assert table.render(names, [], page) == table.render(names, [good], page) == page
    mended = table.render(names, [replace(bad, problems=[])], page)
    assert "2 of 2 rows are right." in mended
    assert "What is not right" not in mended
    assert "| `db-down`" not in table.render(["service-down"], [], page)

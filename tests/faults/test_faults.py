"""Some of the faults of the exporter itself, as `make faults` plays all of them; and that what is wrong is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.matrix import FAULTS, SECTIONS
from tests.faults.model import Fault, Outcome
from tests.faults.run import play
from tests.faults.scene import DEAD, WELL, Scene, Targets, targets
from tests.faults.table import render
from tests.soak.scrapes import Counters, Scrape

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
ROW = re.compile(r"^\| `([\w-]+)` .*$", re.MULTILINE)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Targets]:
    with targets(tmp_path_factory.mktemp("targets")) as found:
        yield found


@pytest.mark.parametrize("name", [fault.name for fault in FAULTS.values() if fault.quick])
def test_a_fault_of_the_exporter_is_no_fault_of_others(name: str, tmp_path: Path, fleet: Targets) -> None:
    outcome = play(FAULTS[name], tmp_path, fleet)
    log = tmp_path / name / "exporter.log"
    assert not outcome.wrong, f"{outcome.wrong}\n{log.read_text(errors='replace')[-3000:] if log.exists() else ''}"
    assert outcome.seen


def test_what_is_wrong_makes_a_row_wrong(tmp_path: Path, fleet: Targets) -> None:
    """A daemon that is told of other targets than it thinks: the dead one answers, and a well one does not."""

    def lie(scene: Scene) -> str:
        config = fleet.config()
        services = config["services"]
        services[DEAD], services[WELL[0]] = services[WELL[0]], services[DEAD]
        scene.start(config=config, settled=False)
        scene.wait(lambda: scene.value("probe_success", service=WELL[0]) == 0, 20, "it is down")
        scene.watched(2)
        scene.daemon.log_path.write_text("Traceback")
        scene.holds(0, "and this is not so")
        return "lies"

    outcome = play(Fault("lie", "", "", lie), tmp_path, fleet)
    assert set(outcome.wrong) == {
        f"{WELL[0]} was told down, and was up", "the dead service was told up", "there is a traceback in the log",
        "and this is not so",
    }  # fmt: skip


def test_one_that_ends_too_soon_makes_a_row_wrong(tmp_path: Path, fleet: Targets) -> None:
    def kill(scene: Scene) -> str:
        scene.start(settled=False)
        scene.wait(lambda: scene.daemon.status("/-/healthy") == 200, 20, "it is healthy")
        scene.send(9)
        scene.settled()
        return "well"

    [wrong] = play(Fault("dies", "", "", kill), tmp_path, fleet).wrong
    assert wrong.startswith("it ended with -9, before every verdict is right again; ")


def test_a_counter_that_falls_is_told_and_one_of_a_target_is_not() -> None:
    counters = Counters()
    name, other = 'probe_failures_total{service="a"}', 'probe_http_server_requests_total{service="a"}'
    assert counters.take(Scrape(0.0, {name: 3.0, other: 9.0})) == []
    assert counters.take(Scrape(1.0, {name: 2.0, other: 1.0})) == [f"{name} fell from 3 to 2"]
    assert counters.take(Scrape(2.0, {})) == []
    assert counters.take(Scrape(3.0, {name: 0.0})) == [], "its target has gone and come again"
    assert counters.take(Scrape(4.0, {name: float("nan")})) == [f"{name} is nan"]
    counters.restarted()
    assert counters.take(Scrape(5.0, {'probe_latency_seconds_bucket{le="1"}': 1.0})) == []
    assert len(counters.take(Scrape(6.0, {'probe_latency_seconds_bucket{le="1"}': 0.0}))) == 1


def test_the_page_keeps_rows_that_were_not_run_and_names_what_is_wrong() -> None:
    names = list(FAULTS)[:3]
    good = [Outcome(name, "as ever", (), 2.0, 9, "2026-01-01") for name in names]
    page = render(SECTIONS, good)
    assert "3 of 3 rows are right." in page
    again = render(SECTIONS, [Outcome(names[1], "", ("it | stood still",), 2.0, 9, "2026-01-02")], page)
    assert "2 of 3 rows are right." in again
    assert f"- **{names[1]}**: it \\| stood still" in again
    assert [found for found in ROW.findall(again) if found in FAULTS] == names
    assert "3 of 3" in render(SECTIONS, [good[1]], again)


def test_every_row_is_on_the_page_and_right() -> None:
    text = PAGE.read_text()
    assert ROW.findall(text) == list(FAULTS)
    assert len(FAULTS) >= 60
    assert "Not run yet" not in text

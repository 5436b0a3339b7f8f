"""Every rule in each of eight cases, derived from a small entry for it, by each version of Prometheus.

Not firing, pending, firing, resolved, absent series, flapping, one lost scrape, an exporter restart: tests/alerts/cases.
"""

from __future__ import annotations

import pytest

from tests.alerts.cases.derive import CASES, Cases
from tests.alerts.cases.entries import ENTRIES
from tests.alerts.cases.rules import alerts
from tests.alerts.cases.run import Outcome, run
from tests.alerts.tools import Tools

ALWAYS = "Watchdog"
"""It has one case: it fires."""

ALL = {
    cases.key: cases
    for name, entries in ENTRIES.items()
    for cases in (Cases(name, entry, alerts()[name]) for entry in entries if name in alerts())
}


@pytest.fixture(scope="module")
def outcomes(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """What promtool says of all cases."""
    return run(tools.promtool, ALL.values(), tmp_path_factory.mktemp("cases"))


def test_every_alert_has_an_entry() -> None:
    assert set(ENTRIES) == set(alerts()) - {ALWAYS}


def test_the_watchdog_needs_no_series() -> None:
    assert alerts()[ALWAYS].document["expr"] == "vector(1)"
    assert alerts()[ALWAYS].wait == 0


@pytest.mark.parametrize("key", sorted(ALL))
def test_an_alert_passes_its_cases(outcomes: dict[str, Outcome], key: str) -> None:
    failed = outcomes[key].failed
    assert not failed, f"{', '.join(failed)}:\n" + "".join(failed.values())


@pytest.mark.parametrize("key", sorted(ALL))
def test_an_alert_has_exactly_its_labels_and_says_what_it_should(outcomes: dict[str, Outcome], key: str) -> None:
    cases = ALL[key]
    assert len(outcomes[key].fired) == 1
    ((labels, said),) = outcomes[key].fired
    assert labels == {"alertname": cases.name, **cases.entry.labels}
    assert set(said) == set(cases.rule.document["annotations"])
    for name, text in said.items():
        assert text.strip(), name
        assert text == text.strip(), name
        for trace in ("error expanding template", "%!", "<no value>", "<nil>", "NaN", "+Inf", "{{", "}}", "  "):
            assert trace not in text, f"{name}: {text}"
    for name, part in cases.entry.heard.items():
        assert part in said[name]


def test_a_case_that_does_not_hold_is_told(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The cases above could pass for want of being evaluated."""
    cases = Cases("MemoryPressure", ENTRIES["ProbeLate"][0], alerts()["MemoryPressure"])
    (outcome,) = run(tools.promtool, [cases], tmp_path_factory.mktemp("wrong")).values()
    assert {"pending", "one lost scrape", "an exporter restart", "resolved", "absent series"} <= set(outcome.failed)
    assert outcome.fired == []


def test_the_cases_have_the_names_that_are_promised() -> None:
    queries = [test["expr"] for cases in ALL.values() for group in cases.groups() for test in group["promql_expr_test"]]
    named = {query.partition(" # ")[2].partition(": ")[2].partition(",")[0] for query in queries}
    assert named | {"firing"} == set(CASES)

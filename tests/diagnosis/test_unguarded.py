"""Why what Sentinels watch is not well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from exporter.diagnosis.facts import levels
from exporter.diagnosis.model import Confidence, Diagnosis, Member, Reading, Symptom
from exporter.metrics.family import Family
from exporter.redis import families as r
from tests.diagnosis.snapshots import DOWN, dependency, found, seen

WELL: Mapping[Family, float] = {r.SENTINEL_UP: 1, r.SENTINEL_MASTERS: 1, r.SENTINEL_QUORUM_OK: 1}
DEAD: Mapping[Family, float] = {r.SENTINEL_UP: 0, r.SENTINEL_MASTERS: 0}
TWO: Mapping[Family, float] = {r.SENTINEL_MASTERS: 2}
FEW: Mapping[Family, float] = {r.SENTINEL_QUORUM_OK: 0}


def sentinels(*told: Mapping[Family, float], master: str = "main", **more: Any) -> Member:
    """Make a dependency of Sentinels, of what each says of one master."""
    facts: dict[Family, tuple[Reading, ...]] = {}
    for number, each in enumerate(told):
        of = {"master": master, "target": f"s{number}:26379"}
        for family, value in {**WELL, **each}.items():
            facts[family] = (*facts.get(family, ()), Reading(of, value))
        facts[r.SENTINEL_ADDRESS] = (
            *facts.get(r.SENTINEL_ADDRESS, ()), Reading({**of, "address": "10.0.0.7:6379"}, 1)
        )  # fmt: skip
    facts[r.SENTINEL_SENTINELS] = tuple(
        Reading({"master": master, "state": state, "target": "s0:26379"}, value)
        for state, value in {"usable": 1, "known": 3}.items()
    )
    return dependency("sentinel", "redis", facts=facts, **more)


def only(member: Member) -> Diagnosis:
    (diagnosis,) = found(member)["sentinel"]
    assert diagnosis.symptom is Symptom.UNGUARDED
    return diagnosis


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([DEAD, DEAD], [("master_down", Confidence.HIGH)]),
        ([DEAD, WELL], [("master_down", Confidence.MEDIUM)]),
        ([TWO, TWO], [("split_brain", Confidence.HIGH)]),
        ([FEW, FEW], [("quorum_lost", Confidence.HIGH)]),
        ([{**DEAD, **FEW}, {**DEAD, **FEW}], [("master_down", Confidence.HIGH), ("quorum_lost", Confidence.HIGH)]),
        ([{**DEAD, **FEW}, FEW], [("quorum_lost", Confidence.HIGH), ("master_down", Confidence.MEDIUM)]),
    ],
)
def test_causes(told: list[Mapping[Family, float]], expected: list[tuple[str, Confidence]]) -> None:
    assert [(each.cause.name, each.confidence) for each in only(sentinels(*told)).causes] == expected


def test_while_nothing_is_wrong_with_a_master_nothing_is_found() -> None:
    assert found(sentinels(WELL, WELL)) == {}


def test_the_evidence_names_the_master_and_where_it_is() -> None:
    down, few = only(sentinels({**DEAD, **FEW}, {**DEAD, **FEW})).causes
    assert seen(down) == {"Sentinels that hold the master main at 10.0.0.7:6379 to be down": 2}
    assert down.evidence[0].series == 'probe_redis_sentinel_master_up{service="sentinel",master="main"}'
    assert seen(few) == {
        "Sentinels of main that reach too few others": 2, "Sentinels of main that are usable": 1,
        "Sentinels of main that are known": 3,
    }  # fmt: skip


def test_of_several_masters_each_is_named_under_one_cause() -> None:
    one, other = sentinels(DEAD), sentinels(DEAD, WELL, master="other")
    both = {family: (*readings, *other.facts[family]) for family, readings in one.facts.items()}
    (cause,) = only(dependency("sentinel", "redis", facts=both)).causes
    assert [each.text.split(" at ")[0] for each in cause.evidence] == [
        "Sentinels that hold the master main", "Sentinels that hold the master other"
    ]  # fmt: skip
    assert cause.confidence is Confidence.HIGH


def test_sentinels_that_are_down_are_so_first() -> None:
    both = found(sentinels(FEW, verdict=DOWN))["sentinel"]
    assert [each.symptom for each in both] == [Symptom.DOWN, Symptom.UNGUARDED]


@pytest.mark.parametrize(
    ("told", "expected"), [(WELL, {}), *(({**WELL, **each}, {"unguarded": 1}) for each in (DEAD, TWO, FEW))]
)
def test_what_is_kept_of_each_attempt(told: Mapping[Family, float], expected: dict[str, float]) -> None:
    assert levels({family: {("main",): value} for family, value in told.items()}) == expected

"""What an attempt takes: many samples at once, and parts that their client has bounded in time."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from exporter.metrics.family import gauge, histogram
from exporter.probing.attempt import MAX_SERIES, Attempt
from exporter.verdict import Failure, Reason, Stage

FACT = gauge("probe_test_fact", "A fact.", "name")
OTHER = gauge("probe_test_other", "Another.", "name")


def attempt() -> Attempt:
    """One whose defects are named."""
    return Attempt(5.0, lambda error, stage: error if isinstance(error, Failure) else Failure(stage, Reason.INTERNAL))


async def test_many_samples_at_once_are_as_one_by_one() -> None:
    """The last one of a series counts, values are floats, and the mapping that was handed in stays the caller's."""
    one_by_one, at_once = attempt(), attempt()
    for name, value in (("a", 1), ("b", True), ("a", 3)):
        one_by_one.record(FACT, value, name)
    handed: dict[tuple[str, ...], float] = {("a",): 1, ("b",): True}
    at_once.record_all({FACT: handed, OTHER: {}})
    at_once.record_all({FACT: {("a",): 3}})
    assert at_once.samples == one_by_one.samples == {FACT: {("a",): 3.0, ("b",): 1.0}}
    assert {type(value) for value in at_once.samples[FACT].values()} == {float}
    assert handed == {("a",): 1, ("b",): True}


async def test_many_samples_at_once_cost_less() -> None:
    """CPU time of this thread, the best of five: a cluster has as many series as are taken."""
    many: dict[tuple[str, ...], float] = {(str(number),): 1.0 for number in range(18_000)}

    def spent(record: Callable[[Attempt], None]) -> float:
        this = attempt()
        started = time.thread_time()
        record(this)
        return time.thread_time() - started

    def one_by_one(this: Attempt) -> None:
        for labels, value in many.items():
            this.record(FACT, value, *labels)

    single = min(spent(one_by_one) for _ in range(5))
    at_once = min(spent(lambda this: this.record_all({FACT: many})) for _ in range(5))
    assert at_once < 0.6 * single


async def test_samples_at_once_count_towards_the_bound() -> None:
    """What there is room for is recorded, in order; series that are known take none."""
    this = attempt()
    this.record(FACT, 1.0, "first")
    this.record_all({OTHER: {(str(number),): 1.0 for number in range(MAX_SERIES - 3)}})
    this.record_all({FACT: {("first",): 2.0, ("second",): 2.0}})
    with pytest.raises(Failure) as caught:
        this.record_all({FACT: {("first",): 3.0, ("third",): 3.0, ("fourth",): 3.0}})
    assert caught.value.reason is Reason.TOO_LARGE
    assert sum(map(len, this.samples.values())) == MAX_SERIES
    assert ("third",) in this.samples[FACT]
    assert ("fourth",) not in this.samples[FACT]


async def test_samples_of_another_shape_are_a_defect() -> None:
    """As one by one."""
    with pytest.raises(ValueError, match="takes labels"):
        attempt().record_all({FACT: {("a",): 1.0, ("a", "b"): 1.0}})
    with pytest.raises(ValueError, match="kept by the engine"):
        attempt().record_all({histogram("probe_test_seconds", "Seconds.", buckets=[1.0]): {(): 1.0}})


async def test_a_part_is_noted_as_its_client_says() -> None:
    """Failures as they are, anything else classified as what it is: a defect."""
    this = attempt()
    failure = Failure(Stage.QUERY, Reason.TIMEOUT)
    this.note_part("whole", None)
    this.note_part("failed", failure)
    this.note_part("broken", RuntimeError("a defect"))
    assert this.parts["whole"] is None
    assert this.parts["failed"] is failure
    broken = this.parts["broken"]
    assert broken is not None
    assert (broken.stage, broken.reason) == (Stage.INTERNAL, Reason.INTERNAL)

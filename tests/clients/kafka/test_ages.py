"""Ages told from ends of the log: a log that the test writes, a clock that it turns, and answers by timestamp."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.clients.kafka.ages import LONGEST, PRECISE, Ages
from exporter.clients.kafka.layout import Partition

AT = Partition("orders", 0)
STEP = 30.0
NOW = 10_000_000.0


class Log:
    """A partition; what it holds are the times at which its records were written."""

    def __init__(self, times: Iterable[float] = ()) -> None:
        self.ages = Ages()
        self.times = sorted(times)
        self.beginning = 0
        self.asked = 0

    def read(self, now: float, *commits: int) -> None:
        ends, beginnings = {"orders": {0: len(self.times)}}, {"orders": {0: self.beginning}}
        self.ages.observe(now, {AT: commits}, ends, beginnings)

    def answer(self, now: float, looks: int = 100) -> None:
        """Answer by timestamp, as often as is asked and at most so often."""
        for _ in range(looks):
            times = self.ages.ask(now, 10)
            if not times:
                return
            self.asked += 1
            found = max(self.beginning, bisect_left(self.times, times[AT]))
            self.ages.learn(now, times, {AT: found if found < len(self.times) else None})
        raise AssertionError("it never ends asking")

    def age(self, now: float, commit: int) -> float | None:
        return self.ages.age(now, AT, commit)


def near(age: float) -> object:
    return pytest.approx(age, rel=0.3, abs=PRECISE)


def test_nothing_unread_is_zero_from_the_first_reading_on_without_a_question() -> None:
    log = Log([1.0] * 20)
    log.read(NOW, 20)
    log.answer(NOW)
    assert (log.age(NOW, 20), log.asked) == (0.0, 0)


def test_nothing_known_is_left_out_rather_than_put_at_zero() -> None:
    log = Log([NOW - 500] * 20)
    assert log.age(NOW, 5) is None
    log.read(NOW, 5)
    assert log.age(NOW, 5) is None
    log.answer(NOW)
    assert log.age(NOW, 5) == near(500)


def test_what_was_seen_to_come_is_known_to_an_interval_without_a_question() -> None:
    log = Log([NOW - 1e6] * 100)
    for number in range(100):
        now = NOW + number * STEP
        log.read(now, 100)
        log.times += [now + STEP / 2] * 3
    now = NOW + 100 * STEP
    log.read(now, 100)
    log.answer(now)
    assert log.asked == 0
    for commit in range(100, 400, 7):
        age = log.age(now, commit)
        assert age is not None
        assert abs(age - (now - log.times[commit])) <= max(PRECISE, 0.25 * age)
        assert age > 0


@given(
    st.lists(st.floats(0, 400 * 86400.0), min_size=1, max_size=60),
    st.data(),
)
def test_any_log_is_known_from_few_questions(ages: list[float], data: st.DataObject) -> None:
    log = Log(NOW - age for age in ages)
    commit = data.draw(st.integers(0, len(ages) - 1))
    log.read(NOW, commit)
    log.answer(NOW, looks=40)
    assert log.age(NOW, commit) == near(NOW - log.times[commit])


def test_below_the_beginning_of_the_log_it_is_the_first_record_kept() -> None:
    log = Log([NOW - 90_000] * 50 + [NOW - 700] * 50)
    log.beginning = 50
    log.read(NOW, 5)
    log.answer(NOW)
    assert log.age(NOW, 5) == near(700)
    log.beginning = 100  # and where retention took all of it, nothing is left to be read
    log.read(NOW, 5)
    assert log.age(NOW, 5) == 0.0


@pytest.mark.parametrize("to", ["end", "beginning"])
def test_a_topic_made_anew_begins_anew(to: str) -> None:
    log = Log([NOW - 90_000] * 50)
    log.beginning = 10
    log.read(NOW - STEP, 20)
    log.answer(NOW - STEP)
    assert log.age(NOW - STEP, 20) == near(90_000)
    log.times = [NOW - 400] * (40 if to == "end" else 60)
    log.beginning = 10 if to == "end" else 0
    log.read(NOW, 20)
    assert log.age(NOW, 20) is None
    log.answer(NOW)
    assert log.age(NOW, 20) == near(400)


def test_records_without_a_timestamp_are_left_out_and_not_asked_about_for_ever() -> None:
    ages = Ages()
    ages.observe(NOW, {AT: [0]}, {"orders": {0: 9}}, {})
    for _ in range(30):
        times = ages.ask(NOW, 10)
        ages.learn(NOW, times, dict.fromkeys(times, None))
    assert ages.ask(NOW, 10) == {}
    assert ages.age(NOW, AT, 0) is None
    assert LONGEST > 0


def test_what_is_kept_of_a_partition_is_bounded_and_an_old_commit_stays_known() -> None:
    log = Log([NOW])
    for number in range(2000):
        now = NOW + number * STEP
        log.times.append(now - 1)
        log.read(now, 1, number // 2)
        log.answer(now)
    assert len(log.ages._histories[AT.topic][AT.number].points) <= 48  # the bound of memory
    for commit in (1, 300, 999):
        assert log.age(now, commit) == near(now - log.times[commit])
    assert log.asked < 2000


def test_questions_of_one_time_are_bounded() -> None:
    ages = Ages()
    ages.observe(NOW, {Partition("orders", n): [0] for n in range(50)}, {"orders": dict.fromkeys(range(50), 9)}, {})
    assert len(ages.ask(NOW, 10)) == 10


def test_a_topic_made_anew_is_told_by_its_identity_though_its_log_is_longer() -> None:
    ages = Ages()
    for number in range(5):
        ages.observe(NOW + STEP * number, {AT: [100]}, {"orders": {0: 100 + number}}, {}, {"orders": b"first"})
    assert ages.age(NOW + STEP * 5, AT, 100) is not None
    ages.observe(NOW + STEP * 5, {AT: [100]}, {"orders": {0: 900}}, {}, {"orders": b"second"})
    assert ages.age(NOW + STEP * 5, AT, 100) is None


def test_what_nothing_is_answered_for_leaves_others_their_turn() -> None:
    ages = Ages()
    other = Partition("mail", 0)
    ages.observe(NOW, {AT: [0], other: [0]}, {"orders": {0: 9}, "mail": {0: 9}}, {})
    times = ages.ask(NOW, 1)
    ages.learn(NOW, times, {})
    assert set(ages.ask(NOW, 10)) == {AT, other} - set(times)


def test_what_compaction_took_is_as_old_as_the_first_record_that_survived() -> None:
    """The log still begins at 0; nothing before 60 is left."""
    ages = Ages()
    written = {60: NOW - 5000, 70: NOW - 3000, 99: NOW - 100}
    ages.observe(NOW, {AT: [10, 65]}, {"orders": {0: 100}}, {"orders": {0: 0}})
    for _ in range(50):
        times = ages.ask(NOW, 1)
        if times:
            ages.learn(NOW, times, {AT: next((at for at, time in written.items() if time >= times[AT]), None)})
    assert ages.ask(NOW, 1) == {}
    assert ages.age(NOW, AT, 10) == near(5000)
    between = ages.age(NOW, AT, 65)  # it was written after 60 and before 70, and is gone
    assert between is not None
    assert 0.7 * 3000 < between < 1.3 * 5000
    later = NOW + STEP
    ages.observe(later, {AT: [10]}, {"orders": {0: 105}}, {"orders": {0: 0}})
    assert ages.age(later, AT, 10) == near(5000)


@pytest.mark.parametrize("years", [11, 31, 56])
def test_records_too_old_to_be_have_no_age_nor_that_of_those_after_them(years: float) -> None:
    """As from a producer that takes seconds for milliseconds: in January 1970. They are there: compaction took nothing."""
    ages = Ages()
    written = [NOW - years * 366 * 86400.0] * 5 + [NOW - 5000.0] * 5
    ages.observe(NOW, {AT: [2, 7]}, {"orders": {0: 10}}, {"orders": {0: 0}})
    for _ in range(20):
        times = ages.ask(NOW, 1)
        ages.learn(NOW, times, {at: next((n for n, when in enumerate(written) if when >= times[at]), None) for at in times})
    assert ages.ask(NOW, 1) == {}
    assert ages.age(NOW, AT, 2) is None
    assert ages.age(NOW, AT, 7) == near(5000)

"""What a group does, told from its commits over time: a clock that the test turns, and readings one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from exporter.clients.kafka.errors import PartitionErrorReason
from exporter.clients.kafka.groups import Group
from exporter.clients.kafka.layout import Partition
from exporter.clients.kafka.progress import REBALANCE_SECONDS, Progress, Standing
from exporter.clients.kafka.verdicts import GroupVerdict

WINDOW = 300.0
STEP = 15.0


class Watched:
    """A group with a topic, read every `STEP` seconds."""

    def __init__(self, **of_group: Any) -> None:
        self.progress = Progress(WINDOW)
        self.now = 1000.0
        self.of_group = {"state": "stable", "members": 1, "committed": True, **of_group}

    def read(self, commits: Mapping[int, int], ends: Mapping[int, int] | None, **of_group: Any) -> Standing:
        self.now += STEP
        group = Group(**{**self.of_group, "commits": {"orders": dict(commits)} if commits else {}, **of_group})
        found = self.progress.observe(self.now, {"billing": group}, {"orders": dict(ends)} if ends is not None else {})
        return found["billing"]

    def over(self, seconds: float, commit: Any, end: Any, **of_group: Any) -> Standing:
        """Read for a while; commits and ends of partition 0 are functions of the reading's number."""
        for number in range(int(seconds / STEP) + 1):
            found = self.read({0: commit(number)}, {0: end(number)}, **of_group)
        return found


def test_a_group_that_commits_is_ok_from_its_second_reading_on() -> None:
    watched = Watched()
    assert watched.read({0: 10}, {0: 20}).verdict is GroupVerdict.UNKNOWN  # nothing has been seen of what it does
    assert watched.read({0: 15}, {0: 25}).verdict is GroupVerdict.OK


def test_a_group_without_lag_is_ok_at_once() -> None:
    assert Watched().read({0: 20}, {0: 20}).verdict is GroupVerdict.OK


def test_nothing_committed_anywhere_while_messages_come_is_stalled_after_the_window_and_not_before() -> None:
    watched = Watched()
    before = watched.over(WINDOW - STEP, lambda _: 7, lambda n: 98 + n)
    assert (before.verdict, before.standing) == (GroupVerdict.UNKNOWN, {})
    found = watched.over(2 * STEP, lambda _: 7, lambda n: 200 + n)
    assert found.verdict is GroupVerdict.STALLED
    assert found.standing == {"orders": 1}
    assert WINDOW <= found.seconds["orders"] <= WINDOW + 4 * STEP
    healed = watched.read({0: 300}, {0: 300})
    assert (healed.verdict, healed.standing, healed.seconds) == (GroupVerdict.OK, {}, {"orders": 0.0})


def test_a_partition_that_stands_while_the_others_move_is_poisoned() -> None:
    watched = Watched()
    for number in range(30):
        found = watched.read({0: 7, 1: 10 * number}, {0: 100 + number, 1: 10 * number + 5})
    assert (found.verdict, found.standing) == (GroupVerdict.POISONED, {"orders": 1})


def test_what_was_never_committed_although_a_member_has_it_is_stalled_once_messages_came_in() -> None:
    assigned = {"orders": {0}}
    watched = Watched(assigned=assigned)
    for _ in range(40):  # one that begins at the end has nothing to commit before something comes
        found = watched.read({}, {0: 400})
    assert (found.verdict, found.uncommitted) == (GroupVerdict.OK, {"orders": 1})
    for number in range(40):
        found = watched.read({}, {0: 400 + number})
    assert (found.verdict, found.standing) == (GroupVerdict.STALLED, {"orders": 1})
    found = watched.read({}, {0: 500}, assigned={})
    assert (found.verdict, found.standing, found.uncommitted) == (GroupVerdict.OK, {}, {})


def test_a_first_record_that_is_retried_while_other_partitions_move_is_poisoned() -> None:
    watched = Watched(assigned={"orders": {0, 1}})
    for number in range(30):
        found = watched.read({1: number}, {0: 50 + number, 1: number + 1})
    assert (found.verdict, found.standing, found.uncommitted) == (GroupVerdict.POISONED, {"orders": 1}, {"orders": 1})


def test_the_marker_of_a_transaction_is_no_message_that_waits_for_ever() -> None:
    watched = Watched()
    found = watched.over(10 * WINDOW, lambda _: 13, lambda _: 14)
    assert (found.verdict, found.standing, found.seconds) == (GroupVerdict.OK, {}, {"orders": 0.0})


@pytest.mark.parametrize(("end", "verdict"), [(20, GroupVerdict.STOPPED), (10, GroupVerdict.EMPTY)])
def test_without_members_it_is_stopped_or_empty_at_once(end: int, verdict: GroupVerdict) -> None:
    assert Watched(members=0, state="empty").read({0: 10}, {0: end}).verdict is verdict


def test_a_commit_beyond_the_end_is_ahead_from_the_second_reading_on() -> None:
    watched = Watched()
    assert watched.read({0: 500}, {0: 20}).verdict is GroupVerdict.OK
    assert watched.read({0: 500}, {0: 21}).verdict is GroupVerdict.AHEAD
    assert watched.read({0: 500}, {0: 500}).verdict is GroupVerdict.OK


def test_a_commit_that_went_back_is_rewound_for_the_window() -> None:
    watched = Watched()
    watched.read({0: 500}, {0: 500})
    assert watched.read({0: 100}, {0: 500}).verdict is GroupVerdict.REWOUND
    assert watched.over(WINDOW - 2 * STEP, lambda n: 110 + n, lambda _: 500).verdict is GroupVerdict.REWOUND
    assert watched.over(2 * STEP, lambda n: 300 + n, lambda _: 500).verdict is GroupVerdict.OK


def test_lag_that_grows_throughout_is_lagging_and_a_burst_is_not() -> None:
    grows, bursts, works_off = Watched(), Watched(), Watched()
    assert grows.over(2 * WINDOW, lambda n: 10 * n, lambda n: 100 + 20 * n).verdict is GroupVerdict.LAGGING
    assert bursts.over(2 * WINDOW, lambda n: 100 * (n // 4), lambda n: 100 + 25 * n).verdict is GroupVerdict.OK
    assert works_off.over(2 * WINDOW, lambda n: 20 * n, lambda n: 1000 + 10 * n).verdict is GroupVerdict.OK


def test_a_rebalance_is_told_once_it_takes_long() -> None:
    watched = Watched(state="preparing_rebalance")
    verdicts = [watched.read({0: 5}, {0: 5}).verdict for _ in range(int(REBALANCE_SECONDS / STEP) + 1)]
    assert verdicts == [GroupVerdict.OK] * (len(verdicts) - 1) + [GroupVerdict.REBALANCING]
    assert watched.read({0: 5}, {0: 5}, state="stable").verdict is GroupVerdict.OK


@pytest.mark.parametrize("unknown", ["commits", "ends", "a partition"])
def test_what_is_not_known_is_unknown_and_what_stands_is_told_all_the_same(unknown: str) -> None:
    errors = {Partition("orders", 9): PartitionErrorReason.TIMEOUT}
    cases: dict[str, dict[str, Any]] = {
        "commits": {"committed": False},
        "ends": {},
        "a partition": {"partition_errors": errors},
    }
    of_group = cases[unknown]
    ends = None if unknown == "ends" else {0: 20}
    watched = Watched()
    assert watched.read({} if unknown == "commits" else {0: 20}, ends, **of_group).verdict is GroupVerdict.UNKNOWN
    if unknown == "a partition":
        assert watched.over(2 * WINDOW, lambda _: 7, lambda n: 50 + n, **of_group).verdict is GroupVerdict.STALLED


def test_a_reading_without_the_group_is_no_new_beginning_and_one_that_is_gone_is_forgotten() -> None:
    watched = Watched()
    watched.over(WINDOW - 2 * STEP, lambda _: 7, lambda n: 98 + n)
    for _ in range(4):
        watched.now += STEP
        assert watched.progress.observe(watched.now, {}, {}) == {}
    assert watched.read({0: 7}, {0: 400}).verdict is GroupVerdict.STALLED
    watched.now += WINDOW + 1
    watched.progress.observe(watched.now, {}, {})
    assert watched.read({0: 7}, {0: 400}).verdict is GroupVerdict.UNKNOWN


def test_a_log_that_was_made_anew_begins_anew() -> None:
    watched = Watched()
    watched.over(WINDOW - STEP, lambda _: 7, lambda n: 98 + n)
    assert watched.over(2 * STEP, lambda _: 7, lambda n: 10 + n).standing == {}


def test_every_verdict_is_told_by_some_case() -> None:
    """No verdict of the closed list is without a case above: the list and this file are held together."""
    text = Path(__file__).read_text("utf-8")
    assert [verdict for verdict in GroupVerdict if f"GroupVerdict.{verdict.name}" not in text] == []


def test_a_commit_that_is_gone_stands_still_no_more() -> None:
    """It expired, was deleted, or went with its partition: nothing would ever move it, and the page never end."""
    watched = Watched()
    for number in range(int(WINDOW / STEP) + 2):
        found = watched.read({0: number, 1: 7}, {0: number, 1: 50 + number})
    assert (found.verdict, found.standing) == (GroupVerdict.POISONED, {"orders": 1})
    failing = {Partition("orders", 1): PartitionErrorReason.TIMEOUT}
    assert watched.read({0: 100}, {0: 100, 1: 100}, partition_errors=failing).standing == {"orders": 1}
    gone = watched.read({0: 101}, {0: 101, 1: 101})
    assert (gone.verdict, gone.standing, gone.seconds) == (GroupVerdict.OK, {}, {"orders": 0.0})


def test_what_was_not_watched_for_longer_than_the_window_is_watched_anew() -> None:
    """An outage of the cluster or of the exporter is none of the consumers: they may have committed since."""
    watched = Watched()
    watched.over(2 * STEP, lambda _: 7, lambda n: 98 + n)
    watched.now += 2 * WINDOW
    assert watched.read({0: 7}, {0: 900}).verdict is GroupVerdict.UNKNOWN
    assert watched.over(WINDOW + STEP, lambda _: 7, lambda n: 901 + n).verdict is GroupVerdict.STALLED


def test_an_interval_longer_than_the_window_is_no_gap() -> None:
    watched = Watched()
    watched.progress = Progress(WINDOW, longest_gap=6 * WINDOW)
    for number in range(3):
        watched.now += 2 * WINDOW
        found = watched.read({0: 7}, {0: 98 + number})
    assert found.verdict is GroupVerdict.STALLED


def test_what_is_kept_of_a_group_is_bounded_though_its_topics_come_and_go() -> None:
    """One that lives on while a topic a reading is made, read, and deleted."""
    watched = Watched()
    for number in range(400):
        watched.now += STEP
        for topic in (f"upload-{number}", "orders"):
            group = Group(**watched.of_group, commits={topic: {0: 5}})
            watched.progress.observe(watched.now, {"billing": group}, {topic: {0: 9}})
    course = watched.progress._courses["billing"]
    assert len(course.still) <= len(course.topics) <= 3 + WINDOW / STEP
    assert ("orders", 0) in course.still
    assert len(course.made) == 0


def test_a_rewind_is_seen_across_a_reading_that_has_an_error_for_the_partition() -> None:
    """Other partitions of the topic are read meanwhile, and what was known of this one stays."""
    watched = Watched()
    watched.read({0: 50, 1: 50}, {0: 60, 1: 60})
    errors = {Partition("orders", 1): PartitionErrorReason.NOT_AVAILABLE}
    watched.read({0: 55}, {0: 60, 1: 60}, partition_errors=errors)
    watched.read({0: 55}, {0: 60, 1: 60}, partition_errors=errors)
    assert watched.read({0: 55, 1: 20}, {0: 60, 1: 60}).verdict is GroupVerdict.REWOUND


def test_a_topic_that_was_made_anew_is_told_by_its_identity_though_its_log_is_longer() -> None:
    """What stood still was of another topic, and a commit that is lower is no step back."""
    watched = Watched()
    for number in range(40):
        watched.now += STEP
        group = Group(**watched.of_group, commits={"orders": {0: 50, 1: 50}})
        ends = {"orders": {0: 100 + number, 1: 100 + number}}
        found = watched.progress.observe(watched.now, {"billing": group}, ends, {"orders": b"first"})["billing"]
    assert (found.verdict, found.standing) == (GroupVerdict.STALLED, {"orders": 2})
    watched.now += STEP
    group = Group(**watched.of_group, commits={"orders": {0: 50, 1: 7}})
    found = watched.progress.observe(watched.now, {"billing": group}, {"orders": {0: 900, 1: 900}}, {"orders": b"second"})[
        "billing"
    ]
    assert found.standing == {}
    assert found.seconds == {"orders": 0.0}
    assert found.verdict is not GroupVerdict.REWOUND

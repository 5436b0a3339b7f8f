"""How consumer groups get on: what their commits do over a while, which no single reading can tell."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from threading import Lock
from typing import NamedTuple

from exporter.clients.kafka.groups import Group
from exporter.clients.kafka.layout import Partition
from exporter.clients.kafka.offsets import OffsetsByTopic
from exporter.clients.kafka.verdicts import GroupVerdict

__all__ = ["REBALANCE_SECONDS", "Progress", "Standing"]

REBALANCE_SECONDS = 60.0
"""Seconds past which a rebalance has gone on for long: it ends within a session's timeout, which is 45 s by default."""

_READINGS = 40
"""Sums of lag that are kept of a group, spread over the window."""

_MOST = 0.8
"""Share of the window that must have been seen before a lag is said to have grown throughout."""

_REBALANCING = frozenset({"preparing_rebalance", "completing_rebalance"})
"""States in which nobody reads. In the new protocol all but the member that is given something else go on."""


class Standing(NamedTuple):
    """What is known of a group.

    Attributes:
        verdict: What it does.
        standing: Partitions, by topic, whose commit has stood still for the whole window although messages came in.
        seconds: By topic, for how long the commit of some partition has stood still although messages came in; zero where
            none does.
        uncommitted: Partitions, by topic, that a member has been given and that nothing was ever committed of.
    """

    verdict: GroupVerdict
    standing: Mapping[str, int]
    seconds: Mapping[str, float]
    uncommitted: Mapping[str, int]


class _Still(NamedTuple):
    """A commit that does not move although messages wait.

    Attributes:
        commit: Which; None where there never was one.
        since: Since when.
        end: Where the log ended then.
        grown: Whether it has grown since.
    """

    commit: int | None
    since: float
    end: int
    grown: bool = False


class _Seen(NamedTuple):
    """A topic as a reading had it, and what it came to: nothing is reckoned anew where nothing has moved.

    Attributes:
        commits: Of the group.
        ends: Of the log.
        lag: Messages behind, over the partitions whose ends are known.
        whole: Whether all are.
        ahead: Whether a commit is beyond the end of the log.
    """

    commits: Mapping[int, int]
    ends: Mapping[int, int]
    lag: int
    whole: bool
    ahead: bool


@dataclass(slots=True)
class _Course:
    """One group over time.

    Attributes:
        topics: Those that something is kept of.
        away: Since when each of them has not been the group's.
        made: Which of the topics that have had this name each is, where the brokers tell.
        seen: The topics of the last reading.
    """

    watched_since: float
    seen_at: float
    topics: set[str] = field(default_factory=set)
    away: dict[str, float] = field(default_factory=dict)
    made: dict[str, bytes] = field(default_factory=dict)
    commits: OffsetsByTopic = field(default_factory=dict)
    seen: dict[str, _Seen] = field(default_factory=dict)
    still: dict[tuple[str, int], _Still] = field(default_factory=dict)
    lags: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_READINGS))
    advanced_at: float = -inf
    rewound_at: float = -inf
    ahead: int = 0
    rebalancing_since: float | None = None

    def forget(self, topics: Collection[str]) -> None:
        """Drop all that is kept of topics."""
        if not topics:
            return
        self.topics -= set(topics)
        for topic in topics:
            for kept in (self.away, self.made, self.commits, self.seen):
                kept.pop(topic, None)
        self.still = {at: still for at, still in self.still.items() if at[0] not in topics}


@dataclass(slots=True)
class _Sum:
    """What a group's commits add up to in one reading.

    Attributes:
        lag: Messages behind, over the partitions that are known.
        whole: Whether all are.
        ahead: Whether a commit is beyond the end of the log.
    """

    lag: int = 0
    whole: bool = True
    ahead: bool = False


class Progress:
    """Follows groups from reading to reading.

    Args:
        window: Seconds after which a commit that does not move, while messages come in, stands still.
        longest_gap: Seconds without a reading past which a group is watched anew; the window by default.
    """

    def __init__(self, window: float, longest_gap: float = 0.0) -> None:
        self._window = window
        self._longest_gap = max(window, longest_gap)
        self._courses: dict[str, _Course] = {}
        self._lock = Lock()  # a reading whose attempt was given up may still be at it in its thread

    def observe(
        self, now: float, groups: Mapping[str, Group], ends: OffsetsByTopic, made: Mapping[str, bytes | None] | None = None
    ) -> dict[str, Standing]:
        """Take in a reading, and return what each of its groups does.

        A group that is missing is kept for a while: a coordinator that does not answer is no new beginning.

        Args:
            now: Seconds of a clock that goes forwards.
            groups: As they were read.
            ends: Ends of the log, read after the commits.
            made: Identities of topics, where the brokers tell: one that was made anew has another, and begins anew.
        """
        with self._lock:
            for name in [name for name, course in self._courses.items() if course.seen_at < now - self._longest_gap]:
                del self._courses[name]  # what it did meanwhile is not known: it may have committed, and stood still since
            return {name: self._observe(now, name, group, ends, made or {}) for name, group in groups.items()}

    def _observe(
        self, now: float, name: str, group: Group, ends: OffsetsByTopic, made: Mapping[str, bytes | None]
    ) -> Standing:
        course = self._courses.get(name)
        if course is None:
            course = self._courses[name] = _Course(now, now)
        course.seen_at = now
        self._take_topics(now, course, group, made)
        total = _take_commits(now, course, group, ends)
        uncommitted = _take_uncommitted(now, course, group, ends)
        if group.committed:
            course.ahead = course.ahead + 1 if total.ahead else 0
            course.commits = _known_commits(course, group)
        _take_state(now, course, group)
        if total.whole and (not course.lags or now - course.lags[-1][0] >= self._window / _READINGS):
            course.lags.append((now, total.lag))
        seconds, standing = self._still(now, course, group)
        return Standing(self._verdict(now, course, group, total, standing), standing, seconds, uncommitted)

    def _take_topics(self, now: float, course: _Course, group: Group, made: Mapping[str, bytes | None]) -> None:
        """Forget topics that were made anew, and those that have not been the group's for long: they come and go."""
        current = group.commits.keys() | group.assigned.keys() if group.assigned else group.commits.keys()
        course.forget({topic for topic, which in course.made.items() if (made.get(topic) or which) != which})
        if course.topics == current:
            course.away.clear()
        else:
            course.away = {topic: course.away.get(topic, now) for topic in course.topics - current}
            course.topics |= current
            course.forget({topic for topic, since in course.away.items() if since < now - self._longest_gap})
        if len(course.made) < len(current):
            course.made |= {topic: which for topic in current if (which := made.get(topic))}

    def _still(self, now: float, course: _Course, group: Group) -> tuple[dict[str, float], dict[str, int]]:
        """Return for how long commits have stood still by topic, and in how many partitions for the whole window.

        The marker of a transaction, and what was aborted, stay behind the last commit for ever: a commit stands still only
        where the log has grown since.
        """
        seconds = dict.fromkeys(group.commits, 0.0) | dict.fromkeys(group.assigned, 0.0)
        standing: dict[str, int] = {}
        for (topic, number), still in list(course.still.items()):
            if still.commit is None and number not in group.assigned.get(topic, ()):
                del course.still[topic, number]  # it was taken from the group
            elif still.commit is not None and _is_gone(group, topic, number):
                del course.still[topic, number]  # it expired, was deleted, or went with its partition
            elif still.grown and topic in seconds:
                seconds[topic] = max(seconds[topic], now - still.since)
                if now - still.since >= self._window:
                    standing[topic] = standing.get(topic, 0) + 1
        return seconds, standing

    def _verdict(self, now: float, course: _Course, group: Group, total: _Sum, standing: Mapping[str, int]) -> GroupVerdict:
        """Return the first that holds: what keeps all from being read comes before what concerns some of it."""
        start = now - self._window
        rebalancing, nobody = course.rebalancing_since, group.members == 0
        lags = [lag for at, lag in course.lags if at >= start]
        long_enough = bool(course.lags) and course.lags[0][0] <= now - _MOST * self._window
        undecided = total.lag > 0 and course.advanced_at == -inf and course.watched_since > start
        holds = (
            (GroupVerdict.REBALANCING, rebalancing is not None and now - rebalancing >= REBALANCE_SECONDS),
            (GroupVerdict.AHEAD, course.ahead > 1),  # the end that a new leader tells may be behind for a moment
            (GroupVerdict.STOPPED, nobody and total.lag > 0),
            (GroupVerdict.EMPTY, nobody and total.whole),
            (GroupVerdict.POISONED, bool(standing) and not nobody and course.advanced_at >= start),
            (GroupVerdict.STALLED, bool(standing) and not nobody),
            (GroupVerdict.REWOUND, course.rewound_at >= start and not nobody),
            (GroupVerdict.UNKNOWN, not total.whole or undecided),
            (GroupVerdict.LAGGING, long_enough and _grow(lags)),
        )
        return next((verdict for verdict, it_is in holds if it_is), GroupVerdict.OK)


def _is_gone(group: Group, topic: str, number: int) -> bool:
    """Say whether a commit is no more; not of a topic of which nothing was read, which may be back in the next reading."""
    if topic not in group.commits or number in group.commits[topic]:
        return False
    return group.committed and Partition(topic, number) not in group.partition_errors


def _known_commits(course: _Course, group: Group) -> OffsetsByTopic:
    """Return the commits of a reading, and of partitions that it has an error for those of before."""
    before: OffsetsByTopic = {}
    for topic, number in group.partition_errors:
        commit = course.commits.get(topic, {}).get(number)
        if commit is not None:
            before.setdefault(topic, {})[number] = commit
    return group.commits | {topic: numbers | group.commits.get(topic, {}) for topic, numbers in before.items()}


def _take_commits(now: float, course: _Course, group: Group, ends: OffsetsByTopic) -> _Sum:
    total = _Sum(whole=group.committed and not group.partition_errors)
    seen: dict[str, _Seen] = {}
    for topic, commits in group.commits.items():
        ends_here, before = ends.get(topic, {}), course.seen.get(topic)
        if before is None or before.commits != commits or before.ends != ends_here:
            before = _take_topic(now, course, topic, commits, ends_here)
        seen[topic] = before
        total.lag += before.lag
        total.whole = total.whole and before.whole
        total.ahead = total.ahead or before.ahead
    course.seen = seen
    return total


def _take_topic(now: float, course: _Course, topic: str, commits: Mapping[int, int], ends: Mapping[int, int]) -> _Seen:
    """Take in commits that have moved, or ends that have."""
    before = course.commits.get(topic, {})
    if commits != before:
        moved = [commit - before.get(number, commit) for number, commit in commits.items()]
        course.advanced_at = now if max(moved, default=0) > 0 else course.advanced_at
        course.rewound_at = now if min(moved, default=0) < 0 else course.rewound_at
    lag, ahead = 0, False
    for number, commit in commits.items():
        end = ends.get(number)
        if end is None:
            continue
        if commit < end:
            lag += end - commit
            _keep(now, course, (topic, number), commit, end)
        else:
            ahead = ahead or commit > end
            if course.still:  # of most groups nothing stands still
                course.still.pop((topic, number), None)
    return _Seen(commits, ends, lag, commits.keys() <= ends.keys(), ahead)


def _take_uncommitted(now: float, course: _Course, group: Group, ends: OffsetsByTopic) -> dict[str, int]:
    if not group.committed:
        return {}
    uncommitted: dict[str, int] = {}
    for topic, numbers in group.assigned.items():
        ends_here, commits = ends.get(topic, {}), group.commits.get(topic, {})
        for number in numbers:
            if number not in commits and number in ends_here and (topic, number) not in group.partition_errors:
                uncommitted[topic] = uncommitted.get(topic, 0) + 1
                _keep(now, course, (topic, number), None, ends_here[number])
    return uncommitted


def _keep(now: float, course: _Course, at: tuple[str, int], commit: int | None, end: int) -> None:
    """Keep how long a commit before the end has stood."""
    before = course.still.get(at)
    if before is None or before.commit != commit or end < before.end:
        course.still[at] = _Still(commit, now, end)
    elif end > before.end and not before.grown:
        course.still[at] = before._replace(grown=True)


def _take_state(now: float, course: _Course, group: Group) -> None:
    if group.state not in _REBALANCING:
        course.rebalancing_since = None
    elif course.rebalancing_since is None:
        course.rebalancing_since = now


def _grow(lags: Sequence[int]) -> bool:
    """Say whether lags grew throughout: what they were at most in the first third is less than at least in the last.

    A consumer that reads in bursts goes up and down, and does not.
    """
    third = len(lags) // 3
    return third > 0 and min(lags) > 0 and max(lags[:third]) < min(lags[-third:])

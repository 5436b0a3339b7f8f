"""How long the first unread record of a partition has waited, without reading it: when the end of the log passed it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import sqrt
from operator import attrgetter
from threading import Lock
from typing import NamedTuple

from exporter.clients.kafka.layout import Partition

__all__ = ["LONGEST", "PRECISE", "Ages"]

PRECISE = 60.0
"""Seconds within which the time of a record is near enough, whatever its age."""

LONGEST = 10 * 366 * 86400.0
"""Age past which a record is not looked for, nor told: it has no timestamp, or none that can be."""

_BEFORE_ALL = 10 * LONGEST
"""Age that no record has, whatever its producer's clock: also of one that took seconds for milliseconds."""

_SHARE = 0.25
"""Share of its age within which the time of a record is near enough not to be asked about any more."""

_TOLD = 0.5
"""Share of its age within which it is told, so that what was known and is thinned out is not forgotten at once."""

_POINTS = 48
"""Points kept of a partition; they are thinned out to a share of their age, away from the records asked about."""

_FARTHER = 8.0
"""By how much an older time is looked at next, as long as all that were looked at are too young."""


class _Point(NamedTuple):
    """An end of the log.

    Attributes:
        end: Offset after the last record.
        first: When the log was first known to end there.
        last: When it last was.
    """

    end: int
    first: float
    last: float


class _Passed(NamedTuple):
    """Between which times a record was written, and where between them it was if they came evenly."""

    after: float
    about: float
    before: float


@dataclass(slots=True)
class _History:
    """Ends of one partition.

    Attributes:
        made: Identity of its topic; None where brokers do not tell it.
        beginning: Offset of the first record kept.
        surviving: The same by what a broker says of a time before all records: compaction moves no beginning.
        points: The ends.
        unread: The first unread records that are asked about.
        current: Whether the last reading had its end.
        unanswered: The reading, by its time, in which it was asked about and nothing was answered.
    """

    made: bytes | None = None
    beginning: int = 0
    surviving: int = 0
    points: list[_Point] = field(default_factory=list)
    unread: list[int] = field(default_factory=list)
    current: bool = False
    unanswered: float | None = None

    def observe(self, now: float, end: int, beginning: int) -> None:
        if not self.points or end < self.points[-1].end or beginning < self.beginning:
            self.points, self.surviving = [_Point(end, now, now)], 0  # made anew, or it lost records: it is of others
        elif end == self.points[-1].end:
            self.points[-1] = self.points[-1]._replace(last=now)
        else:
            self.points.append(_Point(end, now, now))
        self.beginning = beginning
        least = self.unread[0] if self.unread else end
        while len(self.points) > 1 and self.points[1].end <= least:
            del self.points[0]
        self._thin(now)

    def learn(self, now: float, at: float, end: int | None) -> None:
        """Take in where the log ended at a time; None for no record since."""
        if end is not None and now - at > _BEFORE_ALL / 2:  # nothing else is asked for so far back
            self.surviving = end
            self.unread = sorted({self.held(offset) for offset in self.unread})
        later = next((index for index, point in enumerate(self.points) if point.first > at), len(self.points))
        if later == len(self.points):
            return  # it lies within what was seen
        before, after = self.points[later - 1] if later else None, self.points[later]
        if before is not None and before.last >= at:
            return
        if end is None or end >= after.end:
            self.points[later] = after._replace(first=at)
        elif before is not None and end <= before.end:
            self.points[later - 1] = before._replace(last=at)
        else:
            self.points.insert(later, _Point(end, at, at))
            self._thin(now)

    def held(self, offset: int) -> int:
        """Return a record's offset, or that of the first after it which may still be there."""
        return max(offset, self.beginning, self.surviving)

    def passed(self, offset: int) -> _Passed | None:
        """Say when the end passed an offset; None if that was before all that is known, or has not been."""
        later = bisect_right(self.points, offset, key=_end)
        if not 0 < later < len(self.points):
            return None
        before, after = self.points[later - 1], self.points[later]
        share = (offset - before.end + 0.5) / (after.end - before.end)
        return _Passed(before.last, before.last + share * (after.first - before.last), after.first)

    def age(self, now: float, offset: int) -> float | None:
        """Return `Ages.age`."""
        points, offset = self.points, self.held(offset)
        if not points:
            return None
        if offset >= points[-1].end:
            return 0.0
        passed = self.passed(offset)
        if passed is None or now - passed.about >= LONGEST or not _near(now, passed, _TOLD):
            return None
        return max(0.0, now - passed.about)

    def ask(self, now: float) -> float | None:
        """Return a time to ask about next; None if all is known nearly enough, or to be had in this reading."""
        if now == self.unanswered:
            return None  # others have their turn
        for offset in self.unread:
            if offset >= self.points[-1].end:
                continue
            passed = self.passed(offset)
            if passed is None:
                age = now - self.points[0].first
                farther = max(PRECISE, _FARTHER * age)
                if age < LONGEST:
                    return now - (farther if farther < LONGEST else _BEFORE_ALL)
            elif now - passed.before < LONGEST and not _near(now, passed, _SHARE):
                # between ages, not times: what is old need not be known to the second
                youngest = max(now - passed.before, PRECISE / _FARTHER)
                return now - sqrt(youngest * (now - passed.after))
        return None

    def _thin(self, now: float) -> None:
        while len(self.points) > _POINTS:
            del self.points[min(range(1, len(self.points) - 1), key=lambda index: self._worth(now, index))]

    def _worth(self, now: float, index: int) -> tuple[bool, float]:
        """Say whether some record asked about lies beside a point, and what share of their age its neighbours are apart."""
        before, after = self.points[index - 1], self.points[index + 1]
        beside = bisect_left(self.unread, before.end) < bisect_left(self.unread, after.end)
        return beside, (after.first - before.last) / max(now - before.last, 1.0)


_end = attrgetter("end")


def _near(now: float, passed: _Passed, share: float) -> bool:
    return passed.before - passed.after <= max(PRECISE, share * (now - passed.after))


class Ages:
    """Follows the ends of partitions from reading to reading.

    What happened before the first reading is asked of the brokers by timestamp: the first record that is not older than a
    time lies where the log ended then. Times are of a clock that goes forwards, such as the event loop's.
    """

    def __init__(self) -> None:
        self._histories: dict[str, dict[int, _History]] = {}
        self._lock = Lock()  # a reading whose attempt was given up may still be at it in its thread

    def observe(
        self,
        now: float,
        unread: Mapping[Partition, Iterable[int]],
        ends: Mapping[str, Mapping[int, int]],
        beginnings: Mapping[str, Mapping[int, int]],
        made: Mapping[str, bytes | None] | None = None,
    ) -> None:
        """Take in a reading.

        Args:
            now: When the ends were read.
            unread: The partitions to follow, and the offsets in them whose records are asked about; others are forgotten.
            ends: Ends of the log; a partition without one keeps what is known of it.
            beginnings: Offsets of the first records kept.
            made: Identities of topics, where brokers tell them: one that was made anew has another, and begins anew.
        """
        made = made or {}
        with self._lock:
            followed: dict[str, dict[int, _History]] = {}
            for at, offsets in unread.items():
                history = followed.setdefault(at.topic, {})[at.number] = self._history(at, made.get(at.topic))
                end = ends.get(at.topic, {}).get(at.number)
                beginning = beginnings.get(at.topic, {}).get(at.number, history.beginning)
                history.unread = sorted({max(offset, beginning, history.surviving) for offset in offsets})
                history.current = end is not None
                if end is not None:
                    history.observe(now, end, beginning)
            self._histories = followed

    def _find(self, at: Partition) -> _History | None:
        return self._histories.get(at.topic, {}).get(at.number)

    def _history(self, at: Partition, made: bytes | None) -> _History:
        history = self._find(at)
        if history is None or (made is not None and history.made not in {None, made}):
            return _History(made)
        history.made = made or history.made
        return history

    def ask(self, now: float, most: int) -> dict[Partition, float]:
        """Return at what time the end of which partition should be asked for, so that ages are known well enough."""
        times: dict[Partition, float] = {}
        with self._lock:
            for topic, histories in self._histories.items():
                for number, history in histories.items():
                    time = history.ask(now) if history.current else None
                    if time is not None:
                        times[Partition(topic, number)] = time
                    if len(times) >= most:
                        return times
        return times

    def learn(self, now: float, times: Mapping[Partition, float], offsets: Mapping[Partition, int | None]) -> None:
        """Take in answers: the first record that is not older than the time, None if there is none."""
        with self._lock:
            for at, time in times.items():
                history = self._find(at)
                if history is None or not history.points:
                    continue
                if at in offsets:
                    history.learn(now, time, offsets[at])
                else:
                    history.unanswered = now

    def of_topic(self, now: float, topic: str, offsets: Mapping[int, int]) -> dict[int, float | None]:
        """Return `age` for an offset in each of these partitions."""
        with self._lock:
            histories = self._histories.get(topic, {})
            return {
                number: histories[number].age(now, offset) if number in histories else None
                for number, offset in offsets.items()
            }

    def age(self, now: float, at: Partition, offset: int) -> float | None:
        """Return how long the record at an offset, or the first kept after it, has waited.

        It is right to the time between two readings where the record was seen to come, else to `PRECISE` seconds or a
        quarter of itself, whichever is more; where many groups are far behind in one partition, to half of itself.

        Returns:
            Seconds; 0 if there is no such record yet; None while it is not known.
        """
        with self._lock:
            history = self._find(at)
            return history.age(now, offset) if history is not None else None

"""What is remembered of attempts for people: availability and latency of an hour, a day and a week, and the last failures.

It is of a fixed size: counts in rings of buckets, `BYTES` a target, and at the most `MOST_FAILURES` failures, of which those
that are alike and follow one another are one. Attempts that came out up are only counted, so failures stay for longer.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from exporter.verdict import Reason, Stage, Verdict

__all__ = ["BYTES", "MOST_DETAIL", "MOST_FAILURES", "WINDOWS", "Failed", "History", "Sum", "Window"]

MOST_FAILURES = 20

MOST_DETAIL = 300
"""Characters of a failure's detail that are remembered."""


class Window(NamedTuple):
    """A stretch of time up to now.

    Attributes:
        name: What people call it.
        width: Seconds of a bucket.
        buckets: How many there are.
    """

    name: str
    width: int
    buckets: int

    @property
    def seconds(self) -> int:
        """How long it is."""
        return self.width * self.buckets

    def began(self, now: float) -> float:
        """Return when its oldest bucket began, Unix seconds."""
        return float((int(now // self.width) - self.buckets + 1) * self.width)


WINDOWS = (Window("1 h", 120, 30), Window("24 h", 1800, 48), Window("7 d", 10800, 56))

_COUNTS, _TIMES = 3, 2
"""Of a bucket: attempts that were up, down and unknown; seconds of those that were up, together and the longest."""

_MOST_COUNTED = 65_535

_MOST_BACK = 3
"""So many attempts in a row from before all that a ring holds, and the clock was set back: it begins anew. One alone is a
clock that was wrong for a moment."""

BYTES = sum(window.buckets for window in WINDOWS) * (_COUNTS * 2 + _TIMES * 4)
"""Of the buckets of one target."""

_PLACES = {Verdict.UP: 0, Verdict.DOWN: 1, Verdict.UNKNOWN: 2}


class Failed(NamedTuple):
    """Failures that are alike and follow one another.

    Attributes:
        first: When the first of them ended, Unix seconds.
        last: When the last did.
        times: How many there are, rechecks among them.
        verdict: Of each.
        stage: How far they got.
        reason: Why.
        detail: Of the first, for people.
    """

    first: float
    last: float
    times: int
    verdict: Verdict
    stage: Stage | None
    reason: Reason | None
    detail: str


class Sum(NamedTuple):
    """What some attempts come to.

    Attributes:
        up: How many came out so.
        down: Likewise.
        unknown: Likewise.
        seconds: That those that were up took, together.
        longest: That the longest of them took.
        covered: Share of the time of which there is any, as near as the finest buckets that reach back so far tell.
    """

    up: int
    down: int
    unknown: int
    seconds: float
    longest: float
    covered: float

    @property
    def availability(self) -> float | None:
        """Share of those that are known to be up; None where none is known."""
        known = self.up + self.down
        return self.up / known if known else None

    @property
    def mean(self) -> float | None:
        """Seconds that one took that was up, in the mean."""
        return self.seconds / self.up if self.up else None


class _Ring:
    """Buckets of one window; the newest is known by its number since 1970."""

    __slots__ = ("back", "counts", "newest", "times", "window")

    def __init__(self, window: Window) -> None:
        self.window = window
        self.newest = 0
        self.back = 0
        self.counts = array("H", bytes(2 * _COUNTS * window.buckets))
        self.times = array("f", bytes(4 * _TIMES * window.buckets))

    def add(self, at: float, verdict: Verdict, seconds: float) -> None:
        bucket = int(at // self.window.width)
        if bucket <= self.newest - self.window.buckets:
            self.back += 1
            if self.back < _MOST_BACK:
                return
            self.newest = 0  # what was counted by the clock that went wrong is given up: it would hold all else out
        self.back = 0
        self.turn(bucket)
        place = bucket % self.window.buckets
        count = place * _COUNTS + _PLACES[verdict]
        self.counts[count] = min(self.counts[count] + 1, _MOST_COUNTED)
        if verdict is Verdict.UP:
            self.times[place * _TIMES] += seconds
            self.times[place * _TIMES + 1] = max(self.times[place * _TIMES + 1], seconds)

    def turn(self, bucket: int) -> None:
        """Empty what is too old for a bucket to be the newest."""
        for number in range(max(self.newest, bucket - self.window.buckets) + 1, bucket + 1):
            place = number % self.window.buckets
            self.counts[place * _COUNTS : (place + 1) * _COUNTS] = array("H", [0] * _COUNTS)
            self.times[place * _TIMES : (place + 1) * _TIMES] = array("f", [0.0] * _TIMES)
        self.newest = max(self.newest, bucket)

    def oldest_first(self, now: float) -> Iterator[tuple[int, int, int, float, float]]:
        last = int(now // self.window.width)
        for number in range(last - self.window.buckets + 1, last + 1):
            if self.newest - self.window.buckets < number <= self.newest:
                place = number % self.window.buckets
                up, down, unknown = self.counts[place * _COUNTS : (place + 1) * _COUNTS]
                seconds, longest = self.times[place * _TIMES : (place + 1) * _TIMES]
                yield up, down, unknown, seconds, longest
            else:
                yield 0, 0, 0, 0.0, 0.0

    def which_have_any(self, now: float) -> list[bool]:
        last, size, none = int(now // self.window.width), self.window.buckets, bytes(2 * _COUNTS)
        counts = self.counts.tobytes()
        return [
            self.newest - size < number <= self.newest
            and counts[number % size * len(none) : (number % size + 1) * len(none)] != none
            for number in range(last - size + 1, last + 1)
        ]


class History:
    """Of one target, or of a service as a whole."""

    __slots__ = ("_failing", "_rings", "failures")

    def __init__(self) -> None:
        self._rings = tuple(_Ring(window) for window in WINDOWS)
        self._failing = False
        self.failures: deque[Failed] = deque(maxlen=MOST_FAILURES)

    def count(self, at: float, verdict: Verdict, seconds: float) -> None:
        """Count an attempt of the grid. Rechecks are made because one has failed: counted, they would weigh it up.

        Args:
            at: When it ended, Unix seconds.
            verdict: How it came out.
            seconds: That it took.
        """
        for ring in self._rings:
            ring.add(at, verdict, seconds)

    def failed(self, at: float, verdict: Verdict, stage: Stage | None, reason: Reason | None, detail: str) -> None:
        """Take in a failure."""
        last = self.failures[-1] if self.failures and self._failing else None
        self._failing = True
        if last is not None and (last.verdict, last.stage, last.reason) == (verdict, stage, reason):
            self.failures[-1] = last._replace(last=at, times=last.times + 1)
        else:
            self.failures.append(Failed(at, at, 1, verdict, stage, reason, detail[:MOST_DETAIL]))

    def worked(self) -> None:
        """Take in that an attempt came out up: failures after it are others."""
        self._failing = False

    def sum(self, window: Window, now: float) -> Sum:
        """Add a window up."""
        at = WINDOWS.index(window)
        buckets = list(self._rings[at].oldest_first(now))
        up, down, unknown = (sum(each) for each in zip(*(bucket[:3] for bucket in buckets), strict=True))
        seconds, longest = math.fsum(bucket[3] for bucket in buckets), max(bucket[4] for bucket in buckets)
        began = window.began(now)
        seen = [_Seen(each, ring, now) for each, ring in zip(WINDOWS[: at + 1], self._rings, strict=False)]
        return Sum(up, down, unknown, seconds, longest, _covered(seen, began, now) / max(now - began, 1.0))

    def line(self, window: Window, now: float) -> str:
        """Write a window as a letter for each bucket, the oldest first.

        `u` up, `d` partly down, `D` down, `?` unknown and nothing else, `.` nothing.
        """
        return "".join(
            ("d" if up else "D") if down else "u" if up else "?" if unknown else "."
            for up, down, unknown, _, _ in self._rings[WINDOWS.index(window)].oldest_first(now)
        )

    def dump(self) -> tuple[list[tuple[int, bytes, bytes]], list[Failed]]:
        """Return all that is remembered, to be kept in a file."""
        return [(ring.newest, ring.counts.tobytes(), ring.times.tobytes()) for ring in self._rings], list(self.failures)

    @classmethod
    def loaded(cls, rings: list[tuple[int, bytes, bytes]], failures: list[Failed]) -> History:
        """Make one of what was kept.

        Raises:
            ValueError: It is of another size, or holds what no history does.
        """
        found = cls()
        if len(rings) != len(WINDOWS):
            raise ValueError("other windows")
        for ring, (newest, counts, times) in zip(found._rings, rings, strict=True):
            if len(counts) != 2 * len(ring.counts) or len(times) != 4 * len(ring.times) or newest < 0:
                raise ValueError("other buckets")
            ring.newest, ring.counts, ring.times = newest, array("H", counts), array("f", times)
            if not all(math.isfinite(seconds) and seconds >= 0 for seconds in ring.times):
                raise ValueError("a time that is none")
        found.failures.extend(failures[-MOST_FAILURES:])
        return found


class _Seen:
    """Which buckets of a window have anything.

    Attributes:
        width: Seconds of each.
        first: Number of the oldest.
        any: Of each, the oldest first.
        began: When that began.
    """

    __slots__ = ("any", "began", "first", "width")

    def __init__(self, window: Window, ring: _Ring, now: float) -> None:
        self.width = window.width
        self.began = window.began(now)
        self.first = round(self.began) // window.width
        self.any = ring.which_have_any(now)


def _covered(seen: Sequence[_Seen], begin: float, end: float) -> float:
    """Return the seconds of a stretch of which the last window has anything, those before it being shorter ones."""
    *shorter, window = seen
    found, width = 0.0, window.width
    for number in range(int(begin // width), window.first + len(window.any)):
        since, until = max(begin, number * width), min(end, (number + 1) * width)
        if since >= until:
            break
        if window.any[number - window.first]:
            near = shorter and until > shorter[-1].began
            found += (_seen_closer(shorter, since, until) if near else 0.0) or until - since
    return found


def _seen_closer(shorter: Sequence[_Seen], since: float, until: float) -> float:
    """Return the same of a bucket by the next shorter window: a minute is no three hours, as a bucket of the week is.

    0 where that has nothing. What is older than all of it counts where its own oldest bucket has something.
    """
    reach = max(since, shorter[-1].began)
    found = _covered(shorter, reach, until)
    return found + (reach - since if found and shorter[-1].any[0] else 0.0)

"""How far groups are behind in each partition, as samples: groups times partitions, most of all that is recorded.

What is the same at the next reading is kept: the labels of the partitions of a group's topic, and what was reckoned of it
where neither its commits nor the log have moved.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import repeat
from typing import NamedTuple

from exporter.clients.kafka.ages import Ages
from exporter.clients.kafka.cluster import Reading
from exporter.clients.kafka.groups import SHARE, Group
from exporter.kafka import families as k
from exporter.metrics.store import LabelValues, Samples

__all__ = ["Lags"]

_Place = tuple[str, str]
"""A group and a topic of which it has commits."""

_NONE: Mapping[int, int] = {}


class _Offsets(NamedTuple):
    """What a reading says of a group's topic, by partition: the rest follows from it.

    Attributes:
        commits: Of the group.
        ends: Offset after the last record.
        beginnings: Offset of the first record.
        left: Records left, where the broker counts what was acknowledged out of order.
    """

    commits: Mapping[int, int]
    ends: Mapping[int, int]
    beginnings: Mapping[int, int]
    left: Mapping[int, int]

    @classmethod
    def of(cls, reading: Reading, group: Group, topic: str) -> _Offsets:
        """Pick them out."""
        return cls(
            group.commits[topic],
            reading.ends.get(topic, _NONE),
            reading.beginnings.get(topic, _NONE),
            group.left.get(topic, _NONE),
        )


class _Reckoned(NamedTuple):
    """What follows.

    Attributes:
        offsets: From what.
        labels: Of the partitions whose end is known, by number.
        lags: Of them.
        whole: The lag of the topic; None where an end is not known.
        lost: Messages that were deleted before they were committed; None where a beginning or an end is not known.
        margin: Messages that retention has yet to take before the first that is not committed; None likewise, and where all
            is committed.
    """

    offsets: _Offsets
    labels: Mapping[int, LabelValues]
    lags: Mapping[LabelValues, float]
    whole: float | None
    lost: float | None
    margin: float | None


class Lags:
    """What groups are behind, from reading to reading."""

    def __init__(self) -> None:
        self._reckoned: Mapping[_Place, _Reckoned] = {}

    def samples_of_offsets(self, reading: Reading, most: int) -> Samples:
        """Return lags by partition and topic, what retention takes, and ends.

        An attempt takes a bounded number of series: what matters most comes first, and no more partitions than told.
        """
        before, reckoned = self._reckoned, dict[_Place, _Reckoned]()
        lags: dict[LabelValues, float] = {}
        topic_lags: dict[LabelValues, float] = {}
        starts: dict[LabelValues, float] = {}
        lost: dict[LabelValues, float] = {}
        margins: dict[LabelValues, float] = {}
        for name, group in reading.groups.items():
            unread = {partition.topic for partition in group.partition_errors}
            for topic in group.commits:
                place = name, topic
                offsets, known = _Offsets.of(reading, group, topic), before.get(place)
                if known is None or known.offsets != offsets:
                    known = _reckon(place, offsets, known.labels if known is not None else {})
                reckoned[place] = known
                if most and len(lags) <= most:  # past it the part fails, and more are not recorded
                    lags.update(known.lags)
                    if group.kind == SHARE:
                        starts.update((labels, float(offsets.commits[number])) for number, labels in known.labels.items())
                if topic in unread:  # what is said of the topic as a whole would be too little
                    continue
                if known.whole is not None:
                    topic_lags[place] = known.whole
                if known.lost is not None:
                    lost[place] = known.lost
                if known.margin is not None:
                    margins[place] = known.margin
        self._reckoned = reckoned  # at once: an attempt that was given up may still be at it in its thread
        return {
            k.TOPIC_LAG: topic_lags, k.LOST: lost, k.MARGIN: margins, k.LAG: lags, k.SHARE_START: starts,
            k.END_OFFSET: _ends(reading, most),
        }  # fmt: skip

    def samples_of_ages(self, reading: Reading, ages: Ages, now: float, most: int) -> Samples:
        """Return how old what is not committed is; by partition no more than told."""
        by_topic: dict[LabelValues, float] = {}
        by_partition: dict[LabelValues, float] = {}
        for name, group in reading.groups.items():
            unread = {partition.topic for partition in group.partition_errors}
            for topic, commits in group.commits.items():
                ends = reading.ends.get(topic, {})
                whole = commits.keys() <= ends.keys() and topic not in unread
                waiting = {number: commit for number, commit in commits.items() if number in ends and commit < ends[number]}
                found = ages.of_topic(now, topic, waiting) if waiting else {}
                known = {number: age for number, age in found.items() if age is not None}
                if commits and whole and len(known) == len(waiting):
                    by_topic[name, topic] = max(known.values(), default=0.0)
                if known and most and len(by_partition) <= most:
                    labels = self._labels_of((name, topic), known)
                    by_partition.update((labels[number], age) for number, age in known.items() if age)
        return {k.TOPIC_LAG_SECONDS: by_topic, k.LAG_SECONDS: by_partition}

    def _labels_of(self, place: _Place, numbers: Collection[int]) -> Mapping[int, LabelValues]:
        """Return the labels of partitions: those of the lags, where they have been told of the same reading."""
        reckoned = self._reckoned.get(place)
        if reckoned is not None and reckoned.labels.keys() >= set(numbers):
            return reckoned.labels
        return dict(zip(numbers, _labels(numbers, *place), strict=True))


def _reckon(place: _Place, offsets: _Offsets, labels: Mapping[int, LabelValues]) -> _Reckoned:
    """Reckon what follows from offsets; labels are those of before."""
    commits, ends, beginnings, left = offsets
    known = commits if commits.keys() <= ends.keys() else {n: commit for n, commit in commits.items() if n in ends}
    lag = [float(ends[number] - commit) for number, commit in known.items()]
    if left:
        lag = [float(left.get(number, behind)) for number, behind in zip(known, lag, strict=True)]
    if list(labels) != list(known):
        labels = dict(zip(known, _labels(known, *place), strict=True))
    # What is beyond the end in one partition makes up for nothing in another.
    whole = float(sum(behind for behind in lag if behind > 0)) if known is commits else None
    lost = margin = None
    if known is commits and commits.keys() <= beginnings.keys():
        kept = [(commit - beginnings[number], commit < ends[number]) for number, commit in commits.items()]
        lost = float(-sum(before for before, _ in kept if before < 0))
        margin = float(max(0, min(yet))) if (yet := [before for before, waits in kept if waits]) else None
    return _Reckoned(offsets, labels, dict(zip(labels.values(), lag, strict=True)), whole, lost, margin)


def _ends(reading: Reading, most: int) -> dict[LabelValues, float]:
    found: dict[LabelValues, float] = {}
    for topic, ends in reading.ends.items():
        if most and len(found) <= most:
            found.update(zip(_labels(ends, topic), map(float, ends.values()), strict=True))
    return found


def _labels(numbers: Iterable[int], *before: str) -> Iterator[LabelValues]:
    """Label values of partitions, which end in their number."""
    return zip(*map(repeat, before), map(str, numbers), strict=False)  # repeat never ends

"""What is kept from reading to reading changes nothing of what is told: beside one that begins anew each time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporter.clients.kafka.ages import Ages
from exporter.clients.kafka.cluster import Reading
from exporter.clients.kafka.errors import PartitionErrorReason
from exporter.clients.kafka.groups import Group
from exporter.clients.kafka.layout import Layout, Partition
from exporter.clients.kafka.progress import Progress
from exporter.kafka import families as k
from exporter.kafka.lags import Lags

offsets = st.dictionaries(st.integers(0, 3), st.integers(0, 2), max_size=4)
by_topic = st.dictionaries(st.sampled_from(["a", "b"]), offsets.filter(bool), max_size=2)
groups = st.builds(
    Group,
    kind=st.sampled_from(["", "share"]),
    state=st.just("stable"),
    members=st.sampled_from([0, 1]),
    committed=st.booleans(),
    commits=by_topic,
    left=by_topic,
    partition_errors=st.dictionaries(
        st.builds(Partition, st.sampled_from(["a", "b"]), st.integers(0, 3)),
        st.sampled_from(PartitionErrorReason),
        max_size=1,
    ),
)
readings = st.builds(
    Reading,
    st.just(Layout({})),
    groups=st.dictionaries(st.sampled_from(["g", "h"]), groups, max_size=2),
    ends=by_topic,
    beginnings=by_topic,
)


@given(st.lists(readings, max_size=6))
def test_lags_are_those_of_the_reading(found: list[Reading]) -> None:
    kept = Lags()
    for reading in found:
        new = Lags()
        told = kept.samples_of_offsets(reading, 100)
        assert told == new.samples_of_offsets(reading, 100)
        assert told[k.LAG] == {
            (name, topic, str(number)): group.left.get(topic, {}).get(number, reading.ends[topic][number] - commit)
            for name, group in reading.groups.items()
            for topic, commits in group.commits.items()
            for number, commit in commits.items()
            if number in reading.ends.get(topic, {})
        }
        ages = Ages()
        unread = {Partition(topic, number): [0] for topic, ends in reading.ends.items() for number in ends}
        ages.observe(0.0, unread, {topic: dict.fromkeys(ends, 0) for topic, ends in reading.ends.items()}, {})
        ages.observe(10.0, unread, reading.ends, {})
        assert kept.samples_of_ages(reading, ages, 20.0, 100) == new.samples_of_ages(reading, ages, 20.0, 100)


class _Forgetful(Progress):
    """Reckons everything anew."""

    def forget(self) -> None:
        for course in self._courses.values():
            course.seen = {}


@given(st.lists(readings, max_size=12))
def test_progress_is_that_of_all_readings(found: list[Reading]) -> None:
    kept, forgetful = Progress(60.0), _Forgetful(60.0)
    for number, reading in enumerate(found):
        forgetful.forget()
        now = 15.0 * number
        assert kept.observe(now, reading.groups, reading.ends) == forgetful.observe(now, reading.groups, reading.ends)
        assert {name: course.still for name, course in kept._courses.items()} == {
            name: course.still for name, course in forgetful._courses.items()
        }

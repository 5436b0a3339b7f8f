"""The hand-written OffsetFetch against the schemas of it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.clients.kafka.commits import MANY_GROUPS, CommitsRequest, Committed, Wanted
from exporter.clients.kafka.layout import Partition
from exporter.clients.kafka.requests import OffsetFetchRequest
from exporter.verdict import Failure, Reason

names = st.text(min_size=1, max_size=20)
numbers = st.integers(0, 2**31 - 1)
entries = st.lists(
    st.tuples(
        numbers,
        st.integers(-1, 2**63 - 1),
        st.none() | st.text(max_size=5) | st.sampled_from([126, 127, 128, 4096]).map("m".__mul__),
        st.integers(-1, 120),
    ),
    max_size=5,
    unique_by=lambda entry: entry[0],
)
topics_asked = st.dictionaries(names, st.lists(numbers, max_size=5), max_size=5)
Topics = list[tuple[str, list[tuple[int, int, str | None, int]]]]
answers = st.lists(st.tuples(names, entries), max_size=5, unique_by=lambda topic: topic[0])
of_groups = st.dictionaries(names, st.tuples(answers, st.integers(-1, 120)), max_size=4)

_TYPES = {struct.API_VERSION: struct.RESPONSE_TYPE for struct in OffsetFetchRequest.STRUCTS}
MAKERS: dict[int, Callable[[Topics, int], Any]] = {
    1: lambda topics, _: _TYPES[1](topics),
    2: _TYPES[2],
    3: lambda topics, error: _TYPES[3](7, topics, error),
}


def of_many(groups: list[tuple[str, Topics, int]]) -> bytes:
    """The answer for many groups, as the schema has it, after the header's number."""
    told: list[Any] = []
    for name, topics, error in groups:
        tagged: list[Any] = [
            (topic, [(n, at, 9, said, code, {}) for n, at, said, code in found], {}) for topic, found in topics
        ]
        told.append((name, tagged, error, {}))
    return b"\0" + bytes(_TYPES[8](7, told, {}).encode())


def read_many(data: bytes, *groups: str, topics: Mapping[str, list[int]]) -> dict[str, Committed]:
    """Read such an answer."""
    return CommitsRequest(groups, Wanted.of(topics)).prepare({9: (1, MANY_GROUPS)}).decode(BytesIO(data))


def flat(committed: Committed) -> dict[Partition, int]:
    """The offsets by partition."""
    return {Partition(topic, number): at for topic, found in committed.offsets.items() for number, at in found.items()}


@given(names, topics_asked, st.sampled_from([1, 2, 3]))
def test_requests_are_written_as_the_schema_has_them(group: str, topics: dict[str, list[int]], version: int) -> None:
    """Byte for byte, header included."""
    ours = CommitsRequest([group], Wanted.of(topics)).prepare({9: (1, version)})
    theirs = OffsetFetchRequest([group], list(topics.items())).prepare({9: (version, version)})
    assert ours.encode() == theirs.encode()
    assert ours.build_request_header(5, "me").encode() == theirs.build_request_header(5, "me").encode()


@given(st.lists(names, max_size=5), topics_asked, st.booleans())
def test_requests_for_many_groups_are_too(groups: list[str], topics: dict[str, list[int]], everything: bool) -> None:
    """For chosen partitions, and for whatever they have."""
    wanted = Wanted.of(topics)
    ours = CommitsRequest(groups, wanted.any() if everything else wanted).prepare({9: (1, 8)})
    theirs = OffsetFetchRequest(groups, None if everything else list(topics.items())).prepare({9: (8, 8)})
    assert ours.encode() == theirs.encode()
    assert ours.build_request_header(5, "me").encode() == theirs.build_request_header(5, "me").encode()


@given(answers, st.integers(-1, 120), st.sampled_from([1, 2, 3]))
def test_answers_are_read_as_the_schema_has_them(topics: Topics, error: int, version: int) -> None:
    """Commits and errors of what was asked for, whatever else is in the answer."""
    wanted = Wanted.of({topic: [entry[0] for entry in found] for topic, found in topics})
    prepared = CommitsRequest(["g"], wanted).prepare({9: (1, version)})
    read = prepared.decode(BytesIO(MAKERS[version](topics, error).encode()))["g"]
    told = {Partition(topic, entry[0]): entry for topic, found in topics for entry in found}
    assert read.error_code == (error if version > 1 else 0)
    assert read.partition_errors == {partition: entry[3] for partition, entry in told.items() if entry[3]}
    assert flat(read) == {partition: entry[1] for partition, entry in told.items() if not entry[3] and entry[1] >= 0}


@given(of_groups)
def test_answers_for_many_groups_are_too(groups: dict[str, tuple[Topics, int]]) -> None:
    """Each group with its own error, its own commits and the errors of its partitions."""
    asked: dict[str, list[int]] = {}
    for topics, _ in groups.values():
        for topic, found in topics:
            asked.setdefault(topic, []).extend(entry[0] for entry in found)
    read = read_many(of_many([(name, *said) for name, said in groups.items()]), *groups, topics=asked)
    assert list(read) == list(groups)
    for name, (topics, error) in groups.items():
        told = {Partition(topic, entry[0]): entry for topic, found in topics for entry in found}
        assert read[name].error_code == error
        assert read[name].partition_errors == {partition: entry[3] for partition, entry in told.items() if entry[3]}
        assert flat(read[name]) == {at: entry[1] for at, entry in told.items() if not entry[3] and entry[1] >= 0}


def test_partitions_that_were_not_asked_for_are_left_out() -> None:
    """Labels come from what was asked, not from what is answered."""
    said: Topics = [("orders", [(0, 5, "", 0), (1, 5, "", 0)]), ("other", [(0, 5, "", 3)])]
    prepared = CommitsRequest(["g"], Wanted.of({"orders": [0]})).prepare({9: (1, 2)})
    read = prepared.decode(BytesIO(MAKERS[2](said, 0).encode()))["g"]
    for committed in (read, read_many(of_many([("g", said, 0)]), "g", topics={"orders": [0]})["g"]):
        assert committed.offsets == {"orders": {0: 5}}
        assert not committed.partition_errors


def test_groups_that_were_not_asked_for_are_left_out_and_what_is_said_first_of_one_stands() -> None:
    """What is missing then is missing: its group is told by who asked."""
    first: Topics = [("orders", [(0, 5, "", 0)])]
    other: Topics = [("orders", [(0, 6, "", 0)])]
    data = of_many([("a", first, 0), ("stranger", other, 0), ("a", other, 16)])
    read = read_many(data, "a", "b", "c", topics={"orders": [0]})
    assert list(read) == ["a"]
    assert (read["a"].error_code, read["a"].offsets) == (0, {"orders": {0: 5}})


def test_what_a_later_broker_adds_is_passed_over() -> None:
    """Tags, wherever they may be: those of the header, a partition, a topic, a group."""
    tag = b"\x02" + b"\x07\x03abc" + b"\x81\x01\x00"  # two: number 7 of three bytes, number 129 of none
    partition = struct.pack(">iqi", 0, 5, 1) + b"\x03hi" + b"\0\0" + tag
    topic = b"\x07orders" + b"\x02" + partition + tag
    group = b"\x02g" + b"\x02" + topic + b"\0\x10" + tag
    data = tag + bytes(4) + b"\x03" + group + group.replace(b"\x02g", b"\x02h", 1).replace(b"\0\x10", b"\0\0") + tag
    read = read_many(data, "g", "h", topics={"orders": [0]})
    assert [(name, said.error_code, said.offsets) for name, said in read.items()] == [
        ("g", 16, {"orders": {0: 5}}), ("h", 0, {"orders": {0: 5}})
    ]  # fmt: skip


@given(st.binary(max_size=60), st.sampled_from([3, 8]))
def test_anything_else_is_refused_at_once(data: bytes, version: int) -> None:
    """Counts that announce more than there is end with the bytes; nothing else is raised."""
    prepared = CommitsRequest(["g"], Wanted.of({"orders": [0]})).prepare({9: (1, version)})
    with suppress(ValueError, struct.error):
        prepared.decode(BytesIO((b"\0" if version == 8 else b"") + bytes(4) + data))


@given(st.data())
def test_an_answer_that_is_cut_short_is_an_error_of_reading(data: st.DataObject) -> None:
    """At whatever byte, but for the tags of the whole, which are not looked at."""
    whole = of_many([("a", [("orders", [(0, 5, "x", 0), (1, -1, None, 3)])], 0), ("b", [], 16)])
    cut = data.draw(st.integers(0, len(whole) - 2))
    with pytest.raises((ValueError, struct.error)):
        read_many(whole[:cut], "a", "b", topics={"orders": [0, 1]})


@pytest.mark.parametrize(
    "data", [b"", b"\x7f\xff\xff\xff", b"\0\0\0\x01\xff\xff" + bytes(40), b"\0\0\0\x01\0\x02\xff\xfe" + bytes(40)]
)
def test_hostile_answers_are_errors_of_reading(data: bytes) -> None:
    """Too short, endless, without a name, not text."""
    prepared = CommitsRequest(["g"], Wanted.of({"orders": [0]})).prepare({9: (1, 2)})
    with pytest.raises((ValueError, struct.error)):
        prepared.decode(BytesIO(data))


ENDLESS = b"\xff\xff\xff\xff\x0f"


@pytest.mark.parametrize("data", [
    b"", ENDLESS, b"\0\0\0\0" + ENDLESS, b"\0\0\0\0\x80\x80\x80\x80\x80\x01", b"\0\0\0\0\x02" + ENDLESS,
    b"\0\0\0\0\x02\x02g" + ENDLESS, b"\0\0\0\0\x02\x02g\x02\x07orders" + ENDLESS, b"\0\0\0\0\x02\x03\xff\xfe" + bytes(40),
    b"\0\0\0\0\x02\x02g\x02\x07orders\x02" + bytes(16) + ENDLESS + bytes(9), b"\0\0\0\0\x02\x02g\x01\0\0" + ENDLESS,
], ids=[
    "short", "throttle", "groups", "number", "name", "topics", "partitions", "not-text", "metadata", "tags",
])  # fmt: skip
def test_hostile_answers_for_many_groups_are_too(data: bytes) -> None:
    """Each length that there is, made as large as it can be: nothing is reserved for it."""
    with pytest.raises((ValueError, struct.error)):
        read_many(b"\0" + data, "g", topics={"orders": [0]})


def test_more_groups_than_were_asked_for_are_not_looked_through() -> None:
    """Thousands, each with a name of its own."""
    data = of_many([(f"group-{number}", [], 0) for number in range(5000)])
    with pytest.raises(ValueError, match="5000 groups"):
        read_many(data, "group-1", topics={"orders": [0]})


@pytest.mark.parametrize(("partitions", "together"), [(1, 25), (60, 25), (200, 8), (2000, 1), (5000, 1)])
def test_so_many_groups_are_asked_for_at_once_that_the_answer_stays_small(partitions: int, together: int) -> None:
    """Where every partition is in the answer; of whatever groups have, it is not known beforehand."""
    wanted = Wanted.of({"orders": range(partitions)})
    assert wanted.together == together
    assert wanted.any().together == 25
    said: Topics = [("orders", [(number, 5, "", 0) for number in range(partitions)])]
    assert together == 1 or len(of_many([("a-group", said, 0)] * together)) < 34 * 1024


def test_a_broker_that_has_become_an_old_one_is_not_asked_for_many() -> None:
    """As where it was set back between two answers; groups are asked for one by one at the next attempt."""
    with pytest.raises(Failure) as caught:
        CommitsRequest(["a", "b"], Wanted.of({"orders": [0]})).prepare({9: (1, 3)})
    assert caught.value.reason is Reason.PROTOCOL

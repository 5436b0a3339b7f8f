"""The hand-written OffsetFetch against aiokafka's own reading and writing of it."""

from __future__ import annotations

import struct
from contextlib import suppress
from io import BytesIO

import pytest
from aiokafka.protocol.commit import (
    OffsetFetchRequest,
    OffsetFetchResponse_v1,
    OffsetFetchResponse_v2,
    OffsetFetchResponse_v3,
)
from hypothesis import given
from hypothesis import strategies as st

from exporter.clients.kafka.layout import Partition
from exporter.clients.kafka.offsets import CommitsRequest, Wanted

names = st.text(min_size=1, max_size=20)
numbers = st.integers(0, 2**31 - 1)
entries = st.lists(
    st.tuples(numbers, st.integers(-1, 2**63 - 1), st.none() | st.text(max_size=5), st.integers(-1, 120)),
    max_size=5,
    unique_by=lambda entry: entry[0],
)
topics_asked = st.dictionaries(names, st.lists(numbers, max_size=5), max_size=5)
answers = st.lists(st.tuples(names, entries), max_size=5, unique_by=lambda topic: topic[0])
MAKERS = {
    1: lambda topics, error: OffsetFetchResponse_v1(topics),
    2: OffsetFetchResponse_v2,
    3: lambda topics, error: OffsetFetchResponse_v3(7, topics, error),
}


@given(names, topics_asked, st.sampled_from([1, 2, 3]))
def test_requests_are_written_as_the_schema_has_them(group: str, topics: dict[str, list[int]], version: int) -> None:
    """Byte for byte, header included."""
    ours = CommitsRequest(group, Wanted.of(topics)).prepare({9: (1, version)})
    theirs = OffsetFetchRequest(group, list(topics.items())).prepare({9: (version, version)})
    assert ours.encode() == theirs.encode()
    assert ours.build_request_header(5, "me").encode() == theirs.build_request_header(5, "me").encode()


@given(answers, st.integers(-1, 120), st.sampled_from([1, 2, 3]))
def test_answers_are_read_as_the_schema_has_them(
    topics: list[tuple[str, list[tuple[int, int, str | None, int]]]], error: int, version: int
) -> None:
    """Commits and errors of what was asked for, whatever else is in the answer."""
    wanted = Wanted.of({topic: [entry[0] for entry in found] for topic, found in topics})
    read = CommitsRequest("g", wanted).prepare({9: (1, version)}).decode(BytesIO(MAKERS[version](topics, error).encode()))
    flat = {Partition(topic, entry[0]): entry for topic, found in topics for entry in found}
    assert read.error_code == (error if version > 1 else 0)
    assert read.partition_errors == {partition: entry[3] for partition, entry in flat.items() if entry[3]}
    offsets = {Partition(topic, number): at for topic, found in read.offsets.items() for number, at in found.items()}
    assert offsets == {partition: entry[1] for partition, entry in flat.items() if not entry[3] and entry[1] >= 0}


def test_partitions_that_were_not_asked_for_are_left_out() -> None:
    """Labels come from what was asked, not from what is answered."""
    answer = OffsetFetchResponse_v2([("orders", [(0, 5, "", 0), (1, 5, "", 0)]), ("other", [(0, 5, "", 3)])], 0)
    read = CommitsRequest("g", Wanted.of({"orders": [0]})).prepare({9: (1, 2)}).decode(BytesIO(answer.encode()))
    assert read.offsets == {"orders": {0: 5}}
    assert not read.partition_errors


@given(st.binary(max_size=60))
def test_anything_else_is_refused_at_once(data: bytes) -> None:
    """Counts that announce more than there is end with the bytes; nothing else is raised."""
    prepared = CommitsRequest("g", Wanted.of({"orders": [0]})).prepare({9: (1, 3)})
    with suppress(ValueError, struct.error):
        prepared.decode(BytesIO(b"\0\0\0\0" + data))


@pytest.mark.parametrize(
    "data", [b"", b"\x7f\xff\xff\xff", b"\0\0\0\x01\xff\xff" + bytes(40), b"\0\0\0\x01\0\x02\xff\xfe" + bytes(40)]
)
def test_hostile_answers_are_errors_of_reading(data: bytes) -> None:
    """Too short, endless, without a name, not text."""
    prepared = CommitsRequest("g", Wanted.of({"orders": [0]})).prepare({9: (1, 2)})
    with pytest.raises((ValueError, struct.error)):
        prepared.decode(BytesIO(data))

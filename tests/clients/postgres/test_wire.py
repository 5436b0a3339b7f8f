"""The guard before asyncpg: what it hands on, and what it refuses."""

from __future__ import annotations

import asyncio
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.clients.postgres.wire import MAX_ANSWER_BYTES, MAX_FIRST_BYTES, MAX_ITERATIONS, Guard
from exporter.verdict import Reason


class Inner(asyncio.Protocol):
    """Takes what it is handed."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.lost: list[Exception | None] = []

    def data_received(self, data: bytes) -> None:
        self.chunks.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


class Wire(asyncio.Transport):
    """Knows whether it was aborted."""

    aborted = False

    def abort(self) -> None:
        self.aborted = True


def guarded(*, framed: bool = True) -> tuple[Guard, Inner, Wire]:
    inner, wire = Inner(), Wire()
    guard = Guard(inner, framed=framed)
    guard.connection_made(wire)
    return guard, inner, wire


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def sasl(iterations: str) -> bytes:
    return message(b"R", struct.pack("!i", 11) + f"r=nonce,s=c2FsdA==,i={iterations}".encode())


messages = st.lists(st.builds(message, st.sampled_from([b"S", b"D", b"C", b"Z"]), st.binary(max_size=40)), min_size=1)


@given(messages, st.lists(st.integers(1, 30), min_size=1))
def test_messages_are_handed_on_whole_however_they_arrive(sent: list[bytes], sizes: list[int]) -> None:
    guard, inner, wire = guarded()
    data, ends = b"".join(sent), {0}
    for item in sent:
        ends.add(max(ends) + len(item))
    handed, position = 0, 0
    while position < len(data):
        size = sizes[position % len(sizes)]
        guard.data_received(data[position : position + size])
        position += size
        handed = len(b"".join(inner.chunks))
        assert handed in ends
    assert b"".join(inner.chunks) == data
    assert handed == len(data)
    assert not wire.aborted


@given(st.binary(max_size=400), st.integers(1, 50))
def test_anything_that_arrives_is_whole_messages_or_refused(data: bytes, size: int) -> None:
    guard, inner, wire = guarded()
    for start in range(0, len(data), size):
        guard.data_received(data[start : start + size])
    handed = b"".join(inner.chunks)
    assert data.startswith(handed)
    while handed:
        (length,) = struct.unpack_from("!i", handed, 1)
        assert 4 <= length < len(handed) + 1
        handed = handed[1 + length :]
    assert wire.aborted is (guard.failure is not None)


@pytest.mark.parametrize("length", [3, 0, -1, -5, -(2**31)])
def test_a_length_that_would_send_the_reader_backwards_is_refused(length: int) -> None:
    guard, inner, wire = guarded()
    guard.data_received(message(b"Z", b"I") + b"C" + struct.pack("!i", length) + b"xxxx")
    assert guard.failure is not None
    assert guard.failure.reason is Reason.PROTOCOL
    assert wire.aborted
    assert inner.chunks == []
    guard.data_received(message(b"Z", b"I"))
    assert inner.chunks == []  # what still arrives is not read
    guard.connection_lost(None)
    assert inner.lost == [guard.failure]


@pytest.mark.parametrize(
    ("before", "length", "reason"),
    [
        (b"", MAX_FIRST_BYTES + 1, Reason.PROTOCOL),
        (message(b"Z", b"I"), MAX_FIRST_BYTES + 1, None),
        (message(b"Z", b"I"), MAX_ANSWER_BYTES + 1, Reason.TOO_LARGE),
    ],
)
def test_a_message_that_announces_too_much_is_refused_at_once(before: bytes, length: int, reason: Reason | None) -> None:
    guard, _, wire = guarded()
    guard.data_received(before + b"D" + struct.pack("!i", length))
    assert (guard.failure.reason if guard.failure else None) is reason
    assert wire.aborted is (reason is not None)


def test_many_messages_may_not_come_to_too_much() -> None:
    guard, _, wire = guarded()
    one = message(b"D", bytes(MAX_FIRST_BYTES - 4))
    for _ in range(MAX_ANSWER_BYTES // len(one) + 1):
        guard.data_received(one)
    assert guard.failure is not None
    assert guard.failure.reason is Reason.TOO_LARGE
    assert wire.aborted


@pytest.mark.parametrize("iterations", [str(MAX_ITERATIONS + 1), "2147483647", "9" * 5000, "0"])
def test_a_login_that_would_hash_for_minutes_is_refused(iterations: str) -> None:
    guard, inner, wire = guarded()
    data = sasl(iterations)
    for start in range(0, len(data), 7):  # in pieces it is the same
        guard.data_received(data[start : start + 7])
    assert guard.failure is not None
    assert guard.failure.reason is Reason.PROTOCOL
    assert len(guard.failure.detail) < 100
    assert wire.aborted
    assert inner.chunks == []


@pytest.mark.parametrize("iterations", ["4096", str(MAX_ITERATIONS)])
def test_usual_rounds_of_hashing_pass(iterations: str) -> None:
    guard, inner, _ = guarded()
    guard.data_received(sasl(iterations))
    assert inner.chunks == [sasl(iterations)]


def test_the_answer_to_a_request_for_tls_is_one_letter() -> None:
    guard, inner, wire = guarded(framed=False)
    guard.data_received(b"S")
    assert inner.chunks == [b"S"]
    assert not wire.aborted

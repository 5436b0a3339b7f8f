"""Messages: rows and errors as PostgreSQL sends them, and as nobody should."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.clients.postgres.wire import Row, row_of, server_error
from exporter.verdict import Failure, Reason, Stage


def encoded(row: Row) -> bytes:
    parts = [struct.pack("!h", len(row))]
    for value in row:
        data = value.encode() if value is not None else b""
        parts += [struct.pack("!i", len(data) if value is not None else -1), data]
    return b"".join(parts)


@given(st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=20), max_size=20).map(tuple))
def test_a_row_is_what_was_sent(row: Row) -> None:
    assert row_of(encoded(row)) == row


@given(st.binary(max_size=60))
def test_any_other_bytes_are_a_row_or_are_refused(body: bytes) -> None:
    with suppress(Failure):
        assert len(row_of(body)) == struct.unpack_from("!h", body)[0]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        struct.pack("!h", -1),
        struct.pack("!hi", 1, 2**31 - 1) + b"x",
        struct.pack("!hi", 1, 1) + b"xy",
        struct.pack("!hi", 1, 1) + b"\xff",
    ],
    ids=["empty", "negative", "longer-than-it-is", "something-after", "not-utf-8"],
)
def test_a_row_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(Failure) as caught:
        row_of(body)
    assert caught.value.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("28P01", Reason.AUTH),
        ("42501", Reason.AUTH),
        ("53300", Reason.TOO_MANY_CONNECTIONS),
        ("57P03", Reason.STARTING),
        ("57014", Reason.TIMEOUT),
        ("08P01", Reason.PROTOCOL),
        ("08006", Reason.CONNECTION_CLOSED),
        ("3D000", Reason.QUERY_FAILED),
        ("", Reason.QUERY_FAILED),
    ],
)
def test_an_error_is_named_by_its_state(state: str, reason: Reason) -> None:
    error = server_error(f"SFATAL\0VFATAL\0C{state}\0Mit is so\0\0".encode(), Stage.AUTH)
    assert (error.stage, error.reason, error.detail) == (Stage.AUTH, reason, f"{state} it is so".strip())


@given(st.binary(max_size=200))
def test_any_bytes_make_an_error_that_can_be_shown(body: bytes) -> None:
    assert len(server_error(body, Stage.QUERY).detail) <= Failure.MAX_DETAIL

"""Messages: rows and errors as PostgreSQL sends them, and as nobody should."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.clients.postgres.wire import Row, columns_of, row_of, server_error
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
    ],
    ids=["empty", "negative", "longer-than-it-is", "something-after"],
)
def test_a_row_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(Failure) as caught:
        row_of(body)
    assert caught.value.reason is Reason.MALFORMED


def test_what_is_no_text_in_a_row_is_marked() -> None:
    assert row_of(struct.pack("!hi", 2, 4) + b"jos\xe9" + struct.pack("!i", 1) + b"1") == ("jos\ufffde9", "1")


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20), max_size=20))
def test_columns_are_what_was_sent(names: list[str]) -> None:
    body = struct.pack("!h", len(names)) + b"".join(name.encode() + b"\0" + bytes(18) for name in names)
    assert columns_of(body) == tuple(names)
    for broken in (body[:-1], body + b"x", struct.pack("!h", -1) + b"x"):
        with pytest.raises(Failure) as caught:
            columns_of(broken)
        assert caught.value.reason is Reason.MALFORMED


@given(st.binary(max_size=60))
def test_any_other_bytes_are_columns_or_are_refused(body: bytes) -> None:
    with suppress(Failure):
        assert len(columns_of(body)) == struct.unpack_from("!h", body)[0]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("SASL authentication failed", Reason.AUTH),
        ("password authentication failed", Reason.AUTH),
        ("no such user", Reason.AUTH),
        ("not allowed", Reason.AUTH),
        ("no more connections allowed (max_client_conn)", Reason.TOO_MANY_CONNECTIONS),
        ('database "gone" does not exist', Reason.QUERY_FAILED),
        ("no such database: gone", Reason.QUERY_FAILED),
        ("unsupported frontend protocol", Reason.PROTOCOL),
    ],
)
def test_what_a_pooler_says_of_a_login_is_read(words: str, reason: Reason) -> None:
    body = f"SFATAL\0C08P01\0M{words}\0\0".encode()
    assert server_error(body, Stage.AUTH).reason is reason
    assert server_error(body, Stage.QUERY).reason is Reason.PROTOCOL


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

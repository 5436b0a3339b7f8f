"""RESP2: answers as Redis sends them, and as nobody should."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.clients.redis.resp import MAX_DEPTH, MAX_ELEMENTS, MAX_LINE, Answer, ServerError, command, read_answer
from exporter.net.stream import Stream
from exporter.verdict import Failure, Reason, Stage


def encoded(answer: Answer) -> bytes:
    match answer:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % answer
        case bytes():
            return b"$%d\r\n%s\r\n" % (len(answer), answer)
    return b"*%d\r\n" % len(answer) + b"".join(encoded(item) for item in answer)


def read(data: bytes, size: int = 2**20) -> Answer:
    """Read an answer that arrives in pieces and ends with the connection."""

    async def steps() -> Answer:
        stream = Stream(2**24)
        reading = asyncio.create_task(read_answer(stream, Stage.QUERY))
        for start in range(0, len(data), size):
            stream.data_received(data[start : start + size])
            await asyncio.sleep(0)
        stream.connection_lost(None)
        return await reading

    return asyncio.run(steps())


answers = st.recursive(
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=20),
    lambda children: st.lists(children, max_size=4),
    max_leaves=10,
)


@given(answers, st.integers(1, 40))
def test_an_answer_is_what_was_sent_however_it_arrives(answer: Answer, size: int) -> None:
    assert read(encoded(answer), size) == answer


@given(st.binary(max_size=40) | st.text("*$:+-0123456789\r\n", max_size=40).map(str.encode))
def test_any_other_bytes_are_an_answer_or_are_named(data: bytes) -> None:
    with suppress(Failure, OSError):
        read(data)


@pytest.mark.parametrize(
    ("data", "answer"),
    [(b"+OK\r\n", b"OK"), (b"*-1\r\n", None), (b"*0\r\n", []), (b":-5\r\n", -5), (b"$0\r\n\r\n", b"")],
)
def test_kinds_of_answers(data: bytes, answer: Answer) -> None:
    assert read(data) == answer


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"$one\r\n",
        b"$-2\r\n",
        b"$1_0\r\n",
        b"$2\r\nabcd",
        b":\r\n",
        b":1.5\r\n",
        b":" + b"9" * 5000 + b"\r\n",
        b"*1\r\n-ERR inside\r\n",
        b"*1\r\n" * (MAX_DEPTH + 1),
        b"%d\r\n",
    ],
)
def test_what_is_not_resp_or_never_asked_for_is_refused(data: bytes) -> None:
    with pytest.raises(Failure) as caught:
        read(data)
    assert (caught.value.stage, caught.value.reason) == (Stage.QUERY, Reason.PROTOCOL)


def test_an_array_of_billions_is_refused_by_its_length_alone() -> None:
    for head in (b"*2000000000\r\n", b"*3\r\n*5000\r\n" + b"*0\r\n" * 5000 + b"*5000\r\n"):
        data = head + b"*0\r\n" * 1_000_000
        started = time.process_time()
        with pytest.raises(Failure, match="more elements"):
            read(data, len(data))
        assert time.process_time() - started < 0.3
    assert read(b"*%d\r\n" % MAX_ELEMENTS + b"*0\r\n" * MAX_ELEMENTS) == [[]] * MAX_ELEMENTS


def test_a_line_without_end_is_too_large() -> None:
    with pytest.raises(Failure) as caught:
        read(b"+" * (MAX_LINE + 3))
    assert caught.value.reason is Reason.TOO_LARGE


def test_what_ends_in_the_middle_is_a_closed_connection() -> None:
    for data in (b"", b"$5\r\nabc", b"+OK", b"*2\r\n:1\r\n"):
        with pytest.raises(ConnectionResetError):
            read(data)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("NOAUTH Authentication required.", Reason.AUTH),
        ("WRONGPASS invalid username-password pair or user is disabled.", Reason.AUTH),
        ("NOPERM this user has no permissions to run the 'info' command", Reason.AUTH),
        ("ERR invalid password", Reason.AUTH),
        ("ERR Client sent AUTH, but no password is set", Reason.AUTH),
        ("ERR AUTH <password> called without any password configured for the default user.", Reason.AUTH),
        ("ERR wrong number of arguments for 'auth' command", Reason.AUTH),
        ("LOADING Redis is loading the dataset in memory", Reason.STARTING),
        ("ERR max number of clients reached", Reason.TOO_MANY_CONNECTIONS),
        ("ERR max number of clients + cluster connections reached", Reason.TOO_MANY_CONNECTIONS),
        ("MISCONF Errors writing to the AOF file", Reason.QUERY_FAILED),
        ("ERR unknown command", Reason.QUERY_FAILED),
        ("", Reason.QUERY_FAILED),
        ("LOADINGS", Reason.QUERY_FAILED),
    ],
)
def test_errors_are_named(words: str, reason: Reason) -> None:
    with pytest.raises(ServerError) as caught:
        read(f"-{words}\r\n".encode())
    assert (caught.value.reason, caught.value.detail) == (reason, words)


def test_a_command_is_sent_as_an_array_of_strings() -> None:
    assert command("AUTH", "ü", "a b\r\n") == b"*3\r\n$4\r\nAUTH\r\n$2\r\n\xc3\xbc\r\n$5\r\na b\r\n\r\n"

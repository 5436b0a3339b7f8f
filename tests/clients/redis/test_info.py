"""INFO: numbers that a sample can hold, and lookups that can be compared, enough of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.clients.redis.fields import FieldFollower, FieldReader, parse_fields
from exporter.clients.redis.info import OWN_FIELDS, Info, info_reader
from exporter.clients.redis.lookups import Lookups, LookupWindow
from exporter.probing.attempt import Attempt
from exporter.redis import families as f
from exporter.redis.recording import FIELDS, InfoRecorder
from exporter.verdict import Failure, Reason


@pytest.mark.parametrize(("text", "number"), [("0", 0.0), ("-1", -1.0), ("18446744073709551615", 2.0**64)])
def test_numbers(text: str, number: float) -> None:
    assert Info({"a": text}).number("a") == number
    assert Info({"a": text}).number("b") is None


@pytest.mark.parametrize("text", ["", "-", "--1", "1.5", "1_0", "inf", "٣", " 1", "9" * 400, "9" * 5000])
def test_what_is_no_number_is_malformed(text: str) -> None:
    with pytest.raises(Failure) as caught:
        Info({"a": text}).number("a")
    assert caught.value.reason is Reason.MALFORMED
    assert len(caught.value.detail) < 100


@pytest.mark.parametrize(("text", "number"), [("1.35", 1.35), ("7", 7.0), ("-nan", None), ("inf", None)])
def test_decimals(text: str, number: float | None) -> None:
    assert Info({"a": text}).decimal("a") == number


@pytest.mark.parametrize("text", ["", "1.", ".5", "1e9", "1.2.3", "9" * 400])
def test_what_is_no_decimal_is_malformed(text: str) -> None:
    with pytest.raises(Failure) as caught:
        Info({"a": text}).decimal("a")
    assert caught.value.reason is Reason.MALFORMED


NAMES = ("role", "role_x", "db1", "db10", "a.c", "master")
LINES = st.sampled_from(
    ["role:master", "role_x:1", "db1:keys=1,a=b", "db10:x", "a.c:1", "abc:2", "role", "xrole:1", "role:", "# A", ""]
)


@given(st.lists(LINES, max_size=20))
def test_what_is_wanted_is_read_as_of_all(lines: list[str]) -> None:
    answer = "\r\n".join(lines).encode()
    wanted = {name: value for name, value in parse_fields("INFO", answer).items() if name in NAMES}
    assert FieldReader("INFO", NAMES).read(answer) == wanted


ANSWERS = st.lists(LINES, max_size=6).map("\r\n".join) | st.text("rolemastdb1:,=\r\nä", max_size=20)


@given(st.lists(ANSWERS, max_size=6))
def test_answers_that_follow_one_another_are_read_as_each_alone(answers: list[str]) -> None:
    reader = FieldReader("INFO", NAMES)
    follower, before = FieldFollower(reader), dict[str, str]()
    for answer in answers:
        fields, changed = follower.read(answer.encode())
        assert fields == reader.read(answer.encode())
        assert changed >= {name for name in NAMES if fields.get(name) != before.get(name)}
        before = dict(fields)


def test_of_two_lines_of_a_field_the_second_counts_whichever_changes() -> None:
    follower = FieldFollower(FieldReader("INFO", NAMES))
    for answer in (b"role:a\r\nrole:b", b"role:c\r\nrole:b", b"role:c\r\nrole:d"):
        assert follower.read(answer)[0] == {"role": answer[-1:].decode()}


def test_a_line_that_is_no_field_any_more_is_none() -> None:
    follower = FieldFollower(FieldReader("INFO", NAMES))
    assert follower.read(b"role:a\r\n") == ({"role": "a"}, {"role"})
    assert follower.read(b"role\r\n") == ({}, {"role"})
    assert follower.read(b"role:a\r\n") == ({"role": "a"}, {"role"})


def test_an_answer_that_is_no_text_leaves_what_the_next_is_held_against() -> None:
    follower = FieldFollower(FieldReader("INFO", NAMES))
    follower.read(b"role:a\r\n")
    with pytest.raises(Failure):
        follower.read(None)
    assert follower.read(b"role:a\r\n") == ({"role": "a"}, set())


VALUES = {
    "role": ("master", "slave", ""),
    "used_memory": ("1", "2"),
    "maxclients": ("10", "x"),
    "total_net_input_bytes": ("1", "2"),
    "used_cpu_sys": ("1.5", "2.5", "nan"),
    "db0": ("keys=1,expires=0", "keys=2,expires=1"),
    "keyspace_hits": ("0", "200", "400"),
    "keyspace_misses": ("0", "50"),
    "errorstat_OOM": ("count=1", "count=2"),
    "total_error_replies": ("1", "5"),
    "aof_enabled": ("0", "1"),
    "aof_last_write_status": ("ok", "err"),
    "master_repl_offset": ("10", "20"),
    "slave0": ("ip=a,port=1,state=online,offset=9,lag=0", "ip=b,port=1,state=online,offset=7,lag=1", "none"),
    "maxmemory_policy": ("noeviction", "mine"),
    "redis_version": ("7.0.1", "7.2.0"),
}
SAID = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in VALUES.items()})


def attempt() -> Attempt:
    return Attempt(1.0, lambda error, _: pytest.fail(f"classified {error!r}"))


def recorded(recorder: InfoRecorder, info: Info) -> tuple[dict[Any, dict[Any, float]], str]:
    """Return what is recorded, and why not more."""
    into = attempt()
    try:
        recorder.record(into, info)
    except Failure as failure:
        return {family: dict(values) for family, values in into.samples.items()}, failure.detail
    return {family: dict(values) for family, values in into.samples.items()}, ""


@settings(deadline=None)  # an event loop for each
@given(st.lists(SAID, max_size=8))
def test_what_is_not_recorded_anew_is_what_would_be(said: list[dict[str, str]]) -> None:
    async def check() -> None:
        follower, recorder, newcomer = FieldFollower(info_reader(FIELDS)), InfoRecorder(), InfoRecorder()
        for each in said:
            fields, changed = follower.read("\r\n".join(f"{name}:{value}" for name, value in each.items()).encode())
            assert recorded(recorder, Info(fields, changed=changed)) == recorded(newcomer, Info(fields, changed=FIELDS))

    asyncio.run(check())


async def test_what_has_not_changed_is_the_same_and_cannot_be_changed() -> None:
    recorder, into = InfoRecorder(), [attempt() for _ in range(3)]
    for each, changed in zip(into, ({"used_memory", "maxmemory"}, set(), {"used_memory"}), strict=True):
        recorder.record(each, Info({"used_memory": "1", "maxmemory": "2"}, changed=changed))
    assert into[1].samples[f.MEMORY_MAX] is into[2].samples[f.MEMORY_MAX]
    assert into[1].samples[f.MEMORY_USED] is not into[2].samples[f.MEMORY_USED]
    with pytest.raises(TypeError):
        into[2].record(f.MEMORY_MAX, 3)


class Asked(dict[str, str]):
    """Fields of a replica, and which were asked for."""

    def __init__(self, **fields: str) -> None:
        super().__init__(fields)
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)


@pytest.mark.parametrize("role", ["master", "slave"])
async def test_every_field_that_is_asked_for_is_read(role: str) -> None:
    fields = Asked(role=role, master_link_status="up", aof_enabled="1", total_error_replies="0")
    info = Info(fields)
    InfoRecorder().record(attempt(), info)
    assert (info.is_sentinel, info.clustered, info.run) == (False, False, "")
    assert fields.names <= info_reader(FIELDS).names
    assert fields.names | FIELDS >= OWN_FIELDS


def shares(*readings: Lookups) -> list[float | None]:
    window = LookupWindow()
    return [window.share_found(reading) for reading in readings]


@pytest.mark.parametrize(
    ("readings", "share"),
    [
        ([Lookups("a", 500, 500)], None),
        ([Lookups("a", 0, 0), Lookups("a", 0, 1)], None),
        ([Lookups("a", 0, 0), Lookups("a", 75, 25)], 0.75),
        ([Lookups("a", 0, 0), Lookups("a", 50, 0), Lookups("a", 50, 49)], None),
        ([Lookups("a", 0, 0), Lookups("a", 50, 0), Lookups("a", 50, 50)], 0.5),
        ([Lookups("a", 0, 0), Lookups("a", 900, 0), Lookups("a", 900, 100)], 0.0),
        ([Lookups("a", 0, 0), Lookups("b", 100, 100)], None),
        ([Lookups("a", 200, 0), Lookups("a", 100, 200)], None),
        ([Lookups("a", 0, 0), *(Lookups("a", n, 0) for n in range(1, 100))], None),
        ([Lookups("a", 0, 0), *(Lookups("a", 2 * n, 0) for n in range(1, 51))], 1.0),
    ],
)
def test_the_share_that_was_found_is_of_one_run_and_of_enough_lookups(readings: list[Lookups], share: float | None) -> None:
    assert shares(*readings)[-1] == share


def test_lookups_need_both_counters() -> None:
    assert Info({"keyspace_hits": "1"}).lookups is None
    assert Info({"keyspace_hits": "1", "keyspace_misses": "2", "run_id": "r"}).lookups == Lookups("r", 1, 2)

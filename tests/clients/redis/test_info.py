"""INFO: numbers that a sample can hold, and lookups that can be compared, enough of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.clients.redis.fields import FieldReader, parse_fields
from exporter.clients.redis.info import OWN_FIELDS, Info, info_reader
from exporter.clients.redis.lookups import Lookups, LookupWindow
from exporter.probing.attempt import Attempt
from exporter.redis.recording import FIELDS, record_info
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
    record_info(Attempt(1.0, lambda error, _: pytest.fail(f"classified {error!r}")), info, LookupWindow())
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

"""INFO: numbers that a sample can hold, and lookups that can be compared, enough of them."""

from __future__ import annotations

import pytest

from exporter.clients.redis.info import Info
from exporter.clients.redis.lookups import Lookups, LookupWindow
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

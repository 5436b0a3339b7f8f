"""INFO: numbers that a sample can hold, and lookups that can be compared."""

from __future__ import annotations

import pytest

from exporter.clients.redis.info import Info, Lookups
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


@pytest.mark.parametrize(
    ("before", "share"),
    [
        (None, None),
        (Lookups("a", 10, 10), 0.75),
        (Lookups("a", 13, 11), None),
        (Lookups("a", 14, 11), None),
        (Lookups("b", 10, 10), None),
    ],
)
def test_the_share_that_was_found_is_of_one_run_and_of_lookups(before: Lookups | None, share: float | None) -> None:
    assert Lookups("a", 13, 11).share_found_since(before) == share


def test_lookups_need_both_counters() -> None:
    assert Info({"keyspace_hits": "1"}).lookups is None
    assert Info({"keyspace_hits": "1", "keyspace_misses": "2", "run_id": "r"}).lookups == Lookups("r", 1, 2)

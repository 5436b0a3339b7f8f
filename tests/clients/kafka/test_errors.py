"""Kafka's error codes in this program's words."""

from __future__ import annotations

import pytest

from exporter.clients.kafka.errors import (
    PartitionErrorReason,
    error_name,
    failure_of_code,
    partition_error_of_code,
    partition_error_of_failure,
    together,
)
from exporter.verdict import Failure, Reason, Stage


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (14, Reason.STARTING),
        (15, Reason.NO_LEADER),
        (16, Reason.NO_LEADER),
        (30, Reason.AUTH),
        (35, Reason.PROTOCOL),
        (58, Reason.AUTH),
        (-1, Reason.QUERY_FAILED),
        (12345, Reason.QUERY_FAILED),
    ],
)
def test_codes_of_answers_become_reasons(code: int, reason: Reason) -> None:
    """Those not known are failed queries."""
    failure = failure_of_code(code, "group payments")
    assert (failure.stage, failure.reason) == (Stage.CHECK, reason)
    assert failure.detail.startswith("group payments: ")


def test_codes_have_kafkas_own_names() -> None:
    """Also those newer than the library, and a number where nothing is known."""
    assert [error_name(code) for code in (30, 78, -1, 999)] == [
        "GROUP_AUTHORIZATION_FAILED",
        "OFFSET_NOT_AVAILABLE",
        "UNKNOWN",
        "error 999",
    ]


def test_every_code_of_a_partition_is_a_reason_of_the_closed_list() -> None:
    """Whatever number comes."""
    faults = {partition_error_of_code(code) for code in range(-1, 130)}
    assert faults <= set(PartitionErrorReason)
    assert partition_error_of_code(6) is PartitionErrorReason.NOT_LEADER


def test_a_broker_that_cannot_be_asked_is_a_reason_of_its_partitions() -> None:
    """Timeouts are told from refusals."""
    assert partition_error_of_failure(Failure(Stage.CONNECT, Reason.CONNECT_TIMEOUT)) is PartitionErrorReason.TIMEOUT
    assert partition_error_of_failure(Failure(Stage.CONNECT, Reason.CONNECT_REFUSED)) is PartitionErrorReason.UNREACHABLE


def test_failures_are_told_together() -> None:
    """The first, and how many more; the number survives a long detail."""
    assert together([]) is None
    one = Failure(Stage.CHECK, Reason.AUTH, "x" * 400)
    both = together([one, one, one])
    assert both is not None
    assert both.detail.endswith("(and 2 more)")
    assert len(both.detail) <= Failure.MAX_DETAIL

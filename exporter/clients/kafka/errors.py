"""Kafka's error codes, as reasons of the closed list and as reasons why a partition is not known."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from aiokafka.errors import UnknownError, for_code

from exporter.verdict import Failure, Reason, Stage

__all__ = [
    "UNKNOWN_GROUP",
    "PartitionErrorReason",
    "error_name",
    "failure_of_code",
    "partition_error_of_code",
    "partition_error_of_failure",
    "together",
]


class PartitionErrorReason(StrEnum):
    """Why the offset of one partition is not known; closed, since it is a label value."""

    NO_LEADER = "no_leader"
    NOT_LEADER = "not_leader"
    UNKNOWN_TOPIC = "unknown_topic"
    NOT_AUTHORIZED = "not_authorized"
    STORAGE = "storage"
    NOT_AVAILABLE = "not_available"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    NOT_ALLOWED = "not_allowed"
    OTHER = "other"


_PARTITION_ERRORS = {
    3: PartitionErrorReason.UNKNOWN_TOPIC,
    5: PartitionErrorReason.NO_LEADER,
    6: PartitionErrorReason.NOT_LEADER,
    7: PartitionErrorReason.TIMEOUT,
    8: PartitionErrorReason.NO_LEADER,
    9: PartitionErrorReason.NO_LEADER,
    29: PartitionErrorReason.NOT_AUTHORIZED,
    30: PartitionErrorReason.NOT_AUTHORIZED,
    56: PartitionErrorReason.STORAGE,
    74: PartitionErrorReason.NOT_LEADER,
    75: PartitionErrorReason.NOT_LEADER,
    78: PartitionErrorReason.NOT_AVAILABLE,
    88: PartitionErrorReason.NOT_AVAILABLE,
    100: PartitionErrorReason.UNKNOWN_TOPIC,
}

_REASONS = {
    7: Reason.TIMEOUT,
    14: Reason.STARTING,
    15: Reason.NO_LEADER,
    16: Reason.NO_LEADER,
    29: Reason.AUTH,
    30: Reason.AUTH,
    31: Reason.AUTH,
    33: Reason.AUTH,
    34: Reason.PROTOCOL,
    35: Reason.PROTOCOL,
    58: Reason.AUTH,
}

_NAMES = {74: "FENCED_LEADER_EPOCH", 75: "UNKNOWN_LEADER_EPOCH", 78: "OFFSET_NOT_AVAILABLE", 88: "UNSTABLE_OFFSET_COMMIT"}

UNKNOWN_GROUP = 69
"""Error code (GROUP_ID_NOT_FOUND) of a coordinator that has no such group."""

_TIMEOUTS = frozenset({Reason.TIMEOUT, Reason.CONNECT_TIMEOUT})


def error_name(code: int) -> str:
    """Return Kafka's own name of an error code, or its number."""
    known = for_code(code)
    if known is UnknownError and code != -1:
        return _NAMES.get(code, f"error {code}")
    return str(known.message)


def failure_of_code(code: int, what: str, stage: Stage = Stage.CHECK) -> Failure:
    """Name the error with which a broker answered a request.

    Args:
        code: Not zero.
        what: What was asked for, for people.
        stage: The stage under way.
    """
    return Failure(stage, _REASONS.get(code, Reason.QUERY_FAILED), f"{what}: {error_name(code)}")


def partition_error_of_code(code: int) -> PartitionErrorReason:
    """Name the error with which a broker answered for one partition."""
    return _PARTITION_ERRORS.get(code, PartitionErrorReason.OTHER)


def partition_error_of_failure(failure: Failure) -> PartitionErrorReason:
    """Name what a broker that could not be asked means for the partitions that it leads."""
    if failure.reason is Reason.NOT_ALLOWED:
        return PartitionErrorReason.NOT_ALLOWED
    return PartitionErrorReason.TIMEOUT if failure.reason in _TIMEOUTS else PartitionErrorReason.UNREACHABLE


def together(failures: Sequence[Failure]) -> Failure | None:
    """Make one failure of those of several brokers or groups: the first, and how many more there are."""
    if not failures:
        return None
    first = failures[0]
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    detail = first.detail[: Failure.MAX_DETAIL - len(more)]
    return Failure(first.stage, first.reason, detail + more)

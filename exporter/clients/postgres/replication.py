"""Replication as one server sees it: its role, how far a standby is behind, its replicas and slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exporter.clients.postgres.numbers import number, number_or_none
from exporter.clients.postgres.session import Session
from exporter.clients.postgres.wire import Row
from exporter.verdict import Failure, Reason, Stage

__all__ = ["MAX_REPLICAS", "MAX_SLOTS", "Replica", "Replication", "Slot", "read_replication"]

MAX_REPLICAS = 50
MAX_SLOTS = 50

_ROLE = """
SELECT pg_is_in_recovery(), w.count, w.streams,
  CASE WHEN pg_is_in_recovery() THEN
    pg_wal_lsn_diff(greatest(pg_last_wal_receive_lsn(), w.told), pg_last_wal_replay_lsn()) END,
  CASE WHEN pg_is_in_recovery() THEN extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 END,
  extract(epoch FROM w.apart)::float8
FROM (SELECT count(*) AS count, bool_or(status = 'streaming') AS streams,
  (array_agg((to_jsonb(r) ->> 'latest_end_lsn')::pg_lsn))[1] AS told,
  max(last_msg_receipt_time - last_msg_send_time) AS apart FROM pg_stat_wal_receiver r) w"""
"""There is one receiver at most; version 12 has no max() of a pg_lsn."""

_ON_THE_WAY = 60.0
"""Seconds by which a message of the primary may come after it was sent, by the clocks of both: after as much without a word
they give each other up (wal_sender_timeout, wal_receiver_timeout). By more, or before it was sent, and the clocks differ."""

_END = "CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END"
_REPLICAS = """
SELECT application_name, coalesce(host(client_addr), ''), coalesce(state, 'hidden'),
  pg_wal_lsn_diff({end}, replay_lsn), extract(epoch FROM replay_lag)::float8
FROM pg_stat_replication ORDER BY 4 DESC NULLS LAST, 1, 2 LIMIT {most}"""
_SLOTS = """
SELECT slot_name, slot_type, active, pg_wal_lsn_diff({end}, restart_lsn)
FROM pg_replication_slots WHERE NOT temporary ORDER BY active, 4 DESC NULLS LAST, 1 LIMIT {most}"""


@dataclass(frozen=True, slots=True)
class Replica:
    """A replica, or a backup, that takes WAL from this server.

    Attributes:
        name: Its `application_name`; empty where that is hidden.
        address: Its address; empty for a local socket, and where it is hidden.
        state: `streaming`, `catchup`, `startup`, `backup`, `stopping`; `hidden` where the role may not see it.
        lag_bytes: WAL that it has not replayed; None for a backup, which replays nothing, and where it is hidden.
        lag_seconds: What a write would wait for it; 0 where it has replayed all, None where the server does not know.
    """

    name: str
    address: str
    state: str
    lag_bytes: float | None
    lag_seconds: float | None


@dataclass(frozen=True, slots=True)
class Slot:
    """A replication slot: a promise to keep WAL.

    Attributes:
        name: Its name.
        type: `physical` or `logical`.
        active: Somebody reads from it.
        kept_bytes: WAL that is kept for it; None while it has claimed none.
    """

    name: str
    type: str
    active: bool
    kept_bytes: float | None


@dataclass(frozen=True, slots=True)
class Replication:
    """What a server says of replication.

    Attributes:
        standby: It is in recovery: a standby, or one that recovers an archive.
        linked: Of a standby, whether it receives WAL as it is written; None for a primary, and where that is hidden.
        lag_bytes: Of a standby, WAL that it knows of and has not replayed.
        lag_seconds: Of a standby, how old what it shows may be: 0 where it is linked and has replayed all; the age of what
            it replayed last otherwise. None for a primary, where it has replayed no transaction yet, and where that was
            written in the future.
        replicas: Those that take WAL from it, the furthest behind first.
        slots: Its slots, those that nobody reads from first.
    """

    standby: bool
    linked: bool | None
    lag_bytes: float | None
    lag_seconds: float | None
    replicas: Sequence[Replica]
    slots: Sequence[Slot]


async def read_replication(session: Session, seconds: float) -> Replication:
    """Read it, within so many seconds for each statement.

    Raises:
        Failure, OSError, TimeoutError: As for `Session.read`; `malformed` for an answer that is not what was asked for.
    """
    replicas = _REPLICAS.format(end=_END, most=MAX_REPLICAS)
    slots = _SLOTS.format(end=_END, most=MAX_SLOTS)
    tables = await session.read(seconds, f"{_ROLE}; {replicas}; {slots}", MAX_REPLICAS + MAX_SLOTS + 1)
    try:
        return _replication(*tables)
    except (ValueError, TypeError):
        raise Failure(Stage.QUERY, Reason.MALFORMED, "the server's answer cannot be read") from None


def _replication(role: list[Row], replicas: list[Row], slots: list[Row]) -> Replication:
    ((recovers, receivers, streams, behind, age, apart),) = role
    standby = recovers == "t"
    linked = _linked(int(number(receivers)), streams) if standby else None
    lag_bytes, lag_seconds = _distance(behind), _by_one_clock(number_or_none(age), number_or_none(apart))
    if lag_bytes == 0 and linked is not False:
        lag_seconds = 0.0 if linked else None  # nothing was written since; or nobody knows whether it would be here
    return Replication(
        standby, linked, lag_bytes, lag_seconds,
        [_replica(*row) for row in replicas],
        [Slot(name or "", kind or "", active == "t", _distance(kept)) for name, kind, active, kept in slots],
    )  # fmt: skip


def _by_one_clock(age: float | None, apart: float | None) -> float | None:
    """Return the age of what was written by the primary's clock and is looked at by the standby's.

    Args:
        age: By both.
        apart: By how much the standby's clock was ahead when it last heard of its primary, the way in between included; None
            where it hears nothing.

    Returns:
        None where the clocks differ, and it is not known by how much.
    """
    if age is None or apart is None:
        return age if age is None or age >= 0 else None
    return max(0.0, age if 0 <= apart <= _ON_THE_WAY else age - apart)


def _linked(receivers: int, streams: str | None) -> bool | None:
    if not receivers:
        return False
    return None if streams is None else streams == "t"


def _replica(name: str | None, address: str | None, state: str | None, lag: str | None, seconds: str | None) -> Replica:
    lag_bytes, lag_seconds = _distance(lag), number_or_none(seconds)
    if lag_bytes == 0 and lag_seconds is None:
        lag_seconds = 0.0  # the server forgets it while nothing is written
    return Replica(name or "", address or "", state or "", lag_bytes, lag_seconds)


def _distance(text: str | None) -> float | None:
    """Read bytes between two places in the WAL; what was replayed in the meantime is no distance."""
    found = number_or_none(text)  # greatest(0, NULL) would be 0
    return None if found is None else max(0.0, found)

"""A canary: a key of its own, written and read back, so that a server that only refuses writes is found out."""

from __future__ import annotations

import secrets
import time
from binascii import crc_hqx
from collections.abc import Sequence
from dataclasses import dataclass

from exporter.clients.redis.cluster import SLOTS, read_own_slots
from exporter.clients.redis.connection import Connection
from exporter.clients.redis.resp import ServerError
from exporter.verdict import Failure, Reason, Stage

__all__ = ["Canary", "Flown"]

_MOVING = ("ASK ", "TRYAGAIN")
"""Answers of a server whose slot is on its way to another, or has stuck there: others of its slots are none the worse."""

_ELSEWHERE = ("READONLY", *_MOVING)
"""Answers of a server that writes go to another, or will in a moment."""


@dataclass(frozen=True, slots=True)
class Flown:
    """One round.

    Attributes:
        write: Seconds that writing took.
        read: Seconds that reading took.
    """

    write: float
    read: float


class Canary:
    """Writes and reads a key that nobody else has: its name ends in what is drawn by lot, and it is gone after its time.

    Args:
        prefix: What the key's name begins with, for who looks at the keys, and for ACLs.
        ttl: Seconds after which the server removes it.
    """

    def __init__(self, prefix: str, ttl: float) -> None:
        self._prefix = prefix
        self._ttl = str(round(ttl * 1000))
        self._lot = secrets.token_hex(6)
        self._tag = self._lot

    async def fly(self, connection: Connection) -> Flown | None:
        """Write, and read back; None where writes are another server's matter: of a replica, or in a cluster without slots.

        Raises:
            ServerError: It refuses, as with OOM or MISCONF.
            Failure: It reads something else than was written, or as for `Connection.ask`.
            OSError: As for `Connection.ask`.
        """
        try:
            try:
                return await self._round(connection)
            except ServerError as error:
                if not error.detail.startswith(("MOVED ", *_MOVING)):
                    raise
            tag = tag_within(await read_own_slots(connection), but=_slot(self._tag))
            if tag is None:
                return None
            self._tag = tag
            return await self._round(connection)  # whose slot may be moving too, as the last ones of a node do
        except ServerError as error:
            if error.detail.startswith(_ELSEWHERE):
                return None
            raise

    async def _round(self, connection: Connection) -> Flown:
        key, value = f"{self._prefix}{{{self._tag}}}:{self._lot}", secrets.token_hex(8)
        began = time.perf_counter()
        if await connection.ask("SET", key, value, "PX", self._ttl) != b"OK":
            raise Failure(Stage.CHECK, Reason.PROTOCOL, "the answer to SET is not OK")
        written = time.perf_counter()
        if await connection.ask("GET", key) != value.encode():
            raise Failure(Stage.CHECK, Reason.QUERY_FAILED, "what was written is not what is read")
        return Flown(written - began, time.perf_counter() - written)


def _slot(tag: str) -> int:
    return crc_hqx(tag.encode(), 0) % SLOTS


def tag_within(slots: Sequence[range], but: int | None = None) -> str | None:
    """Return what to put into the braces of a key so that it lies in one of these slots, but for one; None if there is none.

    With a thousandth of all slots it takes a thousand tries, a millisecond or less; it is asked for when slots have moved.
    """
    own = bytearray(SLOTS)  # whatever the node says, a try costs the same: there may be a range for every second slot
    for each in slots:
        own[each.start : each.stop] = b"\1" * len(each)
    if but is not None:
        own[but] = 0
    tries = range(64 * SLOTS) if any(own) else range(0)
    return next((str(n) for n in tries if own[_slot(str(n))]), None)

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

_ELSEWHERE = ("READONLY", "ASK ", "TRYAGAIN")
"""Answers of a server that writes go to another, or will in a moment: a replica, a slot that moves."""


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
                if not error.detail.startswith("MOVED "):
                    raise
            tag = tag_within(await read_own_slots(connection))
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


def tag_within(slots: Sequence[range]) -> str | None:
    """Return what to put into the braces of a key so that it lies in one of these slots; None if there is none.

    With a thousandth of all slots it takes a thousand tries, a millisecond or less; it is asked for when slots have moved.
    """
    own = bytearray(SLOTS)  # whatever the node says, a try costs the same: there may be a range for every second slot
    for each in slots:
        own[each.start : each.stop] = b"\1" * len(each)
    tries = range(64 * SLOTS) if any(own) else range(0)
    return next((str(n) for n in tries if own[crc_hqx(str(n).encode(), 0) % SLOTS]), None)

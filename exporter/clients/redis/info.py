"""INFO: what a server says of its memory, clients, keys and replication."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.clients.redis.connection import Connection
from exporter.verdict import Failure, Reason, Stage

__all__ = ["Info", "Lookups", "read_info"]


@dataclass(frozen=True, slots=True)
class Lookups:
    """Lookups of keys since the server's counters began.

    Attributes:
        run: The run of the server that counted them.
        hits: Those that found their key.
        misses: Those that did not.
    """

    run: str
    hits: float
    misses: float

    def share_found_since(self, before: Lookups | None) -> float | None:
        """Return the share of the lookups since then that found their key.

        None without lookups, and where counters are of another run or went back: those were reset, and say nothing yet.
        """
        if before is None or before.run != self.run:
            return None
        hits, misses = self.hits - before.hits, self.misses - before.misses
        return hits / (hits + misses) if hits >= 0 and misses >= 0 and hits + misses > 0 else None


class Info:
    """The fields of one answer to INFO."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = fields

    def number(self, name: str) -> float | None:
        """Return a number; None where the server does not give it.

        Raises:
            Failure: It is not a whole number that a sample can hold.
        """
        text = self._fields.get(name)
        if text is None:
            return None
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 20):
            raise Failure(Stage.CHECK, Reason.MALFORMED, f"INFO: {name} is not a whole number")
        return float(text)

    @property
    def lookups(self) -> Lookups | None:
        """Lookups of keys; None where the server does not count them."""
        hits, misses = self.number("keyspace_hits"), self.number("keyspace_misses")
        return Lookups(self._fields.get("run_id", ""), hits, misses) if hits is not None and misses is not None else None

    @property
    def role(self) -> str | None:
        """The role as the server words it: `master` or `slave`."""
        return self._fields.get("role")

    @property
    def master_link_up(self) -> bool | None:
        """Whether a replica is connected to its master; None on a master."""
        status = self._fields.get("master_link_status")
        return status == "up" if status is not None else None


async def read_info(connection: Connection) -> Info:
    """Ask for it. Lines are `name:value`; section headings and the rest are left out.

    Raises:
        Failure, OSError: As for `Connection.ask`; `malformed` where the answer is not text.
    """
    answer = await connection.ask("INFO")
    if not isinstance(answer, bytes):
        raise Failure(Stage.CHECK, Reason.MALFORMED, "the answer to INFO is not text")
    pairs = (line.partition(":") for line in answer.decode("utf-8", "replace").splitlines())
    return Info({name: value for name, colon, value in pairs if colon})

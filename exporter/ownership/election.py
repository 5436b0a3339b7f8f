"""Who leads, told from what was read of a lease and when: a state machine without a clock, a network or a task.

All times are of one process's clock, which must go on while the process is stopped and the machine sleeps. Nobody's wall
clock is believed: a lease has expired for an observer that has seen it unchanged for its whole duration, and its holder has
stopped leading well before, counting from before it asked for its last renewal. What is said here holds at the moment it is
asked for: a process that was stopped and goes on finds that it does not lead any more, before any of its timers has run.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import inf

__all__ = ["MOST_SECONDS", "RELEASED", "Election", "Move", "Record", "Role", "Terms"]

MOST_SECONDS = 300.0
"""Longest duration of a lease that is believed, whatever is written in it."""


RELEASED = 1.0
"""Duration of a lease that was given back, as client-go writes it too."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How long things take.

    Attributes:
        duration: Seconds that others wait, seeing no renewal, before they take over.
    """

    duration: float

    @property
    def deadline(self) -> float:
        """Seconds after its last renewal for which the holder leads: the rest is for what clocks may differ."""
        return self.duration * 2 / 3

    @property
    def retry(self) -> float:
        """Seconds from one look at the lease to the next."""
        return self.duration * 2 / 15

    @property
    def request(self) -> float:
        """Seconds that a request may take: two fit in before the deadline."""
        return self.deadline / 2

    @property
    def blind(self) -> float:
        """Seconds without a good look after which what was seen before counts for nothing."""
        return self.duration / 3


@dataclass(frozen=True, slots=True)
class Record:
    """What a lease says.

    Attributes:
        version: Its resource version.
        holder: Who holds it; empty where it was given back.
        duration: Seconds, as the holder has them; `RELEASED` where it was given back.
        transitions: How often it has changed hands.
        renewed: When it was renewed last, as its holder writes it; only compared.
    """

    version: str
    holder: str
    duration: float
    transitions: int = 0
    renewed: str = ""

    @property
    def released(self) -> bool:
        """Whether its holder has given it back, and leads no more. One that somebody else has emptied, or has only just
        made, says nothing of its holder.
        """
        return not self.holder and self.duration == RELEASED


class Role(StrEnum):
    """What an exporter is to the others."""

    LEADING = "leading"
    LAPSED = "lapsed"
    """It held the lease, could not renew it in time, and has not seen another have it: it probes, and exports no verdict."""
    FOLLOWING = "following"


class Move(StrEnum):
    """What is to be done next."""

    LOOK = "look"
    """Read the lease."""
    CREATE = "create"
    """Make it, held by nobody: a claim needs a version to be compared with, or it could follow one that was deleted."""
    CLAIM = "claim"
    """Write it with oneself as the holder, if it still is what it was."""
    WAIT = "wait"
    """Nothing, until the next time."""


class Election:
    """One exporter's part in it.

    Args:
        identity: Of this process: no other, and not the one that was restarted in its place, may have the same.
        terms: How long things take.

    Attributes:
        holder: Who is known to hold the lease; None where nothing is.
        transitions: Times that the lease has changed hands.
    """

    def __init__(self, identity: str, terms: Terms) -> None:
        self.identity = identity
        self.terms = terms
        self.holder: str | None = None
        self.transitions = 0
        self._leads_until = -inf
        self._holding = False
        self._record: Record | None = None
        self._known = False
        self._unchanged_since = -inf
        self._looked_at = -inf
        self._claimed: str | None = None
        self._given_up = False

    def role(self, now: float) -> Role:
        """Say what this exporter is at this moment."""
        if now < self._leads_until:
            return Role.LEADING
        return Role.LAPSED if self._holding else Role.FOLLOWING

    @property
    def leads_until(self) -> float:
        """When this exporter stops leading, unless it renews."""
        return self._leads_until

    def next(self, now: float) -> Move:
        """Say what is to be done: first to look, where nothing good is known, and then to claim, where one may."""
        if self._given_up:
            return Move.WAIT
        if not self._known:
            return Move.LOOK
        record = self._record
        if record is None:
            return Move.CREATE
        if record.released or record.holder == self.identity:
            return Move.CLAIM
        return Move.CLAIM if now >= self._expires_at else Move.WAIT

    def seen(self, record: Record | None, now: float) -> None:
        """Take in that the lease was read.

        Args:
            record: What it says; None where there is none.
            now: When the answer was there.
        """
        if now - self._looked_at > self.terms.blind or record != self._record:
            self._unchanged_since = now
        self._looked_at, self._known, self._record = now, True, record
        self.holder = record.holder if record is not None else ""
        self.transitions = record.transitions if record is not None else 0
        if record is None or record.version != self._claimed:
            self._claimed = None
        if self.holder != self.identity:
            self._holding, self._leads_until = False, -inf

    def unseen(self) -> None:
        """Take in that the lease could not be read, or is not what it was: look before anything else."""
        self._known = False

    def claiming(self) -> Record:
        """Take in that the lease as it is known is being written, and return it: nobody knows what becomes of that until
        there is an answer, or the lease is another.
        """
        if self._record is None:
            raise ValueError("there is no lease to claim")
        self._claimed = self._record.version
        return self._record

    def claimed(self, record: Record, asked: float, now: float) -> None:
        """Take in that it was written, and that this exporter leads, if it has not given up meanwhile.

        Args:
            record: As it is now.
            asked: When this exporter asked, which is before anybody else can have seen it.
            now: When the answer was there.
        """
        self._claimed = None
        if record.holder != self.identity:
            self.unseen()
            return
        self.seen(record, now)
        if not self._given_up:
            self._holding, self._leads_until = True, asked + self.terms.deadline

    def refused(self) -> None:
        """Take in that another was faster: the lease is not what it was when it was read."""
        self._claimed = None
        self.unseen()

    def give_up(self) -> Record | None:
        """Stop leading at once and for good; return the lease as it is known where it is this exporter's to give back."""
        self._given_up, self._leads_until, self._holding = True, -inf, False
        return self._record if self._record is not None and self._record.holder == self.identity else None

    @property
    def _expires_at(self) -> float:
        """When it has been seen unchanged for long enough: by its holder's terms, where those are longer.

        That nobody holds it says no more: it may have been deleted, or emptied, and made anew just now.
        """
        theirs = self._record.duration if self._record is not None else 0.0
        return self._unchanged_since + max(self.terms.duration, min(theirs, MOST_SECONDS))

    # Standing in for a lease that nobody can read.

    def blind(self, now: float) -> bool:
        """Say whether this exporter cannot take over before a whole duration from now has passed, whatever happens.

        It is so where it has not been able to look for a while, since it will then watch the lease anew for all of its
        duration; unless it has tried to take over, and does not know with what success.
        """
        return self._claimed is None and now - self._looked_at > self.terms.blind and self.role(now) is Role.FOLLOWING

    def stands(self, asked: float) -> None:
        """Take in that every other exporter has said, asked after `asked`, that it cannot take over for now."""
        if self._holding and not self._given_up:
            self._leads_until = max(self._leads_until, asked + self.terms.deadline)

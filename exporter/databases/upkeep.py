"""Asks a database server for its part in replication and how its databases keep, and records it."""

from __future__ import annotations

from collections.abc import Iterable

from exporter.clients.postgres.instance import read_instance
from exporter.clients.postgres.replication import Replica, Replication, Slot, read_replication
from exporter.clients.postgres.session import Session
from exporter.clients.postgres.upkeep import Counted, Upkeep, read_counted, read_upkeep
from exporter.databases import servers as s
from exporter.metrics.store import LabelValues
from exporter.probing.attempt import Attempt
from exporter.probing.cadence import Every
from exporter.verdict import Failure, Stage

__all__ = ["AGAIN", "RUNS", "UpkeepReader", "check_counters", "check_instance", "check_replication"]

RUNS = 20
"""Attempts between two looks at what changes slowly and costs more; what was found holds in between."""

AGAIN = 4
"""Attempts after which it is looked at again where that failed: it may have cost much, and what kept it may be over."""

MAX_TOLD_APART = 20
"""Replicas, and slots, that are told apart."""

OTHERS = "(others)"

STATES = ("streaming", "catchup", "startup", "backup", "stopping", "hidden", "other")


async def check_replication(part: Attempt, session: Session, seconds: float) -> bool:
    """Read and record what the server says of replication; return whether it is a standby.

    Raises:
        Failure, OSError, TimeoutError: As for `read_replication`.
    """
    found = await read_replication(session, seconds)
    part.record(s.STANDBY, found.standby)
    _record_standby(part, found)
    counts: dict[LabelValues, float] = {(state,): 0.0 for state in STATES}
    for replica in found.replicas:
        counts[(replica.state if replica.state in STATES else "other",)] += 1
    part.record_all({s.REPLICAS: counts})
    _record_replicas(part, found.replicas)
    _record_slots(part, found.slots)
    return found.standby


def _record_standby(part: Attempt, found: Replication) -> None:
    if found.linked is not None:
        part.record(s.LINK_UP, found.linked)
    if found.lag_bytes is not None:
        part.record(s.LAG_BYTES, found.lag_bytes)
    if found.lag_seconds is not None:
        part.record(s.LAG_SECONDS, found.lag_seconds)


def _record_replicas(part: Attempt, replicas: Iterable[Replica]) -> None:
    """Record them; several of one name and address are as the furthest behind is, and so are those not told apart."""
    lags: dict[LabelValues, float] = {}
    waits: dict[LabelValues, float] = {}
    for replica in replicas:
        who: LabelValues = (replica.name, replica.address)
        if who not in lags and len(lags) >= MAX_TOLD_APART:
            who = (OTHERS, OTHERS)
        if replica.lag_bytes is not None:
            lags[who] = max(lags.get(who, 0.0), replica.lag_bytes)
        if replica.lag_seconds is not None:
            waits[who] = max(waits.get(who, 0.0), replica.lag_seconds)
    part.record_all({s.REPLICA_LAG_BYTES: lags, s.REPLICA_LAG_SECONDS: waits})


def _record_slots(part: Attempt, slots: Iterable[Slot]) -> None:
    """Record them; those not told apart are active if all are, and keep what they keep together."""
    active: dict[LabelValues, float] = {}
    kept: dict[LabelValues, float] = {}
    for slot in slots:
        which: LabelValues = (slot.name, slot.type) if len(active) < MAX_TOLD_APART else (OTHERS, OTHERS)
        active[which] = min(active.get(which, 1.0), float(slot.active))
        if slot.kept_bytes is not None:
            kept[which] = kept.get(which, 0.0) + slot.kept_bytes
    part.record_all({s.SLOT_ACTIVE: active, s.SLOT_KEPT: kept})


async def check_counters(part: Attempt, session: Session, seconds: float) -> None:
    """Read and record what the database has counted.

    Raises:
        Failure, OSError, TimeoutError: As for `read_counted`.
    """
    found: Counted = await read_counted(session, seconds)
    part.record(s.TRANSACTIONS, found.committed, "committed")
    part.record(s.TRANSACTIONS, found.rolled_back, "rolled_back")
    part.record(s.DEADLOCKS, found.deadlocks)
    part.record(s.BLOCKS_HIT, found.hit)
    part.record(s.BLOCKS_READ, found.read)
    part.record(s.TEMP_FILES, found.temp_files)
    part.record(s.TEMP_BYTES, found.temp_bytes)
    part.record(s.CONFLICTS, found.conflicts)
    part.record_all({s.ROWS: {(what,): count for what, count in found.rows.items()}})
    part.record_all({s.SESSIONS_ENDED: {(how,): count for how, count in found.ended.items()}})
    if found.checksum_failures is not None:
        part.record(s.CHECKSUM_FAILURES, found.checksum_failures)


async def check_instance(part: Attempt, session: Session, seconds: float) -> tuple[float, float]:
    """Read and record what the server is, and how archiving goes.

    Returns:
        What tells this server and database from others: when it was started, by its own clock, and the database's number.

    Raises:
        Failure, OSError, TimeoutError: As for `read_instance`.
    """
    found = await read_instance(session, seconds)
    part.record(s.VERSION, 1, found.version)
    part.record(s.UPTIME, found.uptime)
    if found.archive is not None:
        part.record(s.ARCHIVED, found.archive.archived)
        part.record(s.ARCHIVE_FAILURES, found.archive.failed)
        part.record(s.ARCHIVE_FAILING, found.archive.failing)
    return found.started, found.database


class UpkeepReader:
    """Asks now and then for what changes slowly; what was found, or why it was not, holds in between."""

    def __init__(self) -> None:
        self._question = Every(RUNS)
        self._found: Upkeep | Failure | None = None

    async def check(self, attempt: Attempt, session: Session) -> None:
        """Record what is known as the part `upkeep`, having asked if it is time to."""
        if self._question.due:
            self._found = await self._ask(attempt, session)
            if not session.closed:  # else it was not the question that failed
                self._question.done(None if isinstance(self._found, Upkeep) else AGAIN)
        else:
            attempt.note_asked("upkeep", self._question.at)
        self._question.passed()
        match self._found:
            case Upkeep() as found:
                async with attempt.part("upkeep") as part:
                    part.record(s.SIZE, found.size)
                    part.record(s.TRANSACTION_AGE, found.transaction_age)
                    part.record(s.MULTIXACT_AGE, found.multixact_age)
                    part.record(s.OVERDUE, found.overdue)
                    part.record_all({s.HELD: {(holder,): age for holder, age in found.held.items()}})
            case failure:
                attempt.parts["upkeep"] = failure

    def look_anew(self) -> None:
        """Ask when checked next: what was found is of another server, or of before a restart."""
        self._question.at_once()

    async def _ask(self, attempt: Attempt, session: Session) -> Upkeep | Failure | None:
        async with attempt.part("upkeep") as part:
            part.stage = Stage.QUERY
            return await read_upkeep(session, part.remaining / 2)
        return attempt.parts["upkeep"]

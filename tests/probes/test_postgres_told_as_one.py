"""Replication slots beyond the bound are told as one: what they keep together, and whether all of them are read."""

from __future__ import annotations

from exporter.clients.postgres.replication import Slot
from exporter.databases import servers as s
from exporter.databases.upkeep import MAX_TOLD_APART, OTHERS, _record_slots
from exporter.probing.attempt import Attempt
from exporter.verdict import Failure, Reason


async def test_slots_beyond_the_bound_are_summed() -> None:
    attempt = Attempt(5, lambda _error, stage: Failure(stage, Reason.INTERNAL, ""))
    idle = MAX_TOLD_APART + 1
    _record_slots(attempt, [Slot(f"s{n}", "physical", n != idle, 2.0**n) for n in range(MAX_TOLD_APART + 3)])
    kept, active = attempt.samples[s.SLOT_KEPT], attempt.samples[s.SLOT_ACTIVE]
    assert len(kept) == len(active) == MAX_TOLD_APART + 1
    assert kept[OTHERS, OTHERS] == sum(2.0**n for n in range(MAX_TOLD_APART, MAX_TOLD_APART + 3))
    assert (active[OTHERS, OTHERS], active["s0", "physical"]) == (0, 1)

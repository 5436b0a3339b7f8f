"""When targets are probed: a fixed-rate grid, spread and jittered, capped, and honest about being late.

Each job has a grid of due times that does not drift. A run that is due while the one before still waits or runs is missed,
and counted. While a job's verdict is unsettled, a recheck is put between its grid times, where it can end before the next:
a grid time is never late or missed for a recheck.

A job is *hastened* where something else has failed for which it may be to blame: it runs outside its grid as a recheck does,
or its next grid run comes early where there is no room before it.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import random
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from typing import Protocol

from exporter.engine.slots import Lane, Slots

__all__ = ["Job", "Scheduler"]

JITTER = 0.05
"""Share of the interval, or of `FIRST_WITHIN` where that is shorter, by which a grid time may be put off."""

FIRST_WITHIN = 15.0
"""Seconds within which a job first runs, where its interval is longer: nobody waits six hours for a first result."""

TICK = 0.020
"""Seconds between looks at what is due: runs that are due closely together start together, which saves waking up."""

REMOVE_PATIENCE = 2.0
"""Seconds that a run may take to end once it is cancelled."""

SOONEST_RECHECK = 0.5
"""Seconds after a run before which there is no recheck."""

HASTE_GAP = 2.0
"""Seconds from the start of a run before which a job is not run because it is hastened."""

_COMPACT = 256
"""Events of removed jobs that are put up with in the queue, whatever its length."""


class Job(Protocol):
    """Something to run at a fixed rate."""

    @property
    def key(self) -> Hashable:
        """Identity; the spread over the first interval is derived from it."""

    @property
    def host(self) -> str:
        """Whom to count against the cap per host."""

    @property
    def lane(self) -> Lane:
        """Which other runs the next one competes with."""

    @property
    def interval(self) -> float:
        """Seconds between grid times."""

    @property
    def timeout(self) -> float:
        """Seconds that a run takes at the most."""

    @property
    def recheck(self) -> float:
        """Seconds from a run that left the verdict unsettled to its recheck."""

    async def run(self, *, lateness: float, recheck: bool) -> bool:
        """Run once; return whether it wants a recheck. It must not raise: what it does raise is a defect."""

    def missed(self, count: int = 1) -> None:
        """Count grid times that were not kept."""


@dataclass(slots=True, eq=False)
class _Entry:
    job: Job
    grid: float = 0.0
    """The next grid time, without jitter."""
    due: float = 0.0
    """The next grid time, with jitter."""
    event: int = -1
    """The number of its event in the queue; events with another number are of the past. None once it is removed."""
    task: asyncio.Task[None] | None = None
    recheck: asyncio.Handle | None = None
    recheck_at: float = 0.0
    """When that is due. Its handle does not know: what is due at once uvloop gives a handle without a time."""
    began: float = -math.inf
    """When its last run was started."""
    wanted: bool = False
    """It was hastened, and no run has been started since."""
    hastened: bool = False
    """Its last run was one that was wanted."""

    @property
    def removed(self) -> bool:
        return self.event < 0


_Event = tuple[float, int, _Entry]
"""When, its number, which also keeps entries from being compared, and what."""


class Scheduler:
    """Runs jobs. One instance for a process; `run` is one of its essential tasks.

    Args:
        slots: Places for runs under way.
        defect: Called with a job's key and what it raised.
        jitter: Where the jitter comes from; a share between 0 and 1.
    """

    def __init__(
        self, slots: Slots, defect: Callable[[Hashable, Exception], None], jitter: Callable[[], float] = random.random
    ) -> None:
        self._slots = slots
        self._defect = defect
        self._jitter = jitter
        self._entries: dict[Hashable, _Entry] = {}
        self._events: list[_Event] = []
        self._past = 0
        self._order = count()
        self._wake = asyncio.Event()
        self._stopped = False
        self._stuck: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, job: Job, first_within: float = FIRST_WITHIN) -> None:
        """Schedule a job; its first run falls within its interval and `first_within`, at a place of its own.

        Raises:
            ValueError: A job with the same key is scheduled.
        """
        if job.key in self._entries:
            raise ValueError(f"{job.key} is scheduled already")
        entry = self._entries[job.key] = _Entry(job)
        self._begin(entry, within=first_within)

    async def remove(self, key: Hashable) -> None:
        """Unschedule a job; a run of it is cancelled, and has ended when this returns. One that does not take the
        cancellation is a defect, and left to itself.
        """
        entry = self._entries.pop(key)
        self._forget(entry)
        entry.event = -1
        if entry.task is not None:
            entry.task.cancel()
            _, stuck = await asyncio.wait([entry.task], timeout=REMOVE_PATIENCE)
            for task in stuck:
                self._stuck.add(task)
                task.add_done_callback(self._stuck.discard)
                self._defect(key, TimeoutError(f"a run does not end {REMOVE_PATIENCE:g} s after it was cancelled"))
        del entry.job  # its event may stay in the queue for hours; what it is of must not

    def reschedule(self, key: Hashable) -> None:
        """Take in that a job's interval has changed: its next run comes as soon as that of a new job, and not after it would
        have come; none is cut off.
        """
        entry = self._entries[key]
        self._forget(entry)
        self._begin(entry, latest=entry.due)

    def hasten(self, key: Hashable) -> None:
        """Run a job soon, because something else has failed. No grid run is late or missed for it, and one that is due
        within half an interval may come early in its place; what is under way already does not count.
        """
        entry = self._entries.get(key)
        if entry is None or self._stopped:
            return
        entry.wanted = True
        if entry.task is None:
            self._plan_hastened(entry)

    def next_run(self, key: Hashable) -> float | None:
        """Return the loop time of a job's next grid run."""
        entry = self._entries.get(key)
        return entry.due if entry else None

    async def run(self) -> None:
        """Start what is due, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            while self._events and self._events[0][0] <= now + TICK / 2:
                self._dispatch(heapq.heappop(self._events), now)
            self._wake.clear()
            # A timer that sets the event costs a tenth of a timeout, which ends in two exceptions.
            due = max(self._events[0][0], now + TICK) if self._events else None
            alarm = loop.call_at(due, self._wake.set) if due is not None else None
            try:
                await self._wake.wait()
            finally:
                if alarm is not None:
                    alarm.cancel()

    async def drain(self, timeout: float) -> int:
        """Start nothing more, let runs end for `timeout` seconds, cancel the rest; return how many were cancelled."""
        self._stopped = True
        self._events.clear()
        for entry in self._entries.values():
            _cancel_recheck(entry)
        tasks = [entry.task for entry in self._entries.values() if entry.task is not None]
        if not tasks:
            return 0
        _, pending = await asyncio.wait(tasks, timeout=timeout)
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending)
        return len(pending)

    def _begin(self, entry: _Entry, latest: float = math.inf, within: float = FIRST_WITHIN) -> None:
        """Schedule the first run soon; those after it at a place in the interval that few others have."""
        now, interval = asyncio.get_running_loop().time(), entry.job.interval
        place, soon = _fraction(entry.job.key), min(interval, within)
        entry.grid = min(now + place * (1 - JITTER) * soon, max(now, latest))
        self._push(entry, entry.grid)
        if interval > within:
            entry.grid = now + place * interval
            if entry.grid < entry.due + within:
                entry.grid += interval

    def _forget(self, entry: _Entry) -> None:
        """Leave the entry's event in the queue, where it is cheap, until there are too many of them."""
        _cancel_recheck(entry)
        self._past += 1
        if self._past > max(_COMPACT, len(self._events) // 2):
            forgotten = entry.event
            self._events = [event for event in self._events if event[1] == event[2].event != forgotten]
            heapq.heapify(self._events)
            self._past = 0

    def _push(self, entry: _Entry, now: float) -> None:
        """Schedule the entry's next grid time, counting those that have passed."""
        interval = entry.job.interval
        passed = int((now - entry.grid) // interval)
        if passed > 0:
            entry.job.missed(passed)
            entry.grid += passed * interval
        entry.due = entry.grid + self._jitter() * JITTER * min(interval, FIRST_WITHIN)
        entry.grid += interval
        entry.event = next(self._order)
        event = (entry.due, entry.event, entry)
        heapq.heappush(self._events, event)
        if self._events[0] is event:
            self._wake.set()

    def _dispatch(self, event: _Event, now: float) -> None:
        due, number, entry = event
        if number != entry.event:
            self._past -= 1
            return
        if self._stopped:
            return
        self._push(entry, now)
        _cancel_recheck(entry)
        if entry.task is None:
            self._start(entry, due, recheck=False)
        else:
            entry.job.missed()

    def _start(self, entry: _Entry, due: float, *, recheck: bool) -> None:
        entry.began = asyncio.get_running_loop().time()
        entry.hastened, entry.wanted = entry.wanted, False
        entry.task = asyncio.create_task(self._execute(entry, due, recheck=recheck), name=f"run {entry.job.key}")

    async def _execute(self, entry: _Entry, due: float, *, recheck: bool) -> None:
        job, loop = entry.job, asyncio.get_running_loop()
        again = False
        try:
            host, lane = job.host, Lane.TROUBLED if recheck else job.lane
            if not await self._take(entry, host, lane, recheck=recheck):
                return
            try:
                again = await job.run(lateness=max(0.0, loop.time() - due), recheck=recheck)
            finally:
                self._slots.give(host, lane)
        except Exception as error:
            self._defect(job.key, error)
        finally:
            entry.task = None
        if entry.removed or self._stopped:
            return
        if again:
            self._plan_recheck(entry, loop)
        if entry.wanted:
            self._plan_hastened(entry)

    async def _take(self, entry: _Entry, host: str, lane: Lane, *, recheck: bool) -> bool:
        """Wait for a place; a recheck waits only as long as it can still end before the next grid time."""
        if not recheck:
            await self._slots.take(host, lane)
            return True
        try:
            async with asyncio.timeout_at(entry.due - entry.job.timeout):
                await self._slots.take(host, lane)
        except TimeoutError:
            return False
        return True

    def _plan_recheck(self, entry: _Entry, loop: asyncio.AbstractEventLoop) -> None:
        """Put a recheck before the next grid time, so early that it has ended by then; none where there is no room.

        After a run that was hastened the time that it took counts: what has hung while something else failed need not be
        waited for twice.
        """
        now = loop.time()
        wanted = max(now + SOONEST_RECHECK, entry.began + entry.job.recheck) if entry.hastened else now + entry.job.recheck
        at = min(wanted, entry.due - entry.job.timeout)
        if at >= now + SOONEST_RECHECK:
            entry.recheck, entry.recheck_at = loop.call_at(at, self._recheck, entry, at), at

    def _plan_hastened(self, entry: _Entry) -> None:
        """Put a run before the next grid time, or that run itself forward; where it is due at once, it will do as it is."""
        loop = asyncio.get_running_loop()
        job, at = entry.job, max(loop.time(), entry.began + HASTE_GAP)
        if entry.recheck is not None and entry.recheck_at <= at:
            return
        if at <= entry.due - job.timeout:
            _cancel_recheck(entry)
            entry.recheck, entry.recheck_at = loop.call_at(at, self._recheck, entry, at), at
        elif at < entry.due <= at + job.interval / 2:
            _cancel_recheck(entry)
            entry.recheck, entry.recheck_at = loop.call_at(at, self._run_early, entry, at), at

    def _run_early(self, entry: _Entry, at: float) -> None:
        entry.recheck = None
        if entry.task is None and not entry.removed and not self._stopped and entry.due > at:
            self._forget(entry)
            self._push(entry, at)
            self._start(entry, at, recheck=False)

    def _recheck(self, entry: _Entry, due: float) -> None:
        entry.recheck = None
        if entry.task is None and not entry.removed and not self._stopped:
            self._start(entry, due, recheck=True)


def _cancel_recheck(entry: _Entry) -> None:
    if entry.recheck is not None:
        entry.recheck.cancel()
        entry.recheck = None


def _fraction(key: Hashable) -> float:
    """Derive a place in the interval from a key: the same after a restart, even over many keys."""
    return int.from_bytes(blake2b(repr(key).encode(), digest_size=6).digest()) / 2**48

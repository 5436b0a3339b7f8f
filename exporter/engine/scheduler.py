"""When targets are probed: a fixed-rate grid, spread and jittered, capped, and honest about being late.

Each job has a grid of due times that does not drift. A run that is due while the one before still waits or runs is missed,
and counted. While a job fails, rechecks are put between its grid times. Slots bound what is in flight, per host first, so
that a slow host queues behind itself and not before everyone.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import count
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Job", "Scheduler"]

JITTER = 0.05
"""Share of the interval by which a grid time may be put off."""


TICK = 0.020
"""Seconds between looks at what is due: runs that are due closely together start together, which saves waking up."""


class Job(Protocol):
    """Something to run at a fixed rate."""

    @property
    def key(self) -> Hashable:
        """Identity; the spread over the first interval is derived from it."""

    @property
    def host(self) -> str:
        """Whom to count against the cap per host."""

    @property
    def interval(self) -> float:
        """Seconds between grid times."""

    @property
    def recheck(self) -> float:
        """Seconds from a failed run to its recheck."""

    async def run(self, *, lateness: float, recheck: bool) -> bool:
        """Run once; return whether it wants a recheck."""

    def missed(self) -> None:
        """Count a grid time that was not kept."""


@dataclass(slots=True, eq=False)
class _Entry:
    job: Job
    grid: float
    """The next grid time, without jitter."""
    due: float = 0.0
    """The next grid time, with jitter."""
    task: asyncio.Task[None] | None = None
    removed: bool = False


@dataclass(slots=True)
class _Host:
    slots: asyncio.Semaphore
    users: int = 0


@dataclass(order=True, slots=True)
class _Event:
    at: float
    order: int
    entry: _Entry = field(compare=False)
    recheck: bool = field(compare=False)


class Scheduler:
    """Runs jobs. One instance for a process; `run` is one of its essential tasks.

    Args:
        max_in_flight: Runs at once.
        max_in_flight_per_host: Runs at once against one host.
        jitter: Where the jitter comes from; a share between 0 and 1.
    """

    def __init__(self, max_in_flight: int, max_in_flight_per_host: int, jitter: Callable[[], float] = random.random) -> None:
        self._slots = asyncio.Semaphore(max_in_flight)
        self._per_host = max_in_flight_per_host
        self._hosts: dict[str, _Host] = {}
        self._jitter = jitter
        self._entries: dict[Hashable, _Entry] = {}
        self._events: list[_Event] = []
        self._order = count()
        self._wake = asyncio.Event()
        self._stopped = False

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, job: Job) -> None:
        """Schedule a job; its first run falls within one interval from now, at a place of its own.

        Raises:
            ValueError: A job with the same key is scheduled.
        """
        if job.key in self._entries:
            raise ValueError(f"{job.key} is scheduled already")
        entry = _Entry(job, asyncio.get_running_loop().time() + _fraction(job.key) * job.interval)
        self._entries[job.key] = entry
        self._push_grid(entry, entry.grid)

    async def remove(self, key: Hashable) -> None:
        """Unschedule a job; a run of it is cancelled and has ended when this returns."""
        entry = self._entries.pop(key)
        entry.removed = True
        if entry.task is not None:
            entry.task.cancel()
            await asyncio.wait([entry.task])

    def next_run(self, key: Hashable) -> float | None:
        """Return the loop time of a job's next grid run."""
        entry = self._entries.get(key)
        return entry.due if entry else None

    async def run(self) -> None:
        """Start what is due, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            while self._events and self._events[0].at <= now + TICK / 2:
                self._dispatch(heapq.heappop(self._events), now)
            self._wake.clear()
            # A timer that sets the event costs a tenth of a timeout, which ends in two exceptions.
            due = max(self._events[0].at, now + TICK) if self._events else None
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
        tasks = [entry.task for entry in self._entries.values() if entry.task is not None]
        if not tasks:
            return 0
        _, pending = await asyncio.wait(tasks, timeout=timeout)
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending)
        return len(pending)

    @asynccontextmanager
    async def slot(self, host: str) -> AsyncIterator[None]:
        """Hold a place in flight. The host's comes first, so that waiting for a busy host blocks no other."""
        entry = self._hosts.setdefault(host, _Host(asyncio.Semaphore(self._per_host)))
        entry.users += 1
        try:
            async with entry.slots, self._slots:
                yield
        finally:
            entry.users -= 1
            if not entry.users:
                self._hosts.pop(host, None)

    def _push(self, at: float, entry: _Entry, *, recheck: bool) -> None:
        event = _Event(at, next(self._order), entry, recheck)
        heapq.heappush(self._events, event)
        if self._events[0] is event:
            self._wake.set()

    def _push_grid(self, entry: _Entry, now: float) -> None:
        """Schedule the entry's next grid time, counting those that have passed."""
        interval = entry.job.interval
        while entry.grid + interval <= now:
            entry.job.missed()
            entry.grid += interval
        entry.due = entry.grid + self._jitter() * JITTER * interval
        entry.grid += interval
        self._push(entry.due, entry, recheck=False)

    def _dispatch(self, event: _Event, now: float) -> None:
        entry = event.entry
        if entry.removed or self._stopped:
            return
        if not event.recheck:
            self._push_grid(entry, now)
        if entry.task is None:
            entry.task = asyncio.create_task(self._execute(event), name=f"run {entry.job.key}")
        elif not event.recheck:
            entry.job.missed()

    async def _execute(self, event: _Event) -> None:
        entry, loop = event.entry, asyncio.get_running_loop()
        again = False
        try:
            async with self.slot(entry.job.host):
                again = await entry.job.run(lateness=max(0.0, loop.time() - event.at), recheck=event.recheck)
        finally:
            entry.task = None
        at = loop.time() + entry.job.recheck
        if again and not entry.removed and not self._stopped and at < entry.due:
            self._push(at, entry, recheck=True)


def _fraction(key: Hashable) -> float:
    """Derive a place in the interval from a key: the same after a restart, even over many keys."""
    return int.from_bytes(blake2b(repr(key).encode(), digest_size=6).digest()) / 2**48
